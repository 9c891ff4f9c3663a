//! Case `recovery`: how soon work goes on after a worker was killed and after the whole server was, and
//! what a slow provider holds back meanwhile: nothing, if the snapshots of workers say so.

use std::time::{Duration, Instant};

use autovector_cluster_tests::{Rule, Scene, Sql, process, wait_until};

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 200_000;
const ROUNDS: usize = 5;
const LATENCY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(120);
const DONE: &str = "select coalesce(sum(rows_done), 0)::int8 from ai._vectorizer_counters";

pub fn run(order: &Order) -> Vec<Figure> {
    let mut scene = workbench::scene(workbench::settings());
    scene.provider.set_latency(LATENCY);
    workbench::table(&mut scene.db, "docs", order.scaled(ROWS, 20_000), "'text ' || i");
    let embedding = workbench::scripted(&scene, 8);
    let small = ", chunking => ai.chunking_none(), processing => ai.processing_default(batch_size => 20, concurrency => 2)";
    workbench::vectorize(&mut scene.db, "docs", &embedding, small);
    let (mut killed, mut restarted, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        wait_for_progress(&mut scene);
        held.push(longest_snapshot(&mut scene));
        let workers = scene.workers();
        let worker = *workers.first().expect("a worker is busy");
        let started = Instant::now();
        process::signal(worker, libc::SIGKILL);
        // The server ends all sessions after a crash of one process, and recovers.
        scene.cluster.wait_until_ready();
        scene.reconnect();
        wait_for_progress(&mut scene);
        killed.push(started.elapsed().as_secs_f64() * 1000.0);

        let started = Instant::now();
        scene.cluster.kill_postmaster();
        scene.cluster.start_again();
        scene.reconnect();
        wait_for_progress(&mut scene);
        restarted.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    let mut figures = vec![
        Figure::new(order.name, "from SIGKILL of a worker to the next finished batch", "ms", killed),
        Figure::new(order.name, "from SIGKILL of the server, start included", "ms", restarted),
        Figure::new(order.name, "longest that a worker held a snapshot, requests of 50 ms", "ms", held)
            .bar(Bar::MedianBelow(LATENCY.as_millis() as f64)),
    ];
    figures.extend(rows_in_flight(order));
    figures
}

/// Statements on rows that are with the provider at that moment, while it does not answer.
fn rows_in_flight(order: &Order) -> Vec<Figure> {
    const STATEMENTS: [&str; 4] = [
        "update docs set body = body || '!' where id = 7",
        "delete from docs where id = 8",
        "insert into docs values (8, 'again', 'note')",
        "truncate docs",
    ];
    let mut scene = workbench::scene(workbench::settings());
    workbench::table(&mut scene.db, "docs", 0, "''");
    let embedding = workbench::scripted(&scene, 8);
    workbench::vectorize(&mut scene.db, "docs", &embedding, ", chunking => ai.chunking_none()");
    let mut times = STATEMENTS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        let gate = scene.provider.hold(Rule::always());
        scene.db.batch(&format!(
            "insert into docs select i, 'round {round} row ' || i, 'note' from generate_series(1, 40) i"
        ));
        gate.wait_until_holding(1);
        for (statement, times) in STATEMENTS.iter().zip(&mut times) {
            let started = Instant::now();
            scene.db.batch(statement);
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        gate.release();
        scene.provider.clear_rules();
        workbench::wait(&mut scene.db, "docs");
    }
    let figure = |(statement, times): (&str, Vec<f64>)| {
        let verb = statement.split(' ').next().unwrap_or_default();
        Figure::new(order.name, format!("{verb} of rows in flight, provider silent"), "ms", times)
            .bar(Bar::MedianBelow(20.0))
    };
    STATEMENTS.into_iter().zip(times).map(figure).collect()
}

fn wait_for_progress(scene: &mut Scene) {
    let before: i64 = scene.db.one(DONE, &[]);
    wait_until("a batch is finished", PATIENCE, || scene.db.one::<i64>(DONE, &[]) > before);
}

/// The longest, of 200 looks, that a worker had had a snapshot or a transaction id, in ms: as long as
/// claiming and writing take, and never as long as a request.
fn longest_snapshot(scene: &mut Scene) -> f64 {
    const HELD: &str =
        "select coalesce(max(extract(epoch from clock_timestamp() - xact_start)) * 1000, 0)::float8
        from pg_stat_activity
        where backend_type = 'autovector worker' and (backend_xmin is not null or backend_xid is not null)";
    (0..200).map(|_| scene.db.one::<f64>(HELD, &[])).fold(0.0, f64::max)
}
