//! Functions, settings and views under pgai's names.

use std::sync::{Arc, Mutex};

use autovector_cluster_tests::{Scene, Spec, Sql, wait::holds_for};
use postgres::{Client, NoTls};
use serde_json::{Value, json};

fn json_of(db: &mut Client, sql: &str) -> Value {
    db.one(&format!("select {sql}"), &[])
}

/// A session, and everything that it is told.
pub fn listening(scene: &Scene) -> (Client, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (mut config, notes) = (scene.cluster.config("postgres"), Arc::clone(&told));
    config.notice_callback(move |notice| {
        notes.lock().expect("no panic").push(format!("{} {}", notice.severity(), notice.message()));
    });
    (config.connect(NoTls).expect("a session"), told)
}

/// Fear: a program that reads a configuration finds other keys in it, or positional arguments land
/// elsewhere.
#[test]
fn configurations_have_the_keys_of_pgai() {
    let mut scene = Scene::new();
    let db = &mut scene.db;
    for (sql, expected) in [
        (
            "ai.loading_column('body')",
            json!({"implementation": "column", "config_type": "loading", "column_name": "body", "retries": 6}),
        ),
        ("ai.parsing_auto()", json!({"implementation": "auto", "config_type": "parsing"})),
        ("ai.chunking_none()", json!({"implementation": "none", "config_type": "chunking"})),
        (
            "ai.chunking_character_text_splitter()",
            json!({"implementation": "character_text_splitter", "config_type": "chunking", "chunk_size": 800,
                   "chunk_overlap": 400, "separator": "\n\n", "is_separator_regex": false}),
        ),
        (
            "ai.chunking_recursive_character_text_splitter(100, 10)",
            json!({"implementation": "recursive_character_text_splitter", "config_type": "chunking", "chunk_size": 100,
                   "chunk_overlap": 10, "separators": ["\n\n", "\n", ".", "?", "!", " ", ""], "is_separator_regex": false}),
        ),
        (
            "ai.formatting_python_template()",
            json!({"implementation": "python_template", "config_type": "formatting", "template": "$chunk"}),
        ),
        (
            "ai.embedding_openai('text-embedding-3-small', 768, 'me')",
            json!({"implementation": "openai", "config_type": "embedding", "model": "text-embedding-3-small",
                   "dimensions": 768, "user": "me", "api_key_name": "OPENAI_API_KEY"}),
        ),
        (
            "ai.embedding_ollama('nomic-embed-text', 768)",
            json!({"implementation": "ollama", "config_type": "embedding", "model": "nomic-embed-text", "dimensions": 768}),
        ),
        ("ai.indexing_none()", json!({"implementation": "none", "config_type": "indexing"})),
        ("ai.indexing_default()", json!({"implementation": "default", "config_type": "indexing"})),
        (
            "ai.indexing_hnsw()",
            json!({"implementation": "hnsw", "config_type": "indexing", "min_rows": 100_000, "opclass": "vector_cosine_ops",
                   "create_when_queue_empty": true}),
        ),
        (
            "ai.indexing_diskann(10, 'plain')",
            json!({"implementation": "diskann", "config_type": "indexing", "min_rows": 10, "storage_layout": "plain",
                   "create_when_queue_empty": true}),
        ),
        ("ai.scheduling_none()", json!({"implementation": "none", "config_type": "scheduling"})),
        (
            "ai.scheduling_timescaledb('5m', fixed_schedule => true, timezone => 'UTC')",
            json!({"implementation": "timescaledb", "config_type": "scheduling", "schedule_interval": "00:05:00",
                   "fixed_schedule": true, "timezone": "UTC"}),
        ),
        (
            "ai.processing_default(200, 3)",
            json!({"implementation": "default", "config_type": "processing", "batch_size": 200, "concurrency": 3}),
        ),
        (
            "ai.destination_table('shown')",
            json!({"implementation": "table", "config_type": "destination", "destination": "shown"}),
        ),
        (
            "ai.destination_column('vec')",
            json!({"implementation": "column", "config_type": "destination", "embedding_column": "vec"}),
        ),
        ("to_jsonb(ai.grant_to('b', 'a'))", json!(["a", "b"])),
        ("to_jsonb(ai.grant_to())", json!([])),
    ] {
        assert_eq!(json_of(db, sql), expected, "{sql}");
    }
    db.batch("set ai.grant_to_default = 'x, y,,x'");
    assert_eq!(json_of(db, "to_jsonb(ai.grant_to('a'))"), json!(["a", "x", "y"]));
    // The order of arguments, for those who leave their names out.
    let arguments: Vec<String> = db.one(
        "select proargnames from pg_proc where oid = 'ai.create_vectorizer'::regproc and pronargs = cardinality(proargnames)",
        &[],
    );
    assert_eq!(
        arguments[..16],
        [
            "source",
            "name",
            "destination",
            "loading",
            "parsing",
            "embedding",
            "chunking",
            "indexing",
            "formatting",
            "scheduling",
            "processing",
            "queue_schema",
            "queue_table",
            "grant_to",
            "enqueue_existing",
            "if_not_exists"
        ]
    );
    scene.finish();
}

