//! The ways into a bucket and out of it besides a plain call: restores over a bad connection,
//! policies, and backups of another server.

use std::time::Duration;

use autovector_cluster_tests::{
    Sql,
    bucket::{Bucket, Mood},
    wait_until,
};

use super::{
    bucket::{LARGE, stage},
    policy,
    remote::{self, Other},
    stage::{LANGCHAIN, fill, name},
};

const SOON: Duration = Duration::from_secs(60);

/// Fear: a restore whose connection breaks in the middle leaves half a table, or none; or one
/// answer that was lost ends it.
#[test]
fn a_restore_takes_all_or_nothing_from_a_bucket() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    stage.db.batch(LARGE);
    let backup = name(&stage.backup("tables => '{docs}'"));
    let saved = stage.rows("docs");
    stage.db.batch("delete from docs where id > 100; update docs set body = 'changed' where id < 50");
    let changed = stage.rows("docs");
    for given in [0, 1, 2, 3] {
        bucket.reads_after(given, Mood::Denied);
        let error = stage.db.error_of(&format!("select ai.restore_vector_tables('{backup}', 'replace')"));
        assert_eq!(error.code().code(), "42501", "after {given}: {error}");
        assert_eq!(stage.rows("docs"), changed, "after {given}");
    }
    // A read that is never answered ends with the statement.
    stage.db.batch("set statement_timeout = '2s'");
    for given in [0, 2] {
        bucket.reads_after(given, Mood::Hang);
        let error = stage.db.error_of(&format!("select ai.restore_vector_tables('{backup}', 'replace')"));
        assert_eq!(error.code().code(), "57014", "after {given}: {error}");
    }
    stage.db.batch("reset statement_timeout");
    assert_eq!(stage.rows("docs"), changed);
    bucket.reads_after(1, Mood::Fail(2));
    stage.restore(&backup, "replace");
    assert_eq!(stage.rows("docs"), saved);
    stage.cluster.assert_healthy();
}

/// Fear: backups at regular hours do not know buckets, or never delete what is old there.
#[test]
fn a_policy_keeps_its_newest_in_a_bucket() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 20);
    stage.db.batch("select ai.set_backup_policy('1 hour', keep_last => 2)");
    wait_until("the first is there", SOON, || policy::backups(&mut stage).len() == 1);
    let oldest = policy::backups(&mut stage).pop().expect("one");
    for _ in 0..2 {
        policy::run_now(&mut stage);
    }
    wait_until("the oldest is gone", SOON, || {
        let left = policy::backups(&mut stage);
        left.len() == 2 && !left.contains(&oldest)
    });
    // Of two within a second the name of the first begins that of the second.
    let of_oldest = format!("_{oldest}.");
    assert!(!bucket.keys().iter().any(|key| key.contains(&of_oldest)), "{:?}", bucket.keys());
    let newest = policy::backups(&mut stage).pop().expect("two");
    assert_eq!(stage.faults(&newest), Vec::<String>::new());
    stage.cluster.assert_healthy();
}

/// Fear: another server's rows do not get into a bucket as they are, or not out of it.
#[test]
fn another_servers_tables_go_into_a_bucket() {
    let bucket = Bucket::start();
    let mut stage = stage(&bucket);
    let mut other = Other::start();
    stage.db.batch(LANGCHAIN);
    let report = stage.backup(&remote::call(&other.socket(), ""));
    let of_backup = format!("_{}.", name(&report));
    assert!(bucket.keys().iter().any(|key| key.contains(&of_backup)), "{:?}", bucket.keys());
    stage.restore(&name(&report), "replace");
    let rows = remote::rows(&mut other.db);
    assert_eq!(rows.len(), 200);
    assert_eq!(remote::rows(&mut stage.db), rows);
    stage.cluster.assert_healthy();
}
