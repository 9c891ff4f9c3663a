//! Every provider at work in a cluster: a vectorizer each, from the configuration to the vectors
//! in the store, with the key that it names; and the functions that call a model or cut a text
//! without a vectorizer.

use autovector_cluster_tests::{SECRET, Scene, Settings, Spec, Sql, expected_vector, sql};

/// The configurations, `URL` standing for the provider, with the path and the key's header that
/// they have to lead to.
const PROVIDERS: [(&str, &str, &str, &str); 10] = [
    ("openai", "ai.embedding_openai('m', 8, base_url => 'URL/v1', oversize => 'refuse')", "/v1/embeddings", "Bearer KEY"),
    (
        "azure",
        "ai.embedding_azure_openai('small', 8, 'URL', api_key_name => 'A_KEY')",
        "/openai/deployments/small/embeddings",
        "KEY",
    ),
    ("ollama", "ai.embedding_ollama('m', 8, 'URL')", "/api/embed", ""),
    (
        "voyageai",
        "ai.embedding_voyageai('voyage-3', 8, base_url => 'URL/voyage', api_key_name => 'A_KEY', output_dtype => 'float')",
        "/voyage/embeddings",
        "Bearer KEY",
    ),
    ("cohere", "ai.embedding_cohere('embed-v9', 8, 'A_KEY', base_url => 'URL')", "/v2/embed", "Bearer KEY"),
    ("mistral", "ai.embedding_mistral('m', 8, 'A_KEY', 'URL/mistral')", "/mistral/embeddings", "Bearer KEY"),
    (
        "gemini",
        "ai.embedding_gemini('g', 8, 'A_KEY', base_url => 'URL/v1beta')",
        "/v1beta/models/g:batchEmbedContents",
        "KEY",
    ),
    ("tei", "ai.embedding_tei('bge', 8, 'URL', max_inputs => 7)", "/embed", ""),
    (
        "litellm",
        "ai.embedding_litellm('mistral/m2', 8, 'A_KEY', '{\"api_base\": \"URL/litellm\"}')",
        "/litellm/embeddings",
        "Bearer KEY",
    ),
    (
        "http",
        "ai.embedding_http('URL/custom', 'm', 8, '{\"model\": \"{{model}}\", \"documents\": [{\"text\": \"{{input}}\"}]}',
                           'result.rows[*].vector', 'A_KEY', max_inputs => 5)",
        "/custom",
        "Bearer KEY",
    ),
];

fn scene() -> Scene {
    Scene::with(Settings::default().env("A_KEY", SECRET))
}

/// Fear: a provider is configured, called with another key, or its vectors get beside the wrong
/// rows; a text that looks like a special token is a poison row.
#[test]
fn a_vectorizer_over_every_provider_embeds_its_rows() {
    let mut scene = scene();
    let url = scene.provider.url("");
    for (name, embedding, ..) in PROVIDERS {
        scene.table(name, 12);
        scene.db.batch(&format!(
            "insert into {name} values (100, '<|endoftext|> \"}} {{{{model}}}} in {name}', '')"
        ));
        scene.vectorize(&Spec::on(name).embedding(&embedding.replace("URL", &url)));
    }
    for (name, _, path, key) in PROVIDERS {
        scene.settle(name);
        let rows =
            scene.db.query(&format!("select chunk, embedding::real[] from {name}_embedding_store"), &[]);
        let rows = rows.unwrap_or_else(|error| panic!("{}", sql::describe(&error)));
        assert_eq!(rows.len(), 13, "{name}");
        for row in &rows {
            let (chunk, vector): (String, Vec<f32>) = (row.get(0), row.get(1));
            assert_eq!(vector, expected_vector(&chunk, 8), "{name}: {chunk}");
        }
        let (best, score): (String, f64) = {
            let row = scene.db.query_one(
                "select chunk, score from ai.search($1::text, $2, 1)",
                &[&name, &format!("{name} text 7")],
            );
            row.map(|row| (row.get(0), row.get(1)))
                .unwrap_or_else(|e| panic!("{name}: {}", sql::describe(&e)))
        };
        assert_eq!(best, format!("{name} text 7"), "{score}");
        let calls: Vec<_> = scene.provider.calls().into_iter().filter(|call| call.path == path).collect();
        assert!(calls.iter().map(|call| call.inputs.len()).sum::<usize>() >= 14, "{name}: {path}");
        let expected = Some(key.replace("KEY", SECRET)).filter(|key| !key.is_empty());
        assert!(calls.iter().all(|call| call.authorization == expected), "{name} is called with its own key");
        let most = calls.iter().map(|call| call.inputs.len()).max();
        match name {
            "tei" => assert_eq!(most, Some(7)),
            "http" => assert_eq!(most, Some(5)),
            _ => {}
        }
    }
    // Keys are named in the catalog, and nothing else of them.
    scene.finish();
}

