//! Rebuilds: which vectorizer is rebuilt by which one behind the scenes, how far that is, and
//! the exchange of the two. The hidden one is a vectorizer like any other to the engine; what it
//! is for stands here alone.

pub mod belongings;
pub mod overlap;
pub mod swapping;

use autovector_domain::states::RebuildState;

use super::catalog::Vectorizer;
use super::sql;
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone)]
pub struct Rebuild {
    /// The vectorizer that people know.
    pub vectorizer: i32,
    /// The one behind the scenes: of the new store until the swap, of the previous one after it.
    pub other: i32,
    pub state: RebuildState,
    pub auto_swap: bool,
    pub fence: Option<i64>,
    /// Snapshots that do not see this transaction miss rows of the new store.
    pub ready_xid: Option<i64>,
    pub note: Option<String>,
}

impl Rebuild {
    pub fn is_running(&self) -> bool {
        self.state != RebuildState::Swapped
    }
}

const COLUMNS: &str = "vectorizer_id, other, state, auto_swap, fence, ready_xid, note";

fn read(row: &sql::Row<'_>) -> Result<Rebuild> {
    let state: String = row.value(3)?;
    Ok(Rebuild {
        vectorizer: row.value(1)?,
        other: row.value(2)?,
        state: RebuildState::parse(&state)
            .ok_or_else(|| Error::new(Kind::Internal, format!("unknown state of a rebuild: {state}")))?,
        auto_swap: row.value(4)?,
        fence: row.get(5)?,
        ready_xid: row.get(6)?,
        note: row.get(7)?,
    })
}

/// The rebuild of a vectorizer, running or with its previous store kept.
pub fn of(vectorizer: i32) -> Result<Option<Rebuild>> {
    sql::query_one(
        &format!("SELECT {COLUMNS} FROM ai._rebuild WHERE vectorizer_id = $1"),
        &[vectorizer.into()],
        read,
    )
}

/// The rebuilds that are not swapped and whose hidden vectorizer nobody has stopped.
pub fn going_on() -> Result<Vec<Rebuild>> {
    sql::query(
        &format!(
            "SELECT {COLUMNS} FROM ai._rebuild r JOIN ai._vectorizer_control c ON c.vectorizer_id = r.other
              WHERE r.state <> 'swapped' AND c.state = 'running' ORDER BY 1"
        )
        .replace("vectorizer_id, other, state,", "r.vectorizer_id, r.other, r.state,"),
        &[],
        read,
    )
}

/// The vectorizer that hidden vectorizer `other` belongs to.
pub fn main_of(other: i32) -> Result<Option<i32>> {
    sql::query_one("SELECT vectorizer_id FROM ai._rebuild WHERE other = $1", &[other.into()], |row| {
        row.value(1)
    })
}

/// The hidden vectorizer that fills a new store for `vectorizer` right now.
pub fn filling(vectorizer: i32) -> Result<Option<i32>> {
    Ok(of(vectorizer)?.filter(Rebuild::is_running).map(|rebuild| rebuild.other))
}

pub fn insert(vectorizer: i32, other: i32, auto_swap: bool, by: &str) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._rebuild (vectorizer_id, other, auto_swap, started_by) VALUES ($1, $2, $3, $4::name)",
        &[vectorizer.into(), other.into(), auto_swap.into(), by.into()],
    )?;
    Ok(())
}

/// Goes on to another state; `fence` is what has to be done before the next one.
pub fn set_state(vectorizer: i32, state: RebuildState, fence: Option<i64>) -> Result<()> {
    sql::execute(
        "UPDATE ai._rebuild SET state = $2, fence = $3, note = NULL WHERE vectorizer_id = $1",
        &[vectorizer.into(), state.as_str().into(), fence.into()],
    )?;
    Ok(())
}

/// Notes that a store could take over, from the next transaction id on.
pub fn set_ready(vectorizer: i32, fence: i64, overlap: Option<f64>, sampled: i32) -> Result<()> {
    set_state(vectorizer, RebuildState::Ready, Some(fence))?;
    sql::execute(
        "UPDATE ai._rebuild
            SET overlap = $2, sampled = $3, ready_xid = pg_snapshot_xmax(pg_current_snapshot())::text::int8
          WHERE vectorizer_id = $1",
        &[vectorizer.into(), overlap.into(), sampled.into()],
    )?;
    Ok(())
}

