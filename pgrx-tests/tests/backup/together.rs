//! Backups and restores beside each other, beside writers, and on a standby.

use std::{collections::BTreeSet, thread, time::Duration};

use autovector_cluster_tests::{Sql, wait_until};
use serde_json::Value;

use super::stage::{LANGCHAIN, Stage, fill, name};

const SOON: Duration = Duration::from_secs(60);

/// Fear: backups that begin at one moment take each other's names, sweep each other's files, or
/// see half of each other's TRUNCATE.
#[test]
fn backups_at_one_time_do_not_disturb_each_other() {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 300);
    stage.db.batch("create table other as select * from langchain_pg_embedding");
    let callers = [
        "",
        "tables => '{langchain_pg_embedding}', compression => 'zstd'",
        "tables => '{other}', format => 'binary'",
        "tables => '{other}', parallel => 2",
        "tables => '{other}', truncate_vector_tables => true",
    ];
    let sessions = callers.map(|arguments| {
        let mut db = stage.cluster.connect("postgres");
        thread::spawn(move || {
            let mut reports: Vec<Value> = Vec::new();
            for _ in 0..4 {
                reports.push(db.one(&format!("select ai.backup_vector_tables({arguments})"), &[]));
            }
            reports
        })
    });
    let reports: Vec<Value> = sessions.into_iter().flat_map(|s| s.join().expect("a session")).collect();
    let names: BTreeSet<String> = reports.iter().map(name).collect();
    assert_eq!(names.len(), callers.len() * 4);
    for backup in &names {
        assert_eq!(stage.faults(backup), Vec::<String>::new());
    }
    assert!(stage.files().iter().all(|file| !file.ends_with(".tmp")), "{:?}", stage.files());
    let saved = |report: &Value| report["tables_backed_up"]["other"]["row_count"].as_u64();
    let rows: BTreeSet<u64> = reports.iter().filter_map(saved).collect();
    assert!(rows.is_subset(&[0, 300].into()), "half of a TRUNCATE: {rows:?}");
    let emptied: Vec<u64> =
        reports.iter().filter(|r| r["truncate_performed"] == true).filter_map(saved).collect();
    assert_eq!(emptied.iter().sum::<u64>(), 300, "every row is in one backup that emptied: {emptied:?}");
    stage.cluster.assert_healthy();
}

/// Fear: a row that a session writes during a restore is lost, or mixed with what is loaded; or
/// who may not wait waits for ever.
#[test]
fn a_restore_waits_for_writers_and_they_for_it() {
    let mut stage = Stage::new();
    stage.db.batch("create table docs (id int primary key, embedding vector(2)); insert into docs select i, '[1,2]' from generate_series(1, 50) i");
    let backup = name(&stage.backup("tables => '{docs}'"));
    for (mode, left) in [("replace", 50), ("skip_existing", 51)] {
        let mut writer = stage.cluster.connect("postgres");
        writer.batch("begin; insert into docs values (1000, '[3,4]')");
        stage.db.batch("set lock_timeout = '50ms'");
        let error = stage.db.error_of(&format!("select ai.restore_vector_tables('{backup}', '{mode}')"));
        assert_eq!(error.code().code(), "55P03", "{}", error.message());
        assert!(error.detail().is_some_and(|detail| detail.contains("\"can_retry\":true")), "{error:?}");
        stage.db.batch("reset lock_timeout");
        let mut session = stage.cluster.connect("postgres");
        let call = format!("select ai.restore_vector_tables('{backup}', '{mode}')");
        let running = thread::spawn(move || session.batch_execute(&call));
        wait_until("the restore waits", SOON, || {
            stage.count("select count(*) from pg_locks where not granted and relation = 'docs'::regclass") > 0
        });
        writer.batch("commit");
        running.join().expect("the session").unwrap_or_else(|error| panic!("{mode}: {error:?}"));
        assert_eq!(stage.count("select count(*) from docs"), left, "{mode}");
        // And one that comes while rows are loaded is neither lost nor in the way.
        stage.db.batch("begin");
        stage.restore(&backup, mode);
        let late = thread::spawn(move || writer.batch_execute("insert into docs values (2000, '[5,6]')"));
        let mut watcher = stage.cluster.connect("postgres");
        wait_until("the writer waits", SOON, || {
            watcher.one::<i64>(
                "select count(*) from pg_locks where not granted and relation = 'docs'::regclass",
                &[],
            ) > 0
        });
        stage.db.batch("commit");
        late.join().expect("the writer").expect("its row is written");
        assert_eq!(stage.count("select count(*) from docs"), left + 1, "{mode}");
        stage.db.batch("delete from docs where id = 2000");
    }
}

/// Fear: a standby refuses the backups that it is there for, or tries what it cannot do.
#[test]
fn a_standby_makes_backups_and_refuses_the_rest() {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 100);
    let earlier = name(&stage.backup(""));
    let standby = stage.cluster.standby();
    let mut db = standby.connect("postgres");
    // Replaying a restore locks the tables, and ends who reads them meanwhile.
    let catch_up = |stage: &mut Stage| {
        let written: String = stage.db.one("select pg_current_wal_lsn()::text", &[]);
        let mut watcher = standby.connect("postgres");
        wait_until("the standby has caught up", SOON, || {
            watcher.one("select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", &[&written])
        });
    };
    for arguments in ["", "parallel => 2, format => 'binary'"] {
        catch_up(&mut stage);
        let report: Value = db.one(&format!("select ai.backup_vector_tables({arguments})"), &[]);
        assert_eq!(report["tables_backed_up"]["langchain_pg_embedding"]["row_count"], 100, "{report}");
        let verdict: Value = db.one("select ai.verify_backup($1)", &[&name(&report)]);
        assert_eq!(verdict["valid"], true, "{verdict}");
        stage.restore(&name(&report), "replace");
        assert_eq!(stage.count("select count(*) from langchain_pg_embedding"), 100);
    }
    assert_eq!(db.one::<i64>("select count(*) from ai.list_backups() where complete", &[]), 3);
    for call in [
        "backup_vector_tables(truncate_vector_tables => true)".to_owned(),
        format!("restore_vector_tables('{earlier}', 'replace')"),
        format!("delete_backup('{earlier}')"),
    ] {
        let error = db.error_of(&format!("select ai.{call}"));
        assert_eq!(error.code().code(), "55000", "{call}: {}", error.message());
        assert!(error.hint().is_some(), "{call}: {}", error.message());
    }
    let error = db.error_of("select ai.set_backup_policy('1 day')");
    assert_eq!(error.code().code(), "25006", "{}", error.message());
    assert_eq!(stage.count("select count(*) from ai.list_backups() where complete"), 3);
    standby.assert_healthy();
}
