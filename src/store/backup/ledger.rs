//! `ai._backup`: who made which backup here, and whether its tables were emptied after it. The
//! row is written in the transaction that empties them, so it tells the truth where the manifest,
//! which is older, cannot.

use autovector_backup::manifest::Manifest;
use pgrx::pg_sys;

use crate::error::Result;
use crate::store::roles;
use crate::store::sql;
use crate::store::transaction::as_extension_owner;

#[derive(Debug, Clone)]
pub struct Entry {
    pub id: String,
    /// None where the role is gone.
    pub made_by: Option<pg_sys::Oid>,
    pub made_by_name: String,
    pub truncated: bool,
    pub by_policy: bool,
}

pub fn record(manifest: &Manifest, truncated: bool, by_policy: bool) -> Result<()> {
    let role = roles::current_name()?;
    as_extension_owner(|| {
        sql::execute(
            "INSERT INTO ai._backup (id, name, made_by, truncated, by_policy)
             VALUES ($1::uuid, $2, $3::name, $4, $5)",
            &[
                manifest.id.as_str().into(),
                manifest.backup.as_str().into(),
                role.as_str().into(),
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
            "SELECT b.id::text, r.oid, b.made_by::text, b.truncated, b.by_policy
               FROM ai._backup b LEFT JOIN pg_catalog.pg_roles r ON r.rolname = b.made_by",
            &[],
            |row| {
                Ok(Entry {
                    id: row.value(1)?,
                    made_by: row.get(2)?,
                    made_by_name: row.value(3)?,
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
