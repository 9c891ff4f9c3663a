//! Tables that change their shape while they are watched: the vectorizer goes on, or says what is
//! missing and goes on once that is mended. Nobody else's work is touched.

use autovector_cluster_tests::{Rule, Scene, Settings, Spec, Sql, scene::settle};

/// A scene with `docs` embedded, and `others` that must not be disturbed.
fn scene() -> Scene {
    let mut scene = Scene::new();
    for table in ["docs", "others"] {
        scene.table(table, 10);
        scene.vectorize(&Spec::on(table));
        scene.settle(table);
    }
    scene
}

/// A row written to `table` is embedded, under the text that it has there.
fn still_works(scene: &mut Scene, table: &str, id: i64) {
    scene.db.batch(&format!("insert into {table} (id, body) values ({id}, 'row {id}')"));
    scene.settle("docs");
    let store = format!("select count(*) from docs_embedding_store where id = {id} and chunk = 'row {id}'");
    assert_eq!(scene.count(&store), 1, "after a change of {table}");
}

/// `docs` halts with a reason that contains `words`; `others` works on.
fn halts(scene: &mut Scene, words: &str) {
    scene.wait_for_status("docs", "state", |state| state == "halted");
    let reason = scene.status("docs", "last_error").unwrap_or_default();
    assert!(reason.contains(words), "{reason}");
    scene.db.batch("update others set body = body || '!' where id = 1");
    scene.settle("others");
}

/// Fear: a change that has nothing to do with the vectors stops them, or cached plans of workers
/// and sessions miss it.
#[test]
fn harmless_changes_of_the_source_are_followed() {
    let mut scene = scene();
    scene.db.batch("create schema elsewhere");
    let mut table = "docs";
    for (id, change) in [
        "alter table docs add column extra int default 5",
        "alter table docs drop column note cascade",
        "alter table docs alter column extra type bigint",
        "alter table docs alter column body set storage external",
        "create index on docs (body); cluster docs using docs_pkey",
        "alter table docs replica identity full; alter table docs enable row level security",
        "alter table docs set schema elsewhere",
    ]
    .into_iter()
    .enumerate()
    {
        scene.db.batch(change);
        if change.ends_with("elsewhere") {
            table = "elsewhere.docs";
        }
        eprintln!("{change}");
        still_works(&mut scene, table, 100 + id as i64);
    }
    // The catalog names the table as it was when the vectorizer was made.
    scene.db.batch("alter table elsewhere.docs set schema public");
    scene.finish();
}

/// Fear: a column of the vectors gets another type, and triggers, view or queue are lost over it.
#[test]
fn another_type_for_what_is_watched_is_refused() {
    let mut scene = scene();
    for column in ["id type int", "body type varchar(500)"] {
        let error = scene.db.error_of(&format!("alter table docs alter column {column}"));
        assert_eq!(error.code().code(), "0A000", "{error}");
    }
    still_works(&mut scene, "docs", 100);
    scene.finish();
}

/// Fear: a table that changes hands leaves queue and store behind: its new owner sees no status, and
/// the old one may read on.
#[test]
fn what_belongs_to_a_source_follows_its_owner_at_once() {
    let mut scene = scene();
    scene.db.batch("create role seller login; create role buyer login; alter table docs owner to seller");
    scene.db.batch("select ai.pause_vectorizer('docs')");
    let owners =
        "select count(*) from pg_class where relowner = (select oid from pg_roles where rolname = $1)
        and (relname in ('docs_embedding_store', '_vectorizer_q_1', '_vectorizer_q_failed_1'))";
    for owner in ["seller", "buyer"] {
        scene.db.batch(&format!("alter table docs owner to {owner}"));
        assert_eq!(scene.db.one::<i64>(owners, &[&owner]), 3, "{owner}");
        let mut db = scene.cluster.connect_as("postgres", owner);
        let total: i64 = db.one("select rows_total from ai.vectorizer_status where name = 'docs'", &[]);
        assert_eq!(total, 10, "{owner}");
    }
    let mut seller = scene.cluster.connect_as("postgres", "seller");
    assert_eq!(seller.error_of("select * from docs_embedding_store").code().code(), "42501");
    let error = seller.error_of("alter table docs owner to seller");
    assert_eq!(error.code().code(), "42501", "{error}");
    let mut buyer = scene.cluster.connect_as("postgres", "buyer");
    buyer.batch("select ai.resume_vectorizer('docs')");
    still_works(&mut scene, "docs", 100);
    scene.finish();
}

/// Fear: a result comes back for a table that has got another name meanwhile, and is lost, or halts
/// the vectorizer.
#[test]
fn tables_that_are_renamed_during_a_request_get_its_result() {
    let mut scene = Scene::new();
    for table in ["docs", "notes"] {
        scene.table(table, 5);
    }
    let gate = scene.provider.hold(Rule::always());
    scene.vectorize(&Spec::on("docs"));
    scene.vectorize(&Spec::on("notes").with("destination", "ai.destination_column('vec')"));
    gate.wait_until_holding(2);
    scene.db.batch(
        "create schema elsewhere; alter table docs set schema elsewhere; alter table notes rename to remarks",
    );
    scene.db.batch("alter table docs_embedding_store rename to chunks");
    gate.release();
    for vectorizer in ["docs", "notes"] {
        scene.settle(vectorizer);
    }
    let calls = scene.provider.call_count();
    assert_eq!(scene.count("select count(*) from chunks"), 5);
    assert_eq!(scene.count("select count(vec) from remarks"), 5);
    assert_eq!(calls, 2, "nothing was asked for twice");
    scene.db.batch("select ai.drop_vectorizer('docs'); select ai.drop_vectorizer('notes')");
    scene.finish();
}

