//! The JSON is pgai's, comes back as it went, and what cannot work is refused with a hint.

use autovector_domain::config::{
    Chunking, ConfigError, Destination, Embedding, Formatting, Hnsw, Indexing, Loading, Opclass, Parsing,
    Processing, Scheduling, VectorizerConfig,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn config() -> VectorizerConfig {
    VectorizerConfig {
        version: "0.1.0".into(),
        loading: Loading::column("body", Loading::DEFAULT_RETRIES).expect("loading"),
        parsing: Parsing::default(),
        chunking: Chunking::default(),
        formatting: Formatting::default(),
        embedding: Embedding::openai("text-embedding-3-small", 768, None, "OPENAI_API_KEY", None)
            .expect("embedding"),
        destination: Destination::default().resolve("public", "blog"),
        processing: Processing::default(),
        indexing: Indexing::default(),
        scheduling: Scheduling::default(),
    }
}

/// The JSON of every configuration function, as pgai's functions return it.
#[test]
fn json_has_pgais_shape() {
    let table = [
        (
            Loading::column("body", 6).map(|c| c.to_json()),
            json!({"implementation": "column", "config_type": "loading", "column_name": "body", "retries": 6}),
        ),
        (Ok(Parsing::Auto.to_json()), json!({"implementation": "auto", "config_type": "parsing"})),
        (Ok(Parsing::None.to_json()), json!({"implementation": "none", "config_type": "parsing"})),
        (Ok(Chunking::None.to_json()), json!({"implementation": "none", "config_type": "chunking"})),
        (
            Chunking::character(800, 400, "\n\n", false).map(|c| c.to_json()),
            json!({"implementation": "character_text_splitter", "config_type": "chunking", "chunk_size": 800,
                   "chunk_overlap": 400, "separator": "\n\n", "is_separator_regex": false}),
        ),
        (
            Ok(Chunking::default().to_json()),
            json!({"implementation": "recursive_character_text_splitter", "config_type": "chunking",
                   "chunk_size": 800, "chunk_overlap": 400, "separators": ["\n\n", "\n", ".", "?", "!", " ", ""],
                   "is_separator_regex": false}),
        ),
        (
            Ok(Formatting::default().to_json()),
            json!({"implementation": "python_template", "config_type": "formatting", "template": "$chunk"}),
        ),
        (
            Embedding::openai("m", 768, Some("me"), "OPENAI_API_KEY", Some("http://localhost:1/v1"))
                .map(|c| c.to_json()),
            json!({"implementation": "openai", "config_type": "embedding", "model": "m", "dimensions": 768,
                   "user": "me", "api_key_name": "OPENAI_API_KEY", "base_url": "http://localhost:1/v1"}),
        ),
        (
            Embedding::openai("m", 768, None, "OPENAI_API_KEY", None).map(|c| c.to_json()),
            json!({"implementation": "openai", "config_type": "embedding", "model": "m", "dimensions": 768,
                   "api_key_name": "OPENAI_API_KEY"}),
        ),
        (
            Embedding::ollama("m", 768, None, Some(&json!({"num_ctx": 8192})), Some("5m"))
                .map(|c| c.to_json()),
            json!({"implementation": "ollama", "config_type": "embedding", "model": "m", "dimensions": 768,
                   "options": {"num_ctx": 8192}, "keep_alive": "5m"}),
        ),
        (
            Embedding::local("all-MiniLM-L6-v2", None).map(|c| c.to_json()),
            json!({"implementation": "local", "config_type": "embedding", "model": "all-MiniLM-L6-v2"}),
        ),
        (Ok(Indexing::None.to_json()), json!({"implementation": "none", "config_type": "indexing"})),
        (Ok(Indexing::Default.to_json()), json!({"implementation": "default", "config_type": "indexing"})),
        (
            Ok(Indexing::Hnsw(Hnsw::default()).to_json()),
            json!({"implementation": "hnsw", "config_type": "indexing", "min_rows": 100000,
                   "opclass": "vector_cosine_ops", "create_when_queue_empty": true}),
        ),
        (
            Indexing::hnsw(0, "vector_l2_ops", Some(8), Some(32), false).map(|c| c.to_json()),
            json!({"implementation": "hnsw", "config_type": "indexing", "min_rows": 0, "opclass": "vector_l2_ops",
                   "m": 8, "ef_construction": 32, "create_when_queue_empty": false}),
        ),
        (
            Indexing::ivfflat(5, "halfvec_l2_ops", Some(7), false).map(|c| c.to_json()),
            json!({"implementation": "ivfflat", "config_type": "indexing", "min_rows": 5, "opclass": "halfvec_l2_ops",
                   "lists": 7, "create_when_queue_empty": false}),
        ),
        (
            Indexing::diskann(5, Some("plain"), Some(50), None, Some(1.5), None, None, true)
                .map(|c| c.to_json()),
            json!({"implementation": "diskann", "config_type": "indexing", "min_rows": 5, "storage_layout": "plain",
                   "num_neighbors": 50, "max_alpha": 1.5, "create_when_queue_empty": true}),
        ),
        (Ok(Scheduling::None.to_json()), json!({"implementation": "none", "config_type": "scheduling"})),
        (
            Ok(Scheduling::Default.to_json()),
            json!({"implementation": "default", "config_type": "scheduling"}),
        ),
        (
            Ok(Processing::default().to_json()),
            json!({"implementation": "default", "config_type": "processing"}),
        ),
        (
            Processing::new(Some(2048), Some(50), Some(3000), Some(1_000_000)).map(|c| c.to_json()),
            json!({"implementation": "default", "config_type": "processing", "batch_size": 2048, "concurrency": 50,
                   "requests_per_minute": 3000, "tokens_per_minute": 1_000_000}),
        ),
        (
            Ok(Destination::default().to_json()),
            json!({"implementation": "table", "config_type": "destination"}),
        ),
        (
            Destination::column("embedding").map(|c| c.to_json()),
            json!({"implementation": "column", "config_type": "destination", "embedding_column": "embedding"}),
        ),
        (
            Ok(Destination::default().resolve("public", "blog").to_json()),
            json!({"implementation": "table", "config_type": "destination", "target_schema": "public",
                   "target_table": "blog_embedding_store", "view_schema": "public", "view_name": "blog_embedding"}),
        ),
    ];
    for (made, expected) in table {
        let made = made.expect("a valid configuration");
        assert_eq!(made, expected);
        assert_eq!(read(&made).expect("readable"), made, "does not come back");
    }
}

/// Reads a part by its own type, and writes it again.
fn read(value: &Value) -> Result<Value, ConfigError> {
    Ok(match value["config_type"].as_str().expect("config_type") {
        "loading" => Loading::from_json(value)?.to_json(),
        "parsing" => Parsing::from_json(value)?.to_json(),
        "chunking" => Chunking::from_json(value)?.to_json(),
        "formatting" => Formatting::from_json(value)?.to_json(),
        "embedding" => Embedding::from_json(value)?.to_json(),
        "destination" => Destination::from_json(value)?.to_json(),
        "processing" => Processing::from_json(value)?.to_json(),
        "indexing" => Indexing::from_json(value)?.to_json(),
        "scheduling" => Scheduling::from_json(value)?.to_json(),
        other => panic!("{other}"),
    })
}

#[test]
fn the_whole_configuration_comes_back() {
    let config = config();
    let json = config.to_json();
    assert_eq!(VectorizerConfig::from_json(&json), Ok(config));
    let mut keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "chunking",
            "destination",
            "embedding",
            "formatting",
            "indexing",
            "loading",
            "parsing",
            "processing",
            "scheduling",
            "version"
        ]
    );
    assert_eq!(json["version"], "0.1.0");
    assert_eq!(json["chunking"]["chunk_size"], 800);
}

