//! What checkpoints survive: dump and restore, promotion of a standby, kills at any moment.

use std::time::Duration;

use autovector_cluster_tests::{Scene, Settings, Spec, Sql, StopMode, process, wait_until};
use postgres::Client;

use crate::stage::{PATIENCE, quiet};

fn rows(db: &mut Client, from: &str) -> Vec<String> {
    db.all(&format!("select r::text from {from} r order by 1"), &[])
}

fn version(db: &mut Client, name: &str) -> Vec<String> {
    rows(db, &format!("ai.read_checkpoint('{name}', null::t)"))
}

/// A table that has been changed after its checkpoint, with a dropped column before the others, and a
/// second version.
fn scene() -> (Scene, Vec<String>, Vec<String>) {
    scene_with(quiet())
}

fn scene_with(settings: Settings) -> (Scene, Vec<String>, Vec<String>) {
    let mut scene = Scene::with(settings);
    let db = &mut scene.db;
    db.batch(
        "create table t (gone int, id int primary key, v text); alter table t drop column gone;
         insert into t select i, 'v' || i from generate_series(1, 50) i; select ai.create_checkpoint('t', 'one')",
    );
    let one = rows(db, "t");
    db.batch("update t set v = 'changed' where id <= 10; delete from t where id = 11; insert into t values (100, 'new');
              select ai.create_checkpoint('t', 'two', '1 hour')");
    let two = rows(db, "t");
    db.batch("update t set v = 'later' where id between 5 and 15; alter table t rename column v to words; alter table t rename column words to v;
              select ai.verify_checkpoint('one'); select ai.checkout_checkpoint('one', 'seen')");
    (scene, one, two)
}

/// Fear: a restored database has lost the versions, or they are there and not what they were, or
/// what changes after the restore is not kept.
#[test]
fn a_dump_takes_versions_along() {
    let (mut scene, one, two) = scene();
    let live = rows(&mut scene.db, "t");
    let file = scene.cluster.directory().join("dump").display().to_string();
    scene.cluster.run_client("pg_dump", &["-Fc", "-f", &file, "postgres"]);
    for (name, jobs) in [("restored", "1"), ("restored_again", "4")] {
        let mut db = scene.cluster.create_database(name);
        scene.cluster.run_client("pg_restore", &["--exit-on-error", "-j", jobs, "-d", name, &file]);
        assert_eq!((version(&mut db, "one"), version(&mut db, "two")), (one.clone(), two.clone()));
        assert_eq!(rows(&mut db, "seen"), one);
        assert!(
            db.one::<bool>("select (ai.verify_checkpoint('one') ->> 'ok')::bool", &[]),
            "the checksum is the same"
        );
        assert!(db.one::<bool>("select expires_at > now() from ai.checkpoints where name = 'two'", &[]));
        db.batch("update t set v = 'after restore'; update t set v = 'again'; delete from t where id < 5; insert into t values (300, 'x')");
        assert_eq!((version(&mut db, "one"), version(&mut db, "two")), (one.clone(), two.clone()));
        db.batch(
            "select ai.create_checkpoint('t', 'three'); truncate t; select ai.restore_checkpoint('two')",
        );
        assert_eq!(rows(&mut db, "t"), two);
        db.batch("select ai.restore_checkpoint('one'); alter table t add column more int; select ai.create_checkpoint('t', 'four')");
        assert_eq!(db.one::<i64>("select count(*) from ai.diff_checkpoints('one', 'four')", &[]), 0);
        assert_eq!(db.error_of("alter table t disable trigger all").code().code(), "55000");
    }
    assert_eq!(rows(&mut scene.db, "t"), live);
    scene.finish();
}

/// Fear: versions exist on the primary alone, cannot be read on a standby, or move after a promotion.
#[test]
fn a_standby_reads_versions_and_keeps_them_when_promoted() {
    let (mut scene, one, two) = scene();
    let mut standby = scene.cluster.standby();
    scene.db.batch("update t set v = 'while there is a standby' where id > 40");
    let mut db = standby.connect("postgres");
    wait_until("the standby has caught up", PATIENCE, || {
        db.one::<i64>("select count(*) from t where v = 'while there is a standby'", &[]) > 0
    });
    assert_eq!((version(&mut db, "one"), version(&mut db, "two")), (one.clone(), two.clone()));
    assert_eq!(rows(&mut db, "seen"), one);
    scene.cluster.stop(StopMode::Fast);
    db.batch("select pg_promote()");
    db.batch("update t set v = 'promoted'; select ai.create_checkpoint('t', 'three'); delete from t");
    assert_eq!((version(&mut db, "one"), version(&mut db, "two")), (one, two));
    assert_eq!(version(&mut db, "three").len(), 50);
    standby.wait_until_ready();
    standby.assert_healthy();
}

/// Fear: a kill in the middle of a checkpoint, a restore or a collection leaves half of it, or what
/// cannot be begun again.
#[test]
fn kills_at_any_moment_leave_nothing_half_done() {
    let (mut scene, one, two) = scene();
    scene.cluster.expect_in_log("terminated by signal 9");
    let live = rows(&mut scene.db, "t");
    for work in [
        "select ai.create_checkpoint('t', 'three')",
        "select ai.restore_checkpoint('one')",
        "update t set v = 'lost'; truncate t",
        "select ai.clone_checkpoint('one', 'copy')",
        "select ai.detach_checkpoints('t')",
        "select ai.delete_checkpoint('two'); select * from ai.gc_checkpoints()",
    ] {
        let mut victim = scene.cluster.connect("postgres");
        let pid: i32 = victim.one("select pg_backend_pid()", &[]);
        victim.batch(&format!("begin; {work}"));
        process::signal(pid, libc::SIGKILL);
        scene.reconnect();
        let db = &mut scene.db;
        assert_eq!(rows(db, "t"), live, "{work}");
        assert_eq!((version(db, "one"), version(db, "two")), (one.clone(), two.clone()), "{work}");
        db.batch("begin; update t set v = 'x'; select ai.restore_checkpoint('two'); rollback");
        assert_eq!(db.one::<i64>("select count(*) from ai.checkpoints", &[]), 2, "{work}");
    }
    scene.db.batch("select ai.delete_checkpoint('one'); select * from ai.gc_checkpoints()");
    assert_eq!(version(&mut scene.db, "two"), two);
    scene.cluster.wait_until_ready();
    scene.finish();
}

/// Fear: the restart of the server, or of a worker that writes, moves a vectorizer's version.
#[test]
fn a_killed_worker_moves_no_version() {
    let mut scene = Scene::new();
    scene.cluster.expect_in_log("terminated by signal 9");
    scene.table("docs", 400);
    scene.provider.set_latency(Duration::from_millis(5));
    scene.vectorize(&Spec::on("docs").processing(10, 2));
    scene.settle("docs");
    scene.db.batch("select ai.create_checkpoint('docs', 'one')");
    let read = "select string_agg(r::text, ',' order by id) from ai.read_checkpoint('one', null::docs_embedding_store) r";
    let one: String = scene.db.one(read, &[]);
    for round in 0..2 {
        scene.db.batch(&format!("update docs set body = 'round {round} ' || id"));
        wait_until("some are embedded", PATIENCE, || {
            scene.count(&format!(
                "select count(*) from docs_embedding_store where chunk like 'round {round}%'"
            )) > 0
        });
        let worker = scene.workers()[0];
        process::signal(worker, libc::SIGKILL);
        scene.reconnect();
        assert_eq!(scene.db.one::<String>(read, &[]), one);
    }
    scene.settle("docs");
    assert_eq!(scene.db.one::<String>(read, &[]), one);
    scene.cluster.wait_until_ready();
    scene.finish();
}

/// Fear: a backup that has begun fails, or misses rows, because a collection freed them meanwhile.
#[test]
fn a_running_backup_keeps_what_it_reads() {
    let (mut scene, one, two) = scene();
    scene.db.batch(
        "drop view seen; select ai.detach_checkpoints('t'); select ai.create_checkpoint('t', 'three')",
    );
    let three = rows(&mut scene.db, "t");
    scene.db.batch("update t set v = 'last'");
    // What pg_dump does first, held so that the rest comes after the collection.
    let mut dump = scene.cluster.connect("postgres");
    dump.batch("begin isolation level repeatable read");
    let snapshot: String = dump.one("select pg_export_snapshot()", &[]);
    scene.db.batch("select ai.delete_checkpoint(id) from ai.checkpoints");
    for _ in 0..3 {
        scene.db.batch("select * from ai.gc_checkpoints()");
    }
    assert_eq!(scene.count("select count(*) from ai._checkpoint_pin"), 0, "collected it is");
    let file = scene.cluster.directory().join("dump").display().to_string();
    scene.cluster.run_client("pg_dump", &["-Fc", "--snapshot", &snapshot, "-f", &file, "postgres"]);
    let mut db = scene.cluster.create_database("restored");
    scene.cluster.run_client("pg_restore", &["--exit-on-error", "-d", "restored", &file]);
    assert_eq!((version(&mut db, "one"), version(&mut db, "two")), (one, two));
    assert_eq!(version(&mut db, "three"), three);
    // When the backup is over nothing is kept for it.
    dump.batch("commit");
    scene.db.batch("select * from ai.gc_checkpoints()");
    assert_eq!(
        scene.count("select count(*) from pg_class where oid = to_regclass('ai._checkpoint_history_1')"),
        0
    );
    assert_eq!(scene.count("select count(*) from ai._checkpoint_history_2"), 0);
    scene.finish();
}

/// Fear: a backup of our own that empties the table takes the versions along.
#[test]
fn a_backup_that_empties_the_table_moves_no_version() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = quiet().set("autovector.backup_directory", &directory.path().display().to_string());
    let mut scene = Scene::with(settings);
    let db = &mut scene.db;
    db.batch(
        "create table t (id bigint primary key, embedding vector(2));
         insert into t select i, array[i, -i]::float4[]::vector from generate_series(1, 100) i;
         select ai.create_checkpoint('t', 'one'); update t set embedding = '[0,0]' where id <= 10",
    );
    let one = version(db, "one");
    let live = rows(db, "t");
    let backup: String = db.one(
        "select ai.backup_vector_tables(tables => array['t'], truncate_vector_tables => true) ->> 'backup'",
        &[],
    );
    assert_eq!(db.one::<i64>("select count(*) from t", &[]), 0);
    assert_eq!(version(db, "one"), one);
    db.batch(&format!("select ai.restore_vector_tables('{backup}', 'replace')"));
    assert_eq!(rows(db, "t"), live);
    assert_eq!(version(db, "one"), one);
    db.batch("select ai.restore_checkpoint('one')");
    assert_eq!(rows(db, "t"), one);
    scene.finish();
}

/// Fear: a collector that is killed leaves what is never collected, or frees too much when it is begun
/// again.
#[test]
fn a_killed_collector_is_begun_again() {
    let (mut scene, one, two) = scene_with(Settings::default().set("autovector.naptime", "100ms"));
    for pattern in ["terminated by signal 9", "failpoint"] {
        scene.cluster.expect_in_log(pattern);
    }
    let kept = "select count(*) from ai._checkpoint_history_1";
    scene.db.batch("select ai.create_checkpoint('t', 'three'); update t set v = 'three'");
    for (place, name) in [("checkpoint_sweep", "three"), ("checkpoint_sweep_commits", "two")] {
        let before = scene.count(kept);
        let armed = scene.cluster.data_directory().join("autovector.failpoints");
        std::fs::write(&armed, format!("{place}=kill")).expect("the data directory can be written");
        // The housekeeper may end before the session has said that it committed, and takes it along.
        let deleted = scene.db.batch_execute(&format!("select ai.delete_checkpoint('{name}')"));
        assert!(deleted.is_ok() || scene.db.is_closed(), "{deleted:?}");
        scene.reconnect();
        assert!(!armed.exists(), "the housekeeper was killed at {place}");
        wait_until("the collection was begun again", PATIENCE, || {
            scene.count(kept) < before
                && scene.count(
                    "select count(*) from ai._checkpoint_version v where not exists
                (select from ai._checkpoint_pin p where p.number = v.number)",
                ) == 0
        });
        assert_eq!(version(&mut scene.db, "one"), one, "{place}");
        if name == "three" {
            assert_eq!(version(&mut scene.db, "two"), two, "{place}");
        }
    }
    scene.db.batch("select ai.delete_checkpoint('one')");
    wait_until("nothing is left", PATIENCE, || scene.count(kept) == 0);
    scene.cluster.wait_until_ready();
    scene.finish();
}
