//! What a manifest says of the server that a backup comes from, and whose rights count.

use autovector_backup::manifest::Server;
use pgrx::pg_sys;

use super::snapshot::Frozen;
use crate::error::Result;
use crate::store::sql;
use crate::store::transaction::{as_superuser, current_role};

/// This server, as the manifest names it.
pub fn identity(encoding: &str) -> Result<Server> {
    let found = as_superuser(|| {
        sql::query_one(
            "SELECT pg_catalog.current_setting('server_version'),
                    (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
                    pg_catalog.current_database()::text,
                    (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector')",
            &[],
            |row| Ok((row.value(1)?, row.value(2)?, row.value(3)?, row.get(4)?)),
        )
    })?;
    let (version, system_identifier, database, pgvector) = found.expect("one row");
    Ok(Server {
        version,
        system_identifier,
        database,
        encoding: encoding.to_owned(),
        pgvector,
        remote: false,
    })
}

/// The encoding of files: UTF-8, unless the database does not know what its bytes mean.
pub fn encoding() -> Result<String> {
    let server: Option<String> =
        sql::query_one("SELECT pg_catalog.current_setting('server_encoding')", &[], |row| row.value(1))?;
    Ok(if server.as_deref() == Some("SQL_ASCII") { "SQL_ASCII" } else { "UTF8" }.to_owned())
}

/// What the snapshot sees, and where the write-ahead log was.
pub fn position(frozen: &Frozen) -> Result<(String, Option<String>)> {
    let snapshot = frozen.value("SELECT pg_catalog.pg_current_snapshot()::text")?.unwrap_or_default();
    let lsn = frozen.value(
        "SELECT (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                      ELSE pg_catalog.pg_current_wal_lsn() END)::text",
    )?;
    Ok((snapshot, lsn))
}

/// This process, by a name that no other one has: which server it belongs to, and which of its
/// processes it is. Needs no transaction.
pub fn process_name() -> String {
    // SAFETY: plain globals of this backend, and the control file's number in shared memory.
    let (pid, started) = unsafe { (pg_sys::MyProcPid, pg_sys::MyStartTimestamp) };
    format!("{}{pid}:{started}", server_name())
}

fn server_name() -> String {
    // SAFETY: as above; the directory's name is a NUL-terminated string that never changes.
    let (number, directory) =
        unsafe { (pg_sys::GetSystemIdentifier(), std::ffi::CStr::from_ptr(pg_sys::DataDir)) };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{number}:{}:{}:", host.trim(), directory.to_string_lossy())
}

/// Whether the process with that name lives; None where it belongs to another server.
pub fn process_lives(name: &str) -> Option<bool> {
    let rest = name.strip_prefix(&server_name())?;
    let (pid, started) = rest.split_once(':')?;
    let (pid, started) = (pid.parse::<i32>().ok()?, started.parse::<i64>().ok()?);
    // Timestamps count microseconds from 2000 on.
    let found = as_superuser(|| {
        sql::query_one(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity($1) a
               WHERE (pg_catalog.date_part('epoch', a.backend_start - '2000-01-01 00:00:00+00'::timestamptz)
                      * 1000000)::int8 BETWEEN $2 - 1 AND $2 + 1)",
            &[pid.into(), started.into()],
            |row| row.value::<bool>(1),
        )
    });
    Some(found.ok().flatten().unwrap_or(true))
}

/// The data directory, which must hold no backups.
pub fn data_directory() -> Result<String> {
    let found = as_superuser(|| {
        sql::query_one("SELECT pg_catalog.current_setting('data_directory')", &[], |row| row.value(1))
    })?;
    Ok(found.unwrap_or_default())
}

pub fn is_superuser() -> bool {
    // SAFETY: a plain look-up.
    unsafe { pg_sys::superuser() }
}

/// May the caller do with every backup what its maker may?
pub fn may_use_all(role: &str) -> Result<bool> {
    let member: Option<bool> = sql::query_one(
        "SELECT pg_catalog.pg_has_role($1, $2::name, 'USAGE')",
        &[current_role().into(), role.into()],
        |row| row.value(1),
    )?;
    Ok(is_superuser() || member.unwrap_or(false))
}

/// The role called by this number, if it is still there.
pub fn is_member_of(role: pg_sys::Oid) -> bool {
    // SAFETY: a plain look-up in the role caches.
    unsafe { pg_sys::is_member_of_role(current_role(), role) }
}
