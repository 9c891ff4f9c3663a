//! The wire formats of the bought providers and of servers of one's own, each against a scripted
//! server: what is sent, and what each answer means. OpenAI's and Ollama's have files of their own.

mod support;

use std::{sync::Arc, time::Duration};

use autovector_domain::{
    config::{AzureOpenAi, Embedding},
    failure::Failure,
    secret::Secret,
};
use autovector_providers::{
    Embedder, Purpose, Surroundings, endpoint::DEFAULT_ALLOWED, isolate::embed_isolating, open,
};
use serde_json::{Value, json};
use support::{Request, Server, http};

const KEY: &str = "sk-test-0123456789abcdef";

/// One provider: its configuration for a server, what it must send, what it gets.
struct Wire {
    name: &'static str,
    /// The configuration's JSON, `URL` standing for the server.
    config: Value,
    /// The request's line.
    line: &'static str,
    /// The header with the key.
    header: (&'static str, &'static str),
    /// The body for the inputs "1" and "2", as documents and as questions.
    documents: Value,
    questions: Value,
    /// The answer to some vectors.
    answer: fn(&[Value]) -> Value,
    /// The texts of a request.
    texts: fn(&Value) -> Vec<String>,
    tokens: u64,
    limits: (usize, usize),
    /// A refusal of the key, as the provider words it.
    wrong_key: (u16, Value),
}

