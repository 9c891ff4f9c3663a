//! Case `scale`: large tables, a million narrow rows in the first pass and 300,000 changed ones, ten
//! times as much with `--scale 10`. An old snapshot is held throughout. Are the last rows as fast as
//! the first, does the first pass do without the dirty set, does the worker's memory stay?

use std::time::{Duration, Instant};

use autovector_cluster_tests::{Scene, Sql, process, wait_until};

use crate::{
    report::{Bar, Figure},
    stats,
    workbench::{self, Order},
};

const ROWS: usize = 1_000_000;
const KEYS: usize = 300_000;
const DIMENSIONS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(4 * 3600);
/// The last tenth may be so much slower than the first.
const FLAT: f64 = 0.9;

/// What was seen of the work, sample by sample.
#[derive(Default)]
struct Seen {
    /// Seconds since the beginning, and rows done.
    curve: Vec<(f64, f64)>,
    dirty: i64,
    memory_mb: Vec<f64>,
}

pub fn run(order: &Order) -> Vec<Figure> {
    let (rows, keys) = (order.scaled(ROWS, 20_000), order.scaled(KEYS, 5_000));
    let mut scene = workbench::scene(workbench::settings().set("shared_buffers", "16MB"));
    let embedding = workbench::scripted(&scene, DIMENSIONS);
    workbench::table(&mut scene.db, "docs", rows, "'text ' || i");
    scene.db.batch("vacuum analyze docs");
    let mut holder = scene.cluster.connect("postgres");
    holder.batch("begin isolation level repeatable read; select count(*) from docs");
    workbench::vectorize(&mut scene.db, "docs", &embedding, ", chunking => ai.chunking_none()");
    let mut figures = Vec::new();
    let seen = follow(order, &mut scene, "first pass", rows);
    figures.push(flatness(order, "first pass", rows, &seen));
    figures.push(Figure::new(
        order.name,
        format!("dirty keys during a first pass of {rows} rows"),
        "keys",
        vec![seen.dirty as f64],
    ));
    assert_eq!(seen.dirty, 0, "the first pass needs no dirty key");
    figures.push(memory(order, &seen));
    workbench::expect_rows(&mut scene.db, "docs_embedding_store", rows);

    workbench::pause(&mut scene.db, "docs");
    scene.db.batch(&format!("update docs set body = 'changed ' || id where id <= {keys}"));
    scene.db.batch("select ai.resume_vectorizer('docs')");
    let seen = follow(order, &mut scene, "changed rows", keys);
    figures.push(flatness(order, "changed rows", keys, &seen));
    workbench::wait(&mut scene.db, "docs");
    holder.batch("commit");
    figures
}

/// Watches until `rows` more rows are done.
fn follow(order: &Order, scene: &mut Scene, what: &str, rows: usize) -> Seen {
    const DONE: &str = "select rows_done from ai._vectorizer_counters";
    const DIRTY: &str = "select count(*) from (select from ai._vectorizer_q_1 limit 1000) q";
    let before: i64 = scene.db.one(DONE, &[]);
    let started = Instant::now();
    let mut seen = Seen { curve: vec![(0.0, 0.0)], ..Seen::default() };
    let (mut said, mut looked) = (0, Instant::now());
    wait_until(what, PATIENCE, || {
        let done = scene.db.one::<i64>(DONE, &[]) - before;
        seen.curve.push((started.elapsed().as_secs_f64(), done as f64));
        if looked.elapsed() > Duration::from_secs(1) {
            looked = Instant::now();
            seen.dirty = seen.dirty.max(scene.db.one(DIRTY, &[]));
            let workers = scene.workers();
            seen.memory_mb.push(
                workers.iter().filter_map(|pid| process::private_memory_kb(*pid)).sum::<u64>() as f64
                    / 1024.0,
            );
        }
        let tenth = done as usize * 10 / rows;
        if tenth > said {
            said = tenth;
            order.say(&format!("{what}: {done} of {rows} after {:.0} s", started.elapsed().as_secs_f64()));
        }
        done >= rows as i64
    });
    seen
}

fn flatness(order: &Order, what: &str, rows: usize, seen: &Seen) -> Figure {
    let tenth = rows as f64 / 10.0;
    let rate = |at: f64| {
        stats::rate_between(&seen.curve, at * tenth, (at + 1.0) * tenth).expect("all rows were done")
    };
    Figure::new(order.name, format!("{what}: last tenth of {rows} rows / first"), "rows/s", vec![rate(9.0)])
        .beside(vec![rate(0.0)])
        .bar(Bar::RatioAtLeast(FLAT))
}

fn memory(order: &Order, seen: &Seen) -> Figure {
    let quarter = seen.memory_mb.len() / 4;
    assert!(quarter > 0, "too short to be sampled: {} samples", seen.memory_mb.len());
    let part =
        |at: usize| seen.memory_mb.iter().skip(at * quarter).take(quarter).copied().collect::<Vec<_>>();
    Figure::new(order.name, "private memory of the worker, last quarter / second", "MB", part(3))
        .against(part(1))
        .bar(Bar::RatioAtMost(1.1))
}
