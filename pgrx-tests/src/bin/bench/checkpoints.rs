//! Case `checkpoints`: what a checkpoint costs to make, what it costs writers, what it keeps, and
//! what a restore takes, against copying or reloading the table.
//!
//! Vectors of 384 dimensions in the row itself, as a store has them. Tables that are compared are
//! made alike and changed in turn, after VACUUM and a checkpoint of the server each.

use std::time::Instant;

use autovector_cluster_tests::Sql;
use postgres::Client;

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 1_000_000;
const CHANGED: usize = 100_000;
const ROUNDS: usize = 5;

pub fn run(order: &Order) -> Vec<Figure> {
    let mut scene = workbench::scene(workbench::settings().set("autovacuum", "off"));
    let db = &mut scene.db;
    db.batch("set synchronous_commit = off");
    let mut figures = creating(order, db);
    figures.extend(restoring(order, db));
    figures.extend(writing(order, db));
    figures
}

/// A table of chunks with vectors; every row has the same vector, so that filling it takes no hour.
fn table(db: &mut Client, name: &str, rows: usize) {
    db.batch(&format!(
        "create table {name} (id bigint primary key, chunk text not null, embedding vector(384) not null);
         alter table {name} alter column embedding set storage main;
         insert into {name} select i, 'chunk ' || i, v.v from generate_series(1, {rows}) i,
             (select array_agg(sin(k)::real)::vector as v from generate_series(1, 384) k) v"
    ));
    workbench::each(db, &[&format!("vacuum analyze {name}"), "checkpoint"]);
}

fn milliseconds(db: &mut Client, sql: &str) -> f64 {
    let started = Instant::now();
    db.batch(sql);
    started.elapsed().as_secs_f64() * 1000.0
}

/// Making a checkpoint, at a tenth of the rows and at all of them, and a copy of the table.
fn creating(order: &Order, db: &mut Client) -> Vec<Figure> {
    let rows = order.scaled(ROWS, 10_000);
    let mut times = [Vec::new(), Vec::new()];
    let mut copies = Vec::new();
    for (name, rows) in [("tenth", rows / 10), ("whole", rows)] {
        order.say(&format!("filling a table of {rows} rows"));
        table(db, name, rows);
        // The first one installs the triggers, and has a figure of its own.
        let first = milliseconds(db, &format!("select ai.create_checkpoint('public.{name}')"));
        order.say(&format!("the first checkpoint of {rows} rows: {first:.1} ms"));
    }
    for round in 0..ROUNDS * 3 {
        for (times, name) in times.iter_mut().zip(["tenth", "whole"]) {
            // There is something to pin.
            db.batch(&format!("update {name} set chunk = 'round {round}' where id = {round} + 1"));
            times.push(milliseconds(db, &format!("select ai.create_checkpoint('public.{name}')")));
        }
    }
    for _ in 0..3 {
        copies.push(milliseconds(db, "create table copied as select * from whole"));
        db.batch("drop table copied");
        workbench::each(db, &["checkpoint"]);
    }
    let [tenth, whole] = times;
    vec![
        Figure::new(order.name, format!("create, {rows} rows"), "ms", whole.clone())
            .bar(Bar::MedianBelow(20.0)),
        Figure::new(order.name, format!("create, {rows} rows / a tenth of them"), "ms", whole.clone())
            .beside(tenth)
            .bar(Bar::RatioAtMost(1.5)),
        Figure::new(order.name, format!("create, {rows} rows / CREATE TABLE AS"), "ms", whole)
            .against(copies)
            .bar(Bar::RatioAtMost(0.1)),
    ]
}

