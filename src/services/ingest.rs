//! The life of a batch as seen from PostgreSQL: claim, finish, give up, reclaim. Each function
//! is one transaction, and none is open in between.

use std::time::Duration;

use autovector_domain::backoff;
use autovector_domain::failure::Failure;

use super::batch::Embedded;
use super::cached;
use crate::error::{Error, Result};
use crate::store::catalog::{self, Vectorizer};
use crate::store::completion::{self, Completed, FinishedRow, Outcome};
use crate::store::queue::{self, Claim, Lease, Wanted};
use crate::store::record_status::embedding;
use crate::store::session::WorkerIdentity;
use crate::store::transaction::{as_role, transaction};
use crate::store::{control, failpoint, leases, ownership};

/// Claims the next batch of `v`; see `store::queue::claim`.
pub fn claim(
    v: &Vectorizer,
    template_columns: &[String],
    wanted: Wanted,
    limit: usize,
    worker: &WorkerIdentity,
    lease_duration: Duration,
) -> Result<Option<Claim>> {
    transaction(|| {
        ownership::follow_source(v)?;
        let claim = queue::claim(v, template_columns, wanted, limit, worker, lease_duration)?;
        failpoint::reach("before_claim_commits")?;
        Ok(claim)
    })
}

/// What to do when a batch could not be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Somebody held a lock: the result is good, try again soon.
    Soon,
    /// The store held a chunk that nobody expected: replace what is there.
    Replacing,
    /// The result cannot be written.
    Never,
}

/// How an error of a completion or claim is to be answered, by its SQLSTATE.
pub fn retry(error: &Error) -> Retry {
    match error.sqlstate().as_str() {
        // lock_not_available, deadlock_detected, serialization_failure, query_canceled
        "55P03" | "40P01" | "40001" | "57014" => Retry::Soon,
        "23505" => Retry::Replacing,
        _ => Retry::Never,
    }
}

/// True for errors that only a change of the vectorizer or its tables can mend: class 42 (names,
/// rights) and what the catalog reader itself refuses.
pub fn is_configuration(error: &Error) -> bool {
    let state = error.sqlstate();
    state.starts_with("42") || state == "55000" || state == "22023" || state == "0A000"
}

/// Writes a batch and notes what its provider said, in one transaction.
pub fn finish(
    v: &Vectorizer,
    lease: &Lease,
    embedded: &Embedded,
    rate: f64,
    replace: bool,
) -> Result<Completed> {
    failpoint::reach("before_completion")?;
    let completed = transaction(|| {
        let pgvector = catalog::pgvector()?;
        let completed =
            completion::complete(v, &pgvector, lease, &embedded.rows, embedded.usage, rate, replace)?;
        note(v.id, &embedded.failure, embedded.usage.requests)?;
        failpoint::reach("before_completion_commits")?;
        Ok(completed)
    })?;
    failpoint::reach("after_completion")?;
    if matches!(completed, Completed::Rows(_)) {
        cached::keep(v, embedded);
    }
    Ok(completed)
}

fn note(id: i32, failure: &Option<Failure>, requests: u64) -> Result<()> {
    match failure {
        None if requests > 0 => control::clear_errors(id),
        None => Ok(()),
        Some(Failure::Config { message, hint }) => control::halt(id, &with_hint(message, hint.as_deref())),
        Some(Failure::Input { message }) => control::halt(id, message),
        Some(Failure::Request { message, retry_after }) => {
            let errors = control::read(id)?.map_or(0, |control| control.consecutive_errors.max(0) as u32) + 1;
            control::back_off(id, message, backoff::delay(errors, *retry_after, rand::random()))
        }
    }
}

pub fn with_hint(message: &str, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{message} ({hint})"),
        None => message.to_owned(),
    }
}

/// Halts `id` with a reason that its status shows.
pub fn halt(id: i32, reason: &str) -> Result<()> {
    transaction(|| control::halt(id, reason))
}

/// Lets `id` rest after an error that blames neither its rows nor its configuration.
pub fn back_off(id: i32, error: &str) -> Result<()> {
    transaction(|| note(id, &Some(Failure::request(error)), 0))
}

/// Gives a batch back unfinished.
pub fn release(v: &Vectorizer, lease: &Lease, embedded: &Embedded) -> Result<()> {
    transaction(|| completion::release(v, lease, &embedded.rows))
}

/// Takes back what dead workers and expired leases held: dirty keys are free again, rows of a
/// backfill become dirty. Returns the number of leases that had expired under a living worker.
pub fn reclaim() -> Result<usize> {
    let dead = transaction(leases::dead)?;
    let mut expired = 0;
    for lease in dead {
        expired += usize::from(lease.owner_alive);
        failpoint::reach("before_reclaim")?;
        let reclaimed = transaction(|| {
            let v = catalog::vectorizer(lease.lease.vectorizer)?;
            let width = v.key.width();
            let rows: Vec<FinishedRow> = lease
                .keys
                .chunks(width)
                .map(|key| FinishedRow {
                    key: key.to_vec(),
                    generation: None,
                    outcome: Outcome::Unfinished,
                    cut: 0,
                })
                .collect();
            completion::release(&v, &lease.lease, &rows)
        });
        if let Err(error) = reclaimed {
            // The vectorizer is gone or broken; its own state says so. The lease must not stay.
            if is_configuration(&error) {
                transaction(|| leases::drop_lease(&lease.lease))?;
            } else {
                return Err(error);
            }
        }
    }
    Ok(expired)
}

/// Puts every failed row whose error matches `error_like` back into the dirty set.
pub fn retry_failed(v: &Vectorizer, error_like: Option<&str>) -> Result<usize> {
    embedding::note_failed(v)?;
    as_role(v.queue_owner, || leases::requeue_failed(v, error_like))
}
