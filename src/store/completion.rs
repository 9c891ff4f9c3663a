//! The queue protocol, step 3: completing. One short transaction that is fenced twice: by the
//! lease (a worker that lost it writes nothing) and by each row's generation (a result that is
//! older than the row never replaces a newer one).

use std::collections::HashMap;

use pgrx::datum::DatumWithOid;
use serde_json::json;

use super::catalog::{Pgvector, Vectorizer};
use super::key::{Key, columns_of};
use super::queue::{Kind, Lease};
use super::record_status::embedding;
use super::sql;
use super::transaction::as_role;
use super::vectors::{self, Chunk};
use super::{cut_texts, ledger, locks, newest};
use crate::error::Result;

/// What became of one row of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// Its chunks are known: `moves`, `deletes` and `inserts` turn the store's rows into them.
    Done(Chunks),
    /// It was refused; `step` says where (`chunking`, `embedding`).
    Failed { step: &'static str, message: String },
    /// Its document cannot be fetched now: it stays, or becomes, dirty, and is tried again for the
    /// `retries`th time after a rest.
    Later { message: String, retries: i32 },
    /// Not reached: it stays, or becomes, dirty.
    Unfinished,
}

#[derive(Debug, Default)]
pub struct Chunks {
    /// Chunks that keep their vector under another number: (old, new).
    pub moves: Vec<(i32, i32)>,
    /// Numbers of chunks that go.
    pub deletes: Vec<i32>,
    pub inserts: Vec<Chunk>,
    /// True when chunks of the store keep their place.
    pub keeps: bool,
}

#[derive(Debug)]
pub struct FinishedRow {
    pub key: Key,
    pub generation: Option<i64>,
    pub outcome: Outcome,
    /// Chunks of which the model got only the beginning.
    pub cut: usize,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Usage {
    pub requests: u64,
    pub tokens: u64,
    pub chunks_embedded: u64,
    pub calls_saved: u64,
    /// The tokens that longer texts are cut to, where that is known.
    pub cut_to: Option<usize>,
}

/// What a completion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// Written; so many rows are finished (failed ones included).
    Rows(usize),
    /// The lease was gone: nothing was written.
    Stale,
}

/// Writes the batch and ends its lease, in the caller's transaction. `replace` deletes whatever
/// the store holds for the keys first: the way out when a plain insert met a duplicate.
pub fn complete(
    v: &Vectorizer,
    pgvector: &Pgvector,
    lease: &Lease,
    rows: &[FinishedRow],
    usage: Usage,
    rate: f64,
    replace: bool,
) -> Result<Completed> {
    if !take_lease(lease)? {
        return Ok(Completed::Stale);
    }
    if v.column.is_some() {
        v.lock_source(locks::ROW_EXCLUSIVE)?;
    }
    let decided = as_role(v.source.owner, || {
        let dirty = dirty_now(v, lease.kind, rows)?;
        let mut decided: Vec<Decision> = rows.iter().map(|row| decide(lease.kind, row, &dirty)).collect();
        if v.column.is_some() {
            leave_busy(v, lease.kind, rows, &mut decided)?;
        }
        write(v, pgvector, rows, &decided, replace)?;
        Ok(decided)
    })?;
    let written = rows.iter().zip(&decided).filter(|(_, d)| d.finishes());
    embedding::note(v, written.map(|(row, _)| &row.key))?;
    let finished = decided.iter().filter(|d| d.finishes()).count();
    let done = rows.iter().zip(&decided).filter(|(row, d)| **d == Decision::Finish && row.is_done()).count();
    count(v.id, done, usage, rate)?;
    ledger::enter(v.id, done, usage)?;
    log_failures(v.id, rows, &decided)?;
    let cut = rows.iter().zip(&decided).filter(|(row, d)| row.cut > 0 && row.is_done() && d.finishes());
    let cut: Vec<(&Key, usize)> = cut.map(|(row, _)| (&row.key, row.cut)).collect();
    cut_texts::note(v.id, &cut, usage.cut_to)?;
    Ok(Completed::Rows(finished))
}

