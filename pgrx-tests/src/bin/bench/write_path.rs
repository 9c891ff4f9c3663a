//! Case `write-path`: how fast chunks with vectors are written, against COPY in binary format.
//!
//! The statement is not kept here: it is asked of the server after a worker has run it, so what
//! is measured is what the installed extension does. It is then run from outside, batch by
//! batch, each with its own commit, so that nothing but the write is in the time.

use std::time::Instant;

use autovector_cluster_tests::{Scene, Sql};
use pgvector::Vector;
use postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 20_000;
const ROUNDS: usize = 5;
const DIMENSIONS: usize = 384;
/// Rows that a worker writes in one transaction when the configuration does not say.
const BATCH: usize = 256;
const BAR: f64 = 0.5;

/// One round's rows, column by column.
struct Rows {
    keys: Vec<i64>,
    uuids: Vec<Uuid>,
    sequences: Vec<i32>,
    texts: Vec<String>,
    vectors: Vec<Vector>,
    hashes: Vec<Vec<u8>>,
}

pub fn run(order: &Order) -> Vec<Figure> {
    let rows = order.scaled(ROWS, 2 * BATCH);
    let settings = workbench::settings()
        .set("shared_preload_libraries", "autovector,pg_stat_statements")
        .set("pg_stat_statements.track", "top");
    let mut scene = workbench::scene(settings);
    scene.db.batch("create extension pg_stat_statements");

    let in_worker = measure_worker(&mut scene, rows);
    let statement = statement_of_worker(&mut scene.db);
    workbench::twin(&mut scene.db, "docs_embedding_store", "copied");
    let mut written = Vec::new();
    let mut copied = Vec::new();
    let rounds = order.scaled(ROUNDS, 3);
    for round in 0..rounds {
        let data = Rows::new(rows);
        workbench::each(&mut scene.db, &["truncate docs_embedding_store, copied", "checkpoint"]);
        written.push(rows as f64 / insert(&mut scene.db, &statement, &data));
        scene.db.batch("checkpoint");
        copied.push(rows as f64 / copy(&mut scene.db, &data));
        expect_equal(&mut scene.db, rows);
        order.say(&format!(
            "round {} of {rounds}: {:.0} and {:.0} rows/s",
            round + 1,
            written[round],
            copied[round]
        ));
    }
    let reference = copied.clone();
    vec![
        Figure::new(
            order.name,
            format!("INSERT, {BATCH} rows a commit, {DIMENSIONS} dims / COPY"),
            "rows/s",
            written,
        )
        .beside(copied)
        .bar(Bar::RatioAtLeast(BAR)),
        Figure::new(
            order.name,
            "the same INSERT inside the worker, no commit / COPY",
            "rows/s",
            vec![in_worker.insert],
        )
        .against(reference.clone()),
        Figure::new(order.name, "all SQL of the worker, no commit / COPY", "rows/s", vec![in_worker.all])
            .against(reference),
    ]
}

struct InWorker {
    insert: f64,
    all: f64,
}

/// Rows a second of SQL time while a worker makes a first pass.
fn measure_worker(scene: &mut Scene, rows: usize) -> InWorker {
    workbench::table(&mut scene.db, "docs", rows, "repeat(md5(i::text) || ' ', 6)");
    scene.db.batch("select pg_stat_statements_reset()");
    let embedding = workbench::scripted(scene, DIMENSIONS);
    workbench::vectorize(&mut scene.db, "docs", &embedding, "");
    workbench::wait(&mut scene.db, "docs");
    workbench::expect_rows(&mut scene.db, "docs_embedding_store", rows);
    let seconds = |db: &mut Client, condition: &str| -> f64 {
        db.one::<Option<f64>>(
            &format!("select sum(total_exec_time) / 1000 from pg_stat_statements where {condition}"),
            &[],
        )
        .expect("the worker's statements are in pg_stat_statements")
    };
    let insert = seconds(&mut scene.db, INSERTS);
    let all = seconds(
        &mut scene.db,
        "query not like '%create_vectorizer(%' and query not like '%wait_for_vectorizer%' and query not like '%pg_stat_statements%'",
    );
    InWorker { insert: rows as f64 / insert, all: rows as f64 / all }
}

