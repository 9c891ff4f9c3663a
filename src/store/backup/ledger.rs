//! `ai._backup`: who made which backup here, and whether its tables were emptied after it. The
//! row is written in the transaction that empties them, so it tells the truth where the manifest,
//! which is older, cannot.

use autovector_backup::manifest::Manifest;
use pgrx::pg_sys;

use crate::error::Result;
use crate::store::sql;
use crate::store::transaction::{as_extension_owner, current_role};

#[derive(Debug, Clone)]
pub struct Entry {
    pub id: String,
    pub made_by: pg_sys::Oid,
    pub made_by_name: Option<String>,
    pub truncated: bool,
    pub by_policy: bool,
}

pub fn record(manifest: &Manifest, truncated: bool, by_policy: bool) -> Result<()> {
    let role = current_role();
    as_extension_owner(|| {
        sql::execute(
            "INSERT INTO ai._backup (id, name, made_by, truncated, by_policy)
             VALUES ($1::uuid, $2, $3::regrole, $4, $5)",
            &[
                manifest.id.as_str().into(),
                manifest.backup.as_str().into(),
                role.into(),
                truncated.into(),
                by_policy.into(),
            ],
        )
    })?;
    Ok(())
}

pub fn all() -> Result<Vec<Entry>> {
    as_extension_owner(|| {
        sql::query(
            "SELECT b.id::text, b.made_by::oid, r.rolname::text, b.truncated, b.by_policy
               FROM ai._backup b LEFT JOIN pg_catalog.pg_roles r ON r.oid = b.made_by::oid",
            &[],
            |row| {
                Ok(Entry {
                    id: row.value(1)?,
                    made_by: row.value(2)?,
                    made_by_name: row.get(3)?,
                    truncated: row.value(4)?,
                    by_policy: row.value(5)?,
                })
            },
        )
    })
}

pub fn find(id: &str) -> Result<Option<Entry>> {
    Ok(all()?.into_iter().find(|entry| entry.id == id))
}

pub fn forget(id: &str) -> Result<()> {
    as_extension_owner(|| sql::execute("DELETE FROM ai._backup WHERE id = $1::uuid", &[id.into()]))?;
    Ok(())
}
