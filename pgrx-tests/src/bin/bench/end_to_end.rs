//! Case `end-to-end`: a whole first pass, from the commit of `ai.create_vectorizer` until
//! everything is embedded, over HTTP with a provider that takes its time. Beside it the rows
//! that came out are copied into a table of the same shape: what the disk alone would take, and
//! what of the processor.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use autovector_cluster_tests::{Scene, Sql, process};

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 20_000;
const ROUNDS: usize = 3;
/// Of OpenAI's text-embedding-3-small.
const DIMENSIONS: usize = 1536;
const LATENCY: Duration = Duration::from_millis(50);
/// Rows a second.
const BAR: f64 = 3_000.0;
/// Times the processor's time of COPY.
const PROCESSOR_BAR: f64 = 2.5;

const VARIANTS: [(u32, u32); 4] = [(64, 4), (256, 8), (512, 4), (1024, 8)];

/// With default settings.
pub fn defaults(order: &Order) -> Vec<Figure> {
    let [rate, processor] = first_passes(order, DIMENSIONS, LATENCY, "default processing", "");
    vec![rate.bar(Bar::MedianAtLeast(BAR)), processor.bar(Bar::RatioAtMost(PROCESSOR_BAR))]
}

/// How the rate depends on the width of the vectors and on the provider's latency.
pub fn shapes(order: &Order) -> Vec<Figure> {
    let latencies = [0, 50, 200].map(Duration::from_millis);
    let shapes = [384, DIMENSIONS, 3072].into_iter().flat_map(|d| latencies.map(|latency| (d, latency)));
    shapes.flat_map(|(d, latency)| first_passes(order, d, latency, "default processing", "")).collect()
}

/// With some values of `ai.processing_default`.
pub fn variants(order: &Order) -> Vec<Figure> {
    let figure = |(size, concurrency): (u32, u32)| {
        let processing = format!("batch_size => {size}, concurrency => {concurrency}");
        first_passes(
            order,
            DIMENSIONS,
            LATENCY,
            &processing,
            &format!(", processing => ai.processing_default({processing})"),
        )
    };
    VARIANTS.into_iter().flat_map(figure).collect()
}

fn first_passes(order: &Order, dimensions: usize, latency: Duration, what: &str, more: &str) -> [Figure; 2] {
    let rows = order.scaled(ROWS, 1_000);
    let mut scene = workbench::scene(workbench::settings());
    scene.provider.set_latency(latency);
    workbench::table(&mut scene.db, "docs", rows, "repeat(md5(i::text) || ' ', 6)");
    let embedding = workbench::scripted(&scene, dimensions);
    let file = scene.cluster.directory().join("rows").display().to_string();
    let (mut passes, mut copies) = (Vec::new(), Vec::new());
    let (mut busy, mut copying) = (Vec::new(), Vec::new());
    let me: i32 = scene.db.one("select pg_backend_pid()", &[]);
    let mut workers = processor_time(&scene);
    let rounds = order.scaled(ROUNDS, 2);
    for round in 0..rounds {
        scene.db.batch("checkpoint");
        workbench::vectorize(&mut scene.db, "docs", &embedding, more);
        let started = Instant::now();
        workbench::wait(&mut scene.db, "docs");
        passes.push(rows as f64 / started.elapsed().as_secs_f64());
        let now = processor_time(&scene);
        let ticks = now.iter().map(|(worker, ticks)| ticks - workers.get(worker).unwrap_or(&0)).sum();
        busy.push(microseconds(ticks, rows));
        workers = now;
        workbench::expect_rows(&mut scene.db, "docs_embedding_store", rows);

        let save = format!("copy docs_embedding_store to '{file}' (format binary)");
        workbench::twin(&mut scene.db, "docs_embedding_store", "copied");
        workbench::each(&mut scene.db, &[&save, "checkpoint"]);
        let before = process::cpu_ticks(me).expect("this session's backend");
        let started = Instant::now();
        scene.db.batch(&format!("copy copied from '{file}' (format binary)"));
        copies.push(rows as f64 / started.elapsed().as_secs_f64());
        copying.push(microseconds(process::cpu_ticks(me).expect("this session's backend") - before, rows));
        scene.db.batch("drop table copied");
        scene.db.exec("select ai.drop_vectorizer('docs', drop_all => true)", &[]);
        order.say(&format!(
            "{what}, round {} of {rounds}: {:.0} rows/s, at most {} requests at once; COPY {:.0} rows/s",
            round + 1,
            passes[round],
            scene.provider.most_in_flight(),
            copies[round],
        ));
    }
    let what = format!("{dimensions} dims, {} ms a request, {what}", latency.as_millis());
    [
        Figure::new(order.name, format!("{what} / COPY"), "rows/s", passes).beside(copies),
        Figure::new(order.name, format!("{what}, worker's processor time / COPY's"), "µs/row", busy)
            .beside(copying),
    ]
}

/// Processor time of each worker so far, in clock ticks.
fn processor_time(scene: &Scene) -> HashMap<i32, u64> {
    let workers = scene.cluster.worker_pids("autovector worker");
    workers.into_iter().filter_map(|worker| Some((worker, process::cpu_ticks(worker)?))).collect()
}

/// A clock tick is 10 ms.
fn microseconds(ticks: u64, rows: usize) -> f64 {
    ticks as f64 * 10_000.0 / rows as f64
}
