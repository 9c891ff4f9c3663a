//! Case `statements`: what the triggers add to a user's statement. The same statements run on
//! a vectorized and on a plain table in turn, while the vectorizer is paused, so that no worker
//! is in the time.
//!
//! Before each measurement the dirty set is empty and both tables are free of dead rows: what a
//! statement of the same kind has left behind must not be in the time of the next.

use std::time::Instant;

use autovector_cluster_tests::{Scene, Sql};
use postgres::Client;

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const TABLES: [&str; 2] = ["vectorized", "plain"];
const ROWS: usize = 20_000;
const ROUNDS: usize = 7;
const LONG_ROWS: usize = 2_000;
/// Bytes.
const LONG_TEXT: usize = 51_200;
/// Single inserts run in blocks, in turn: a block is one value.
const BLOCKS: usize = 15;
const INSERTS_WITHOUT_FSYNC: usize = 300;
const INSERTS_WITH_FSYNC: usize = 60;

/// A statement over many rows: `{table}` is replaced. The round's rows are those of `material`.
struct Bulk {
    what: &'static str,
    sql: &'static str,
    bar: Option<f64>,
}

/// In the order in which they make sense: the last one leaves the tables empty.
const BULK: [Bulk; 4] = [
    Bulk { what: "INSERT", sql: "insert into {table} select id, body, note from material", bar: Some(2.0) },
    Bulk { what: "UPDATE of the text", sql: "update {table} set body = body || 'x'", bar: Some(2.0) },
    Bulk { what: "UPDATE of another column", sql: "update {table} set note = 'other'", bar: Some(1.1) },
    Bulk { what: "DELETE", sql: "delete from {table}", bar: None },
];

pub fn run(order: &Order) -> Vec<Figure> {
    // Vacuum runs when this case says so.
    let mut scene = workbench::scene(workbench::settings().set("autovacuum", "off"));
    let rows = order.scaled(ROWS, 500);
    // A kilobyte a row.
    workbench::table(&mut scene.db, "material", rows, "repeat(md5(i::text), 30)");
    for table in TABLES {
        workbench::table(&mut scene.db, table, 0, "''");
    }
    let embedding = workbench::scripted(&scene, 8);
    workbench::vectorize(&mut scene.db, "vectorized", &embedding, ", chunking => ai.chunking_none()");
    workbench::pause(&mut scene.db, "vectorized");

    let mut figures = vec![
        singles(order, &mut scene, "off", INSERTS_WITHOUT_FSYNC).bar(Bar::RatioAtMost(1.5)),
        singles(order, &mut scene, "on", INSERTS_WITH_FSYNC).bar(Bar::RatioAtMost(1.5)),
    ];
    figures.extend(bulk(order, &mut scene));
    figures.push(toasted(order, &mut scene));
    figures
}

