//! Garbage collection: checkpoints that are over go, then the entries that no version needs. All of
//! it is DELETEs, so a reader's snapshot goes on seeing what it saw. What is left to do is a version
//! that no checkpoint holds, which goes together with what only it needed: a collection that was
//! killed is begun again.

use pgrx::datum::Interval;

use super::history::{self, History};
use crate::error::Result;
use crate::store::{locks, sql};

/// What a collection freed, or would free, of one table.
#[derive(Debug)]
pub struct Freed {
    pub target: String,
    pub checkpoints: i64,
    pub rows: i64,
    pub bytes: i64,
}

/// Checkpoints that are over since `$1`: deleted or expired.
const OVER: &str = "coalesce(least(c.deleted_at, c.expires_at), c.deleted_at) <= clock_timestamp() - $1";

/// A version that no checkpoint holds any more, or a detached history of nothing.
const UNSWEPT: &str = "(EXISTS (SELECT FROM ai._checkpoint_version v WHERE v.history = h.id AND NOT EXISTS
                    (SELECT FROM ai._checkpoint_pin q WHERE q.history = v.history AND q.number = v.number))
            OR h.detached AND NOT EXISTS (SELECT FROM ai._checkpoint_pin q WHERE q.history = h.id))";

/// Histories with something to collect, with the number of checkpoints that are over.
pub fn candidates(min_age: Interval) -> Result<Vec<(i32, i64)>> {
    sql::query(
        &format!(
            "SELECT h.id, count(DISTINCT c.id) FROM ai._checkpoint_history h
               LEFT JOIN ai._checkpoint_pin p ON p.history = h.id
               LEFT JOIN ai._checkpoint c ON c.id = p.checkpoint AND {OVER}
              GROUP BY h.id HAVING count(c.id) > 0 OR {UNSWEPT} ORDER BY h.id"
        ),
        &[min_age.into()],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )
}

/// The history, which nobody else removes until the end of the transaction; None when it is gone.
pub fn hold(id: i32) -> Result<Option<History>> {
    let there = sql::query_one(
        "SELECT true FROM ai._checkpoint_history WHERE id = $1 FOR KEY SHARE",
        &[id.into()],
        |row| row.value::<bool>(1),
    )?;
    if there.is_some() { history::load(id) } else { Ok(None) }
}

/// What collecting a history would free.
pub fn estimate(history: &History, checkpoints: i64, min_age: Interval) -> Result<Freed> {
    let needed = format!(
        "SELECT DISTINCT p.number FROM ai._checkpoint_pin p JOIN ai._checkpoint c ON c.id = p.checkpoint
          WHERE p.history = {} AND ({OVER}) IS NOT TRUE",
        history.id
    );
    let (rows, bytes) = sql::query_one(
        &format!(
            "SELECT count(*), coalesce(sum(pg_column_size(h.*)), 0)::int8 FROM {} h WHERE h.ctid IN ({})",
            history.ident,
            unneeded(history, &needed)
        ),
        &[min_age.into()],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )?
    .unwrap_or_default();
    Ok(Freed { target: history.table.to_string(), checkpoints, rows, bytes })
}

/// The first step: rows of checkpoints that are over go, unless somebody is using them right now.
pub fn remove_checkpoints(min_age: Interval, histories: &[i32]) -> Result<()> {
    sql::query(
        &format!(
            "SELECT c.id FROM ai._checkpoint c WHERE {OVER}
                AND NOT EXISTS (SELECT FROM ai._checkpoint_pin p WHERE p.checkpoint = c.id AND p.history <> ALL ($2))
              FOR UPDATE SKIP LOCKED"
        ),
        &[min_age.into(), histories.to_vec().into()],
        |row| row.value::<pgrx::Uuid>(1),
    )?
    .into_iter()
    .try_for_each(|id| {
        sql::execute("DELETE FROM ai._checkpoint WHERE id = $1", &[id.into()]).map(|_| ())
    })
}

