//! Processes that help with one backup. They are told by a name alone what to do, and are ended
//! with the backup.

use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::pg_sys;

use crate::store::latch;

/// How long a helper that was told to end is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Helpers(Vec<DynamicBackgroundWorker>);

impl Helpers {
    /// Starts up to `count` helpers for the backup called `name`; fewer where the server has no
    /// place for more (`max_worker_processes`).
    pub fn start(count: usize, name: &str) -> Helpers {
        // SAFETY: plain globals of this backend. The handles are palloc'ed and have to live as
        // long as the transaction; the switch is undone below.
        let (previous, database, pid) = unsafe {
            let previous = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = pg_sys::TopTransactionContext;
            (previous, pg_sys::MyDatabaseId, pg_sys::MyProcPid)
        };
        let mut helpers = Vec::with_capacity(count);
        for _ in 0..count {
            let started = BackgroundWorkerBuilder::new(&format!("autovector backup: {name}"))
                .set_type("autovector backup")
                .set_library("autovector")
                .set_function("autovector_backup_helper_main")
                .set_argument(Some(pg_sys::Datum::from(database)))
                .set_extra(name)
                .set_restart_time(None)
                .set_notify_pid(pid)
                .enable_spi_access()
                .load_dynamic();
            match started {
                Ok(helper) => helpers.push(helper),
                Err(_) => break,
            }
        }
        // SAFETY: restores what was saved above.
        unsafe { pg_sys::CurrentMemoryContext = previous };
        Helpers(helpers)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Waits until all have ended.
    pub fn wait(&mut self) {
        while self.any_alive() {
            latch::wait(Duration::from_millis(20));
        }
        self.0.clear();
    }

    fn any_alive(&self) -> bool {
        let alive = |helper: &DynamicBackgroundWorker| {
            matches!(helper.pid(), Ok(_) | Err(BackgroundWorkerStatus::NotYetStarted))
        };
        self.0.iter().any(alive)
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut told = false;
        // After an error or a cancel: what they write must be at rest before it is removed.
        while self.any_alive() && Instant::now() < deadline {
            for helper in self.0.iter().filter(|_| !told) {
                if let Ok(pid) = helper.pid() {
                    // SAFETY: a signal to a process that this one has started.
                    unsafe { libc::kill(pid, libc::SIGTERM) };
                }
            }
            told = self
                .0
                .iter()
                .all(|helper| !matches!(helper.pid(), Err(BackgroundWorkerStatus::NotYetStarted)));
            latch::doze(Duration::from_millis(5));
        }
    }
}
