//! A background worker's database session: connection, identity, pinned settings.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use super::sql;
use super::transaction::transaction;
use crate::error::Result;

/// What tells one worker process from any other, earlier ones with its pid included.
#[derive(Debug, Clone, Copy)]
pub struct WorkerIdentity {
    pub pid: i32,
    pub started: TimestampWithTimeZone,
}

/// Values that keys are written and read with: the same in every worker, whatever the role or
/// the database says. Plans are kept for long and tables grow, so no plan may be made that is
/// good for an empty table alone. `lock_timeout` bounds how long a user's lock can hold up a
/// worker that serves other vectorizers too.
const PINNED: [(&str, &str); 16] = [
    ("search_path", "pg_catalog, pg_temp"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("row_security", "off"),
    ("lock_timeout", "200ms"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("session_replication_role", "origin"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// What `extversion` is after CREATE EXTENSION and ALTER EXTENSION autovector UPDATE.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Connects this background worker to `database` as the bootstrap superuser and pins its
/// settings. A missing database is FATAL: the process ends.
pub fn connect(database: pg_sys::Oid) {
    // SAFETY: called once, first thing in a background worker's main function.
    unsafe { pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::Oid::INVALID, 0) };
    for (name, value) in PINNED {
        set(name, value);
    }
}

/// Says in `pg_stat_activity.application_name` what this process is about.
pub fn describe(text: &str) {
    set("application_name", text);
}

fn set(name: &str, value: &str) {
    let name = std::ffi::CString::new(name).expect("a constant without NUL");
    let value = std::ffi::CString::new(value.replace('\0', "")).expect("NULs were removed");
    // SAFETY: both strings are NUL-terminated and live through the call; the values are ours.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// Who this process is.
pub fn identity() -> Result<WorkerIdentity> {
    let found = transaction(|| {
        sql::query_one(
            "SELECT a.pid, a.backend_start FROM pg_catalog.pg_stat_get_activity(pg_backend_pid()) a",
            &[],
            |row| Ok(WorkerIdentity { pid: row.value(1)?, started: row.value(2)? }),
        )
    })?;
    Ok(found.expect("a backend finds itself in pg_stat_activity"))
}

/// The extension in the connected database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    Not,
    /// Of this library's version.
    Ours,
    /// Of another one: ALTER EXTENSION has not been run since the library was replaced, or the
    /// server has not been restarted since.
    Other(String),
}

/// Which version of the extension is installed in the connected database.
pub fn installed() -> Result<Installed> {
    let version = sql::query_one(
        "SELECT extversion::pg_catalog.text FROM pg_catalog.pg_extension
          WHERE extname OPERATOR(pg_catalog.=) 'autovector' AND pg_catalog.to_regclass('ai._lease') IS NOT NULL",
        &[],
        |row| row.value::<String>(1),
    )?;
    Ok(match version {
        None => Installed::Not,
        Some(version) if version == VERSION => Installed::Ours,
        Some(version) => Installed::Other(version),
    })
}

/// True where the extension is installed in the connected database, in whatever version: what
/// statements of users need of it every version has.
pub fn extension_exists() -> Result<bool> {
    Ok(installed()? != Installed::Not)
}

/// True where it has the tables and functions that this library knows: workers touch no others.
pub fn is_ours() -> Result<bool> {
    Ok(installed()? == Installed::Ours)
}

/// The name of the connected database.
pub fn database_name() -> String {
    let found = transaction(|| {
        sql::query_one("SELECT pg_catalog.current_database()::text", &[], |row| row.value::<String>(1))
    });
    found.ok().flatten().unwrap_or_default()
}

/// For processes that serve nobody but themselves: locks are waited for.
pub fn unlimited_locks() {
    set("lock_timeout", "0");
}

/// Back to the patience of a process that serves several.
pub fn limited_locks() {
    set("lock_timeout", "200ms");
}
