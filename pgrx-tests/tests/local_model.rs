//! The model that runs inside the worker: no key, no network, and sensible results.

use std::time::Duration;

use autovector_cluster_tests::{Check, Scene, Settings, Spec, Sql, process, wait_until};

const DOCUMENTS: [&str; 8] = [
    "Knead the dough for ten minutes, let it rise, then bake the bread in a hot oven.",
    "The striker scored twice in the second half and the team won the football match.",
    "Plants turn sunlight, water and carbon dioxide into sugar and oxygen.",
    "The central bank raised interest rates to fight inflation.",
    "Tighten the chain and oil it, then adjust the brakes of the bicycle.",
    "The orchestra played a symphony and the violinist an encore.",
    "Vaccines train the immune system to recognise a virus.",
    "The telescope photographed a galaxy thirteen billion light years away.",
];

const QUESTIONS: [(&str, usize); 6] = [
    ("How do I make a loaf?", 0),
    ("who won the soccer game", 1),
    ("how do leaves make energy", 2),
    ("monetary policy and rising prices", 3),
    ("repairing a bike", 4),
    ("stars and outer space", 7),
];

fn local() -> Scene {
    let mut scene = Scene::with(Settings::default().set("autovector.idle_timeout", "2s"));
    scene.db.batch("create table docs (id int primary key, body text)");
    for (id, text) in DOCUMENTS.iter().enumerate() {
        scene.db.exec("insert into docs values ($1, $2)", &[&(id as i32), text]);
    }
    scene.vectorize(&Spec::on("docs").embedding("ai.embedding_local()"));
    scene.settle("docs");
    scene
}

/// Fear: the default does not work offline, or its vectors mean nothing.
#[test]
fn a_local_model_embeds_and_search_finds_what_is_meant() {
    let mut scene = local();
    Check::new("docs").unscripted().run(&mut scene.db);
    assert_eq!(
        scene.count("select count(*) from docs_embedding_store where vector_dims(embedding) = 384"),
        8
    );
    for (question, expected) in QUESTIONS {
        let best: String = scene.db.one("select chunk from ai.search('docs', $1, 1)", &[&question]);
        assert_eq!(best, DOCUMENTS[expected], "best match of {question:?}");
    }
    assert_eq!(scene.provider.call_count(), 0);
    scene.cluster.assert_healthy();
}

/// Fear: a text's vector depends on the batch it came in.
#[test]
fn a_text_has_the_same_vector_in_any_batch() {
    let mut scene = local();
    let differing: i64 = scene.count(
        "select count(*) from docs_embedding_store t where (ai.embed('docs', t.chunk) <-> t.embedding) > 1e-5",
    );
    assert_eq!(differing, 0);
    scene.db.batch("insert into docs select 100 + i, (select body from docs where id = 3) || repeat(' more', i) from generate_series(0, 40) i");
    scene.settle("docs");
    let same: f64 = scene.db.one(
        "select (a.embedding <-> b.embedding)::float8 from docs_embedding_store a, docs_embedding_store b where a.id = 3 and b.id = 100",
        &[],
    );
    assert!(same < 1e-5, "the same text is {same} apart");
    scene.cluster.assert_healthy();
}

/// Fear: a long text crashes the model or takes the machine's memory.
#[test]
fn long_and_odd_texts_are_embedded() {
    let mut scene = local();
    let texts = [
        "x".repeat(200_000),
        "word ".repeat(20_000),
        "🦀".repeat(500),
        "\u{200b}\u{feff}".to_owned(),
        "漢字かな交じり文".to_owned(),
    ];
    for (id, text) in texts.iter().enumerate() {
        scene.db.exec("insert into docs values ($1, $2)", &[&(200 + id as i32), text]);
    }
    scene.settle("docs");
    Check::new("docs").unscripted().run(&mut scene.db);
    assert_eq!(scene.status("docs", "rows_failed").as_deref(), Some("0"));
    scene.cluster.assert_healthy();
}

/// Fear: an idle worker keeps the model's memory.
#[test]
fn the_model_leaves_memory_when_idle() {
    let mut scene = local();
    wait_until("the worker has left", Duration::from_secs(30), || scene.workers().is_empty());
    let backend: i32 = scene.db.one("select pg_backend_pid()", &[]);
    let used = process::private_memory_kb(backend).expect("this session lives");
    assert!(used < 100 << 10, "a session that never embedded takes {used} kB");
    scene.db.batch("insert into docs values (300, 'and it comes back')");
    scene.settle("docs");
    scene.cluster.assert_healthy();
}

/// Fear: nobody learns that the model read only the beginning of long texts, or a text that lost nothing
/// is said to be cut.
#[test]
fn texts_that_the_model_cuts_are_noted() {
    let mut scene = local();
    scene.db.batch(
        "insert into docs select i, 'text ' || i || repeat(' river', 300) from generate_series(21, 23) i",
    );
    scene.settle("docs");
    let notes: Vec<String> = scene.db.all("select message from ai.vectorizer_errors", &[]);
    assert_eq!(notes, ["3 texts were longer than the model takes and were cut"]);
    let details: String = scene.db.one(
        "select format('%s %s %s', details->'texts_cut', details->'max_tokens', (select string_agg(k->>0, ',' order by k) from jsonb_array_elements(details->'keys') k))
           from ai.vectorizer_errors",
        &[],
    );
    assert_eq!(details, "3 256 21,22,23");
    assert_eq!(scene.count("select rows_failed from ai.vectorizer_status"), 0);
    scene.cluster.assert_healthy();
}
