//! Pausing and resuming, and waiting for quiet.

use std::time::{Duration, Instant};

use super::access::{self, Level};
use super::vectorizers::check_columns;
use super::{ingest, rebuild, waiting};
use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Vectorizer};
use crate::store::locks::{self, Lock, Mode};
use crate::store::transaction::as_extension_owner;
use crate::store::{capture, control, generations, ledger, rebuilds, roles, wake, work};

/// Between two looks while waiting for others.
const POLL: Duration = Duration::from_millis(5);

/// The vectorizer, for a caller who has this level of it.
pub(super) fn managed(id: i32, level: Level) -> Result<Vectorizer> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    access::require(&v, level)?;
    rebuild::refuse_hidden(id)?;
    Ok(v)
}

/// The vectorizer and the hidden one that fills a new store for it: they stop and go together.
pub(super) fn with_rebuild(id: i32) -> Result<Vec<i32>> {
    let filling = as_extension_owner(|| rebuilds::filling(id))?;
    Ok(std::iter::once(id).chain(filling).collect())
}

/// Pauses: nothing new is claimed from now on. With `wait` the batches in flight are completed
/// first, for at most `timeout`. Returns `paused`, or `pausing` when some are still in flight.
/// All of it belongs to the caller's transaction: a rollback leaves the vectorizer running.
pub fn pause(id: i32, reason: Option<&str>, wait: bool, timeout: Duration) -> Result<&'static str> {
    let v = managed(id, Level::Operate)?;
    let deadline = Instant::now().checked_add(timeout);
    let by = roles::current_name()?;
    let both = with_rebuild(v.id)?;
    for id in &both {
        locks::wait_for_transaction(*id, Lock::Gate, Mode::Exclusive);
        as_extension_owner(|| control::set_state(*id, "paused", reason, &by, false))?;
    }
    capture::wake_at_commit();
    let quiet = wait_for_quiet(both, wait, deadline)?.is_empty();
    Ok(if quiet { "paused" } else { "pausing" })
}

/// Lets a paused or halted vectorizer run again, from where it stood; triggers that were dropped are
/// made anew. Returns `running`, or `waiting for window`.
pub fn resume(id: i32) -> Result<&'static str> {
    let v = managed(id, Level::Operate)?;
    let by = roles::current_name()?;
    check_columns(&v.source, &v.config)?;
    if access::as_owner(&v, Level::Operate, || rebuild::mend_triggers(&v))? {
        pgrx::notice!(
            "triggers of vectorizer \"{}\" were missing and have been made again; every row is looked at",
            v.name
        );
    }
    for id in with_rebuild(v.id)? {
        as_extension_owner(|| {
            control::set_state(id, "running", None, &by, false)?;
            rebuilds::set_note(id, None)
        })?;
    }
    capture::wake_at_commit();
    Ok(resumed(&v))
}

fn resumed(v: &Vectorizer) -> &'static str {
    let closed = v.config.scheduling.state(work::now()).is_some_and(|window| !window.open);
    if closed { "waiting for window" } else { "running" }
}

/// Waits until the vectorizers have nothing in flight; returns those that still have. The wait is one
/// for a lock: `pg_locks` shows it, and it ends when the statement is cancelled. None: no end to it.
fn wait_for_quiet(mut busy: Vec<i32>, wait: bool, deadline: Option<Instant>) -> Result<Vec<i32>> {
    busy.retain(|id| !locks::try_for_transaction(*id, Lock::Batch, Mode::Exclusive));
    if !wait {
        return Ok(busy);
    }
    let mut still = Vec::new();
    for id in busy {
        let left =
            deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() || !locks::wait_at_most(id, Lock::Batch, Mode::Exclusive, left)? {
            still.push(id);
        }
    }
    Ok(still)
}

/// The vectorizers that the caller manages. One whose tables are gone has nothing to do anyway.
fn all_managed() -> Result<Vec<Vectorizer>> {
    let ids = as_extension_owner(catalog::ids)?;
    let all: Vec<Vectorizer> =
        ids.iter().filter_map(|id| as_extension_owner(|| catalog::vectorizer(*id)).ok()).collect();
    let may = |v: &Vectorizer| access::require(v, Level::Operate);
    let refused = all.iter().map(may).find_map(Result::err);
    let managed: Vec<Vectorizer> = all.into_iter().filter(|v| may(v).is_ok()).collect();
    match refused {
        Some(error) if managed.is_empty() => Err(error),
        _ => Ok(managed),
    }
}

