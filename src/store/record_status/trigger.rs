//! The trigger function: `sql/record_status.sql` declares it. Its argument is the rule's id.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::super::flush::raise;
use super::super::sql;
use super::super::transaction::pinned;
use super::apply::{self, Touched, What};
use super::rule::{self, Rule};
use super::run;
use super::statements::Change;
use crate::error::Result;

/// Brings the status of the records of changed responses up to date, or notes their keys.
///
/// # Safety
/// `fcinfo` is that of a call by PostgreSQL's trigger manager, or of a direct call, which is
/// refused.
pub unsafe fn fire(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the context is null or a Node, whose tag is its first field; the trigger manager
    // passes a TriggerData, whose relation, trigger and tuples live for the call.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            pgrx::error!("this function is called by autovector's triggers only");
        }
        raise(fired(context.cast()));
    }
    pg_sys::Datum::null()
}

unsafe fn fired(data: *mut pg_sys::TriggerData) -> Result<()> {
    rule::sweep();
    // SAFETY: see `fire`; a statement trigger has no tuple, a row trigger has one.
    unsafe {
        let Some(rule) = rule_of((*data).tg_trigger)? else { return Ok(()) };
        let table = (*(*data).tg_relation).rd_id;
        let event = (*data).tg_event;
        let is_row = event & pg_sys::TRIGGER_EVENT_ROW != 0;
        let expected = if is_row { rule.records.oid } else { rule.responses.oid };
        // Anybody may attach the function to a table of theirs, and a partition that was
        // detached keeps its triggers: only the rule's own tables count.
        if !belongs(table, expected)? {
            return Ok(());
        }
        let operation = event & pg_sys::TRIGGER_EVENT_OPMASK;
        if is_row {
            let inserted = operation == pg_sys::TRIGGER_EVENT_INSERT;
            let tuple = if inserted { (*data).tg_trigtuple } else { (*data).tg_newtuple };
            return record_appeared(&rule, (*data).tg_relation, tuple);
        }
        match operation {
            pg_sys::TRIGGER_EVENT_INSERT => responses_changed(&rule, data, What::INSERT, Change::Insert),
            pg_sys::TRIGGER_EVENT_UPDATE => responses_changed(&rule, data, What::UPDATE, Change::Update),
            pg_sys::TRIGGER_EVENT_DELETE => responses_changed(&rule, data, What::DELETE, Change::Delete),
            _ => responses_truncated(&rule),
        }
    }
}

unsafe fn rule_of(trigger: *mut pg_sys::Trigger) -> Result<Option<std::rc::Rc<Rule>>> {
    // SAFETY: tgargs holds tgnargs NUL-terminated strings for as long as the relation is open.
    let id = unsafe {
        if (*trigger).tgnargs == 0 {
            return Ok(None);
        }
        CStr::from_ptr(*(*trigger).tgargs).to_str().ok().and_then(|text| text.parse().ok())
    };
    match id {
        Some(id) => rule::load(id),
        None => Ok(None),
    }
}

fn belongs(table: pg_sys::Oid, expected: pg_sys::Oid) -> Result<bool> {
    if table == expected {
        return Ok(true);
    }
    let is_partition = pinned(|| {
        sql::query_one(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors($1) a WHERE a.relid = $2)",
            &[table.into(), expected.into()],
            |row| row.value::<bool>(1),
        )
    })?;
    Ok(is_partition == Some(true))
}

unsafe fn responses_changed(
    rule: &Rule,
    data: *mut pg_sys::TriggerData,
    what: What,
    change: Change,
) -> Result<()> {
    // SAFETY: the transition tables of the trigger that is being called.
    let rows = unsafe { run::tuples((*data).tg_newtable).max(run::tuples((*data).tg_oldtable)) };
    if rows == 0 {
        return Ok(());
    }
    let touched = Touched {
        what,
        // SAFETY: the relation of the trigger that is being called.
        table: unsafe { (*(*data).tg_relation).rd_id },
        sql: rule.touched(change),
        types: Vec::new(),
        args: Vec::new(),
        rows,
        trigger: data,
    };
    run(rule, &touched)
}

fn run(rule: &Rule, touched: &Touched<'_>) -> Result<()> {
    if !rule.deferred {
        apply::apply(rule, touched)?;
    } else if apply::note(rule, touched)? > 0 {
        super::deferred::wake_at_commit();
    }
    Ok(())
}

/// TRUNCATE has no transition tables, and nobody else is in the table: every record is looked at.
fn responses_truncated(rule: &Rule) -> Result<()> {
    apply::hold(rule.id, super::super::locks::Mode::Share);
    if rule.deferred {
        apply::once(rule, &rule.note(&rule.wrong_keys()))?;
        super::deferred::wake_at_commit();
    } else {
        apply::once(rule, &rule.lock(&rule.wrong_keys()))?;
        apply::correct(rule)?;
    }
    Ok(())
}

/// A record came with another status than one without responses has, or there may be responses
/// before their record.
unsafe fn record_appeared(rule: &Rule, relation: pg_sys::Relation, tuple: pg_sys::HeapTuple) -> Result<()> {
    let mut key = Vec::with_capacity(rule.key.len());
    for pair in &rule.key {
        let name = CString::new(pair.record.name.as_str()).expect("names have no NUL");
        // SAFETY: the tuple has the relation's shape; the value is a palloc'd string or null.
        unsafe {
            let descriptor = (*relation).rd_att;
            let value = match pg_sys::SPI_fnumber(descriptor, name.as_ptr()) {
                number if number > 0 => pg_sys::SPI_getvalue(tuple, descriptor, number),
                _ => std::ptr::null_mut(),
            };
            if value.is_null() {
                return Ok(());
            }
            key.push(CStr::from_ptr(value).to_string_lossy().into_owned());
        }
    }
    given(rule, key.into_iter().map(|part| vec![part]).collect(), 1)
}

/// Keys as text, one array a column.
fn given(rule: &Rule, columns: Vec<Vec<String>>, rows: i64) -> Result<()> {
    let touched = Touched {
        what: What::GIVEN,
        table: pg_sys::Oid::INVALID,
        sql: rule.given(),
        types: rule.given_types(),
        args: columns.into_iter().map(Into::into).collect(),
        rows,
        trigger: std::ptr::null_mut(),
    };
    run(rule, &touched)
}
