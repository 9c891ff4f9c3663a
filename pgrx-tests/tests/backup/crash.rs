//! Backups with truncate under writers, ended at every step: each committed row is in the table
//! or in a backup whose TRUNCATE committed, and never in both.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use autovector_cluster_tests::{Cluster, Sql, StopMode, process, wait_until};
use postgres::{Client, NoTls};
use serde_json::Value;

use super::stage::{Stage, files};
use super::truncate::ids;

const SOON: Duration = Duration::from_secs(60);
const CALL: &str = "select ai.backup_vector_tables(tables => '{docs}', truncate_vector_tables => true)";

/// Sessions that insert row after row, each in its own transaction, and go on after crashes.
struct Writers {
    stop: Arc<AtomicBool>,
    /// Rows whose commit was confirmed.
    committed: Arc<Mutex<BTreeSet<i64>>>,
    /// Rows whose commit was not heard of.
    uncertain: Arc<Mutex<BTreeSet<i64>>>,
    threads: Vec<JoinHandle<()>>,
    /// Rows that were committed while the writers were waited for, and how long that took.
    pace: Mutex<(usize, Duration)>,
}

impl Writers {
    fn start(cluster: &Cluster, count: i64) -> Writers {
        let writers = Writers {
            stop: Arc::default(),
            committed: Arc::default(),
            uncertain: Arc::default(),
            threads: Vec::new(),
            pace: Mutex::default(),
        };
        let next = Arc::new(AtomicI64::new(1));
        let threads = (0..count).map(|_| {
            let config = cluster.config("postgres");
            let (stop, next) = (writers.stop.clone(), next.clone());
            let (committed, uncertain) = (writers.committed.clone(), writers.uncertain.clone());
            thread::spawn(move || {
                let mut db: Option<Client> = None;
                while !stop.load(Ordering::Relaxed) {
                    let Some(connected) = &mut db else {
                        // The server may be starting again; the connection attempt is the pause.
                        db = config.connect(NoTls).ok();
                        continue;
                    };
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let insert = format!("insert into docs values ({id}, '[{id}, 1]')");
                    match connected.batch_execute(&insert) {
                        Ok(()) => drop(committed.lock().unwrap().insert(id)),
                        Err(_) => {
                            uncertain.lock().unwrap().insert(id);
                            db = None;
                        }
                    }
                }
            })
        });
        let threads = threads.collect();
        Writers { threads, ..writers }
    }

    fn count(&self) -> usize {
        self.committed.lock().unwrap().len()
    }

    /// Waits until rows were committed after now.
    fn wait_for_more(&self) {
        self.wait_for(50);
    }

    fn wait_for(&self, rows: usize) {
        let (before, began) = (self.count(), Instant::now());
        wait_until("rows are committed", SOON, || self.count() >= before + rows);
        let mut pace = self.pace.lock().unwrap();
        pace.0 += self.count() - before;
        pace.1 += began.elapsed();
    }

    /// Rows a second, while they were waited for and the server was up.
    fn pace(&self) -> f64 {
        let pace = self.pace.lock().unwrap();
        pace.0 as f64 / pace.1.as_secs_f64()
    }

    fn finish(self) -> (BTreeSet<i64>, BTreeSet<i64>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a writer");
        }
        let sets = [self.committed, self.uncertain].map(|set| std::mem::take(&mut *set.lock().unwrap()));
        let [committed, uncertain] = sets;
        (committed, uncertain)
    }
}

/// Runs the call in a session of its own until `ready` says where it is, then ends that session.
fn interrupted(stage: &Stage, script: &str, kill: bool, mut ready: impl FnMut(&mut Client, i32) -> bool) {
    let mut victim = stage.cluster.connect("postgres");
    let pid: i32 = victim.one("select pg_backend_pid()", &[]);
    let script = script.to_owned();
    // It must not come to an end; what it says then does not matter.
    let running = thread::spawn(move || victim.batch_execute(&script).is_ok());
    let mut watcher = stage.cluster.connect("postgres");
    wait_until("the backup is where it is to be ended", SOON, || ready(&mut watcher, pid));
    if kill {
        process::signal(pid, libc::SIGKILL);
    } else {
        watcher.exec("select pg_terminate_backend($1)", &[&pid]);
    }
    running.join().expect("the session's thread");
}

fn waits_for(db: &mut Client, pid: i32, mode: &str) -> bool {
    db.one::<i64>(
        "select count(*) from pg_locks where pid = $1 and mode = $2 and not granted",
        &[&pid, &mode],
    ) > 0
}

/// Compares what was committed with what the table and the backups hold.
fn compare(stage: &mut Stage, committed: &BTreeSet<i64>, uncertain: &BTreeSet<i64>) {
    let mut found: Vec<i64> = stage.db.all("select id from docs", &[]);
    let emptied: Vec<String> =
        stage.db.all("select backup from ai.list_backups() where truncated and complete", &[]);
    let recorded = stage.count("select count(*) from ai._backup where truncated");
    assert_eq!(emptied.len() as i64, recorded, "every TRUNCATE that committed has its backup");
    for backup in &emptied {
        assert_eq!(stage.faults(backup), Vec::<String>::new());
        found.extend(ids(&stage.folder().join(format!("docs_{backup}.csv"))));
    }
    let unique: BTreeSet<i64> = found.iter().copied().collect();
    assert_eq!(unique.len(), found.len(), "a row is both in a file and in the table");
    let lost: Vec<&i64> = committed.difference(&unique).collect();
    assert!(lost.is_empty(), "{} of {} committed rows are lost: {lost:?}", lost.len(), committed.len());
    let invented: Vec<&i64> = unique.difference(committed).filter(|id| !uncertain.contains(id)).collect();
    assert!(invented.is_empty(), "rows that nobody committed: {invented:?}");
}

