//! Every shape of table that can have a primary key is served: kinds of keys, names that
//! need quotes, partitions.

use autovector_cluster_tests::{Scene, Spec, Sql, scene::literal};

/// Creates `table` over `key` column definitions and `rows` of key literals, changes it in
/// every way and checks it.
fn serves_key(scene: &mut Scene, number: usize, definition: &str, keys: &[&str]) {
    eprintln!("key: {definition}");
    let table = format!("t{number}");
    let (first, rest) = (keys[0], &keys[1..]);
    scene.db.batch(&format!(
        "create table {table} ({definition}, body text, primary key ({}));",
        definition.split(", ").map(|column| column.split(' ').next().unwrap()).collect::<Vec<_>>().join(", ")
    ));
    for key in keys {
        scene
            .db
            .batch(&format!("insert into {table} values ({key}, {})", literal(&format!("text of {key}"))));
    }
    scene.vectorize(&Spec::on(&table));
    scene.settle(&table);
    let columns: Vec<&str> = definition.split(", ").map(|column| column.split(' ').next().unwrap()).collect();
    let row = columns.join(", ");
    scene.db.batch(&format!("update {table} set body = 'changed' where ({row}) = ({first})"));
    scene.db.batch(&format!("delete from {table} where ({row}) = ({})", rest[0]));
    scene.db.batch(&format!("insert into {table} values ({}, 'back again')", rest[0]));
    scene.settle(&table);
    let stored: Vec<String> =
        scene.db.all(&format!("select chunk from {table}_embedding_store order by chunk"), &[]);
    assert_eq!(stored.len(), keys.len(), "{definition}: {stored:?}");
    assert!(
        stored.contains(&"changed".to_owned()) && stored.contains(&"back again".to_owned()),
        "{stored:?}"
    );
    scene.db.batch(&format!("delete from {table} where ({row}) = ({first})"));
    scene.settle(&table);
    let count = scene.count(&format!("select count(*) from {table}_embedding_store"));
    assert_eq!(count, keys.len() as i64 - 1, "{definition}: the deleted row's vector is gone");
}

/// Fear: a kind of key is compared as the wrong type, or its text form does not survive.
#[test]
fn every_kind_of_key_works() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create type mood as enum ('sad', 'ok', 'so ''so''');
         create domain code as text check (value <> '');
         create type pair as (a int, b text);
         create extension if not exists citext",
    );
    let keys: &[(&str, &[&str])] = &[
        ("id int", &["1", "2", "-3"]),
        ("id uuid", &["'6f9619ff-8b86-d011-b42d-00c04fc964ff'", "'00000000-0000-0000-0000-000000000000'"]),
        (
            "id text",
            &[
                "'it''s'",
                "'a,b;\"c\"'",
                "E'line\\nbreak\\ttab'",
                "'{}'",
                "'NULL'",
                "''",
                "'ünïcødé 漢字'",
                "E'back\\\\slash'",
            ],
        ),
        ("a int, b text", &["1, 'x'", "1, 'y'", "2, 'x'", "2, 'it''s, {\"b\"}'"]),
        (
            "a uuid, b date, c bool",
            &[
                "'6f9619ff-8b86-d011-b42d-00c04fc964ff', '2024-02-29', true",
                "'6f9619ff-8b86-d011-b42d-00c04fc964ff', '2024-02-29', false",
            ],
        ),
        ("id mood", &["'sad'", "'so ''so'''"]),
        ("id code", &["'A-1'", "'B 2'"]),
        ("id int[]", &["'{1,2}'", "'{}'", "'{2,1}'"]),
        ("id int4range", &["'[1,5)'", "'[5,9)'", "'empty'"]),
        ("id numeric", &["1.50", "2", "1e20"]),
        ("id timestamptz", &["'2024-01-01 00:00:00.123456+02'", "'infinity'"]),
        ("id bytea", &["'\\xdeadbeef'::bytea", "'\\x00'::bytea"]),
        ("id citext", &["'Upper'", "'lower'"]),
        ("id char(5)", &["'ab'", "'abc'"]),
    ];
    for (number, (definition, literals)) in keys.iter().enumerate() {
        serves_key(&mut scene, number, definition, literals);
    }
    scene.finish();
}

/// Fear: a session with other output settings writes keys that name no row, or another one.
#[test]
fn keys_do_not_depend_on_the_settings_of_the_session() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table days (day date, at timestamptz, x float8, span interval, body text, primary key (day, at, x, span));
         insert into days values ('2024-03-04', '2024-03-04 05:06:07.89+00', 0.1 + 0.2, '-1 day -02:03:04', 'first')",
    );
    scene.vectorize(&Spec::on("days"));
    scene.settle("days");
    scene.db.batch(
        "set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kathmandu'; set extra_float_digits = -5; set intervalstyle = 'sql_standard';
         set bytea_output = 'escape';
         update days set body = 'changed';
         insert into days values ('04/03/2025', '04/03/2025 23:59:59.5', 0.1 + 0.7, '3 years -4 days', 'second')",
    );
    scene.settle("days");
    let stored: Vec<String> = scene.db.all("select chunk from days_embedding_store order by 1", &[]);
    assert_eq!(stored, ["changed", "second"]);
    scene.db.batch("delete from days where body = 'changed'");
    scene.settle("days");
    scene.db.batch("reset all");
    assert_eq!(scene.db.all::<String>("select chunk from days_embedding_store", &[]), ["second"]);
    scene.finish();
}

