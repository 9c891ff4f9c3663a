//! Memory does not depend on the size of a table.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use autovector_cluster_tests::{Sql, process, wait_until};

use super::stage::{Stage, name};

/// What a session may take above what it had before.
const MOST_KB: u64 = 64 * 1024;

/// Runs `work`, and returns the most private memory that process `pid` had meanwhile, in kB.
pub fn peak(pid: i32, work: impl FnOnce()) -> u64 {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            wait_until("the work is done", Duration::from_secs(120), || {
                let over = over.load(Ordering::Relaxed);
                most = most.max(process::private_memory_kb(pid).unwrap_or(0));
                over
            });
            most
        });
        // The watcher ends also when the work fails.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let end = Over(&over);
        work();
        drop(end);
        watcher.join().expect("the watcher")
    })
}

/// Fear: rows pile up in the session, in its threads, or in a helper, while they are written,
/// read back, or loaded.
#[test]
fn memory_stays_flat_whatever_the_size() {
    let mut stage = Stage::new();
    stage.db.batch(
        "create table docs (id int, body text, embedding vector(100));
         alter table docs alter body set storage external;
         insert into docs select i, repeat(md5(i::text), 100), array_fill(i::float4, array[100])::vector
           from generate_series(1, 27000) i",
    );
    let pid: i32 = stage.db.one("select pg_backend_pid()", &[]);
    stage.db.batch("select count(*) from ai.list_backups()");
    for arguments in ["", ", format => 'binary', compression => 'zstd', parallel => 2"] {
        let before = process::private_memory_kb(pid).expect("alive");
        let mut backup = String::new();
        let made = peak(pid, || {
            let report = stage.backup(&format!("tables => '{{docs}}'{arguments}"));
            let table = &report["tables_backed_up"]["docs"];
            assert!(!arguments.is_empty() || table["file_size"].as_u64() > Some(95_000_000), "{report}");
            backup = name(&report);
        });
        assert!(made < before + MOST_KB, "{arguments}: {before} kB grew to {made} kB");
        let loaded = peak(pid, || drop(stage.restore(&backup, "replace")));
        assert!(loaded < before + MOST_KB, "{arguments}: {before} kB grew to {loaded} kB while loading");
        stage.db.exec("select ai.delete_backup($1)", &[&backup]);
    }
    assert_eq!(stage.count("select count(*) from docs"), 27_000);
}
