//! Measures what an answer costs the thread that asked for it: `cargo run --release -p
//! autovector-providers --example http_speed -- [dimensions] [inputs] [seconds]`. A server in
//! this process sends prepared answers; the figures are per second of the asking thread's
//! processor time (receiving, reading the JSON, checking), which other load changes least.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use autovector_domain::config::{Embedding, Ollama, OpenAi, Oversize};
use autovector_providers::{Purpose, Surroundings, endpoint::DEFAULT_ALLOWED, open};
use base64::{Engine, engine::general_purpose::STANDARD};
use support::{Server, http};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("a number"));
    let dimensions = arguments.next().unwrap_or(1536);
    let count = arguments.next().unwrap_or(256);
    let seconds = arguments.next().unwrap_or(3) as u64;

    let vectors: Vec<Vec<f32>> = (0..count).map(|seed| vector(seed as u32, dimensions)).collect();
    let list = |write: &dyn Fn(&f32) -> String| {
        vectors.iter().map(|v| format!("[{}]", v.iter().map(write).collect::<Vec<_>>().join(","))).collect()
    };
    let short: Vec<String> = list(&|v| v.to_string());
    let long: Vec<String> = list(&|v| f64::from(*v).to_string());
    let base64 = vectors.iter().map(|v| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    let base64: Vec<String> = base64.map(|bytes| format!("\"{}\"", STANDARD.encode(bytes))).collect();

    measure("openai, base64", openai(&base64), openai_at, (dimensions, count, seconds));
    measure("openai, floats as f32", openai(&short), openai_at, (dimensions, count, seconds));
    measure("openai, floats as f64", openai(&long), openai_at, (dimensions, count, seconds));
    let ollama = format!(r#"{{"model":"m","embeddings":[{}],"prompt_eval_count":1}}"#, short.join(","));
    measure("ollama", ollama, ollama_at, (dimensions, count, seconds));
}

/// Made-up numbers of the size that embeddings have (xorshift).
fn vector(seed: u32, dimensions: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state as f32 / u32::MAX as f32 - 0.5) * 0.1
    };
    (0..dimensions).map(|_| next()).collect()
}

fn openai(vectors: &[String]) -> String {
    let item = |(i, v)| format!(r#"{{"object":"embedding","index":{i},"embedding":{v}}}"#);
    let data: Vec<String> = vectors.iter().enumerate().map(item).collect();
    format!(r#"{{"object":"list","data":[{}],"model":"m","usage":{{"total_tokens":1}}}}"#, data.join(","))
}

fn openai_at(url: String, dimensions: usize) -> Embedding {
    let (dimensions, base_url) = (dimensions as u32, Some(url));
    Embedding::OpenAi(OpenAi {
        model: "m".into(),
        dimensions,
        user: None,
        api_key_name: "K".into(),
        base_url,
        oversize: Oversize::Truncate,
    })
}

fn ollama_at(url: String, dimensions: usize) -> Embedding {
    let (dimensions, base_url) = (dimensions as u32, Some(url));
    Embedding::Ollama(Ollama {
        model: "m".into(),
        dimensions,
        base_url,
        options: None,
        keep_alive: None,
        oversize: Oversize::Truncate,
    })
}

fn measure(
    name: &str,
    answer: String,
    config: fn(String, usize) -> Embedding,
    (dimensions, count, seconds): (usize, usize, u64),
) {
    let size = answer.len();
    let server = Server::start(move |_| http(200, &[], &answer));
    let surroundings = Surroundings {
        local_model_directory: None,
        local_threads: 1,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(60),
        allowed_endpoints: DEFAULT_ALLOWED.map(str::to_owned).to_vec(),
        secrets: Arc::new(|_| None),
    };
    let provider = open(&config(server.url(), dimensions), &surroundings).expect("the provider opens");
    let texts = vec!["a text of some length"; count];
    let ask = || assert_eq!(provider.embed(&texts, Purpose::Document).expect("an answer").count(), count);
    ask();
    let (start, before, mut requests) = (Instant::now(), processor_time(), 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        ask();
        requests += 1;
    }
    let used = (processor_time() - before).as_secs_f64();
    println!(
        "{name:24} {:6} bytes a vector {:7.0} MB/s {:8.0} vectors/s",
        size / count,
        (requests * size) as f64 / used / 1e6,
        (requests * count) as f64 / used,
    );
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    Duration::from_nanos(text.split(' ').next().expect("a first number").parse().expect("nanoseconds"))
}