/// Fear: a crash between the file and the TRUNCATE, or between the TRUNCATE and the commit, costs
/// rows; or what it leaves behind looks like a backup.
#[test]
fn no_committed_row_is_lost_wherever_a_backup_ends() {
    let mut stage = Stage::new();
    stage.db.batch("create table docs (id bigint primary key, embedding vector(2))");
    let writers = Writers::start(&stage.cluster, 4);
    let folder = stage.folder();
    for kill in [false, true] {
        writers.wait_for_more();
        // Waiting for its first lock: a writer's transaction stays open.
        let mut holder = stage.cluster.connect("postgres");
        holder.batch("begin; lock table docs in row exclusive mode");
        interrupted(&stage, CALL, kill, |db, pid| waits_for(db, pid, "ShareRowExclusiveLock"));
        drop(holder);
        stage.cluster.wait_until_ready();
        writers.wait_for_more();
        // As soon as there is a file.
        let before = files(&folder);
        interrupted(&stage, CALL, kill, |db, pid| {
            let begun = files(&folder).iter().any(|file| !before.contains(file));
            begun
                || db.one::<i64>(
                    "select count(*) from pg_stat_activity where pid = $1 and state = 'active'",
                    &[&pid],
                ) == 0
        });
        stage.cluster.wait_until_ready();
        writers.wait_for_more();
        // The backup is complete; the TRUNCATE waits for a reader.
        let mut reader = stage.cluster.connect("postgres");
        reader.batch("begin; select count(*) from docs");
        interrupted(&stage, CALL, kill, |db, pid| waits_for(db, pid, "AccessExclusiveLock"));
        drop(reader);
        stage.cluster.wait_until_ready();
        writers.wait_for_more();
        // Emptied, not committed.
        let script = format!("begin; {CALL}; select pg_sleep(600); commit");
        interrupted(&stage, &script, kill, |db, pid| {
            db.one::<i64>(
                "select count(*) from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'",
                &[&pid],
            ) > 0
        });
        stage.cluster.wait_until_ready();
        writers.wait_for_more();
        // Committed: several in a row, while rows come in.
        let mut db = stage.cluster.connect("postgres");
        for _ in 0..3 {
            writers.wait_for_more();
            let report: Value = db.one(CALL, &[]);
            assert_eq!(report["truncate_performed"], true);
        }
        stage.db = db;
    }
    // The whole server, at once.
    let mut victim = stage.cluster.connect("postgres");
    let running = thread::spawn(move || while victim.batch_execute(CALL).is_ok() {});
    writers.wait_for_more();
    stage.cluster.stop(StopMode::Immediate);
    running.join().expect("the session's thread");
    stage.cluster.start_again();
    stage.db = stage.cluster.connect("postgres");
    writers.wait_for_more();
    let (committed, uncertain) = writers.finish();
    stage.db.batch(CALL);
    let left: Vec<String> = stage.files().into_iter().filter(|file| file.ends_with(".tmp")).collect();
    assert_eq!(left, Vec::<String>::new(), "the next backup sweeps what crashes left");
    compare(&mut stage, &committed, &uncertain);
    eprintln!("{} rows, {} of them uncertain", committed.len(), uncertain.len());
}

/// The places of a backup at which its process may fail or die, in their order.
const PLACES: [&str; 7] = [
    "backup_locked",
    "backup_copied",
    "backup_read_back",
    "backup_named",
    "backup_published",
    "backup_emptied",
    "backup_recorded",
];

/// Fear: there is one step between the lock and the commit after which a row is in no file and in
/// no table, or in both.
#[test]
fn no_committed_row_is_lost_at_any_failpoint() {
    let mut stage = Stage::new();
    stage.cluster.expect_in_log("terminated by signal");
    stage.db.batch("create table docs (id bigint primary key, embedding vector(2))");
    // Without the variable: little time, and a floor that a slow machine reaches too.
    let long = std::env::var_os("AUTOVECTOR_LONG").is_some();
    let (writers, rows, floor) = if long { (16, 2000, 1000.0) } else { (4, 200, 100.0) };
    let writers = Writers::start(&stage.cluster, writers);
    let arm = stage.cluster.data_directory().join("autovector.failpoints");
    for place in PLACES {
        for action in ["error", "kill"] {
            writers.wait_for(rows);
            std::fs::write(&arm, format!("{place}={action}")).expect("armed");
            let mut victim = stage.cluster.connect("postgres");
            let result = victim.batch_execute(CALL);
            assert!(!arm.exists(), "{place} was not reached: is the extension built with its failpoints?");
            assert!(result.is_err(), "{action} at {place}");
            stage.cluster.wait_until_ready();
            if action == "error" {
                // Those that were ended leave it to the next one; who fails cleans up.
                let left: Vec<String> =
                    files(&stage.folder()).into_iter().filter(|f| f.ends_with(".tmp")).collect();
                assert_eq!(left, Vec::<String>::new(), "{place}");
            }
        }
        writers.wait_for_more();
        let report: Value = stage.cluster.connect("postgres").one(CALL, &[]);
        assert_eq!(report["truncate_performed"], true);
    }
    let rate = writers.pace();
    let (committed, uncertain) = writers.finish();
    stage.db = stage.cluster.connect("postgres");
    stage.db.batch(CALL);
    compare(&mut stage, &committed, &uncertain);
    eprintln!("{} rows, {rate:.0} a second, {} of them uncertain", committed.len(), uncertain.len());
    assert!(rate >= floor, "{rate:.0} rows a second are no load: at least {floor:.0} were wanted");
}
