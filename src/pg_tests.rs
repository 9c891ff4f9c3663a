//! SQL functions in a real server, one transaction a test. Everything that needs a worker is
//! tested on whole clusters, in `pgrx-tests`.

// The test framework looks for the functions in a schema of this name.
#[pgrx::pg_schema]
mod tests {
    use pgrx::JsonB;
    use pgrx::prelude::*;
    use serde_json::{Value, json};

    fn one<T: FromDatum + IntoDatum>(statement: &str) -> T {
        Spi::get_one::<T>(statement).expect("the statement runs").expect("the value is not null")
    }

    fn config(call: &str) -> Value {
        one::<JsonB>(&format!("SELECT {call}")).0
    }

    fn run(statement: &str) {
        Spi::run(statement).expect("the statement runs");
    }

    fn docs() {
        run("CREATE TABLE docs (id int8 PRIMARY KEY, title text, body text)");
    }

    const EMBEDDING: &str = "ai.embedding_openai('m', 3, base_url => 'http://127.0.0.1:9/v1')";

    fn create(more: &str) -> i32 {
        one(&format!(
            "SELECT ai.create_vectorizer('docs', loading => ai.loading_column('body'), embedding => {EMBEDDING},
                                         chunking => ai.chunking_none() {more})"
        ))
    }

    // The JSON of pgai 0.12, written down from its documentation: clients compare it.
    #[pg_test]
    fn config_functions_have_pgais_json() {
        assert_eq!(
            config("ai.loading_column('body')"),
            json!({"implementation": "column", "config_type": "loading", "column_name": "body", "retries": 6})
        );
        assert_eq!(
            config("ai.chunking_recursive_character_text_splitter()"),
            json!({"implementation": "recursive_character_text_splitter", "config_type": "chunking", "chunk_size": 800,
                   "chunk_overlap": 400, "separators": ["\n\n", "\n", ".", "?", "!", " ", ""], "is_separator_regex": false})
        );
        assert_eq!(
            config("ai.chunking_character_text_splitter(128, 10, E'\\n')"),
            json!({"implementation": "character_text_splitter", "config_type": "chunking", "chunk_size": 128,
                   "chunk_overlap": 10, "separator": "\n", "is_separator_regex": false})
        );
        assert_eq!(
            config("ai.embedding_openai('text-embedding-3-small', 768, 'bob')"),
            json!({"implementation": "openai", "config_type": "embedding", "model": "text-embedding-3-small",
                   "dimensions": 768, "user": "bob", "api_key_name": "OPENAI_API_KEY"})
        );
        assert_eq!(
            config("ai.embedding_ollama('nomic-embed-text', 768)"),
            json!({"implementation": "ollama", "config_type": "embedding", "model": "nomic-embed-text", "dimensions": 768})
        );
        assert_eq!(
            config("ai.processing_default(batch_size => 200)"),
            json!({"implementation": "default", "config_type": "processing", "batch_size": 200})
        );
        assert_eq!(
            config("ai.indexing_none()"),
            json!({"implementation": "none", "config_type": "indexing"})
        );
        assert_eq!(
            config("ai.destination_column('embedding')"),
            json!({"implementation": "column", "config_type": "destination", "embedding_column": "embedding"})
        );
        assert_eq!(
            config("ai.formatting_python_template('$title $chunk')"),
            json!({"implementation": "python_template", "config_type": "formatting", "template": "$title $chunk"})
        );
    }

    #[pg_test(error = "chunk_overlap (400) must be smaller than chunk_size (200)")]
    fn overlap_must_be_smaller_than_size() {
        config("ai.chunking_recursive_character_text_splitter(200)");
    }

    #[pg_test]
    fn store_and_view_have_pgais_columns_first() {
        docs();
        create("");
        let columns = |relation: &str| -> Vec<String> {
            one(&format!(
                "SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
                  WHERE attrelid = '{relation}'::regclass AND attnum > 0 AND NOT attisdropped"
            ))
        };
        assert_eq!(
            columns("docs_embedding_store"),
            ["embedding_uuid", "id", "chunk_seq", "chunk", "embedding", "content_hash", "embedded_at"]
        );
        assert_eq!(
            columns("docs_embedding"),
            ["embedding_uuid", "chunk_seq", "chunk", "embedding", "id", "title", "body"]
        );
        let shape: String =
            one("SELECT format_type(atttypid, atttypmod) || ' ' || attstorage::text FROM pg_attribute
              WHERE attrelid = 'docs_embedding_store'::regclass AND attname = 'embedding'");
        assert!(shape.ends_with("vector(3) m"), "{shape}");
    }

    #[pg_test]
    fn a_name_is_derived_and_if_not_exists_returns_the_old_id() {
        docs();
        let id = create("");
        assert_eq!(one::<String>("SELECT name::text FROM ai.vectorizer"), "public_docs_embedding_store");
        assert_eq!(create(", name => 'public_docs_embedding_store', if_not_exists => true"), id);
        assert_eq!(one::<i64>("SELECT count(*) FROM ai.vectorizer"), 1);
    }

    #[pg_test]
    fn an_unrelated_update_makes_no_row_dirty() {
        docs();
        run("INSERT INTO docs SELECT i, 't', 'b' || i FROM generate_series(1, 10) i");
        let id = create(", enqueue_existing => false");
        // The condition of the trigger, as PostgreSQL stores it, names the text and the key alone.
        let condition: String = one(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'docs'::regclass AND tgname LIKE '%_update'",
        );
        assert!(
            condition.contains("body") && condition.contains("id") && !condition.contains("title"),
            "{condition}"
        );
        let queue: String = one(&format!("SELECT queue_table::text FROM ai.vectorizer WHERE id = {id}"));
        assert_eq!(one::<i64>(&format!("SELECT count(*) FROM ai.{queue}")), 0);
    }

    #[pg_test]
    fn unchanged_compares_what_is_stored() {
        for (expected, pair) in [
            (true, "1, 1"),
            (false, "1, 2"),
            (true, "'a'::text, 'a'"),
            (false, "'a'::text, 'A'"),
            (true, "NULL::text, NULL"),
            (false, "NULL::text, ''"),
            (false, "''::text, NULL"),
            (false, "1.0::numeric, 1.00"),
            (true, "ARRAY[1,2], ARRAY[1,2]"),
        ] {
            assert_eq!(one::<bool>(&format!("SELECT ai._unchanged({pair})")), expected, "{pair}");
        }
        run("CREATE TABLE big (a text, b text)");
        run("ALTER TABLE big ALTER a SET STORAGE external, ALTER b SET STORAGE external");
        run("INSERT INTO big SELECT repeat('x', 50000), repeat('x', 49999) || 'y'");
        assert!(one::<bool>("SELECT ai._unchanged(a, a) AND NOT ai._unchanged(a, b) FROM big"));
    }

    #[pg_test]
    fn nothing_is_left_after_a_refused_create() {
        docs();
        let count = "SELECT (SELECT count(*) FROM ai.vectorizer) + (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'docs'::regclass)
                          + (SELECT count(*) FROM pg_class WHERE relname LIKE 'docs_embedding%' OR relname LIKE '\\_vectorizer\\_q\\_%')";
        let before: i64 = one(count);
        // A block with a handler is a subtransaction: PostgreSQL itself undoes what was begun.
        run(&format!(
            "DO $$ BEGIN
               PERFORM ai.create_vectorizer('docs', loading => ai.loading_column('body'), embedding => {EMBEDDING},
                                            formatting => ai.formatting_python_template('$nothing $chunk'));
               RAISE EXCEPTION 'was not refused';
             EXCEPTION WHEN undefined_column THEN NULL; END $$"
        ));
        assert_eq!(one::<i64>(count), before);
    }

    #[pg_test(error = "vectorizer \"dcos\" does not exist")]
    fn an_unknown_name_is_an_error() {
        run("SELECT ai.pause_vectorizer('dcos')");
    }

    #[pg_test]
    fn dropping_leaves_nothing_but_the_store() {
        docs();
        let id = create(", name => 'docs'");
        run("SELECT ai.drop_vectorizer('docs')");
        assert_eq!(one::<i64>("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'docs'::regclass"), 0);
        assert!(one::<bool>(&format!(
            "SELECT to_regclass('ai._vectorizer_q_{id}') IS NULL AND to_regclass('docs_embedding_store') IS NOT NULL"
        )));
        run("DROP VIEW docs_embedding; DROP TABLE docs_embedding_store");
        create(", name => 'docs'");
        run("SELECT ai.drop_vectorizer('docs', drop_all => true)");
        assert!(one::<bool>(
            "SELECT to_regclass('docs_embedding_store') IS NULL AND to_regclass('docs_embedding') IS NULL"
        ));
    }

    // A function that runs with its owner's rights is a door; the list is short on purpose.
    #[pg_test]
    fn one_function_is_security_definer() {
        let definers: String = one(
            "SELECT string_agg(p.proname, ', ') FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'ai' AND p.prosecdef",
        );
        assert_eq!(definers, "_source_dropped");
    }

    #[pg_test]
    fn every_object_has_a_comment() {
        let bare: Option<Vec<String>> = Spi::get_one(
            "SELECT array_agg(pg_describe_object(d.classid, d.objid, 0)) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
              WHERE e.extname = 'autovector' AND d.deptype = 'e' AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
                AND coalesce((SELECT pronamespace FROM pg_proc p WHERE p.oid = d.objid), 'ai'::regnamespace) = 'ai'::regnamespace
            AND obj_description(d.objid, d.classid::regclass::name) IS NULL
                AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind IN ('i', 'S'))",
        )
        .expect("the statement runs");
        assert_eq!(bare, None);
    }
}
