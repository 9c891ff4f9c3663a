//! Versions of a history: made under the anchor's exclusive lock, held by checkpoints' pins.

use pgrx::pg_sys;

use super::capture;
use super::history::{self, History};
use super::shape::Column;
use crate::error::{Error, Kind, Result};
use crate::store::catalog::Relation;
use crate::store::locks::{self, Lock, Mode};
use crate::store::sql;

/// Keeps writers of the anchor's tables out to the end of the transaction, if none has begun.
pub fn try_lock(anchor: i32) -> bool {
    locks::try_for_transaction(anchor, Lock::Checkpoint, Mode::Exclusive)
}

/// The same, once those that have begun are over.
pub fn wait_for_lock(anchor: i32) {
    locks::wait_for_transaction(anchor, Lock::Checkpoint, Mode::Exclusive);
}

/// Gives the lock back before the end of the transaction.
pub fn unlock(anchor: i32) {
    locks::release_in_transaction(anchor, Lock::Checkpoint, Mode::Exclusive);
}

/// Locks a table itself: in SHARE ROW EXCLUSIVE mode writers are kept out, and first checkpoints.
pub fn lock_table(relation: &Relation, mode: &str) -> Result<()> {
    sql::execute_once(&format!("LOCK TABLE ONLY {} IN {mode} MODE", relation.ident))
}

/// Makes the next version of a history, with every column that it has now. The caller holds the
/// anchor's lock exclusively; runs as the extension's owner.
pub fn make(history: &History) -> Result<i64> {
    let relation = history.live()?;
    let columns: Vec<String> = history.columns.iter().map(|column| column.h.clone()).collect();
    let number: i64 = sql::query_one(
        "UPDATE ai._checkpoint_history SET last = last + 1 WHERE id = $1 RETURNING last",
        &[history.id.into()],
        |row| row.value(1),
    )?
    .ok_or_else(|| Error::new(Kind::Internal, format!("{} is not listed any more", history.ident)))?;
    sql::execute(
        "INSERT INTO ai._checkpoint_version (history, number, columns, estimate)
         SELECT $1, $2, $3, nullif(c.reltuples, -1)::int8 FROM pg_catalog.pg_class c WHERE c.oid = $4",
        &[history.id.into(), number.into(), columns.into(), relation.oid.into()],
    )?;
    // SAFETY: reads the counter of transaction ids.
    let horizon = unsafe { pg_sys::ReadNextFullTransactionId() }.value;
    sql::execute(
        "INSERT INTO ai._checkpoint_horizon (history, number, horizon, settled, filenode)
         VALUES ($1, $2, $3, pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::int8,
                 pg_catalog.pg_relation_filenode($4::regclass))",
        &[history.id.into(), number.into(), (horizon as i64).into(), relation.oid.into()],
    )?;
    history::invalidate(history.oid);
    capture::version_made(history.id, number);
    Ok(number)
}

/// The columns that a version has, as the history describes them.
pub fn columns(history: &History, number: i64) -> Result<Vec<Column>> {
    let names: Vec<String> = sql::query_one(
        "SELECT columns FROM ai._checkpoint_version WHERE history = $1 AND number = $2",
        &[history.id.into(), number.into()],
        |row| row.value(1),
    )?
    .ok_or_else(|| Error::new(Kind::Internal, format!("version {number} of {} is gone", history.ident)))?;
    Ok(history.columns.iter().filter(|column| names.contains(&column.h)).cloned().collect())
}

/// True when a checkpoint that was not deleted holds a version of the history.
pub fn is_pinned(history: i32) -> Result<bool> {
    let pinned = sql::query_one(
        "SELECT EXISTS (SELECT FROM ai._checkpoint_pin p JOIN ai._checkpoint c ON c.id = p.checkpoint
                         WHERE p.history = $1 AND c.deleted_at IS NULL)",
        &[history.into()],
        |row| row.value(1),
    )?;
    Ok(pinned.unwrap_or(false))
}

/// Puts every live row that a version still reads into the history, which then stands for itself.
/// Under the anchor's exclusive lock.
pub fn detach(history: &History) -> Result<i64> {
    let mut kept = 0;
    if let Some(relation) = &history.relation
        && is_pinned(history.id)?
    {
        let names: Vec<&str> = history.columns.iter().map(|column| column.h.as_str()).collect();
        let values: Vec<String> =
            history.columns.iter().map(|column| format!("t.{}", column.ident())).collect();
        kept = sql::execute(
            &format!(
                "INSERT INTO {h} (epoch, present, {}) SELECT c.last, true, {} FROM ONLY {} t, ai._checkpoint_history c
                  WHERE c.id = $1 AND NOT EXISTS (SELECT FROM {h} h WHERE {} AND h.epoch >=
                        (SELECT max(p.number) FROM ai._checkpoint_pin p WHERE p.history = $1))
                 ON CONFLICT DO NOTHING",
                names.join(", "),
                values.join(", "),
                relation.ident,
                super::reading::live_key(&history.key(), "h", "t"),
                h = history.ident,
            ),
            &[history.id.into()],
        )?;
    }
    sql::execute("UPDATE ai._checkpoint_history SET detached = true WHERE id = $1", &[history.id.into()])?;
    history::invalidate(history.oid);
    Ok(kept as i64)
}
