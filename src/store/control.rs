//! What people and errors ask of a vectorizer: running, paused, halted; backing off; the error
//! log. The rows here change seldom; counters and cursors are kept elsewhere.

use std::time::Duration;

use pgrx::JsonB;
use serde_json::{Value, json};

use super::sql;
use crate::error::Result;

/// Entries of the error log that are kept for each vectorizer.
const MAX_ERRORS: i64 = 1000;

#[derive(Debug, Clone)]
pub struct Control {
    pub state: String,
    pub reason: Option<String>,
    pub consecutive_errors: i32,
}

pub fn read(id: i32) -> Result<Option<Control>> {
    sql::query_one(
        "SELECT state, reason, consecutive_errors FROM ai._vectorizer_control WHERE vectorizer_id = $1",
        &[id.into()],
        |row| Ok(Control { state: row.value(1)?, reason: row.get(2)?, consecutive_errors: row.value(3)? }),
    )
}

/// True when this transaction has changed what is asked of the vectorizer.
pub fn is_uncommitted(id: i32) -> Result<bool> {
    let own = sql::query_one(
        "SELECT coalesce(c.xmin = pg_current_xact_id_if_assigned()::xid, false)
           FROM ai._vectorizer_control c WHERE c.vectorizer_id = $1",
        &[id.into()],
        |row| row.value::<bool>(1),
    )?;
    Ok(own == Some(true))
}

/// Sets the state, with who asked for it and why. True when it changed. Pausing again without a
/// reason keeps the one that was given; every change of state ends a run outside the windows.
pub fn set_state(id: i32, state: &str, reason: Option<&str>, by: &str, with_all: bool) -> Result<bool> {
    let changed = sql::execute(
        "UPDATE ai._vectorizer_control
            SET state = $2, reason = CASE WHEN state = $2 THEN coalesce($3, reason) ELSE $3 END,
                changed_by = $4::name, changed_at = clock_timestamp(), paused_with_all = $5,
                consecutive_errors = 0, retry_at = NULL, run_until = NULL, run_rows = NULL
          WHERE vectorizer_id = $1
            AND (state <> $2 OR ($3 IS NOT NULL AND reason IS DISTINCT FROM $3) OR paused_with_all <> $5
                 OR retry_at IS NOT NULL)",
        &[id.into(), state.into(), reason.into(), by.into(), with_all.into()],
    )?;
    sql::execute(
        "UPDATE ai.vectorizer SET disabled = ($2 = 'paused') WHERE id = $1 AND disabled <> ($2 = 'paused')",
        &[id.into(), state.into()],
    )?;
    Ok(changed > 0)
}

/// Halts a running vectorizer: nothing but a change of its configuration can help.
pub fn halt(id: i32, reason: &str) -> Result<()> {
    sql::execute(
        "UPDATE ai._vectorizer_control
            SET state = 'halted', reason = $2, changed_by = current_user, changed_at = clock_timestamp()
          WHERE vectorizer_id = $1 AND state = 'running'",
        &[id.into(), reason.into()],
    )?;
    log_error(id, "vectorizer halted", json!({ "error_reason": reason }))
}

/// Notes a request that failed; no claim is made before `delay` is over.
pub fn back_off(id: i32, error: &str, delay: Duration) -> Result<()> {
    sql::execute(
        "UPDATE ai._vectorizer_control
            SET consecutive_errors = consecutive_errors + 1,
                retry_at = clock_timestamp() + $2 * interval '1 millisecond'
          WHERE vectorizer_id = $1",
        &[id.into(), (delay.as_millis() as i64).into()],
    )?;
    let details = json!({ "error_reason": error, "retry_after_ms": delay.as_millis() as u64 });
    log_error(id, "embedding provider failed", details)
}

/// A request succeeded: the next failure is a first one again.
pub fn clear_errors(id: i32) -> Result<()> {
    sql::execute(
        "UPDATE ai._vectorizer_control SET consecutive_errors = 0, retry_at = NULL
          WHERE vectorizer_id = $1 AND (consecutive_errors > 0 OR retry_at IS NOT NULL)",
        &[id.into()],
    )?;
    Ok(())
}

/// Adds an entry to the error log. `details.error_reason` is
/// what the status shows as the last error.
pub fn log_error(id: i32, message: &str, details: Value) -> Result<()> {
    let reason = details["error_reason"].as_str().unwrap_or(message).to_owned();
    append(id, message, details)?;
    sql::execute(
        "UPDATE ai._vectorizer_control SET last_error = $2, last_error_at = clock_timestamp() WHERE vectorizer_id = $1",
        &[id.into(), reason.into()],
    )?;
    Ok(())
}

/// Adds an entry that the status shows nothing of.
pub fn append(id: i32, message: &str, details: Value) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._vectorizer_errors (id, message, details, recorded)
         SELECT v.id, $2, $3, clock_timestamp() FROM ai.vectorizer v WHERE v.id = $1",
        &[id.into(), message.into(), JsonB(details).into()],
    )?;
    sql::execute(
        "DELETE FROM ai._vectorizer_errors e
          WHERE e.id = $1 AND e.recorded <=
                (SELECT recorded FROM ai._vectorizer_errors WHERE id = $1 ORDER BY recorded DESC OFFSET $2 LIMIT 1)",
        &[id.into(), MAX_ERRORS.into()],
    )?;
    Ok(())
}

/// Vectorizers that were paused together, in order.
pub fn paused_with_all() -> Result<Vec<i32>> {
    sql::query(
        "SELECT vectorizer_id FROM ai._vectorizer_control WHERE paused_with_all ORDER BY vectorizer_id",
        &[],
        |row| row.value(1),
    )
}

/// The priority of a vectorizer.
pub fn priority(id: i32) -> Result<i32> {
    let found = sql::query_one(
        "SELECT priority FROM ai._vectorizer_control WHERE vectorizer_id = $1",
        &[id.into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(100))
}

/// Lower numbers work first.
pub fn set_priority(id: i32, priority: i32) -> Result<()> {
    sql::execute(
        "UPDATE ai._vectorizer_control SET priority = $2 WHERE vectorizer_id = $1 AND priority <> $2",
        &[id.into(), priority.into()],
    )?;
    Ok(())
}

/// Lets a vectorizer work outside its windows: for `time`, or until everything is done.
pub fn start_run(id: i32, time: Option<Duration>, rows: Option<i64>) -> Result<()> {
    sql::execute(
        "UPDATE ai._vectorizer_control
            SET run_until = coalesce(clock_timestamp() + $2 * interval '1 microsecond', 'infinity'), run_rows = $3
          WHERE vectorizer_id = $1",
        &[id.into(), time.map(|time| time.as_micros() as i64).into(), rows.into()],
    )?;
    Ok(())
}

/// Takes `rows` off what a run may still do.
pub fn count_run(id: i32, rows: usize) -> Result<()> {
    sql::execute(
        "UPDATE ai._vectorizer_control SET run_rows = greatest(run_rows - $2, 0)
          WHERE vectorizer_id = $1 AND run_rows IS NOT NULL",
        &[id.into(), (rows as i64).into()],
    )?;
    Ok(())
}

/// Ends a run without an hour once nothing is left to do or in flight.
pub fn end_run(id: i32) -> Result<()> {
    sql::execute(
        "UPDATE ai._vectorizer_control SET run_until = NULL, run_rows = NULL
          WHERE vectorizer_id = $1 AND run_until = 'infinity'
            AND NOT EXISTS (SELECT FROM ai._lease WHERE vectorizer_id = $1)",
        &[id.into()],
    )?;
    Ok(())
}
