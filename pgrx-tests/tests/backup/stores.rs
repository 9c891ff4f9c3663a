//! Stores of vectorizers: backed up while workers write, restored with their hashes.

use std::time::Duration;

use autovector_cluster_tests::{Rule, Scene, Settings, Spec, Sql};
use serde_json::Value;

fn scene() -> (tempfile::TempDir, Scene) {
    let directory = tempfile::tempdir().expect("a directory");
    let scene = Scene::with(
        Settings::default().set("autovector.backup_directory", &directory.path().display().to_string()),
    );
    (directory, scene)
}

fn backup(scene: &mut Scene) -> String {
    let report: Value = scene.db.one("select ai.backup_vector_tables()", &[]);
    report["backup"].as_str().expect("a name").to_owned()
}

/// Fear: a restored store is paid for again, keeps vectors of rows that are gone, or does not
/// notice what changed since.
#[test]
fn a_restored_store_is_embedded_only_where_its_source_changed() {
    let (_directory, mut scene) = scene();
    scene.table("docs", 200);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    let saved = backup(&mut scene);
    let before: Vec<String> = scene
        .db
        .all("select id || chunk || embedding from docs_embedding_store where id > 20 order by 1", &[]);
    scene.db.batch(
        "update docs set body = 'changed ' || id where id <= 10; delete from docs where id between 11 and 20;
         insert into docs values (1000, 'new')",
    );
    scene.settle("docs");
    let calls = scene.provider.calls().len();
    let restored: Value = scene.db.one("select ai.restore_vector_tables($1, 'replace')", &[&saved]);
    assert_eq!(restored["tables_restored"]["public.docs_embedding_store"]["loaded"], 200);
    scene.settle("docs");
    let sent: usize = scene.provider.calls()[calls..].iter().map(|call| call.inputs.len()).sum();
    assert_eq!(sent, 11, "only the ten changed rows and the new one");
    let after: Vec<String> = scene.db.all(
        "select id || chunk || embedding from docs_embedding_store where id between 21 and 999 order by 1",
        &[],
    );
    assert_eq!(after, before);
    scene.finish();
}

/// Fear: a result that was in flight is written over what was restored.
#[test]
fn a_restore_during_a_request_wins() {
    let (_directory, mut scene) = scene();
    scene.table("docs", 100);
    scene.vectorize(&Spec::on("docs").processing(10, 2));
    scene.settle("docs");
    let saved = backup(&mut scene);
    let gate = scene.provider.hold(Rule::always());
    scene.db.batch("update docs set body = 'again ' || id where id <= 30");
    gate.wait_until_holding(1);
    assert!(scene.count("select count(*) from ai._lease") > 0, "something is in flight");
    scene.db.batch("begin");
    scene
        .db
        .timed(Duration::from_secs(20), &format!("select ai.restore_vector_tables('{saved}', 'replace')"));
    assert_eq!(scene.count("select count(*) from ai._lease"), 0, "nobody may complete it any more");
    scene.db.batch("commit");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where chunk like 'again%'"), 0);
    let during = backup(&mut scene);
    gate.release();
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where chunk like 'again%'"), 30);
    assert_eq!(scene.db.one::<Value>("select ai.verify_backup($1)", &[&during])["valid"], true);
    scene.finish();
}

/// Fear: a store is emptied, and its vectorizer pays for every row again.
#[test]
fn stores_are_never_emptied() {
    let (_directory, mut scene) = scene();
    scene.table("docs", 20);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    for tables in ["", "tables => '{docs_embedding_store}', "] {
        let error = scene
            .db
            .error_of(&format!("select ai.backup_vector_tables({tables}truncate_vector_tables => true)"));
        assert!(["55000", "22023"].contains(&error.code().code()), "{}", error.message());
    }
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 20);
    scene.finish();
}
