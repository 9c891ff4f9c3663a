//! Events: NOTIFY with the records that a transaction completed, once each, when it commits. A
//! record that was completed and fell back in the same transaction is none; notes follow
//! savepoints.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use pgrx::{pg_guard, pg_sys};

use super::super::flush::raise;
use super::super::sql;
use super::rule::Rule;
use crate::error::Result;

/// PostgreSQL's limit for a payload is 8,000 bytes.
const PAYLOAD: usize = 7_800;

/// A record whose status was written: in which subtransaction, and whether it was completed
/// before and after.
struct Note {
    subtransaction: pg_sys::SubTransactionId,
    record: String,
    before: bool,
    after: bool,
}

#[derive(Default)]
struct Noted {
    channel: String,
    records: String,
    notes: Vec<Note>,
}

thread_local! {
    static NOTED: RefCell<HashMap<i32, Noted>> = RefCell::default();
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Notes what an UPDATE returned (see `Rule::apply`).
pub fn note(rule: &Rule, rows: Vec<Vec<String>>) {
    let Some(channel) = &rule.channel else { return };
    if rows.is_empty() {
        return;
    }
    register();
    // SAFETY: reads transaction state.
    let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
    NOTED.with_borrow_mut(|noted| {
        let noted = noted.entry(rule.id).or_default();
        noted.channel.clone_from(channel);
        noted.records = rule.records.ident.to_string();
        noted.notes.extend(rows.into_iter().filter_map(|row| {
            let [record, before, after] = <[String; 3]>::try_from(row).ok()?;
            Some(Note { subtransaction, record, before: before == "t", after: after == "t" })
        }));
    });
}

fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: plain functions that live as long as the library, which is never unloaded.
        unsafe {
            pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(subtransaction_event), std::ptr::null_mut());
        }
    }
}

/// The records that are completed now and were not before the transaction, in order.
fn completed(notes: Vec<Note>) -> Vec<String> {
    let mut state: HashMap<&str, (bool, bool)> = HashMap::with_capacity(notes.len());
    for note in &notes {
        state.entry(&note.record).or_insert((note.before, note.after)).1 = note.after;
    }
    let mut seen = Vec::new();
    for note in &notes {
        if state.remove(note.record.as_str()) == Some((false, true)) {
            seen.push(note.record.clone());
        }
    }
    seen
}

fn send(rule: i32, noted: Noted) -> Result<()> {
    let head = format!(
        "{{\"rule\": {rule}, \"records\": {}, \"completed\": [",
        serde_json::Value::String(noted.records.clone())
    );
    let mut payload = String::new();
    let mut all = completed(noted.notes).into_iter().peekable();
    while let Some(record) = all.next() {
        payload.push_str(if payload.is_empty() { &head } else { ", " });
        payload.push_str(&record);
        let full = all.peek().is_none_or(|next| payload.len() + next.len() + 4 > PAYLOAD);
        if full {
            payload.push_str("]}");
            sql::execute_latest(
                "SELECT pg_catalog.pg_notify($1, $2)",
                &[noted.channel.as_str().into(), payload.as_str().into()],
            )?;
            payload.clear();
        }
    }
    Ok(())
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => {
            let mut noted: Vec<(i32, Noted)> = NOTED.take().into_iter().collect();
            noted.sort_by_key(|(rule, _)| *rule);
            for (rule, noted) in noted {
                raise(send(rule, noted));
            }
        }
        XACT_EVENT_ABORT => drop(NOTED.take()),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut std::ffi::c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        // Ids grow, so everything from this one on was made in it or below it.
        NOTED.with_borrow_mut(|noted| {
            for noted in noted.values_mut() {
                noted.notes.retain(|note| note.subtransaction < subtransaction);
            }
        });
    }
}
