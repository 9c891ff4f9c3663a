//! Emptying tables after a backup: no committed row is lost, whatever the naive way loses.

use std::{collections::BTreeSet, thread, time::Duration};

use autovector_cluster_tests::{Sql, wait_until};
use postgres::Client;

use super::stage::{LANGCHAIN, Stage, fill, name};

const SOON: Duration = Duration::from_secs(60);

/// The first column of every row of a CSV file of ours whose values have no line breaks.
pub fn ids(path: &std::path::Path) -> Vec<i64> {
    let text = std::fs::read_to_string(path).expect("the file is there");
    let first = |line: &str| line.trim_start_matches('"').split('"').next().expect("a value").to_owned();
    text.lines().skip(1).map(|line| first(line).parse().expect("a number")).collect()
}

fn wait_for_lock(db: &mut Client, table: &str, mode: &str) {
    wait_until(&format!("somebody waits for {mode} on {table}"), SOON, || {
        db.one::<i64>(
            "select count(*) from pg_locks where not granted and relation = $1::text::regclass and mode = $2",
            &[&table, &mode],
        ) > 0
    });
}

fn small(stage: &mut Stage) {
    stage.db.batch(
        "create table docs (id bigint primary key, embedding vector(2));
         insert into docs select i, array[i, -i]::float4[]::vector from generate_series(1, 100) i",
    );
}

/// Fear: rows go that are in no file, the collections go too, or the report hides it.
#[test]
fn embeddings_are_saved_and_emptied_and_collections_stay() {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 50);
    let before = stage.rows("langchain_pg_embedding");
    let report = stage.backup("truncate_vector_tables => true, backup_vector_tables => false");
    assert_eq!((&report["backup_performed"], &report["truncate_performed"]), (&true.into(), &true.into()));
    let emptied = &report["truncate_results"]["langchain_pg_embedding"];
    assert_eq!((&emptied["rows_before"], &emptied["rows_after"]), (&50.into(), &0.into()), "{report}");
    assert_eq!(report["truncate_results"].as_object().expect("an object").len(), 1);
    assert_eq!(stage.count("select count(*) from langchain_pg_collection"), 1);
    assert_eq!(stage.count("select count(*) from langchain_pg_embedding"), 0);
    assert_eq!(stage.count("select count(*) from ai.list_backups() where truncated and complete"), 1);
    stage.restore(&name(&report), "replace");
    assert_eq!(stage.rows("langchain_pg_embedding"), before);
}

/// Fear: a snapshot that is older than the lock: a row that was committed in between is emptied
/// without having been copied.
#[test]
fn a_row_committed_while_the_backup_waits_for_its_lock_is_saved() {
    let mut stage = Stage::new();
    small(&mut stage);
    let mut old = stage.cluster.connect("postgres");
    old.batch("begin isolation level repeatable read; select count(*) from docs");
    stage.db.batch("insert into docs values (101, '[1,1]')");
    let error =
        old.error_of("select ai.backup_vector_tables(tables => '{docs}', truncate_vector_tables => true)");
    assert_eq!(error.code().code(), "55000");
    assert!(error.message().contains("READ COMMITTED"), "{}", error.message());
    assert!(error.detail().is_some_and(|detail| detail.contains("\"can_retry\":false")));
    old.batch("rollback");

    stage.db.batch("begin; insert into docs values (102, '[2,2]')");
    let mut other = stage.cluster.connect("postgres");
    let backup = thread::spawn(move || {
        other.one::<serde_json::Value>(
            "select ai.backup_vector_tables(tables => '{docs}', truncate_vector_tables => true)",
            &[],
        )
    });
    let mut watcher = stage.cluster.connect("postgres");
    wait_for_lock(&mut watcher, "docs", "ShareRowExclusiveLock");
    stage.db.batch("commit");
    let report = backup.join().expect("the backup succeeds");
    assert_eq!(report["truncate_results"]["docs"]["rows_before"], 102);
    let file = report["tables_backed_up"]["docs"]["backup_file"].as_str().expect("a path");
    assert_eq!(ids(file.as_ref()).into_iter().collect::<BTreeSet<_>>(), (1..=102).collect());
    assert_eq!(stage.count("select count(*) from docs"), 0);
}

/// Fear: a policy hides rows from COPY and not from TRUNCATE.
#[test]
fn row_level_security_is_an_error_and_not_a_filter() {
    let mut stage = Stage::new();
    small(&mut stage);
    stage.db.batch(
        "create role keeper login; grant select, truncate on docs to keeper;
         grant execute on function ai.backup_vector_tables to keeper;
         alter table docs enable row level security; create policy p on docs using (id = 1)",
    );
    let mut keeper = stage.cluster.connect_as("postgres", "keeper");
    for truncate in [true, false] {
        let error = keeper.error_of(&format!(
            "select ai.backup_vector_tables(tables => '{{docs}}', truncate_vector_tables => {truncate})"
        ));
        assert_eq!(error.code().code(), "42501");
        assert!(error.message().contains("row-level security"), "{}", error.message());
    }
    assert_eq!(stage.count("select count(*) from docs"), 100);
    assert_eq!(stage.files(), Vec::<String>::new());
}