fn bearer() -> (&'static str, &'static str) {
    ("authorization", "Bearer sk-test-0123456789abcdef")
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list of texts");
    list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// OpenAI's answer, in reverse order: `index` decides.
fn indexed(vectors: &[Value]) -> Value {
    let data = vectors.iter().enumerate().map(|(index, vector)| json!({"index": index, "embedding": vector}));
    let data: Vec<Value> = data.rev().collect();
    json!({"object": "list", "data": data, "usage": {"prompt_tokens": 5, "total_tokens": 7}})
}

fn wires() -> Vec<Wire> {
    let gemini_request = |text: &str, task: &str| {
        json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]},
               "taskType": task, "outputDimensionality": 2})
    };
    vec![
        Wire {
            name: "voyageai",
            config: json!({"implementation": "voyageai", "model": "voyage-3.5", "dimensions": 2,
                           "input_type": "document", "base_url": "URL/v1", "output_dtype": "float"}),
            line: "POST /v1/embeddings HTTP/1.1",
            header: bearer(),
            documents: json!({"input": ["1", "2"], "model": "voyage-3.5", "input_type": "document", "truncation": true,
                              "output_dimension": 2, "output_dtype": "float", "encoding_format": "base64"}),
            questions: json!({"input": ["1", "2"], "model": "voyage-3.5", "input_type": "query", "truncation": true,
                              "output_dimension": 2, "output_dtype": "float", "encoding_format": "base64"}),
            answer: indexed,
            texts: |body| strings(&body["input"]),
            tokens: 7,
            limits: (128, 320_000),
            wrong_key: (401, json!({"detail": "Provided API key is invalid."})),
        },
        Wire {
            name: "cohere",
            config: json!({"implementation": "cohere", "model": "embed-v4.0", "dimensions": 2, "base_url": "URL"}),
            line: "POST /v2/embed HTTP/1.1",
            header: bearer(),
            documents: json!({"model": "embed-v4.0", "texts": ["1", "2"], "input_type": "search_document",
                              "embedding_types": ["float"], "truncate": "END", "output_dimension": 2}),
            questions: json!({"model": "embed-v4.0", "texts": ["1", "2"], "input_type": "search_query",
                              "embedding_types": ["float"], "truncate": "END", "output_dimension": 2}),
            answer: |vectors| {
                json!({"id": "x", "texts": ["1"], "embeddings": {"float": vectors},
                       "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}},
                       "response_type": "embeddings_by_type"})
            },
            texts: |body| strings(&body["texts"]),
            tokens: 7,
            limits: (96, usize::MAX),
            wrong_key: (401, json!({"id": "x", "message": "invalid api token"})),
        },
        Wire {
            name: "mistral",
            config: json!({"implementation": "mistral", "model": "mistral-embed", "dimensions": 2, "base_url": "URL/v1"}),
            line: "POST /v1/embeddings HTTP/1.1",
            header: bearer(),
            documents: json!({"model": "mistral-embed", "input": ["1", "2"]}),
            questions: json!({"model": "mistral-embed", "input": ["1", "2"]}),
            answer: indexed,
            texts: |body| strings(&body["input"]),
            tokens: 7,
            limits: (128, 16_000),
            wrong_key: (401, json!({"message": "Unauthorized", "request_id": "x"})),
        },
        Wire {
            name: "gemini",
            config: json!({"implementation": "gemini", "model": "gemini-embedding-001", "dimensions": 2,
                           "base_url": "URL/v1beta"}),
            line: "POST /v1beta/models/gemini-embedding-001:batchEmbedContents HTTP/1.1",
            header: ("x-goog-api-key", KEY),
            documents: json!({"requests": [gemini_request("1", "RETRIEVAL_DOCUMENT"), gemini_request("2", "RETRIEVAL_DOCUMENT")]}),
            questions: json!({"requests": [gemini_request("1", "RETRIEVAL_QUERY"), gemini_request("2", "RETRIEVAL_QUERY")]}),
            answer: |vectors| {
                let embeddings: Vec<Value> = vectors.iter().map(|vector| json!({"values": vector})).collect();
                json!({"embeddings": embeddings})
            },
            texts: |body| {
                let requests = body["requests"].as_array().expect("requests");
                requests
                    .iter()
                    .map(|r| r["content"]["parts"][0]["text"].as_str().expect("text").to_owned())
                    .collect()
            },
            tokens: 0,
            limits: (100, usize::MAX),
            wrong_key: (
                400,
                json!({"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.",
                                 "status": "INVALID_ARGUMENT"}}),
            ),
        },
        Wire {
            name: "azure_openai",
            config: json!({"implementation": "azure_openai", "deployment": "my-small", "dimensions": 2,
                           "base_url": "URL", "model": "text-embedding-3-small"}),
            line: "POST /openai/deployments/my-small/embeddings?api-version=2024-10-21 HTTP/1.1",
            header: ("api-key", KEY),
            documents: json!({"input": ["1", "2"], "dimensions": 2, "encoding_format": "base64"}),
            questions: json!({"input": ["1", "2"], "dimensions": 2, "encoding_format": "base64"}),
            answer: indexed,
            texts: |body| strings(&body["input"]),
            tokens: 7,
            limits: (2048, 300_000),
            wrong_key: (
                401,
                json!({"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}),
            ),
        },
        Wire {
            name: "tei",
            config: json!({"implementation": "tei", "model": "BAAI/bge-m3", "dimensions": 2, "base_url": "URL",
                           "api_key_name": "K", "document_prompt": "passage", "query_prompt": "query", "normalize": true}),
            line: "POST /embed HTTP/1.1",
            header: bearer(),
            documents: json!({"inputs": ["1", "2"], "truncate": true, "normalize": true, "prompt_name": "passage"}),
            questions: json!({"inputs": ["1", "2"], "truncate": true, "normalize": true, "prompt_name": "query"}),
            answer: |vectors| json!(vectors),
            texts: |body| strings(&body["inputs"]),
            tokens: 0,
            limits: (32, usize::MAX),
            wrong_key: (401, json!({"error": "Unauthorized"})),
        },
        Wire {
            name: "http",
            config: json!({"implementation": "http", "url": "URL/api/v7/vectors?tenant=a%20b", "model": "m\"}", "dimensions": 2,
                           "request": {"options": {"model": "{{model}}", "size": "{{dimensions}}"}, "kind": "{{input_type}}",
                                       "docs": [{"text": "{{input}}", "lang": "en"}]},
                           "response_path": "$.result[0].vectors[*].v", "api_key_name": "K", "max_inputs": 5, "max_tokens": 900}),
            line: "POST /api/v7/vectors?tenant=a%20b HTTP/1.1",
            header: bearer(),
            documents: json!({"options": {"model": "m\"}", "size": 2}, "kind": "document",
                              "docs": [{"text": "1", "lang": "en"}, {"text": "2", "lang": "en"}]}),
            questions: json!({"options": {"model": "m\"}", "size": 2}, "kind": "query",
                              "docs": [{"text": "1", "lang": "en"}, {"text": "2", "lang": "en"}]}),
            answer: |vectors| {
                let vectors: Vec<Value> = vectors.iter().map(|vector| json!({"v": vector, "n": 1})).collect();
                json!({"result": [{"vectors": vectors}, "rest"]})
            },
            texts: |body| {
                let docs = body["docs"].as_array().expect("docs");
                docs.iter().map(|doc| doc["text"].as_str().expect("text").to_owned()).collect()
            },
            tokens: 0,
            limits: (5, 900),
            wrong_key: (401, json!({"message": "who are you?"})),
        },
    ]
}

