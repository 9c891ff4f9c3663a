//! Vectorizers over documents: every kind, from bytea columns, files and the web; and documents
//! that mean harm.

mod buckets;
mod columns;
mod hostile;
mod uris;

use autovector_cluster_tests::{Scene, Spec, Sql};

/// Creates table `docs (id, <column>)` and a vectorizer of it with one chunk a row.
fn vectorize(scene: &mut Scene, column: &str, loading: &str, more: &[(&str, &str)]) {
    scene.db.batch(&format!("create table docs (id bigint primary key, {column})"));
    create(scene, loading, more);
}

fn create(scene: &mut Scene, loading: &str, more: &[(&str, &str)]) {
    let spec = more.iter().fold(Spec::on("docs"), |spec, (name, sql)| spec.with(name, sql));
    let sql = spec.sql(&scene.provider).replace("ai.loading_column('body')", loading);
    assert!(sql.contains(loading));
    scene.db.batch(&sql);
}

/// The text of a row in the store, None where it has none.
fn chunk(scene: &mut Scene, id: i64) -> Option<String> {
    scene.db.one(
        "select (select string_agg(chunk, '|' order by chunk_seq) from docs_embedding_store where id = $1)",
        &[&id],
    )
}

/// Why a row failed: step and reason.
fn failure(scene: &mut Scene, id: i64) -> String {
    scene.db.one("select failure_step || ': ' || error from ai._vectorizer_q_failed_1 where id = $1", &[&id])
}
