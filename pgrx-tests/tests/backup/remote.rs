//! Backups of another server, through `db_connection`.

use std::{
    sync::atomic::{AtomicU16, Ordering},
    thread::JoinHandle,
    time::Duration,
};

use autovector_cluster_tests::{Cluster, Settings, Sql, process, wait_until};
use postgres::{Client, error::DbError};
use serde_json::Value;

use super::stage::{LANGCHAIN, Stage, fill, name};

const SOON: Duration = Duration::from_secs(60);
const PASSWORD: &str = "hun'ter2";

/// A server without autovector that has LangChain's tables, a role that may read them, and asks
/// for passwords over TCP.
pub struct Other {
    pub db: Client,
    cluster: Cluster,
    /// Of its own among those that mean this machine, so that all servers may have the same port.
    address: String,
}

impl Other {
    pub fn start() -> Other {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let address = format!("127.{}.{high}.{low}", 100 + NEXT.fetch_add(1, Ordering::Relaxed));
        let cluster = Settings::default().without_preload().set("listen_addresses", &address).start();
        let hba = "local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\n";
        std::fs::write(cluster.data_directory().join("pg_hba.conf"), hba).expect("written");
        let mut db = cluster.connect("postgres");
        db.batch("create extension vector");
        db.batch(LANGCHAIN);
        fill(&mut db, 200);
        db.batch(&format!(
            "set password_encryption = 'scram-sha-256'; select pg_reload_conf();
             create role reader login password '{}'; grant select on all tables in schema public to reader",
            PASSWORD.replace('\'', "''")
        ));
        Other { db, cluster, address }
    }

    /// By its socket, as its superuser.
    pub fn socket(&self) -> String {
        format!("host={} dbname=postgres user=postgres", self.cluster.directory().display())
    }

    /// By TCP, as the role with the password, which libpq's rules write with a backslash.
    fn tcp(&self) -> String {
        format!("host=localhost hostaddr={} dbname=postgres user=reader", self.address)
    }

    fn tcp_with_password(&self) -> String {
        format!("{} password='{}'", self.tcp(), PASSWORD.replace('\'', "\\'"))
    }

    /// Our sessions there that do something.
    fn busy(&mut self) -> i64 {
        self.db.one(
            "select count(*) from pg_stat_activity where application_name = 'autovector backup' and state <> 'idle'",
            &[],
        )
    }
}

pub fn call(connection: &str, more: &str) -> String {
    format!("db_connection => '{}'{more}", connection.replace('\'', "''"))
}

pub fn rows(db: &mut Client) -> Vec<String> {
    db.all("select t::text from langchain_pg_embedding t order by id", &[])
}

fn said(error: &DbError) -> String {
    format!("{} {:?} {:?} {:?}", error.message(), error.detail(), error.hint(), error.where_())
}

/// Fear: another server's rows come in another form, or from another moment.
#[test]
fn another_servers_tables_are_saved_and_loaded_here() {
    let mut other = Other::start();
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    other.db.batch(
        "alter database postgres set datestyle = 'German'; alter role reader set extra_float_digits = 0",
    );
    for (format, compression) in [("csv", "none"), ("binary", "zstd")] {
        let more = format!(", format => '{format}', compression => '{compression}'");
        for connection in [other.socket(), other.tcp_with_password()] {
            let report = stage.backup(&call(&connection, &more));
            assert_eq!(report["tables_backed_up"]["langchain_pg_embedding"]["row_count"], 200, "{report}");
            assert_eq!(stage.faults(&name(&report)), Vec::<String>::new());
            stage.restore(&name(&report), "replace");
            assert_eq!(rows(&mut stage.db), rows(&mut other.db));
        }
    }
    assert_eq!(other.busy(), 0);
    stage.cluster.assert_healthy();
}

