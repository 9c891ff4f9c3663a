//! The worker: claims batches of all vectorizers of its database in turn, hands them to its
//! threads, and completes what comes back. While one provider is slow, the others go on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use autovector_domain::failure::Failure;
use autovector_domain::readiness::Readiness;
use pgrx::prelude::*;

use super::batches::{Deferred, InFlight, Pacers, Served};
use super::threads::Threads;
use super::{process, readers};
use crate::error::{Error, Result};
use crate::services::batch::{Batch, Embedded};
use crate::services::cached;
use crate::services::documents;
use crate::services::ingest::{self, Retry};
use crate::settings::Settings;
use crate::store::completion::Completed;
use crate::store::locks::{self, Lock, Mode};
use crate::store::queue::Wanted;
use crate::store::session::{self, WorkerIdentity};
use crate::store::transaction::transaction;
use crate::store::wake::{self, Role};
use crate::store::work::Standing;
use crate::store::{catalog, failpoint, leases, load, work};

/// After a lock that somebody else holds.
const RETRY_LOCKED: Duration = Duration::from_millis(500);
const MAX_RETRY_LOCKED: Duration = Duration::from_secs(10);
/// Between two rounds that find nothing to claim. Every commit wakes the worker, also those of
/// paused vectorizers: without a rest a busy table would keep a processor busy for nothing.
const FRUITLESS_REST: Duration = Duration::from_millis(10);
/// A worker that other databases wait for goes home after this time; its own scheduler then
/// queues up behind them.
const TURN: Duration = Duration::from_secs(5);
/// Between two looks at the load of the server, while there is work.
const LOOK_AT_LOAD: Duration = Duration::from_millis(250);
const LOG_AS: &str = "autovector worker";

struct Worker {
    database: pg_sys::Oid,
    started: Instant,
    settings: Settings,
    identity: WorkerIdentity,
    threads: Threads,
    served: HashMap<i32, Served>,
    in_flight: HashMap<u64, InFlight>,
    deferred: Vec<Deferred>,
    next_batch: u64,
    /// The vectorizer that was claimed for last: the next round begins behind it.
    turn: i32,
    last_work: Instant,
    last_renewal: Instant,
    /// Rounds after a wake-up that found nothing to claim, one after the other, and the last.
    fruitless: u32,
    last_fruitless: Instant,
    /// The server is busy: nothing is claimed.
    busy: bool,
    last_load: Option<Instant>,
    /// No vectorizer may work before somebody resumes it or a window opens: there is nothing to
    /// stay for.
    at_rest: bool,
    /// When the next vectorizer that rests now may go on.
    next_due: Option<Instant>,
    pacers: Pacers,
    documents: documents::Shared,
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn autovector_worker_main(argument: pg_sys::Datum) {
    process::attach_signals();
    // While there is one thread, and nothing of a database.
    let documents = documents::Shared::new(readers::start());
    let database = process::database(argument);
    session::connect(database);
    session::describe(LOG_AS);
    process::register(Role::Worker, database);
    let threads =
        Threads::new().unwrap_or_else(|error| pgrx::error!("autovector cannot create an eventfd: {error}"));
    let identity = session::identity().unwrap_or_else(|error| pgrx::error!("{error}"));
    let now = Instant::now();
    let mut worker = Worker {
        database,
        started: now,
        settings: Settings::now(),
        identity,
        threads,
        served: HashMap::new(),
        in_flight: HashMap::new(),
        deferred: Vec::new(),
        next_batch: 0,
        turn: 0,
        last_work: now,
        last_renewal: now,
        fruitless: 0,
        last_fruitless: now,
        busy: false,
        last_load: None,
        at_rest: false,
        next_due: None,
        pacers: Pacers::default(),
        documents,
    };
    // Leaving a database that is about to go abandons what is in flight; leases see to it.
    while !wake::is_withdrawn(database) && worker.round() {}
    wake::set_went_home(database);
}

impl Worker {
    /// One turn of the loop; false when the process may end.
    fn round(&mut self) -> bool {
        self.rest();
        self.look_at_load();
        let claimed_before = self.next_batch;
        let turn_is_over = self.started.elapsed() >= TURN && wake::others_wait(self.database);
        if turn_is_over && self.is_idle() {
            return false;
        }
        match if turn_is_over { Ok(true) } else { self.claim_all() } {
            Ok(true) if self.next_batch > claimed_before => self.fruitless = 0,
            Ok(true) => self.last_fruitless = Instant::now(),
            Ok(false) => return false,
            Err(error) => {
                process::log(&format!("{LOG_AS}: {error}"));
                if self.in_flight.is_empty() && self.deferred.is_empty() {
                    return false;
                }
            }
        }
        let unwanted = self.at_rest
            || self.documents.readers.are_gone()
            || self.last_work.elapsed() >= self.settings.idle_timeout
            || wake::others_wait(self.database);
        if self.is_idle() && unwanted {
            return false;
        }
        let woken = process::wait(self.next_wake(), Some(self.threads.descriptor()));
        if process::reload_settings() {
            self.settings = Settings::now();
            self.forget_idle(Duration::ZERO);
        }
        if woken.latch {
            self.fruitless += 1;
            self.served.values_mut().for_each(Served::look_again);
        }
        if woken.readable {
            self.threads.clear();
        }
        while let Some((id, embedded)) = self.threads.next() {
            if let Some(batch) = self.in_flight.remove(&id) {
                let deferred =
                    Deferred { batch, embedded, replace: false, attempts: 0, next: Instant::now() };
                self.complete(deferred);
            }
        }
        self.retry_deferred();
        self.renew_leases();
        self.forget_idle(self.settings.idle_timeout);
        true
    }

