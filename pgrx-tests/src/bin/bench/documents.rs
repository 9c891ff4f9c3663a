//! Case `documents`: pages of PDF a minute, from a `bytea` column to the store, with one document
//! read at a time. The PDFs are generated: each page has 45 lines of words in Helvetica, a heading,
//! and a compressed content stream.

use std::io::Write;
use std::time::Instant;

use autovector_cluster_tests::{Random, Sql, samples};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::report::{Bar, Figure};
use crate::workbench::{self, Order};

const PAGES: usize = 20;
const DOCUMENTS: usize = 150;
const WORDS: [&str; 24] = [
    "water", "rises", "twice", "a", "day", "the", "moon", "and", "sun", "pull", "at", "every", "coast",
    "harbour", "while", "ships", "wait", "for", "their", "depth", "in", "narrow", "channels", "slowly",
];

pub fn run(order: &Order) -> Vec<Figure> {
    let documents = order.scaled(DOCUMENTS, 5);
    // One reader at a time: one core.
    let mut scene = workbench::scene(workbench::settings().set("autovector.local_threads", "1"));
    let embedding = workbench::scripted(&scene, 8);
    scene.db.batch("create table docs (id bigint primary key, body bytea)");
    let mut random = Random(1);
    let mut bytes = 0;
    for id in 0..documents {
        let pdf = document(&mut random);
        bytes += pdf.len();
        scene.db.exec("insert into docs values ($1, $2)", &[&(id as i64), &pdf]);
    }
    let pages = documents * PAGES;
    order.say(&format!("{documents} PDFs of {PAGES} pages, {} KB each", bytes / documents / 1024));
    let began = Instant::now();
    workbench::vectorize(&mut scene.db, "docs", &embedding, "");
    workbench::wait(&mut scene.db, "docs");
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let failed: i64 = scene.db.one("select rows_failed from ai.vectorizer_status", &[]);
    assert_eq!(failed, 0);
    let chunks: i64 = scene.db.one("select count(*) from docs_embedding_store", &[]);
    order.say(&format!("{pages} pages and {chunks} chunks in {:.1} s", minutes * 60.0));
    let what = format!("{pages} pages of PDF, one document read at a time");
    vec![
        Figure::new(order.name, what, "pages/min", vec![pages as f64 / minutes])
            .bar(Bar::MedianAtLeast(1000.0)),
    ]
}

fn document(random: &mut Random) -> Vec<u8> {
    let pages: Vec<Vec<u8>> = (0..PAGES)
        .map(|page| {
            let mut content = format!("BT\n/F1 18 Tf 1 0 0 1 72 740 Tm (Chapter {page}) Tj\n/F1 11 Tf\n");
            for line in 0..45 {
                let words: Vec<&str> =
                    (0..12).map(|_| WORDS[random.below(WORDS.len() as u64) as usize]).collect();
                content.push_str(&format!("1 0 0 1 72 {} Tm ({}) Tj\n", 715 - 15 * line, words.join(" ")));
            }
            content.push_str("ET");
            let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
            packed.write_all(content.as_bytes()).expect("memory takes everything");
            packed.finish().expect("memory takes everything")
        })
        .collect();
    samples::pdf_of(&pages, "/Filter /FlateDecode")
}