/// Restoring the whole table after a hundredth of it changed, against loading it anew.
fn restoring(order: &Order, db: &mut Client) -> Vec<Figure> {
    let rows = order.scaled(ROWS, 10_000);
    let mut times = [Vec::new(), Vec::new()];
    db.batch(
        "select ai.create_checkpoint('public.whole', 'good'); create table saved as select * from whole",
    );
    for round in 0..3 {
        db.batch(&format!("update whole set chunk = chunk || 'x' where id % 100 = {round}"));
        workbench::each(db, &["checkpoint"]);
        times[0].push(milliseconds(db, "select ai.restore_checkpoint('good')"));
        let wrong: i64 = db.one("select count(*) from ai.diff_checkpoints('good')", &[]);
        assert_eq!(wrong, 0, "the restore is complete");
    }
    for _ in 0..3 {
        db.batch("create table loaded (like whole including all)");
        times[1].push(milliseconds(db, "insert into loaded select * from saved"));
        db.batch("drop table loaded");
        workbench::each(db, &["checkpoint"]);
    }
    db.batch("drop table saved; select ai.delete_checkpoint(id) from ai.checkpoints");
    db.batch("drop table whole, tenth; select * from ai.gc_checkpoints()");
    let [restore, reload] = times;
    let what = format!("restore after 1 % of {rows} rows changed / loading the table");
    vec![Figure::new(order.name, what, "ms", restore).against(reload).bar(Bar::RatioAtMost(0.1))]
}

/// The same UPDATE on a table that never had a checkpoint, one with a live checkpoint, and one whose
/// checkpoint is gone: the first after the checkpoint, and the second.
fn writing(order: &Order, db: &mut Client) -> Vec<Figure> {
    let rows = order.scaled(CHANGED, 2_000);
    let names = ["plain", "pinned", "free"];
    let mut first = [(); 3].map(|()| Vec::new());
    let mut second = [(); 3].map(|()| Vec::new());
    let mut bytes = Vec::new();
    for name in names {
        table(db, name, rows);
    }
    db.batch("select ai.create_checkpoint('public.free', 'gone'); select ai.delete_checkpoint('gone'); select * from ai.gc_checkpoints()");
    for round in 0..ROUNDS {
        db.batch("select ai.create_checkpoint('public.pinned', 'live')");
        let vacuum: String = db.one(
            "select 'vacuum ai._checkpoint_history_' || id from ai._checkpoint_history where relation = 'pinned'::regclass",
            &[],
        );
        for times in [&mut first, &mut second] {
            for (name, times) in names.iter().zip(times) {
                // The history too, as autovacuum does: nobody gets new pages where others get old ones.
                workbench::each(db, &[&format!("vacuum {name}"), &vacuum, "checkpoint"]);
                times.push(milliseconds(db, &format!("update {name} set chunk = 'round {round} of ' || id")));
            }
        }
        bytes.push(db.one::<f64>(
            "select kept_bytes::float8 / kept_rows from ai.checkpoints where name = 'live' and kept_rows > 0",
            &[],
        ));
        db.batch("select ai.delete_checkpoint('live'); select * from ai.gc_checkpoints()");
        order.say(&format!("round {} of {ROUNDS}", round + 1));
    }
    let row: f64 = db.one("select avg(pg_column_size(t.*))::float8 from plain t", &[]);
    let [plain, pinned, free] = first;
    let [plain_again, pinned_again, free_again] = second;
    let both = |a: Vec<f64>, b: Vec<f64>| a.into_iter().chain(b).collect::<Vec<f64>>();
    vec![
        Figure::new(
            order.name,
            format!("first UPDATE of {rows} rows after a checkpoint / plain"),
            "ms",
            pinned,
        )
        .beside(plain.clone())
        .bar(Bar::RatioAtMost(2.5)),
        Figure::new(order.name, "second UPDATE of the same rows / plain", "ms", pinned_again)
            .beside(plain_again.clone())
            .bar(Bar::RatioAtMost(1.3)),
        Figure::new(order.name, "UPDATE without a live checkpoint / plain", "ms", both(free, free_again))
            .beside(both(plain, plain_again))
            .bar(Bar::RatioAtMost(1.1)),
        Figure::new(order.name, "bytes kept a changed row / bytes of a row", "bytes", bytes.clone())
            .beside(vec![row; bytes.len()])
            .bar(Bar::RatioAtMost(1.5)),
    ]
}
