//! What of a row is embedded, and how it is found again: chunks, templates, rows without
//! text, several vectorizers of one table, wire formats, search, the view.

use autovector_cluster_tests::{Check, Scene, Spec, Sql, expected_vector};
use serde_json::Value;

/// A scene with table `docs` of `rows` rows, vectorized and quiet.
fn embedded(rows: i64) -> Scene {
    let mut scene = Scene::new();
    scene.table("docs", rows);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene
}

/// Chunks of the store of `docs` for one id.
fn chunks(scene: &mut Scene, id: i64) -> Vec<String> {
    scene.db.all("select chunk from docs_embedding_store where id = $1 order by chunk_seq", &[&id])
}

/// Fear: a row without text is an error, stays pending for ever, or keeps an old vector.
#[test]
fn rows_without_text_have_no_vectors() {
    let mut scene = Scene::new();
    scene.table("docs", 2);
    scene.db.batch("insert into docs values (3, null), (4, '')");
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 2);
    scene.db.batch("update docs set body = null where id = 1; update docs set body = '' where id = 2; update docs set body = 'now' where id = 3");
    scene.settle("docs");
    assert_eq!(scene.db.all::<String>("select chunk from docs_embedding_store", &[]), ["now"]);
    assert_eq!(scene.status("docs", "rows_failed").as_deref(), Some("0"));
    scene.finish();
}

/// Fear: a long text loses chunks, keeps old ones when it shrinks, or pays for all when one
/// paragraph changes.
#[test]
fn long_texts_are_chunked_and_only_new_chunks_are_paid_for() {
    let mut scene = Scene::new();
    scene.table("docs", 0);
    // Three paragraphs that do not fit together: the splitter can only cut between them.
    let paragraph = |word: &str| format!("{word} ").repeat(70).trim_end().to_owned();
    let text = |words: &[&str]| words.iter().map(|word| paragraph(word)).collect::<Vec<_>>().join("\n\n");
    let (alpha, beta, gamma, delta) =
        (paragraph("alphabet"), paragraph("betatest"), paragraph("gammaray"), paragraph("deltawin"));
    scene.db.exec("insert into docs values (1, $1)", &[&text(&["alphabet", "betatest", "gammaray"])]);
    scene.vectorize(&Spec::on("docs").chunking("ai.chunking_recursive_character_text_splitter(800, 100)"));
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 1), [alpha.clone(), beta.clone(), gamma.clone()]);

    scene.db.exec("update docs set body = $1", &[&text(&["alphabet", "deltawin", "gammaray"])]);
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 1), [alpha.clone(), delta.clone(), gamma.clone()]);
    for (paragraph, times) in [(&alpha, 1), (&beta, 1), (&gamma, 1), (&delta, 1)] {
        assert_eq!(scene.provider.times_sent(paragraph), times, "{}…", &paragraph[..8]);
    }
    // Shorter, and in another order: what is known keeps its vector.
    scene.db.exec("update docs set body = $1", &[&text(&["gammaray", "alphabet"])]);
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 1), [gamma.clone(), alpha.clone()]);
    assert_eq!(scene.provider.times_sent(&gamma), 1);
    let paragraphs = |row: &Value| -> Vec<String> {
        row["body"].as_str().unwrap_or_default().split("\n\n").map(str::to_owned).collect()
    };
    Check::new("docs").chunks(paragraphs).run(&mut scene.db);
    scene.finish();
}

/// Fear: one huge text stops the batch it is in, or takes the worker's memory.
#[test]
fn a_huge_text_costs_at_most_itself() {
    let mut scene = Scene::new();
    scene.table("docs", 20);
    scene.db.batch("update docs set body = repeat(md5(id::text) || ' ', 400000) where id in (5, 6)");
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where id not in (5, 6)"), 18);
    let failed: i64 = scene.count("select count(*) from ai._vectorizer_q_failed_1 where id in (5, 6)");
    let stored: i64 = scene.count("select count(*) from docs_embedding_store where id in (5, 6)");
    assert_eq!(failed + stored, 2, "each is embedded or failed");
    scene.finish();
}

/// Fear: columns of a template are not watched, or their values are not the row's.
#[test]
fn a_template_embeds_and_watches_its_columns() {
    let mut scene = Scene::new();
    scene.table("docs", 2);
    scene.db.batch("update docs set note = 'title ' || id");
    scene.vectorize(&Spec::on("docs").with("formatting", "ai.formatting_python_template('$note: $chunk')"));
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 2), ["title 2: docs text 2"]);
    scene.db.batch("update docs set note = 'renamed' where id = 2");
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 2), ["renamed: docs text 2"]);
    let formatted = |row: &Value| {
        vec![format!(
            "{}: {}",
            row["note"].as_str().unwrap_or_default(),
            row["body"].as_str().unwrap_or_default()
        )]
    };
    Check::new("docs").chunks(formatted).run(&mut scene.db);
    scene.finish();
}

/// Fear: two vectorizers of one table wait for each other or mix their stores.
#[test]
fn two_vectorizers_of_one_table_do_not_disturb_each_other() {
    let mut scene = Scene::new();
    scene.table("docs", 50);
    scene.db.batch("update docs set note = 'note ' || id");
    scene.vectorize(&Spec::on("docs"));
    let destination = "ai.destination_table('docs_notes')";
    scene.vectorize(
        &Spec::on("docs").name("notes").column("note").dimensions(5).with("destination", destination),
    );
    scene.db.batch("update docs set note = 'other' where id = 1; delete from docs where id = 2");
    scene.settle("docs");
    scene.settle("notes");
    assert_eq!(scene.provider.times_sent("docs text 1"), 1);
    scene.finish();
}

/// Fear: the second wire format is broken.
#[test]
fn ollama_works_end_to_end() {
    let mut scene = Scene::new();
    scene.table("docs", 120);
    let embedding =
        format!("ai.embedding_ollama('test-model', 8, base_url => '{}')", scene.provider.ollama_url());
    scene.vectorize(&Spec::on("docs").embedding(&embedding));
    scene.settle("docs");
    assert!(
        scene.provider.calls().iter().all(|call| call.path == "/api/embed" && call.authorization.is_none())
    );
    scene.finish();
}

/// Fear: the query is embedded otherwise than the documents, or the order is wrong.
#[test]
fn search_finds_the_row_with_the_very_text() {
    let mut scene = embedded(200);
    let vector: Vec<f32> = scene.db.one("select ai.embed('docs', 'a question')::real[]", &[]);
    assert_eq!(vector, expected_vector("a question", 8));
    let rows = scene
        .db
        .query("select key, chunk_seq, chunk, score from ai.search('docs', 'docs text 42', 3)", &[])
        .unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].get::<_, Value>(0), serde_json::json!({"id": 42}));
    assert_eq!(rows[0].get::<_, String>(2), "docs text 42");
    let scores: Vec<f64> = rows.iter().map(|row| row.get(3)).collect();
    assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]), "best first: {scores:?}");
    scene.finish();
}

/// Fear: the view does not join, or shows rows twice.
#[test]
fn the_view_shows_source_columns_beside_vectors() {
    let mut scene = embedded(4);
    let ids: Vec<i64> = scene.db.all("select id from docs_embedding where chunk = body order by id", &[]);
    assert_eq!(ids, [1, 2, 3, 4]);
    scene.finish();
}