#[test]
fn the_whole_configuration_needs_loading_and_embedding_alone() {
    let mut json = config().to_json();
    for key in [
        "version",
        "parsing",
        "chunking",
        "formatting",
        "destination",
        "processing",
        "indexing",
        "scheduling",
    ] {
        json.as_object_mut().expect("an object").remove(key);
    }
    let read = VectorizerConfig::from_json(&json).expect("defaults");
    assert_eq!((read.chunking, read.formatting.template.as_str()), (Chunking::default(), "$chunk"));
    for key in ["loading", "embedding"] {
        let mut without = json.clone();
        without.as_object_mut().expect("an object").remove(key);
        refused(
            VectorizerConfig::from_json(&without),
            &format!("has no {key}"),
            &format!("{key} => ai.{key}_"),
        );
    }
    refused(VectorizerConfig::from_json(&json!([])), "must be a JSON object", "ai.vectorizer");
}

#[test]
fn a_column_takes_one_vector_a_row() {
    let mut config = config();
    config.destination = Destination::column("embedding").expect("destination");
    refused(config.validate(), "one vector a row", "ai.chunking_none()");
    refused(VectorizerConfig::from_json(&config.to_json()), "one vector a row", "ai.chunking_none()");
    config.chunking = Chunking::None;
    assert_eq!(VectorizerConfig::from_json(&config.to_json()), Ok(config));
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ConfigError>, message: &str, hint: &str) {
    let error = result.expect_err("should be refused");
    assert!(error.message.contains(message), "{error:?} lacks {message:?}");
    assert!(error.hint.contains(hint), "{error:?} lacks {hint:?}");
    // PostgreSQL's style: a message begins small and has no full stop, a hint is a sentence.
    assert!(!error.message.ends_with('.') && error.hint.ends_with('.'), "{error:?}");
}

