//! Wrong arguments: a SQLSTATE that programs can act on, a message that names what is wrong,
//! a hint that says what to type, and nothing half created.

use autovector_cluster_tests::{Scene, Settings, Spec, Sql};

/// Everything that a failed call might leave behind.
fn leftovers(scene: &mut Scene) -> Vec<String> {
    scene.db.all(
        "select 'relation ' || oid::regclass::text from pg_class where relnamespace in ('public'::regnamespace, 'ai'::regnamespace)
         union all select 'trigger ' || tgname || tgrelid::text from pg_trigger
         union all select 'column ' || attrelid::regclass::text || attname from pg_attribute a join pg_class c on c.oid = attrelid
            where c.relnamespace = 'public'::regnamespace
         union all select 'vectorizer ' || id from ai.vectorizer
         union all select 'state ' || vectorizer_id from ai._vectorizer_control
         order by 1",
        &[],
    )
}

/// Runs `sql`, which must fail with this SQLSTATE, a message with all `words`, and a hint.
fn refused(scene: &mut Scene, sql: &str, sqlstate: &str, words: &[&str]) {
    let before = leftovers(scene);
    let error = scene.db.error_of(sql);
    let shown = format!("{} {} HINT: {}", error.code().code(), error.message(), error.hint().unwrap_or("-"));
    eprintln!("{shown}");
    assert_eq!(error.code().code(), sqlstate, "{shown}\n{sql}");
    for word in words {
        assert!(error.message().contains(word), "no {word:?} in: {shown}");
    }
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no hint: {shown}\n{sql}");
    assert_eq!(leftovers(scene), before, "something is left behind by {sql}");
}

fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.table("docs", 3);
    scene
}

/// Refuses the call that `spec` makes.
fn spec_refused(scene: &mut Scene, spec: &Spec, sqlstate: &str, words: &[&str]) {
    let sql = spec.sql(&scene.provider);
    refused(scene, &sql, sqlstate, words);
}

/// Fear: a table that cannot be kept in step is accepted.
#[test]
fn a_source_must_be_a_table_with_a_primary_key() {
    let mut scene = scene();
    scene.db.batch(
        "create table keyless (id int unique, body text); create view a_view as select * from docs;
         create table deferred (id int primary key, body text); create sequence a_sequence",
    );
    spec_refused(&mut scene, &Spec::on("keyless"), "22023", &["keyless", "primary key"]);
    spec_refused(&mut scene, &Spec::on("a_view"), "0A000", &["a_view"]);
    spec_refused(&mut scene, &Spec::on("a_sequence"), "0A000", &["a_sequence"]);
    let catalog = Spec::on("pg_catalog.pg_class").name("catalog").column("relname").sql(&scene.provider);
    let before = leftovers(&mut scene);
    let error = scene.db.error_of(&catalog);
    assert!(["0A000", "42501"].contains(&error.code().code()), "{error:?}");
    assert_eq!(leftovers(&mut scene), before);
    scene.finish();
}

/// Fear: a column that does not exist, or is no text, is found out by the worker.
#[test]
fn columns_must_exist_and_hold_text() {
    let mut scene = scene();
    scene.db.batch("create table blobs (id int primary key, body text, chunk text)");
    spec_refused(&mut scene, &Spec::on("docs").column("boddy"), "42703", &["boddy", "docs"]);
    let template =
        |text: &str| Spec::on("docs").with("formatting", &format!("ai.formatting_python_template('{text}')"));
    spec_refused(&mut scene, &template("$titel: $chunk"), "42703", &["titel"]);
    spec_refused(&mut scene, &template("no placeholder"), "22023", &["$chunk"]);
    let reserved = Spec::on("blobs").with("formatting", "ai.formatting_python_template('$body $chunk')");
    spec_refused(&mut scene, &reserved, "22023", &["chunk"]);
    scene.finish();
}

