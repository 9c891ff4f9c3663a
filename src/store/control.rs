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

/// Sets the state, with who asked for it and why. True when it changed.
pub fn set_state(id: i32, state: &str, reason: Option<&str>, by: &str) -> Result<bool> {
    let changed = sql::execute(
        "UPDATE ai._vectorizer_control
            SET state = $2, reason = $3, changed_by = $4::name, changed_at = clock_timestamp(),
                consecutive_errors = 0, retry_at = NULL
          WHERE vectorizer_id = $1 AND ((state, reason) IS DISTINCT FROM ($2, $3) OR retry_at IS NOT NULL)",
        &[id.into(), state.into(), reason.into(), by.into()],
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
    sql::execute(
        "INSERT INTO ai._vectorizer_errors (id, message, details, recorded) VALUES ($1, $2, $3, clock_timestamp())",
        &[id.into(), message.into(), JsonB(details).into()],
    )?;
    sql::execute(
        "UPDATE ai._vectorizer_control SET last_error = $2, last_error_at = clock_timestamp() WHERE vectorizer_id = $1",
        &[id.into(), reason.into()],
    )?;
    sql::execute(
        "DELETE FROM ai._vectorizer_errors e
          WHERE e.id = $1 AND e.recorded <=
                (SELECT recorded FROM ai._vectorizer_errors WHERE id = $1 ORDER BY recorded DESC OFFSET $2 LIMIT 1)",
        &[id.into(), MAX_ERRORS.into()],
    )?;
    Ok(())
}