#[test]
fn the_wrong_configuration_is_named() {
    refused(
        Embedding::from_json(&Chunking::default().to_json()),
        "a configuration of type \"chunking\" was given where one of type \"embedding\" is expected",
        "ai.embedding_openai()",
    );
    refused(Chunking::from_json(&Parsing::Auto.to_json()), "\"parsing\"", "ai.chunking_none()");
    refused(Chunking::from_json(&json!("none")), "must be a JSON object", "ai.chunking_none()");
    refused(Chunking::from_json(&json!({})), "no config_type", "ai.chunking_none()");
    refused(
        Chunking::from_json(&json!({"config_type": "chunking"})),
        "no implementation",
        "ai.chunking_none()",
    );
}

#[test]
fn unknown_and_missing_implementations_are_named() {
    for config_type in [
        "loading",
        "parsing",
        "chunking",
        "formatting",
        "embedding",
        "destination",
        "processing",
        "indexing",
        "scheduling",
    ] {
        let json = json!({"config_type": config_type, "implementation": "clockwork"});
        refused(
            read(&json),
            &format!("\"clockwork\" is not an implementation of {config_type}"),
            &format!("ai.{config_type}_"),
        );
    }
    let json = json!({"config_type": "embedding", "implementation": "sentence_transformers"});
    refused(read(&json), "ai.embedding_sentence_transformers is not available yet", "ai.embedding_local()");
}

#[test]
fn fields_have_types() {
    let with = |key: &str, value: Value| {
        let mut json = Chunking::default().to_json();
        json[key] = value;
        Chunking::from_json(&json)
    };
    refused(
        with("chunk_size", json!("800")),
        "chunk_size of the chunking configuration must be a whole number",
        "ai.",
    );
    refused(with("chunk_size", json!(8.5)), "whole number", "ai.");
    refused(with("chunk_size", json!(5_000_000_000_i64)), "whole number", "ai.");
    refused(
        with("separators", json!(["a", 1])),
        "separators of the chunking configuration must be an array of strings",
        "ai.",
    );
    refused(with("is_separator_regex", json!(1)), "must be true or false", "ai.");
    assert_eq!(with("chunk_size", Value::Null), Ok(Chunking::default()), "null counts as absent");
    assert_eq!(with("from_tomorrow", json!(1)), Ok(Chunking::default()), "unknown fields are passed over");
    let json = json!({"config_type": "loading", "implementation": "column"});
    refused(Loading::from_json(&json), "no column_name", "ai.loading_column");
    let json = json!({"config_type": "embedding", "implementation": "openai", "model": "m"});
    refused(Embedding::from_json(&json), "no dimensions", "ai.embedding_openai()");
}

#[test]
fn sizes_and_overlaps() {
    refused(
        Chunking::recursive(200, 400, &["a"], false),
        "chunk_overlap (400) must be smaller than chunk_size (200)",
        "chunk_overlap => 100",
    );
    refused(Chunking::character(10, 10, "a", false), "chunk_overlap (10)", "chunk_overlap => 5");
    refused(Chunking::character(0, 0, "a", false), "chunk_size must be at least 1", "chunk_size => 800");
    refused(Chunking::character(-1, 0, "a", false), "not -1", "chunk_size");
    refused(Chunking::character(10, -1, "a", false), "must not be negative", "chunk_overlap => 0");
    refused(Chunking::recursive(10, 0, &[] as &[&str], false), "separators is empty", "''");
    refused(Chunking::recursive(10, 0, &["a"; 101], false), "101 separators", "is_separator_regex");
    assert!(Chunking::character(1, 0, "", false).is_ok());
    // With a size below the default overlap the hint says what to type.
    let json =
        json!({"config_type": "chunking", "implementation": "character_text_splitter", "chunk_size": 100});
    refused(
        Chunking::from_json(&json),
        "chunk_overlap (400) must be smaller than chunk_size (100)",
        "left out, it is 400",
    );
}