/// Fear: an impossible chunking poisons every batch.
#[test]
fn chunking_must_be_possible() {
    let mut scene = scene();
    for (call, word) in [
        ("ai.chunking_recursive_character_text_splitter(200, 200)", "overlap"),
        ("ai.chunking_recursive_character_text_splitter(200, 400)", "overlap"),
        ("ai.chunking_character_text_splitter(0, 0)", "chunk_size"),
        ("ai.chunking_character_text_splitter(100, -1)", "overlap"),
    ] {
        spec_refused(&mut scene, &Spec::on("docs").chunking(call), "22023", &[word]);
    }
    spec_refused(&mut scene, &Spec::on("docs").chunking("'{}'::jsonb"), "22023", &["chunking"]);
    spec_refused(&mut scene, &Spec::on("docs").chunking("ai.indexing_none()"), "22023", &["chunking"]);
    scene.finish();
}

/// Fear: an embedding configuration that cannot work is accepted.
#[test]
fn embedding_must_be_possible() {
    let mut scene = scene();
    let url = scene.provider.openai_url();
    let embedding = |sql: &str| Spec::on("docs").embedding(sql);
    spec_refused(&mut scene, &embedding("ai.embedding_local('no-such-model')"), "22023", &["no-such-model"]);
    spec_refused(&mut scene, &embedding("ai.embedding_local('../../etc')"), "22023", &["../../etc"]);
    spec_refused(
        &mut scene,
        &embedding(&format!("ai.embedding_openai('m', 0, base_url => '{url}')")),
        "22023",
        &["dimensions"],
    );
    spec_refused(
        &mut scene,
        &embedding(&format!("ai.embedding_openai('m', 20000, base_url => '{url}')")),
        "22023",
        &["dimensions"],
    );
    spec_refused(
        &mut scene,
        &embedding("ai.embedding_openai('m', 8, base_url => 'file:///etc/passwd')"),
        "22023",
        &["base_url"],
    );
    spec_refused(
        &mut scene,
        &embedding("ai.embedding_openai('m', 8, base_url => 'http://169.254.169.254/v1')"),
        "22023",
        &["169.254.169.254"],
    );
    let key_in_place_of_name = format!(
        "ai.embedding_openai('m', 8, api_key_name => 'sk-proj-abcdef0123456789abcdef0123456789', base_url => '{url}')"
    );
    let sql = embedding(&key_in_place_of_name).sql(&scene.provider);
    refused(&mut scene, &sql, "22023", &["api_key_name"]);
    assert!(!scene.db.error_of(&sql).message().contains("sk-proj-abcdef"), "the key is not repeated");
    spec_refused(&mut scene, &embedding("null"), "22023", &["embedding"]);
    scene.finish();
}

/// Fear: an ordinary user learns from an error what is kept for superusers.
#[test]
fn errors_do_not_tell_where_files_are() {
    let mut scene = scene();
    scene.db.batch(
        "create role nosy login; grant usage on schema ai to nosy; grant all on schema public to nosy",
    );
    let mut nosy = scene.cluster.connect_as("postgres", "nosy");
    nosy.batch("create table own (id int primary key, body text)");
    let refused = nosy.error_of("show autovector.local_model_directory");
    assert_eq!(refused.code().code(), "42501");
    let models = autovector_cluster_tests::paths::models();
    for model in ["no-such-model", "../x", "..", ""] {
        let embedding = format!("ai.embedding_local('{model}')");
        let error = nosy.error_of(&Spec::on("own").embedding(&embedding).sql(&scene.provider));
        let said = format!("{error:?}");
        assert!(!said.contains(&*models.to_string_lossy()), "{said}");
    }
    scene.finish();
}

/// Fear: limits are checked by the worker, if at all.
#[test]
fn processing_limits_are_checked() {
    let mut scene = scene();
    spec_refused(&mut scene, &Spec::on("docs").processing(0, 1), "22023", &["batch_size"]);
    spec_refused(&mut scene, &Spec::on("docs").processing(2049, 1), "22023", &["batch_size"]);
    spec_refused(&mut scene, &Spec::on("docs").processing(10, 0), "22023", &["concurrency"]);
    spec_refused(&mut scene, &Spec::on("docs").processing(10, 51), "22023", &["concurrency"]);
    scene.finish();
}

/// Fear: a second vectorizer takes the first one's name, store or view.
#[test]
fn names_that_are_taken_are_refused() {
    let mut scene = scene();
    let id = scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    let elsewhere = "ai.destination_table('elsewhere')";
    spec_refused(&mut scene, &Spec::on("docs").with("destination", elsewhere), "42710", &["docs"]);
    spec_refused(&mut scene, &Spec::on("docs").name("second"), "42710", &["docs_embedding"]);
    spec_refused(
        &mut scene,
        &Spec::on("docs").name("Not Valid").with("destination", elsewhere),
        "22023",
        &["Not Valid"],
    );
    let again = scene.vectorize(&Spec::on("docs").with("if_not_exists", "true"));
    assert_eq!(again, id, "if_not_exists returns the old one");
    scene.finish();
}

