//! Changes of a table's definition while checkpoints read its live rows: followed, or refused with a
//! way out.

use autovector_cluster_tests::{Scene, Sql, paths};

use crate::stage::{create, quiet, rows, scene, version};

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
        "alter table t alter column embedding type vector(4) using '[1,2,3,4]'",
        "alter table t alter column v type text using upper(v)",
        "alter table t disable trigger all",
        "alter table t enable trigger all",
        "alter table t enable replica trigger _checkpoint_row",
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
    db.batch("select ai.delete_checkpoint(id) from ai.checkpoints; drop schema s cascade; select * from ai.gc_checkpoints(); select * from ai.gc_checkpoints()");
    assert_eq!(db.one::<i64>("select count(*) from ai._checkpoint_history", &[]), 0);
    assert_eq!(db.one::<i64>("select count(*) from pg_class where relname like '\\_checkpoint\\_history\\_%' and relkind = 'r'", &[]), 0);
    scene.finish();
}

/// Fear: a rewrite of the table gives a version other values, because no trigger sees it; or what
/// changes no value is refused.
#[test]
fn rewrites_that_leave_values_alone_are_followed() {
    let mut scene = Scene::with(quiet());
    let db = &mut scene.db;
    db.batch(
        "create type mood as enum ('good', 'bad'); create schema elsewhere;
         create table t (id int primary key, v varchar(10), m mood, n numeric(10, 2),
                         twice int generated always as (id * 2) stored);
         insert into t select i, 'v' || i, 'good', i from generate_series(1, 20) i",
    );
    create(db, "one");
    let one = rows(db, "t");
    for command in [
        "alter table t alter column v type varchar(20)",
        "alter table t alter column n type numeric(12, 2)",
        "alter type mood rename to humour; alter type humour set schema elsewhere",
        "alter table t add column more int default 7",
        "alter table t alter column v set not null, add check (id > 0)",
    ] {
        db.batch(command);
        db.batch("update t set v = v || '.' where id = 3");
        let seen: Vec<String> = db.all(
            "select (id, v, m, n, twice)::text from ai.read_checkpoint('one', null::t) order by id",
            &[],
        );
        assert_eq!(seen, one, "after {command}");
    }
    create(db, "two");
    if paths::major_version() >= 17 {
        let error = db.error_of("alter table t alter column twice set expression as (id * 3)");
        assert_eq!(error.code().code(), "55000", "{error:?}");
    }
    assert!(db.one::<bool>("select (ai.verify_checkpoint('two') ->> 'ok')::bool", &[]));
    db.batch("select ai.delete_checkpoint(id) from ai.checkpoints; alter table t alter column v type text using upper(v)");
    scene.finish();
}

/// Fear: a view of a version shows rows that came after the version was detached.
#[test]
fn a_view_stays_what_it_was_when_its_version_is_detached() {
    let mut scene = scene();
    let db = &mut scene.db;
    let one = rows(db, "t");
    db.batch("select ai.checkout_checkpoint('one', 'seen'); update t set v = 'x' where id < 5");
    // A reader that began before, and goes on after.
    let mut reader = scene.cluster.connect("postgres");
    reader.batch("begin isolation level repeatable read; select count(*) from pg_class");
    db.batch("select ai.detach_checkpoints('t'); update t set v = 'y'; insert into t values (900, 'new'); delete from t where id = 7");
    assert_eq!(rows(db, "seen"), one);
    assert_eq!(version(db, "one"), one);
    assert_eq!(rows(&mut reader, "seen"), one);
    assert_eq!(version(&mut reader, "one"), one);
    reader.batch("commit");
    assert!(db.one::<bool>("select (ai.verify_checkpoint('one') ->> 'ok')::bool", &[]));
    scene.finish();
}
