//! Megabytes a second of the chunkers, without PostgreSQL: `cargo run --release --example
//! chunk_speed FILE`, with a file of texts that a zero byte ends each (the benchmark `chunking`
//! of the cluster tests writes such texts, and measures the SQL functions against LangChain's).

use std::time::Instant;

use autovector_domain::{chunking::Chunker, config::Chunking};

fn main() {
    let path = std::env::args().nth(1).expect("a file");
    let text = std::fs::read_to_string(path).expect("texts in UTF-8");
    let texts: Vec<&str> = text.split_terminator('\0').collect();
    for (name, chunking) in [
        ("recursive", Chunking::recursive(800, 400, &Chunking::DEFAULT_SEPARATORS, false)),
        ("character", Chunking::character(800, 400, Chunking::DEFAULT_SEPARATOR, false)),
        ("markdown", Chunking::markdown(800, 100)),
        ("sentence", Chunking::sentence(800, 100)),
        ("token", Chunking::token(256, 32, "cl100k_base")),
    ] {
        let chunker = Chunker::new(&chunking.expect("sizes")).expect("separators");
        let (mut chunks, mut characters) = (0, 0);
        let began = Instant::now();
        for text in &texts {
            let found = chunker.chunk(text).expect("chunks");
            chunks += found.len();
            characters += found.iter().map(|chunk| chunk.chars().count()).sum::<usize>();
        }
        let speed = text.len() as f64 / 1e6 / began.elapsed().as_secs_f64();
        println!("{name}: {speed:.0} MB/s, {chunks} chunks, {characters} characters");
    }
}