#[test]
fn processing_is_bounded() {
    for (batch_size, concurrency, message) in [
        (Some(0), None, "batch_size must be between 1 and 2048, not 0"),
        (Some(2049), None, "batch_size must be between 1 and 2048, not 2049"),
        (None, Some(0), "concurrency must be between 1 and 50, not 0"),
        (None, Some(51), "concurrency must be between 1 and 50, not 51"),
        (None, Some(-1), "concurrency must be between 1 and 50, not -1"),
    ] {
        refused(Processing::new(batch_size, concurrency, None, None), message, "leave");
    }
    let most = i32::MAX;
    let rates = Processing::new(None, None, Some(0), None);
    refused(rates, &format!("requests_per_minute must be between 1 and {most}, not 0"), "leave");
    let rates = Processing::new(None, None, None, Some(-5));
    refused(rates, &format!("tokens_per_minute must be between 1 and {most}, not -5"), "leave");
}

#[test]
fn hnsw_keeps_pgvectors_bounds() {
    let hnsw = |m, ef| Indexing::hnsw(100, "vector_cosine_ops", m, ef, true);
    refused(hnsw(Some(1), None), "m must be between 2 and 100", "16");
    refused(hnsw(Some(101), None), "m must be between 2 and 100", "16");
    refused(hnsw(None, Some(3)), "ef_construction must be between 4 and 1000", "64");
    refused(
        hnsw(None, Some(31)),
        "ef_construction (31) must be at least twice m (16)",
        "ef_construction => 32",
    );
    refused(
        hnsw(Some(33), None),
        "ef_construction (64) must be at least twice m (33)",
        "ef_construction => 66",
    );
    assert!(hnsw(Some(32), None).is_ok() && hnsw(None, Some(32)).is_ok());
    refused(Indexing::hnsw(-1, "vector_cosine_ops", None, None, true), "min_rows", "0 builds it at once");
    refused(Indexing::hnsw(0, "vector_ops", None, None, true), "\"vector_ops\"", "vector_l2_ops");
    for opclass in ["vector_cosine_ops", "vector_ip_ops", "vector_l1_ops", "vector_l2_ops"] {
        assert_eq!(Opclass::parse(opclass).map(Opclass::as_str), Ok(opclass));
        let half = opclass.replace("vector", "halfvec");
        assert_eq!(Opclass::parse(&half).map(Opclass::as_str), Ok(half.as_str()));
    }
}

#[test]
fn other_indexes_keep_their_bounds() {
    let ivfflat = |opclass, lists| Indexing::ivfflat(100, opclass, lists, true);
    refused(ivfflat("vector_cosine_ops", Some(0)), "lists must be between 1 and 32768", "Leave lists out");
    refused(
        ivfflat("vector_l1_ops", None),
        "ivfflat has no operator class vector_l1_ops",
        "ai.indexing_hnsw()",
    );
    assert!(ivfflat("halfvec_l2_ops", Some(10)).is_ok());
    let diskann =
        |layout, neighbors, alpha| Indexing::diskann(100, layout, neighbors, None, alpha, None, None, true);
    refused(diskann(Some("tight"), None, None), "storage_layout \"tight\"", "memory_optimized");
    refused(diskann(None, Some(9), None), "num_neighbors must be between 10 and 1000", "default");
    refused(diskann(None, None, Some(0.5)), "max_alpha must be between 1 and 5", "1.2");
    assert!(diskann(Some("plain"), Some(50), Some(1.2)).is_ok());
}

#[test]
fn wide_vectors_are_indexed_by_their_halves() {
    let index = |indexing: Indexing, dimensions| {
        indexing.index(dimensions).map(|index| index.map(|index| index.opclass.as_str()))
    };
    let hnsw = || Indexing::hnsw(0, "vector_ip_ops", None, None, true).unwrap();
    assert_eq!(index(hnsw(), 2000), Ok(Some("vector_ip_ops")));
    assert_eq!(index(hnsw(), 2001), Ok(Some("halfvec_ip_ops")));
    assert_eq!(index(hnsw(), 4000), Ok(Some("halfvec_ip_ops")));
    refused(index(hnsw(), 4001), "at most 4000 dimensions", "ai.indexing_none()");
    assert_eq!(index(Indexing::None, 16_000), Ok(None));
    assert_eq!(index(Indexing::Default, 16_000), Ok(None));
}

