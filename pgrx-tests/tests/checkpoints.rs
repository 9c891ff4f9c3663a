//! What a checkpoint of a table promises, each promise by a test: it is made with its transaction,
//! stays what it was whatever happens to the table, and is restored and cloned without harm.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use autovector_cluster_tests::{Scene, Settings, Sql, wait_until};
use postgres::Client;

const PATIENCE: Duration = Duration::from_secs(60);

/// Tells writers to stop, also when the test fails: they would run for ever.
struct Stop(AtomicBool);

impl Stop {
    fn new() -> Stop {
        Stop(AtomicBool::new(false))
    }

    fn said(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn say(&self) -> StopAtEnd<'_> {
        StopAtEnd(self)
    }
}

struct StopAtEnd<'a>(&'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// A table with a key, a text, a vector and some rows, and a checkpoint of it called `one`.
fn scene() -> Scene {
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "1h"));
    table(&mut scene.db);
    scene.db.batch("select ai.create_checkpoint('public.t', 'one')");
    scene
}

fn table(db: &mut Client) {
    db.batch(
        "create table t (id int primary key, v text, embedding vector(3));
         insert into t select i, 'v' || i, array[i, 1, 2]::vector from generate_series(1, 100) i",
    );
}

/// Everything of a set of rows that can be compared.
fn rows(db: &mut Client, from: &str) -> Vec<String> {
    db.all(&format!("select r::text from {from} r order by id"), &[])
}

fn version(db: &mut Client, name: &str) -> Vec<String> {
    rows(db, &format!("ai.read_checkpoint('{name}', null::t)"))
}

fn create(db: &mut Client, name: &str) {
    db.batch(&format!("select ai.create_checkpoint('public.t', '{name}')"));
}

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

/// Fear: some way of changing a table goes past the triggers.
#[test]
fn no_change_of_the_table_moves_a_version() {
    let mut scene = scene();
    let db = &mut scene.db;
    let one = rows(db, "t");
    db.batch("select ai.checkout_checkpoint('one', 'seen')");
    let dir = scene.cluster.directory().display().to_string();
    for change in [
        "insert into t values (200, 'a', '[1,2,3]')".to_owned(),
        "insert into t values (1, 'upserted') on conflict (id) do update set v = excluded.v".to_owned(),
        "insert into t values (1, 'x') on conflict do nothing".to_owned(),
        "update t set v = v || '!' where id % 2 = 0".to_owned(),
        "update t set v = v".to_owned(),
        "update t set id = id + 1000 where id between 10 and 20".to_owned(),
        "update t set id = 10 where id = 1010; update t set id = 2000 where id = 11".to_owned(),
        "delete from t where id = 30; insert into t values (30, 'again')".to_owned(),
        "with gone as (delete from t where id = 31 returning *) insert into t select * from gone".to_owned(),
        "with moved as (delete from t where id between 32 and 34 returning *) insert into t select id + 5000, v, embedding from moved"
            .to_owned(),
        "merge into t using (values (40, 'm'), (4000, 'm')) s(id, v) on t.id = s.id
           when matched then update set v = s.v when not matched then insert (id, v) values (s.id, s.v)"
            .to_owned(),
        format!("copy (select i, 'copied', null from generate_series(3000, 3010) i) to '{dir}/rows'; copy t from '{dir}/rows'"),
        "set session_replication_role = replica; update t set v = 'replica' where id = 50; reset session_replication_role"
            .to_owned(),
        "create table children (id int primary key references t on delete cascade); insert into children values (60);
         create table parents (id int primary key); insert into parents values (61);
         alter table t add column parent int references parents on delete cascade on update cascade;
         update t set parent = 61 where id in (61, 62); update parents set id = 62; delete from parents"
            .to_owned(),
        "create function nested() returns trigger language plpgsql as $$ begin
           update t set v = 'nested' where id = new.id - 1; delete from t where id = new.id; return new; end $$;
         create trigger nested before insert on t for each row execute function nested();
         insert into t values (70, 'n'), (71, 'n'), (7000, 'n'), (7001, 'n'); drop trigger nested on t"
            .to_owned(),
        "begin; savepoint a; delete from t where id < 90; rollback to a; update t set v = 'after' where id = 91; commit".to_owned(),
        "do $$ begin update t set v = 'caught' where id = 92; raise 'x'; exception when others then
           update t set v = 'handled' where id = 93; end $$"
            .to_owned(),
        "vacuum full t".to_owned(),
        "update t set v = 'moved rows' where id in (94, 95)".to_owned(),
        "alter table t add column random float8 default random()".to_owned(),
        "update t set v = 'rewritten rows' where id in (96, 97)".to_owned(),
        "alter table t rename column v to words; alter table t rename to t_renamed".to_owned(),
        "update t_renamed set words = 'renamed' where id = 98".to_owned(),
        "alter table t_renamed rename to t; alter table t rename column words to v".to_owned(),
        "create schema elsewhere; alter table t set schema elsewhere; delete from elsewhere.t where id = 99;
         alter table elsewhere.t set schema public"
            .to_owned(),
        "truncate t cascade".to_owned(),
        "insert into t select i, 'after truncate' from generate_series(50, 150) i".to_owned(),
    ] {
        for part in change.split("; vacuum") {
            db.batch(part);
        }
        assert_eq!(rows(db, "seen"), one, "after {change}");
    }
    assert!(db.one::<bool>("select (ai.verify_checkpoint('one') ->> 'ok')::bool", &[]));
    scene.finish();
}

