//! all-MiniLM-L6-v2 against `tests/data/minilm.json`.

use std::sync::Arc;

use autovector_domain::config::Local;
use autovector_providers::{Embedder, Purpose, local};
use serde_json::Value;

use crate::support::{
    config_failure, cosine, data, embed, floats, largest_difference, models, open, surroundings,
};

const MODEL: &str = "all-MiniLM-L6-v2";

struct Case {
    text: String,
    tokens: u64,
    vector: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let all: Vec<Value> = serde_json::from_slice(&data("minilm.json")).unwrap();
    let case = |case: &Value| Case {
        text: case["text"].as_str().unwrap().to_owned(),
        tokens: case["tokens"].as_u64().unwrap(),
        vector: floats(&case["vector"]),
    };
    all.iter().map(case).collect()
}

fn minilm() -> Arc<dyn Embedder> {
    open(&models(), MODEL).expect("the model opens")
}

#[test]
fn agrees_with_the_reference_on_every_text() {
    let (model, cases) = (minilm(), cases());
    assert!(cases.len() >= 12);
    for case in &cases {
        let answer = embed(&model, &[&case.text]);
        assert_eq!(answer.tokens, case.tokens, "{:?}", case.text);
        let (cosine, difference) =
            (cosine(answer.vector(0), &case.vector), largest_difference(answer.vector(0), &case.vector));
        assert!(cosine > 0.999_999, "{:?}: cosine {cosine}", case.text);
        assert!(difference < 2e-6, "{:?}: {difference}", case.text);
    }
}

#[test]
fn a_vector_is_the_same_bit_for_bit_whatever_its_neighbours() {
    let model = minilm();
    let words = "the elephant walks over a bridge and remembers every river it has ever seen".split(' ');
    let words: Vec<&str> = words.collect();
    // Lengths that meet in one batch, and lengths that do not.
    let mut texts: Vec<String> = (0..40)
        .map(|n| words.iter().cycle().skip(n).take(1 + n * n % 97).copied().collect::<Vec<_>>().join(" "))
        .collect();
    texts.extend(cases().into_iter().map(|case| case.text));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let alone: Vec<Vec<f32>> = texts.iter().map(|text| embed(&model, &[text]).values).collect();
    let together = embed(&model, &texts);
    let backwards: Vec<&str> = texts.iter().rev().copied().collect();
    let backwards = embed(&model, &backwards);
    for (at, one) in alone.iter().enumerate() {
        assert_eq!(bits(one), bits(together.vector(at)), "{:?}", texts[at]);
        assert_eq!(bits(one), bits(backwards.vector(texts.len() - 1 - at)), "{:?}", texts[at]);
    }
}

fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn characters_that_nobody_sees_do_not_count() {
    let model = minilm();
    let plain = embed(&model, &["postgres keeps embeddings in step"]).values;
    for hidden in [
        "post\u{200b}gres keeps em\u{200d}beddings in step",
        "postgres\u{7f} keeps\u{1} embeddings in\u{ad} step\u{feff}",
        "postgres\tkeeps\nembeddings\u{a0}in\u{3000}step",
        "PostGres  Keeps  Embeddings  In  Step ",
    ] {
        assert_eq!(embed(&model, &[hidden]).values, plain, "{hidden:?}");
    }
    assert_ne!(embed(&model, &["postgres keeps embeddings out of step"]).values, plain);
}

#[test]
fn a_long_text_is_cut_where_the_model_ends_and_quickly() {
    let model = minilm();
    let words = |n: usize| {
        (0..n).map(|i| ["river", "stone", "cloud", "lantern"][i * i % 4]).collect::<Vec<_>>().join(" ")
    };
    let exact = embed(&model, &[&words(254)]);
    assert_eq!(exact.tokens, 256);
    assert_eq!((model.longest(), exact.cut), (Some(256), vec![]));
    let spaces = format!("{}{}", words(254), " ".repeat(9_000_000));
    for (longer, cut) in [(words(255), true), (words(5_000), true), (words(300_000), true), (spaces, false)] {
        let answer = embed(&model, &[&longer]);
        assert_eq!(answer.tokens, 256);
        assert_eq!(answer.values, exact.values);
        assert_eq!(!answer.cut.is_empty(), cut, "nothing is lost with white space");
    }
    assert_eq!(embed(&model, &["river", &words(300), "stone"]).cut, [1]);
    // No word ends anywhere near: one unknown word, whatever its length.
    let unbroken = embed(&model, &[&"x".repeat(9_000_000)]);
    assert_eq!(unbroken.tokens, 3);
    // Characters that are words by themselves, without white space.
    let unspaced = embed(&model, &[&"東京都".repeat(500_000)]);
    assert_eq!(unspaced.values, embed(&model, &[&"東京都".repeat(100)]).values);
    // White space first: the words come after the first piece that is looked at.
    let late = format!("{}a lantern", " ".repeat(100_000));
    assert_eq!(embed(&model, &[&late]).values, embed(&model, &["a lantern"]).values);
}

#[test]
fn says_what_it_is_before_and_after_loading() {
    let info = local::describe(&models(), MODEL).unwrap();
    assert_eq!(info.dimensions, 384);
    assert_eq!(info.max_tokens, 256);
    assert_eq!(info.kind, local::ModelKind::Transformer);
    let model = minilm();
    assert_eq!(model.dimensions(), Some(384));
    assert_eq!(model.default_concurrency(), 2);
    assert!(model.limits().inputs >= 8 && model.limits().tokens >= 1024);
    let nothing = model.embed(&[], Purpose::Query).unwrap();
    assert_eq!((nothing.count(), nothing.dimensions, nothing.tokens), (0, 384, 0));
}

#[test]
fn refuses_dimensions_that_are_not_the_models() {
    let open = |dimensions| {
        let config = Local { model: MODEL.to_owned(), dimensions: Some(dimensions) };
        local::open(&config, &surroundings(Some(&models()), 1))
    };
    assert!(open(384).is_ok());
    let (message, _) = config_failure(open(768));
    assert!(message.contains("384") && message.contains("768"), "{message}");
}