/// Fear: names that need quotes break the generated SQL, or run as SQL.
#[test]
fn names_that_need_quotes_work() {
    let mut scene = Scene::new();
    scene.db.batch(
        r#"create schema "My Schema";
           create table canary (x int);
           create table "My Schema"."Big Docs" ("Doc Id" int, "select" text, "Body" text, primary key ("Doc Id", "select"));
           create table "it's; drop table canary; --" ("k""1" int primary key, "$body$" text);
           insert into "My Schema"."Big Docs" values (1, 'a', 'one'), (2, 'b', 'two');
           insert into "it's; drop table canary; --" values (1, 'hostile');"#,
    );
    scene.vectorize(&Spec::on(r#""My Schema"."Big Docs""#).name("mixed").column("Body"));
    scene.vectorize(&Spec::on(r#""it's; drop table canary; --""#).name("hostile").column("$body$"));
    scene.db.batch(
        r#"update "My Schema"."Big Docs" set "Body" = 'uno' where "Doc Id" = 1;
           delete from "My Schema"."Big Docs" where "Doc Id" = 2;
           update "it's; drop table canary; --" set "$body$" = 'still hostile';"#,
    );
    scene.settle("mixed");
    scene.settle("hostile");
    assert_eq!(
        scene.db.all::<String>(r#"select chunk from "My Schema"."Big Docs_embedding_store""#, &[]),
        ["uno"]
    );
    assert_eq!(scene.count("select count(*) from canary"), 0, "the canary lives");
    scene.finish();
}

/// Fear: derived names of a 63-byte table name collide with the table or with each other.
#[test]
fn the_longest_names_work() {
    let mut scene = Scene::new();
    let (long, column) = ("t".repeat(63), "c".repeat(63));
    scene.db.batch(&format!(
        "create table {long} ({column} text primary key, body text); insert into {long} values ('k', 'text')"
    ));
    scene.vectorize(&Spec::on(&long).name("long"));
    scene.settle("long");
    let target = scene.status("long", "target_table").expect("a store");
    assert_eq!(scene.count(&format!("select count(*) from {target}")), 1);
    scene.finish();
}

/// Fear: rows written directly to a partition, or to one that came later, are missed.
#[test]
fn partitions_are_served_however_they_are_written() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table docs (region int, id int, body text, primary key (region, id)) partition by list (region);
         create table docs_1 partition of docs for values in (1);
         create table docs_2 (id int not null, extra int, body text, region int not null);
         alter table docs_2 drop column extra, add primary key (region, id);
         alter table docs attach partition docs_2 for values in (2);
         insert into docs select 1 + i % 2, i, 'before ' || i from generate_series(1, 40) i",
    );
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch(
        "insert into docs values (1, 101, 'by parent');
         insert into docs_1 values (1, 102, 'by partition');
         insert into docs_2 (region, id, body) values (2, 103, 'by other partition');
         update docs_2 set body = 'changed directly' where id = 1;
         update docs set region = 2 where id = 2;
         delete from docs_1 where id = 4",
    );
    scene.settle("docs");
    assert_eq!(scene.provider.times_answered("changed directly"), 1);
    scene.db.batch(
        "create table docs_3 partition of docs for values in (3);
         insert into docs values (3, 201, 'new partition');
         insert into docs_3 values (3, 202, 'new partition directly')",
    );
    scene.settle("docs");
    let late = "select count(*) from docs_embedding_store where region = 3";
    assert_eq!(scene.count(late), 2);
    scene.finish();
}

/// Fear: rows of a detached or truncated partition stay findable without a word.
#[test]
fn truncating_one_partition_is_covered_or_refused() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table docs (id int primary key, body text) partition by range (id);
         create table docs_a partition of docs for values from (0) to (100);
         create table docs_b partition of docs for values from (100) to (200);
         insert into docs select i, 'text ' || i from generate_series(1, 199) i",
    );
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    match scene.db.batch_execute("truncate docs_a") {
        Ok(()) => {}
        Err(error) => {
            let error = error.as_db_error().expect("refused by the server").clone();
            assert_eq!(error.code().code(), "0A000", "{error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("DELETE")), "{error:?}");
        }
    }
    scene.settle("docs");
    scene.finish();
}

/// Fear: a renamed table, column or schema is lost to the worker.
#[test]
fn renaming_what_is_watched_keeps_it_working() {
    let mut scene = Scene::new();
    scene.table("docs", 5);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch(
        "create schema elsewhere; alter table docs rename column id to doc_id; alter table docs rename to papers;
         alter table papers set schema elsewhere;
         insert into elsewhere.papers values (6, 'after the move');
         delete from elsewhere.papers where doc_id = 1",
    );
    scene.settle("docs");
    let stored: Vec<String> = scene.db.all("select chunk from docs_embedding_store order by chunk", &[]);
    assert_eq!(stored.len(), 5, "{stored:?}");
    assert!(stored.contains(&"after the move".to_owned()));
    scene.cluster.assert_healthy();
}
