//! Where the newest of what every batch writes anew is to be found: of a vectorizer's leases, and of
//! its rows of cursors and counters.
//!
//! While an old snapshot is held anywhere, nothing that batches leave behind is cleaned up. Whoever
//! looks by key then reads past every lease and every version that there ever was, more with each
//! batch. So this process remembers where the newest was. That is only a hint: a row that somebody
//! else has moved is not found there, and is looked up by its key.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

use super::catalog::Vectorizer;
use super::sql::{self, Row};
use crate::error::Result;

thread_local! {
    static PLACES: RefCell<HashMap<(&'static str, i32), String>> = RefCell::default();
    static FIRST_LEASES: RefCell<HashMap<(i32, pg_sys::Oid), i64>> = RefCell::default();
}

/// Tables with one row a vectorizer, found by `vectorizer_id`.
pub const CURSORS: &str = "ai._vectorizer_cursor";
pub const COUNTERS: &str = "ai._vectorizer_counters";

/// Runs a statement that reads or updates the row of vectorizer `id` in `table`, and returns what
/// `read` makes of its row.
///
/// `statement` gets the condition that finds the row; `args` begin with the vectorizer, $1. Column
/// `place` of what it returns is the row's `ctid::text`.
pub fn row<T>(
    table: &'static str,
    id: i32,
    statement: impl Fn(&str) -> String,
    args: impl Fn() -> Vec<DatumWithOid<'static>>,
    place: usize,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let found = |row: &Row<'_>| Ok((row.value::<String>(place)?, read(row)?));
    let by_key = "vectorizer_id = $1";
    let known = PLACES.with_borrow(|places| places.get(&(table, id)).cloned());
    let mut result = None;
    if let Some(known) = known {
        let mut args = args();
        args.push(known.into());
        let by_place = format!("{by_key} AND ctid = ${}::tid", args.len());
        result = sql::query_one(&statement(&by_place), &args, found)?;
    }
    if result.is_none() {
        result = sql::query_one(&statement(by_key), &args(), found)?;
    }
    Ok(result.map(|(place, value)| {
        PLACES.with_borrow_mut(|places| places.insert((table, id), place));
        value
    }))
}

/// No lease of `v` has a lower number than this.
pub fn first_lease(v: &Vectorizer) -> i64 {
    FIRST_LEASES.with_borrow(|first| first.get(&of(v)).copied().unwrap_or(0))
}

/// Remembers that no lease of `v` has a lower number than `first`. To be called in a claim alone:
/// claims make leases one after the other, with rising numbers.
pub fn set_first_lease(v: &Vectorizer, first: i64) {
    FIRST_LEASES.with_borrow_mut(|leases| leases.insert(of(v), first));
}

/// With the oid of its queue, because numbers begin anew with the extension.
fn of(v: &Vectorizer) -> (i32, pg_sys::Oid) {
    (v.id, v.queue_oid)
}
