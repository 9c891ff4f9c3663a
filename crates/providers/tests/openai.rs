//! OpenAI's wire format against a scripted server: what is sent, and what each answer means.

mod support;

use std::{sync::Arc, time::Duration};

use autovector_domain::{
    config::{Embedding, OpenAi, Oversize},
    failure::Failure,
    secret::Secret,
};
use autovector_providers::{
    Embedder, Purpose, Surroundings, endpoint::DEFAULT_ALLOWED, isolate::embed_isolating, open,
};
use serde_json::{Value, json};
use support::{Reply, Request, Server, http};

const KEY: &str = "sk-test-0123456789abcdef";

fn surroundings(key: Option<&'static str>) -> Surroundings {
    Surroundings {
        local_model_directory: None,
        local_threads: 1,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        allowed_endpoints: DEFAULT_ALLOWED.map(str::to_owned).to_vec(),
        secrets: Arc::new(move |name| {
            assert_eq!(name, "OPENAI_API_KEY");
            key.map(Secret::new)
        }),
    }
}

fn config(base_url: Option<String>) -> OpenAi {
    OpenAi {
        model: "text-embedding-3-small".into(),
        dimensions: 2,
        user: None,
        api_key_name: "OPENAI_API_KEY".into(),
        base_url,
        oversize: Oversize::Truncate,
    }
}

fn provider(server: &Server) -> Arc<dyn Embedder> {
    let config = config(Some(format!("{}/v1", server.url())));
    open(&Embedding::OpenAi(config), &surroundings(Some(KEY))).unwrap()
}

/// Each vector is the number that its input is, and the number's square.
fn honest(request: &Request) -> Value {
    let vectors = request.inputs().into_iter().enumerate().map(|(index, input)| {
        let number: f64 = input.parse().unwrap();
        json!({"object": "embedding", "index": index, "embedding": [number, number * number]})
    });
    let data: Vec<Value> = vectors.collect();
    json!({"object": "list", "model": "m", "usage": {"prompt_tokens": data.len(), "total_tokens": data.len()}, "data": data})
}

fn answer_with(status: u16, body: impl Into<String>) -> Server {
    let body = body.into();
    Server::start(move |_| http(status, &[], &body))
}

#[test]
fn the_request_is_the_documented_one() {
    let server = Server::start(|r| http(200, &[], honest(r).to_string()));
    let answer = provider(&server).embed(&["3", "4"], Purpose::Document).unwrap();
    assert_eq!((answer.values, answer.dimensions, answer.tokens), (vec![3.0, 9.0, 4.0, 16.0], 2, 2));
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1/embeddings HTTP/1.1");
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let expected = json!({
        "input": ["3", "4"], "model": "text-embedding-3-small", "dimensions": 2, "encoding_format": "base64",
    });
    assert_eq!(request.json(), expected);
}

#[test]
fn options_are_passed_on_and_ada_gets_no_dimensions() {
    let server = Server::start(|r| http(200, &[], honest(r).to_string()));
    let config = OpenAi {
        model: "text-embedding-ada-002".into(),
        user: Some("me".into()),
        ..config(Some(format!("{}/", server.url())))
    };
    let provider = open(&Embedding::OpenAi(config), &surroundings(None)).unwrap();
    provider.embed(&["1"], Purpose::Query).unwrap();
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /embeddings HTTP/1.1");
    assert_eq!(request.header("authorization"), None, "a server of one's own may need no key");
    let expected =
        json!({"input": ["1"], "model": "text-embedding-ada-002", "user": "me", "encoding_format": "base64"});
    assert_eq!(request.json(), expected);
}

