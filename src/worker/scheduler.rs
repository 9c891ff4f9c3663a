//! The scheduler of one database: takes back what dead workers held, starts workers when there
//! is work, and has indexes built. It does no work of a batch itself.

use std::time::{Duration, Instant};

use pgrx::bgworkers::DynamicBackgroundWorker;
use pgrx::prelude::*;

use super::process;
use crate::error::Result;
use crate::services::{chores, indexing, ingest, record_status};
use crate::settings::Settings;
use crate::store::session::{self, Installed};
use crate::store::transaction::transaction;
use crate::store::wake::{self, Role};
use crate::store::{databases, load, work};

/// A worker that ends sooner has failed; the next one waits longer and longer.
const SHORT_LIFE: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Between two looks, however often somebody wakes the scheduler.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// Between two looks at the load of a server that is too busy for a worker.
const LOOK_AT_LOAD: Duration = Duration::from_millis(500);
/// After a look that found nothing to do: commits of paused vectorizers wake the scheduler too.
const FRUITLESS_PAUSE: Duration = Duration::from_millis(50);

/// Between two looks whether there is a place for a worker.
const WAIT_FOR_PLACE: Duration = Duration::from_millis(200);

struct Scheduler {
    database: pg_sys::Oid,
    name: String,
    workers: Vec<DynamicBackgroundWorker>,
    indexer: Option<DynamicBackgroundWorker>,
    housekeeper: Option<DynamicBackgroundWorker>,
    /// When a housekeeper was started last; a start of the scheduler is no reason to hurry.
    housekept: Instant,
    status_keeper: Option<DynamicBackgroundWorker>,
    last_start: Option<Instant>,
    /// Workers that ended within a second of their start, one after the other.
    failures: u32,
    told_short: bool,
    /// The version of the extension that was logged as not this library's.
    told_version: Option<String>,
    /// A living worker let a lease expire, and no other one has been started since.
    stuck: bool,
    /// The last look found nothing to do.
    fruitless: bool,
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn autovector_scheduler_main(argument: pg_sys::Datum) {
    process::attach_signals();
    let database = process::database(argument);
    session::connect(database);
    session::describe("autovector scheduler");
    if matches!(transaction(session::installed), Ok(Installed::Not) | Err(_)) {
        wake::set_no_extension(database);
        return;
    }
    process::register(Role::Scheduler, database);
    let mut scheduler = Scheduler {
        database,
        name: session::database_name(),
        workers: Vec::new(),
        indexer: None,
        housekeeper: None,
        housekept: Instant::now(),
        status_keeper: None,
        last_start: None,
        failures: 0,
        told_short: false,
        told_version: None,
        stuck: false,
        fruitless: false,
    };
    let mut next_look = Instant::now();
    let mut last_look = next_look - FRUITLESS_PAUSE;
    while !wake::is_withdrawn(database) {
        process::reload_settings();
        let settings = Settings::now();
        scheduler.bury();
        if wake::take_status_noted(database) || scheduler.keeper_left_notes() {
            scheduler.keep_status();
        }
        // Workers hear of commits themselves; while there is one, the scheduler keeps its hours.
        if scheduler.workers.is_empty() || Instant::now() >= next_look {
            let rest = if scheduler.fruitless { FRUITLESS_PAUSE } else { MIN_PAUSE };
            if last_look.elapsed() < rest {
                process::rest(rest - last_look.elapsed(), None);
            }
            last_look = Instant::now();
            match scheduler.look(&settings) {
                Ok(Some(pause)) => next_look = Instant::now() + pause,
                Ok(None) => {
                    wake::set_no_extension(database);
                    return;
                }
                Err(error) => {
                    process::log(&format!("autovector scheduler: {error}"));
                    next_look = Instant::now() + settings.naptime;
                }
            }
        }
        process::wait(
            next_look.saturating_duration_since(Instant::now()).max(Duration::from_millis(10)),
            None,
        );
    }
}

impl Scheduler {
    /// Nothing is done before the extension has the version of the library: logged once.
    fn tell_version(&mut self, version: String) {
        if self.told_version.as_ref() != Some(&version) {
            process::log(&format!(
                "autovector in database \"{}\" is version {version}, the library {}: nothing is embedded before ALTER EXTENSION autovector UPDATE, or a restart of the server if the library is the older one",
                self.name,
                session::VERSION
            ));
            self.told_version = Some(version);
        }
    }

