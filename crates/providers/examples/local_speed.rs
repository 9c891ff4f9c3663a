//! Measures a local model: `cargo run --release -p autovector-providers --example local_speed --
//! <directory with models> [model] [seconds]`. Prints one line per measurement; run it twice
//! and believe the texts per processor-second, which other load on the machine changes least.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use autovector_domain::config::Local;
use autovector_providers::{Embedder, Purpose, Surroundings, local};

const WORDS: [&str; 24] = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school",
    "state", "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week",
    "company",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().expect("the directory with models"));
    let model = arguments.next().unwrap_or_else(|| "all-MiniLM-L6-v2".to_owned());
    let seconds = arguments.next().map_or(3.0, |s| s.parse().expect("seconds"));

    let info = local::describe(&directory, &model).expect("the model");
    println!("{model}: {info:?}");
    report_memory("before loading");
    let start = Instant::now();
    let embedder = open(&directory, &model, 1);
    println!("load: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    report_memory("after loading");

    let query = [text(8, 1)];
    let query: Vec<&str> = query.iter().map(String::as_str).collect();
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let start = Instant::now();
            embedder.embed(&query, Purpose::Query).expect("a vector");
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("one query of 10 tokens: median {:.2} ms, 95 % {:.2} ms", times[100], times[190]);
    drop(embedder);

    let same: Vec<String> = (0..128).map(|n| text(126, n)).collect();
    // Most texts are short, some fill the model.
    let mixed: Vec<String> = (0..256).map(|n| text(4 + (n * 37 % 61) * (n * 17 % 5), n)).collect();
    let short: Vec<String> = (0..512).map(|n| text(6 + n % 10, n)).collect();
    for threads in [1, 2] {
        let embedder = open(&directory, &model, threads);
        for (name, texts) in [("128 tokens", &same), ("mixed", &mixed), ("short", &short)] {
            measure(name, &embedder, texts, threads, Duration::from_secs_f64(seconds));
        }
        report_memory("after running");
    }
}

fn open(directory: &std::path::Path, model: &str, threads: usize) -> Arc<dyn Embedder> {
    let surroundings = Surroundings {
        local_model_directory: Some(directory.to_owned()),
        local_threads: threads,
        connect_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(1),
        allowed_endpoints: Vec::new(),
        secrets: Arc::new(|_| None),
    };
    local::open(&Local { model: model.to_owned(), dimensions: None }, &surroundings).expect("the model opens")
}

/// Embeds `texts` in requests as large as the provider allows, over and over.
fn measure(name: &str, embedder: &Arc<dyn Embedder>, texts: &[String], threads: usize, for_time: Duration) {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let per_request = embedder.limits().inputs.min(texts.len());
    let requests: Vec<&[&str]> = texts.chunks(per_request).collect();
    let (done, tokens, next) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let (start, processor) = (Instant::now(), processor_seconds());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while start.elapsed() < for_time {
                    let request = requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()];
                    let answer = embedder.embed(request, Purpose::Document).expect("vectors");
                    done.fetch_add(answer.count(), Ordering::Relaxed);
                    tokens.fetch_add(answer.tokens as usize, Ordering::Relaxed);
                }
            });
        }
    });
    let (wall, processor) = (start.elapsed().as_secs_f64(), processor_seconds() - processor);
    let (done, tokens) = (done.into_inner() as f64, tokens.into_inner() as f64);
    println!(
        "{name}, {threads} thread(s): {:.1} texts/s, {:.1} texts per processor-second, {:.0} tokens/s, request {:.0} ms",
        done / wall,
        done / processor,
        tokens / wall,
        wall * threads as f64 * per_request as f64 / done * 1e3
    );
}

/// `words` words, others for each `seed`.
fn text(words: usize, seed: usize) -> String {
    let mut state = seed as u64 * 2_654_435_761 + 12_345;
    let word = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 33) as usize % WORDS.len()]
    };
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

fn report_memory(when: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status
        .lines()
        .filter(|l| ["VmRSS", "RssAnon", "RssFile", "Threads"].iter().any(|k| l.starts_with(k)));
    println!(
        "{when}: {}",
        lines.map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
    );
}

fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