impl Wire {
    fn embedding(&self, server: &Server) -> Embedding {
        let mut config = self.config.to_string().replace("URL", &server.url());
        config.insert_str(1, "\"config_type\": \"embedding\", ");
        Embedding::from_json(&serde_json::from_str(&config).expect("JSON")).expect(self.name)
    }

    fn open(&self, server: &Server) -> Arc<dyn Embedder> {
        open(&self.embedding(server), &surroundings(Some(KEY))).expect(self.name)
    }

    /// Each vector is the number that its text is, and the number's square.
    fn honest(&self, request: &Request) -> Value {
        let numbers = (self.texts)(&request.json()).into_iter().map(|text| {
            let number: f64 = text.parse().expect("a number");
            json!([number, number * number])
        });
        (self.answer)(&numbers.collect::<Vec<Value>>())
    }

    /// What an answer with this status and body means.
    fn failure(&self, status: u16, headers: &'static [(&str, &str)], body: Value) -> Failure {
        let server = Server::start(move |_| http(status, headers, body.to_string()));
        let failure = self.open(&server).embed(&["1", "2"], Purpose::Document).expect_err(self.name);
        assert!(!failure.to_string().contains("sk-test"), "{}: {failure}", self.name);
        failure
    }
}

fn surroundings(key: Option<&'static str>) -> Surroundings {
    Surroundings {
        local_model_directory: None,
        local_threads: 1,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(20),
        allowed_endpoints: DEFAULT_ALLOWED.map(str::to_owned).to_vec(),
        secrets: Arc::new(move |_| key.map(Secret::new)),
    }
}

/// Fear: a provider refuses what is sent, or takes questions for documents.
#[test]
fn requests_are_the_documented_ones() {
    for wire in wires() {
        let answer = (wire.answer)(&[json!([1, 2]), json!([3.5, -4])]).to_string();
        let server = Server::start(move |_| http(200, &[], &answer));
        let provider = wire.open(&server);
        for (purpose, expected) in [(Purpose::Document, &wire.documents), (Purpose::Query, &wire.questions)] {
            let answer = provider.embed(&["1", "2"], purpose).expect(wire.name);
            assert_eq!(answer.values, [1.0, 2.0, 3.5, -4.0], "{}", wire.name);
            assert_eq!(answer.tokens, wire.tokens, "{}", wire.name);
            let request = server.requests().pop().expect("a request");
            assert_eq!(request.line, wire.line);
            assert_eq!(request.header(wire.header.0), Some(wire.header.1), "{}", wire.name);
            assert_eq!(request.header("content-type"), Some("application/json"));
            assert_eq!(&request.json(), expected, "{}", wire.name);
        }
        let limits = provider.limits();
        assert_eq!((limits.inputs, limits.tokens), wire.limits, "{}", wire.name);
        assert_eq!(provider.dimensions(), Some(2));
        assert_eq!(provider.embed(&[], Purpose::Document).expect("nothing").count(), 0);
        assert_eq!(server.requests().len(), 2, "{}: nothing is asked for no input", wire.name);
    }
}

