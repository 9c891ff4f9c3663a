//! The catalog queries behind `ai.doctor()`.

use pgrx::pg_sys;

use super::catalog::Vectorizer;
use super::ddl::trigger_name;
use super::sql;
use crate::error::Result;

pub struct Control {
    pub state: String,
    pub reason: Option<String>,
    pub changed_by: String,
    pub backing_off: bool,
    pub consecutive_errors: i32,
    pub last_error: Option<String>,
}

pub fn control(id: i32) -> Result<Option<Control>> {
    sql::query_one(
        "SELECT state, reason, changed_by::text, coalesce(retry_at > clock_timestamp(), false), consecutive_errors, last_error
           FROM ai._vectorizer_control WHERE vectorizer_id = $1",
        &[id.into()],
        |row| {
            Ok(Control {
                state: row.value(1)?,
                reason: row.get(2)?,
                changed_by: row.value(3)?,
                backing_off: row.value(4)?,
                consecutive_errors: row.value(5)?,
                last_error: row.get(6)?,
            })
        },
    )
}

/// Triggers of the vectorizer that are not there or do not fire.
pub fn disabled_triggers(v: &Vectorizer) -> Result<Vec<String>> {
    let name = trigger_name(v.id);
    let wanted: Vec<String> =
        ["", "_update", "_delete", "_truncate"].iter().map(|suffix| format!("{name}{suffix}")).collect();
    sql::query(
        "SELECT w FROM unnest($2::text[]) AS w
          WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                             WHERE t.tgrelid = $1 AND t.tgname = w::name AND t.tgenabled IN ('O', 'A'))",
        &[v.source.oid.into(), wanted.into()],
        |row| row.value(1),
    )
}

pub fn failed_rows(v: &Vectorizer) -> Result<i64> {
    let count = sql::query_one(&format!("SELECT count(*) FROM {}", v.failed), &[], |row| row.value(1))?;
    Ok(count.unwrap_or(0))
}

/// True on a standby.
pub fn in_recovery() -> bool {
    // SAFETY: reads shared state.
    unsafe { pg_sys::RecoveryInProgress() }
}

pub fn current_database() -> pg_sys::Oid {
    // SAFETY: a plain global, set for the life of the backend.
    unsafe { pg_sys::MyDatabaseId }
}
