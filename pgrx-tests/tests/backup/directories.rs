//! Where backups may lie, who may make and use them, and what errors say.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use autovector_cluster_tests::Sql;
use serde_json::Value;

use super::stage::{LANGCHAIN, Stage, fill, name};

fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 40);
    stage
}

/// Checks SQLSTATE, `error_type` and `can_retry` of a call that must fail.
fn refused(stage: &mut Stage, sql: &str, state: &str, kind: &str, can_retry: bool) {
    let error = stage.db.error_of(sql);
    assert_eq!(error.code().code(), state, "{sql}: {}", error.message());
    let detail: Value = serde_json::from_str(error.detail().expect("a detail")).expect("JSON");
    assert_eq!((&detail["error_type"], &detail["can_retry"]), (&kind.into(), &can_retry.into()), "{sql}");
    assert!(error.hint().is_some(), "{sql}: {}", error.message());
}

/// Fear: a name leads out of the directory, or an error does not say what to do.
#[test]
fn tasks_have_directories_of_their_own() {
    let mut stage = stage();
    let root = stage.directory.path().to_owned();
    for bad in ["", "..", "a/b", "../x", "a b", "ä", "vector_bak", "a.b", &"a".repeat(200)] {
        let call = format!("select ai.backup_vector_tables('{bad}')");
        refused(&mut stage, &call, "22023", "INVALID_PARAMS", false);
    }
    refused(&mut stage, "select ai.backup_vector_tables('task_1')", "58P01", "RESOURCE_NOT_FOUND", false);
    fs::create_dir(root.join("task_1")).expect("created");
    let report = stage.backup("'task_1'");
    assert!(name(&report).starts_with("task_1/"), "{report}");
    assert_eq!(report["backup_directory"], root.join("task_1/vector_bak").display().to_string());
    assert_eq!(stage.faults(&name(&report)), Vec::<String>::new());
    stage.restore(&name(&report), "replace");
    let tasks: Vec<Option<String>> = stage.db.all("select task_id from ai.list_backups()", &[]);
    assert_eq!(tasks, [Some("task_1".to_owned())]);

    let outside = tempfile::tempdir().expect("a directory");
    symlink(outside.path(), root.join("escape")).expect("linked");
    refused(&mut stage, "select ai.backup_vector_tables('escape')", "58P01", "RESOURCE_NOT_FOUND", false);
    symlink(outside.path(), root.join("vector_bak")).expect("linked");
    refused(&mut stage, "select ai.backup_vector_tables()", "58P01", "RESOURCE_NOT_FOUND", false);
    assert_eq!(fs::read_dir(outside.path()).expect("listed").count(), 0);
    for bad in ["x", "../20260101_000000", "task_1", "nope/20260101_000000", "20260101_000000"] {
        let error = stage.db.error_of(&format!("select ai.verify_backup('{bad}')"));
        assert!(["22023", "58P01"].contains(&error.code().code()), "{bad}: {}", error.code().code());
    }
    for (arguments, state) in [
        ("format => 'xml'", "22023"),
        ("compression => 'lz4'", "22023"),
        ("parallel => 0", "22023"),
        ("tables => '{}'", "22023"),
        ("backup_vector_tables => false", "22023"),
    ] {
        refused(
            &mut stage,
            &format!("select ai.backup_vector_tables({arguments})"),
            state,
            "INVALID_PARAMS",
            false,
        );
    }
}

/// Fear: others of the machine read what is in the database.
#[test]
fn files_belong_to_the_server_alone() {
    let mut stage = stage();
    stage.backup("");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&stage.folder()), 0o700);
    for file in stage.files() {
        assert_eq!(mode(&stage.folder().join(&file)), 0o600, "{file}");
    }
    let log = fs::read_to_string(stage.folder().join("vector_backup_log.txt")).expect("there");
    stage.backup("");
    let longer = fs::read_to_string(stage.folder().join("vector_backup_log.txt")).expect("there");
    assert!(longer.starts_with(&log) && longer.lines().count() == 2, "{longer}");
}