/// Fear: a text breaks out of its place in the request.
#[test]
fn hostile_texts_arrive_as_they_are() {
    let hostile =
        ["\"}],\"model\":\"x", "{{model}}", "<|endoftext|>", "\u{0}\u{1f}\u{2028}", "{{inputs}}\\", "🫠"];
    for wire in wires() {
        let hostile = &hostile[..wire.limits.0.min(hostile.len())];
        let answer = (wire.answer)(&vec![json!([1, 2]); hostile.len()]).to_string();
        let server = Server::start(move |_| http(200, &[], &answer));
        wire.open(&server).embed(hostile, Purpose::Document).expect(wire.name);
        assert_eq!((wire.texts)(&server.requests()[0].json()), hostile, "{}", wire.name);
    }
}

/// Fear: a wrong key fails row after row instead of halting once; the hint names no key.
#[test]
fn a_wrong_key_is_a_matter_of_configuration() {
    for wire in wires() {
        let (status, body) = wire.wrong_key.clone();
        match wire.failure(status, &[], body) {
            Failure::Config { hint: Some(hint), .. } => {
                assert!(hint.contains("key"), "{}: {hint}", wire.name)
            }
            other => panic!("{}: {other:?}", wire.name),
        }
    }
}

/// Fear: hosted providers are called without the key; a named key that is missing is passed over.
#[test]
fn a_missing_key_is_told_before_anything_is_sent() {
    let server = Server::start(|_| http(500, &[], ""));
    for wire in wires() {
        let hosted = !matches!(wire.name, "tei" | "http");
        let mut embedding = wire.embedding(&server);
        match &mut embedding {
            Embedding::VoyageAi(config) => config.base_url = None,
            Embedding::Cohere(config) => config.base_url = None,
            Embedding::Mistral(config) => config.base_url = None,
            Embedding::Gemini(config) => config.base_url = None,
            _ => {}
        }
        assert!(embedding.needs_key(), "{}: hosted {hosted}", wire.name);
        match open(&embedding, &surroundings(None)).map(|_| ()) {
            Err(Failure::Config { message, .. }) => {
                assert!(message.contains("no API key named"), "{message}")
            }
            other => panic!("{}: {other:?}", wire.name),
        }
        open(&embedding, &surroundings(Some(KEY))).expect(wire.name);
    }
    assert_eq!(server.requests().len(), 0);
}

/// Fear: one bad text takes the whole batch with it.
#[test]
fn one_bad_text_is_found() {
    for wire in wires() {
        let wire = Arc::new(wire);
        let script = wire.clone();
        let server = Server::start(move |request| {
            match (script.texts)(&request.json()).iter().any(|text| text == "13") {
                true => http(400, &[], json!({"message": "invalid request: no text 13"}).to_string()),
                false => http(200, &[], script.honest(request).to_string()),
            }
        });
        let inputs: Vec<String> = (11..16).map(|number| number.to_string()).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let isolated = embed_isolating(&*wire.open(&server), &inputs, Purpose::Document);
        for (index, outcome) in isolated.iter().enumerate() {
            match index {
                2 => assert!(matches!(outcome, Err(Failure::Input { .. })), "{}: {outcome:?}", wire.name),
                _ => {
                    let number = 11.0 + index as f32;
                    assert_eq!(outcome, Ok([number, number * number].as_slice()), "{}", wire.name);
                }
            }
        }
    }
}

/// Fear: a provider that asks for time does not get it, or an outage blames the rows.
#[test]
fn too_many_requests_and_outages_blame_nobody() {
    for wire in wires() {
        for (headers, seconds) in [
            (&[("retry-after", "13")][..], Some(13)),
            (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "2m1s")], Some(121)),
            (&[], None),
        ] {
            match wire.failure(429, headers, json!({"message": "slow down"})) {
                Failure::Request { retry_after, .. } => {
                    assert_eq!(retry_after, seconds.map(Duration::from_secs), "{}", wire.name);
                }
                other => panic!("{}: {other:?}", wire.name),
            }
        }
        for status in [500, 502, 503, 529] {
            let failure = wire.failure(status, &[], json!({"error": "overloaded"}));
            assert!(matches!(failure, Failure::Request { .. }), "{} {status}: {failure:?}", wire.name);
        }
    }
    let delay = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}});
    match wire("gemini").failure(429, &[], delay) {
        Failure::Request { retry_after, .. } => assert_eq!(retry_after, Some(Duration::from_secs(34))),
        other => panic!("{other:?}"),
    }
    // The model of a server that is still loading.
    let loading = json!({"error": "Inference failed", "error_type": "Backend"});
    assert!(matches!(wire("tei").failure(424, &[], loading), Failure::Request { .. }));
}