fn error(scene: &mut Scene, sql: &str) -> (String, String, String) {
    let error = scene.db.simple_query(sql).expect_err(sql);
    let error = error.as_db_error().expect("the server's");
    (error.code().code().to_owned(), error.message().to_owned(), error.hint().unwrap_or_default().to_owned())
}

/// Fear: what cannot work is found out by paying for it.
#[test]
fn what_cannot_work_is_refused_with_a_hint() {
    let mut scene = scene();
    scene.table("docs", 1);
    for (sql, message, hint) in [
        (
            "select ai.embedding_openai('text-embedding-3-small', 3072)",
            "cannot return 3072 dimensions",
            "1536",
        ),
        ("select ai.embedding_voyageai('voyage-3.5', 1000)", "cannot return 1000", "256, 512, 1024, 2048"),
        ("select ai.embedding_voyageai('m', 8, 'documents')", "input_type must be one of", "Leave it out"),
        (
            "select ai.embedding_voyageai('m', 8, output_dimension => 9)",
            "is not dimensions (8)",
            "same number",
        ),
        ("select ai.embedding_voyageai('m', 8, output_dtype => 'binary')", "packed bits", "binary_quantize"),
        ("select ai.embedding_cohere('m', 8, input_type => 'query')", "'search_document'", "Leave it out"),
        ("select ai.embedding_mistral('m', 8, 'sk-abc')", "not the name of a secret", "never the key"),
        (
            "select ai.embedding_mistral('m', 8, oversize => 'cut')",
            "'truncate' or 'refuse'",
            "sets its row aside",
        ),
        ("select ai.embedding_gemini('../x', 8)", "holds characters", "gemini-embedding-001"),
        ("select ai.embedding_azure_openai('d', 8, 'https://u:p@h')", "user name or a password", "base_url"),
        ("select ai.embedding_azure_openai('d', 8, 'https://h', '2024&x')", "api_version", "2024-10-21"),
        (
            "select ai.embedding_tei('m', 8, max_inputs => 0)",
            "max_inputs must be between",
            "max-client-batch-size",
        ),
        ("select ai.embedding_litellm('bedrock/titan', 8)", "'bedrock'", "ai.embedding_http()"),
        ("select ai.embedding_litellm('whatever', 8)", "does not say which provider", "'openai/'"),
        (
            "select ai.embedding_litellm('cohere/m', 8, extra_options => '{\"dimension\": 1}')",
            "\"dimension\"",
            "input_type",
        ),
        ("select ai.embedding_litellm('huggingface/x/y', 8)", "api_base", "text-embeddings-inference"),
        (
            "select ai.embedding_http('https://h', 'm', 8, '{\"a\": 1}', 'v')",
            "no place for the texts",
            "{{inputs}}",
        ),
        (
            "select ai.embedding_http('https://h', 'm', 8, '{\"a\": \"{{inputs}}\", \"b\": \"{{key}}\"}', 'v')",
            "{{key}}",
            "{{input_type}}",
        ),
        (
            "select ai.embedding_http('https://h', 'm', 8, '{\"a\": \"{{input}}\"}', 'v', max_inputs => 3)",
            "place for one text",
            "repeated",
        ),
        (
            "select ai.embedding_http('https://h', 'm', 8, '{\"a\": \"{{inputs}}\"}', 'v[x]')",
            "neither * nor a number",
            "data[*].embedding",
        ),
        (
            "select ai.chunking_token_text_splitter(10, 10)",
            "chunk_overlap (10) must be smaller",
            "chunk_overlap",
        ),
        ("select ai.chunking_token_text_splitter(10, 1, 'gpt9')", "encoding 'gpt9'", "cl100k_base"),
        ("select ai.chunking_markdown(10, 1)", "at least 20", "headings"),
        ("select ai.chunking_sentence(50, 50)", "must be smaller", "chunk_overlap"),
    ] {
        let (code, said, advice) = error(&mut scene, sql);
        assert_eq!(code, "22023", "{sql}: {said}");
        assert!(said.contains(message), "{sql}: {said}");
        assert!(advice.contains(hint), "{sql}: {advice}");
    }
    // A host that nobody listed, and a key that nobody granted.
    let create = |embedding: &str| {
        format!(
            "select ai.create_vectorizer('docs', loading => ai.loading_column('body'), embedding => {embedding})"
        )
    };
    let (code, said, hint) = error(
        &mut scene,
        &create("ai.embedding_azure_openai('d', 8, 'https://x.openai.azure.com', api_key_name => 'A_KEY')"),
    );
    assert_eq!(
        (code.as_str(), said.as_str()),
        ("22023", "requests to https://x.openai.azure.com are not allowed")
    );
    assert!(hint.contains("autovector.allowed_endpoints"), "{hint}");
    scene.db.batch("create role editor; grant all on schema public to editor; alter table docs owner to editor; set role editor");
    for embedding in ["ai.embedding_cohere('m', 8, 'A_KEY')", "ai.embedding_litellm('gemini/g', 8, 'A_KEY')"]
    {
        let (code, said, hint) = error(&mut scene, &create(embedding));
        assert_eq!(
            (code.as_str(), said.as_str()),
            ("42501", "the owner of the source may not use the API key A_KEY")
        );
        assert!(hint.contains("ai.grant_secret('A_KEY'"), "{hint}");
    }
    scene.db.batch("reset role");
    scene.finish();
}

