//! Partitions of responses that come and go. A statement fires the triggers of the table that it
//! names, so each partition has its own; and responses that are attached, detached or dropped
//! with their partition are changes too.

use pgrx::pg_sys;

use super::super::locks::Mode;
use super::super::transaction::pinned;
use super::super::{session, sql};
use super::{apply, ddl, rule};
use crate::error::Result;

/// A rule over partitioned responses, and the partitions it had before a command.
pub struct Watched {
    rule: i32,
    partitions: Vec<pg_sys::Oid>,
}

/// True for commands after which a partitioned table may have other partitions.
///
/// # Safety
/// `node` is a valid utility statement.
unsafe fn may_change_partitions(node: *mut pg_sys::Node) -> bool {
    // SAFETY: each node is read as what its tag says.
    unsafe {
        match (*node).type_ {
            // Indexes are no partitions, and dropping them CONCURRENTLY commits on its way.
            pg_sys::NodeTag::T_DropStmt => {
                (*node.cast::<pg_sys::DropStmt>()).removeType != pg_sys::ObjectType::OBJECT_INDEX
            }
            pg_sys::NodeTag::T_DropOwnedStmt => true,
            pg_sys::NodeTag::T_CreateStmt => !(*node.cast::<pg_sys::CreateStmt>()).partbound.is_null(),
            pg_sys::NodeTag::T_AlterTableStmt => {
                let commands = (*node.cast::<pg_sys::AlterTableStmt>()).cmds;
                (0..pg_sys::list_length(commands)).any(|i| {
                    let command: *const pg_sys::AlterTableCmd = pg_sys::list_nth(commands, i).cast();
                    match (*command).subtype {
                        pg_sys::AlterTableType::AT_AttachPartition => true,
                        // CONCURRENTLY commits on its way and leaves no snapshot behind.
                        pg_sys::AlterTableType::AT_DetachPartition => {
                            let partition = (*command).def.cast::<pg_sys::PartitionCmd>();
                            !(*partition).concurrent
                        }
                        _ => false,
                    }
                })
            }
            _ => false,
        }
    }
}

/// What has to be compared after the command; nothing for most commands.
///
/// # Safety
/// `node` is a valid utility statement that is about to run.
pub unsafe fn before(node: *mut pg_sys::Node) -> Result<Vec<Watched>> {
    // SAFETY: the caller's promise.
    if !unsafe { may_change_partitions(node) } {
        return Ok(Vec::new());
    }
    pinned(watch)
}

fn watch() -> Result<Vec<Watched>> {
    if !session::extension_exists()? {
        return Ok(Vec::new());
    }
    let rules = sql::query(
        "SELECT r.id, r.responses::oid FROM ai._record_status_rule r
           JOIN pg_catalog.pg_class c ON c.oid = r.responses WHERE c.relkind = 'p' ORDER BY r.id",
        &[],
        |row| Ok((row.value::<i32>(1)?, row.value::<pg_sys::Oid>(2)?)),
    )?;
    rules
        .into_iter()
        .map(|(rule, responses)| Ok(Watched { rule, partitions: partitions(responses)? }))
        .collect()
}

fn partitions(table: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>> {
    sql::query(
        "SELECT t.relid::oid FROM pg_catalog.pg_partition_tree($1) t ORDER BY 1",
        &[table.into()],
        |row| row.value(1),
    )
}

/// Gives new partitions their triggers, and brings every record up to date where partitions have
/// come or gone. Transactions that change responses are waited for: they count without them.
pub fn after(watched: Vec<Watched>) -> Result<()> {
    if !pinned(session::extension_exists)? {
        return Ok(());
    }
    for Watched { rule, partitions: before } in watched {
        let Some(rule) = rule::load(rule)? else { continue };
        if pinned(|| partitions(rule.responses.oid))? == before {
            continue;
        }
        apply::hold(rule.id, Mode::Exclusive);
        pinned(|| ddl::uncovered(&rule)?.into_iter().try_for_each(|table| ddl::cover(&rule, table)))?;
        apply::correct(&rule)?;
    }
    Ok(())
}