/// Fear: what the vectors are made of is gone, and nobody says so; or mending it does not help.
#[test]
fn a_missing_text_column_halts_until_it_is_back() {
    let mut scene = scene();
    scene.db.batch("alter table docs drop column body cascade");
    scene.db.batch("insert into docs (id, note) values (11, 'x')");
    halts(&mut scene, "body");
    let error = scene.db.error_of("select ai.resume_vectorizer('docs')");
    assert_eq!(error.code().code(), "42703", "{error}");
    scene.db.batch("alter table docs add column body text; update docs set body = 'new ' || id");
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    let new = "select count(*) from docs_embedding_store where chunk like 'new %'";
    assert_eq!(scene.count(new), 11, "the rows that were changed while no trigger was there");
    scene.db.batch("update docs set body = 'newer' where id = 1");
    scene.settle("docs");
    assert_eq!(scene.count(new), 10, "the trigger is back");
    scene.db.batch("select ai.drop_vectorizer('docs')");
    scene.finish();
}

/// Fear: a store that was altered by hand takes wrong vectors, or takes the worker down.
#[test]
fn a_store_without_its_vectors_halts() {
    let mut scene = scene();
    scene.cluster.expect_in_log("embedding");
    scene.db.batch("alter table docs_embedding_store drop column embedding cascade");
    scene.db.batch("update docs set body = 'changed' where id = 3");
    halts(&mut scene, "embedding");
    scene.db.batch("select ai.drop_vectorizer('docs')");
    scene.finish();
}

/// Fear: without its primary key rows are mixed up.
#[test]
fn a_source_that_loses_its_primary_key_keeps_its_rows_apart() {
    let mut scene = scene();
    scene.db.batch("alter table docs drop constraint docs_pkey");
    still_works(&mut scene, "docs", 50);
    scene.db.batch("alter table docs add primary key (id)");
    still_works(&mut scene, "docs", 51);
    scene.finish();
}

/// Fear: with many vectorizers in several databases and few workers somebody starves.
#[test]
fn many_vectorizers_in_several_databases_share_two_workers() {
    const EACH: usize = 20;
    let mut scene = Scene::with(Settings::default().set("autovector.max_workers", "2"));
    let mut databases: Vec<_> = ["first", "second", "third"]
        .map(|name| {
            let mut db = scene.cluster.create_database(name);
            db.batch("set client_min_messages = warning; create extension autovector cascade");
            db
        })
        .into_iter()
        .collect();
    for db in &mut databases {
        for i in 0..EACH {
            db.batch(&format!(
                "create table t{i} (id bigint primary key, body text);
                 insert into t{i} select n, 't{i} ' || n from generate_series(1, 5) n"
            ));
            db.batch(&Spec::on(&format!("t{i}")).sql(&scene.provider));
        }
    }
    for db in &mut databases {
        for i in 0..EACH {
            settle(db, &format!("t{i}"));
            let stored: i64 = db.one(&format!("select count(*) from t{i}_embedding_store"), &[]);
            assert_eq!(stored, 5, "t{i}");
        }
    }
    assert!(scene.workers().len() <= 2);
    scene.db.batch("select 1");
    scene.finish();
}

/// Fear: autovector, which looks at commands before PostgreSQL does, gives the transaction an id, and
/// commands that must come first in a transaction are refused in the whole database.
#[test]
fn commands_that_run_in_transactions_of_their_own_work() {
    let mut scene = scene();
    scene.db.batch(
        "create table records (id int primary key, status text);
         create table responses (record_id int references records on delete cascade, user_id int, status text)
           partition by range (record_id);
         create table responses_a partition of responses for values from (0) to (10);
         create table responses_b partition of responses for values from (10) to (20);
         select ai.track_record_status('records', 'responses')",
    );
    for statement in [
        "create index concurrently words on docs (body)",
        "reindex index concurrently words",
        "drop index concurrently words",
        "alter table responses detach partition responses_b concurrently",
        "vacuum docs",
        "cluster docs using docs_pkey",
    ] {
        scene.db.batch(statement);
    }
    still_works(&mut scene, "docs", 1000);
    scene.finish();
}

/// Fear: reading uses transaction ids up: on a server with many searches the day of a vacuum against
/// wraparound comes early, and each search writes a commit record.
#[test]
fn reading_needs_no_transaction_id() {
    let mut scene = scene();
    for statement in [
        "select * from ai.search('docs', 'docs text 3', 3)",
        "select * from ai.search('docs', 'text', 3, 'keyword')",
        "select ai.embed('docs', 'question')",
        "select * from ai.vectorizer_status",
        "select * from ai.vectorizer_records('docs')",
        "select * from ai.search_status('docs')",
        "select * from ai.doctor()",
        "select * from ai.metrics",
        "select ai.wait_for_vectorizer('docs', '10s')",
    ] {
        scene.db.batch(&format!("begin; {statement}"));
        let assigned: bool = scene.db.one("select pg_current_xact_id_if_assigned() is not null", &[]);
        scene.db.batch("commit");
        assert!(!assigned, "{statement}");
    }
    scene.finish();
}
