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
