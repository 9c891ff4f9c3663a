//! Pausing and resuming, and waiting for quiet.

use std::time::{Duration, Instant};

use super::{ingest, waiting};
use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Vectorizer};
use crate::store::locks::{self, Lock, Mode};
use crate::store::transaction::as_extension_owner;
use crate::store::{capture, control, generations, roles, wake};

/// Between two looks while waiting for others.
const POLL: Duration = Duration::from_millis(5);

fn managed(id: i32) -> Result<Vectorizer> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    roles::require_ownership(&v.source)?;
    Ok(v)
}

/// Pauses: nothing new is claimed from now on. With `wait` the batches in flight are completed
/// first, for at most `timeout`. Returns `paused`, or `pausing` when some are still in flight.
/// All of it belongs to the caller's transaction: a rollback leaves the vectorizer running.
pub fn pause(id: i32, reason: Option<&str>, wait: bool, timeout: Duration) -> Result<&'static str> {
    let v = managed(id)?;
    let by = roles::current_name()?;
    locks::wait_for_transaction(v.id, Lock::Gate, Mode::Exclusive);
    as_extension_owner(|| control::set_state(v.id, "paused", reason, &by))?;
    capture::wake_at_commit();
    let deadline = Instant::now() + timeout;
    loop {
        if locks::try_for_transaction(v.id, Lock::Batch, Mode::Exclusive) {
            return Ok("paused");
        }
        if !wait || Instant::now() >= deadline {
            return Ok("pausing");
        }
        waiting::nap(POLL);
    }
}

/// Lets a paused or halted vectorizer run again, from where it stood.
pub fn resume(id: i32) -> Result<&'static str> {
    let v = managed(id)?;
    let by = roles::current_name()?;
    as_extension_owner(|| control::set_state(v.id, "running", None, &by))?;
    capture::wake_at_commit();
    Ok("running")
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
    let deadline = Instant::now() + timeout;
    loop {
        if as_extension_owner(|| generations::is_done(&v, fence))? {
            return Ok(true);
        }
        refuse_standstill(&v)?;
        if Instant::now() >= deadline {
            return Ok(false);
        }
        waiting::nap(POLL);
    }
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
    let v = managed(id)?;
    let rows = ingest::retry_failed(&v, error_like)?;
    capture::wake_at_commit();
    Ok(rows as i64)
}
