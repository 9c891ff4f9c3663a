//! Case `latency`: how long after its commit a row can be found in the store. A second session
//! looks again and again; the provider's log says when the request was there, so that the time
//! before it and the time after the answer can be told apart.

use std::time::{Duration, Instant};

use autovector_cluster_tests::{Scene, Sql, wait_until};
use postgres::{Client, Statement};

use crate::{
    report::{Bar, Figure},
    stats,
    workbench::{self, Order},
};

const INSERTS: usize = 100;
const COLD_INSERTS: usize = 10;
const LATENCY: Duration = Duration::from_millis(50);
/// What may come on top of the provider's time.
const ALLOWED: Duration = Duration::from_millis(50);

pub fn run(order: &Order) -> Vec<Figure> {
    let mut scene = workbench::scene(workbench::settings());
    scene.provider.set_latency(LATENCY);
    workbench::table(&mut scene.db, "docs", 1_000, "'text ' || i");
    let embedding = workbench::scripted(&scene, 384);
    workbench::vectorize(&mut scene.db, "docs", &embedding, "");
    let mut poller = Poller::new(scene.cluster.connect("postgres"));

    let warm: Vec<Times> = (0..order.scaled(INSERTS, 10) as i64)
        .map(|i| {
            workbench::wait(&mut scene.db, "docs");
            insert(&mut scene, &mut poller, 10_000 + i)
        })
        .collect();
    // A worker that ends within a second of its start counts as failed and is not replaced at once.
    workbench::alter_system(&mut scene.db, "autovector.idle_timeout", "1200");
    let cold: Vec<Times> = (0..order.scaled(COLD_INSERTS, 3) as i64)
        .map(|i| {
            wait_until("no worker is left", Duration::from_secs(90), || scene.workers().is_empty());
            insert(&mut scene, &mut poller, 20_000 + i)
        })
        .collect();

    let column = |times: &[Times], pick: fn(&Times) -> f64| times.iter().map(pick).collect::<Vec<_>>();
    let totals = column(&warm, |times| times.total);
    let p99 = stats::percentile(&totals, 0.99);
    let bar = (LATENCY + ALLOWED).as_millis() as f64;
    vec![
        Figure::new(
            order.name,
            format!("commit to searchable, provider {} ms", LATENCY.as_millis()),
            "ms",
            totals,
        )
        .bar(Bar::MedianBelow(bar)),
        Figure::new(order.name, "  99th percentile of these", "ms", vec![p99]),
        Figure::new(order.name, "  of which: commit to request", "ms", column(&warm, |times| times.before)),
        Figure::new(order.name, "  of which: answer to searchable", "ms", column(&warm, |times| times.after)),
        Figure::new(
            order.name,
            "commit to searchable, no worker running",
            "ms",
            column(&cold, |times| times.total),
        ),
    ]
}

/// Milliseconds.
struct Times {
    total: f64,
    before: f64,
    after: f64,
}

fn insert(scene: &mut Scene, poller: &mut Poller, id: i64) -> Times {
    let calls = scene.provider.call_count();
    scene.db.exec("insert into docs values ($1, 'a text that was just written')", &[&id]);
    let committed = Instant::now();
    let searchable = poller.wait_for(id);
    let requested = scene.provider.calls()[calls].at;
    let millis = |span: Duration| span.as_secs_f64() * 1000.0;
    // The worker may be there before the client has heard of its own commit.
    let before = millis(requested.saturating_duration_since(committed));
    Times {
        total: millis(searchable - committed),
        before,
        after: millis(searchable - requested) - millis(LATENCY),
    }
}

/// Looks for a row in the store without a pause.
struct Poller {
    db: Client,
    statement: Statement,
}

impl Poller {
    fn new(mut db: Client) -> Poller {
        let sql = "select exists (select from docs_embedding_store where id = $1)";
        let statement = db.prepare(sql).unwrap_or_else(|error| panic!("{error:?}"));
        Poller { db, statement }
    }

    fn wait_for(&mut self, id: i64) -> Instant {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let row = self.db.query_one(&self.statement, &[&id]).unwrap_or_else(|error| panic!("{error:?}"));
            let now = Instant::now();
            if row.get(0) {
                return now;
            }
            assert!(now < deadline, "row {id} is not in the store after a minute");
        }
    }
}