/// Finds the worker's insert among all statements.
const INSERTS: &str = "query like 'INSERT INTO %docs_embedding_store%'";

fn statement_of_worker(db: &mut Client) -> String {
    let found: Vec<String> = db.all(&format!("select query from pg_stat_statements where {INSERTS}"), &[]);
    assert_eq!(found.len(), 1, "the worker writes with one statement: {found:?}");
    found.into_iter().next().expect("counted just now")
}

impl Rows {
    /// Rows with new identifiers, the texts and vectors always the same.
    fn new(count: usize) -> Rows {
        let mut state = 1_u64;
        let mut component = || {
            // Knuth's 64-bit linear congruential generator (MMIX); its upper bits are good enough.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        };
        Rows {
            keys: (1..=count as i64).collect(),
            uuids: (0..count).map(|_| Uuid::now_v7()).collect(),
            sequences: vec![0; count],
            texts: (0..count).map(|i| format!("text {i:07} ").repeat(16)).collect(),
            vectors: (0..count)
                .map(|_| Vector::from((0..DIMENSIONS).map(|_| component()).collect::<Vec<_>>()))
                .collect(),
            hashes: (0..count).map(|i| format!("{i:032}").into_bytes()).collect(),
        }
    }
}

/// Runs the worker's statement; returns the seconds.
fn insert(db: &mut Client, statement: &str, rows: &Rows) -> f64 {
    let statement = db.prepare(statement).unwrap_or_else(|error| panic!("{error:?}\nSTATEMENT: {statement}"));
    let names: Vec<&str> = statement.params().iter().map(Type::name).collect();
    assert_eq!(names, ["_text", "_uuid", "_int4", "_text", "_bytea", "_vector"], "the worker's parameters");
    let keys: Vec<String> = rows.keys.iter().map(i64::to_string).collect();
    let started = Instant::now();
    for first in (0..rows.keys.len()).step_by(BATCH) {
        let batch = first..rows.keys.len().min(first + BATCH);
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &&keys[batch.clone()],
            &&rows.uuids[batch.clone()],
            &&rows.sequences[batch.clone()],
            &&rows.texts[batch.clone()],
            &&rows.hashes[batch.clone()],
            &&rows.vectors[batch],
        ];
        db.execute(&statement, &parameters).unwrap_or_else(|error| panic!("{error:?}"));
    }
    started.elapsed().as_secs_f64()
}

/// Copies the same rows in one transaction; returns the seconds.
fn copy(db: &mut Client, rows: &Rows) -> f64 {
    let vector = db.prepare("select $1::vector").expect("pgvector is there").params()[0].clone();
    let types = [Type::UUID, Type::INT8, Type::INT4, Type::TEXT, vector, Type::BYTEA];
    let started = Instant::now();
    let sink = db
        .copy_in(
            "copy copied (embedding_uuid, id, chunk_seq, chunk, embedding, content_hash) from stdin (format binary)",
        )
        .unwrap_or_else(|error| panic!("{error:?}"));
    let mut writer = BinaryCopyInWriter::new(sink, &types);
    for i in 0..rows.keys.len() {
        writer
            .write(&[
                &rows.uuids[i],
                &rows.keys[i],
                &rows.sequences[i],
                &rows.texts[i],
                &rows.vectors[i],
                &rows.hashes[i],
            ])
            .unwrap_or_else(|error| panic!("{error:?}"));
    }
    writer.finish().unwrap_or_else(|error| panic!("{error:?}"));
    started.elapsed().as_secs_f64()
}

/// Both tables hold the same rows.
fn expect_equal(db: &mut Client, rows: usize) {
    let columns = "embedding_uuid, id, chunk_seq, chunk, embedding, content_hash";
    let same: i64 = db.one(
        "select count(*) from docs_embedding_store a join copied b using (embedding_uuid)
              where (a.id, a.chunk_seq, a.chunk, a.embedding, a.content_hash)
                  = (b.id, b.chunk_seq, b.chunk, b.embedding, b.content_hash)",
        &[],
    );
    assert_eq!(same, rows as i64, "rows with the same {columns} in both tables");
}
