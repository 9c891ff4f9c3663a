//! Every family of encoders against `tests/data/families.json`, and what the files around the
//! weights may say.

use std::fs;

use autovector_providers::{Purpose, local};
use serde_json::{Value, json};

use crate::support::{
    Tensor, Tiny, config_failure, cosine, data, embed, floats, largest_difference, open, text_of,
};

const FAMILIES: [&str; 5] = ["bert", "bert-tanh", "roberta", "distilbert", "mpnet"];

fn texts() -> Vec<String> {
    let all: Value = serde_json::from_slice(&data("families.json")).unwrap();
    all["texts"].as_array().unwrap().iter().map(text_of).collect()
}

fn expected(family: &str) -> Vec<Vec<f32>> {
    let all: Value = serde_json::from_slice(&data("families.json")).unwrap();
    all["families"][family]["vectors"].as_array().unwrap().iter().map(floats).collect()
}

/// The vectors of all texts in one request.
fn vectors(tiny: &Tiny) -> Vec<Vec<f32>> {
    let home = tiny.write();
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let answer = embed(&open(home.path(), "tiny").unwrap(), &texts);
    (0..answer.count()).map(|at| answer.vector(at).to_vec()).collect()
}

#[track_caller]
fn assert_close(found: &[Vec<f32>], expected: &[Vec<f32>], most: f32) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = largest_difference(found, expected);
        assert!(difference < most, "text {at}: {difference}");
    }
}

#[test]
fn every_family_agrees_with_its_reference() {
    for family in FAMILIES {
        println!("{family}");
        assert_close(&vectors(&Tiny::new(family)), &expected(family), 1e-5);
    }
    // The test could not tell the two activations apart if this were smaller than that.
    assert!(largest_difference(&expected("bert")[0], &expected("bert-tanh")[0]) > 1e-4);
}

#[test]
fn a_checkpoint_may_use_a_prefix_and_the_old_names_of_norms() {
    let mut tiny = Tiny::new("bert");
    for (name, ..) in &mut tiny.tensors {
        let old =
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        *name = format!("bert.{old}");
    }
    assert_close(&vectors(&tiny), &expected("bert"), 1e-5);
}

#[test]
fn weights_may_lie_at_odd_addresses_and_in_other_precisions() {
    let plain = vectors(&Tiny::new("bert"));
    let mut odd = Tiny::new("bert");
    odd.odd = true;
    assert_eq!(vectors(&odd), plain);
    let mut wide = Tiny::new("bert");
    wide.tensors
        .iter_mut()
        .for_each(|tensor| convert(tensor, "F64", |v| f64::from(v).to_le_bytes().to_vec()));
    assert_eq!(vectors(&wide), plain);
    // Half precision: the last bits differ, the direction does not.
    for (kind, most) in [("F16", 0.999_99), ("BF16", 0.999)] {
        let mut half = Tiny::new("bert");
        half.tensors.iter_mut().for_each(|tensor| {
            convert(tensor, kind, |v| match kind {
                "F16" => half::f16::from_f32(v).to_le_bytes().to_vec(),
                _ => half::bf16::from_f32(v).to_le_bytes().to_vec(),
            })
        });
        for (found, plain) in vectors(&half).iter().zip(&plain) {
            assert_ne!(found, plain);
            assert!(cosine(found, plain) > most, "{kind}: {}", cosine(found, plain));
        }
    }
}

fn convert(tensor: &mut Tensor, kind: &'static str, write: impl Fn(f32) -> Vec<u8>) {
    tensor.1 = kind;
    tensor.3 = tensor.3.as_chunks().0.iter().flat_map(|b| write(f32::from_le_bytes(*b))).collect();
}