/// Fear: settings of pgai decide nothing, or more than they should; places that were chosen are not
/// taken; what cannot be heeded is passed over in silence.
#[test]
fn settings_and_places_are_heeded() {
    let mut scene = Scene::new();
    scene.table("docs", 3);
    scene.db.batch("create schema shown; create role reader login; create role other login");
    let (mut db, told) = listening(&scene);
    db.batch(
        "set ai.indexing_default = 'indexing_hnsw'; set ai.scheduling_default = 'scheduling_timescaledb';
         set ai.grant_to_default = 'reader, nobody_here'",
    );
    let make = format!(
        "select ai.create_vectorizer('docs', destination => ai.destination_table(view_schema => 'shown', view_name => 'v'),
            loading => ai.loading_column('body'), chunking => ai.chunking_none(),
            embedding => ai.embedding_openai('m', 8, base_url => '{}'), queue_schema => 'shown', queue_table => 'q')",
        scene.provider.openai_url()
    );
    let id: i32 = db.one(&make, &[]);
    let told = told.lock().expect("no panic").join("\n");
    assert!(told.contains("\"nobody_here\" in grant_to does not exist"), "{told}");
    assert_eq!(told.matches("WARNING").count(), 1, "{told}");
    let queue: String = scene.db.one("select queue_schema || '.' || queue_table from ai.vectorizer", &[]);
    assert_eq!(queue, format!("ai._vectorizer_q_{id}"));
    scene.settle("public_docs_embedding_store");
    let config: Value = scene.db.one("select config from ai.vectorizer", &[]);
    assert_eq!(config["indexing"]["implementation"], "hnsw");
    assert_eq!(config["scheduling"]["implementation"], "timescaledb");
    assert_eq!(config["destination"]["view_schema"], "shown");
    assert!(config["version"].is_string());
    assert_eq!(scene.count("select count(*) from shown.v"), 3);
    // What was granted holds for chunks that come later, too.
    let mut reader = scene.cluster.connect_as("postgres", "reader");
    scene.db.batch("insert into docs values (4, 'later')");
    scene.settle("public_docs_embedding_store");
    assert_eq!(reader.one::<i64>("select count(*) from shown.q", &[]), 0, "all is done");
    for relation in ["shown.v", "docs_embedding_store", "docs"] {
        assert_eq!(reader.one::<i64>(&format!("select count(*) from {relation}"), &[]), 4);
    }
    assert_eq!(reader.error_of("delete from docs_embedding_store").code().code(), "42501");
    let mut other = scene.cluster.connect_as("postgres", "other");
    assert_eq!(other.error_of("select * from docs_embedding_store").code().code(), "42501");
    // A default that was asked for by name stays one.
    scene.db.batch("set ai.indexing_default = 'indexing_hnsw'");
    scene.table("plain", 1);
    scene.vectorize(&Spec::on("plain"));
    let indexing: String = scene
        .db
        .one("select config #>> '{indexing,implementation}' from ai.vectorizer where name = 'plain'", &[]);
    assert_eq!(indexing, "none");
    scene.settle("plain");
    scene.finish();
}

/// Fear: a job that is to begin later begins at once, or never.
#[test]
fn a_schedule_begins_when_it_was_told_to() {
    let mut scene = Scene::new();
    scene.table("docs", 2);
    let later = "ai.scheduling_timescaledb('5m', initial_start => now() + interval '1 hour')";
    scene.vectorize(&Spec::on("docs").with("scheduling", later));
    assert_eq!(scene.status("docs", "state").as_deref(), Some("waiting for window"));
    let error = scene.db.error_of("select ai.execute_vectorizer('docs')");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("ai.run_vectorizer")), "{error:?}");
    assert_eq!(scene.provider.call_count(), 0);
    scene.db.batch("select ai.set_scheduling('docs', ai.scheduling_timescaledb(initial_start => now()))");
    scene.settle("docs");
    assert_eq!(scene.count("select rows_embedded from ai.vectorizer_status"), 2);
    scene.finish();
}

