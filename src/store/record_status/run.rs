//! Statements inside triggers: they see the trigger's transition tables, run on a snapshot taken
//! when they start (whatever the isolation level), and their plans are kept by the rule.
//!
//! The latest snapshot is what makes the count exact: an old one, as REPEATABLE READ has it,
//! would miss responses that other transactions committed meanwhile. Foreign keys are checked
//! in the same way.

use std::ffi::{CStr, CString, c_char};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

use super::super::key::Key;

/// A kept plan. It goes when nobody uses it any more: a trigger may fire inside its own
/// statement, and the rule may change meanwhile.
pub struct Plan(pg_sys::SPIPlanPtr);

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: the plan was kept by `Session::prepare` and is freed once.
        unsafe { pg_sys::SPI_freeplan(self.0) };
    }
}

/// A connection to SPI, with the transition tables of a trigger where there is one.
pub struct Session(());

impl Session {
    /// Runs `body` with a connection. On ERROR the abort of the (sub)transaction disconnects.
    ///
    /// # Safety
    /// `trigger` is null or the data of the trigger that is being called.
    pub unsafe fn with<T>(trigger: *mut pg_sys::TriggerData, body: impl FnOnce(&Session) -> T) -> T {
        // SAFETY: connect and finish pair; the caller's promise.
        unsafe {
            if pg_sys::SPI_connect() < 0 {
                pgrx::error!("cannot connect to SPI");
            }
            if !trigger.is_null() && pg_sys::SPI_register_trigger_data(trigger) < 0 {
                pgrx::error!("cannot see the transition tables");
            }
            let result = body(&Session(()));
            pg_sys::SPI_finish();
            result
        }
    }

    /// Plans `statement` and keeps the plan.
    pub fn prepare(&self, statement: &str, types: &[pg_sys::Oid]) -> Plan {
        let text = CString::new(statement).expect("statements have no NUL");
        let mut types = types.to_vec();
        // SAFETY: connected; the text and the types live through the call.
        unsafe {
            let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr());
            if plan.is_null() {
                pgrx::error!("cannot prepare an internal statement: {statement}");
            }
            pg_sys::SPI_keepplan(plan);
            Plan(plan)
        }
    }

    /// Runs a plan on the latest snapshot; returns the number of rows.
    pub fn execute(&self, plan: &Plan, args: &[DatumWithOid<'_>]) -> u64 {
        let mut values: Vec<pg_sys::Datum> =
            args.iter().map(|arg| arg.datum().map_or(pg_sys::Datum::null(), |d| d.sans_lifetime())).collect();
        let nulls: Vec<c_char> =
            args.iter().map(|a| if a.datum().is_some() { b' ' } else { b'n' } as c_char).collect();
        // SAFETY: connected; a snapshot is active in every trigger and function; the argument
        // arrays have the plan's length.
        unsafe {
            let code = pg_sys::SPI_execute_snapshot(
                plan.0,
                values.as_mut_ptr(),
                nulls.as_ptr(),
                pg_sys::GetLatestSnapshot(),
                std::ptr::null_mut(),
                false,
                true,
                0,
            );
            if code < 0 {
                pgrx::error!("an internal statement failed with {code}");
            }
            pg_sys::SPI_processed
        }
    }

    /// The rows that the last statement returned, each column as text; NULL is the empty text.
    pub fn rows(&self) -> Vec<Key> {
        // SAFETY: the table of the last statement, valid until the next one; values are
        // palloc'd, NUL-terminated strings or null.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            if table.is_null() {
                return Vec::new();
            }
            let descriptor = (*table).tupdesc;
            let text = |tuple, column| {
                let value = pg_sys::SPI_getvalue(tuple, descriptor, column);
                if value.is_null() {
                    return String::new();
                }
                let text = CStr::from_ptr(value).to_string_lossy().into_owned();
                pg_sys::pfree(value.cast());
                text
            };
            (0..(*table).numvals as usize)
                .map(|i| {
                    let tuple = *(*table).vals.add(i);
                    (1..=(*descriptor).natts).map(|column| text(tuple, column)).collect()
                })
                .collect()
        }
    }
}

/// Rows in a transition table; 0 where the trigger has none.
///
/// # Safety
/// `store` is null or a transition table of the trigger that is being called.
pub unsafe fn tuples(store: *mut pg_sys::Tuplestorestate) -> i64 {
    // SAFETY: the caller's promise.
    if store.is_null() { 0 } else { unsafe { pg_sys::tuplestore_tuple_count(store) } }
}