/// An update of another column of rows whose text lies outside of the row: whoever reads the text to
/// see that it has not changed pays for every byte.
fn toasted(order: &Order, scene: &mut Scene) -> Figure {
    let rows = order.scaled(LONG_ROWS, 100);
    for table in ["long_vectorized", "long_plain"] {
        scene.db.batch(&format!(
            "create table {table} (id bigint primary key, body text not null, note text);
             alter table {table} alter column body set storage external;
             insert into {table} select i, repeat(md5(i::text), {LONG_TEXT} / 32), 'note' from generate_series(1, {rows}) i"
        ));
    }
    let embedding = workbench::scripted(scene, 8);
    workbench::vectorize(&mut scene.db, "long_vectorized", &embedding, ", enqueue_existing => false");
    workbench::pause(&mut scene.db, "long_vectorized");
    let dirty = "select pending_items from ai.vectorizer_status where name = 'long_vectorized'";
    let before: i64 = scene.db.one(dirty, &[]);
    let mut times = [Vec::new(), Vec::new()];
    scene.db.batch("set synchronous_commit = off");
    for round in 0..order.scaled(ROUNDS, 3) {
        workbench::each(&mut scene.db, &["vacuum long_vectorized", "vacuum long_plain", "checkpoint"]);
        for (table, times) in ["long_vectorized", "long_plain"].iter().zip(&mut times) {
            let started = Instant::now();
            scene.db.exec(&format!("update {table} set note = 'round {round}'"), &[]);
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
    }
    scene.db.batch("reset synchronous_commit");
    assert_eq!(scene.db.one::<i64>(dirty, &[]), before, "an unrelated update makes no row dirty");
    let [vectorized, plain] = times;
    let what = format!("UPDATE of another column, {rows} rows with texts of 50 KB / plain table");
    Figure::new(order.name, what, "ms", vectorized).beside(plain).bar(Bar::RatioAtMost(1.1))
}

/// Single-row inserts, prepared, each with its own commit: milliseconds an insert.
fn singles(order: &Order, scene: &mut Scene, synchronous_commit: &str, inserts: usize) -> Figure {
    let inserts = order.scaled(inserts, 10);
    let mut times = [Vec::new(), Vec::new()];
    equalise(&mut scene.db);
    scene.db.batch(&format!("set synchronous_commit = {synchronous_commit}"));
    let body = "0123456789abcdef".repeat(60);
    let statements = TABLES.map(|table| {
        let sql = format!("insert into {table} (id, body, note) values ($1, $2, 'note')");
        scene.db.prepare(&sql).unwrap_or_else(|error| panic!("{error:?}"))
    });
    let mut id = 0_i64;
    for block in 0..order.scaled(BLOCKS, 3) + 1 {
        for (times, statement) in times.iter_mut().zip(&statements) {
            let started = Instant::now();
            for i in 1..=inserts as i64 {
                let inserted = scene.db.execute(statement, &[&(id + i), &body]);
                assert_eq!(inserted.unwrap_or_else(|error| panic!("{error:?}")), 1);
            }
            // The first block fills caches and is none of the values.
            if block > 0 {
                times.push(started.elapsed().as_secs_f64() * 1000.0 / inserts as f64);
            }
        }
        id += inserts as i64;
    }
    for table in TABLES {
        workbench::expect_rows(&mut scene.db, table, id as usize);
    }
    scene.db.batch("reset synchronous_commit; delete from plain; delete from vectorized");
    let [vectorized, plain] = times;
    let what = format!("single INSERT, synchronous_commit = {synchronous_commit} / plain table");
    Figure::new(order.name, what, "ms", vectorized).beside(plain)
}

/// Statements over many rows: milliseconds a statement. Without waiting for the disk at commit,
/// which would hide what the triggers take.
fn bulk(order: &Order, scene: &mut Scene) -> Vec<Figure> {
    let rows = order.scaled(ROWS, 500);
    let mut times = [(); BULK.len()].map(|()| [Vec::new(), Vec::new()]);
    let rounds = order.scaled(ROUNDS, 3);
    for round in 0..rounds {
        for (bulk, times) in BULK.iter().zip(&mut times) {
            equalise(&mut scene.db);
            scene.db.batch("set synchronous_commit = off");
            for (table, times) in TABLES.iter().zip(times) {
                let sql = bulk.sql.replace("{table}", table);
                let started = Instant::now();
                let changed = scene.db.exec(&sql, &[]);
                times.push(started.elapsed().as_secs_f64() * 1000.0);
                assert_eq!(changed, rows as u64, "{sql}");
            }
            scene.db.batch("reset synchronous_commit");
        }
        order.say(&format!("round {} of {rounds}", round + 1));
    }
    let figures = BULK.iter().zip(times).map(|(bulk, [vectorized, plain])| {
        let figure =
            Figure::new(order.name, format!("{}, {rows} rows / plain table", bulk.what), "ms", vectorized)
                .beside(plain);
        match bulk.bar {
            Some(bar) => figure.bar(Bar::RatioAtMost(bar)),
            None => figure,
        }
    });
    figures.collect()
}

/// Everything captured is embedded, nothing dead is left, nothing is waiting to be written.
fn equalise(db: &mut Client) {
    workbench::catch_up(db, "vectorized");
    workbench::each(db, &["vacuum", "checkpoint"]);
}
