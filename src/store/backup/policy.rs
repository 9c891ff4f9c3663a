//! `ai._backup_policy`: the standing order for backups, at most one a database.

use std::time::Duration;

use pgrx::datum::Interval;

use crate::error::Result;
use crate::store::roles;
use crate::store::sql;
use crate::store::transaction::as_extension_owner;

#[derive(Debug, Clone)]
pub struct Policy {
    pub made_by: String,
    /// What names without a schema mean in it.
    pub search_path: String,
    pub keep_last: Option<i32>,
    /// In seconds.
    pub keep_for: Option<f64>,
}

/// Sets the policy, due at once; the caller's rights and search path are those it runs with.
pub fn set(every: Interval, keep_last: Option<i32>, keep_for: Option<Interval>) -> Result<()> {
    let role = roles::current_name()?;
    let path: Option<String> =
        sql::query_one("SELECT pg_catalog.current_setting('search_path')", &[], |row| row.value(1))?;
    as_extension_owner(|| {
        sql::execute("DELETE FROM ai._backup_policy", &[])?;
        sql::execute(
            "INSERT INTO ai._backup_policy (every, keep_last, keep_for, made_by, search_path, next_at)
             VALUES ($1, $2, $3, $4::name, $5, pg_catalog.now())",
            &[
                every.into(),
                keep_last.into(),
                keep_for.into(),
                role.as_str().into(),
                path.unwrap_or_default().into(),
            ],
        )
    })?;
    Ok(())
}

pub fn unset() -> Result<()> {
    as_extension_owner(|| sql::execute("DELETE FROM ai._backup_policy", &[]))?;
    Ok(())
}

/// True where the interval is not shorter than `shortest`.
pub fn is_at_least(interval: Interval, shortest: &str) -> Result<bool> {
    let longer = sql::query_one(
        "SELECT $1 OPERATOR(pg_catalog.>=) $2::pg_catalog.text::pg_catalog.interval",
        &[interval.into(), shortest.into()],
        |row| row.value(1),
    )?;
    Ok(longer.unwrap_or(false))
}

/// Time until the policy is due; None without one.
pub fn due() -> Result<Option<Duration>> {
    let seconds: Option<f64> = sql::query_one(
        "SELECT extract(epoch FROM next_at - clock_timestamp())::float8 FROM ai._backup_policy",
        &[],
        |row| row.value(1),
    )?;
    Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))))
}

/// Takes the policy if it is due, and moves its hour. Hours that were missed are not made up for.
pub fn take() -> Result<Option<Policy>> {
    sql::query_one(
        "UPDATE ai._backup_policy
            SET last_at = clock_timestamp(),
                next_at = CASE WHEN next_at + every > clock_timestamp() THEN next_at + every ELSE clock_timestamp() + every END
          WHERE next_at <= clock_timestamp()
          RETURNING made_by::text, search_path, keep_last, extract(epoch FROM keep_for)::float8",
        &[],
        |row| {
            Ok(Policy {
                made_by: row.value(1)?,
                search_path: row.value(2)?,
                keep_last: row.get(3)?,
                keep_for: row.get(4)?,
            })
        },
    )
}

/// Notes how it went.
pub fn note(backup: Option<&str>, error: Option<&str>) -> Result<()> {
    sql::execute(
        "UPDATE ai._backup_policy SET last_backup = coalesce($1, last_backup), last_error = $2",
        &[backup.into(), error.into()],
    )?;
    Ok(())
}
