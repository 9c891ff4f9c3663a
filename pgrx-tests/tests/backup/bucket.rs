//! Backups in an object store: the same promises as on a disk, though objects are neither renamed
//! nor locked, and the way to them is long.

use std::{fs, thread, time::Duration};

use autovector_cluster_tests::{
    Settings, Sql, StopMode,
    bucket::{Bucket, KEY_ID, Mood, NAME, SECRET_KEY},
    process, wait_until,
};
use serde_json::Value;
use tempfile::TempDir;

use super::memory::peak;
use super::stage::{LANGCHAIN, Stage, fill, name};

const SOON: Duration = Duration::from_secs(60);

/// A stage whose backups go into `bucket`. Its directory holds the secrets.
pub fn stage(bucket: &Bucket) -> Stage {
    let secrets = secrets(SECRET_KEY);
    let settings = Settings::default()
        .set("autovector.naptime", "100ms")
        .set("autovector.s3_endpoint", &bucket.endpoint())
        .set("autovector.secrets_directory", &secrets.path().display().to_string());
    Stage::at(&format!("s3://{NAME}/deep/down"), settings, secrets)
}

fn secrets(key: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("AWS_ACCESS_KEY_ID"), KEY_ID).expect("written");
    fs::write(directory.path().join("AWS_SECRET_ACCESS_KEY"), format!("{key}\n")).expect("written");
    directory
}

/// Rows whose file has several parts.
pub const LARGE: &str = "
    create table docs (id int primary key, body text, embedding vector(2));
    alter table docs alter body set storage external;
    insert into docs select i, repeat(md5(i::text), 250), array[i, -i]::float4[]::vector
      from generate_series(1, 2200) i";

/// Fear: what goes to an object store comes back otherwise, is not verified, cannot be listed or
/// deleted; or the secret is shown.
#[test]
fn a_backup_in_a_bucket_is_a_backup() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 300);
    stage.db.batch(LARGE);
    let before = [stage.rows("langchain_pg_embedding"), stage.rows("docs")];
    let tables = "tables => '{langchain_pg_collection, langchain_pg_embedding, docs}'";
    let mut backups = Vec::new();
    for more in ["", ", format => 'binary', compression => 'zstd', parallel => 2", ", task_id => 'job_1'"] {
        let report = stage.backup(&format!("{tables}{more}"));
        assert_eq!(report["tables_backed_up"]["docs"]["row_count"], 2200, "{report}");
        let backup = name(&report);
        let file = report["tables_backed_up"]["docs"]["backup_file"].as_str().expect("a place");
        assert!(file.starts_with(&format!("s3://{NAME}/deep/down/")), "{file}");
        assert_eq!(stage.faults(&backup), Vec::<String>::new());
        stage.restore(&backup, "replace");
        assert_eq!([stage.rows("langchain_pg_embedding"), stage.rows("docs")], before, "{more}");
        backups.push(backup);
    }
    assert!(bucket.arrived() >= 2 * 2, "no file had several parts");
    assert!(bucket.keys().iter().all(|key| !key.ends_with(".tmp")), "{:?}", bucket.keys());
    assert_eq!(bucket.unfinished(), Vec::<String>::new());
    let mut listed: Vec<String> = stage.db.all("select backup from ai.list_backups() where complete", &[]);
    listed.sort();
    backups.sort();
    assert_eq!(listed, backups);
    for backup in &backups {
        stage.db.exec("select ai.delete_backup($1)", &[backup]);
    }
    assert_eq!(bucket.keys(), Vec::<String>::new());
    let error = stage.db.error_of(&format!("select ai.verify_backup('{}')", backups[0]));
    assert_eq!(error.code().code(), "58P01", "{}", error.message());
    let log = stage.cluster.log();
    assert!(!log.contains(SECRET_KEY) && !log.contains(KEY_ID), "a credential is in the log");
}

/// Fear: emptied before the objects are durable, or a row that is nowhere.
#[test]
fn tables_are_emptied_after_the_objects_are_read_back() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    stage.db.batch(LARGE);
    let call = "tables => '{docs}', truncate_vector_tables => true";
    bucket.parts(Mood::Denied);
    let error = stage.db.error_of(&format!("select ai.backup_vector_tables({call})"));
    assert_eq!(error.code().code(), "42501", "{}", error.message());
    assert!(error.hint().is_some_and(|hint| hint.contains("AWS_ACCESS_KEY_ID")), "{:?}", error.hint());
    assert!(!format!("{error:?}").contains(KEY_ID), "{error:?}");
    assert_eq!(stage.count("select count(*) from docs"), 2200);
    assert_eq!((bucket.keys(), bucket.unfinished()), (vec![], vec![]), "a failed backup leaves nothing");
    // A fault that passes is not noticed.
    bucket.parts(Mood::Fail(2));
    let report = stage.backup(call);
    assert_eq!(report["truncate_performed"], true);
    assert_eq!(stage.count("select count(*) from docs"), 0);
    stage.restore(&name(&report), "refuse");
    assert_eq!(stage.count("select count(*) from docs where length(body) = 8000"), 2200);
}

