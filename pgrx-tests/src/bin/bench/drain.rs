//! Case `drain`: whether a large dirty set is worked off as fast at the end as at the beginning,
//! also while somebody holds an old snapshot, so that no dead entry of it can be removed.

use std::time::{Duration, Instant};

use autovector_cluster_tests::{Scene, Sql, wait_until};

use crate::{
    report::Figure,
    stats,
    workbench::{self, Order},
};

const KEYS: usize = 200_000;

pub fn run(order: &Order) -> Vec<Figure> {
    let keys = order.scaled(KEYS, 5_000);
    let mut scene = workbench::scene(workbench::settings());
    let embedding = workbench::scripted(&scene, 8);
    workbench::table(&mut scene.db, "docs", 0, "''");
    workbench::vectorize(&mut scene.db, "docs", &embedding, ", chunking => ai.chunking_none()");
    let mut figures = Vec::new();
    for (what, old_snapshot) in [("no old snapshot", false), ("an old snapshot held", true)] {
        let curve = drain(&mut scene, keys, old_snapshot);
        let tenth = keys as f64 / 10.0;
        let rate = |from: f64| {
            stats::rate_between(&curve, from * tenth, (from + 1.0) * tenth).expect("all keys were worked off")
        };
        let (first, last) = (rate(0.0), rate(9.0));
        order.say(&format!(
            "{what}: {keys} keys in {:.1} s, tenths at {:?} keys/s",
            curve.last().map_or(0.0, |(seconds, _)| *seconds),
            (0..10).map(|tenth| rate(f64::from(tenth)).round()).collect::<Vec<_>>()
        ));
        figures.push(
            Figure::new(
                order.name,
                format!("{what}: last tenth of {keys} keys / first"),
                "keys/s",
                vec![last],
            )
            .beside(vec![first]),
        );
    }
    figures
}

/// Makes `keys` keys dirty and lets the vectorizer go; returns seconds since then and rows done.
fn drain(scene: &mut Scene, keys: usize, old_snapshot: bool) -> Vec<(f64, f64)> {
    workbench::pause(&mut scene.db, "docs");
    // TRUNCATE empties queue and store with their source.
    let insert = format!("insert into docs select i, 'text ' || i from generate_series(1, {keys}) i");
    workbench::each(&mut scene.db, &["truncate docs", &insert, "checkpoint"]);
    let mut holder = scene.cluster.connect("postgres");
    if old_snapshot {
        holder.batch("begin isolation level repeatable read; select count(*) from docs");
    }
    const DONE: &str = "select rows_done from ai._vectorizer_counters";
    let before: i64 = scene.db.one(DONE, &[]);
    let mut curve = vec![(0.0, 0.0)];
    scene.db.exec("select ai.resume_vectorizer('docs')", &[]);
    let started = Instant::now();
    wait_until("all keys are worked off", Duration::from_secs(900), || {
        let done: i64 = scene.db.one(DONE, &[]);
        curve.push((started.elapsed().as_secs_f64(), (done - before) as f64));
        done - before >= keys as i64
    });
    workbench::wait(&mut scene.db, "docs");
    workbench::expect_rows(&mut scene.db, "docs_embedding_store", keys);
    if old_snapshot {
        holder.batch("commit");
    }
    curve
}
