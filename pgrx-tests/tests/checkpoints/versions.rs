//! A version stays what it was, whatever happens to the table, and whoever reads it waits for nobody.

use autovector_cluster_tests::{Scene, Sql};
use postgres::Client;

use crate::stage::{Stop, create, rows, scene};

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
