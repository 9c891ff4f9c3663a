//! Static models: a made-up vocabulary and vectors, against means computed by hand.

use std::{fs, path::PathBuf, time::Instant};

use autovector_providers::local;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Tensor, config_failure, embed, f32_tensor, largest_difference, open, safetensors};

/// Five words of three dimensions; 0 is for unknown words.
const WORDS: [&str; 5] = ["[UNK]", "red", "green", "blue", "##ish"];
const VECTORS: [f32; 15] = [9.0, 9.0, 9.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 4.0, 3.0, 3.0, -1.0];

fn tokenizer() -> Value {
    let vocabulary: serde_json::Map<String, Value> =
        WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary}
    })
}

struct Files {
    config: Value,
    tensors: Vec<Tensor>,
    folder: &'static str,
}

impl Files {
    fn new(config: Value) -> Self {
        Files { config, tensors: vec![f32_tensor("embeddings", &[5, 3], &VECTORS)], folder: "" }
    }

    fn write(&self) -> TempDir {
        let directory = TempDir::new().unwrap();
        let home: PathBuf = directory.path().join("static");
        fs::create_dir_all(home.join(self.folder)).unwrap();
        fs::write(home.join("config.json"), self.config.to_string()).unwrap();
        fs::write(home.join(self.folder).join("tokenizer.json"), tokenizer().to_string()).unwrap();
        fs::write(home.join(self.folder).join("model.safetensors"), safetensors(&self.tensors, false))
            .unwrap();
        directory
    }

    fn embed(&self, text: &str) -> Vec<f32> {
        let directory = self.write();
        embed(&open(directory.path(), "static").unwrap(), &[text]).values
    }
}

fn model2vec() -> Value {
    json!({"model_type": "model2vec", "normalize": false, "hidden_dim": 3})
}

#[test]
fn a_text_is_the_mean_of_its_known_words() {
    let model = Files::new(model2vec());
    assert_eq!(model.embed("red"), [1.0, 0.0, 0.0]);
    assert_eq!(model.embed("Red GREEN"), [0.5, 1.0, 0.0]);
    assert_eq!(model.embed("red red green blue"), [0.5, 0.5, 1.0]);
    assert_eq!(model.embed("redish blue"), [4.0 / 3.0, 1.0, 1.0]);
    assert_eq!(model.embed("red unheard-of green"), [0.5, 1.0, 0.0], "unknown words are left out");
    assert_eq!(model.embed(""), [0.0; 3]);
    assert_eq!(model.embed("nothing known here"), [0.0; 3]);
}

#[test]
fn it_is_normalised_when_the_configuration_says_so() {
    let model = Files::new(json!({"model_type": "model2vec", "normalize": true}));
    let root = 5f32.sqrt();
    assert!(largest_difference(&model.embed("red green"), &[1.0 / root, 2.0 / root, 0.0]) < 1e-7);
    assert_eq!(model.embed("unheard"), [0.0; 3], "nothing to normalise");
}

