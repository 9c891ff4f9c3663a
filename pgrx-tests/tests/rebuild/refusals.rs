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
