//! What is refused, with what words, and that nothing has changed then.

use autovector_cluster_tests::Sql;

use crate::stage::{dimensions, embedded, model, rebuild_to, wait_for_rebuild};

/// Fear: cheap settings cost a rebuild, or do not count.
#[test]
fn cheap_settings_count_at_once() {
    let mut scene = embedded(5);
    let calls = scene.provider.call_count();
    let alter = "select ai.alter_vectorizer('docs', processing => ai.processing_default(batch_size => 7), priority => 3)";
    assert_eq!(scene.db.one::<String>(alter, &[]), "changed");
    assert_eq!(scene.db.one::<String>("select ai.alter_vectorizer('docs')", &[]), "unchanged");
    assert_eq!(
        scene.db.one::<String>(
            "select (config #>> '{processing,batch_size}') || ' ' || priority from ai.vectorizer join ai._vectorizer_control on id = vectorizer_id",
            &[]
        ),
        "7 3"
    );
    assert_eq!(scene.count("select count(*) from ai._rebuild"), 0);
    scene.settle("docs");
    assert_eq!(scene.provider.call_count(), calls);
    scene.finish();
}

/// Fear: what cannot be done is half done.
#[test]
fn what_cannot_be_done_changes_nothing() {
    let mut scene = embedded(5);
    let (same, other) = (model(&scene, "test-model", 8), model(&scene, "other", 12));
    for (sql, code, word) in [
        ("select ai.alter_vectorizer('dosc')".to_owned(), "42704", "docs"),
        (format!("select ai.alter_vectorizer('docs', chunking => {same})"), "22023", "chunking"),
        (
            "select ai.alter_vectorizer('docs', loading => ai.loading_column('boddy'))".to_owned(),
            "42703",
            "body",
        ),
        (
            "select ai.alter_vectorizer('docs', embedding => ai.embedding_openai('x', 0))".to_owned(),
            "22023",
            "dimensions",
        ),
        (
            "select ai.alter_vectorizer('docs', embedding => ai.embedding_openai('x', 17000))".to_owned(),
            "22023",
            "dimensions",
        ),
        (
            "select ai.alter_vectorizer('docs', embedding => ai.embedding_local('all-MiniLM-L6-v2', 7))"
                .to_owned(),
            "22023",
            "384",
        ),
        (
            "select ai.alter_vectorizer('docs', embedding => ai.embedding_local('no-such-model'))".to_owned(),
            "22023",
            "no-such-model",
        ),
        ("select ai.finish_rebuild('docs')".to_owned(), "55000", "no rebuild"),
        ("select ai.cancel_rebuild('docs')".to_owned(), "55000", "no rebuild"),
        ("select ai.rollback_rebuild('docs')".to_owned(), "55000", "no rebuild"),
        ("select ai.drop_previous_store('docs')".to_owned(), "55000", "no rebuild"),
    ] {
        let error = scene.db.error_of(&sql);
        let said = format!("{} {}", error.message(), error.hint().unwrap_or_default());
        assert_eq!(error.code().code(), code, "{sql}: {error:?}");
        assert!(said.contains(word), "{sql}: {said}");
    }
    assert_eq!(scene.count("select count(*) from ai._rebuild"), 0);
    assert_eq!(
        scene.count(
            "select count(*) from pg_class where relkind = 'r' and relname like '\\_vectorizer\\_store%'"
        ),
        0
    );

    let gate = scene.provider.hold(autovector_cluster_tests::Rule::always());
    rebuild_to(&mut scene, 16, false);
    gate.wait_until_holding(1);
    for (sql, word) in [
        (format!("select ai.alter_vectorizer('docs', embedding => {other})"), "being rebuilt"),
        ("select ai.finish_rebuild('docs')".to_owned(), "not ready"),
        ("select ai.rollback_rebuild('docs')".to_owned(), "not been swapped"),
        ("select ai.drop_previous_store('docs')".to_owned(), "no previous store"),
        ("select ai.drop_vectorizer(2)".to_owned(), "belongs to the rebuild"),
        ("select ai.pause_vectorizer(2)".to_owned(), "belongs to the rebuild"),
        ("select ai.alter_vectorizer(2, priority => 1)".to_owned(), "belongs to the rebuild"),
    ] {
        let error = scene.db.error_of(&sql);
        assert_eq!(error.code().code(), "55000", "{sql}: {error:?}");
        assert!(error.message().contains(word), "{sql}: {error:?}");
    }
    gate.release();
    wait_for_rebuild(&mut scene);
    scene.db.batch("select ai.finish_rebuild('docs')");
    for (sql, word) in [
        (format!("select ai.alter_vectorizer('docs', embedding => {other})"), "still keeps"),
        ("select ai.finish_rebuild('docs')".to_owned(), "finished already"),
        ("select ai.cancel_rebuild('docs')".to_owned(), "is finished"),
    ] {
        let error = scene.db.error_of(&sql);
        assert_eq!(error.code().code(), "55000", "{sql}: {error:?}");
        assert!(error.message().contains(word), "{sql}: {error:?}");
    }
    assert_eq!(dimensions(&mut scene), [16]);
    scene.finish();
}

/// Fear: a table that somebody drops during a rebuild takes the vectorizer along, or leaves a rebuild
/// that can neither end nor be given up.
#[test]
fn a_dropped_store_leaves_a_way_out() {
    let mut scene = embedded(20);
    let gate = scene.provider.hold(autovector_cluster_tests::Rule::always());
    rebuild_to(&mut scene, 16, true);
    gate.wait_until_holding(1);
    let shadow: String = scene.db.one("select store::text from ai.vectorizer where id <> 1", &[]);
    scene.db.batch(&format!("drop table {shadow}"));
    gate.release();
    let error = scene.db.error_of("call ai.wait_for_rebuild('docs', '60s')");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert!(error.message().contains("stands still"), "{error:?}");
    // The old store serves and follows changes.
    scene.db.batch("update docs set body = 'changed' where id = 1");
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding where chunk = 'changed'"), 1);
    scene.db.batch("select ai.cancel_rebuild('docs')");
    assert_eq!(scene.count("select count(*) from ai._rebuild"), 0);
    assert_eq!(dimensions(&mut scene), [8]);
    // Another one goes through.
    rebuild_to(&mut scene, 16, true);
    wait_for_rebuild(&mut scene);
    assert_eq!(dimensions(&mut scene), [16]);
    scene.finish();
}

/// Fear: a vectorizer whose vectors are a column of the source is rebuilt by halves.
#[test]
fn a_column_of_vectors_is_not_rebuilt() {
    let mut scene = autovector_cluster_tests::Scene::with(crate::stage::settings());
    scene.table("docs", 5);
    scene.vectorize(
        &autovector_cluster_tests::Spec::on("docs")
            .chunking("ai.chunking_none()")
            .with("destination", "ai.destination_column('embedding')"),
    );
    scene.settle("docs");
    let calls = scene.provider.call_count();
    let alter = format!("select ai.alter_vectorizer('docs', embedding => {})", model(&scene, "other", 16));
    let error = scene.db.error_of(&alter);
    assert_eq!(error.code().code(), "0A000", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("ai.destination_column")), "{error:?}");
    assert_eq!(scene.count("select count(*) from ai._rebuild"), 0);
    assert_eq!(scene.provider.call_count(), calls);
    scene.cluster.assert_healthy();
}