/// Fear: pgai's functions for single calls are missing, use keys of others or reach other hosts.
#[test]
fn models_are_called_without_a_vectorizer() {
    let mut scene = scene();
    let options = format!("{{\"base_url\": \"{}\"}}", scene.provider.openai_url());
    let vector = |scene: &mut Scene, call: &str| -> Vec<f32> {
        scene.db.one(&format!("select ({call})::real[]"), &[])
    };
    let openai = format!("ai.openai_embed('m', 'a text', client_config => '{options}')");
    assert_eq!(vector(&mut scene, &openai), expected_vector("a text", 8));
    let sized = format!("ai.openai_embed('m', 'a text', dimensions => 5, client_config => '{options}')");
    assert_eq!(vector(&mut scene, &sized), expected_vector("a text", 5));
    let ollama = format!("ai.ollama_embed('m', 'a text', host => '{}')", scene.provider.url(""));
    assert_eq!(vector(&mut scene, &ollama), expected_vector("a text", 8));
    // "tiktoken is great!" in cl100k_base, from tiktoken's own documentation.
    let tokens =
        format!("ai.openai_embed('m', array[83, 1609, 5963, 374, 2294, 0], client_config => '{options}')");
    assert_eq!(vector(&mut scene, &tokens), expected_vector("tiktoken is great!", 8));
    let many = format!(
        "select string_agg(index || ':' || coalesce(vector_dims(embedding)::text, 'null'), ' ' order by index)
           from ai.openai_embed('m', array['a', null, 'b'], client_config => '{options}')"
    );
    assert_eq!(scene.db.one::<String>(&many, &[]), "0:8 1:null 2:8");
    for (config, text) in [("voyageai", "v"), ("cohere", "c")] {
        let url = scene.provider.url(if config == "cohere" { "" } else { "/voyage" });
        let call = format!(
            "(select embedding from ai._model_embed(jsonb_build_object('implementation', '{config}', 'config_type', 'embedding',
                 'model', 'm', 'base_url', '{url}', 'api_key_name', 'A_KEY'), array['{text}'], null, 'query'))"
        );
        assert_eq!(vector(&mut scene, &call), expected_vector(text, 8));
    }
    // The keys: the argument, then the session's setting, then the one by name.
    let keys = |scene: &Scene| scene.provider.calls().last().and_then(|call| call.authorization.clone());
    let with_key = format!("ai.openai_embed('m', 'k', api_key => 'given', client_config => '{options}')");
    vector(&mut scene, &with_key);
    assert_eq!(keys(&scene).as_deref(), Some("Bearer given"));
    scene.db.batch("set ai.openai_api_key = 'of-the-session'");
    vector(&mut scene, &openai);
    assert_eq!(keys(&scene).as_deref(), Some("Bearer of-the-session"));
    scene.db.batch("reset ai.openai_api_key; create role reader; set role reader");
    let by_name =
        format!("select ai.openai_embed('m', 'k', api_key_name => 'A_KEY', client_config => '{options}')");
    let (code, said, _) = error(&mut scene, &by_name);
    assert_eq!(code, "42501", "{said}");
    let elsewhere = "select ai.ollama_embed('m', 'x', host => 'http://169.254.169.254')";
    let (code, said, _) = error(&mut scene, elsewhere);
    assert!(code == "22023" && said.contains("not allowed"), "{code} {said}");
    let odd = "select ai.openai_embed('m', 'x', extra_headers => '{\"a\": \"b\"}')";
    assert_eq!(error(&mut scene, odd).0, "0A000");
    scene.db.batch("reset role");
    scene.finish();
}