#[test]
fn names_are_those_that_postgresql_takes() {
    refused(Loading::column("", 6), "column_name is empty", "column_name");
    refused(Loading::column(&"ä".repeat(32), 6), "column_name has 64 bytes", "shorter");
    refused(Loading::column("a\0b", 6), "zero byte", "column_name");
    refused(Loading::column("a", -1), "retries must be between", "0 or more");
    refused(Destination::table(None, None, Some(""), None, None), "target_table is empty", "target_table");
    refused(Destination::column(""), "embedding_column is empty", "embedding_column");
    assert!(Loading::column(&"a".repeat(63), 0).is_ok());
}

#[test]
fn what_the_user_named_stays() {
    let resolved =
        |destination: Result<Destination, ConfigError>| match destination.map(|d| d.resolve("app", "Blog")) {
            Ok(Destination::Table(t)) => {
                [t.target_schema, t.target_table, t.view_schema, t.view_name].map(Option::unwrap_or_default)
            }
            other => panic!("{other:?}"),
        };
    assert_eq!(
        resolved(Destination::table(None, None, None, None, None)),
        ["app", "Blog_embedding_store", "app", "Blog_embedding"]
    );
    assert_eq!(
        resolved(Destination::table(Some("wiki"), None, None, None, None)),
        ["app", "wiki_store", "app", "wiki"]
    );
    assert_eq!(
        resolved(Destination::table(Some("wiki"), Some("s"), Some("t"), Some("v"), Some("w"))),
        ["s", "t", "v", "w"]
    );
    let column = Destination::column("e").expect("column");
    assert_eq!(column.resolve("app", "Blog"), column);
    // Already resolved: nothing changes.
    let stored = Destination::default().resolve("app", "Blog");
    assert_eq!(stored.resolve("other", "Other"), stored);
}

#[test]
fn embeddings_are_checked() {
    let openai = |model: &str, dimensions, key: &str, url: Option<&str>| {
        Embedding::openai(model, dimensions, None, key, url)
    };
    refused(openai(" ", 3, "K", None), "model's name is empty", "Name the model");
    for dimensions in [0, -1, 16_001, i32::MAX] {
        refused(openai("m", dimensions, "K", None), "dimensions must be between 1 and 16000", "dimensions");
    }
    assert!(openai("m", 16_000, "K", None).is_ok());
    for key in ["", "1K", "a b", "../passwd", "a/b", "ä", "sk-abcdef", &"K".repeat(64)] {
        let error = openai("m", 3, key, None).expect_err(key);
        assert_eq!(error.message, "api_key_name is not the name of a secret");
        assert!(key.len() < 3 || !error.hint.contains(key), "the hint repeats what may be a key");
    }
    for key in ["OPENAI_API_KEY", "my-key", "_k", "k.v1"] {
        assert!(openai("m", 3, key, None).is_ok(), "{key}");
    }
    for (url, message) in [
        ("localhost:11434", "must begin with http"),
        ("ftp://h", "must begin with http"),
        ("http://", "not a valid URL"),
        ("http://:80/v1", "not a valid URL"),
        ("http://a b/", "not a valid URL"),
        ("https://user:secret@h/v1", "user name or a password"),
        ("HTTPS://user@h", "user name or a password"),
    ] {
        refused(openai("m", 3, "K", Some(url)), message, "base_url");
        refused(Embedding::ollama("m", 3, Some(url), None, None), message, "base_url");
    }
    for url in ["http://localhost:11434", "https://api.example.com/v1/", "HTTP://[::1]:80/a@b"] {
        assert!(openai("m", 3, "K", Some(url)).is_ok(), "{url}");
    }
    refused(
        Embedding::ollama("m", 3, None, Some(&json!([1])), None),
        "options must be a JSON object",
        "num_ctx",
    );
    assert_eq!(
        Embedding::ollama("m", 3, None, Some(&Value::Null), None),
        Embedding::ollama("m", 3, None, None, None)
    );
    refused(Embedding::local("m", Some(0)), "dimensions", "dimensions");
}

#[test]
fn templates_are_checked_when_they_are_given() {
    refused(Formatting::python_template("$title"), "does not contain $chunk", "$chunk");
    refused(Formatting::python_template("$chunk $"), "not a placeholder", "$$");
    assert!(Formatting::python_template("$title $chunk").is_ok());
}