pub fn set_swapped(vectorizer: i32, milliseconds: f64) -> Result<()> {
    sql::execute(
        "UPDATE ai._rebuild SET state = 'swapped', fence = NULL, note = NULL, swapped_at = clock_timestamp(), swap_ms = $2
          WHERE vectorizer_id = $1",
        &[vectorizer.into(), milliseconds.into()],
    )?;
    Ok(())
}

/// Says what a rebuild waits for.
pub fn set_note(vectorizer: i32, note: Option<&str>) -> Result<()> {
    sql::execute(
        "UPDATE ai._rebuild SET note = $2 WHERE vectorizer_id = $1 AND note IS DISTINCT FROM $2",
        &[vectorizer.into(), note.into()],
    )?;
    Ok(())
}

/// True when the first pass over the source is through.
pub fn is_filled(other: i32) -> Result<bool> {
    let filled = sql::query_one(
        "SELECT c.scanned AND NOT EXISTS (SELECT FROM ai._lease l WHERE l.vectorizer_id = $1 AND l.kind = 'backfill')
           FROM ai._vectorizer_cursor c WHERE c.vectorizer_id = $1",
        &[other.into()],
        |row| row.value(1),
    )?;
    Ok(filled.unwrap_or(false))
}

/// Of a hidden vectorizer: whether it is time to build the index of its store. None for others.
pub fn wants_index(id: i32) -> Result<Option<bool>> {
    sql::query_one(
        "SELECT state IN ('indexing', 'ready') FROM ai._rebuild WHERE other = $1",
        &[id.into()],
        |row| row.value(1),
    )
}

/// True of a hidden vectorizer that keeps the store from before the last swap.
pub fn is_kept(id: i32) -> Result<bool> {
    let kept = sql::query_one(
        "SELECT EXISTS (SELECT FROM ai._rebuild WHERE other = $1 AND state = 'swapped')",
        &[id.into()],
        |row| row.value(1),
    )?;
    Ok(kept.unwrap_or(false))
}

/// Failed rows of a vectorizer.
pub fn failed_rows(v: &Vectorizer) -> Result<i64> {
    let count = sql::query_one(&format!("SELECT count(*) FROM {}", v.failed), &[], |row| row.value(1))?;
    Ok(count.unwrap_or(0))
}

/// Sends autovacuum away from the tables of a swap: it comes again by itself, and would have
/// everybody wait.
pub fn cancel_autovacuum(relations: Vec<pgrx::pg_sys::Oid>) -> Result<()> {
    sql::query(
        "SELECT pg_catalog.pg_cancel_backend(a.pid)
           FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_get_activity(NULL) a ON a.pid = l.pid
          WHERE a.backend_type = 'autovacuum worker' AND l.relation = ANY ($1) AND l.granted
            AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())",
        &[relations.into()],
        |_| Ok(()),
    )?;
    Ok(())
}

/// Sessions whose snapshot is older than the new store, so that it would look incomplete to them.
pub fn old_snapshots(ready_xid: i64) -> Result<Vec<i32>> {
    sql::query(
        "SELECT a.pid FROM pg_catalog.pg_stat_get_activity(NULL) a
          WHERE a.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            AND a.backend_type IN ('client backend', 'parallel worker') AND a.pid <> pg_backend_pid()
            AND age(a.backend_xmin) > age((($1) % 4294967296)::text::xid)
          ORDER BY a.pid",
        &[ready_xid.into()],
        |row| row.value(1),
    )
}

/// What a note begins with that goes by itself.
pub const WAITING: &str = "waiting: ";

/// Adds what a hidden vectorizer did to the counters of its vectorizer, before it goes.
pub fn merge_counters(vectorizer: i32, other: i32) -> Result<()> {
    sql::execute(
        "UPDATE ai._vectorizer_counters c
            SET chunks_embedded = c.chunks_embedded + o.chunks_embedded, requests = c.requests + o.requests,
                tokens_used = c.tokens_used + o.tokens_used, calls_saved = c.calls_saved + o.calls_saved
           FROM ai._vectorizer_counters o WHERE c.vectorizer_id = $1 AND o.vectorizer_id = $2",
        &[vectorizer.into(), other.into()],
    )?;
    Ok(())
}

/// Renames a hidden vectorizer.
pub fn rename(other: i32, name: &str) -> Result<()> {
    sql::execute("UPDATE ai.vectorizer SET name = $2::name WHERE id = $1", &[other.into(), name.into()])?;
    Ok(())
}
