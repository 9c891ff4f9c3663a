//! Case `memory`: whether the worker's memory grows with the work it has done. Read from `/proc`
//! all through a long first pass; the last quarter is held against the second, because the
//! first is spent on filling caches.

use std::{fs, thread, time::Duration};

use autovector_cluster_tests::{Sql, process, wait_until};

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 100_000;
const DIMENSIONS: usize = 384;
const BAR: f64 = 1.1;

pub fn run(order: &Order) -> Vec<Figure> {
    let rows = order.scaled(ROWS, 5_000);
    // Shared buffers count into the resident memory of whoever has touched them: few, so that
    // all have been touched long before the second quarter.
    let mut scene = workbench::scene(workbench::settings().set("shared_buffers", "16MB"));
    workbench::table(&mut scene.db, "docs", rows, "repeat(md5(i::text) || ' ', 6)");
    let embedding = workbench::scripted(&scene, DIMENSIONS);
    workbench::vectorize(&mut scene.db, "docs", &embedding, "");
    wait_until("a worker has started", Duration::from_secs(30), || !scene.workers().is_empty());
    let workers = scene.workers();

    let mut session = scene.cluster.connect("postgres");
    let waiting = thread::spawn(move || workbench::wait(&mut session, "docs"));
    let mut resident = Vec::new();
    let mut private = Vec::new();
    wait_until("the first pass is over", Duration::from_secs(900), || {
        let sum = |read: fn(i32) -> Option<u64>| workers.iter().filter_map(|pid| read(*pid)).sum::<u64>();
        resident.push(sum(resident_kb) as f64 / 1024.0);
        private.push(sum(process::private_memory_kb) as f64 / 1024.0);
        waiting.is_finished()
    });
    assert!(waiting.join().is_ok(), "waiting for the vectorizer failed");
    assert_eq!(scene.workers(), workers, "the worker is another one at the end");
    workbench::expect_rows(&mut scene.db, "docs_embedding_store", rows);
    let requests: i64 = scene.db.one("select requests from ai._vectorizer_counters", &[]);
    order.say(&format!("{} samples, {requests} requests", resident.len()));

    let figure = |what: &str, samples: &[f64]| {
        let [_, second, _, last] = quarters(samples);
        Figure::new(order.name, format!("{what}, last quarter / second"), "MB", last.to_vec())
            .against(second.to_vec())
            .bar(Bar::RatioAtMost(BAR))
    };
    vec![figure("resident memory of the worker", &resident), figure("private memory of the worker", &private)]
}

/// Resident memory of process `pid` in kB, with what it shares; `None` when it is gone.
fn resident_kb(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Four parts of the same length, and up to three samples less than all. Panics when there are
/// fewer than four.
fn quarters(samples: &[f64]) -> [&[f64]; 4] {
    let length = samples.len() / 4;
    assert!(length > 0, "too short to be sampled: {} samples", samples.len());
    [0, 1, 2, 3].map(|quarter| &samples[quarter * length..(quarter + 1) * length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_have_the_same_length_and_follow_each_other() {
        let samples: Vec<f64> = (0..9).map(f64::from).collect();
        assert_eq!(quarters(&samples), [&[0.0, 1.0], &[2.0, 3.0], &[4.0, 5.0], &[6.0, 7.0]]);
    }

    #[test]
    #[should_panic(expected = "too short")]
    fn three_samples_have_no_quarters() {
        quarters(&[1.0, 2.0, 3.0]);
    }

    #[test]
    fn resident_memory_holds_the_private_one() {
        let pid = std::process::id() as i32;
        assert!(resident_kb(pid).unwrap() >= process::private_memory_kb(pid).unwrap());
        assert_eq!(resident_kb(i32::MAX), None);
    }
}