/// Fear: switching off and on, counting and running now do something else than in pgai, or an unknown
/// name ends a script that always passed.
#[test]
fn management_works_under_the_names_of_pgai() {
    let mut scene = Scene::new();
    scene.table("docs", 20);
    let id = scene.vectorize(&Spec::on("docs"));
    scene.db.batch("select ai.execute_vectorizer('docs')");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 20);

    scene.db.batch(&format!("select ai.disable_vectorizer_schedule({id})"));
    assert!(scene.db.one::<bool>("select disabled from ai.vectorizer_status where name = 'docs'", &[]));
    scene.db.batch("update docs set body = 'new ' || id where id <= 7");
    assert_eq!(scene.count("select ai.vectorizer_queue_pending('docs')"), 7);
    assert_eq!(scene.count(&format!("select ai.vectorizer_queue_pending({id}, exact_count => true)")), 7);
    let queued =
        "select count(*) from ai._vectorizer_q_1 where loading_retries = 0 and loading_retry_after is null
                   and queued_at <= clock_timestamp()";
    assert_eq!(scene.count(queued), 7);
    assert_eq!(
        scene.count("select count(*) filter (where failure_step <> '') from ai._vectorizer_q_failed_1"),
        0
    );
    let calls = scene.provider.call_count();
    holds_for("nothing is called while it is disabled", std::time::Duration::from_millis(300), || {
        scene.provider.call_count() == calls
    });
    // The workers do not see what is not committed: waiting for them would never end.
    let error =
        scene.db.error_of("select ai.enable_vectorizer_schedule('docs'); select ai.execute_vectorizer(1)");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    scene.db.batch("select ai.enable_vectorizer_schedule('docs')");
    scene.db.batch("select ai.execute_vectorizer(1)");
    assert!(!scene.db.one::<bool>("select disabled from ai.vectorizer", &[]));
    assert_eq!(scene.count("select ai.vectorizer_queue_pending('docs')"), 0);

    // More than ten thousand are not counted unless one insists.
    scene.db.batch(
        "select ai.pause_vectorizer('docs'); insert into docs select i, 'row ' || i from generate_series(100, 10099) i",
    );
    assert_eq!(scene.count("select ai.vectorizer_queue_pending('docs')"), 10_000);
    scene.db.batch("insert into docs values (50, 'one more')");
    assert_eq!(scene.count("select ai.vectorizer_queue_pending('docs')"), i64::MAX);
    assert_eq!(scene.count("select ai.vectorizer_queue_pending('docs', true)"), 10_001);
    scene.db.batch("delete from docs where id >= 50; select ai.resume_vectorizer('docs')");

    // Unknown names: a warning where pgai said nothing, an error for ids.
    let (mut db, told) = listening(&scene);
    for call in [
        "ai.drop_vectorizer('doc')",
        "ai.disable_vectorizer_schedule('doc')",
        "ai.enable_vectorizer_schedule('doc')",
        "ai.vectorizer_queue_pending('doc')",
    ] {
        told.lock().expect("no panic").clear();
        db.batch(&format!("select {call}"));
        let told = told.lock().expect("no panic").join("\n");
        assert!(told.starts_with("WARNING") && told.contains("docs"), "{call}: {told}");
        let error = db.error_of(&format!("select {}", call.replace("'doc'", "4711")));
        assert_eq!(error.code().code(), "42704", "{call}");
    }
    assert_eq!(db.error_of("select ai.execute_vectorizer('doc')").code().code(), "42704");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a vector that is asked for in a query is that of another model, or an API key is sent for
/// whoever names it.
#[test]
fn single_texts_are_embedded_by_configuration_id_or_name() {
    let mut scene = Scene::new();
    scene.table("docs", 1);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    let url = scene.provider.openai_url();
    let by_config =
        format!("ai.vectorizer_embed(ai.embedding_openai('m', 8, base_url => '{url}'), 'a text')");
    let same: bool = scene.db.one(
        &format!(
            "select a = b and b = c from (select {by_config} as a, ai.vectorizer_embed('docs', 'a text') as b,
                                                 ai.vectorizer_embed(1, 'a text', 'query') as c) v"
        ),
        &[],
    );
    assert!(same);
    assert!(scene.db.one::<bool>(
        "select ai.vectorizer_embed((select config -> 'embedding' from ai.vectorizer), 'b') is not null",
        &[]
    ));
    scene.db.batch("create role nosy login");
    let mut nosy = scene.cluster.connect_as("postgres", "nosy");
    assert_eq!(nosy.error_of("select ai.vectorizer_embed('docs', 'x')").code().code(), "42501");
    scene.provider.forget_calls();
    nosy.batch(&format!("select {by_config}"));
    assert_eq!(scene.provider.calls()[0].authorization, None, "the key is not nosy's");
    let named = by_config.replace("base_url", "api_key_name => 'ANOTHER_KEY', base_url");
    let error = nosy.error_of(&format!("select {named}"));
    assert!(error.hint().is_some_and(|hint| hint.contains("ai.grant_secret")), "{error:?}");
    scene.finish();
}