fn json_value() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("config_type"),
        Just("implementation"),
        Just("chunk_size"),
        Just("separators"),
        Just("column_name"),
        Just("model"),
        Just("dimensions"),
        Just("batch_size"),
        Just("m")
    ];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![
            Just("chunking"),
            Just("loading"),
            Just("column"),
            Just("openai"),
            Just("embedding"),
            Just("hnsw"),
            Just("indexing"),
            Just("default"),
            Just("recursive_character_text_splitter")
        ]
        .prop_map(Value::from),
        ".{0,5}".prop_map(Value::from),
    ];
    let value = prop_oneof![scalar.clone(), prop::collection::vec(scalar, 0..3).prop_map(Value::from)];
    prop::collection::vec((key, value), 0..7).prop_map(|entries| {
        Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_json_is_read_or_refused_with_a_hint(value in json_value()) {
        let results = [
            Loading::from_json(&value).err(), Parsing::from_json(&value).err(), Chunking::from_json(&value).err(),
            Formatting::from_json(&value).err(), Embedding::from_json(&value).err(), Destination::from_json(&value).err(),
            Processing::from_json(&value).err(), Indexing::from_json(&value).err(), Scheduling::from_json(&value).err(),
            VectorizerConfig::from_json(&value).err(),
        ];
        for error in results.into_iter().flatten() {
            prop_assert!(!error.message.is_empty() && !error.hint.is_empty(), "{:?}", error);
        }
    }
}

/// The JSON of windows, and what cannot be one.
#[test]
fn windows_come_back_and_wrong_ones_are_refused() {
    let night = Scheduling::window(79_200, 21_600, None, "asia/shanghai").expect("a window");
    let json = night.to_json();
    assert_eq!(
        json,
        json!({"implementation": "windows", "config_type": "scheduling",
               "windows": [{"start": "22:00:00", "stop": "06:00:00", "timezone": "Asia/Shanghai"}]})
    );
    let both = Scheduling::windows(&[json.clone(), json.clone()]).expect("two windows");
    assert_eq!(Scheduling::from_json(&both.to_json()), Ok(both));
    assert_eq!(Scheduling::from_json(&json), Ok(night));
    for wrong in [
        json!({"implementation": "windows", "config_type": "scheduling"}),
        json!({"implementation": "windows", "config_type": "scheduling", "windows": []}),
        json!({"implementation": "windows", "config_type": "scheduling", "windows": [{"start": "22:00"}]}),
        json!({"implementation": "windows", "config_type": "scheduling",
               "windows": [{"start": "22:00", "stop": "25:00", "timezone": "UTC"}]}),
        json!({"implementation": "windows", "config_type": "scheduling",
               "windows": [{"start": "4294967295:00", "stop": "06:00", "timezone": "UTC"}]}),
        json!({"implementation": "windows", "config_type": "scheduling",
               "windows": [{"start": "22:00", "stop": "06:00", "days": "mon", "timezone": "UTC"}]}),
    ] {
        let error = Scheduling::from_json(&wrong).expect_err("refused");
        assert!(!error.hint.is_empty(), "{wrong}: {error}");
    }
    let many = vec![json; Scheduling::MAX_WINDOWS + 1];
    assert!(Scheduling::windows(&many).is_err());
}

/// Fear: a job of TimescaleDB that is to begin later works at once, never, or only now and then.
#[test]
fn a_job_of_timescaledb_works_from_its_start_on() {
    let read = |json: Value| Scheduling::from_json(&json);
    let mut json = json!({"config_type": "scheduling", "implementation": "timescaledb", "schedule_interval": "00:05:00",
                          "timezone": "UTC", "fixed_schedule": true, "job_id": 1000});
    let job = read(json.clone()).expect("pgai's own");
    assert_eq!(job.state(0), None, "whenever there is work");
    assert_eq!(job.to_json().get("job_id"), None, "there is no job");
    assert_eq!(job.to_json()["schedule_interval"], "00:05:00");
    json["initial_start"] = json!("1970-01-01T01:00:10+01:00");
    let job = read(json.clone()).expect("a moment");
    let before = job.state(9_999_999).expect("a window that is closed");
    assert_eq!((before.open, before.opens_at, before.closes_at), (false, Some(10_000_000), None));
    assert_eq!(job.state(10_000_000), None);
    assert_eq!(read(job.to_json()), Ok(job));
    json["initial_start"] = json!("tomorrow");
    refused(read(json), "initial_start", "zone");
}
