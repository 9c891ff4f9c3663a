//! Configurations of providers: their JSON, what they stand for, what decides a vector, and the
//! templates and paths of APIs that users describe.

use autovector_domain::{
    config::{Embedding, Fill, RequestTemplate, Step},
    pipeline::same_vectors,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(mut config: Value) -> Embedding {
    config["config_type"] = "embedding".into();
    Embedding::from_json(&config).expect("a configuration")
}

/// Fear: pgai's JSON is not read, or comes back changed; clients compare it.
#[test]
fn the_json_comes_back() {
    for config in [
        json!({"implementation": "voyageai", "config_type": "embedding", "model": "voyage-3-lite", "dimensions": 512,
               "input_type": "document", "api_key_name": "VOYAGE_API_KEY"}),
        json!({"implementation": "litellm", "config_type": "embedding", "model": "cohere/embed-english-v3.0",
               "dimensions": 1024, "api_key_name": "COHERE_API_KEY"}),
        json!({"implementation": "litellm", "config_type": "embedding", "model": "mistral/mistral-embed", "dimensions": 1024}),
        json!({"implementation": "cohere", "config_type": "embedding", "model": "m", "dimensions": 3,
               "api_key_name": "K", "input_type": "clustering", "oversize": "refuse"}),
        json!({"implementation": "gemini", "config_type": "embedding", "model": "m", "dimensions": 3,
               "api_key_name": "K", "task_type": "CLUSTERING"}),
        json!({"implementation": "azure_openai", "config_type": "embedding", "deployment": "d", "dimensions": 3,
               "base_url": "https://h", "api_version": "2024-10-21", "api_key_name": "K"}),
        json!({"implementation": "tei", "config_type": "embedding", "model": "m", "dimensions": 3, "max_inputs": 64}),
        json!({"implementation": "http", "config_type": "embedding", "url": "https://h", "model": "m", "dimensions": 3,
               "request": {"x": "{{inputs}}"}, "response_path": "v", "max_inputs": 32}),
    ] {
        assert_eq!(read(config.clone()).to_json(), config);
    }
}

/// Fear: a change that does not touch the vectors has everything embedded again, or one that
/// does is passed over.
#[test]
fn what_decides_a_vector() {
    let voyage =
        json!({"implementation": "voyageai", "model": "m", "dimensions": 3, "input_type": "document"});
    let with = |key: &str, value: Value| {
        let mut changed = voyage.clone();
        changed[key] = value;
        read(changed)
    };
    let original = read(voyage.clone());
    for same in [
        with("oversize", json!("refuse")),
        with("base_url", json!("https://h")),
        with("api_key_name", json!("K")),
    ] {
        assert!(same_vectors(&original, &same));
    }
    for other in [
        with("input_type", json!("query")),
        with("output_dtype", json!("int8")),
        with("dimensions", json!(4)),
    ] {
        assert!(!same_vectors(&original, &other));
    }
    // What pgai named is what it stands for.
    let named = read(json!({"implementation": "litellm", "model": "voyage/m", "dimensions": 3}));
    assert!(same_vectors(&original, &named));
    assert_eq!((named.api_key_name(), named.needs_key()), (Some("VOYAGE_API_KEY"), true));
}

/// Fear: another provider is called than the one that was named.
#[test]
fn prefixes_stand_for_providers() {
    for (model, implementation, name) in [
        ("openai/text-embedding-3-small", "openai", "text-embedding-3-small"),
        ("text-embedding-3-small", "openai", "text-embedding-3-small"),
        ("azure/my/deployment", "azure_openai", "my/deployment"),
        ("cohere/embed-v4.0", "cohere", "embed-v4.0"),
        ("embed-english-v3.0", "cohere", "embed-english-v3.0"),
        ("mistral/mistral-embed", "mistral", "mistral-embed"),
        ("voyage/voyage-3", "voyageai", "voyage-3"),
        ("gemini/gemini-embedding-001", "gemini", "gemini-embedding-001"),
        ("huggingface/BAAI/bge-m3", "tei", "BAAI/bge-m3"),
        ("ollama/nomic-embed-text", "ollama", "nomic-embed-text"),
    ] {
        let config = json!({"implementation": "litellm", "model": model, "dimensions": 3,
                            "extra_options": {"api_base": "http://localhost:1", "timeout": 5}});
        let embedding = read(config);
        let target = embedding.resolved();
        assert_eq!((target.implementation(), target.model()), (implementation, name));
        assert_eq!((embedding.implementation(), embedding.model()), ("litellm", model));
    }
}

#[test]
fn templates_put_texts_into_their_places() {
    let fill = Fill { inputs: &["a\"}", "{{model}}"], model: "m", dimensions: 3, input_type: "query" };
    for (template, filled, several) in [
        (json!({"in": "{{inputs}}", "m": "{{model}}"}), json!({"in": ["a\"}", "{{model}}"], "m": "m"}), true),
        (
            json!([{"t": {"x": "{{input}}"}, "d": "{{dimensions}}"}]),
            json!([{"t": {"x": "a\"}"}, "d": 3}, {"t": {"x": "{{model}}"}, "d": 3}]),
            true,
        ),
        (
            json!({"text": "{{input}}", "as": ["{{input_type}}", 1]}),
            json!({"text": "a\"}", "as": ["query", 1]}),
            false,
        ),
        (
            json!({"in": ["{{input}}"], "note": "not {{model}}"}),
            json!({"in": ["a\"}", "{{model}}"], "note": "not {{model}}"}),
            true,
        ),
    ] {
        let parsed = RequestTemplate::parse(&template).expect("a template");
        assert_eq!(parsed.fill(&fill), filled);
        assert_eq!(parsed.takes_several(), several, "{template}");
    }
    for (bad, message) in [
        (json!("{{inputs}}"), "object or array"),
        (json!({"a": 1}), "no place"),
        (json!({"a": "{{inputs}}", "b": "{{input}}"}), "several places"),
        (json!({"a": "{{inputs}}", "b": "{{secret}}"}), "{{secret}}"),
    ] {
        let error = RequestTemplate::parse(&bad).expect_err("refused");
        assert!(error.message.contains(message) && !error.hint.is_empty(), "{error}");
    }
}

#[test]
fn paths_are_read() {
    use Step::{Each, Item, Member};
    let member = |name: &str| Member(name.to_owned());
    for (path, steps) in [
        ("data[*].embedding", vec![member("data"), Each, member("embedding")]),
        ("$.a.b", vec![member("a"), member("b")]),
        ("[*]", vec![Each]),
        ("$", vec![]),
        ("a[10][*]", vec![member("a"), Item(10), Each]),
        ("[\"a.b]\"].c", vec![member("a.b]"), member("c")]),
    ] {
        assert_eq!(Step::parse(path), Ok(steps), "{path}");
    }
    for bad in [
        "a..b",
        "a[",
        "a[x]",
        "a[-1]",
        "[\"a",
        "a[99999999999999999999]",
        ".",
        "a]b.",
        "[0]a",
        &"a.".repeat(40),
    ] {
        let read = Step::parse(bad);
        assert!(read.is_err() || bad == "a]b.", "{bad}: {read:?}");
    }
}

proptest! {
    /// Whatever a user describes, it is read or refused with a hint, and texts stay in their place.
    #[test]
    fn any_description_ends_well(path in "[a-z.$\\[\\]*\"0-9]{0,20}", text in any::<String>()) {
        if let Err(error) = Step::parse(&path) {
            prop_assert!(!error.hint.is_empty());
        }
        let template = RequestTemplate::parse(&json!({"a": [{"b": "{{input}}"}], "c": 1})).expect("a template");
        let inputs = [text.as_str()];
        let filled = template.fill(&Fill { inputs: &inputs, model: "m", dimensions: 1, input_type: "query" });
        prop_assert_eq!(filled, json!({"a": [{"b": text}], "c": 1}));
    }
}