#[test]
fn nothing_is_asked_for_no_input() {
    let server = answer_with(500, "");
    assert_eq!(provider(&server).embed(&[], Purpose::Document).unwrap().count(), 0);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn limits_are_those_of_the_api() {
    let server = answer_with(500, "");
    let provider = provider(&server);
    assert_eq!((provider.limits().inputs, provider.limits().tokens), (2048, 300_000));
    assert_eq!(provider.dimensions(), Some(2));
}

#[test]
fn opening_without_a_key_fails_only_for_openai_itself() {
    for base_url in [None, Some("https://api.openai.com/v1".to_owned())] {
        match open(&Embedding::OpenAi(config(base_url)), &surroundings(None)).map(|_| ()) {
            Err(Failure::Config { message, hint: Some(hint) }) => {
                assert!(message.contains("OPENAI_API_KEY"), "{message}");
                assert!(
                    hint.contains("environment") && hint.contains("autovector.secrets_directory"),
                    "{hint}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    open(&Embedding::OpenAi(config(None)), &surroundings(Some(KEY))).unwrap();
    for odd in ["", "two words", "line\nbreak", "ä", "tab\t"] {
        let error = open(&Embedding::OpenAi(config(None)), &surroundings(Some(odd))).map(|_| ()).unwrap_err();
        assert!(matches!(error, Failure::Config { .. }), "{odd:?}");
        assert!(odd.is_empty() || !error.to_string().contains(odd));
    }
}

#[test]
fn urls_that_nobody_listed_are_refused_before_anything_is_sent() {
    let url = Some("https://example.com/v1".to_owned());
    match open(&Embedding::OpenAi(config(url)), &surroundings(Some(KEY))).map(|_| ()) {
        Err(Failure::Config { hint: Some(hint), .. }) => {
            assert!(hint.contains("autovector.allowed_endpoints"))
        }
        other => panic!("{other:?}"),
    }
}

/// What a status and a body mean.
fn failure(status: u16, body: impl Into<String>) -> Failure {
    let server = answer_with(status, body);
    let failure = provider(&server).embed(&["1", "2"], Purpose::Document).unwrap_err();
    assert!(!failure.to_string().contains("sk-test"), "{failure}");
    failure
}

fn error(code: &str, kind: &str) -> String {
    json!({"error": {"message": format!("why: {KEY}"), "type": kind, "code": code, "param": null}})
        .to_string()
}

#[test]
fn the_codes_of_openai_decide_before_the_status() {
    for status in [400, 403, 404, 429, 500] {
        for code in ["model_not_found", "invalid_api_key", "insufficient_quota"] {
            match failure(status, error(code, "invalid_request_error")) {
                Failure::Config { message, hint } => {
                    assert!(message.ends_with("why: ***") && hint.is_some(), "{message}");
                }
                other => panic!("{status} {code}: {other:?}"),
            }
        }
        assert!(matches!(failure(status, error("rate_limit_exceeded", "tokens")), Failure::Request { .. }));
        assert!(matches!(failure(status, error("x", "insufficient_quota")), Failure::Config { .. }));
    }
}

#[test]
fn other_refusals_follow_the_status() {
    for (status, class) in
        [(400, 'I'), (401, 'C'), (403, 'C'), (404, 'C'), (413, 'I'), (422, 'I'), (429, 'R'), (503, 'R')]
    {
        let found = match failure(status, error("something", "else")) {
            Failure::Input { .. } => 'I',
            Failure::Config { .. } => 'C',
            Failure::Request { .. } => 'R',
        };
        assert_eq!(found, class, "{status}");
    }
    match failure(401, "") {
        Failure::Config { hint: Some(hint), .. } => assert!(hint.contains("OPENAI_API_KEY"), "{hint}"),
        other => panic!("{other:?}"),
    }
    let server = Server::start(|_| http(429, &[("retry-after", "13")], "{}"));
    match provider(&server).embed(&["1"], Purpose::Document) {
        Err(Failure::Request { retry_after, .. }) => assert_eq!(retry_after, Some(Duration::from_secs(13))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_that_cannot_be_right_are_not_used() {
    let one = |vector: Value| json!({"data": [{"index": 0, "embedding": vector}, {"index": 1, "embedding": [1, 2]}]});
    for (body, class) in [
        ("<html>maintenance</html>".to_owned(), 'R'),
        (String::new(), 'R'),
        ("{}".to_owned(), 'R'),
        (json!({"data": []}).to_string(), 'R'),
        (one(json!([1, 2, 3])).to_string(), 'R'),
        (one(json!(["1", "2"])).to_string(), 'R'),
        (one(json!([1, null])).to_string(), 'I'),
        (one(json!([1, 2])).to_string().replacen("[1,2]", "[1,1e39]", 1), 'I'),
        (one(json!([1, 2])).to_string().replacen("\"index\":0", "\"index\":1", 1), 'R'),
        (one(json!([1, 2])).to_string().replace("[1,2]", "[1,2,3]"), 'C'),
    ] {
        let found = match failure(200, body.clone()) {
            Failure::Input { .. } => 'I',
            Failure::Config { .. } => 'C',
            Failure::Request { .. } => 'R',
        };
        assert_eq!(found, class, "{body}");
    }
}

#[test]
fn a_server_that_refuses_dimensions_is_asked_without_them_from_then_on() {
    for words in [
        "Model \"m\" does not support matryoshka representation, changing output dimensions will lead to poor results.",
        "dimensions is currently not supported",
    ] {
        let server = Server::start(move |r| match r.json().get("dimensions") {
            Some(_) => http(400, &[], json!({"object": "error", "message": words, "code": 400}).to_string()),
            None => http(200, &[], honest(r).to_string()),
        });
        let provider = provider(&server);
        for _ in 0..2 {
            assert_eq!(provider.embed(&["3"], Purpose::Document).unwrap().values, [3.0, 9.0]);
        }
        assert_eq!(server.requests().len(), 3);
    }
    // A text that only quotes the word stays a refused text.
    let server = answer_with(400, r#"{"error":"the text 'dimensions' is refused"}"#);
    assert!(matches!(provider(&server).embed(&["x"], Purpose::Document), Err(Failure::Input { .. })));
    // Once each without dimensions and without base64.
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_server_that_refuses_base64_is_asked_for_numbers_from_then_on() {
    for status in [400, 422, 501] {
        let server = Server::start(move |r| match r.json()["encoding_format"].as_str() {
            Some("float") => http(200, &[], honest(r).to_string()),
            other => http(status, &[], json!({"detail": format!("{other:?} is not 'float'")}).to_string()),
        });
        let provider = provider(&server);
        for _ in 0..2 {
            assert_eq!(provider.embed(&["3"], Purpose::Document).unwrap().values, [3.0, 9.0]);
        }
        assert_eq!(server.requests().len(), 3, "{status}");
    }
}

#[test]
fn a_server_that_refuses_everything_is_soon_asked_once_for_each() {
    let server = answer_with(400, r#"{"error":"refused"}"#);
    let provider = provider(&server);
    for _ in 0..4 {
        assert!(matches!(provider.embed(&["x"], Purpose::Document), Err(Failure::Input { .. })));
    }
    assert_eq!(server.requests().len(), 4 + 2);
}

#[test]
fn poisoned_inputs_are_isolated_over_the_wire() {
    let server = Server::start(|r| match r.inputs().iter().any(|i| i == "13" || i == "42") {
        true => http(400, &[], error("invalid_input", "invalid_request_error")),
        false => http(200, &[], honest(r).to_string()),
    });
    let inputs: Vec<String> = (0..64).map(|i| i.to_string()).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let provider = provider(&server);
    // A server that has answered once is not suspected of its form.
    provider.embed(&["0"], Purpose::Document).unwrap();
    let isolated = embed_isolating(&*provider, &inputs, Purpose::Document);
    for (index, outcome) in isolated.iter().enumerate() {
        match index {
            13 | 42 => assert!(matches!(outcome, Err(Failure::Input { .. }))),
            _ => assert_eq!(outcome.unwrap(), [index as f32, (index * index) as f32]),
        }
    }
    assert_eq!(isolated.calls + 1, server.requests().len());
    assert!(isolated.calls <= 1 + 2 * 2 * 6);
    assert_eq!((isolated.tokens, server.connections()), (62, 1));
}

#[test]
fn aborting_ends_a_request_at_once() {
    let server = Server::start(|_| Reply::Hang);
    let provider = provider(&server);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| provider.embed(&["1"], Purpose::Document));
        server.wait_for_requests(1);
        provider.abort();
        assert!(matches!(waiting.join().unwrap(), Err(Failure::Request { .. })));
    });
}