    /// Sits out what is left of the rest when wake-ups have led to nothing; results end it at
    /// once. The first wake-up after work is served without delay.
    fn rest(&self) {
        let left = FRUITLESS_REST.saturating_sub(self.last_fruitless.elapsed());
        if self.fruitless > 1 && !left.is_zero() {
            process::rest(left, Some(self.threads.descriptor()));
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.deferred.is_empty()
    }

    fn next_wake(&self) -> Duration {
        let now = Instant::now();
        let mut wake = self.settings.naptime.min(self.settings.lease_duration / 3);
        if self.is_idle() {
            wake = wake.min(self.settings.idle_timeout.saturating_sub(self.last_work.elapsed()));
        }
        if self.settings.throttles() && (self.busy || !self.is_idle()) {
            wake = wake.min(LOOK_AT_LOAD);
        }
        let locked =
            self.served.values().filter(|s| !s.exhausted && s.not_before > now).map(|s| s.not_before);
        let due = self.deferred.iter().map(|deferred| deferred.next).chain(locked).chain(self.next_due);
        for next in due {
            wake = wake.min(next.saturating_duration_since(now));
        }
        wake.max(Duration::from_millis(1))
    }

    // --- claiming -----------------------------------------------------------------------------

    /// Looks at the load of the server, now and then.
    fn look_at_load(&mut self) {
        if !self.settings.throttles() {
            if std::mem::take(&mut self.busy) {
                wake::set_throttled(self.database, None);
                self.last_load = None;
            }
            return;
        }
        if self.last_load.is_some_and(|last| last.elapsed() < LOOK_AT_LOAD) {
            return;
        }
        self.last_load = Some(Instant::now());
        let limits = (self.settings.throttle_active_sessions, self.settings.throttle_replication_lag);
        match transaction(|| load::busy(limits.0, limits.1)) {
            Ok(busy) => {
                self.busy = busy.is_some();
                wake::set_throttled(self.database, busy);
            }
            Err(error) => process::log(&format!("{LOG_AS}: {error}")),
        }
    }

    /// Holds up the batches in flight while the server is busy; those that somebody waits for in
    /// order to pause go on.
    fn brake(&self, ready: &[Standing]) {
        for (id, served) in &self.served {
            let may_wait = || {
                transaction(|| Ok(locks::try_for_transaction(*id, Lock::Gate, Mode::Share))).unwrap_or(false)
            };
            let on = self.busy
                && served.in_flight > 0
                && ready.iter().any(|standing| standing.id == *id)
                && may_wait();
            served.brake.set(on);
        }
    }

    /// Claims for every vectorizer that has room and work, until none is left: changed rows before
    /// backfills, lower numbers of priority before higher ones, one batch each in turn among
    /// equals. False when the extension is gone.
    fn claim_all(&mut self) -> Result<bool> {
        let Some(standings) =
            transaction(|| if session::is_ours()? { work::standings().map(Some) } else { Ok(None) })?
        else {
            return Ok(false);
        };
        self.at_rest =
            !standings.iter().any(|s| matches!(s.readiness, Readiness::Ready | Readiness::BackingOff(_)));
        let rests = standings.iter().filter_map(|s| s.readiness.wait().filter(|wait| !wait.is_zero()));
        self.next_due = rests.min().map(|wait| Instant::now() + wait);
        let ready: Vec<Standing> = standings.into_iter().filter(Standing::is_ready).collect();
        let unused: Vec<i32> =
            self.served.keys().copied().filter(|id| ready.iter().all(|s| s.id != *id)).collect();
        for id in unused {
            self.drop_if_unused(id);
        }
        self.brake(&ready);
        if self.busy {
            return Ok(true);
        }
        let mut groups: Vec<Vec<Standing>> =
            ready.chunk_by(|a, b| a.priority == b.priority).map(<[Standing]>::to_vec).collect();
        for group in &mut groups {
            let turn = group.partition_point(|standing| standing.id <= self.turn);
            group.rotate_left(turn);
        }
        if groups.len() > 1 {
            self.claim_groups(&mut groups, Wanted::Changes);
        }
        self.claim_groups(&mut groups, Wanted::Any);
        Ok(true)
    }

    /// Claims for one priority after the other. Groups that have to wait for those before them
    /// are taken off.
    fn claim_groups(&mut self, groups: &mut Vec<Vec<Standing>>, wanted: Wanted) {
        let now = Instant::now();
        for place in 0..groups.len() {
            let mut claimed = true;
            while claimed {
                claimed = false;
                for standing in &groups[place] {
                    if self.threads.has_room() && self.claim_for(standing, wanted) {
                        self.turn = standing.id;
                        claimed = true;
                    }
                }
            }
            let held_back = |s: &Standing| self.served.get(&s.id).is_some_and(|v| v.holds_back(wanted, now));
            if groups[place].iter().any(held_back) {
                groups.truncate(place + 1);
                return;
            }
        }
    }

    /// Claims one batch of one vectorizer; true when it did.
    fn claim_for(&mut self, standing: &Standing, wanted: Wanted) -> bool {
        let id = standing.id;
        let now = Instant::now();
        if let Some(served) = self.served.get(&id)
            && (served.is_empty(wanted)
                || !served.has_room()
                || served.not_before > now
                || standing.tokens_left.is_some_and(|left| served.tokens_in_flight >= left))
        {
            return false;
        }
        let v = match transaction(|| catalog::vectorizer(id)) {
            Ok(v) => v,
            Err(error) => {
                self.trouble(id, &error);
                return false;
            }
        };
        if !self.serve(&v) {
            return false;
        }
        let served = self.served.get_mut(&id).expect("served just now");
        let paced = served.paced();
        if !paced.is_zero() {
            served.not_before = now + paced;
            return false;
        }
        let duration = self.settings.lease_duration;
        let columns = served.pipeline.columns();
        match ingest::claim(&v, columns, wanted, served.batch_size, &self.identity, duration) {
            Ok(Some(claim)) => {
                if served.in_flight == 0 {
                    if now.duration_since(served.last_used) > Duration::from_secs(1) {
                        served.rate.restart(now);
                    }
                    served.last_result = now;
                }
                served.in_flight += 1;
                served.not_before = served.next_claim(now);
                served.last_used = now;
                self.last_work = now;
                let known = cached::recall(&v, &served.pipeline, &claim.rows);
                let batch = Batch {
                    known,
                    rows: claim.rows,
                    brake: served.brake.clone(),
                    pipeline: served.pipeline.clone(),
                    embedder: served.embedder.clone(),
                    dimensions: served.dimensions,
                    documents: served.documents.clone(),
                };
                log_if_failed(failpoint::reach("after_claim"));
                let tokens = batch.estimate_tokens();
                served.tokens_in_flight += tokens;
                self.next_batch += 1;
                self.in_flight
                    .insert(self.next_batch, InFlight { vectorizer: v, lease: claim.lease, tokens });
                self.threads.submit(self.next_batch, batch);
                true
            }
            Ok(None) => {
                served.unchanged = true;
                served.exhausted |= wanted == Wanted::Any;
                false
            }
            Err(error) if ingest::retry(&error) == Retry::Soon || newly_named(&v).is_some() => {
                served.not_before = now + RETRY_LOCKED;
                false
            }
            Err(error) => {
                self.trouble(id, &error);
                false
            }
        }
    }

    /// Opens the vectorizer's provider if that is still to be done; false when it cannot be.
    fn serve(&mut self, v: &catalog::Vectorizer) -> bool {
        if let Some(served) = self.served.get(&v.id) {
            if served.is_current(v) {
                return true;
            }
            if served.in_flight > 0 {
                return false;
            }
        }
        match Served::open(v, &self.settings, &mut self.pacers, &self.documents) {
            Ok(served) => {
                self.served.insert(v.id, served);
                true
            }
            Err(failure) => {
                let noted = match &failure {
                    Failure::Config { message, hint } => {
                        ingest::halt(v.id, &ingest::with_hint(message, hint.as_deref()))
                    }
                    other => ingest::back_off(v.id, &other.to_string()),
                };
                log_if_failed(noted);
                process::log(&format!(
                    "{LOG_AS}: vectorizer \"{}\" cannot open its provider: {failure}",
                    v.name
                ));
                false
            }
        }
    }

    /// A vectorizer that cannot be worked on: its state says why, the others go on.
    fn trouble(&mut self, id: i32, error: &Error) {
        let reason = ingest::with_hint(&error.message, error.hint.as_deref());
        process::log(&format!("{LOG_AS}: vectorizer {id}: {reason}"));
        let noted = if ingest::is_configuration(error) {
            ingest::halt(id, &reason)
        } else {
            ingest::back_off(id, &reason)
        };
        log_if_failed(noted);
    }

    // --- completing ---------------------------------------------------------------------------

    fn complete(&mut self, mut deferred: Deferred) {
        let now = Instant::now();
        let id = deferred.batch.vectorizer.id;
        let rows = deferred.embedded.rows.len();
        let rate = self.served.get_mut(&id).map_or(0.0, |served| {
            if deferred.attempts == 0 {
                match &deferred.embedded.failure {
                    Some(Failure::Request { .. }) => served.window.error(),
                    _ => served.window.success(),
                }
            }
            served.rate.add(now, if deferred.attempts == 0 { rows } else { 0 })
        });
        let InFlight { vectorizer, lease, .. } = &deferred.batch;
        if self.served.get_mut(&id).is_some_and(|served| served.has_news_of_cuts(&deferred.embedded)) {
            process::log(&format!(
                "{LOG_AS}: vectorizer \"{}\": texts that are longer than the model reads are cut for it, see ai.vectorizer_errors; smaller chunks or oversize => 'refuse' prevent it",
                vectorizer.name
            ));
        }
        match ingest::finish(vectorizer, lease, &deferred.embedded, rate, deferred.replace) {
            Ok(Completed::Rows(_)) => {}
            Ok(Completed::Stale) => {
                process::log(&format!(
                    "{LOG_AS}: a batch of vectorizer \"{}\" came too late: its lease is gone",
                    vectorizer.name
                ));
            }
            Err(error) => match (ingest::retry(&error), newly_named(vectorizer)) {
                (Retry::Soon, renamed) | (_, renamed @ Some(_)) => {
                    if let Some(renamed) = renamed {
                        deferred.batch.vectorizer = renamed;
                    }
                    deferred.attempts += 1;
                    deferred.next = now + (RETRY_LOCKED * deferred.attempts).min(MAX_RETRY_LOCKED);
                    self.deferred.push(deferred);
                    return;
                }
                (Retry::Replacing, None) if !deferred.replace => {
                    deferred.replace = true;
                    deferred.attempts += 1;
                    return self.complete(deferred);
                }
                _ => self.give_up(&deferred.batch, &deferred.embedded, &error),
            },
        }
        let halted = matches!(deferred.embedded.failure, Some(Failure::Config { .. }));
        self.done_with(&deferred.batch, halted);
    }

    fn give_up(&mut self, batch: &InFlight, embedded: &Embedded, error: &Error) {
        if let Err(error) = ingest::release(&batch.vectorizer, &batch.lease, embedded) {
            pgrx::debug1!("{LOG_AS}: a lease could not be released: {error}");
        }
        self.trouble(batch.vectorizer.id, error);
    }

    fn done_with(&mut self, batch: &InFlight, halted: bool) {
        let id = batch.vectorizer.id;
        // In a transaction of its own: lock functions need one, even for a session's lock.
        log_if_failed(transaction(|| {
            locks::release_session(id, Lock::Batch, Mode::Share);
            Ok(())
        }));
        self.last_work = Instant::now();
        if let Some(served) = self.served.get_mut(&id) {
            served.in_flight -= 1;
            served.tokens_in_flight -= batch.tokens;
            served.look_again();
            served.last_used = self.last_work;
            served.last_result = self.last_work;
        }
        if halted {
            // A halted vectorizer may be mended and resumed: open its provider anew then.
            self.drop_if_unused(id);
        }
    }

    fn retry_deferred(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.deferred).into_iter().partition(|deferred| deferred.next <= now);
        self.deferred = later;
        for deferred in due {
            self.complete(deferred);
        }
    }

