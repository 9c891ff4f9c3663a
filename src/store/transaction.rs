//! Transactions of background workers, and whose rights a statement runs with.
//!
//! This is the one place that catches errors, and it aborts the transaction when it does:
//! going on after a caught error without the abort would commit half of the work.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgTryBuilder, pg_sys};

use crate::error::{Error, Kind, Result};

/// Runs `body` in a transaction of its own: committed when it returns Ok, aborted when it
/// returns Err, raises an ERROR or panics. For background workers only.
pub fn transaction<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: called outside a transaction on the worker's main thread; the calls are the ones
    // that PostgreSQL's own workers make around a unit of work, in the same order.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
    let result = PgTryBuilder::new(AssertUnwindSafe(|| {
        let result = body();
        if result.is_ok() {
            // SAFETY: pairs with the calls above.
            unsafe {
                pg_sys::PopActiveSnapshot();
                pg_sys::CommitTransactionCommand();
            }
        }
        result
    }))
    .catch_others(|caught| Err(describe(&caught)))
    .execute();
    if result.is_err() {
        // SAFETY: aborts the transaction begun above, whatever state the error left it in.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    // SAFETY: outside a transaction. Without the reports autovacuum never hears of the rows
    // that workers change.
    unsafe {
        pg_sys::pgstat_report_stat(false);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
    }
    result
}

pub fn describe(caught: &CaughtError) -> Error {
    let report = match caught {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => report,
    };
    let error = Error::new(Kind::Database(report.sql_error_code()), report.message());
    match report.hint() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Runs `body` with the rights of `role`, as PostgreSQL's own maintenance commands do for the
/// owner of a table: what the owner's triggers, functions and expressions try there cannot
/// reach beyond the owner's rights, nor outlive the statement.
pub fn as_role<T>(role: pg_sys::Oid, body: impl FnOnce() -> Result<T>) -> Result<T> {
    with_role(role, pg_sys::SECURITY_RESTRICTED_OPERATION as i32, body)
}

/// Runs `body` with the rights of the extension's owner: for autovector's own tables.
pub fn as_extension_owner<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    with_role(extension_owner()?, 0, body)
}

fn with_role<T>(role: pg_sys::Oid, flag: i32, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let (mut saved_role, mut saved_context) = (pg_sys::Oid::INVALID, 0);
    // SAFETY: plain getters and setters of backend state. An ERROR skips the restore below, but
    // then the transaction or subtransaction aborts, which restores both.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut saved_role, &mut saved_context);
        pg_sys::SetUserIdAndSecContext(
            role,
            saved_context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32 | flag,
        );
    }
    let result = body();
    // SAFETY: as above.
    unsafe { pg_sys::SetUserIdAndSecContext(saved_role, saved_context) };
    result
}

/// True in a transaction whose statements all see one snapshot.
pub fn has_fixed_snapshot() -> bool {
    // SAFETY: reads the isolation level (IsolationUsesXactSnapshot of xact.h).
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// The role whose statements run now.
pub fn current_role() -> pg_sys::Oid {
    // SAFETY: reads backend state.
    unsafe { pg_sys::GetUserId() }
}

fn extension_owner() -> Result<pg_sys::Oid> {
    // The owner of the schema's catalog table; asked every time, because it is one cached plan.
    super::sql::query_one(
        "SELECT extowner FROM pg_catalog.pg_extension WHERE extname = 'autovector'",
        &[],
        |row| row.value::<pg_sys::Oid>(1),
    )?
    .ok_or_else(|| {
        Error::new(Kind::WrongState, "extension autovector is not installed in this database")
            .hint("CREATE EXTENSION autovector CASCADE;")
    })
}
