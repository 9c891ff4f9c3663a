//! Ollama's wire format against a scripted server: what is sent, and what each answer means.

mod support;

use std::{sync::Arc, time::Duration};

use autovector_domain::{
    config::{Embedding, Ollama, Oversize},
    failure::Failure,
};
use autovector_providers::{Embedder, Purpose, Surroundings, endpoint::DEFAULT_ALLOWED, open};
use serde_json::json;
use support::{Server, http};

fn surroundings() -> Surroundings {
    Surroundings {
        local_model_directory: None,
        local_threads: 1,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        allowed_endpoints: DEFAULT_ALLOWED.map(str::to_owned).to_vec(),
        secrets: Arc::new(|name| panic!("Ollama needs no secret, and {name} was looked for")),
    }
}

fn config(base_url: Option<String>) -> Ollama {
    Ollama {
        model: "nomic".into(),
        dimensions: 2,
        base_url,
        options: None,
        keep_alive: None,
        oversize: Oversize::Truncate,
    }
}

fn provider(server: &Server) -> Arc<dyn Embedder> {
    open(&Embedding::Ollama(config(Some(server.url()))), &surroundings()).unwrap()
}

fn failure(status: u16, body: &'static str) -> Failure {
    let server = Server::start(move |_| http(status, &[], body));
    provider(&server).embed(&["a", "b"], Purpose::Document).unwrap_err()
}

#[test]
fn the_request_is_the_documented_one() {
    let answer = r#"{"model":"nomic","embeddings":[[1,2],[3,4]],"load_duration":1,"prompt_eval_count":5}"#;
    let server = Server::start(move |_| http(200, &[], answer));
    let embeddings = provider(&server).embed(&["a", "b"], Purpose::Document).unwrap();
    assert_eq!((embeddings.values, embeddings.tokens), (vec![1.0, 2.0, 3.0, 4.0], 5));
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /api/embed HTTP/1.1");
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.json(), json!({"model": "nomic", "input": ["a", "b"], "truncate": true}));

    let full = Ollama {
        options: Some(json!({"num_ctx": 4096})),
        keep_alive: Some("5m".into()),
        ..config(Some(format!("{}/", server.url())))
    };
    open(&Embedding::Ollama(full), &surroundings()).unwrap().embed(&["a", "b"], Purpose::Query).unwrap();
    let expected = json!({
        "model": "nomic", "input": ["a", "b"], "truncate": true, "options": {"num_ctx": 4096}, "keep_alive": "5m",
    });
    assert_eq!(server.requests()[1].json(), expected);
}

#[test]
fn it_is_looked_for_on_this_machine_and_elsewhere_only_where_listed() {
    let provider = open(&Embedding::Ollama(config(None)), &surroundings()).unwrap();
    assert_eq!((provider.limits().inputs, provider.limits().tokens), (2048, usize::MAX));
    assert_eq!(provider.dimensions(), Some(2));
    assert_eq!(provider.embed(&[], Purpose::Document).unwrap().count(), 0);
    let elsewhere = config(Some("http://ollama.internal:11434".into()));
    assert!(matches!(
        open(&Embedding::Ollama(elsewhere.clone()), &surroundings()),
        Err(Failure::Config { .. })
    ));
    let listing =
        Surroundings { allowed_endpoints: vec!["http://ollama.internal:11434".into()], ..surroundings() };
    open(&Embedding::Ollama(elsewhere), &listing).unwrap();
}

#[test]
fn a_model_that_is_not_there_is_a_matter_of_configuration() {
    match failure(404, r#"{"error":"model \"nomic\" not found, try pulling it first"}"#) {
        Failure::Config { message, hint: Some(hint) } => {
            assert!(message.contains("not found, try pulling it first"), "{message}");
            assert!(hint.contains("ollama pull nomic"), "{hint}");
        }
        other => panic!("{other:?}"),
    }
    // Another 404 is a wrong URL, which a pull does not mend.
    match failure(404, "404 page not found") {
        Failure::Config { hint: Some(hint), .. } => {
            assert!(hint.contains("URL") && !hint.contains("pull"), "{hint}")
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        failure(400, r#"{"error":"this model does not support embeddings"}"#),
        Failure::Config { .. }
    ));
}

#[test]
fn texts_that_a_model_cannot_take_are_refused_texts() {
    for (status, body) in [
        (400, r#"{"error":"the input length exceeds the context length"}"#),
        (500, r#"{"error":"the input length exceeds the context length"}"#),
        (500, r#"{"error":"failed to encode response: json: unsupported value: NaN"}"#),
    ] {
        assert!(matches!(failure(status, body), Failure::Input { .. }), "{status} {body}");
    }
    assert!(matches!(
        failure(500, r#"{"error":"llama runner process has terminated"}"#),
        Failure::Request { .. }
    ));
    assert!(matches!(failure(503, r#"{"error":"server busy"}"#), Failure::Request { .. }));
}

#[test]
fn answers_are_checked() {
    assert!(matches!(failure(200, r#"{"embeddings":[[1,2]]}"#), Failure::Request { .. }));
    assert!(matches!(failure(200, r#"{"embeddings":[[1,2],[3]]}"#), Failure::Request { .. }));
    assert!(matches!(failure(200, r#"{"embeddings":[[1,2],[3,null]]}"#), Failure::Input { .. }));
    assert!(matches!(failure(200, r#"{"error":"x"}"#), Failure::Request { .. }));
    match failure(200, r#"{"embeddings":[[1,2,3],[4,5,6]]}"#) {
        Failure::Config { hint: Some(hint), .. } => assert!(hint.contains("dimensions => 3"), "{hint}"),
        other => panic!("{other:?}"),
    }
}