/// Deletes the lease; false when it is gone, or about to go in an open transaction (TRUNCATE of
/// the source): then nothing may be written, and nobody waits.
fn take_lease(lease: &Lease) -> Result<bool> {
    let taken = sql::execute(
        "DELETE FROM ai._lease WHERE id =
           (SELECT id FROM ai._lease WHERE id = $1 AND token = $2 FOR UPDATE SKIP LOCKED)",
        &[lease.id.into(), lease.token.into()],
    )?;
    Ok(taken == 1)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Write the result, and clear the dirty key with the claimed generation.
    Finish,
    /// The row changed meanwhile, but the whole result is newer than what the store holds:
    /// write it and keep the key dirty, so that a row that never rests is not starved.
    WriteAndKeepDirty,
    /// Somebody else is changing the row, or it changed: leave it as it is.
    Leave,
    /// A backfill row that was not reached becomes dirty.
    MakeDirty,
    /// Dirty, but not before a rest.
    Postpone,
}

impl Decision {
    /// A result is written.
    fn finishes(self) -> bool {
        matches!(self, Decision::Finish | Decision::WriteAndKeepDirty)
    }
}

impl FinishedRow {
    fn is_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done(_))
    }
}

fn decide(kind: Kind, row: &FinishedRow, dirty: &HashMap<Key, i64>) -> Decision {
    match (kind, &row.outcome, dirty.get(&row.key)) {
        // A backfill row that became dirty belongs to its dirty key.
        (Kind::Backfill, _, Some(_)) => Decision::Leave,
        (Kind::Backfill, Outcome::Unfinished, None) => Decision::MakeDirty,
        (Kind::Backfill, Outcome::Later { .. }, None) => Decision::Postpone,
        (Kind::Backfill, _, None) => Decision::Finish,
        // Gone or locked: the row was deleted, or somebody is changing it right now.
        (Kind::Dirty, _, None) | (Kind::Dirty, Outcome::Unfinished, _) => Decision::Leave,
        (Kind::Dirty, Outcome::Later { .. }, Some(generation)) if row.generation == Some(*generation) => {
            Decision::Postpone
        }
        (Kind::Dirty, _, Some(generation)) if row.generation == Some(*generation) => Decision::Finish,
        (Kind::Dirty, Outcome::Done(chunks), Some(_)) if !chunks.keeps && chunks.moves.is_empty() => {
            Decision::WriteAndKeepDirty
        }
        (Kind::Dirty, _, Some(_)) => Decision::Leave,
    }
}

/// With `destination_column` the vector goes into the user's own row: where somebody else holds
/// that row, its key stays dirty (or becomes so) instead of anybody waiting.
fn leave_busy(v: &Vectorizer, kind: Kind, rows: &[FinishedRow], decided: &mut [Decision]) -> Result<()> {
    let busy = vectors::lock_rows(v, rows.iter().map(|row| &row.key))?;
    for (row, decision) in rows.iter().zip(decided) {
        if busy.contains(&row.key) && *decision != Decision::Leave {
            *decision = if kind == Kind::Backfill { Decision::MakeDirty } else { Decision::Leave };
        }
    }
    Ok(())
}

/// Generations of the batch's keys as they are now. Dirty keys are locked, skipping those that a
/// user's transaction holds; a backfill only has to know whether they exist.
fn dirty_now(v: &Vectorizer, kind: Kind, rows: &[FinishedRow]) -> Result<HashMap<Key, i64>> {
    let width = v.key.width();
    let lock = if kind == Kind::Dirty { "FOR UPDATE OF q SKIP LOCKED" } else { "" };
    let statement = format!(
        "SELECT {}, q.gen FROM {} u JOIN {} q ON {} {lock}",
        v.key.stored_texts("q"),
        v.key.unnest(1, &[]),
        v.queue,
        v.key.stored_matches_unnested("q", "u"),
    );
    let args: Vec<DatumWithOid> =
        columns_of(width, rows.iter().map(|row| &row.key)).into_iter().map(Into::into).collect();
    let found = sql::query(&statement, &args, |row| {
        let key: Key = (1..=width).map(|i| row.value::<String>(i)).collect::<Result<_>>()?;
        Ok((key, row.value::<i64>(width + 1)?))
    })?;
    Ok(found.into_iter().collect())
}