#[test]
fn pooling_and_normalisation_are_the_models() {
    let mean = vectors(&Tiny::new("bert"));
    let with = |pooling: Value, normalize: bool| {
        let mut tiny = Tiny::new("bert");
        let mut steps = vec![
            json!({"path": "", "type": "sentence_transformers.models.Transformer"}),
            json!({"path": "pooling", "type": "sentence_transformers.models.Pooling"}),
        ];
        if normalize {
            steps.push(json!({"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}));
        }
        tiny.files = vec![("modules.json", json!(steps)), ("pooling/config.json", pooling)];
        vectors(&tiny)
    };
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let first = with(json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}), false);
    let most = with(json!({"pooling_mode_max_tokens": true}), false);
    let root = with(json!({"pooling_mode_mean_sqrt_len_tokens": true}), false);
    let normal = with(json!({"pooling_mode": "mean", "word_embedding_dimension": 24}), true);
    for at in 0..mean.len() {
        assert_ne!(first[at], mean[at]);
        assert!(most[at].iter().zip(&mean[at]).all(|(most, mean)| most >= mean));
        let tokens = texts()[at].split_whitespace().count() + 2;
        let scaled: Vec<f32> = mean[at].iter().map(|v| v * (tokens as f32).sqrt()).collect();
        assert!(largest_difference(&root[at], &scaled) < 1e-4);
        assert!((length(&normal[at]) - 1.0).abs() < 1e-6);
        assert!(cosine(&normal[at], &mean[at]) > 0.999_999);
    }
    // Without any of these files: mean and normalised.
    let mut bare = Tiny::new("bert");
    bare.files.clear();
    assert_eq!(vectors(&bare), normal);
}

#[test]
fn a_text_of_one_token_has_the_same_vector_in_any_company() {
    for family in FAMILIES {
        let mut tiny = Tiny::new(family);
        tiny.tokenizer["post_processor"] = Value::Null;
        let home = tiny.write();
        let model = open(home.path(), "tiny").unwrap();
        let alone = embed(&model, &["t5"]);
        assert_eq!(alone.tokens, 1);
        let beside = embed(&model, &["t6 t7 t8", "t5", ""]);
        assert_eq!(beside.vector(1), alone.vector(0), "{family}");
        assert!(beside.vector(2).iter().all(|v| *v == 0.0), "a text without tokens has the zero vector");
    }
}

#[test]
fn a_prompt_stands_before_the_texts_that_it_is_for() {
    let mut tiny = Tiny::new("bert");
    tiny.files
        .push(("config_sentence_transformers.json", json!({"prompts": {"query": "t9 ", "document": ""}})));
    let home = tiny.write();
    let model = open(home.path(), "tiny").unwrap();
    let embed = |text, purpose| model.embed(&[text], purpose).unwrap();
    assert_eq!(embed("t5", Purpose::Query), embed("t9 t5", Purpose::Document));
    assert_ne!(embed("t5", Purpose::Query), embed("t5", Purpose::Document));
}

#[test]
fn the_longest_text_and_lower_case_are_the_models() {
    let mut tiny = Tiny::new("bert");
    tiny.files.push(("sentence_bert_config.json", json!({"max_seq_length": 12, "do_lower_case": true})));
    let home = tiny.write();
    assert_eq!(local::describe(home.path(), "tiny").unwrap().max_tokens, 12);
    let model = open(home.path(), "tiny").unwrap();
    let cut = embed(&model, &[&"T5 ".repeat(11)]);
    assert_eq!(cut.tokens, 12);
    assert_eq!(cut.values, embed(&model, &[&"t5 ".repeat(10)]).values);
    // RoBERTa has fewer places than rows.
    let roberta = Tiny::new("roberta").write();
    assert_eq!(local::describe(roberta.path(), "tiny").unwrap().max_tokens, 208);
    assert_eq!(embed(&open(roberta.path(), "tiny").unwrap(), &[&"t5 ".repeat(900)]).tokens, 208);
}

#[test]
fn what_would_be_computed_wrongly_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Tiny), wanted: &str| {
        let mut tiny = Tiny::new("bert");
        change(&mut tiny);
        let home = tiny.write();
        let (message, hint) = config_failure(open(home.path(), "tiny"));
        assert!(message.contains(wanted), "{message}");
        config_failure(local::describe(home.path(), "tiny"));
        hint
    };
    let hint = refused(&|t| t.config["model_type"] = json!("gpt2"), "\"gpt2\"");
    assert!(hint.contains("xlm-roberta") && hint.contains("onnx/model.onnx"), "{hint}");
    refused(&|t| t.config["hidden_act"] = json!("mish"), "\"mish\"");
    refused(&|t| t.config["position_embedding_type"] = json!("relative_key"), "relative positions");
    refused(&|t| t.config["is_decoder"] = json!(true), "backwards");
    refused(
        &|t| t.files = vec![("modules.json", json!([{"path": "2_Dense", "type": "x.models.Dense"}]))],
        "\"Dense\"",
    );
    refused(
        &|t| t.files.push(("1_Pooling/config.json", json!({"pooling_mode_weightedmean_tokens": true}))),
        "pooling",
    );
    refused(
        &|t| {
            let two = json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true});
            t.files.push(("1_Pooling/config.json", two));
        },
        "pooling",
    );
    refused(
        &|t| t.files = vec![("modules.json", json!([{"path": "../../etc", "type": "x.Transformer"}]))],
        "outside the model's directory",
    );
}

#[test]
fn the_encoder_may_lie_in_a_folder_of_its_own() {
    let home = Tiny::new("bert").write();
    let tiny = home.path().join("tiny");
    let folder = tiny.join("0_Transformer");
    fs::create_dir(&folder).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::rename(tiny.join(file), folder.join(file)).unwrap();
    }
    let steps = json!([{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]);
    fs::write(tiny.join("modules.json"), steps.to_string()).unwrap();
    let answer = embed(&open(home.path(), "tiny").unwrap(), &[&texts()[1]]);
    assert_close(&[answer.values], &[expected("bert")[1].clone()], 1e-5);
}
