//! Case `chunking`: cutting 100 MB of text as workers do, in process, against LangChain's splitters
//! in Python, in one run and with the same chunks. The functions of SQL stand beside it: reading a
//! table and returning rows costs them more than the cutting.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use autovector_cluster_tests::{Random, Scene, Sql};
use autovector_domain::{chunking::Chunker, config::Chunking};
use flate2::Crc;
use postgres::Client;

use crate::{
    python::{self, Wanted},
    report::{Bar, Figure},
    stats,
    workbench::{self, Order},
};

const BYTES: usize = 100_000_000;
const ROUNDS: usize = 3;
const LANGCHAIN: Wanted = Wanted {
    name: "langchain",
    probe: "import langchain_text_splitters",
    installs: &[&["langchain-text-splitters==0.3.11"]],
};

/// A chunker; the function of SQL that does the same, and whether LangChain has it.
struct Splitter {
    name: &'static str,
    chunker: Chunker,
    sql: Option<&'static str>,
}

fn splitters() -> [Splitter; 5] {
    let open = |chunking: Result<Chunking, _>| {
        Chunker::new(&chunking.expect("sizes that fit")).expect("separators that can be read")
    };
    let (recursive, character) = (
        Chunking::recursive(800, 400, &Chunking::DEFAULT_SEPARATORS, false),
        Chunking::character(800, 400, Chunking::DEFAULT_SEPARATOR, false),
    );
    [
        Splitter {
            name: "recursive",
            chunker: open(recursive),
            sql: Some(
                "ai.chunk_text_recursively(body, 800, 400, array[E'\\n\\n', E'\\n', '.', '?', '!', ' ', ''])",
            ),
        },
        Splitter {
            name: "character",
            chunker: open(character),
            sql: Some("ai.chunk_text(body, 800, 400, E'\\n\\n')"),
        },
        Splitter { name: "markdown", chunker: open(Chunking::markdown(800, 100)), sql: None },
        Splitter { name: "sentence", chunker: open(Chunking::sentence(800, 100)), sql: None },
        Splitter { name: "token", chunker: open(Chunking::token(256, 32, "cl100k_base")), sql: None },
    ]
}

/// What was cut: chunks, their characters, and a checksum of the chunks in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    chunks: i64,
    characters: i64,
    checksum: u32,
}

pub fn run(order: &Order) -> Vec<Figure> {
    let texts = texts(order.scaled(BYTES, 200_000));
    let megabytes = texts.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    let python = python::with(order, &LANGCHAIN);
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), texts.iter().flat_map(|text| [text.as_str(), "\0"]).collect::<String>())
        .expect("written");
    let mut scene = table(&texts);
    let mut figures = Vec::new();
    for Splitter { name, chunker, sql } in splitters() {
        // Once before, so that all sides have read what they read.
        let expected = ours(&chunker, &texts).1;
        let (mut speeds, mut references, mut by_sql) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=order.scaled(ROUNDS, 1) {
            let (seconds, found) = ours(&chunker, &texts);
            assert_eq!(found, expected);
            speeds.push(megabytes / seconds);
            if let (Some(python), Some(call)) = (&python, sql) {
                let (seconds, found) = langchain(python, file.path(), name);
                assert_eq!(found, expected, "{name}: LangChain's chunks");
                references.push(megabytes / seconds);
                let (seconds, found) = of_sql(&mut scene.db, call);
                assert_eq!(found, (expected.chunks, expected.characters), "{name}: chunks of SQL");
                by_sql.push(megabytes / seconds);
            }
            order.say(&format!("{name}, round {round}: {:.0} MB/s", stats::median(&speeds)));
        }
        let what = |how: &str| format!("{megabytes:.0} MB of text, {name}{how}");
        if references.is_empty() {
            figures.push(Figure::new(order.name, what(""), "MB/s", speeds));
            continue;
        }
        figures.push(
            Figure::new(order.name, what(" / LangChain in Python"), "MB/s", speeds)
                .beside(references.clone())
                .bar(Bar::RatioAtLeast(10.0)),
        );
        figures.push(
            Figure::new(order.name, what(" in SQL / LangChain in Python"), "MB/s", by_sql).beside(references),
        );
    }
    figures
}

/// The texts in a table.
fn table(texts: &[String]) -> Scene {
    let mut scene = workbench::scene(workbench::settings());
    scene.db.batch(
        "create table texts (id int primary key, body text); alter table texts alter body set storage external",
    );
    let insert = scene.db.prepare("insert into texts values ($1, $2)").expect("a statement");
    for (id, text) in texts.iter().enumerate() {
        scene.db.execute(&insert, &[&(id as i32), text]).expect("a row");
    }
    scene
}

/// Seconds of the cutting alone, and what was cut, on this thread.
fn ours(chunker: &Chunker, texts: &[String]) -> (f64, Cut) {
    let (mut time, mut checksum) = (Duration::ZERO, Crc::new());
    let mut cut = Cut { chunks: 0, characters: 0, checksum: 0 };
    for text in texts {
        let began = Instant::now();
        let found = chunker.chunk(text).expect("chunks");
        time += began.elapsed();
        cut.chunks += found.len() as i64;
        for chunk in &found {
            cut.characters += chunk.chars().count() as i64;
            checksum.update(chunk.as_bytes());
            checksum.update(b"\0");
        }
    }
    (time.as_secs_f64(), Cut { checksum: checksum.sum(), ..cut })
}

/// Seconds; chunks and their characters.
fn of_sql(db: &mut Client, call: &str) -> (f64, (i64, i64)) {
    let sql = format!("select count(*), sum(length(c.chunk))::int8 from texts, lateral {call} c");
    let started = Instant::now();
    let row = db.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{error:?}"));
    (started.elapsed().as_secs_f64(), (row.get(0), row.get(1)))
}

fn langchain(python: &Path, file: &Path, splitter: &str) -> (f64, Cut) {
    let output = Command::new(python)
        .args(["-c", include_str!("chunking.py")])
        .arg(file)
        .arg(splitter)
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = said.split_whitespace();
    let seconds = words.next().and_then(|word| word.parse().ok()).expect("the seconds");
    let mut number = || words.next().and_then(|word| word.parse::<i64>().ok()).expect("a number");
    let (chunks, characters) = (number(), number());
    (seconds, Cut { chunks, characters, checksum: u32::try_from(number()).expect("32 bits") })
}

/// Documents of 2 to 40 KB: words with stops, lines, paragraphs, some of other scripts.
fn texts(bytes: usize) -> Vec<String> {
    const WORDS: [&str; 16] = [
        "the",
        "record",
        "of",
        "embedding",
        "water",
        "and",
        "keeps",
        "Überlegung",
        "a",
        "moon",
        "naïve",
        "tides",
        "database",
        "in",
        "vektor",
        "数据库",
    ];
    let mut random = Random(7);
    let mut texts = Vec::new();
    let mut total = 0;
    while total < bytes {
        let size = 2_000 + random.below(38_000) as usize;
        let mut text = String::with_capacity(size + 32);
        while text.len() < size {
            text.push_str(WORDS[random.below(WORDS.len() as u64) as usize]);
            text.push_str(match random.below(60) {
                0 => "\n\n",
                1 | 2 => "\n",
                3..=6 => ". ",
                7 => "? ",
                8 => ", ",
                _ => " ",
            });
        }
        total += text.len();
        texts.push(text);
    }
    texts
}
