//! Deferred rules: triggers note keys, and batches of them are applied later, in the order in
//! which they were noted. A note commits with its response and goes with the status that was
//! written for it, so nothing is lost in a crash.

use std::cell::Cell;
use std::collections::HashSet;

use pgrx::datum::DatumWithOid;
use pgrx::{pg_guard, pg_sys};

use super::super::key::{Key, columns_of};
use super::super::locks::Mode;
use super::super::transaction::as_extension_owner;
use super::super::{sql, wake};
use super::apply::{as_owner, hold};
use super::rule::Rule;
use super::run::Session;
use super::{ddl, events};
use crate::error::Result;

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Has the notes applied soon after the current transaction commits.
pub fn wake_at_commit() {
    if !REGISTERED.replace(true) {
        // SAFETY: a plain function that lives as long as the library, which is never unloaded.
        unsafe { pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut()) };
    }
    NOTED.set(true);
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if matches!(event, XACT_EVENT_COMMIT | XACT_EVENT_ABORT | XACT_EVENT_PREPARE)
        && NOTED.replace(false)
        && event == XACT_EVENT_COMMIT
    {
        // SAFETY: a plain global.
        wake::status_noted(unsafe { pg_sys::MyDatabaseId });
    }
}

/// The deferred rules that have notes, in order.
pub fn due() -> Result<Vec<i32>> {
    let rules = sql::query(
        "SELECT id FROM ai._record_status_rule WHERE mode = 'deferred' ORDER BY id",
        &[],
        |row| row.value::<i32>(1),
    )?;
    let mut due = Vec::new();
    for rule in rules {
        if ddl::has_queue(rule)? && has_notes(rule)? {
            due.push(rule);
        }
    }
    Ok(due)
}

fn has_notes(rule: i32) -> Result<bool> {
    let statement = format!("SELECT EXISTS (SELECT FROM {})", ddl::queue(rule));
    Ok(sql::query_one(&statement, &[], |row| row.value(1))?.unwrap_or(false))
}

/// What became of a batch of notes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Notes that were looked at, and the number of the last one.
    pub taken: usize,
    pub last: i64,
    /// Notes that are done. The others stay: somebody holds their record.
    pub done: usize,
}

/// Applies up to `limit` notes behind number `after`, in the caller's transaction. Waits for no
/// record: one that somebody holds keeps its notes for the next time.
pub fn drain(rule: &Rule, after: i64, limit: usize) -> Result<Drained> {
    hold(rule.id, Mode::Share);
    as_owner(rule, || {
        let width = rule.key.len();
        let pick = format!(
            "SELECT q.noted::pg_catalog.text, {} FROM {} q WHERE q.noted OPERATOR(pg_catalog.>) {after}::pg_catalog.int8
              ORDER BY q.noted LIMIT {limit} FOR UPDATE SKIP LOCKED",
            rule.key_texts("q"),
            rule.queue()
        );
        // SAFETY: no trigger.
        let (drained, rows) = unsafe {
            Session::with(std::ptr::null_mut(), |session| {
                session.execute(&session.prepare(&pick, &[]), &[]);
                let notes: Vec<(i64, Key)> = session
                    .rows()
                    .into_iter()
                    .map(|mut row| (row.remove(0).parse().unwrap_or(0), row))
                    .collect();
                let Some((last, _)) = notes.last() else { return (Drained::default(), Vec::new()) };
                let last = *last;

                let (types, given) = (rule.given_types(), rule.given());
                let args = columns(width, notes.iter().map(|(_, key)| key));
                session.execute(&session.prepare(&rule.existing(&given), &types), &args);
                let existing: HashSet<Key> = session.rows().into_iter().collect();
                session.execute(&session.prepare(&rule.lock_free(&given), &types), &args);
                let locked: HashSet<Key> = session.rows().into_iter().collect();

                let args = columns(width, locked.iter());
                session.execute(&session.prepare(&rule.apply(&given), &types), &args);
                let rows = if rule.channel.is_some() { session.rows() } else { Vec::new() };

                let done: Vec<i64> = notes
                    .iter()
                    .filter(|(_, key)| locked.contains(key) || !existing.contains(key))
                    .map(|(noted, _)| *noted)
                    .collect();
                let delete =
                    format!("DELETE FROM {} q WHERE q.noted OPERATOR(pg_catalog.=) ANY ($1)", rule.queue());
                let count = done.len();
                session.execute(&session.prepare(&delete, &[pg_sys::INT8ARRAYOID]), &[done.into()]);
                (Drained { taken: notes.len(), last, done: count }, rows)
            })
        };
        events::note(rule, rows);
        Ok(drained)
    })
}

fn columns<'a>(width: usize, keys: impl Iterator<Item = &'a Key>) -> Vec<DatumWithOid<'static>> {
    columns_of(width, keys).into_iter().map(Into::into).collect()
}

/// Takes the first note behind `after` off the queue and records why it cannot be applied.
pub fn skip_first(rule: &Rule, after: i64, error: &str) -> Result<()> {
    let queue = rule.queue();
    let statement = format!(
        "DELETE FROM {queue} q WHERE q.noted OPERATOR(pg_catalog.=)
           (SELECT pg_catalog.min(m.noted) FROM {queue} m WHERE m.noted OPERATOR(pg_catalog.>) {after}::pg_catalog.int8)
          RETURNING {}",
        rule.key_texts("q")
    );
    let key = as_owner(rule, || {
        // SAFETY: no trigger.
        Ok(unsafe {
            Session::with(std::ptr::null_mut(), |session| {
                session.execute(&session.prepare(&statement, &[]), &[]);
                session.rows()
            })
        })
    })?;
    let Some(key) = key.into_iter().next() else { return Ok(()) };
    as_extension_owner(|| {
        sql::execute(
            "INSERT INTO ai._record_status_error (rule_id, key, error) VALUES ($1, $2, $3)
             ON CONFLICT (rule_id, key) DO UPDATE SET error = excluded.error, recorded = clock_timestamp()",
            &[rule.id.into(), key.into(), error.into()],
        )
    })?;
    Ok(())
}
