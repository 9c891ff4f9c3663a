//! What belongs to a source follows its owner: queue, failed table, store and view.

use pgrx::pg_sys;

use super::catalog::{self, Vectorizer};
use super::ddl::status_queue;
use super::ident::Ident;
use super::record_status::embedding;
use super::transaction::{as_superuser, pinned};
use super::{session, sql};
use crate::error::Result;

/// Hands queue, failed table and store to the owner of the source when that has changed: what
/// runs with the owner's rights could not use them otherwise.
pub fn follow_source(v: &Vectorizer) -> Result<()> {
    if v.queue_owner == v.source.owner && v.store.owner == v.source.owner {
        return Ok(());
    }
    let owner: String = sql::query_one(
        "SELECT rolname::text FROM pg_catalog.pg_roles WHERE oid = $1",
        &[v.source.owner.into()],
        |row| row.value(1),
    )?
    .expect("an owner exists as long as it owns something");
    let owner = Ident::new(&owner);
    let mut relations = vec![v.queue.to_string(), v.failed.to_string()];
    if v.column.is_none() {
        relations.push(v.store.ident.to_string());
    }
    if embedding::exists(v.id)? {
        relations.push(status_queue(v.id).to_string());
    }
    for relation in relations {
        sql::execute_once(&format!("ALTER TABLE {relation} OWNER TO {owner}"))?;
    }
    Ok(())
}

/// The table that `node` gives another owner.
///
/// # Safety
/// `node` is a valid utility statement.
pub unsafe fn given_away(node: *mut pg_sys::Node) -> Option<pg_sys::Oid> {
    // SAFETY: the node is read as what its tag says. No lock is taken: a relation that goes away is
    // found missing by the command itself.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_AlterTableStmt {
            return None;
        }
        let statement = node.cast::<pg_sys::AlterTableStmt>();
        let commands = (*statement).cmds;
        let gives = (0..pg_sys::list_length(commands)).any(|i| {
            let command: *const pg_sys::AlterTableCmd = pg_sys::list_nth(commands, i).cast();
            (*command).subtype == pg_sys::AlterTableType::AT_ChangeOwner
        });
        let table = gives.then(|| {
            pg_sys::RangeVarGetRelidExtended(
                (*statement).relation,
                pg_sys::NoLock as pg_sys::LOCKMODE,
                pg_sys::RVROption::RVR_MISSING_OK,
                None,
                std::ptr::null_mut(),
            )
        });
        table.filter(|table| *table != pg_sys::Oid::INVALID)
    }
}

/// What belongs to the vectorizers of `table` follows its new owner at once. A worker would see to it
/// at its next claim; until then nobody could read the status.
pub fn follow(table: pg_sys::Oid) -> Result<()> {
    pinned(|| {
        if !session::extension_exists()? {
            return Ok(());
        }
        as_superuser(|| {
            let ids = sql::query("SELECT id FROM ai.vectorizer WHERE source = $1", &[table.into()], |row| {
                row.value::<i32>(1)
            })?;
            // What is broken otherwise has nothing to hand over.
            ids.into_iter().filter_map(|id| catalog::vectorizer(id).ok()).try_for_each(|v| follow_source(&v))
        })
    })
}