/// Fear: a directory that cannot be written to, or a disk that is full, leaves something that
/// looks like a backup, or costs rows.
#[test]
fn a_disk_that_refuses_costs_nothing() {
    let mut stage = stage();
    stage.db.batch("insert into langchain_pg_embedding select 'more ' || i, null, '[1]', repeat(md5(i::text), 40), null from generate_series(1, 5000) i");
    let all = stage.count("select count(*) from langchain_pg_embedding");
    let root = stage.directory.path().to_owned();
    let call = "select ai.backup_vector_tables(truncate_vector_tables => true)";
    fs::set_permissions(&root, Permissions::from_mode(0o500)).expect("changed");
    refused(&mut stage, call, "42501", "DATABASE_ERROR", false);
    fs::set_permissions(&root, Permissions::from_mode(0o700)).expect("changed");

    // No file of this session's may become larger than a megabyte.
    let pid: i32 = stage.db.one("select pg_backend_pid()", &[]);
    let limit = |size: &str| {
        let limited = Command::new("prlimit")
            .args([format!("--pid={pid}"), format!("--fsize={size}:unlimited")])
            .status();
        assert!(limited.expect("prlimit runs").success());
    };
    limit("1000000");
    refused(&mut stage, call, "58030", "DATABASE_ERROR", false);
    limit("unlimited");
    assert_eq!(stage.files(), Vec::<String>::new(), "nothing is left");
    assert_eq!(stage.count("select count(*) from langchain_pg_embedding"), all);
    stage.backup("truncate_vector_tables => true");
    assert_eq!(stage.count("select count(*) from langchain_pg_embedding"), 0);

    fs::remove_dir_all(&root).expect("removed");
    refused(&mut stage, "select ai.backup_vector_tables()", "58P01", "RESOURCE_NOT_FOUND", false);
    fs::create_dir(&root).expect("created");
}

/// Fear: the setting can be changed by whoever calls, or points where a restart would lose it.
#[test]
fn the_directory_is_the_administrators() {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    let error = stage.db.error_of("set autovector.backup_directory = '/tmp'");
    assert_eq!(error.code().code(), "55P02");
    let data = stage.cluster.data_directory().join("backups");
    fs::create_dir(&data).expect("created");
    for directory in [data.display().to_string(), "relative".into(), String::new()] {
        stage.cluster.set("autovector.backup_directory", &directory);
        stage.cluster.restart();
        stage.db = stage.cluster.connect("postgres");
        let error = stage.db.error_of("select ai.backup_vector_tables()");
        assert_eq!(error.code().code(), "55000", "{directory}: {}", error.message());
        assert!(error.hint().is_some());
    }
}

/// Fear: a role reads tables that are not its own through somebody's backup, or a backup through
/// tables of its own.
#[test]
fn rights_are_those_of_the_caller() {
    let mut stage = stage();
    let others = name(&stage.backup(""));
    stage.db.batch("create role app login; create role stranger login; grant create on schema public to app");
    let mut app = stage.cluster.connect_as("postgres", "app");
    let call = "select ai.backup_vector_tables(tables => '{mine}')";
    app.batch("create table mine (id int, embedding vector(2)); insert into mine values (1, '[1,2]')");
    assert_eq!(app.error_of(call).code().code(), "42501", "nobody but a superuser, unless granted");
    stage.db.batch(
        "grant execute on function ai.backup_vector_tables, ai.restore_vector_tables, ai.verify_backup, ai.list_backups,
           ai._list_backups, ai.delete_backup to app, stranger",
    );
    assert_eq!(app.error_of("select ai.backup_vector_tables()").code().code(), "42501");
    let own = name(&app.one::<Value>(call, &[]));
    assert_eq!(app.all::<String>("select backup from ai.list_backups()", &[]), [own.as_str()]);
    for function in ["verify_backup", "delete_backup", "restore_vector_tables"] {
        let error = app.error_of(&format!("select ai.{function}('{others}')"));
        assert_eq!(error.code().code(), "42501", "{function}");
    }
    let mut stranger = stage.cluster.connect_as("postgres", "stranger");
    assert_eq!(stranger.all::<String>("select backup from ai.list_backups()", &[]), Vec::<String>::new());
    assert_eq!(stranger.error_of(&format!("select ai.verify_backup('{own}')")).code().code(), "42501");
    app.batch("truncate mine");
    app.batch(&format!("select ai.restore_vector_tables('{own}')"));
    assert_eq!(app.one::<i64>("select count(*) from mine", &[]), 1);
    stage.db.batch(
        "revoke insert on mine from app; alter table mine owner to postgres; grant select on mine to app",
    );
    let error = app.error_of(&format!("select ai.restore_vector_tables('{own}', 'append')"));
    assert_eq!(error.code().code(), "42501");
    app.batch(&format!("select ai.delete_backup('{own}')"));
}