#[test]
fn words_may_share_rows_and_have_weights() {
    let mut model = Files::new(model2vec());
    // Three rows for five words.
    model.tensors = vec![
        f32_tensor("embeddings", &[3, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
        (
            "mapping".to_owned(),
            "I64",
            vec![5],
            [0i64, 1, 1, 2, 0].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        f32_tensor("weights", &[5], &[1.0, 2.0, 4.0, 0.5, 1.0]),
    ];
    // red = 2 * row 1, green = 4 * row 1, blue = 0.5 * row 2.
    assert_eq!(model.embed("red green blue blue"), [0.0, 1.5, 0.25]);
    model.tensors[1] = (
        "mapping".to_owned(),
        "I32",
        vec![5],
        [0i32, 1, 1, 3, 0].iter().flat_map(|v| v.to_le_bytes()).collect(),
    );
    let home = model.write();
    let (message, _) = config_failure(open(home.path(), "static"));
    assert!(message.contains("mapping"), "{message}");
}

#[test]
fn vectors_may_be_small_numbers() {
    let mut model = Files::new(model2vec());
    let halves = VECTORS.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    model.tensors = vec![("embeddings".to_owned(), "F16", vec![5, 3], halves)];
    assert_eq!(model.embed("red green"), [0.5, 1.0, 0.0]);
    let bytes: Vec<u8> = VECTORS.iter().map(|v| *v as i8 as u8).collect();
    model.tensors = vec![("embeddings".to_owned(), "I8", vec![5, 3], bytes)];
    assert_eq!(model.embed("redish blue"), [4.0 / 3.0, 1.0, 1.0]);
    model.tensors.push(f32_tensor("scales", &[5], &[1.0, 0.5, 1.0, 1.0, 1.0]));
    assert_eq!(model.embed("red green"), [0.25, 1.0, 0.0]);
    model.tensors[1] = f32_tensor("scale", &[1], &[0.5]);
    assert_eq!(model.embed("red green"), [0.25, 0.5, 0.0]);
}

#[test]
fn it_is_recognised_without_being_told() {
    let mut model = Files::new(json!({"normalize": false}));
    model.tensors[0].0 = "embedding.weight".to_owned();
    for folder in ["", "0_StaticEmbedding"] {
        model.folder = folder;
        let home = model.write();
        let info = local::describe(home.path(), "static").unwrap();
        assert_eq!((info.dimensions, info.max_tokens, info.kind), (3, 512, local::ModelKind::Static));
        assert_eq!(model.embed("red green"), [0.5, 1.0, 0.0]);
    }
}

#[test]
fn long_texts_are_cut_at_the_configured_length() {
    let text = format!("{}blue", "red ".repeat(600));
    assert_eq!(Files::new(model2vec()).embed(&text), [1.0, 0.0, 0.0]);
    let mut config = model2vec();
    config["max_length"] = json!(null);
    let all = Files::new(config.clone()).embed(&text);
    assert!(largest_difference(&all, &[600.0 / 601.0, 0.0, 4.0 / 601.0]) < 1e-6);
    config["max_length"] = json!(10);
    assert_eq!(Files::new(config).embed("red red red red red red red red red red blue"), [1.0, 0.0, 0.0]);
}

#[test]
fn damaged_ones_are_refused() {
    let refused = |tensors: Vec<Tensor>| {
        let mut model = Files::new(model2vec());
        model.tensors = tensors;
        let home = model.write();
        config_failure(open(home.path(), "static")).0
    };
    assert!(refused(vec![]).contains("no table of vectors"));
    assert!(refused(vec![f32_tensor("embeddings", &[15], &VECTORS)]).contains("no table of vectors"));
    // Fewer rows than words, no dimension at all.
    assert!(refused(vec![f32_tensor("embeddings", &[3, 3], &VECTORS[..9])]).contains("tokenizer.json"));
    assert!(refused(vec![f32_tensor("embeddings", &[5, 0], &[])]).contains("dimensions"));
    let table = f32_tensor("embeddings", &[5, 3], &VECTORS);
    assert!(refused(vec![table.clone(), f32_tensor("weights", &[2], &[1.0, 1.0])]).contains("weights"));
    assert!(refused(vec![table.clone(), f32_tensor("scales", &[2], &[1.0, 1.0])]).contains("scales"));
    assert!(refused(vec![table, f32_tensor("mapping", &[5], &[0.0; 5])]).contains("mapping"));
    let words = ("embeddings".to_owned(), "I64", vec![5, 3], vec![0; 15 * 8]);
    assert!(refused(vec![words]).contains("I64"));
}

#[test]
fn ten_thousand_short_texts_take_less_than_a_second() {
    let home = Files::new(model2vec()).write();
    let model = open(home.path(), "static").unwrap();
    let texts: Vec<String> = (0..10_000).map(|n| format!("red green blue {n} redish blue")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let start = Instant::now();
    for request in texts.chunks(model.limits().inputs) {
        embed(&model, request);
    }
    // A build without optimisation of this crate on a busy machine needs a fifth of this.
    assert!(start.elapsed().as_secs_f64() < 5.0, "{:?}", start.elapsed());
}