fn write(
    v: &Vectorizer,
    pgvector: &Pgvector,
    rows: &[FinishedRow],
    decided: &[Decision],
    replace: bool,
) -> Result<()> {
    let written: Vec<(&FinishedRow, &Chunks, Decision)> = rows
        .iter()
        .zip(decided)
        .filter_map(|(row, decision)| match (&row.outcome, decision) {
            (Outcome::Done(chunks), Decision::Finish | Decision::WriteAndKeepDirty) => {
                Some((row, chunks, *decision))
            }
            _ => None,
        })
        .collect();
    vectors::write(
        v,
        pgvector,
        &written
            .iter()
            .map(|(row, chunks, d)| {
                let clear = replace && !chunks.keeps || *d == Decision::WriteAndKeepDirty;
                vectors::RowWrite { key: &row.key, chunks, clear }
            })
            .collect::<Vec<_>>(),
    )?;

    let of =
        |wanted: Decision| rows.iter().zip(decided).filter(move |(_, d)| **d == wanted).map(|(row, _)| row);
    clear_dirty(v, of(Decision::Finish))?;
    make_dirty(v, of(Decision::MakeDirty).map(|row| &row.key))?;
    postpone(v, of(Decision::Postpone))?;
    clear_failed(v, of(Decision::Finish))?;
    set_failed(v, of(Decision::Finish))
}

fn clear_dirty<'a>(v: &Vectorizer, rows: impl Iterator<Item = &'a FinishedRow>) -> Result<()> {
    let rows: Vec<&FinishedRow> = rows.filter(|row| row.generation.is_some()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let width = v.key.width();
    let statement = format!(
        "DELETE FROM {} q USING {} u WHERE {} AND q.gen = u.gen",
        v.queue,
        v.key.unnest(1, &[("gen", "int8")]),
        v.key.stored_matches_unnested("q", "u"),
    );
    let mut args: Vec<DatumWithOid> =
        columns_of(width, rows.iter().map(|row| &row.key)).into_iter().map(Into::into).collect();
    args.push(rows.iter().map(|row| row.generation.unwrap_or(0)).collect::<Vec<i64>>().into());
    sql::execute(&statement, &args)?;
    Ok(())
}

/// Puts keys of a backfill into the dirty set, leaving those alone that are there already. They
/// get generation 0, older than any change: whoever waits for what was there before waits for
/// them too. Runs with the rights of the queue's owner.
pub fn make_dirty<'a>(v: &Vectorizer, keys: impl Iterator<Item = &'a Key>) -> Result<usize> {
    let columns = columns_of(v.key.width(), keys);
    if columns[0].is_empty() {
        return Ok(0);
    }
    let statement = format!(
        "INSERT INTO {} ({}, gen) SELECT DISTINCT {}, 0 FROM {} u ON CONFLICT DO NOTHING",
        v.queue,
        v.key.stored_names(),
        v.key.unnested_list("u"),
        v.key.unnest(1, &[]),
    );
    sql::execute(&statement, &columns.into_iter().map(Into::into).collect::<Vec<_>>())
}

