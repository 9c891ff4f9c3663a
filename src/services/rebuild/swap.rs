//! The swap and the way back. Both are the same exchange; after it the hidden vectorizer keeps
//! the other store, and is paused: what changes is noted there, so that a way back embeds that
//! and nothing else.

use std::time::{Duration, Instant};

use autovector_domain::names;
use autovector_domain::states::RebuildState;
use pgrx::PgSqlErrorCode;

use super::{Rebuild, existing};
use crate::error::{Error, Kind, Result};
use crate::services::waiting;
use crate::store::catalog::Vectorizer;
use crate::store::locks::{self, Lock, Mode};
use crate::store::rebuilds::{self, swapping};
use crate::store::transaction::{
    as_extension_owner, as_superuser, attempt, has_fixed_snapshot, pinned, with_lock_timeout,
};
use crate::store::{capture, control, roles};

/// For so long one attempt waits at a lock, and makes others wait behind it.
const LOCK_PATIENCE: Duration = Duration::from_millis(80);
/// For so long an attempt waits for the batches in flight, which are embedded again otherwise.
const BATCH_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts: time for those who were held up.
const REST: Duration = Duration::from_millis(100);
/// Between two looks at batches in flight.
const POLL: Duration = Duration::from_millis(5);

/// Lets the new store take over now.
pub fn finish(id: i32, force: bool, timeout: Duration) -> Result<&'static str> {
    let (v, rebuild) = existing(id)?;
    match rebuild.state {
        RebuildState::Ready => {}
        RebuildState::Swapped => {
            return Err(Error::new(
                Kind::WrongState,
                format!("the rebuild of vectorizer \"{}\" is finished already", v.name),
            )
            .hint(format!("To go back: SELECT ai.rollback_rebuild('{}');", v.name)));
        }
        state => {
            let mut error = Error::new(
                Kind::WrongState,
                format!("the rebuild of vectorizer \"{}\" is not ready: it is {}", v.name, state.as_str()),
            )
            .hint(format!("Wait for it: CALL ai.wait_for_rebuild('{}');", v.name));
            error.detail = rebuild.note;
            return Err(error);
        }
    }
    if !force {
        refuse_losses(&rebuild)?;
    }
    patiently(&rebuild, timeout)?;
    Ok("swapped")
}

/// Goes back to the store from before the last swap.
pub fn rollback(id: i32, timeout: Duration) -> Result<&'static str> {
    let (v, rebuild) = existing(id)?;
    if rebuild.is_running() {
        return Err(Error::new(Kind::WrongState, format!("the rebuild of vectorizer \"{}\" has not been swapped", v.name))
            .hint(format!("The old store is still the one that serves; to give the rebuild up: SELECT ai.cancel_rebuild('{}');", v.name)));
    }
    patiently(&rebuild, timeout)?;
    Ok("rolled back")
}

/// A new store that lacks rows that the old one has would be found out by those who search.
pub fn refuse_losses(rebuild: &Rebuild) -> Result<()> {
    let (old, new) = as_extension_owner(|| swapping::pair(rebuild.vectorizer, rebuild.other))?;
    let (before, after) = as_superuser(|| Ok((rebuilds::failed_rows(&old)?, rebuilds::failed_rows(&new)?)))?;
    if after <= before {
        return Ok(());
    }
    Err(Error::new(
        Kind::WrongState,
        format!("the new store of vectorizer \"{}\" lacks {after} rows that were refused, the old one {before}", old.name),
    )
    .hint(format!(
        "See ai.vectorizer_records('{}') and ai.retry_failed('{}'); SELECT ai.finish_rebuild('{1}', force => true); takes it as it is.",
        new.name, old.name
    )))
}

/// Swaps in the caller's transaction, again and again while somebody is in the way.
pub fn patiently(rebuild: &Rebuild, timeout: Duration) -> Result<()> {
    if has_fixed_snapshot() {
        return Err(Error::new(Kind::WrongState, "stores cannot be swapped on an old snapshot")
            .hint("Do it in a transaction of isolation level READ COMMITTED."));
    }
    let deadline = Instant::now().checked_add(timeout);
    loop {
        let error = match attempt(|| once(rebuild)) {
            Ok(()) => {
                capture::wake_at_commit();
                return Ok(());
            }
            Err(error) => error,
        };
        if !is_in_the_way(&error) {
            return Err(error);
        }
        if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            return Err(error.hint("Nothing was changed. Try again when the transactions that use source, store or view have ended."));
        }
        as_superuser(|| {
            let (main, other) = swapping::pair(rebuild.vectorizer, rebuild.other)?;
            rebuilds::cancel_autovacuum(vec![
                main.source.oid,
                main.store.oid,
                other.store.oid,
                main.queue_oid,
                other.queue_oid,
            ])
        })?;
        waiting::nap(REST);
    }
}

/// True for errors of somebody who holds what a swap needs: lock_not_available, deadlock_detected.
pub fn is_in_the_way(error: &Error) -> bool {
    matches!(error.sqlstate().as_str(), "55P03" | "40P01")
}

fn once(rebuild: &Rebuild) -> Result<()> {
    let by = roles::current_name()?;
    pinned(|| with_lock_timeout(LOCK_PATIENCE, || as_superuser(|| exchange(rebuild, &by))))
}

fn exchange(rebuild: &Rebuild, by: &str) -> Result<()> {
    let both = [rebuild.vectorizer, rebuild.other];
    for id in both {
        locks::wait_for_transaction(id, Lock::Gate, Mode::Exclusive);
    }
    let began = Instant::now();
    while !both.iter().all(|id| locks::try_for_transaction(*id, Lock::Batch, Mode::Exclusive))
        && began.elapsed() < BATCH_PATIENCE
    {
        waiting::nap(POLL);
    }
    require_young_snapshots(rebuild)?;
    let (main, other) = swapping::pair(rebuild.vectorizer, rebuild.other)?;
    let milliseconds = swapping::exchange(&main, &other)?;
    settle(rebuild, &main, by)?;
    rebuilds::set_swapped(rebuild.vectorizer, milliseconds)
}

/// A session with a snapshot from before the new store was filled would find it half empty.
fn require_young_snapshots(rebuild: &Rebuild) -> Result<()> {
    let Some(ready) = rebuild.ready_xid.filter(|_| rebuild.is_running()) else { return Ok(()) };
    let old = rebuilds::old_snapshots(ready)?;
    if old.is_empty() {
        return Ok(());
    }
    let pids: Vec<String> = old.iter().map(i32::to_string).collect();
    Err(Error::new(
        Kind::Database(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE),
        format!("the snapshots of sessions {} are older than the new store", pids.join(", ")),
    ))
}

/// The vectorizer goes on, the one with the other store rests.
fn settle(rebuild: &Rebuild, main: &Vectorizer, by: &str) -> Result<()> {
    let name = names::with_suffix(&main.name, &format!("_previous_{}", rebuild.other));
    rebuilds::rename(rebuild.other, &name)?;
    let reason = format!("keeps the previous store of {} for ai.rollback_rebuild", main.name);
    control::set_state(rebuild.other, "paused", Some(&reason), by, false)?;
    // What it was halted over belongs to the configuration that has gone.
    if control::read(rebuild.vectorizer)?.is_some_and(|control| control.state == "halted") {
        control::set_state(rebuild.vectorizer, "running", None, by, false)?;
    }
    Ok(())
}