/// Fear: names over there are trusted, or partitions and children are left out over there.
#[test]
fn hostile_names_partitions_and_children_are_saved_too() {
    let mut other = Other::start();
    let tables = r#"
        create schema "o'dd"; create table "o'dd"."T ""1"";--" ("a b" int, "ü""" text, gone int, e vector(2), doubled int generated always as ("a b" * 2) stored);
        alter table "o'dd"."T ""1"";--" drop column gone;
        create table parent (id int, e vector(2)); create table child (more text) inherits (parent);
        create table parts (id int, e vector(2)) partition by range (id); create table low partition of parts for values from (0) to (10);
        create table high partition of parts default;"#;
    other.db.batch(tables);
    other.db.batch(
        r#"insert into "o'dd"."T ""1"";--" values (1, E'x\n\\.\n"', '[1,-0]'), (2, null, null);
           insert into parent values (1, '[1,1]'); insert into child values (2, '[2,2]', 'c');
           insert into parts select i, array[i, 0]::vector from generate_series(1, 20) i"#,
    );
    let mut stage = Stage::new();
    stage.db.batch(tables);
    let report = stage
        .backup(&call(&other.socket(), r#", tables => array['"o''dd"."T ""1"";--"', 'parent', 'parts']"#));
    assert_eq!(report["tables_backed_up"].as_object().expect("an object").len(), 4, "{report}");
    stage.restore(&name(&report), "refuse");
    for table in [r#""o'dd"."T ""1"";--""#, "only parent", "child", "parts"] {
        let query = format!("select t::text from {table} t order by 1");
        assert_eq!(stage.db.all::<String>(&query, &[]), other.db.all::<String>(&query, &[]), "{table}");
    }
    for (table, state) in [("nowhere", "42P01"), ("pg_class_view", "0A000")] {
        other.db.batch("create or replace view pg_class_view as select 1 as x");
        let error = stage.db.error_of(&format!(
            "select ai.backup_vector_tables({})",
            call(&other.socket(), &format!(", tables => '{{{table}}}'"))
        ));
        assert_eq!(error.code().code(), state, "{table}: {}", error.message());
    }
}

/// Fear: the other server's rows are emptied without a file, or stay although the report says so;
/// a row that is committed there meanwhile is lost.
#[test]
fn another_servers_tables_are_emptied_after_their_backup() {
    let mut other = Other::start();
    let mut stage = Stage::new();
    let mut writer = other.cluster.connect("postgres");
    writer.batch("begin; insert into langchain_pg_embedding values ('late', null, '[7,7,7]', null, null)");
    let arguments = call(&other.socket(), ", truncate_vector_tables => true");
    let mut session = stage.cluster.connect("postgres");
    let backup = std::thread::spawn(move || {
        session.one::<Value>(&format!("select ai.backup_vector_tables({arguments})"), &[])
    });
    wait_until("the backup waits for the writer", SOON, || {
        other.db.one::<i64>("select count(*) from pg_locks where not granted", &[]) > 0
    });
    writer.batch("commit");
    let before = 201;
    let report = backup.join().expect("the backup succeeds");
    assert_eq!(report["truncate_results"]["langchain_pg_embedding"]["rows_before"], before);
    assert_eq!(report["truncate_results"]["langchain_pg_embedding"]["rows_after"], 0);
    assert_eq!(other.db.one::<i64>("select count(*) from langchain_pg_embedding", &[]), 0);
    assert_eq!(other.db.one::<i64>("select count(*) from langchain_pg_collection", &[]), 1);
    assert_eq!(stage.count("select count(*) from ai.list_backups() where truncated"), 1);
    stage.db.batch(LANGCHAIN);
    stage.restore(&name(&report), "refuse");
    assert_eq!(stage.count("select count(*) from langchain_pg_embedding"), before);
    assert_eq!(stage.count("select count(*) from langchain_pg_embedding where id = 'late'"), 1);
}

/// Fear: errors of the connection look like something else.
#[test]
fn connections_that_fail_say_why() {
    let mut other = Other::start();
    other.db.batch("create role blind login; grant select on langchain_pg_collection to blind");
    let mut stage = Stage::new();
    let socket = other.cluster.directory().display().to_string();
    // A port that somebody holds and nobody listens on.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = silent.local_addr().expect("an address").port();
    for (connection, state, can_retry) in [
        (format!("host={socket} dbname=nowhere user=postgres password=hunter2"), "08001", false),
        (format!("host={socket} dbname=postgres user=nobody password=hunter2"), "08001", false),
        ("host=/nowhere dbname=postgres user=postgres password=hunter2".to_owned(), "08001", true),
        (format!("{} password=hunter2", other.tcp()), "08001", false),
        (other.tcp(), "08001", false),
        (format!("host=127.0.0.1 port={port} connect_timeout=1 password=hunter2"), "08001", true),
        ("hunter2".to_owned(), "22023", false),
        ("host=h passwort=hunter2".to_owned(), "22023", false),
        (format!("{} password_secret=NO_SUCH_SECRET", other.tcp()), "42704", false),
        (format!("host={socket} dbname=postgres user=blind password=hunter2"), "42501", false),
    ] {
        let error = stage.db.error_of(&format!("select ai.backup_vector_tables({})", call(&connection, "")));
        assert_eq!(error.code().code(), state, "{connection}: {}", said(&error));
        let detail: Value = serde_json::from_str(error.detail().expect("a detail")).expect("JSON");
        assert_eq!(detail["can_retry"], can_retry, "{connection}: {}", said(&error));
        assert!(!said(&error).contains("hunter2"), "{}", said(&error));
    }
    assert_eq!(stage.files(), Vec::<String>::new());
    stage.db.batch("create role app login; grant execute on function ai.backup_vector_tables to app");
    let mut app = stage.cluster.connect_as("postgres", "app");
    let error = app.error_of(&format!(
        "select ai.backup_vector_tables({})",
        call("host=127.0.0.1 password=hunter2", "")
    ));
    assert_eq!(error.code().code(), "42501");
    assert!(!stage.cluster.log().contains("hunter2"), "the server's log has the password");
    stage.cluster.assert_healthy();
}

/// Fear: whoever looks at sessions, logs, files or results reads the password.
#[test]
fn the_password_is_shown_nowhere() {
    let mut other = Other::start();
    let mut stage = Stage::with(Settings::default().env("OTHER_PASSWORD", PASSWORD));
    let escaped = PASSWORD.replace('\'', "\\'");
    let encoded = PASSWORD.replace('\'', "%27");
    let url = format!("postgresql://reader:{encoded}@localhost/postgres?hostaddr={}", other.address);
    let secret = format!("{} password_secret=OTHER_PASSWORD", other.tcp());
    for (connection, shown) in [
        (other.tcp_with_password(), "password="),
        (url, "reader:"),
        (secret, "password_secret=OTHER_PASSWORD"),
    ] {
        for prepared in [false, true] {
            let mut blocker = other.cluster.connect("postgres");
            blocker.batch("begin; lock table langchain_pg_embedding in access exclusive mode");
            let statement = format!("select ai.backup_vector_tables({})", call(&connection, ""));
            let mut session = stage.cluster.connect("postgres");
            let pid: i32 = session.one("select pg_backend_pid()", &[]);
            if !prepared {
                // Logged when it is over. The message Parse would be logged before it runs.
                session.batch("set log_min_duration_statement = 0");
            }
            let running = std::thread::spawn(move || {
                if prepared {
                    session.query(&statement, &[]).map(|rows| rows[0].get::<_, Value>(0).to_string())
                } else {
                    session.simple_query(&statement).map(|messages| format!("{messages:?}"))
                }
            });
            wait_until("the backup waits over there", SOON, || {
                other.db.one::<i64>("select count(*) from pg_locks where not granted", &[]) > 0
            });
            let query: String = stage.db.one("select query from pg_stat_activity where pid = $1", &[&pid]);
            assert!(query.contains(shown), "{query}");
            assert!(!query.contains("ter2"), "{query}");
            drop(blocker);
            let result = running.join().expect("the session").expect("the backup succeeds");
            assert!(!result.contains("ter2"), "{result}");
        }
    }
    let log = stage.cluster.log();
    assert!(log.contains("ai.backup_vector_tables(db_connection => "), "{log}");
    for form in [PASSWORD, &escaped, &encoded, &PASSWORD.replace('\'', "''"), "ter2"] {
        let line = log.lines().find(|line| line.contains(form));
        assert_eq!(line, None, "the server's log has the password");
    }
    for file in std::fs::read_dir(stage.folder()).expect("listed") {
        let bytes = std::fs::read(file.expect("listed").path()).expect("read");
        assert!(!String::from_utf8_lossy(&bytes).contains("ter2"));
    }
}

/// Starts a backup of `large`, and returns when the other server is in the middle of copying it:
/// its process there is stopped.
fn halted(stage: &Stage, other: &mut Other) -> (i32, i32, JoinHandle<Result<(), postgres::Error>>) {
    other.db.batch(
        "create table if not exists large (id int, body text);
         insert into large select i, repeat(md5(i::text), 8) from generate_series(1, 100000) i",
    );
    loop {
        let mut session = stage.cluster.connect("postgres");
        let pid: i32 = session.one("select pg_backend_pid()", &[]);
        let statement =
            format!("select ai.backup_vector_tables({})", call(&other.socket(), ", tables => '{large}'"));
        let running = std::thread::spawn(move || session.batch_execute(&statement));
        let copying = "select pid from pg_stat_activity where application_name = 'autovector backup'
                        and state = 'active' and query like 'COPY%'";
        let mut theirs = None;
        wait_until("rows are copied, or all is over", SOON, || {
            theirs = other.db.all::<i32>(copying, &[]).first().copied();
            theirs.is_some() || running.is_finished()
        });
        let Some(theirs) = theirs else { continue };
        process::signal(theirs, libc::SIGSTOP);
        wait_until("it is stopped", SOON, || process::is_stopped(theirs));
        if other.db.all::<i32>(copying, &[]) == [theirs] {
            return (pid, theirs, running);
        }
        process::signal(theirs, libc::SIGCONT);
        running.join().expect("the session").expect("it was faster");
    }
}

/// Fear: a connection that breaks leaves half a backup, or one that looks whole; a cancel waits
/// for a server that does not answer, or leaves it working.
#[test]
fn a_broken_or_cancelled_copy_leaves_nothing() {
    let mut other = Other::start();
    let mut stage = Stage::new();
    let (pid, theirs, running) = halted(&stage, &mut other);
    stage.db.exec("select pg_cancel_backend($1)", &[&pid]);
    let error = running.join().expect("the session").expect_err("cancelled");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error:?}");
    process::signal(theirs, libc::SIGCONT);
    wait_until("the other server stops too", SOON, || other.busy() == 0);

    for crash in [false, true] {
        let (_, theirs, running) = halted(&stage, &mut other);
        if crash {
            process::signal(theirs, libc::SIGKILL);
        } else {
            other.db.exec("select pg_terminate_backend($1)", &[&theirs]);
            process::signal(theirs, libc::SIGCONT);
        }
        let error = running.join().expect("the session").expect_err("the connection broke");
        let error = error.as_db_error().expect("an error of our server");
        assert_eq!(error.code().code(), "08006", "{}", said(error));
        assert!(
            error.detail().is_some_and(|detail| detail.contains("\"can_retry\":true")),
            "{}",
            said(error)
        );
    }
    let complete = stage.count("select count(*) from ai.list_backups() where complete");
    assert_eq!(stage.files().len() as i64, complete * 2, "{:?}", stage.files());
    stage.cluster.assert_healthy();
}

/// A certificate authority, and a certificate of it for `localhost`.
fn certificates() -> (String, String, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::<String>::new()).expect("well formed");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).expect("signed");
    let server_key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec!["localhost".to_owned()])
        .expect("well formed")
        .signed_by(&server_key, &Issuer::new(authority, key))
        .expect("signed");
    (root.pem(), server.pem(), server_key.serialize_pem())
}