/// Fear: a preview shows what the caller may not read, or other chunks than are embedded.
#[test]
fn chunks_are_previewed_as_they_would_be_embedded() {
    let mut scene = scene();
    scene.table("notes", 3);
    scene.db.batch("update notes set body = E'# Trees\\n\\nOaks are old.\\n\\n## Fruit\\n\\nAcorns fall.', note = 'n' where id = 1");
    scene.db.batch("update notes set body = null where id = 2");
    scene.vectorize(
        &Spec::on("notes")
            .chunking("ai.chunking_markdown(100, 0)")
            .with("formatting", "ai.formatting_python_template('$note: $chunk')"),
    );
    let preview = "select string_agg(format('%s/%s %s', key ->> 'id', chunk_seq, chunk), '|' order by key ->> 'id', chunk_seq)
                     from ai.preview_chunks('notes', 2)";
    let expected = "1/0 n: Trees\n\nOaks are old.|1/1 n: Trees > Fruit\n\nAcorns fall.";
    assert_eq!(scene.db.one::<String>(preview, &[]), expected);
    scene.settle("notes");
    let stored = "select string_agg(format('%s/%s %s', id, chunk_seq, chunk), '|' order by id, chunk_seq)
                    from notes_embedding_store where id < 3";
    assert_eq!(scene.db.one::<String>(stored, &[]), expected);
    scene.db.batch(
        "create role stranger; create role partial; grant select on notes to partial;
         alter table notes enable row level security; create policy third on notes to partial using (id = 3); set role stranger",
    );
    assert_eq!(error(&mut scene, preview).0, "42501");
    scene.db.batch("set role partial");
    assert_eq!(scene.db.one::<String>(preview, &[]), "3/0 : notes text 3");
    scene.db.batch("reset role; alter table notes disable row level security");
    assert_eq!(error(&mut scene, "select ai.preview_chunks('notes', 0)").0, "22023");
    assert_eq!(error(&mut scene, "select ai.preview_chunks('nothing')").0, "42704");
    // Without a vectorizer, as pgai's documentation shows it.
    let cut = "select string_agg(seq || ' ' || chunk, '|' order by seq) from ai.chunk_text(
        'if two witches watch two watches, which witch watches which watch?', separator => ' ', chunk_size => 10, chunk_overlap => 0)";
    assert_eq!(
        scene.db.one::<String>(cut, &[]),
        "0 if two|1 witches|2 watch two|3 watches,|4 which|5 witch|6 watches|7 which|8 watch?"
    );
    let cut = "select array_agg(chunk order by seq) from ai.chunk_text_recursively('ab. cd. ef', 5, separators => array['. ', ''])";
    assert_eq!(scene.db.one::<Vec<String>>(cut, &[]), ["ab", ". cd", ". ef"]);
    assert_eq!(scene.count("select count(*) from ai.chunk_text(null)"), 0);
    scene.finish();
}

/// Fear: texts are cut for the model and only the server's log knows; a backfill of long texts floods the
/// log of errors, or counts as failed.
#[test]
fn texts_that_are_cut_are_noted_once_an_hour_with_a_count() {
    let mut scene = scene();
    scene.table("docs", 15);
    scene.db.batch("update docs set body = body || repeat(' word', 9000) where id <= 12");
    let model = format!(
        "ai.embedding_openai('text-embedding-3-small', 8, base_url => '{}')",
        scene.provider.openai_url()
    );
    scene.vectorize(&Spec::on("docs").embedding(&model).processing(2, 2));
    scene.settle("docs");
    let longest =
        scene.provider.calls().iter().flat_map(|call| call.inputs.to_vec()).map(|text| text.len()).max();
    assert!(longest.is_some_and(|longest| longest < 9000 * 5), "{longest:?}: nothing was cut");
    let notes = "select message from ai.vectorizer_errors order by recorded";
    assert_eq!(
        scene.db.all::<String>(notes, &[]),
        ["12 texts were longer than the model takes and were cut"]
    );
    let details: String = scene.db.one(
        "select format('%s %s %s %s', details->'max_tokens', jsonb_array_length(details->'keys'), (select bool_and((k->>0)::int <= 12) from jsonb_array_elements(details->'keys') k), details ? 'last')
           from ai.vectorizer_errors",
        &[],
    );
    assert_eq!(details, "8191 10 t t");
    // It is a note: nothing has failed.
    let status = "select format('%s %s %s', state, rows_failed, coalesce(last_error, 'none')) from ai.vectorizer_status";
    assert_eq!(scene.db.one::<String>(status, &[]), "idle 0 none");
    // Short texts add nothing; an hour later a long one is told of anew.
    scene.db.batch("update docs set body = 'short' where id = 15");
    scene.settle("docs");
    assert_eq!(scene.db.all::<String>(notes, &[]).len(), 1);
    scene.db.batch("update ai._vectorizer_errors set recorded = recorded - interval '2 hours'; update docs set body = 'more ' || body where id = 3");
    scene.settle("docs");
    assert_eq!(
        scene.db.all::<String>(notes, &[]),
        [
            "12 texts were longer than the model takes and were cut",
            "1 text was longer than the model takes and was cut"
        ]
    );
    scene.cluster.assert_healthy();
}
