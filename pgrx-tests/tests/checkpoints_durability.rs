//! What checkpoints survive: dump and restore, promotion of a standby, kills at any moment.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use autovector_cluster_tests::{Cluster, Scene, Settings, Spec, Sql, StopMode, paths, process, wait_until};
use postgres::Client;

const PATIENCE: Duration = Duration::from_secs(60);

fn run(cluster: &Cluster, program: &str, arguments: &[&str]) {
    let output = Command::new(paths::program(program))
        .args(["-h", &cluster.directory().display().to_string(), "-U", "postgres"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

fn rows(db: &mut Client, from: &str) -> Vec<String> {
    db.all(&format!("select r::text from {from} r order by 1"), &[])
}

fn version(db: &mut Client, name: &str) -> Vec<String> {
    rows(db, &format!("ai.read_checkpoint('{name}', null::t)"))
}

/// A table that has been changed after its checkpoint, with a dropped column before the others, and a
/// second version.
fn scene() -> (Scene, Vec<String>, Vec<String>) {
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "1h"));
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
    run(&scene.cluster, "pg_dump", &["-Fc", "-f", &file, "postgres"]);
    for (name, jobs) in [("restored", "1"), ("restored_again", "4")] {
        let mut db = scene.cluster.create_database(name);
        run(&scene.cluster, "pg_restore", &["--exit-on-error", "-j", jobs, "-d", name, &file]);
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
