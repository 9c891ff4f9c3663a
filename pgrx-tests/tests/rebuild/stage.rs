//! What the tests of rebuilds share.

use std::time::Duration;

use autovector_cluster_tests::{Scene, Settings, Spec, Sql};

/// A cluster that looks at its rebuilds often.
pub fn settings() -> Settings {
    Settings::default().set("autovector.naptime", "200ms")
}

/// A scene with table `docs` of `rows` rows, vectorized with eight dimensions, and quiet.
pub fn embedded(rows: i64) -> Scene {
    embedded_with(settings(), rows, |spec| spec)
}

pub fn embedded_with(settings: Settings, rows: i64, spec: impl FnOnce(Spec) -> Spec) -> Scene {
    let mut scene = Scene::with(settings);
    scene.table("docs", rows);
    scene.vectorize(&spec(Spec::on("docs")));
    scene.settle("docs");
    scene
}

/// SQL of the scripted provider's embedding with another model and dimension.
pub fn model(scene: &Scene, name: &str, dimensions: u32) -> String {
    format!("ai.embedding_openai('{name}', {dimensions}, base_url => '{}')", scene.provider.openai_url())
}

/// Begins a rebuild to `dimensions`, which swaps by itself, or waits to be swapped.
pub fn rebuild_to(scene: &mut Scene, dimensions: u32, auto_swap: bool) {
    let sql = format!(
        "select ai.alter_vectorizer('docs', embedding => {}, auto_swap => {auto_swap})",
        model(scene, "new-model", dimensions)
    );
    assert_eq!(scene.db.one::<String>(&sql, &[]), "rebuilding");
}

/// Waits until the rebuild has swapped, or is ready.
pub fn wait_for_rebuild(scene: &mut Scene) {
    scene.db.batch("call ai.wait_for_rebuild('docs', '60s')");
}

/// The dimensions that the view shows, each once, in order.
pub fn dimensions(scene: &mut Scene) -> Vec<i32> {
    scene.db.all("select distinct vector_dims(embedding) from docs_embedding order by 1", &[])
}

/// Longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(60);