/// Lets keys rest whose documents could not be fetched: three minutes longer each time, as pgai
/// does. A row of a backfill becomes dirty by it; one that changed meanwhile rests no more.
fn postpone<'a>(v: &Vectorizer, rows: impl Iterator<Item = &'a FinishedRow>) -> Result<()> {
    let rows: Vec<(&FinishedRow, i32)> = rows
        .filter_map(|row| match row.outcome {
            Outcome::Later { retries, .. } => Some((row, retries)),
            _ => None,
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let names = v.key.stored_names();
    let statement = format!(
        "INSERT INTO {} AS q ({names}, gen, loading_retries, loading_retry_after)
         SELECT {}, u.gen, u.retries, clock_timestamp() + u.retries * interval '3 minutes' FROM {} u
         ON CONFLICT ({names}) DO UPDATE
           SET loading_retries = excluded.loading_retries, loading_retry_after = excluded.loading_retry_after
         WHERE q.gen = excluded.gen",
        v.queue,
        v.key.unnested_list("u"),
        v.key.unnest(1, &[("gen", "int8"), ("retries", "int4")]),
    );
    let mut args: Vec<DatumWithOid> =
        columns_of(v.key.width(), rows.iter().map(|(row, _)| &row.key)).into_iter().map(Into::into).collect();
    args.push(rows.iter().map(|(row, _)| row.generation.unwrap_or(0)).collect::<Vec<i64>>().into());
    args.push(rows.iter().map(|(_, retries)| *retries).collect::<Vec<i32>>().into());
    sql::execute(&statement, &args)?;
    Ok(())
}

fn clear_failed<'a>(v: &Vectorizer, rows: impl Iterator<Item = &'a FinishedRow>) -> Result<()> {
    let any = sql::query_one(&format!("SELECT EXISTS (SELECT FROM {})", v.failed), &[], |row| {
        row.value::<bool>(1)
    })?;
    if any != Some(true) {
        return Ok(());
    }
    let statement = format!(
        "DELETE FROM {} f USING {} u WHERE {}",
        v.failed,
        v.key.unnest(1, &[]),
        v.key.stored_matches_unnested("f", "u"),
    );
    let columns = columns_of(v.key.width(), rows.map(|row| &row.key));
    sql::execute(&statement, &columns.into_iter().map(Into::into).collect::<Vec<_>>())?;
    Ok(())
}

fn set_failed<'a>(v: &Vectorizer, rows: impl Iterator<Item = &'a FinishedRow>) -> Result<()> {
    let failed: Vec<(&Key, &str, &str)> = rows
        .filter_map(|row| match &row.outcome {
            Outcome::Failed { step, message } => Some((&row.key, *step, message.as_str())),
            _ => None,
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    // What the store holds is the vector of an older text: it must not be found any more.
    vectors::clear(v, failed.iter().map(|(key, _, _)| *key))?;
    let statement = format!(
        "INSERT INTO {} ({}, failure_step, error) SELECT {}, u.step, u.error FROM {} u",
        v.failed,
        v.key.stored_names(),
        v.key.unnested_list("u"),
        v.key.unnest(1, &[("step", "text"), ("error", "text")]),
    );
    let mut args: Vec<DatumWithOid> = columns_of(v.key.width(), failed.iter().map(|(key, _, _)| *key))
        .into_iter()
        .map(Into::into)
        .collect();
    args.push(failed.iter().map(|(_, step, _)| step.to_string()).collect::<Vec<_>>().into());
    args.push(failed.iter().map(|(_, _, message)| message.to_string()).collect::<Vec<_>>().into());
    sql::execute(&statement, &args)?;
    Ok(())
}

fn count(id: i32, done: usize, usage: Usage, rate: f64) -> Result<()> {
    newest::row(
        newest::COUNTERS,
        id,
        |found| {
            format!(
                "UPDATE ai._vectorizer_counters
                    SET rows_done = rows_done + $2, chunks_embedded = chunks_embedded + $3,
                        requests = requests + $4, tokens_used = tokens_used + $5, calls_saved = calls_saved + $6,
                        rows_per_second = $7, last_done_at = clock_timestamp()
                  WHERE {found} RETURNING ctid::text"
            )
        },
        || {
            vec![
                id.into(),
                (done as i64).into(),
                (usage.chunks_embedded as i64).into(),
                (usage.requests as i64).into(),
                (usage.tokens as i64).into(),
                (usage.calls_saved as i64).into(),
                rate.into(),
            ]
        },
        1,
        |_| Ok(()),
    )?;
    Ok(())
}

fn log_failures(id: i32, rows: &[FinishedRow], decided: &[Decision]) -> Result<()> {
    for (row, decision) in rows.iter().zip(decided) {
        let (step, message, retries) = match (&row.outcome, decision) {
            (Outcome::Failed { step, message }, Decision::Finish) => (*step, message, None),
            (Outcome::Later { message, retries }, Decision::Postpone) => ("loading", message, Some(*retries)),
            _ => continue,
        };
        let mut details = json!({"error_reason": message, "failure_step": step, "key": row.key});
        if step == "loading" {
            details["is_retryable"] = retries.is_some().into();
            details["loading_retries"] = retries.into();
        }
        super::control::log_error(id, &format!("{step} failed"), details)?;
    }
    Ok(())
}

/// Ends a lease without a result: its keys stay dirty, or become so.
pub fn release(v: &Vectorizer, lease: &Lease, rows: &[FinishedRow]) -> Result<()> {
    if take_lease(lease)? && lease.kind == Kind::Backfill {
        as_role(v.source.owner, || make_dirty(v, rows.iter().map(|row| &row.key)))?;
    }
    Ok(())
}
