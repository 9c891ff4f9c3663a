//! Directories that are not what they seem: every one is a configuration failure that names the
//! file, and none is a panic.

use std::{fs, path::Path};

use autovector_domain::failure::Failure;
use autovector_providers::{Purpose, local};
use serde_json::json;

use crate::support::{Tiny, config_failure, f32_tensor, open, safetensors, tokenizer};

/// Opens the model that `change` made of a good one, and gives the failure's message.
fn broken(change: impl FnOnce(&mut Tiny), after: impl FnOnce(&Path)) -> String {
    let mut tiny = Tiny::new("bert");
    change(&mut tiny);
    let home = tiny.write();
    after(&home.path().join("tiny"));
    config_failure(open(home.path(), "tiny")).0
}

#[test]
fn a_missing_file_is_named() {
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let message = broken(|_| {}, |home| fs::remove_file(home.join(file)).unwrap());
        assert!(message.contains(file), "{message}");
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let home = Tiny::new("bert").write();
    let path = home.path().join("tiny/model.safetensors");
    let whole = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [0, 1, 7, 8, 9, header - 1, header, header + 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let (message, _) = config_failure(open(home.path(), "tiny"));
        assert!(message.contains("model.safetensors"), "{length}: {message}");
        config_failure(local::describe(home.path(), "tiny"));
    }
    fs::write(&path, &whole).unwrap();
    assert!(open(home.path(), "tiny").is_ok());
}

#[test]
fn a_missing_or_misshapen_tensor_is_named() {
    let name = "encoder.layer.1.output.dense.weight";
    let message = broken(|tiny| tiny.tensors.retain(|(n, ..)| n != name), |_| {});
    assert!(message.contains(name), "{message}");
    let turned = |tiny: &mut Tiny| {
        let tensor = tiny.tensors.iter_mut().find(|(n, ..)| n == name).unwrap();
        tensor.2 = vec![40, 24];
    };
    let message = broken(turned, |_| {});
    assert!(message.contains(name) && message.contains("[40, 24], not [24, 40]"), "{message}");
    let message = broken(|tiny| tiny.config["num_hidden_layers"] = json!(3), |_| {});
    assert!(message.contains("encoder.layer.2"), "{message}");
    let message = broken(|tiny| tiny.config["vocab_size"] = json!(51), |_| {});
    assert!(message.contains("word_embeddings"), "{message}");
    let message = broken(|tiny| tiny.tensors.clear(), |_| {});
    assert!(message.contains("word_embeddings"), "{message}");
}

#[test]
fn impossible_sizes_are_refused_before_anything_is_allocated() {
    for (key, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(-24)),
        ("hidden_size", json!("24")),
        ("hidden_size", json!(u64::MAX)),
        ("num_attention_heads", json!(5)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("vocab_size", json!(null)),
        ("max_position_embeddings", json!(1u64 << 60)),
        ("pad_token_id", json!(50)),
    ] {
        let message = broken(|tiny| tiny.config[key] = value.clone(), |_| {});
        assert!(message.contains("config.json"), "{key}: {message}");
    }
    // A text must hold more than the special tokens.
    broken(|tiny| tiny.files.push(("sentence_bert_config.json", json!({"max_seq_length": 1}))), |_| {});
}

#[test]
fn headers_that_lie_are_refused() {
    let lies = [
        json!({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}),
        json!({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}),
        json!({"a": {"dtype": "F32", "shape": [u64::MAX, 4], "data_offsets": [0, 8]}}),
        json!({"a": {"dtype": "F32", "shape": [1u64 << 62], "data_offsets": [0, 1u64 << 63]}}),
        json!({"a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}}),
        json!({"a": {"dtype": "F32", "shape": [2]}}),
        json!({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}}),
        json!(["a"]),
    ];
    for lie in lies {
        let header = lie.to_string();
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
        let message = broken(|_| {}, |home| fs::write(home.join("model.safetensors"), &file).unwrap());
        assert!(message.contains("is damaged") || message.contains("cut short"), "{lie}: {message}");
    }
    for length in [u64::MAX, 1 << 40, 17] {
        let file = [&length.to_le_bytes()[..], b"{}      ", &[0; 8]].concat();
        let message = broken(|_| {}, |home| fs::write(home.join("model.safetensors"), &file).unwrap());
        assert!(message.contains("is damaged"), "{message}");
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let message = broken(|tiny| tiny.tokenizer = tokenizer(51), |_| {});
    assert!(message.contains("tokenizer.json") && message.contains("51"), "{message}");
    for junk in [&b""[..], b"{}", b"null", b"\xff\xfe", br#"{"version":"1.0","model":{"type":"WordLevel"}}"#]
    {
        let message = broken(|_| {}, |home| fs::write(home.join("tokenizer.json"), junk).unwrap());
        assert!(message.contains("tokenizer.json"), "{message}");
    }
    // As few tokens, but one with a number beyond the table.
    let mut sparse = tokenizer(50);
    sparse["model"]["vocab"]["t49"] = json!(4_000);
    let mut tiny = Tiny::new("bert");
    tiny.tokenizer = sparse;
    let home = tiny.write();
    let model = open(home.path(), "tiny").unwrap();
    let (message, _) = config_failure(model.embed(&["t5 t49"], Purpose::Document));
    assert!(message.contains("4000"), "{message}");
    assert!(model.embed(&["t5"], Purpose::Document).is_ok(), "other texts go on");
}

#[test]
fn weights_that_are_no_numbers_are_found_when_the_model_opens() {
    let poison = |tiny: &mut Tiny| {
        let tensor =
            tiny.tensors.iter_mut().find(|(n, ..)| n == "encoder.layer.0.output.dense.bias").unwrap();
        *tensor = f32_tensor(&tensor.0.clone(), &[24], &[f32::NAN; 24]);
    };
    let message = broken(poison, |_| {});
    assert!(message.contains("not finite"), "{message}");
    // Only one word is spoilt: only texts with it are refused.
    let mut tiny = Tiny::new("bert");
    let (.., bytes) = tiny.tensors.iter_mut().find(|(n, ..)| n.contains("word_embeddings")).unwrap();
    bytes[7 * 24 * 4..8 * 24 * 4].fill(0xff);
    let home = tiny.write();
    let model = open(home.path(), "tiny").unwrap();
    assert!(matches!(model.embed(&["t7"], Purpose::Document), Err(Failure::Input { .. })));
    assert!(model.embed(&["t8"], Purpose::Document).is_ok());
}

#[test]
fn any_flipped_byte_is_survived() {
    let tiny = Tiny::new("bert");
    let home = tiny.write();
    let tiny_home = home.path().join("tiny");
    let good = safetensors(&tiny.tensors, false);
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let mut outcomes = [0, 0];
    for (file, length) in
        [("model.safetensors", header), ("config.json", usize::MAX), ("tokenizer.json", usize::MAX)]
    {
        let path = tiny_home.join(file);
        let good = fs::read(&path).unwrap();
        let length = length.min(good.len());
        for at in (0..length).step_by(length.div_ceil(150)) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            // Either it still is a model, or the configuration is to blame.
            match open(home.path(), "tiny").map(|model| model.embed(&["t5 t6"], Purpose::Document)) {
                Ok(_) => outcomes[0] += 1,
                Err(Failure::Config { .. }) => outcomes[1] += 1,
                Err(other) => panic!("{file} byte {at}: {other:?}"),
            }
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(outcomes[0] > 0 && outcomes[1] > 100, "{outcomes:?}");
}