/// Fear: a changed, cut or missing object is loaded.
#[test]
fn damaged_objects_are_refused() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    stage.db.batch("create table docs (id int, embedding vector(2)); insert into docs values (1, '[1,2]')");
    let backup = name(&stage.backup("tables => '{docs}'"));
    let object = bucket.file(&format!("deep/down/vector_bak/docs_{backup}.csv"));
    let sound = fs::read(&object).expect("the object");
    let mut changed = sound.clone();
    *changed.last_mut().expect("not empty") ^= 1;
    for damage in [Some(changed), Some(sound[..sound.len() - 3].to_vec()), None] {
        match damage {
            Some(bytes) => fs::write(&object, bytes).expect("spoiled"),
            None => fs::remove_file(&object).expect("removed"),
        }
        assert_eq!(stage.faults(&backup).len(), 1);
        let error = stage.db.error_of(&format!("select ai.restore_vector_tables('{backup}', 'replace')"));
        assert_eq!(error.code().code(), "XX001", "{}", error.message());
        assert_eq!(stage.count("select count(*) from docs"), 1);
    }
}

/// Fear: a cancel waits for a service that does not answer, or leaves half a backup there; a
/// crash leaves one for ever.
#[test]
fn cancelled_and_crashed_backups_leave_nothing_for_long() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    stage.cluster.expect_in_log("terminated by signal");
    stage.db.batch(LARGE);
    let start = |stage: &Stage, script: &'static str| {
        let mut session = stage.cluster.connect("postgres");
        let pid: i32 = session.one("select pg_backend_pid()", &[]);
        (pid, thread::spawn(move || session.batch_execute(script)))
    };
    let call = "select ai.backup_vector_tables(tables => '{docs}')";
    let hang = |bucket: &Bucket| {
        bucket.parts(Mood::Hang);
        let before = bucket.arrived();
        move |bucket: &Bucket| wait_until("a part hangs", SOON, || bucket.arrived() > before)
    };
    // Cancelled while a part is on its way and the pipe is full.
    let wait = hang(&bucket);
    let (pid, running) = start(&stage, call);
    wait(&bucket);
    stage.db.exec("select pg_cancel_backend($1)", &[&pid]);
    let error = running.join().expect("the session").expect_err("cancelled");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error:?}");
    assert_eq!((bucket.keys(), bucket.unfinished()), (vec![], vec![]), "a cancelled backup leaves nothing");
    // Killed there: its reservation and its upload stay until the next backup.
    let wait = hang(&bucket);
    let (pid, running) = start(&stage, call);
    wait(&bucket);
    process::signal(pid, libc::SIGKILL);
    running.join().expect("the session").expect_err("killed");
    stage.cluster.wait_until_ready();
    assert_eq!(bucket.unfinished().len(), 1);
    assert!(bucket.keys().iter().all(|key| key.ends_with(".tmp")), "{:?}", bucket.keys());
    stage.db = stage.cluster.connect("postgres");
    assert_eq!(stage.count("select count(*) from ai.list_backups()"), 0);
    bucket.parts(Mood::Willing);
    let backup = name(&stage.backup("tables => '{docs}'"));
    let folder = "deep/down/vector_bak";
    let expected = [format!("{folder}/docs_{backup}.csv"), format!("{folder}/manifest_{backup}.json")];
    assert_eq!(bucket.keys(), expected);
    assert_eq!(bucket.unfinished(), Vec::<String>::new());
}

/// Fear: two servers that share a bucket write one name, or sweep each other's running backups.
#[test]
fn servers_that_share_a_bucket_do_not_meet() {
    let bucket = Bucket::start();
    let (mut one, mut two) = (stage(&bucket), stage(&bucket));
    for stage in [&mut one, &mut two] {
        stage.db.batch(LARGE);
    }
    // A backup of the second server runs, as far as the first one can tell.
    bucket.parts(Mood::Hang);
    let before = bucket.arrived();
    let mut session = two.cluster.connect("postgres");
    let running = thread::spawn(move || {
        session.one::<Value>("select ai.backup_vector_tables(tables => '{docs}')", &[])
    });
    wait_until("a part hangs", SOON, || bucket.arrived() > before);
    let small = "create table small (id int, embedding vector(2)); insert into small values (1, '[1,2]')";
    one.db.batch(small);
    let first = name(&one.backup("tables => '{small}'"));
    assert_eq!(bucket.unfinished().len(), 1, "the running one was swept");
    assert!(bucket.keys().len() > 2, "{:?}", bucket.keys());
    // Its part was lost with the connection; the request is made again.
    bucket.parts(Mood::Willing);
    two.cluster.stop(StopMode::Immediate);
    assert!(running.join().is_err());
    // Both in the same second, over and over.
    two.cluster.start_again();
    two.db = two.cluster.connect("postgres");
    two.db.batch(small);
    let mut names = vec![first];
    for _ in 0..3 {
        thread::scope(|scope| {
            let other = scope.spawn(|| name(&two.backup("tables => '{small}'")));
            names.push(name(&one.backup("tables => '{small}'")));
            names.push(other.join().expect("the other one"));
        });
    }
    for name in &names {
        assert_eq!(one.faults(name), Vec::<String>::new(), "{name}");
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 7, "two backups share a name: {names:?}");
    assert_eq!(bucket.unfinished(), Vec::<String>::new());
}

