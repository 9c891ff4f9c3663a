//! Case `peers`: the same first pass by autovector with default settings and by pgai's worker at
//! its best ones, in turn, in one server and with one provider.
//!
//! pgai's worker is the one of the package index as it is. What it needs for documents (docling,
//! PyMuPDF) is left out: it loads that for documents alone. Its time begins with its first request,
//! so that starting Python costs it nothing.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use autovector_cluster_tests::{Scene, Sql, wait_until};
use postgres::Client;

use crate::{
    python::{self, Wanted},
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 20_000;
const ROUNDS: usize = 3;
const DIMENSIONS: usize = 1536;
const LATENCY: Duration = Duration::from_millis(50);
const BODY: &str = "repeat(md5(i::text) || ' ', 6)";

/// What was fastest of its settings: rows in a batch, batches at once.
const BEST: (u32, u32) = (200, 10);

const PGAI: Wanted = Wanted {
    name: "pgai",
    probe: "import pgai.cli, openai, ijson, pgvector, numpy, tiktoken",
    installs: &[
        &["--no-deps", "pgai==0.12.1"],
        &[
            "click<9",
            "datadog-lambda<7",
            "filetype==1.2.0",
            "ijson>=3.3",
            "numpy",
            "openai<2",
            "pgvector<1",
            "psycopg[binary]<4",
            "pydantic<3",
            "python-dotenv<2",
            "pytimeparse<2",
            "semver>=3.0.4",
            "structlog<26",
            "tiktoken<1",
            "tokenizers",
            "typing-extensions<5",
        ],
    ],
};

pub fn run(order: &Order) -> Vec<Figure> {
    let Some(python) = python::with(order, &PGAI) else { return Vec::new() };
    let rows = order.scaled(ROWS, 1_000);
    let mut scene = workbench::scene(workbench::settings());
    scene.provider.set_latency(LATENCY);
    workbench::table(&mut scene.db, "docs", rows, BODY);
    let mut peer = Pgai::install(&mut scene, &python, rows);
    // A model that nobody knows: pgai counts no tokens, for which it would fetch a vocabulary first.
    let embedding = workbench::scripted(&scene, DIMENSIONS);
    let more = ", chunking => ai.chunking_none()";
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=order.scaled(ROUNDS, 1) {
        scene.db.batch("checkpoint");
        workbench::vectorize(&mut scene.db, "docs", &embedding, more);
        let started = Instant::now();
        workbench::wait(&mut scene.db, "docs");
        ours.push(rows as f64 / started.elapsed().as_secs_f64());
        workbench::expect_rows(&mut scene.db, "docs_embedding_store", rows);
        scene.db.exec("select ai.drop_vectorizer('docs', drop_all => true)", &[]);

        scene.db.batch("checkpoint");
        theirs.push(rows as f64 / peer.pass(&scene, &embedding, rows).as_secs_f64());
        let last = round - 1;
        order.say(&format!("round {round}: {:.0} rows/s, pgai {:.0} rows/s", ours[last], theirs[last]));
    }
    let what = format!("{DIMENSIONS} dims, {} ms a request / pgai's worker", LATENCY.as_millis());
    vec![Figure::new(order.name, what, "rows/s", ours).beside(theirs).bar(Bar::RatioAtLeast(8.0))]
}

/// pgai in a database of its own, with the same table.
struct Pgai<'a> {
    python: &'a Path,
    url: String,
    db: Client,
}

impl<'a> Pgai<'a> {
    fn install(scene: &mut Scene, python: &'a Path, rows: usize) -> Pgai<'a> {
        let mut db = scene.cluster.create_database("pgai");
        db.batch("create extension vector");
        workbench::table(&mut db, "docs", rows, BODY);
        let directory = scene.cluster.directory().display();
        let url = format!("postgresql://postgres@/pgai?host={directory}&port=5432");
        let pgai = Pgai { python, url, db };
        let output = pgai.command(&["install"]).output().expect("Python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        pgai
    }

    /// pgai's command line program.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.python);
        command.args(["-m", "pgai"]).args(words).args(["--db-url", &self.url]);
        command.env("OPENAI_API_KEY", "none").stdin(Stdio::null());
        command
    }

    /// How long a first pass takes, from the first request to the end of the worker.
    fn pass(&mut self, scene: &Scene, embedding: &str, rows: usize) -> Duration {
        let (batch, concurrency) = BEST;
        let id: i32 = self.db.one(
            &format!(
                "select ai.create_vectorizer('docs'::regclass, name => 'docs',
                    loading => ai.loading_column('body'), embedding => {embedding},
                    chunking => ai.chunking_none(),
                    processing => ai.processing_default(batch_size => {batch}, concurrency => {concurrency}))"
            ),
            &[],
        );
        let before = scene.provider.call_count();
        let mut worker = self
            .command(&["vectorizer", "worker", "--once", "--log-level", "error"])
            .stdout(Stdio::null())
            .spawn()
            .expect("Python runs");
        wait_until("pgai's worker asks", Duration::from_secs(60), || scene.provider.call_count() > before);
        let started = Instant::now();
        let status = worker.wait().expect("it was started here");
        let taken = started.elapsed();
        assert!(status.success(), "pgai's worker: {status}");
        workbench::expect_rows(&mut self.db, "docs_embedding_store", rows);
        self.db.exec("select ai.drop_vectorizer($1::int, drop_all => true)", &[&id]);
        taken
    }
}