    fn renew_leases(&mut self) {
        if self.is_idle() || self.last_renewal.elapsed() < self.settings.lease_duration / 3 {
            return;
        }
        self.last_renewal = Instant::now();
        let held = self.in_flight.values().map(|batch| batch.lease.id);
        let held = held.chain(self.deferred.iter().map(|deferred| deferred.batch.lease.id)).collect();
        log_if_failed(transaction(|| leases::renew(held, self.settings.lease_duration)));
    }

    // --- giving back --------------------------------------------------------------------------

    fn drop_if_unused(&mut self, id: i32) {
        if self.served.get(&id).is_some_and(|served| served.in_flight == 0) {
            self.served.remove(&id);
        }
    }

    fn forget_idle(&mut self, after: Duration) {
        self.served.retain(|_, served| served.in_flight > 0 || served.last_used.elapsed() < after);
    }
}

/// The vectorizer as the catalog has it now, where its tables have other names than `v` knows: what
/// failed for that may be tried again.
fn newly_named(v: &catalog::Vectorizer) -> Option<catalog::Vectorizer> {
    let now = transaction(|| catalog::vectorizer(v.id)).ok()?;
    let names = |v: &catalog::Vectorizer| (v.source.ident.clone(), v.store.ident.clone(), v.column.clone());
    (names(&now) != names(v) || now.key != v.key).then_some(now)
}

fn log_if_failed(result: Result<()>) {
    if let Err(error) = result {
        process::log(&format!("{LOG_AS}: {error}"));
    }
}