/// Fear: between the look and the put somebody else takes the name, and is overwritten.
#[test]
fn a_name_that_was_taken_since_it_was_looked_for_stays_with_its_owner() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    stage.db.batch("create table docs (id int, embedding vector(2)); insert into docs values (1, '[1,2]')");
    let seconds: Vec<String> = stage.db.all(
        "select to_char(now() at time zone 'UTC' + s * interval '1 second', 'YYYYMMDD_HH24MISS')
           from generate_series(0, 60) s",
        &[],
    );
    let key = |second: &str| format!("deep/down/vector_bak/manifest_{second}.json.tmp");
    for second in &seconds {
        bucket.plant(&key(second), "somebody else's");
    }
    let backup = name(&stage.backup("tables => '{docs}'"));
    assert!(backup.ends_with("_2"), "{backup}");
    for second in &seconds {
        assert_eq!(fs::read_to_string(bucket.file(&key(second))).expect("there"), "somebody else's");
    }
    assert_eq!(stage.faults(&backup), Vec::<String>::new());
}

/// Fear: memory grows with what is sent or fetched.
#[test]
fn memory_stays_flat_on_the_way_to_a_bucket() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    stage.db.batch(LARGE);
    stage.db.batch("insert into docs select i, repeat(md5(i::text), 250), embedding from docs d, generate_series(2201, 9000) i where d.id = i % 2200 + 1");
    let pid: i32 = stage.db.one("select pg_backend_pid()", &[]);
    stage.db.batch("select count(*) from ai.list_backups()");
    let before = process::private_memory_kb(pid).expect("alive");
    let mut backup = String::new();
    let made = peak(pid, || {
        let report = stage.backup("tables => '{docs}'");
        assert!(report["tables_backed_up"]["docs"]["file_size"].as_u64() > Some(70_000_000), "{report}");
        backup = name(&report);
    });
    let loaded = peak(pid, || drop(stage.restore(&backup, "replace")));
    let most = 64 * 1024;
    assert!(made < before + most && loaded < before + most, "{before} kB grew to {made} and {loaded} kB");
}

/// Fear: anybody who may make a backup may use the credentials; or a wrong key, a missing bucket
/// or a service that is not there gives an error that nobody understands.
#[test]
fn credentials_are_granted_by_name_and_bad_places_are_said() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    stage.db.batch(
        "create role app login; grant create on schema public to app;
         grant execute on function ai.backup_vector_tables, ai.verify_backup to app",
    );
    let mut app = stage.cluster.connect_as("postgres", "app");
    app.batch("create table mine (id int, embedding vector(2)); insert into mine values (1, '[1,2]')");
    let call = "select ai.backup_vector_tables(tables => '{mine}')";
    let error = app.error_of(call);
    assert_eq!(error.code().code(), "42501", "{}", error.message());
    assert!(error.hint().is_some_and(|hint| hint.contains("ai.grant_secret('AWS_SECRET_ACCESS_KEY'")));
    stage.db.batch("select ai.grant_secret('AWS_SECRET_ACCESS_KEY', 'app')");
    let own = name(&app.one::<Value>(call, &[]));
    app.batch(&format!("select ai.verify_backup('{own}')"));
    // Secrets are read anew by every call.
    fs::write(stage.directory.path().join("AWS_SECRET_ACCESS_KEY"), "wrong").expect("written");
    let error = app.error_of(call);
    assert_eq!(error.code().code(), "42501", "{}", error.message());
    assert!(error.message().contains("SignatureDoesNotMatch"), "{}", error.message());
    fs::remove_file(stage.directory.path().join("AWS_SECRET_ACCESS_KEY")).expect("removed");
    assert_eq!(app.error_of(call).code().code(), "42704");
    fs::write(stage.directory.path().join("AWS_SECRET_ACCESS_KEY"), SECRET_KEY).expect("written");
    for (place, state) in [("s3://nowhere/x", "58P01"), ("s3://No", "55000"), ("s3://", "55000")] {
        stage.cluster.set("autovector.backup_directory", place);
        stage.cluster.restart();
        let mut db = stage.cluster.connect("postgres");
        let error = db.error_of(call);
        assert_eq!(error.code().code(), state, "{place}: {}", error.message());
        assert!(error.hint().is_some(), "{place}");
    }
}
