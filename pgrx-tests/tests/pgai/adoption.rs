//! `adopt_existing`: a table of vectors that is there already becomes the store.

use autovector_cluster_tests::{Check, Scene, Spec, Sql, expected_vector};

fn vector(text: &str, dimensions: usize) -> String {
    format!("{:?}", expected_vector(text, dimensions)).replace(' ', "")
}

/// `adopt_existing` of table `vectors`.
fn adopting(dimensions: usize) -> Spec {
    Spec::on("docs")
        .dimensions(dimensions)
        .with("destination", "ai.destination_table(target_table => 'vectors', view_name => 'shown')")
        .with("adopt_existing", "true")
}

/// Fear: vectors that are right are paid for again, wrong ones stay, or rows of others are left in the store.
#[test]
fn what_agrees_is_kept_and_the_rest_is_embedded() {
    let mut scene = Scene::new();
    scene.table("docs", 6);
    // As other programs have them: no sequence, no hash, a column of their own, dimensions unsaid.
    scene.db.batch(
        "create table vectors (uuid uuid primary key default gen_random_uuid(), id bigint, document varchar, embedding vector, meta jsonb);
         alter table vectors rename column document to chunk;
         insert into docs values (7, 'one chunk too many')",
    );
    let mut add = |id: i64, text: &str| {
        let embedding = vector(text, 8);
        scene.db.batch(&format!(
            "insert into vectors (id, chunk, embedding) values ({id}, '{text}', '{embedding}')"
        ));
    };
    (1..=3).for_each(|id| add(id, &format!("docs text {id}")));
    add(4, "an older text");
    add(7, "one chunk too many");
    add(7, "not any more");
    add(99, "of a row that is gone");
    scene.db.batch("insert into vectors (id, chunk) values (5, 'never embedded')");
    scene.vectorize(&adopting(8));
    scene.settle("docs");
    let mut sent: Vec<String> = scene.provider.calls().iter().flat_map(|call| call.inputs.to_vec()).collect();
    sent.sort();
    assert_eq!(sent, ["docs text 4", "docs text 5", "docs text 6"]);
    Check::new("docs").run(&mut scene.db);
    assert_eq!(scene.count("select count(*) from shown"), 7);
    scene.db.batch("update docs set body = 'new' where id = 1; update docs set note = 'x' where id = 2");
    scene.settle("docs");
    assert_eq!(scene.provider.times_sent("docs text 1"), 0);
    assert_eq!(scene.provider.times_sent("new"), 1);

    // Given up and taken over again, now with hashes for some: nothing is paid for twice.
    scene.db.batch("select ai.drop_vectorizer('docs'); update docs set body = 'newer' where id = 2");
    scene.provider.forget_calls();
    scene.vectorize(&adopting(8));
    scene.settle("docs");
    let sent: Vec<String> = scene.provider.calls().iter().flat_map(|call| call.inputs.to_vec()).collect();
    assert_eq!(sent, ["newer"]);

    // Another model: what has no hash is not taken for its work.
    scene.db.batch("alter table vectors drop column meta, drop column uuid");
    scene.db.batch(&format!(
        "select ai.alter_vectorizer('docs', embedding => ai.embedding_openai('other', 8, base_url => '{}'))",
        scene.provider.openai_url()
    ));
    scene.db.batch("call ai.wait_for_rebuild('docs', '60s')");
    assert_eq!(scene.provider.times_sent("docs text 3"), 1);
    scene.finish();
}

/// Fear: a table that cannot be a store is half changed, or refused with a riddle.
#[test]
fn what_does_not_fit_is_refused_with_what_to_type() {
    let mut scene = Scene::new();
    scene.table("docs", 2);
    let columns = "select string_agg(attname, ' ' order by attnum) from pg_attribute where attrelid = 'vectors'::regclass and attnum > 0";
    for (definition, dimensions, code, hint) in [
        ("chunk text, embedding vector(8)", 8, "42703", "ADD COLUMN id bigint"),
        ("id bigint, content text, embedding vector(8)", 8, "42703", "RENAME COLUMN content TO chunk"),
        ("id bigint, chunk text, vec vector(8)", 8, "42703", "RENAME COLUMN vec TO embedding"),
        ("id bigint, chunk text, embedding vector(8)", 16, "22023", "model"),
        ("id bigint, chunk text, embedding real[]", 8, "22023", "TYPE vector(8)"),
        ("id int, chunk text, embedding vector(8)", 8, "22023", "TYPE bigint"),
        ("id bigint, chunk text, embedding vector(8), must text not null", 8, "22023", "DROP NOT NULL"),
        ("id bigint, chunk text, embedding vector(8), content_hash text", 8, "22023", "RENAME COLUMN"),
    ] {
        scene.db.batch(&format!("create table vectors ({definition})"));
        let before: String = scene.db.one(columns, &[]);
        let sql = adopting(dimensions).sql(&scene.provider);
        let error = scene.db.error_of(&sql);
        assert_eq!(error.code().code(), code, "{definition}: {error:?}");
        assert!(error.hint().is_some_and(|said| said.contains(hint)), "{definition}: {error:?}");
        assert_eq!(scene.db.one::<String>(columns, &[]), before);
        scene.db.batch("drop table vectors");
    }
    // Dimensions that only the rows say; keys that are missing; numbers that are there twice.
    scene.db.batch("create table vectors (id bigint, chunk text, embedding vector, chunk_seq int)");
    for (rows, hint) in [
        ("(1, 'a', '[1,2,3]', 0)", "model"),
        ("(null, 'a', '[1,2,3,4,5,6,7,8]', 0)", "DELETE FROM"),
        ("(1, 'a', '[1,2,3,4,5,6,7,8]', 0), (1, 'b', '[1,2,3,4,5,6,7,8]', 0)", "DROP COLUMN chunk_seq"),
    ] {
        scene.db.batch(&format!("truncate vectors; insert into vectors values {rows}"));
        let error = scene.db.error_of(&adopting(8).sql(&scene.provider));
        assert!(error.hint().is_some_and(|said| said.contains(hint)), "{error:?}");
    }
    // Another's table, another vectorizer's store, a table that nobody said was to be taken over.
    scene.db.batch("truncate vectors; alter table vectors drop column chunk_seq");
    let unsaid = adopting(8)
        .with("if_not_exists", "true")
        .sql(&scene.provider)
        .replace("adopt_existing => true", "adopt_existing => false");
    assert_eq!(scene.db.error_of(&unsaid).code().code(), "42710");
    scene.vectorize(&adopting(8));
    scene.settle("docs");
    let second = adopting(8).name("second").sql(&scene.provider).replace("'shown'", "'shown_too'");
    let error = scene.db.error_of(&second);
    assert_eq!(error.code().code(), "42710", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("ai.drop_vectorizer('docs')")), "{error:?}");
    scene.finish();
}
