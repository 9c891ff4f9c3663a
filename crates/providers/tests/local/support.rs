//! Model directories made up for the tests, and how to open them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use autovector_domain::{config::Local, failure::Failure};
use autovector_providers::{Embedder, Embeddings, Purpose, Surroundings, local};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The directory with downloaded models.
pub fn models() -> PathBuf {
    let directory = match std::env::var_os("AUTOVECTOR_TEST_MODELS") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models"),
    };
    assert!(
        directory.join("all-MiniLM-L6-v2/model.safetensors").is_file(),
        "no model all-MiniLM-L6-v2 under {}: run the set-up, or set AUTOVECTOR_TEST_MODELS to a directory that has it",
        directory.display()
    );
    directory
}

pub fn surroundings(directory: Option<&Path>, threads: usize) -> Surroundings {
    Surroundings {
        local_model_directory: directory.map(Path::to_owned),
        local_threads: threads,
        connect_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(1),
        allowed_endpoints: Vec::new(),
        secrets: Arc::new(|_| None),
    }
}

pub fn open(directory: &Path, model: &str) -> Result<Arc<dyn Embedder>, Failure> {
    let config = Local { model: model.to_owned(), dimensions: None };
    local::open(&config, &surroundings(Some(directory), 2))
}

pub fn embed(embedder: &Arc<dyn Embedder>, texts: &[&str]) -> Embeddings {
    let answer = embedder.embed(texts, Purpose::Document).expect("vectors");
    assert_eq!(answer.count(), texts.len());
    assert_eq!(Some(answer.dimensions), embedder.dimensions());
    answer
}

/// The message and hint of a failure, which must blame the configuration.
#[track_caller]
pub fn config_failure<T>(result: Result<T, Failure>) -> (String, String) {
    match result {
        Err(Failure::Config { message, hint }) => (message, hint.unwrap_or_default()),
        Err(other) => panic!("not a configuration failure: {other:?}"),
        Ok(_) => panic!("no failure"),
    }
}

pub fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A tensor to be written: name, type as safetensors calls it, shape, bytes.
pub type Tensor = (String, &'static str, Vec<usize>, Vec<u8>);

pub fn f32_tensor(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    assert_eq!(shape.iter().product::<usize>(), values.len());
    (name.to_owned(), "F32", shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A safetensors file; `odd` puts the data at an odd address.
pub fn safetensors(tensors: &[Tensor], odd: bool) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut data = Vec::new();
    for (name, kind, shape, bytes) in tensors {
        let end = data.len() + bytes.len();
        header
            .insert(name.clone(), json!({"dtype": kind, "shape": shape, "data_offsets": [data.len(), end]}));
        data.extend_from_slice(bytes);
    }
    let mut header = serde_json::to_vec(&Value::Object(header)).unwrap();
    while !header.len().is_multiple_of(8) {
        header.push(b' ');
    }
    if odd {
        header.push(b' ');
    }
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// A tiny encoder with the made-up weights that `tests/data/families.py` describes.
pub struct Tiny {
    pub config: Value,
    pub tensors: Vec<Tensor>,
    pub tokenizer: Value,
    /// Other files: name, content.
    pub files: Vec<(&'static str, Value)>,
    pub odd: bool,
}

impl Tiny {
    pub fn new(family: &str) -> Self {
        let all: Value = serde_json::from_slice(&data("families.json")).unwrap();
        let family = &all["families"][family];
        let tensors = family["tensors"].as_object().unwrap().iter().map(|(name, shape)| {
            let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
            f32_tensor(name, &shape, &made_up(name, shape.iter().product()))
        });
        Tiny {
            config: family["config"].clone(),
            tensors: tensors.collect(),
            tokenizer: tokenizer(50),
            files: vec![(
                "modules.json",
                json!([{"path": "", "type": "sentence_transformers.models.Transformer"}]),
            )],
            odd: false,
        }
    }

    /// Writes the directory `tiny` under a new temporary one.
    pub fn write(&self) -> TempDir {
        let directory = TempDir::new().unwrap();
        let home = directory.path().join("tiny");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("config.json"), self.config.to_string()).unwrap();
        fs::write(home.join("tokenizer.json"), self.tokenizer.to_string()).unwrap();
        fs::write(home.join("model.safetensors"), safetensors(&self.tensors, self.odd)).unwrap();
        for (name, content) in &self.files {
            let path = home.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content.to_string()).unwrap();
        }
        directory
    }
}

fn made_up(name: &str, count: usize) -> Vec<f32> {
    let start = f64::from(name.bytes().map(u32::from).sum::<u32>() % 97);
    let norm = name.ends_with("LayerNorm.weight") || name.ends_with("layer_norm.weight");
    let wave = (0..count).map(|i| (start + 0.7 * i as f64 + 0.013 * (i * i) as f64).sin());
    wave.map(|w| (if norm { 1.0 + 0.1 * w } else { 0.35 * w }) as f32).collect()
}

/// A tokenizer of whole words: "t5" is token 5; 0 begins a text, 2 ends it, 1 is padding.
pub fn tokenizer(words: usize) -> Value {
    let vocabulary: serde_json::Map<String, Value> =
        (0..words).map(|n| (format!("t{n}"), json!(n))).collect();
    json!({
        "version": "1.0", "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 1,
            "pad_type_id": 0, "pad_token": "t1"},
        "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "t0", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "t2", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"t0": {"id": "t0", "ids": [0], "tokens": ["t0"]},
                "t2": {"id": "t2", "ids": [2], "tokens": ["t2"]}}},
        "decoder": null, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "t3"}
    })
}

/// The text whose tokens are `ids`, without the first and last, which the tokenizer adds.
pub fn text_of(ids: &Value) -> String {
    let ids: Vec<u32> = serde_json::from_value(ids.clone()).unwrap();
    ids[1..ids.len() - 1].iter().map(|id| format!("t{id}")).collect::<Vec<_>>().join(" ")
}
