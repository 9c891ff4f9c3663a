//! What fails in pgai, and works here or is refused when it is asked for. The table in docs/pgai.md
//! names the tests, these and others.

use autovector_cluster_tests::{Check, Rule, Scene, Spec, Sql};
use serde_json::Value;

/// Fear (D12, D13, D14): names that need quotes, long names, columns that are called as those of queue or
/// store, and a schema chosen for the view.
#[test]
fn names_that_pgai_cannot_take() {
    let mut scene = Scene::new();
    let long = "t".repeat(63);
    scene.db.batch(&format!(
        "create schema shown;
         create table \"Blog Posts\" (\"Id\" int primary key, \"The Body\" text, embedding text, loading_retries int, queued_at date);
         insert into \"Blog Posts\" values (1, 'one', 'own', 7), (2, 'two', 'own', 7);
         create table {long} (id int primary key, body text);
         insert into {long} values (1, 'long');
         create table parted (id int, created_at date, body text, primary key (id, created_at)) partition by range (created_at);
         create table part partition of parted for values from ('2026-01-01') to ('2027-01-01');
         insert into parted values (1, '2026-02-03', 'in a part'), (2, '2026-02-03', 'POISON')"
    ));
    scene.vectorize(
        &Spec::on("\"Blog Posts\"")
            .name("posts")
            .column("The Body")
            .with("destination", "ai.destination_table(view_schema => 'shown')"),
    );
    scene.settle("posts");
    let seen: Vec<String> = scene.db.all(
        "select concat_ws(' ', \"Id\", chunk, source_embedding, loading_retries) from shown.\"Blog Posts_embedding\" order by 1",
        &[],
    );
    assert_eq!(seen, ["1 one own 7", "2 two own 7"]);
    scene.vectorize(&Spec::on(&long).name("long"));
    scene.settle("long");
    assert_eq!(scene.count("select count(*) from ai.search('long', 'long', 1)"), 1);
    // A key with the name of a column of the failed table.
    scene.provider.rule(Rule::containing("POISON").status(400, "no"));
    scene.vectorize(&Spec::on("parted"));
    scene.settle("parted");
    assert_eq!(scene.count("select rows_failed from ai.vectorizer_status where name = 'parted'"), 1);
    let failed: Vec<String> = scene.db.all("select created_at::text from ai._vectorizer_q_failed_3", &[]);
    assert_eq!(failed, ["2026-02-03"]);
    // Of the queue, it is refused.
    scene.db.batch("create table queued (id int, queued_at date, body text, primary key (id, queued_at))");
    let error = scene.db.error_of(&Spec::on("queued").sql(&scene.provider));
    assert_eq!(error.code().code(), "22023", "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
    scene.finish();
}

/// Fear (D5, D6, D16): a batch of deleted rows ends the work, a row is in the queue twice, or is embedded
/// for what nobody embeds.
#[test]
fn the_queue_holds_each_changed_row_once() {
    let mut scene = Scene::new();
    scene.table("docs", 200);
    scene.vectorize(&Spec::on("docs").processing(50, 1));
    scene.settle("docs");
    scene
        .db
        .batch("select ai.pause_vectorizer('docs'); update docs set note = 'x'; update docs set body = body");
    assert_eq!(scene.count("select ai.vectorizer_queue_pending('docs', true)"), 0);
    scene.db.batch(
        "update docs set body = 'once ' || id; update docs set body = 'twice ' || id; update docs set note = 'y';
         delete from docs where id <= 100",
    );
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_1"), 100);
    scene.provider.forget_calls();
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where chunk like 'twice %'"), 100);
    let sent: usize = scene.provider.calls().iter().map(|call| call.inputs.len()).sum();
    assert_eq!(sent, 100);
    scene.finish();
}

/// Fear (D8, D10, D11, D25): what was accepted fails at every attempt; NULL becomes a word; a text with a
/// token of the model's own poisons its batch; a text that is gone keeps its vector.
#[test]
fn what_is_accepted_works() {
    let mut scene = Scene::new();
    scene.table("docs", 4);
    scene.db.batch(
        "update docs set body = 'before <|endoftext|> after' where id = 1; update docs set note = 'n' where id = 2",
    );
    scene.vectorize(
        &Spec::on("docs")
            .processing(2, 50)
            .with("formatting", "ai.formatting_python_template('$note: $chunk')"),
    );
    scene.settle("docs");
    let stored: Vec<String> = scene.db.all("select chunk from docs_embedding_store order by id limit 2", &[]);
    assert_eq!(stored, [": before <|endoftext|> after", "n: docs text 2"]);
    let formatted = |row: &Value| {
        vec![format!(
            "{}: {}",
            row["note"].as_str().unwrap_or_default(),
            row["body"].as_str().unwrap_or_default()
        )]
    };
    Check::new("docs").chunks(formatted).run(&mut scene.db);
    scene.db.batch("select ai.drop_vectorizer('docs', true)");
    scene.vectorize(&Spec::on("docs").with("destination", "ai.destination_column('vec')"));
    scene.settle("docs");
    scene.db.batch("update docs set body = '' where id = 1; update docs set body = null where id = 2");
    scene.db.batch("select ai.execute_vectorizer('docs')");
    assert_eq!(scene.db.all::<i64>("select id from docs where vec is null order by id", &[]), [1, 2]);
    scene.db.batch("select ai.drop_vectorizer('docs')");
    scene.finish();
}

/// Fear (D21, D22, D23): an index needs a scheduler of another extension, or a distance that is documented
/// is refused; hours cannot be changed without it.
#[test]
fn nothing_needs_timescaledb() {
    let mut scene = Scene::new();
    scene.table("docs", 30);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    let set = "select ai.set_scheduling(1, ai.scheduling_timescaledb('10m'), ai.indexing_hnsw(min_rows => 10, opclass => 'vector_l2_ops'))";
    let stored: Value = scene.db.one(set, &[]);
    assert_eq!(stored["schedule_interval"], "00:10:00");
    scene.wait_for_status("docs", "index_state", |state| state == "ready");
    let index: String = scene.db.one(
        "select indexdef from pg_indexes where tablename = 'docs_embedding_store' and indexdef like '%USING hnsw%'",
        &[],
    );
    assert!(index.contains("vector_l2_ops"), "{index}");
    scene.finish();
}