/// Fear: pgvector is missing and the message is about a type.
#[test]
fn a_missing_vector_extension_is_named() {
    let scene = scene();
    let mut db = scene.cluster.create_database("bare");
    let error = db.error_of("create extension autovector");
    assert!(error.message().contains("vector"), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("CASCADE")), "{error:?}");
    assert_eq!(db.one::<i64>("select count(*) from pg_namespace where nspname = 'ai'", &[]), 0);
    scene.finish();
}

/// Fear: a typing error is answered with NULL, by every function in another way.
#[test]
fn unknown_vectorizers_are_refused_with_the_nearest_name() {
    let mut scene = scene();
    scene.vectorize(&Spec::on("docs"));
    for call in [
        "ai.pause_vectorizer('doc')",
        "ai.resume_vectorizer('doc')",
        "ai.wait_for_vectorizer('doc')",
        "ai.retry_failed('doc')",
        "ai.search('doc', 'query')",
        "ai.embed('doc', 'text')",
        "ai.vectorizer_records('doc')",
    ] {
        let sql = format!("select * from {call}");
        refused(&mut scene, &sql, "42704", &["doc"]);
        assert!(
            scene.db.error_of(&sql).hint().is_some_and(|hint| hint.contains("docs")),
            "{call} names the nearest"
        );
        refused(&mut scene, &format!("select * from {}", call.replace("'doc'", "4711")), "42704", &["4711"]);
    }
    scene.settle("docs");
    scene.finish();
}

/// Fear: anybody vectorizes anybody's table.
#[test]
fn only_the_owner_of_the_source_may_vectorize_it() {
    let mut scene = scene();
    scene.db.batch("create role reader login; grant select on docs to reader; grant usage on schema ai to reader; grant create on schema public to reader");
    let before = leftovers(&mut scene);
    let mut reader = scene.cluster.connect_as("postgres", "reader");
    let error = reader.error_of(&Spec::on("docs").sql(&scene.provider));
    assert_eq!(error.code().code(), "42501", "{error:?}");
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    for call in [
        "ai.pause_vectorizer('docs')",
        "ai.resume_vectorizer('docs')",
        "ai.drop_vectorizer('docs')",
        "ai.retry_failed('docs')",
    ] {
        let error = reader.error_of(&format!("select {call}"));
        assert_eq!(error.code().code(), "42501", "{call}: {error:?}");
    }
    scene.db.batch("select ai.drop_vectorizer('docs', true)");
    assert_eq!(leftovers(&mut scene), before);
    scene.finish();
}

/// Fear: an owner without superuser's rights cannot use it at all, or his work is done with
/// superuser's rights.
#[test]
fn an_ordinary_owner_is_served_with_his_own_rights() {
    let mut scene = Scene::with(Settings::default());
    scene.db.batch(
        "create role owner login; create schema own authorization owner; grant usage on schema ai to owner",
    );
    let mut owner = scene.cluster.connect_as("postgres", "owner");
    owner.batch("create table own.docs (id int primary key, body text); insert into own.docs select i, 'row ' || i from generate_series(1, 20) i");
    let embedding =
        format!("ai.embedding_ollama('test-model', 8, base_url => '{}')", scene.provider.ollama_url());
    owner.batch(&Spec::on("own.docs").name("own").embedding(&embedding).sql(&scene.provider));
    autovector_cluster_tests::scene::settle(&mut owner, "own");
    assert_eq!(owner.one::<i64>("select count(*) from own.docs_embedding_store", &[]), 20);
    let store_owner: String = scene.db.one(
        "select relowner::regrole::text from pg_class where oid = 'own.docs_embedding_store'::regclass",
        &[],
    );
    assert_eq!(store_owner, "owner");
    owner.batch("delete from own.docs where id = 1; update own.docs set body = 'x' where id = 2");
    autovector_cluster_tests::scene::settle(&mut owner, "own");
    scene.finish();
}