/// Fear: a connection that is to be private is not, or one that is to know its server believes
/// anybody.
#[test]
fn tls_is_used_and_checked_as_sslmode_says() {
    let mut other = Other::start();
    if other.db.one::<String>("show ssl_library", &[]).is_empty() {
        // The one for PostgreSQL 18 that the set-up installs; what is tested is a client.
        let version: i32 = other.db.one("select current_setting('server_version_num')::int4", &[]);
        assert!(version >= 180_000, "a PostgreSQL of the distribution has TLS");
        eprintln!("this PostgreSQL was built without TLS");
        return;
    }
    let mut stage = Stage::new();
    let attempt = |stage: &mut Stage, options: &str| {
        let connection = format!("{} {options}", other.tcp_with_password());
        let statement = format!("select ai.backup_vector_tables({})", call(&connection, ""));
        match stage.db.batch_execute(&statement) {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = error.as_db_error().expect("an error of the server").clone();
                assert_eq!(error.code().code(), "08001", "{options}: {}", said(&error));
                let detail: Value = serde_json::from_str(error.detail().expect("a detail")).expect("JSON");
                assert_eq!(detail["can_retry"], false, "{options}: {}", said(&error));
                Err(error.message().to_owned())
            }
        }
    };
    // A server without TLS.
    assert!(attempt(&mut stage, "sslmode=prefer").is_ok());
    for mode in ["require", "verify-full"] {
        assert!(attempt(&mut stage, &format!("sslmode={mode}")).is_err(), "{mode}");
    }
    let (root, certificate, key) = certificates();
    let (stranger, _, _) = certificates();
    let data = other.cluster.data_directory();
    let roots = stage.directory.path().join("root.pem");
    let strangers = stage.directory.path().join("stranger.pem");
    for (path, text) in [
        (&data.join("server.crt"), certificate),
        (&data.join("server.key"), key),
        (&roots, root),
        (&strangers, stranger),
    ] {
        std::fs::write(path, text).expect("written");
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
    }
    let hba = "local all all trust\nhostssl all all 127.0.0.0/8 scram-sha-256\n";
    std::fs::write(data.join("pg_hba.conf"), hba).expect("written");
    let mut admin = other.cluster.connect("postgres");
    admin.batch("alter system set ssl = on");
    admin.batch("select pg_reload_conf()");
    wait_until("TLS is on", SOON, || attempt(&mut stage, "sslmode=require").is_ok());
    let (roots, strangers) = (roots.display(), strangers.display());
    for options in [
        String::new(),
        "sslmode=prefer".to_owned(),
        format!("sslmode=require sslrootcert={roots}"),
        format!("sslmode=verify-ca sslrootcert={roots}"),
        format!("sslmode=verify-full sslrootcert={roots}"),
        format!("sslmode=verify-ca sslrootcert={roots} host={}", other.address),
        "sslmode=require channel_binding=require".to_owned(),
    ] {
        attempt(&mut stage, &options).unwrap_or_else(|error| panic!("{options}: {error}"));
    }
    for options in [
        "sslmode=disable".to_owned(),
        "sslmode=verify-full".to_owned(),
        format!("sslmode=require sslrootcert={strangers}"),
        format!("sslmode=verify-ca sslrootcert={strangers}"),
        format!("sslmode=verify-full sslrootcert={strangers}"),
        format!("sslmode=verify-full sslrootcert={roots} host={}", other.address),
    ] {
        assert!(attempt(&mut stage, &options).is_err(), "{options}");
    }
    stage.cluster.assert_healthy();
}

/// Fear: rows of another server pile up in this one's memory.
#[test]
fn memory_does_not_grow_with_the_table() {
    let mut other = Other::start();
    other.db.batch(
        "create table large (id int, body text); alter table large alter body set storage external;
         insert into large select i, repeat(md5(i::text), 1000) from generate_series(1, 3000) i",
    );
    let mut stage = Stage::new();
    let pid: i32 = stage.db.one("select pg_backend_pid()", &[]);
    stage.backup(&call(&other.socket(), ""));
    let before = process::private_memory_kb(pid).expect("alive");
    let peak = super::memory::peak(pid, || {
        let report = stage.backup(&call(&other.socket(), ", tables => '{large}'"));
        let size = report["tables_backed_up"]["large"]["file_size"].as_u64().expect("a size");
        assert!(size > 96_000_000, "{size}");
    });
    assert!(peak < before + 64 * 1024, "{before} kB grew to {peak} kB");
}
