//! Case `search`: `ai.search` against the query that one writes by hand for pgvector with the
//! vector given, over the same index. The session has asked each question before, so that no time
//! is the provider's.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use autovector_cluster_tests::{Sql, wait_until};
use postgres::{Client, Statement, types::ToSql};

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 100_000;
const DIMENSIONS: usize = 128;
const QUESTIONS: usize = 200;
const K: usize = 10;

/// Sixty words of some five thousand, the first ones far more often than the last.
const TEXT: &str = "(select string_agg('w' || (5000 * u * u * u)::int, ' ')
    from (select (('x' || substr(md5(i || '-' || p), 1, 7))::bit(28)::int / 268435456.0::float8) as u
            from generate_series(1, 60) p) words)";

pub fn run(order: &Order) -> Vec<Figure> {
    let rows = order.scaled(ROWS, 2_000);
    let mut scene = workbench::scene(workbench::settings().set("maintenance_work_mem", "512MB"));
    workbench::table(&mut scene.db, "docs", rows, TEXT);
    scene.db.batch(
        "alter table docs add lang text default 'en'; update docs set lang = 'l' || id % 10; analyze docs",
    );
    let embedding = workbench::scripted(&scene, DIMENSIONS);
    let more = ", chunking => ai.chunking_none(), indexing => ai.indexing_hnsw(min_rows => 1000)";
    workbench::vectorize(&mut scene.db, "docs", &embedding, more);
    workbench::wait(&mut scene.db, "docs");
    order.say("embedded; the indexes are being built");
    wait_until("the indexes are ready", Duration::from_secs(1800), || {
        let state: String =
            scene.db.one("select vector_index || keyword_index from ai.search_status('docs'::text)", &[]);
        state == "readyready"
    });
    workbench::each(&mut scene.db, &["vacuum analyze docs_embedding_store", "checkpoint"]);
    order.say("the indexes are built");

    let db = &mut scene.db;
    let questions = order.scaled(QUESTIONS, 20);
    let step = (rows / questions) as i64;
    let asked: Vec<String> = db.all(
        "select (string_to_array(body, ' '))[3] || ' ' || (string_to_array(body, ' '))[20] || ' '
                || (string_to_array(body, ' '))[40] from docs where id % $1 = 0 order by id",
        &[&step],
    );
    let by_hand = db
        .prepare(
            "select t.id, t.chunk_seq, t.chunk, 1 - (t.embedding <=> $1::text::vector) from docs_embedding_store t
              order by t.embedding <=> $1::text::vector limit 10",
        )
        .expect("the query by hand");
    let filtered_by_hand = db
        .prepare(
            "select t.id, t.chunk_seq, t.chunk, 1 - (t.embedding <=> $1::text::vector)
               from docs_embedding_store t join docs s on s.id = t.id where s.lang = 'l3'
              order by t.embedding <=> $1::text::vector limit 10",
        )
        .expect("the filtered query by hand");
    let search = |db: &mut Client, more: &str| {
        let call = format!(
            "select (key->>'id')::int8, chunk_seq, chunk, score from ai.search('docs'::text, $1, {K}{more})"
        );
        db.prepare(&call).expect("a search")
    };
    let by_vector = search(db, "");
    let by_words = search(db, ", 'keyword'");
    let by_both = search(db, ", 'hybrid'");
    let filtered = search(db, ", 'vector', '{\"lang\": \"l3\"}'");

    let mut times: [Vec<f64>; 6] = Default::default();
    let mut overlap = 0.0;
    for round in 0..3 {
        for question in &asked {
            let vector: String = db.one("select ai.embed('docs'::text, $1)::text", &[question]);
            let (hand, found) = timed(db, &by_hand, &vector);
            let (own, ours) = timed(db, &by_vector, question);
            let (both, _) = timed(db, &by_both, question);
            let (words, _) = timed(db, &by_words, question);
            db.batch("set hnsw.iterative_scan = relaxed_order");
            let (hand_filtered, _) = timed(db, &filtered_by_hand, &vector);
            db.batch("reset hnsw.iterative_scan");
            let (own_filtered, _) = timed(db, &filtered, question);
            // The first round is for the caches, the server's and the session's.
            if round > 0 {
                for (kept, time) in
                    times.iter_mut().zip([hand, own, both, words, hand_filtered, own_filtered])
                {
                    kept.push(time);
                }
                overlap += found.intersection(&ours).count() as f64 / found.len().max(1) as f64;
            }
        }
    }
    let [hand, own, both, words, hand_filtered, own_filtered] = times;
    let same = overlap / own.len() as f64;
    order.say(&format!("{:.1} % of what the query by hand finds is found by ai.search", 100.0 * same));
    let figure = |what: &str, values, references: &Vec<f64>| {
        Figure::new(
            order.name,
            format!("{what}, {rows} rows, {DIMENSIONS} dims, k {K} / by hand"),
            "ms",
            values,
        )
        .beside(references.clone())
    };
    vec![
        figure("vector", own, &hand).bar(Bar::RatioAtMost(1.3)),
        figure("hybrid", both, &hand).bar(Bar::RatioAtMost(3.0)),
        figure("keyword", words, &hand),
        figure("vector with a filter", own_filtered, &hand_filtered),
        Figure::new(order.name, "share of the hand-written query's answers", "%", vec![100.0 * same])
            .bar(Bar::MedianAtLeast(99.0)),
    ]
}

/// Milliseconds, and the keys that were found.
fn timed(db: &mut Client, statement: &Statement, parameter: &(dyn ToSql + Sync)) -> (f64, HashSet<i64>) {
    let started = Instant::now();
    let rows = db.query(statement, &[parameter]).expect("a search");
    let took = started.elapsed().as_secs_f64() * 1000.0;
    (took, rows.iter().map(|row| row.get(0)).collect())
}