/// Pauses every vectorizer that runs and that the caller manages. Returns the name and state of
/// all that are paused together, those of an earlier call included.
pub fn pause_all(reason: Option<&str>, wait: bool, timeout: Duration) -> Result<Vec<(String, &'static str)>> {
    let managed = all_managed()?;
    let deadline = Instant::now().checked_add(timeout);
    let by = roles::current_name()?;
    let mut paused = Vec::new();
    for v in &managed {
        // In the order of the ids, so that two of these calls do not deadlock.
        locks::wait_for_transaction(v.id, Lock::Gate, Mode::Exclusive);
        let together = as_extension_owner(|| {
            if control::read(v.id)?.is_some_and(|control| control.state == "running") {
                control::set_state(v.id, "paused", reason, &by, true)?;
                return Ok(true);
            }
            Ok(control::paused_with_all()?.contains(&v.id))
        })?;
        if together {
            paused.push(v);
        }
    }
    capture::wake_at_commit();
    let busy = wait_for_quiet(paused.iter().map(|v| v.id).collect(), wait, deadline)?;
    let state = |id| if busy.contains(&id) { "pausing" } else { "paused" };
    Ok(paused.into_iter().map(|v| (v.name.clone(), state(v.id))).collect())
}

/// Lets those run again that `pause_all` paused and that the caller manages.
pub fn resume_all() -> Result<Vec<(String, &'static str)>> {
    let managed = all_managed()?;
    let by = roles::current_name()?;
    let together = as_extension_owner(control::paused_with_all)?;
    let mut resumed_now = Vec::new();
    for v in managed.iter().filter(|v| together.contains(&v.id)) {
        as_extension_owner(|| control::set_state(v.id, "running", None, &by, false))?;
        resumed_now.push((v.name.clone(), resumed(v)));
    }
    capture::wake_at_commit();
    Ok(resumed_now)
}

/// Waits until everything that was committed before the call is embedded (or failed with a
/// reason). False when `timeout` is over first.
pub fn wait(id: i32, timeout: Duration) -> Result<bool> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    if !wake::preloaded() {
        return Err(Error::new(
            Kind::WrongState,
            "autovector is not preloaded, so there is nobody to wait for",
        )
        .hint("Add shared_preload_libraries = 'autovector' to postgresql.conf and restart the server."));
    }
    let fence = as_extension_owner(generations::last)?;
    let deadline = Instant::now().checked_add(timeout);
    loop {
        if as_extension_owner(|| generations::is_done(&v, fence))? {
            return Ok(true);
        }
        refuse_standstill(&v)?;
        refuse_uncommitted(&v)?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
        waiting::nap(POLL);
    }
}

/// Does what is pending, and comes back when that is done. What forbids workers to is an error.
pub fn execute(id: i32) -> Result<()> {
    let v = managed(id, Level::Operate)?;
    refuse_uncommitted(&v)?;
    if let Some((tokens, _)) = as_extension_owner(|| ledger::spent(v.id))? {
        return Err(Error::new(
            Kind::WrongState,
            format!("the budget of {tokens} tokens of vectorizer \"{}\" is used up", v.name),
        )
        .hint("Raise it with ai.set_budget, or wait for the next period."));
    }
    let closed = v.config.scheduling.state(work::now()).is_some_and(|window| !window.open);
    if closed && !as_extension_owner(|| work::standing(v.id))?.is_some_and(|standing| standing.run) {
        return Err(Error::new(
            Kind::WrongState,
            format!("the window of vectorizer \"{}\" is closed", v.name),
        )
        .hint(format!(
            "SELECT ai.run_vectorizer('{0}'); and then, in another transaction, SELECT ai.wait_for_vectorizer('{0}');",
            v.name
        )));
    }
    wait(v.id, Duration::MAX / 4).map(|_| ())
}

/// Workers run in transactions of their own: what this one changes can let no worker work.
fn refuse_uncommitted(v: &Vectorizer) -> Result<()> {
    if as_extension_owner(|| control::is_uncommitted(v.id))? {
        return Err(Error::new(
            Kind::WrongState,
            format!(
                "vectorizer \"{}\" was created or changed in this transaction, and no worker sees that yet",
                v.name
            ),
        )
        .hint("COMMIT first."));
    }
    Ok(())
}

/// Waiting for a vectorizer that stands still would wait for ever.
fn refuse_standstill(v: &Vectorizer) -> Result<()> {
    match as_extension_owner(|| control::read(v.id))? {
        Some(control) if control.state != "running" => {
            let reason = control.reason.map_or(String::new(), |reason| format!(": {reason}"));
            Err(Error::new(
                Kind::WrongState,
                format!("vectorizer \"{}\" is {}{reason}", v.name, control.state),
            )
            .hint(format!("SELECT ai.resume_vectorizer('{}');", v.name)))
        }
        _ => Ok(()),
    }
}

/// Puts failed rows back into the dirty set; returns how many.
pub fn retry_failed(id: i32, error_like: Option<&str>) -> Result<i64> {
    let v = managed(id, Level::Operate)?;
    let mut rows = ingest::retry_failed(&v, error_like)?;
    if let Some(other) = as_extension_owner(|| rebuilds::filling(v.id))? {
        rows += ingest::retry_failed(&as_extension_owner(|| catalog::vectorizer(other))?, error_like)?;
    }
    capture::wake_at_commit();
    Ok(rows as i64)
}
