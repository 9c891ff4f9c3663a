//! The event triggers: ALTER and DROP of tables with checkpoints. They see what a command did to the
//! catalogs, however it was written, before it commits.

use pgrx::pg_sys;

use super::history;
use crate::error::Result;
use crate::store::flush::raise;
use crate::store::ownership;
use crate::store::sql;
use crate::store::transaction::as_extension_owner;

/// After ALTER TABLE.
///
/// # Safety
/// Called by the event trigger manager, or directly, which is refused.
pub unsafe fn altered(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    unsafe { require_event(fcinfo) };
    raise(follow(false).and_then(|()| ownership::follow_all()));
    pg_sys::Datum::null()
}

/// Before a table is rewritten: no row trigger sees what happens to the values.
///
/// # Safety
/// As `altered`.
pub unsafe fn rewritten(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    unsafe { require_event(fcinfo) };
    raise(refuse_rewrite());
    pg_sys::Datum::null()
}

/// After a command that dropped something.
///
/// # Safety
/// As `altered`.
pub unsafe fn dropped(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    unsafe { require_event(fcinfo) };
    raise(concerns_tables().and_then(|concerned| if concerned { follow(true) } else { Ok(()) }));
    pg_sys::Datum::null()
}

unsafe fn require_event(fcinfo: pg_sys::FunctionCallInfo) {
    // SAFETY: `context` is null or a Node, whose tag is its first field.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
            pgrx::error!("this function is called by autovector's event triggers only");
        }
    }
}

/// Temporary tables come and go all the time.
fn concerns_tables() -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() d
                         WHERE NOT d.is_temporary
                           AND d.object_type IN ('table', 'table column', 'table constraint', 'trigger'))",
        &[],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}

fn follow(dropped: bool) -> Result<()> {
    if is_there()? { as_extension_owner(|| history::follow_commands(dropped)) } else { Ok(()) }
}

/// The extension itself may be going.
fn is_there() -> Result<bool> {
    let there = sql::query_one("SELECT to_regclass('ai._checkpoint_pin') IS NOT NULL", &[], |row| {
        row.value::<bool>(1)
    })?;
    Ok(there == Some(true))
}

/// Refuses a rewrite that gives columns of a version other values: by ALTER COLUMN … TYPE, also to
/// another dimension or to the same type by way of an expression, and by SET EXPRESSION of a
/// generated column. A new column, another access method or tablespace leave values alone.
fn refuse_rewrite() -> Result<()> {
    // The reasons of `event_trigger.h`: AT_REWRITE_DEFAULT_VAL and AT_REWRITE_COLUMN_REWRITE. The
    // former stands for a new column, and from PostgreSQL 17 on for another expression as well.
    let found = sql::query_one(
        "SELECT r.relation, r.reason & 4 <> 0
                OR r.reason & 2 <> 0 AND current_setting('server_version_num')::int4 >= 170000 AND EXISTS
                   (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.relation AND a.attgenerated = 's')
           FROM (SELECT pg_catalog.pg_event_trigger_table_rewrite_oid() AS relation,
                        pg_catalog.pg_event_trigger_table_rewrite_reason() AS reason) r",
        &[],
        |row| Ok((row.value::<pg_sys::Oid>(1)?, row.value::<bool>(2)?)),
    )?;
    match found {
        Some((relation, true)) if is_there()? => as_extension_owner(|| history::refuse_rewrite(relation)),
        _ => Ok(()),
    }
}
