//! Case `local-model`: texts a second of the model that runs inside the worker, through a whole
//! vectorizer, with the default number of threads and with one for each processor. Beside it the
//! same model in onnxruntime, which reads and writes no table.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use autovector_cluster_tests::{Sql, paths, process, wait_until};

use crate::{
    python::{self, Wanted},
    report::{Bar, Figure},
    workbench::{self, Order},
};

const TEXTS: usize = 320;
const ROUNDS: usize = 2;
const ONE_CHUNK: &str = ", chunking => ai.chunking_none()";

/// Each is one token of BERT's English vocabulary; 126 of them and the two that frame a text
/// make 128.
const WORDS: [&str; 42] = [
    "the", "house", "river", "music", "night", "water", "road", "light", "story", "table", "green", "field",
    "morning", "letter", "winter", "island", "garden", "window", "mountain", "bread", "stone", "paper",
    "horse", "doctor", "market", "school", "summer", "ship", "forest", "engine", "village", "silver",
    "bridge", "king", "song", "small", "old", "walks", "under", "with", "from", "into",
];
const WORDS_A_TEXT: usize = 126;
const TOKENS_A_TEXT: f64 = 128.0;
const MODEL: &str = "all-MiniLM-L6-v2";
const STORE: &str = "docs_embedding_store";

const ONNXRUNTIME: Wanted = Wanted {
    name: "onnxruntime",
    probe: "import onnx, onnxruntime, safetensors, tokenizers",
    installs: &[&["onnx<2", "onnxruntime<2", "safetensors", "tokenizers", "numpy"]],
};

pub fn run(order: &Order) -> Vec<Figure> {
    let texts = order.scaled(TEXTS, 160);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let defaults = (processors / 2).max(1);
    let python = python::with(order, &ONNXRUNTIME);
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), (0..texts).map(|id| text(id) + "\0").collect::<String>()).expect("written");
    let mut scene = workbench::scene(workbench::settings());
    scene.db.batch("create table docs (id bigint primary key, body text not null)");
    for id in 0..texts {
        scene.db.exec("insert into docs values ($1, $2)", &[&(id as i64), &text(id)]);
    }
    let mut threads = vec![(defaults, format!("{defaults} thread(s), the default"))];
    if processors != defaults {
        threads.push((processors, format!("{processors} threads")));
    }
    let mut figures = Vec::new();
    for (threads, what) in threads {
        workbench::alter_system(&mut scene.db, "autovector.local_threads", &threads.to_string());
        let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
        for _ in 0..order.scaled(ROUNDS, 1) {
            workbench::vectorize(&mut scene.db, "docs", "ai.embedding_local()", ONE_CHUNK);
            // Loading the model counts on neither side: from the first batch on.
            let mut first: i64 = 0;
            wait_until("the first batch is stored", Duration::from_secs(60), || {
                first = scene.db.one(&format!("select count(*) from {STORE}"), &[]);
                first > 0
            });
            let started = Instant::now();
            workbench::wait(&mut scene.db, "docs");
            ours.rates.push((texts as f64 - first as f64) / started.elapsed().as_secs_f64());
            workbench::expect_rows(&mut scene.db, STORE, texts);
            let worker = *scene.workers().first().expect("the worker is still there");
            ours.memory.push(process::private_memory_kb(worker).expect("it lives") as f64 / 1024.0);
            let vector = format!("select embedding::real[] from {STORE} where id = 0");
            let vector: Vec<f32> = scene.db.one(&vector, &[]);
            scene.db.exec("select ai.drop_vectorizer('docs', drop_all => true)", &[]);
            order.say(&format!("{what}: {:.1} texts/s", ours.rates.last().expect("pushed just now")));
            if let Some(python) = &python {
                let (seconds, memory, other) = onnxruntime(python, file.path(), threads);
                let cosine: f32 = vector.iter().zip(&other).map(|(a, b)| a * b).sum();
                assert!(cosine > 0.9999, "onnxruntime makes another vector: cosine {cosine}");
                theirs.rates.push(texts as f64 / seconds);
                theirs.memory.push(memory);
            }
        }
        figures.extend(report(order, &what, ours, theirs));
    }
    figures
}

#[derive(Default)]
struct Rounds {
    /// Texts a second.
    rates: Vec<f64>,
    /// MB that are the process's own.
    memory: Vec<f64>,
}

fn report(order: &Order, what: &str, ours: Rounds, theirs: Rounds) -> Vec<Figure> {
    let tokens = ours.rates.iter().map(|rate| rate * TOKENS_A_TEXT).collect();
    let texts = Figure::new(order.name, format!("texts of 128 tokens, {what}"), "texts/s", ours.rates);
    let memory = Figure::new(order.name, format!("memory of the worker, {what}"), "MB", ours.memory);
    let tokens = Figure::new(order.name, format!("the same in tokens, {what}"), "tokens/s", tokens);
    if theirs.rates.is_empty() {
        return vec![texts, tokens, memory];
    }
    vec![
        texts.beside(theirs.rates).bar(Bar::RatioAtLeast(1.0)),
        tokens,
        memory.beside(theirs.memory).bar(Bar::RatioAtMost(1.0)),
    ]
}

/// Seconds, MB and the vector of the first text.
fn onnxruntime(python: &Path, texts: &Path, threads: usize) -> (f64, f64, Vec<f32>) {
    let output = Command::new(python)
        .args(["-c", include_str!("local_model.py")])
        .arg(paths::models().join(MODEL))
        .arg(texts)
        .arg(threads.to_string())
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (seconds, kilobytes, vector): (f64, f64, Vec<f32>) =
        serde_json::from_slice(&output.stdout).expect("what the program prints");
    (seconds, kilobytes / 1024.0, vector)
}

/// Text number `seed`, different from all others.
fn text(seed: usize) -> String {
    let mut state = seed as u64;
    let word = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 33) as usize % WORDS.len()]
    };
    (0..WORDS_A_TEXT).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn texts_differ_and_have_the_same_number_of_words() {
        let texts: HashSet<String> = (0..1000).map(text).collect();
        assert_eq!(texts.len(), 1000);
        assert!(texts.iter().all(|text| text.split(' ').count() == WORDS_A_TEXT));
    }
}