fn wire(name: &str) -> Wire {
    wires().into_iter().find(|wire| wire.name == name).expect(name)
}

/// Fear: vectors of the wrong length, too few or too many are stored beside the wrong texts.
#[test]
fn answers_that_cannot_be_right_are_not_used() {
    for wire in wires() {
        let answer = |vectors: &[Value]| wire.failure(200, &[], (wire.answer)(vectors));
        let (good, long) = (json!([1, 2]), json!([1, 2, 3]));
        match answer(&[long.clone(), long.clone()]) {
            Failure::Config { hint: Some(hint), .. } => assert!(hint.contains("dimensions => 3"), "{hint}"),
            other => panic!("{}: {other:?}", wire.name),
        }
        for vectors in
            [&[good.clone()][..], &[good.clone(), good.clone(), good.clone()], &[], &[good.clone(), long]]
        {
            let failure = answer(vectors);
            assert!(matches!(failure, Failure::Request { .. }), "{} {vectors:?}: {failure:?}", wire.name);
        }
        let failure = answer(&[good, json!([1, null])]);
        assert!(matches!(failure, Failure::Input { .. }), "{}: {failure:?}", wire.name);
        for nonsense in [json!({}), json!([]), json!({"embeddings": 7, "data": {}, "result": []}), json!("x")]
        {
            let failure = wire.failure(200, &[], nonsense.clone());
            assert!(matches!(failure, Failure::Request { .. }), "{} {nonsense}: {failure:?}", wire.name);
        }
    }
}

/// Fear: a provider reaches places that the operator did not list.
#[test]
fn every_provider_heeds_the_list_of_hosts() {
    let server = Server::start(|_| http(500, &[], ""));
    let closed =
        Surroundings { allowed_endpoints: vec!["https://elsewhere.test".into()], ..surroundings(Some(KEY)) };
    for wire in wires() {
        match open(&wire.embedding(&server), &closed).map(|_| ()) {
            Err(Failure::Config { hint: Some(hint), .. }) => {
                assert!(hint.contains("autovector.allowed_endpoints"), "{}: {hint}", wire.name);
            }
            other => panic!("{}: {other:?}", wire.name),
        }
    }
    assert_eq!(server.requests().len(), 0);
}

/// Fear: a deployment's name leads to another path of the server.
#[test]
fn a_deployment_cannot_leave_its_place_in_the_path() {
    let answer = indexed(&[json!([1, 2])]).to_string();
    let server = Server::start(move |_| http(200, &[], &answer));
    let Embedding::AzureOpenAi(config) = wire("azure_openai").embedding(&server) else { panic!("azure") };
    let config = AzureOpenAi { deployment: "../../x?y#z/é".into(), ..config };
    let provider = open(&Embedding::AzureOpenAi(config), &surroundings(Some(KEY))).expect("opens");
    provider.embed(&["1"], Purpose::Document).expect("answered");
    assert_eq!(
        server.requests()[0].line,
        "POST /openai/deployments/..%2F..%2Fx%3Fy%23z%2F%C3%A9/embeddings?api-version=2024-10-21 HTTP/1.1"
    );
}

