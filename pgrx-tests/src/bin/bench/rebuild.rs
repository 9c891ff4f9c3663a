//! Case `rebuild`: another model while rows are read and written. What counts is for how long the swap
//! keeps others out, and what readers see of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use autovector_cluster_tests::Sql;

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 50_000;
const DIMENSIONS: [usize; 2] = [384, 512];
const ROUNDS: usize = 3;

pub fn run(order: &Order) -> Vec<Figure> {
    let rows = order.scaled(ROWS, 500);
    let mut scene = workbench::scene(workbench::settings().set("autovector.naptime", "1s"));
    workbench::table(&mut scene.db, "docs", rows, "'text ' || i");
    let embedding = workbench::scripted(&scene, DIMENSIONS[0]);
    workbench::vectorize(&mut scene.db, "docs", &embedding, ", chunking => ai.chunking_none()");
    workbench::wait(&mut scene.db, "docs");
    let (mut held, mut slowest) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let embedding = workbench::scripted(&scene, DIMENSIONS[(round + 1) % 2]);
        let over = AtomicBool::new(false);
        let mut reader = scene.cluster.connect("postgres");
        let mut writer = scene.cluster.connect("postgres");
        let worst = thread::scope(|threads| {
            let reading = threads.spawn(|| {
                let mut worst = 0.0_f64;
                while !over.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let kinds: i64 = reader.one(
                        "select count(distinct vector_dims(embedding)) from docs_embedding where id % 1000 = 7",
                        &[],
                    );
                    worst = worst.max(started.elapsed().as_secs_f64() * 1000.0);
                    assert_eq!(kinds, 1, "old and new at once, or neither");
                }
                worst
            });
            threads.spawn(|| {
                // At most two hundred writes a second: a load that people would have, not all there is.
                let mut id = 1;
                while !over.load(Ordering::Relaxed) {
                    writer.batch(&format!(
                        "update docs set body = body || '.' where id = {id}; select pg_sleep(0.005)"
                    ));
                    id = id % rows + 1;
                }
            });
            scene.db.batch(&format!("select ai.alter_vectorizer('docs', embedding => {embedding})"));
            scene.db.batch("call ai.wait_for_rebuild('docs', '1 h')");
            over.store(true, Ordering::Relaxed);
            reading.join().expect("every read succeeds")
        });
        held.push(scene.db.one("select swap_ms from ai._rebuild", &[]));
        slowest.push(worst);
        scene.db.batch("select ai.drop_previous_store('docs')");
        order.say(&format!("round {} of {ROUNDS}", round + 1));
    }
    vec![
        Figure::new(order.name, format!("locks held by the swap of {rows} rows"), "ms", held)
            .bar(Bar::MedianBelow(100.0)),
        Figure::new(order.name, "slowest read of 50 rows meanwhile", "ms", slowest),
    ]
}