/// Fear: a key whose equality is not that of its bytes, or whose name or type is strange, gets lost.
#[test]
fn keys_and_columns_of_any_kind_are_kept() {
    let mut scene = Scene::new();
    let db = &mut scene.db;
    // A server that is built without ICU has no such collation; the rest holds there as well.
    let insensitive = "create collation ignoring_case
                         (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    if let Err(error) = db.batch_execute(insensitive) {
        assert_eq!(error.code().map(|code| code.code()), Some("0A000"), "{error}");
        db.batch("create collation ignoring_case from \"C\"");
    }
    db.batch(
        r#"create type mood as enum ('good', 'bad'); create type pair as (a int, b text);
           create domain short as text not null check (length(value) < 20);
           create schema "odd; schema";
           create table "odd; schema"."t"" --" (
             "the KEY" text collate ignoring_case, n numeric, "d;" short default 'x', m mood, p pair, a int[], j jsonb, b bit(3),
             c char(5), big text, dropped int, twice int generated always as (length(big)) stored, "select" timestamptz default now(),
             primary key ("the KEY", n));
           alter table "odd; schema"."t"" --" drop column dropped;
           insert into "odd; schema"."t"" --" ("the KEY", n, "d;", m, p, a, j, b, c, big)
             values ('Abc', 1.0, 'd', 'good', (1, 'x'), '{1,null}', '{"a": [1]}', '101', 'c', repeat('long ', 2000)),
                    ('b', 2, 'e', null, null, null, null, null, null, null)"#,
    );
    db.batch(r#"set search_path = "odd; schema", public; select ai.create_checkpoint('"t"" --"', 'odd')"#);
    let select = |from: &str| format!(r#"select r::text from {from} r order by "the KEY" collate "C""#);
    let before = db.all::<String>(&select(r#""t"" --""#), &[]);
    db.batch(
        r#"update "t"" --" set "the KEY" = 'ABC', n = 1.00, big = 'short' where n = 1;
           delete from "t"" --" where n = 2; insert into "t"" --" ("the KEY", n, big) values ('B', 2.000, 'other')"#,
    );
    let read = r#"ai.read_checkpoint('odd', null::"t"" --")"#;
    assert_eq!(db.all::<String>(&select(read), &[]), before);
    db.batch("select ai.verify_checkpoint('odd'); select ai.clone_checkpoint('odd', 'copy'); select ai.checkout_checkpoint('odd', 'seen')");
    assert_eq!(db.all::<String>(&select("copy"), &[]), before);
    assert_eq!(db.all::<String>(&select("seen"), &[]), before);
    db.batch("select ai.restore_checkpoint('odd')");
    assert_eq!(db.all::<String>(&select(r#""t"" --""#), &[]), before);
    assert_eq!(db.one::<i64>("select count(*) from ai.diff_checkpoints('odd')", &[]), 0);
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

/// Fear: a reader sees half of a change, or stands in the queue behind a writer or a checkpoint.
#[test]
fn readers_of_a_version_neither_wait_nor_see_anything_move() {
    let mut scene = scene();
    let sum = "select md5(string_agg(r::text, ',' order by id)) from ai.read_checkpoint('one', null::t) r";
    let expected: String = scene.db.one(sum, &[]);
    let stop = Stop::new();
    std::thread::scope(|scope| {
        let stopper = stop.say();
        let writers: Vec<_> = (0..3_i64)
            .map(|number| {
                let mut db = scene.cluster.connect("postgres");
                let stop = &stop;
                scope.spawn(move || {
                    let mut turn = 0;
                    while !stop.said() {
                        turn += 1;
                        let low = number * 33 + turn % 30;
                        db.batch(&format!(
                            "update t set v = v || 'x' where id between {low} and {low} + 3;
                             delete from t where id = {low}; insert into t values ({low}, 'back');
                             insert into t values ({number} * 100000 + {turn} + 1000, 'new')"
                        ));
                    }
                    turn
                })
            })
            .collect();
        let mut reader = scene.cluster.connect("postgres");
        // Were a reader to wait for a lock, this would be an error.
        reader.batch("set lock_timeout = '1ms'; set statement_timeout = '60s'");
        for round in 0..100 {
            assert_eq!(reader.one::<String>(sum, &[]), expected);
            if round % 10 == 0 {
                create(&mut scene.db, &format!("more-{round}"));
            }
        }
        let mut long = scene.cluster.connect("postgres");
        long.batch("begin isolation level repeatable read");
        assert_eq!(long.one::<String>(sum, &[]), expected);
        // What a reader has begun to read is not taken away under it.
        scene.db.batch("select ai.delete_checkpoint('one'); select * from ai.gc_checkpoints()");
        assert_eq!(long.one::<String>(sum, &[]), expected);
        long.batch("commit");
        assert_eq!(long.error_of(sum).code().code(), "42704");
        drop(stopper);
        for writer in writers {
            assert!(writer.join().expect("a writer met no error") > 10, "writers were not held up");
        }
    });
    scene.finish();
}

/// Fear: a checkpoint costs as much as the table has rows, or a row is kept more than once.
#[test]
fn only_the_first_change_of_a_key_is_kept() {
    let mut scene = scene();
    let db = &mut scene.db;
    let kept =
        |db: &mut Client| db.one::<i64>("select kept_rows from ai.checkpoints where name = 'one'", &[]);
    assert_eq!(kept(db), 0, "no row is copied at creation");
    db.batch("update t set v = 'a' where id <= 10");
    assert_eq!(kept(db), 10);
    db.batch(
        "update t set v = 'b' where id <= 10; delete from t where id <= 5; insert into t values (3, 'c')",
    );
    assert_eq!(kept(db), 10);
    db.batch("insert into t values (500, 'new'); update t set v = 'newer' where id = 500; delete from t where id = 500");
    assert_eq!(kept(db), 11, "of a new key, that it was not there");
    create(db, "two");
    db.batch("update t set v = 'd' where id in (3, 6)");
    assert_eq!(kept(db), 13, "a second checkpoint has rows of its own to keep");
    db.batch("select ai.delete_checkpoint('two'); update t set v = 'e' where id = 7; update t set v = 'e' where id = 20");
    assert_eq!(kept(db), 14, "row 7 is younger than the only checkpoint that is left");
    db.batch("select ai.delete_checkpoint('one'); update t set v = 'f'");
    let history: i64 = db.one("select count(*) from ai._checkpoint_history_1", &[]);
    assert_eq!(history, 14, "without a live checkpoint nothing is kept");
    scene.finish();
}

/// Fear: a restore loses the way back, forgets rows, or moves rows that did not change.
#[test]
fn a_restore_is_a_new_version_and_can_be_undone() {
    let mut scene = scene();
    let db = &mut scene.db;
    let one = rows(db, "t");
    db.batch(
        "update t set v = 'changed' where id <= 3; delete from t where id = 4; insert into t values (400, 'new');
         update t set id = 500 where id = 5",
    );
    let changed = rows(db, "t");
    let untouched = "select xmin::text from t where id = 50";
    let before: String = db.one(untouched, &[]);
    let name: String = db.one("select ai.restore_checkpoint('one') ->> 'before_name'", &[]);
    assert!(name.starts_with("before-restore-"), "{name}");
    assert_eq!(rows(db, "t"), one);
    assert_eq!(db.one::<String>(untouched, &[]), before, "a row that had not changed was not written");
    assert_eq!(version(db, &name), changed);
    let counts: String = db.one(
        "select concat_ws(' ', j ->> 'inserted', j ->> 'updated', j ->> 'deleted') from ai.restore_checkpoint($1::text) j",
        &[&name],
    );
    assert_eq!(counts, "2 3 2", "400 and 500 come, 1 to 3 change, 4 and 5 go");
    assert_eq!(rows(db, "t"), changed);
    assert_eq!(version(db, "one"), one);
    db.batch("begin; select ai.restore_checkpoint('one'); rollback");
    assert_eq!(rows(db, "t"), changed, "one transaction");
    // Foreign keys hold: what cannot be restored is not restored by half.
    db.batch("create table refers (id int references t); insert into refers values (400)");
    assert_eq!(db.error_of("select ai.restore_checkpoint('one')").code().code(), "23503");
    assert_eq!(rows(db, "t"), changed);
    scene.finish();
}

/// Fear: clone and origin, or clone and checkpoint, are still tied together.
#[test]
fn a_clone_stands_alone() {
    let mut scene = Scene::new();
    let db = &mut scene.db;
    db.batch(
        "create table t (id serial primary key, v text unique, n int generated by default as identity,
                         u text generated always as (upper(v)) stored, check (v <> ''));
         insert into t (v) select 'v' || i from generate_series(1, 10) i;
         select ai.create_checkpoint('t', 'one'); update t set v = v || '!'; delete from t where id = 1",
    );
    db.batch("select ai.clone_checkpoint('one', 'copy')");
    let copy = rows(db, "copy");
    assert_eq!(copy, version(db, "one"));
    db.batch(
        "update copy set v = 'c' where id = 2; delete from t; insert into copy (id, v) values (100, 'd')",
    );
    assert_eq!(db.one::<i32>("select n from copy where id = 100", &[]), 11, "the identity goes on");
    let copy = rows(db, "copy");
    db.batch("select ai.delete_checkpoint('one'); select * from ai.gc_checkpoints(); drop table t");
    assert_eq!(rows(db, "copy"), copy);
    assert_eq!(
        db.error_of("insert into copy (id, v) values (3, 'x')").code().code(),
        "23505",
        "keys came along"
    );
    scene.finish();
}

/// Fear: a view over a version shows something else once the checkpoint is gone.
#[test]
fn a_view_reads_the_version_or_refuses() {
    let mut scene = scene();
    let db = &mut scene.db;
    let one = rows(db, "t");
    db.batch("select ai.checkout_checkpoint('one', 'seen'); create role reader login; grant select on seen to reader");
    db.batch("update t set v = 'x'; delete from t where id > 50");
    let mut reader = scene.cluster.connect_as("postgres", "reader");
    assert_eq!(rows(&mut reader, "seen"), one);
    db.batch("set enable_seqscan = off");
    let plan: Vec<String> = db.all("explain select * from seen where id = 7", &[]);
    assert!(plan.iter().any(|line| line.contains("t_pkey")), "a key is found by its index: {plan:#?}");
    db.batch("select ai.delete_checkpoint('one')");
    assert_eq!(reader.error_of("select * from seen").code().code(), "42704");
    scene.finish();
}

/// Fear: two tables of one set are of two moments.
#[test]
fn a_set_is_one_cut_across_tables() {
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "1h"));
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

/// Fear: ALTER TABLE, DROP or a disabled trigger breaks a version in silence; or stays forbidden when
/// no checkpoint needs it any more.
#[test]
fn what_would_break_a_version_is_refused_or_detached() {
    let mut scene = scene();
    let db = &mut scene.db;
    db.batch(
        "create schema s; create table s.u (id int primary key); select ai.create_checkpoint('s.u', 'u')",
    );
    let one = rows(db, "t");
    for command in [
        "alter table t drop column v",
        "alter table t alter column v type varchar",
        "alter table t alter column embedding type real[]",
        "alter table t disable trigger all",
        "alter table t disable trigger _checkpoint_row",
        "drop trigger _checkpoint_truncate on t",
        "alter table t drop constraint t_pkey",
        "alter table t set unlogged",
        "drop table t",
        "drop schema s cascade",
        "drop owned by postgres cascade",
    ] {
        let error = db.error_of(command);
        assert!(["55000", "2BP01"].contains(&error.code().code()), "{command}: {error:?}");
        if error.code().code() == "55000" {
            assert!(error.hint().is_some_and(|hint| hint.contains("ai.detach_checkpoints")), "{command}");
        }
    }
    db.batch("create table scratch (id int); drop table scratch; create temp table scratch (id int); drop table scratch");
    let kept: i64 = db.one("select ai.detach_checkpoints('t')", &[]);
    assert_eq!(kept, 100);
    db.batch(
        "alter table t alter column embedding type vector(4) using '[1,2,3,4]'; alter table t drop column v",
    );
    create(db, "two");
    db.batch("update t set embedding = '[4,3,2,1]'");
    assert_eq!(db.one::<i64>("select count(*) from ai.checkpoints where target = 'public.t'", &[]), 2);
    assert_eq!(
        db.one::<i64>(
            "select count(*) from ai.read_checkpoint('two', null::t) where embedding = '[1,2,3,4]'",
            &[]
        ),
        100
    );
    db.batch("select ai.clone_checkpoint('one', 'copy')");
    assert_eq!(rows(db, "copy"), one);
    assert_eq!(db.error_of("select ai.restore_checkpoint('one')").code().code(), "55000");
    db.batch("select ai.detach_checkpoints('t'); drop table t");
    assert_eq!(db.one::<i64>("select count(*) from ai.list_checkpoints('public.t')", &[]), 2);
    db.batch("select ai.verify_checkpoint('two')");
    // Without checkpoints everything is allowed, and nothing is left.
    db.batch("select ai.delete_checkpoint(id) from ai.checkpoints; drop schema s cascade; select * from ai.gc_checkpoints()");
    assert_eq!(db.one::<i64>("select count(*) from ai._checkpoint_history", &[]), 0);
    assert_eq!(db.one::<i64>("select count(*) from pg_class where relname like '\\_checkpoint\\_history\\_%' and relkind = 'r'", &[]), 0);
    scene.finish();
}
