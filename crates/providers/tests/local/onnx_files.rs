//! ONNX files as exporters write them, against `tests/data/onnx.json`.

use std::fs;

use autovector_providers::{Purpose, local};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    config_failure, cosine, data, embed, floats, largest_difference, open, text_of, tokenizer,
};

fn directory(file: &str) -> TempDir {
    let home = TempDir::new().unwrap();
    let tiny = home.path().join("tiny");
    fs::create_dir_all(tiny.join("onnx")).unwrap();
    let config =
        json!({"model_type": "any", "hidden_size": 16, "vocab_size": 50, "max_position_embeddings": 40});
    fs::write(tiny.join("config.json"), config.to_string()).unwrap();
    fs::write(tiny.join("tokenizer.json"), tokenizer(50).to_string()).unwrap();
    fs::write(tiny.join("onnx/model.onnx"), data(file)).unwrap();
    home
}

fn cases(file: &str) -> (Vec<String>, Vec<Vec<f32>>) {
    let all: Value = serde_json::from_slice(&data("onnx.json")).unwrap();
    let list = |key: &str| all[key].as_array().unwrap().clone();
    (list("texts").iter().map(text_of).collect(), list(file).iter().map(floats).collect())
}

#[test]
fn an_exported_graph_agrees_with_onnxruntime() {
    let home = directory("tiny.onnx");
    let info = local::describe(home.path(), "tiny").unwrap();
    assert_eq!((info.dimensions, info.max_tokens, info.kind), (16, 40, local::ModelKind::Onnx));
    let (texts, expected) = cases("tiny.onnx");
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let answer = embed(&open(home.path(), "tiny").unwrap(), &texts);
    for (at, expected) in expected.iter().enumerate() {
        assert!(largest_difference(answer.vector(at), expected) < 2e-6);
    }
}

#[test]
fn a_dynamically_quantised_graph_gives_a_text_the_same_vector_in_any_company() {
    let home = directory("tiny-int8.onnx");
    let (texts, expected) = cases("tiny-int8.onnx");
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let model = open(home.path(), "tiny").unwrap();
    let together = embed(&model, &texts);
    for (at, expected) in expected.iter().enumerate() {
        assert_eq!(embed(&model, &[texts[at]]).values, together.vector(at));
        let cosine = cosine(together.vector(at), expected);
        assert!(cosine > 0.999, "{cosine}");
    }
}

#[test]
fn weights_that_can_be_used_come_before_the_onnx_file() {
    let home = crate::support::Tiny::new("bert").write();
    fs::create_dir(home.path().join("tiny/onnx")).unwrap();
    fs::write(home.path().join("tiny/onnx/model.onnx"), data("tiny.onnx")).unwrap();
    assert_eq!(local::describe(home.path(), "tiny").unwrap().kind, local::ModelKind::Transformer);
    fs::remove_file(home.path().join("tiny/model.safetensors")).unwrap();
    assert_eq!(local::describe(home.path(), "tiny").unwrap().kind, local::ModelKind::Onnx);
}

#[test]
fn a_damaged_or_foreign_graph_is_refused() {
    let home = directory("tiny.onnx");
    let path = home.path().join("tiny/onnx/model.onnx");
    let good = data("tiny.onnx");
    for length in [0, 1, 100, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        config_failure(open(home.path(), "tiny"));
    }
    for at in (0..good.len()).step_by(good.len().div_ceil(150)) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        // Whatever it is now, it is no panic; flipped weights still make vectors.
        if let Ok(model) = open(home.path(), "tiny") {
            let answer = model.embed(&["t5 t6"], Purpose::Document);
            assert!(answer.is_ok_and(|answer| answer.values.iter().all(|v| v.is_finite())));
        }
    }
    // Other dimensions than config.json says.
    fs::write(&path, &good).unwrap();
    let config = json!({"hidden_size": 24, "vocab_size": 50, "max_position_embeddings": 40});
    fs::write(home.path().join("tiny/config.json"), config.to_string()).unwrap();
    let (message, _) = config_failure(open(home.path(), "tiny"));
    assert!(message.contains("24"), "{message}");
}
