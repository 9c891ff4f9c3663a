//! Case `backup`: a million vectors into files and back, against what PostgreSQL itself offers:
//! COPY TO and COPY FROM a file of the server, and pg_dump. The reference runs right behind each
//! measurement, on the same rows, with the same cache.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use autovector_cluster_tests::{Cluster, Scene, Sql, paths, process, wait_until};
use postgres::Client;
use serde_json::Value;

use crate::{
    report::{Bar, Figure},
    workbench::{self, Order},
};

const ROWS: usize = 1_000_000;
const DIMENSIONS: usize = 384;
/// Different vectors; more would only take longer to make.
const VECTORS: usize = 1_000;
const ROUNDS: usize = 3;
/// Above the backend's memory before the call.
const MOST_MEGABYTES: f64 = 64.0;

pub fn run(order: &Order) -> Vec<Figure> {
    let rows = order.scaled(ROWS, 10_000);
    let directory = tempfile::tempdir().expect("a directory");
    let settings = workbench::settings()
        .set("autovector.backup_directory", &directory.path().display().to_string())
        .set("max_wal_size", "16GB")
        .set("autovacuum", "off");
    let mut scene = workbench::scene(settings);
    table(&mut scene.db, rows);
    let rounds = if order.scaled(100, 1) < 100 { 1 } else { ROUNDS };

    let plain = directory.path().join("plain.csv");
    let dump = directory.path().join("dump");
    let (mut csv, mut copied) = (Vec::new(), Vec::new());
    let (mut binary, mut dumped) = (Vec::new(), Vec::new());
    let (mut restored, mut loaded) = (Vec::new(), Vec::new());
    let mut memory = Vec::new();
    for _ in 0..rounds {
        let (seconds, report) = backup(&mut scene.db, "tables => '{docs}'");
        csv.push(rows as f64 / seconds);
        copied.push(rows as f64 / copy_to(&mut scene.db, &plain));
        let name = report["backup"].as_str().expect("a name");
        restored.push(rows as f64 / restore(&mut scene.db, name));
        loaded.push(rows as f64 / copy_from(&mut scene.db, &plain));
        scene.db.exec("select ai.delete_backup($1)", &[&name]);
        std::fs::remove_file(&plain).expect("removed");

        let call = "tables => '{docs}', format => 'binary', parallel => 2";
        let (seconds, report) = backup(&mut scene.db, call);
        binary.push(rows as f64 / seconds);
        dumped.push(rows as f64 / pg_dump(&scene.cluster, &dump));
        std::fs::remove_file(&dump).expect("removed");
        scene.db.exec("select ai.delete_backup($1)", &[&report["backup"].as_str()]);
        memory.push(growth(&mut scene));
    }
    vec![
        Figure::new(order.name, "csv / COPY TO", "rows/s", csv).beside(copied).bar(Bar::RatioAtLeast(1.0)),
        Figure::new(order.name, "binary, 2 processes / pg_dump -Fc -Z0", "rows/s", binary)
            .beside(dumped)
            .bar(Bar::RatioAtLeast(1.5)),
        Figure::new(order.name, "restore of csv / COPY FROM", "rows/s", restored)
            .beside(loaded)
            .bar(Bar::RatioAtLeast(1.0)),
        Figure::new(order.name, "memory above the session's", "MB", memory)
            .bar(Bar::MedianBelow(MOST_MEGABYTES)),
    ]
}

fn table(db: &mut Client, rows: usize) {
    db.batch(&format!(
        "select setseed(0.5);
         create table vectors as
           select v, array_agg(random() - 0.5)::float4[]::vector({DIMENSIONS}) as embedding
             from generate_series(0, {VECTORS} - 1) v, generate_series(1, {DIMENSIONS}) group by v;
         create table docs (id bigint, document text, embedding vector({DIMENSIONS}));
         alter table docs alter column embedding set storage main;
         insert into docs select i, 'Document number ' || i, v.embedding
           from generate_series(1, {rows}) i join vectors v on v.v = i % {VECTORS};
         create table other (like docs including storage)"
    ));
    workbench::each(db, &["vacuum analyze docs", "checkpoint"]);
}

fn seconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

fn backup(db: &mut Client, arguments: &str) -> (f64, Value) {
    let mut report = Value::Null;
    let took = seconds(|| report = db.one(&format!("select ai.backup_vector_tables({arguments})"), &[]));
    (took, report)
}

fn copy_to(db: &mut Client, file: &Path) -> f64 {
    seconds(|| db.batch(&format!("copy docs to '{}' (format csv, header)", file.display())))
}

/// Into the emptied table itself: the restore has nothing that COPY has not.
fn restore(db: &mut Client, name: &str) -> f64 {
    workbench::each(db, &["truncate docs", "checkpoint"]);
    let took = seconds(|| {
        db.exec("select ai.restore_vector_tables($1)", &[&name]);
    });
    workbench::each(db, &["vacuum docs", "checkpoint"]);
    took
}

fn copy_from(db: &mut Client, file: &Path) -> f64 {
    workbench::each(db, &["truncate other", "checkpoint"]);
    let took = seconds(|| db.batch(&format!("copy other from '{}' (format csv, header)", file.display())));
    workbench::each(db, &["truncate other", "checkpoint"]);
    took
}

fn pg_dump(cluster: &Cluster, file: &Path) -> f64 {
    seconds(|| {
        let status = Command::new(paths::program("pg_dump"))
            .args(["-Fc", "-Z0", "-t", "docs", "-U", "postgres", "-p", "5432", "-h"])
            .arg(cluster.directory())
            .arg("-f")
            .arg(file)
            .arg("postgres")
            .status();
        assert!(status.expect("pg_dump runs").success());
    })
}

/// The most private memory of a session during a backup, above what it had before, in MB.
fn growth(scene: &mut Scene) -> f64 {
    let mut session = scene.cluster.connect("postgres");
    session.batch("select count(*) from ai.list_backups()");
    let pid: i32 = session.one("select pg_backend_pid()", &[]);
    let before = process::private_memory_kb(pid).expect("the session lives");
    let over = AtomicBool::new(false);
    let mut most = before;
    thread::scope(|scope| {
        scope.spawn(|| {
            let (_, report) = backup(&mut session, "tables => '{docs}'");
            session.exec("select ai.delete_backup($1)", &[&report["backup"].as_str()]);
            over.store(true, Ordering::Relaxed);
        });
        wait_until("the backup is made", Duration::from_secs(900), || {
            most = most.max(process::private_memory_kb(pid).unwrap_or(0));
            over.load(Ordering::Relaxed)
        });
    });
    (most - before) as f64 / 1024.0
}
