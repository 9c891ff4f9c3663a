//! The utility hook: what has to happen before certain commands of users.
//!
//! DROP DATABASE, its renaming and its use as a template fail while anybody is connected, so our
//! processes leave first. TRUNCATE of a single partition fires no trigger of the partitioned
//! source, so it is refused instead of leaving vectors of rows that are gone. Partitions of
//! responses that come or go change the status of records.

use std::ffi::{CStr, c_char};

use pgrx::{pg_guard, pg_sys};

use super::flush::raise;
use super::record_status::partitions;
use super::{catalog, sql, wake};
use crate::error::{Error, Kind, Result};

static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;

/// Installs the hook; called from `_PG_init` while preloading.
pub fn init() {
    // SAFETY: in the postmaster, before it has children; hooks are plain globals.
    unsafe {
        PREVIOUS = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(utility);
    }
}

#[pg_guard]
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: arguments come from PostgreSQL and go on to it unchanged; the statement is a valid
    // node whose tag says what it is.
    unsafe {
        let database = database_to_leave((*statement).utilityStmt);
        if let Some(database) = database {
            wake::withdraw(database);
        }
        if (*(*statement).utilityStmt).type_ == pg_sys::NodeTag::T_TruncateStmt {
            raise(refuse_partitions((*statement).utilityStmt.cast()));
        }
        let watched = raise(partitions::before((*statement).utilityStmt));
        match PREVIOUS {
            Some(previous) => pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
                previous(
                    statement,
                    text,
                    read_only_tree,
                    context,
                    params,
                    environment,
                    destination,
                    completion,
                )
            }),
            None => pg_sys::standard_ProcessUtility(
                statement,
                text,
                read_only_tree,
                context,
                params,
                environment,
                destination,
                completion,
            ),
        }
        if !watched.is_empty() {
            // What the command did has to be visible.
            pg_sys::CommandCounterIncrement();
            raise(partitions::after(watched));
        }
        // A dropped database is still listed until this transaction commits; its withdrawal
        // outlasts that.
        if let Some(database) = database
            && (*(*statement).utilityStmt).type_ != pg_sys::NodeTag::T_DropdbStmt
        {
            wake::readmit(database);
        }
    }
}

/// The database that nobody may be connected to while `node` runs.
unsafe fn database_to_leave(node: *mut pg_sys::Node) -> Option<pg_sys::Oid> {
    // SAFETY: each node is read as what its tag says; names are NUL-terminated or null.
    unsafe {
        let name = match (*node).type_ {
            pg_sys::NodeTag::T_DropdbStmt => (*node.cast::<pg_sys::DropdbStmt>()).dbname,
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType != pg_sys::ObjectType::OBJECT_DATABASE {
                    return None;
                }
                (*rename).subname
            }
            pg_sys::NodeTag::T_CreatedbStmt => template(node.cast())?,
            _ => return None,
        };
        if name.is_null() || !wake::preloaded() {
            return None;
        }
        let database = pg_sys::get_database_oid(name, true);
        (database != pg_sys::Oid::INVALID).then_some(database)
    }
}

/// The template that CREATE DATABASE names.
unsafe fn template(statement: *mut pg_sys::CreatedbStmt) -> Option<*mut c_char> {
    // SAFETY: the options are a list of DefElem.
    unsafe {
        let options = (*statement).options;
        (0..pg_sys::list_length(options)).find_map(|i| {
            let option: *mut pg_sys::DefElem = pg_sys::list_nth(options, i).cast();
            let is_template = CStr::from_ptr((*option).defname) == c"template" && !(*option).arg.is_null();
            is_template.then(|| pg_sys::defGetString(option))
        })
    }
}

/// Refuses to truncate a partition of a source without the source.
unsafe fn refuse_partitions(statement: *mut pg_sys::TruncateStmt) -> Result<()> {
    // SAFETY: the relations are a list of RangeVar; no lock is taken, a relation that goes away
    // meanwhile is found missing by TRUNCATE itself.
    let relations: Vec<pg_sys::Oid> = unsafe {
        let list = (*statement).relations;
        (0..pg_sys::list_length(list))
            .map(|i| {
                let name: *const pg_sys::RangeVar = pg_sys::list_nth(list, i).cast();
                pg_sys::RangeVarGetRelidExtended(
                    name,
                    pg_sys::NoLock as pg_sys::LOCKMODE,
                    pg_sys::RVROption::RVR_MISSING_OK,
                    None,
                    std::ptr::null_mut(),
                )
            })
            .filter(|oid| *oid != pg_sys::Oid::INVALID && pg_sys::get_rel_relispartition(*oid))
            .collect()
    };
    if relations.is_empty() || !super::session::extension_exists()? {
        return Ok(());
    }
    for partition in relations {
        let vectorizer = sql::query_one(
            "SELECT v.name::text FROM pg_catalog.pg_partition_ancestors($1) a
               JOIN ai.vectorizer v ON v.source = a.relid WHERE a.relid <> $1 LIMIT 1",
            &[partition.into()],
            |row| row.value::<String>(1),
        )?;
        if let (Some(vectorizer), Some(partition)) = (vectorizer, catalog::relation(partition)?) {
            return Err(Error::new(
                Kind::Unsupported,
                format!("partition {} of a vectorized table cannot be truncated alone", partition.ident),
            )
            .hint(format!(
                "Use DELETE, or TRUNCATE the partitioned table; vectorizer \"{vectorizer}\" would keep vectors of the rows."
            )));
        }
    }
    Ok(())
}
