//! Case `chunking`: cutting 100 MB of text in SQL, against LangChain's splitters in Python, in
//! one run and with the same chunks.

use std::{fs, path::Path, process::Command, time::Instant};

use autovector_cluster_tests::{Random, Sql};
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

/// Splitter, the call that does the same.
const SPLITTERS: [(&str, &str); 2] = [
    (
        "recursive",
        "ai.chunk_text_recursively(body, 800, 400, array[E'\\n\\n', E'\\n', '.', '?', '!', ' ', ''])",
    ),
    ("character", "ai.chunk_text(body, 800, 400, E'\\n\\n')"),
];

pub fn run(order: &Order) -> Vec<Figure> {
    let mut scene = workbench::scene(workbench::settings());
    let texts = texts(order.scaled(BYTES, 200_000));
    scene.db.batch(
        "create table texts (id int primary key, body text); alter table texts alter body set storage external",
    );
    let insert = scene.db.prepare("insert into texts values ($1, $2)").expect("a statement");
    for (id, text) in texts.iter().enumerate() {
        scene.db.execute(&insert, &[&(id as i32), text]).expect("a row");
    }
    let bytes: i64 = scene.db.one("select sum(octet_length(body)) from texts", &[]);
    let megabytes = bytes as f64 / 1e6;
    let python = python::with(order, &LANGCHAIN);
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), texts.iter().flat_map(|text| [text.as_str(), "\0"]).collect::<String>())
        .expect("written");
    let mut figures = Vec::new();
    for (splitter, call) in SPLITTERS {
        // Once before, so that both sides have read what they read.
        let expected = ours(&mut scene.db, call).1;
        let mut speeds = Vec::new();
        let mut references = Vec::new();
        for round in 1..=order.scaled(ROUNDS, 1) {
            let (seconds, found) = ours(&mut scene.db, call);
            assert_eq!(found, expected);
            speeds.push(megabytes / seconds);
            if let Some(python) = &python {
                let (seconds, found) = langchain(python, file.path(), splitter);
                assert_eq!(found, expected, "{splitter}: chunks and characters");
                references.push(megabytes / seconds);
            }
            order.say(&format!("{splitter}, round {round}: {:.0} MB/s", stats::median(&speeds)));
        }
        let what = format!("{megabytes:.0} MB of text, {splitter} / LangChain in Python");
        let figure = Figure::new(order.name, what, "MB/s", speeds);
        figures.push(match references.is_empty() {
            true => figure,
            false => figure.beside(references).bar(Bar::RatioAtLeast(10.0)),
        });
    }
    figures
}

/// Seconds; chunks and their characters.
fn ours(db: &mut Client, call: &str) -> (f64, (i64, i64)) {
    let sql = format!("select count(*), sum(length(c.chunk))::int8 from texts, lateral {call} c");
    let started = Instant::now();
    let row = db.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{error:?}"));
    (started.elapsed().as_secs_f64(), (row.get(0), row.get(1)))
}

fn langchain(python: &Path, file: &Path, splitter: &str) -> (f64, (i64, i64)) {
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
    let mut count = || words.next().and_then(|word| word.parse::<i64>().ok()).expect("a number");
    (seconds, (count(), count()))
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