    /// One round. Returns the time to the next one; None when the extension is gone.
    fn look(&mut self, settings: &Settings) -> Result<Option<Duration>> {
        match transaction(session::installed)? {
            Installed::Not => return Ok(None),
            Installed::Ours => self.told_version = None,
            Installed::Other(version) => {
                self.tell_version(version);
                return Ok(Some(settings.naptime));
            }
        }
        self.stuck |= ingest::reclaim()? > 0;
        let work = transaction(work::find)?;
        self.fruitless = !work.any;
        if !work.any || !self.workers.is_empty() {
            wake::stop_waiting(self.database);
        }
        let mut pause = settings.naptime.min(work.next_due.unwrap_or(settings.naptime));
        if work.any && self.workers.is_empty() && self.is_busy(settings)? {
            self.fruitless = true;
            pause = pause.min(LOOK_AT_LOAD);
        } else if work.any && (self.workers.is_empty() || self.stuck) {
            pause = pause.min(self.start_worker(settings));
        } else if work.any {
            wake::wake_workers(self.database);
        }
        self.build_index();
        if transaction(record_status::is_due)? {
            self.keep_status();
        }
        Ok(Some(pause.min(self.do_chores(settings)?)))
    }

    /// Whether a worker would have to give way at once.
    fn is_busy(&self, settings: &Settings) -> Result<bool> {
        if !settings.throttles() {
            return Ok(false);
        }
        let (sessions, lag) = (settings.throttle_active_sessions, settings.throttle_replication_lag);
        let busy = transaction(|| load::busy(sessions, lag))?;
        wake::set_throttled(self.database, busy);
        Ok(busy.is_some())
    }

    /// Starts a worker, or says how long that has to wait.
    fn start_worker(&mut self, settings: &Settings) -> Duration {
        let rest = self.rest();
        if !rest.is_zero() {
            return rest;
        }
        if wake::workers() >= settings.max_workers || wake::others_wait_longer(self.database) {
            wake::wait_for_place(self.database);
            return WAIT_FOR_PLACE;
        }
        wake::stop_waiting(self.database);
        self.last_start = Some(Instant::now());
        let started =
            process::start("autovector worker", "autovector_worker_main", self.database, &self.name);
        wake::set_short_of_places(self.database, started.is_none());
        match started {
            Some(worker) => {
                self.workers.push(worker);
                self.told_short = false;
                self.stuck = false;
            }
            None => {
                self.failures += 1;
                if !std::mem::replace(&mut self.told_short, true) {
                    process::log(&format!(
                        "autovector cannot start a worker in database \"{}\": all {} places of max_worker_processes are taken",
                        self.name,
                        databases::max_worker_processes()
                    ));
                }
            }
        }
        settings.naptime
    }

    /// What is left of the pause after workers that failed.
    fn rest(&self) -> Duration {
        let Some(last) = self.last_start else { return Duration::ZERO };
        match self.failures {
            0 => Duration::ZERO,
            n => MAX_BACKOFF.min(SHORT_LIFE * 2u32.saturating_pow(n.min(6))).saturating_sub(last.elapsed()),
        }
    }

    /// Forgets workers that have ended.
    fn bury(&mut self) {
        let before = self.workers.len();
        self.workers.retain(process::is_alive);
        if self.workers.len() < before {
            let went_home = wake::take_went_home(self.database);
            let failed = !went_home && self.last_start.is_some_and(|last| last.elapsed() < SHORT_LIFE);
            self.failures = if failed { self.failures + 1 } else { 0 };
        }
    }

    /// Index builds take long, so they have a process of their own.
    fn build_index(&mut self) {
        if self.indexer.as_ref().is_some_and(process::is_alive) {
            return;
        }
        self.indexer = None;
        match transaction(indexing::next_due) {
            Ok(Some(_)) => {
                self.indexer = process::start(
                    "autovector indexer",
                    "autovector_indexer_main",
                    self.database,
                    &self.name,
                );
            }
            Ok(None) => {}
            Err(error) => process::log(&format!("autovector scheduler: {error}")),
        }
    }

    /// Has the notes of deferred record status applied; a keeper that lives looks for them itself.
    fn keep_status(&mut self) {
        if !self.status_keeper.as_ref().is_some_and(process::is_alive) {
            self.status_keeper = process::start(
                "autovector status keeper",
                "autovector_status_keeper_main",
                self.database,
                &self.name,
            );
        }
    }

    /// True when the keeper has ended and notes came meanwhile.
    fn keeper_left_notes(&mut self) -> bool {
        if self.status_keeper.as_ref().is_none_or(process::is_alive) {
            return false;
        }
        self.status_keeper = None;
        transaction(record_status::is_due).unwrap_or(false)
    }

    /// Has the chores done that are due; returns the time to the next ones. Chores that fail
    /// without moving their hour are tried again after a nap, not at once.
    fn do_chores(&mut self, settings: &Settings) -> Result<Duration> {
        if self.housekeeper.as_ref().is_some_and(process::is_alive) {
            return Ok(settings.naptime);
        }
        self.housekeeper = None;
        let Some(due) = transaction(chores::next_due)? else { return Ok(settings.naptime) };
        let due = due.max(settings.naptime.saturating_sub(self.housekept.elapsed()));
        if due.is_zero() {
            self.housekept = Instant::now();
            self.housekeeper = process::start(
                "autovector housekeeper",
                "autovector_housekeeper_main",
                self.database,
                &self.name,
            );
            return Ok(settings.naptime);
        }
        Ok(due.min(settings.naptime))
    }
}
