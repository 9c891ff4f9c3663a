//! The launcher: one for the cluster, connected to no database. It starts a scheduler in every
//! database that may have the extension, and learns from it whether it does.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorkerBuilder, DynamicBackgroundWorker};
use pgrx::prelude::*;

use super::process;
use crate::settings::Settings;
use crate::store::databases::{self, Database};
use crate::store::wake::{self, Role};

/// Between two looks into a database that had no extension, if no commit says otherwise.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Schedulers that may be starting at one time, so that a cluster of a thousand databases does
/// not fork a thousand times at once.
const MAX_STARTING: usize = 4;

/// Registers the launcher with the postmaster; called from `_PG_init` while preloading.
pub fn init() {
    BackgroundWorkerBuilder::new("autovector launcher")
        .set_type("autovector launcher")
        .set_library("autovector")
        .set_function("autovector_launcher_main")
        .set_restart_time(Some(Duration::from_secs(5)))
        .enable_spi_access()
        .load();
}

/// What the launcher knows of one database.
struct Known {
    scheduler: Option<DynamicBackgroundWorker>,
    started: Instant,
    next_look: Instant,
    backoff: Duration,
}

impl Known {
    fn new(now: Instant) -> Self {
        Known { scheduler: None, started: now, next_look: now, backoff: FIRST_BACKOFF }
    }
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn autovector_launcher_main(_argument: pg_sys::Datum) {
    process::attach_signals();
    databases::connect_to_none();
    process::register(Role::Launcher, pg_sys::Oid::INVALID);
    let mut known: HashMap<pg_sys::Oid, Known> = HashMap::new();
    let mut short_of_places = false;
    loop {
        process::reload_settings();
        let now = Instant::now();
        match databases::list() {
            Ok(list) => {
                known.retain(|oid, _| {
                    let there = list.iter().any(|database| database.oid == *oid);
                    if !there {
                        wake::forget(*oid);
                    }
                    there
                });
                short_of_places = look(&list, &mut known, now, short_of_places);
            }
            Err(error) => process::log(&format!("autovector launcher: {error}")),
        }
        process::wait(time_to_next(&known, now), None);
    }
}

fn time_to_next(known: &HashMap<pg_sys::Oid, Known>, now: Instant) -> Duration {
    known
        .values()
        .filter(|known| known.scheduler.is_none())
        .map(|known| known.next_look.saturating_duration_since(now))
        .chain([Settings::now().naptime])
        .min()
        .unwrap_or(LOOK_AGAIN)
        .max(Duration::from_millis(50))
}

/// Starts what has to be started; returns whether the cluster is short of worker processes,
/// which is logged once.
fn look(list: &[Database], known: &mut HashMap<pg_sys::Oid, Known>, now: Instant, was_short: bool) -> bool {
    let mut starting = 0;
    for database in list {
        let entry = known.entry(database.oid).or_insert_with(|| Known::new(now));
        if let Some(scheduler) = &entry.scheduler {
            if process::is_alive(scheduler) {
                starting += usize::from(!wake::has_scheduler(database.oid));
                continue;
            }
            ended(database, entry, now);
        }
        if wake::is_withdrawn(database.oid) {
            entry.next_look = now + Duration::from_secs(1);
            continue;
        }
        let announced = wake::take_changed(database.oid);
        if (now < entry.next_look && !announced) || starting >= MAX_STARTING {
            continue;
        }
        entry.scheduler =
            process::start("autovector scheduler", "autovector_scheduler_main", database.oid, &database.name);
        entry.started = now;
        if entry.scheduler.is_none() {
            entry.next_look = now + entry.backoff;
            entry.backoff = (entry.backoff * 2).min(MAX_BACKOFF);
            if !was_short {
                process::log(&format!(
                    "autovector cannot start a scheduler for database \"{}\": all {} places of max_worker_processes are taken",
                    database.name,
                    databases::max_worker_processes()
                ));
            }
            return true;
        }
        starting += 1;
    }
    false
}

/// A scheduler that ended of itself found no extension; one that failed is tried again later and
/// later.
fn ended(database: &Database, entry: &mut Known, now: Instant) {
    entry.scheduler = None;
    if wake::take_no_extension(database.oid) {
        entry.next_look = now + LOOK_AGAIN;
        entry.backoff = FIRST_BACKOFF;
    } else {
        if now.duration_since(entry.started) > MAX_BACKOFF {
            entry.backoff = FIRST_BACKOFF;
        }
        entry.next_look = now + entry.backoff;
        entry.backoff = (entry.backoff * 2).min(MAX_BACKOFF);
    }
}
