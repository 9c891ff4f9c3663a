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
    transaction_on(None, body)
}

/// The same; with `snapshot`, one that another process exported, it sees what that one sees.
pub fn transaction_on<T>(snapshot: Option<&std::ffi::CStr>, body: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: called outside a transaction on the worker's main thread; the calls are the ones
    // that PostgreSQL's own workers make around a unit of work, in the same order.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
    }
    let result = PgTryBuilder::new(AssertUnwindSafe(|| {
        // SAFETY: in a transaction that has taken no snapshot yet. The level is what SET
        // TRANSACTION would set; the next transaction begins with the default again.
        unsafe {
            if let Some(name) = snapshot {
                pg_sys::XactIsoLevel = pg_sys::XACT_REPEATABLE_READ as i32;
                pg_sys::ImportSnapshot(name.as_ptr());
            }
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
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

/// Runs `body` in a subtransaction: kept when it returns Ok, undone when it returns Err or raises
/// an ERROR, and then the transaction goes on. May be called while a transaction is committing.
pub fn attempt<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: inside a transaction on the main thread; context and owner are put back below, as
    // PostgreSQL's own procedural languages do around a subtransaction.
    let (context, owner) = unsafe {
        let saved = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = saved.0;
        saved
    };
    let result = PgTryBuilder::new(AssertUnwindSafe(|| {
        let result = body();
        if result.is_ok() {
            // SAFETY: ends the subtransaction begun above.
            unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        }
        result
    }))
    .catch_others(|caught| Err(describe(&caught)))
    .execute();
    // SAFETY: undoes the subtransaction begun above, whatever state the error left it in.
    unsafe {
        if result.is_err() {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::CurrentMemoryContext = context;
        pg_sys::CurrentResourceOwner = owner;
    }
    result
}

pub fn describe(caught: &CaughtError) -> Error {
    let report = match caught {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => report,
    };
    let mut error = Error::new(Kind::Database(report.sql_error_code()), report.message());
    error.detail = report.detail().map(str::to_owned);
    match report.hint() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Runs `body` with the rights of `role`, as PostgreSQL's own maintenance commands do for the
/// owner of a table: what the owner's triggers, functions and expressions try there cannot
/// reach beyond the owner's rights, nor outlive the statement. The search_path is pinned: that
/// of a user who writes could put operators of his own before PostgreSQL's.
pub fn as_role<T>(role: pg_sys::Oid, body: impl FnOnce() -> Result<T>) -> Result<T> {
    pinned(|| as_role_unpinned(role, body))
}

/// The same for statements that look nothing up by the search_path.
pub fn as_role_unpinned<T>(role: pg_sys::Oid, body: impl FnOnce() -> Result<T>) -> Result<T> {
    with_role(role, pg_sys::SECURITY_RESTRICTED_OPERATION as i32, body)
}

/// Runs `body` with the rights of a table's owner, as PostgreSQL does for the actions of foreign
/// keys: policies of the owner's own tables do not filter, also where they are forced.
pub fn as_table_owner<T>(role: pg_sys::Oid, body: impl FnOnce() -> Result<T>) -> Result<T> {
    with_role(role, pg_sys::SECURITY_NOFORCE_RLS as i32, body)
}

/// Runs `body` with the rights of the extension's owner: for autovector's own tables. Users
/// call this in their sessions, so nothing is looked for in their search_path.
pub fn as_extension_owner<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    pinned(|| with_role(extension_owner()?, 0, body))
}

/// Runs `body` with nothing but PostgreSQL's own schema on the search_path.
pub fn pinned<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    with_search_path("pg_catalog, pg_temp", body)
}

/// Runs `body` with another search_path.
pub fn with_search_path<T>(path: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
    with_settings(&[("search_path", path.to_owned())], body)
}

/// Runs `body` while nobody is waited for longer than `time` at one lock.
pub fn with_lock_timeout<T>(time: std::time::Duration, body: impl FnOnce() -> Result<T>) -> Result<T> {
    with_settings(&[("lock_timeout", time.as_millis().to_string())], body)
}

/// Runs `body` with other values of settings that any user may set.
pub fn with_settings<T>(settings: &[(&str, String)], body: impl FnOnce() -> Result<T>) -> Result<T> {
    if settings.is_empty() {
        return body();
    }
    // SAFETY: the strings are NUL-terminated; the level is closed below, or by the abort of the
    // (sub)transaction when an ERROR skips that.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    for (name, value) in settings {
        set_in_level(name, value);
    }
    let result = body();
    // SAFETY: as above.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    result
}

/// Gives a setting that any user may set another value, to the end of the innermost nest level.
pub fn set_in_level(name: &str, value: &str) {
    let name = std::ffi::CString::new(name).expect("names of settings are constants");
    let value = std::ffi::CString::new(value).expect("a setting has no NUL");
    // SAFETY: both strings are NUL-terminated and live through the call.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// Runs `body` as the bootstrap superuser: for what PostgreSQL keeps from everybody else, after
/// the caller's own rights have been checked.
pub fn as_superuser<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    with_role(pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID), 0, body)
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