/// Fear: COPY of a parent leaves its children out, and TRUNCATE does not; or children lose the
/// columns of their own.
#[test]
fn children_and_partitions_are_saved_with_their_parent() {
    let mut stage = Stage::new();
    stage.db.batch(
        "create table parent (id int, embedding vector(2));
         create table child (extra text) inherits (parent);
         create table grandchild () inherits (child);
         insert into parent values (1, '[1,1]'); insert into child values (2, '[2,2]', 'x');
         insert into grandchild values (3, '[3,3]', 'y');
         create table parts (id int, embedding vector(2)) partition by range (id);
         create table parts_low (embedding vector(2), id int);
         alter table parts attach partition parts_low for values from (0) to (10);
         create table parts_high partition of parts default;
         insert into parts select i, array[i, i]::float4[]::vector from generate_series(1, 20) i",
    );
    let tables = ["only parent", "child", "grandchild", "parts"];
    let before: Vec<_> = tables.iter().map(|table| stage.rows(table)).collect();
    let report = stage.backup("tables => '{parent, parts}', truncate_vector_tables => true");
    let saved = report["tables_backed_up"].as_object().expect("an object");
    let names: BTreeSet<&str> = saved.keys().map(String::as_str).collect();
    assert_eq!(names, ["child", "grandchild", "parent", "parts"].into());
    assert_eq!(saved["parts"]["row_count"], 20);
    for table in ["parent", "parts"] {
        assert_eq!(stage.count(&format!("select count(*) from {table}")), 0);
    }
    stage.restore(&name(&report), "refuse");
    let after: Vec<_> = tables.iter().map(|table| stage.rows(table)).collect();
    assert_eq!(after, before);
}

/// Fear: two tables are read at two moments, and an embedding's collection is in no file.
#[test]
fn both_tables_are_read_on_one_snapshot() {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 2000);
    let mut writer = stage.cluster.connect("postgres");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writing = thread::spawn(move || {
        let mut written = 0_i64;
        while stopped.try_recv().is_err() {
            writer.batch(&format!(
                "with c as (insert into langchain_pg_collection values (gen_random_uuid(), 'w{written}', null) returning uuid)
                 insert into langchain_pg_embedding select 'w{written}', uuid, '[1,2,3]', null, null from c"
            ));
            written += 1;
        }
        written
    });
    let mut names = Vec::new();
    for _ in 0..8 {
        names.push(name(&stage.backup("")));
    }
    stop.send(()).expect("the writer lives");
    assert!(writing.join().expect("the writer succeeds") > 0);
    stage.db.batch(
        "alter table langchain_pg_embedding drop constraint langchain_pg_embedding_collection_id_fkey",
    );
    for name in names {
        stage.restore(&name, "replace");
        let orphans = stage.count(
            "select count(*) from langchain_pg_embedding e
              where not exists (select from langchain_pg_collection c where c.uuid = e.collection_id)",
        );
        let childless = stage.count(
            "select count(*) from langchain_pg_collection c
              where not exists (select from langchain_pg_embedding e where c.uuid = e.collection_id)",
        );
        assert_eq!((orphans, childless), (0, 0), "{name}");
    }
}

/// Fear: a TRUNCATE that is rolled back leaves a backup that claims to be the only copy, or the
/// rows of the table are gone.
#[test]
fn a_rollback_keeps_both_the_rows_and_the_backup() {
    let mut stage = Stage::new();
    small(&mut stage);
    stage.db.batch("begin");
    let report = stage.backup("tables => '{docs}', truncate_vector_tables => true");
    stage.db.batch("rollback");
    assert_eq!(stage.count("select count(*) from docs"), 100);
    assert_eq!(stage.faults(&name(&report)), Vec::<String>::new());
    assert_eq!(stage.count("select count(*) from ai.list_backups() where complete and not truncated"), 1);
}

/// Fear: what the transaction itself wrote is emptied and not saved.
#[test]
fn rows_of_the_own_transaction_are_saved_too() {
    let mut stage = Stage::new();
    small(&mut stage);
    for parallel in [1, 2] {
        stage.db.batch("begin; insert into docs values (1000, '[7,7]'); savepoint s; insert into docs values (1001, '[8,8]')");
        let report = stage
            .backup(&format!("tables => '{{docs}}', truncate_vector_tables => true, parallel => {parallel}"));
        stage.db.batch("commit");
        assert_eq!(stage.count("select count(*) from docs"), 0);
        stage.restore(&name(&report), "refuse");
        assert_eq!(stage.count("select count(*) from docs where id in (1000, 1001)"), 2);
        stage.db.batch("delete from docs where id >= 1000");
    }
}

/// Fear: a vectorizer's store is emptied under it, or a table that has no vectors.
#[test]
fn only_embedding_tables_are_emptied() {
    let mut stage = Stage::new();
    stage.db.batch("create table plain (id int); insert into plain values (1)");
    let error = stage
        .db
        .error_of("select ai.backup_vector_tables(tables => '{plain}', truncate_vector_tables => true)");
    assert_eq!(error.code().code(), "22023");
    assert_eq!(stage.count("select count(*) from plain"), 1);
    stage.db.batch(
        "create table v (e vector(2)); create view w as select * from v; create temp table t (e vector(2))",
    );
    for (table, state) in [("w", "0A000"), ("t", "0A000"), ("nowhere", "42P01")] {
        let error = stage.db.error_of(&format!("select ai.backup_vector_tables(tables => '{{{table}}}')"));
        assert_eq!(error.code().code(), state, "{table}: {}", error.message());
        assert!(error.hint().is_some());
    }
}
