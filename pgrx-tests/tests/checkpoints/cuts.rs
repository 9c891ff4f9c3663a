//! The cut: a checkpoint belongs to its transaction, waits for writers that have begun, and is of one
//! moment across tables.

use postgres::Client;

use autovector_cluster_tests::{Scene, Sql, wait_until};

use crate::stage::{PATIENCE, Stop, create, quiet, rows, scene, table, version};

/// Fear: a checkpoint is there although its transaction is not, or forgets what was written before it
/// in the same transaction, or takes along what was written after it.
#[test]
fn a_checkpoint_belongs_to_its_transaction() {
    let mut scene = scene();
    let db = &mut scene.db;
    db.batch("begin; update t set v = 'mine' where id = 1; delete from t where id = 2; insert into t values (101, 'new')");
    create(db, "two");
    db.batch("update t set v = 'later' where id in (1, 3); update t set v = 'later still' where id = 1; insert into t values (2, 'back')");
    let seen = version(db, "two");
    db.batch("savepoint s; update t set v = 'gone' where id = 4");
    create(db, "three");
    db.batch(
        "update t set v = 'gone' where id = 5; rollback to s; update t set v = 'kept' where id = 4; commit",
    );
    assert_eq!(version(db, "two"), seen);
    assert_eq!(seen.len(), 100);
    assert!(
        seen.contains(&"(1,mine,\"[1,1,2]\")".to_owned()) && seen.contains(&"(3,v3,\"[3,1,2]\")".to_owned())
    );
    assert!(!seen.iter().any(|row| row.starts_with("(2,")));
    assert_eq!(db.error_of("select ai.verify_checkpoint('three')").code().code(), "42704");
    db.batch("begin");
    create(db, "four");
    db.batch("update t set v = 'undone'; rollback");
    assert_eq!(db.error_of("select ai.verify_checkpoint('four')").code().code(), "42704");
    assert_eq!(db.one::<i64>("select count(*) from t where v = 'undone'", &[]), 0);
    scene.finish();
}

/// Fear: a writer looks, sees no checkpoint, and commits after one was made; or the other way round
/// both wait for each other.
#[test]
fn a_writer_that_has_begun_is_waited_for() {
    let mut scene = scene();
    let expected = rows(&mut scene.db, "t");
    let mut writer = scene.cluster.connect("postgres");
    // With and without a live checkpoint when the writer looks.
    for round in 0..2 {
        if round == 1 {
            scene.db.batch("select ai.delete_checkpoint(id) from ai.checkpoints");
        }
        writer.batch("begin; update t set v = 'open' where id = 1");
        let mut creator = scene.cluster.connect("postgres");
        let name = format!("race-{round}");
        let thread = std::thread::spawn(move || create(&mut creator, &name));
        wait_until("the checkpoint waits", PATIENCE, || {
            scene.count(
                "select count(*) from pg_locks where locktype = 'advisory' and not granted and objsubid = 167",
            ) == 1
        });
        writer.batch("update t set v = 'open still' where id = 2; rollback");
        thread.join().expect("the checkpoint is made");
        writer.batch("update t set v = 'after' where id = 1");
        assert_eq!(version(&mut scene.db, &format!("race-{round}")), expected, "round {round}");
        scene.db.batch(&format!("select ai.restore_checkpoint('race-{round}')"));
    }
    scene.finish();
}

/// Fear: the very first checkpoint of a table is made while somebody writes, whom no trigger saw.
#[test]
fn the_first_checkpoint_waits_for_writers_without_triggers() {
    let mut scene = Scene::new();
    table(&mut scene.db);
    let mut writer = scene.cluster.connect("postgres");
    writer.batch("begin; update t set v = 'open' where id = 1");
    let mut creator = scene.cluster.connect("postgres");
    let thread = std::thread::spawn(move || create(&mut creator, "first"));
    wait_until("the checkpoint waits", PATIENCE, || {
        scene.count("select count(*) from pg_locks where not granted") == 1
    });
    writer.batch("update t set v = 'open' where id = 2; commit");
    thread.join().expect("the checkpoint is made");
    let expected = rows(&mut scene.db, "t");
    writer.batch("update t set v = 'later'");
    assert_eq!(version(&mut scene.db, "first"), expected);
    scene.finish();
}

/// Fear: a session whose snapshot is older than the checkpoint does not know of it, and keeps nothing.
#[test]
fn a_writer_with_an_old_snapshot_keeps_rows_too() {
    let mut scene = Scene::new();
    table(&mut scene.db);
    let mut first = scene.cluster.connect("postgres");
    let mut later = scene.cluster.connect("postgres");
    first.batch("begin isolation level repeatable read; select count(*) from t");
    create(&mut scene.db, "one");
    later.batch("begin isolation level serializable; select count(*) from t");
    create(&mut scene.db, "two");
    let expected = rows(&mut scene.db, "t");
    first.batch("update t set v = 'old snapshot' where id = 1; delete from t where id = 2; insert into t values (300, 'x'); commit");
    assert_eq!(version(&mut scene.db, "one"), expected);
    assert_eq!(version(&mut scene.db, "two"), expected);
    later.batch("update t set v = 'old snapshot' where id = 3; commit");
    assert_eq!(version(&mut scene.db, "two"), expected);
    let refused =
        scene.db.error_of("begin isolation level repeatable read; select ai.create_checkpoint('public.t')");
    assert_eq!(refused.code().code(), "55000");
    scene.db.batch("rollback");
    scene.finish();
}

/// Fear: two tables of one set are of two moments.
#[test]
fn a_set_is_one_cut_across_tables() {
    let mut scene = Scene::with(quiet());
    scene.db.batch(
        "create table a (id int primary key, n int); create table b (id int primary key, n int);
         insert into a values (1, 0); insert into b values (1, 0)",
    );
    let stop = Stop::new();
    std::thread::scope(|scope| {
        let stopper = stop.say();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let mut db = scene.cluster.connect("postgres");
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.said() {
                        db.batch("begin; update a set n = n + 1; update b set n = n + 1; commit");
                    }
                })
            })
            .collect();
        for round in 0..20 {
            let ids: Vec<uuid::Uuid> = scene.db.all(
                "select checkpoint from ai.create_checkpoint_set(array['public.b', 'public.a'], $1)",
                &[&format!("cut-{round}")],
            );
            let n = |db: &mut Client, id: uuid::Uuid, table: &str| -> i32 {
                db.one(&format!("select n from ai.read_checkpoint($1::uuid, null::{table})"), &[&id])
            };
            assert_eq!(n(&mut scene.db, ids[0], "b"), n(&mut scene.db, ids[1], "a"), "round {round}");
        }
        drop(stopper);
        writers.into_iter().for_each(|writer| writer.join().expect("a writer met no error"));
    });
    assert!(scene.db.one::<i32>("select n from a", &[]) > 20, "there was something to cut");
    scene.finish();
}