/// Fear: what a text that is too long costs is decided by nobody.
#[test]
fn texts_that_are_too_long_are_cut_or_refused_as_asked() {
    let refusing = |name: &str, server: &Server| {
        let mut wire = wire(name);
        wire.config["oversize"] = "refuse".into();
        wire.open(server)
    };
    // Where the server cuts, it is told whether to.
    for (name, place, cut, refuse) in [
        ("voyageai", "truncation", json!(true), json!(false)),
        ("cohere", "truncate", json!("END"), json!("NONE")),
        ("tei", "truncate", json!(true), json!(false)),
    ] {
        let answer = (wire(name).answer)(&[json!([1, 2])]).to_string();
        let server = Server::start(move |_| http(200, &[], &answer));
        wire(name).open(&server).embed(&["1"], Purpose::Document).expect(name);
        refusing(name, &server).embed(&["1"], Purpose::Document).expect(name);
        let said: Vec<Value> =
            server.requests().iter().map(|request| request.json()[place].clone()).collect();
        assert_eq!(said, [cut, refuse], "{name}");
    }
    // Where the tokens can be counted, it is done here.
    let long = "word ".repeat(9000);
    let answer = indexed(&[json!([1, 2]), json!([3, 4])]).to_string();
    let server = Server::start(move |_| http(200, &[], &answer));
    let provider = wire("azure_openai").open(&server);
    let answered = provider.embed(&[&long, "2"], Purpose::Document).expect("cut");
    let sent = strings(&server.requests()[0].json()["input"]);
    assert_eq!((sent[0].as_str(), sent[1].as_str()), (&long[..8191 * 5 - 1], "2"));
    assert_eq!((answered.cut, provider.longest()), (vec![0], Some(8191)));
    match refusing("azure_openai", &server).embed(&[&long], Purpose::Document) {
        Err(Failure::Input { message }) => assert!(message.contains("8191 tokens"), "{message}"),
        other => panic!("{other:?}"),
    }
    // Where neither is possible, a text that was refused for its length is asked for once more.
    let script = move |request: &Request| match strings(&request.json()["input"])[0].len() {
        length if length > 30_000 => {
            http(400, &[], r#"{"message": "Input has 9001 tokens, exceeding 8192"}"#)
        }
        _ => http(200, &[], indexed(&[json!([1, 2])]).to_string()),
    };
    let server = Server::start(script);
    let provider = wire("mistral").open(&server);
    let answered = provider.embed(&[&long], Purpose::Document).expect("cut");
    assert_eq!((answered.values, answered.cut), (vec![1.0, 2.0], vec![0]));
    assert_eq!((server.requests().len(), provider.longest()), (2, Some(8192)));
    let short = provider.embed(&["3"], Purpose::Document).expect("whole");
    assert_eq!(short.cut, Vec::<usize>::new());
    let refused = refusing("mistral", &server).embed(&[&long], Purpose::Document);
    assert!(matches!(refused, Err(Failure::Input { .. })), "{refused:?}");
}

/// Fear: numbers of int8 are read as base64 of floats, or are asked for so.
#[test]
fn whole_numbers_are_asked_for_as_numbers() {
    let answer = indexed(&[json!([-128, 127])]).to_string();
    let server = Server::start(move |_| http(200, &[], &answer));
    let mut wire = wire("voyageai");
    wire.config["output_dtype"] = "int8".into();
    wire.config["model"] = "voyage-3-lite".into();
    assert_eq!(wire.open(&server).embed(&["1"], Purpose::Document).expect("read").values, [-128.0, 127.0]);
    let sent = server.requests()[0].json();
    assert_eq!((&sent["output_dtype"], sent.get("encoding_format")), (&json!("int8"), None));
    assert_eq!(sent.get("output_dimension"), None, "a model of one size refuses the parameter");
}

/// Fear: tokens are counted too low, and requests are refused for it.
#[test]
fn tokens_are_counted_as_the_model_does_or_above() {
    let server = Server::start(|_| http(500, &[], ""));
    let text = "The quick brown fox jumps over the lazy dog.";
    for (name, most) in [("voyageai", 30), ("azure_openai", 11), ("mistral", 30), ("http", 30)] {
        let counted = wire(name).open(&server).count_tokens(text);
        assert!((10..=most).contains(&counted), "{name}: {counted}");
    }
}