/// Fear: COPY FROM as a superuser runs the triggers of a table's owner with every right.
#[test]
fn triggers_of_the_target_run_as_the_caller() {
    let mut stage = Stage::new();
    stage.db.batch(
        "create table docs (id int, embedding vector(2), who text); insert into docs values (1, '[1,2]');
         create role app login; grant all on docs to app; alter table docs owner to app;
         grant execute on function ai.backup_vector_tables, ai.restore_vector_tables to app;
         create function public.who() returns trigger language plpgsql as
           $$ begin new.who := current_user || ' ' || current_setting('is_superuser'); return new; end $$;
         create trigger t before insert on docs for each row execute function public.who()",
    );
    let mut app = stage.cluster.connect_as("postgres", "app");
    let backup = name(&app.one::<Value>("select ai.backup_vector_tables(tables => '{docs}')", &[]));
    app.batch(&format!("select ai.restore_vector_tables('{backup}', 'replace')"));
    assert_eq!(app.one::<String>("select who from docs", &[]), "app off");
}

/// Fear: a cancelled backup leaves half a backup behind, or an emptied table.
#[test]
fn a_cancelled_backup_leaves_nothing() {
    let mut stage = Stage::new();
    stage.db.batch(
        "create table docs (id int, body text, embedding vector(2));
         insert into docs select i, repeat(md5(i::text), 100), '[1,2]' from generate_series(1, 20000) i",
    );
    // It may be over before it can be cancelled; then it is tried again.
    let cancelled = (0..50).any(|_| {
        stage.db.batch("begin");
        let cancelled = cancel_once(&mut stage);
        stage.db.batch("rollback");
        cancelled
    });
    assert!(cancelled, "every one was too fast");
    let complete = stage.count("select count(*) from ai.list_backups() where complete");
    assert_eq!(stage.files().len() as i64, complete * 2, "{:?}", stage.files());
    assert_eq!(stage.count("select count(*) from docs"), 20_000);
}

/// Starts a backup and cancels it as soon as it has a file; false when it was faster.
fn cancel_once(stage: &mut Stage) -> bool {
    let pid: i32 = stage.db.one("select pg_backend_pid()", &[]);
    let mut other = stage.cluster.connect("postgres");
    let folder = stage.folder();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = over.clone();
    let canceller = std::thread::spawn(move || {
        let is_over = || seen.load(std::sync::atomic::Ordering::Relaxed);
        while !is_over() && !super::stage::files(&folder).iter().any(|file| file.ends_with(".zst.tmp")) {}
        if !is_over() {
            other.exec("select pg_cancel_backend($1)", &[&pid]);
        }
    });
    let call = "select ai.backup_vector_tables(tables => '{docs}', compression => 'zstd', truncate_vector_tables => true)";
    let result = stage.db.batch_execute(call);
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    canceller.join().expect("cancelled");
    match result {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error:?}");
            true
        }
    }
}