/// The second step, for one history: versions without checkpoints go, and entries that no version
/// reads. Returns rows and bytes that were freed.
pub fn sweep(history: &History) -> Result<(i64, i64)> {
    // Writers that have not heard yet only keep too much.
    history::invalidate(history.oid);
    sql::execute(
        "DELETE FROM ai._checkpoint_version v
          WHERE v.history = $1 AND NOT EXISTS (SELECT FROM ai._checkpoint_pin p
                                                WHERE p.history = v.history AND p.number = v.number)",
        &[history.id.into()],
    )?;
    let needed =
        format!("SELECT DISTINCT p.number FROM ai._checkpoint_pin p WHERE p.history = {}", history.id);
    let freed = sql::query_one(
        &format!(
            "WITH gone AS (DELETE FROM {h} h WHERE h.ctid IN ({}) RETURNING pg_column_size(h.*) AS bytes)
             SELECT count(*), coalesce(sum(bytes), 0)::int8 FROM gone",
            unneeded(history, &needed),
            h = history.ident,
        ),
        &[],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )?
    .unwrap_or_default();
    remove_history(history)?;
    Ok(freed)
}

/// The end of a history of nothing. A dropped table is gone for older snapshots too: for a dump that
/// has begun, or a reader in a REPEATABLE READ transaction. So the history is marked first, and
/// goes in a later collection, once every snapshot is younger than the mark and nobody reads it.
fn remove_history(history: &History) -> Result<()> {
    let marked = sql::execute(
        "UPDATE ai._checkpoint_history h SET over = true
          WHERE h.id = $1 AND h.detached AND NOT h.over
            AND NOT EXISTS (SELECT FROM ai._checkpoint_pin p WHERE p.history = h.id)",
        &[history.id.into()],
    )?;
    if marked > 0 {
        return Ok(());
    }
    let seen_by_all = sql::query_one(
        "SELECT h.over AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity s
                                        WHERE s.datname = current_database() AND s.pid <> pg_backend_pid()
                                          AND age(s.backend_xmin) >= age(h.xmin))
           FROM ai._checkpoint_history h WHERE h.id = $1 FOR UPDATE SKIP LOCKED",
        &[history.id.into()],
        |row| row.value::<bool>(1),
    )?;
    if seen_by_all == Some(true) && locks::try_table(history.oid) {
        sql::execute("DELETE FROM ai._checkpoint_history WHERE id = $1", &[history.id.into()])?;
        sql::execute_once(&format!("DROP TABLE {}", history.ident))?;
    }
    Ok(())
}

/// Places of entries that no version of `needed` reads: an entry serves the versions after the
/// key's previous entry, up to its own.
fn unneeded(history: &History, needed: &str) -> String {
    let keys: Vec<&str> = history.key().iter().map(|column| column.h.as_str()).collect();
    format!(
        "SELECT x.place FROM (SELECT e.ctid AS place, e.epoch,
                                     lag(e.epoch) OVER (PARTITION BY {keys} ORDER BY e.epoch) AS previous
                                FROM {} e) x
          WHERE NOT EXISTS (SELECT FROM ({needed}) n
                             WHERE n.number <= x.epoch AND (x.previous IS NULL OR n.number > x.previous))",
        history.ident,
        keys = keys.join(", "),
    )
}

/// Seconds until the next checkpoint is over or something is left to sweep; None: nothing is planned.
pub fn due() -> Result<Option<f64>> {
    let found = sql::query_one(
        &format!(
            "SELECT CASE WHEN EXISTS (SELECT FROM ai._checkpoint_history h WHERE {UNSWEPT}) THEN 0
                         ELSE (SELECT extract(epoch FROM min(least(c.deleted_at, c.expires_at)) - clock_timestamp())::float8
                                 FROM ai._checkpoint c) END"
        ),
        &[],
        |row| row.get::<f64>(1),
    )?;
    Ok(found.flatten())
}
