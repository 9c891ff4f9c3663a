//! Policies: when a table gets a checkpoint by itself, and how many are kept.

use pgrx::datum::Interval;
use pgrx::{Uuid, pg_sys};

use crate::error::Result;
use crate::store::sql;

pub struct Policy {
    pub relation: pg_sys::Oid,
    pub target: String,
    pub keep_last: Option<i32>,
    pub keep_for: Option<Interval>,
}

/// How long a policy waits after an error.
const RETRY: &str = "interval '5 seconds'";

/// Rows changed since the statistics were reset. Counted by PostgreSQL anyway, so writers pay nothing
/// for it; a crash sets it back to zero.
const CHANGES: &str =
    "(pg_catalog.pg_stat_get_tuples_inserted(p.relation) + pg_catalog.pg_stat_get_tuples_updated(p.relation)
    + pg_catalog.pg_stat_get_tuples_deleted(p.relation))";

pub fn set(
    relation: pg_sys::Oid,
    target: &str,
    every: Option<Interval>,
    every_changes: Option<i64>,
    keep_last: Option<i32>,
    keep_for: Option<Interval>,
    by: &str,
) -> Result<()> {
    sql::execute(
        &format!(
            "INSERT INTO ai._checkpoint_policy AS p
                    (relation, target, every, every_changes, keep_last, keep_for, set_by, last_changes)
             SELECT r.relation, $2, $3, $4, $5, $6, $7::name, {}
               FROM (SELECT $1::regclass AS relation) r
             ON CONFLICT (relation) DO UPDATE
                SET target = excluded.target, every = excluded.every, every_changes = excluded.every_changes,
                    keep_last = excluded.keep_last, keep_for = excluded.keep_for, set_by = excluded.set_by,
                    retry_at = NULL, last_error = NULL",
            CHANGES.replace("p.relation", "r.relation")
        ),
        &[
            relation.into(),
            target.into(),
            every.into(),
            every_changes.into(),
            keep_last.into(),
            keep_for.into(),
            by.into(),
        ],
    )?;
    Ok(())
}

pub fn remove(relation: pg_sys::Oid) -> Result<bool> {
    Ok(sql::execute("DELETE FROM ai._checkpoint_policy WHERE relation = $1::regclass", &[relation.into()])?
        > 0)
}

/// When each policy wants its next checkpoint. A last time in the future means that the clock was set
/// back: then one checkpoint too many is better than none for as long as it was.
fn next_at() -> String {
    format!(
        "greatest(CASE WHEN p.retry_at <= clock_timestamp() + {RETRY} THEN p.retry_at END,
                  CASE WHEN p.last_at > clock_timestamp() THEN '-infinity'::timestamptz
                       WHEN {CHANGES} >= coalesce(CASE WHEN {CHANGES} < p.last_changes THEN 0 ELSE p.last_changes END, 0)
                                        + p.every_changes THEN p.last_at ELSE p.last_at + p.every END)"
    )
}

/// Seconds until the first policy is due; None when none is planned.
pub fn due() -> Result<Option<f64>> {
    let found = sql::query_one(
        &format!(
            "SELECT CASE WHEN min(n.at) <= clock_timestamp() THEN 0
                         ELSE extract(epoch FROM min(n.at) - clock_timestamp())::float8 END
               FROM (SELECT {} AS at FROM ai._checkpoint_policy p) n",
            next_at()
        ),
        &[],
        |row| row.get::<f64>(1),
    )?;
    Ok(found.flatten())
}

/// Relations whose policy is due.
pub fn all_due() -> Result<Vec<pg_sys::Oid>> {
    sql::query(
        &format!(
            "SELECT p.relation::oid FROM ai._checkpoint_policy p WHERE {} <= clock_timestamp() ORDER BY 1",
            next_at()
        ),
        &[],
        |row| row.value(1),
    )
}

pub fn read(relation: pg_sys::Oid) -> Result<Option<Policy>> {
    sql::query_one(
        "SELECT target, keep_last, keep_for FROM ai._checkpoint_policy WHERE relation = $1::regclass FOR UPDATE",
        &[relation.into()],
        |row| Ok(Policy { relation, target: row.value(1)?, keep_last: row.get(2)?, keep_for: row.get(3)? }),
    )
}

/// The checkpoint of a policy was made: the next one is counted from now.
pub fn succeeded(relation: pg_sys::Oid) -> Result<()> {
    sql::execute(
        &format!(
            "UPDATE ai._checkpoint_policy p SET last_at = clock_timestamp(), last_changes = {CHANGES}, retry_at = NULL, last_error = NULL
              WHERE p.relation = $1::regclass"
        ),
        &[relation.into()],
    )?;
    Ok(())
}

/// It could not be made: tried again in a while.
pub fn failed(relation: pg_sys::Oid, error: &str) -> Result<()> {
    sql::execute(
        &format!(
            "UPDATE ai._checkpoint_policy SET retry_at = clock_timestamp() + {RETRY}, last_error = $2
              WHERE relation = $1::regclass"
        ),
        &[relation.into(), error.into()],
    )?;
    Ok(())
}

/// A policy of a table that is gone.
pub fn forget_dropped() -> Result<()> {
    sql::execute(
        "DELETE FROM ai._checkpoint_policy p
          WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = p.relation)",
        &[],
    )?;
    Ok(())
}

/// The policy's checkpoints of a history beyond the newest `keep`.
pub fn surplus(history: i32, keep: i32) -> Result<Vec<Uuid>> {
    sql::query(
        "SELECT c.id FROM ai._checkpoint c JOIN ai._checkpoint_pin p ON p.checkpoint = c.id AND p.role = 'table'
          WHERE p.history = $1 AND c.kind = 'policy' AND c.deleted_at IS NULL
          ORDER BY p.number DESC OFFSET $2",
        &[history.into(), i64::from(keep).into()],
        |row| row.value(1),
    )
}
