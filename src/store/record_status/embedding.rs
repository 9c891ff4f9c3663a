//! Embedding status: a vectorizer keeps `pending`, `embedded` or `failed` in a column of its
//! source. A row trigger makes a row `pending` in the statement that changes its text, without a
//! second write. What workers finish they note, like a deferred rule; the status keeper then reads
//! dirty set and failed table and writes the column. The engine waits for no row of a user.
//!
//! Writing the status changes neither key nor text, so no row becomes dirty by it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::datum::DatumWithOid;
use pgrx::spi::quote_literal;
use pgrx::{pg_guard, pg_sys};
use serde_json::json;

use super::super::catalog::{self, Vectorizer};
use super::super::ddl::{status_queue, status_queue_name, trigger_name};
use super::super::flush::{is_broken, raise};
use super::super::key::{Key, columns_of};
use super::super::transaction::{as_extension_owner, as_role};
use super::super::{control, ident::Ident, locks, roles, sql};
use super::column::{self, Column};
use super::deferred::{self, Drained};
use crate::error::Result;

pub const STATES: [&str; 3] = ["pending", "embedded", "failed"];

/// Makes the triggers and the queue, and every row `pending` that says anything else. `relevant`
/// are the columns whose change makes a row dirty.
pub fn create(v: &Vectorizer, status: &Column, relevant: &[String]) -> Result<()> {
    let column = Ident::new(&status.name);
    let pending = super::statements::constant(STATES[0], status);
    let owner = Ident::new(&roles::name_by_oid(v.source.owner)?);
    as_extension_owner(|| {
        sql::execute(
            "INSERT INTO ai._embedding_status (vectorizer_id, source_oid, attnum, column_name) VALUES ($1, $2, $3, $4::name)",
            &[v.id.into(), v.source.oid.into(), status.attnum.into(), status.name.as_str().into()],
        )?;
        let queue = status_queue(v.id);
        if roles::relation_exists("ai", &status_queue_name(v.id))? {
            sql::execute_once(&format!("DROP TABLE {queue}"))?;
        }
        sql::execute_once(&format!(
            "CREATE TABLE {queue} ({}, noted int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY)
               WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
            v.key.definitions()
        ))?;
        sql::execute_once(&format!("ALTER TABLE {queue} OWNER TO {owner}"))
    })?;
    sql::execute_once(&format!(
        "UPDATE {} SET {column} = {pending} WHERE {column} IS DISTINCT FROM {pending}",
        v.source.scan()
    ))?;
    create_triggers(v, status, relevant)
}

/// The triggers that make rows `pending`.
fn create_triggers(v: &Vectorizer, status: &Column, relevant: &[String]) -> Result<()> {
    let table = &v.source.ident;
    let column = Ident::new(&status.name);
    let pending = super::statements::constant(STATES[0], status);
    let id = quote_literal(v.id.to_string());
    let name = trigger_name(v.id);
    sql::execute_once(&format!(
        "CREATE TRIGGER {} BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.{column} IS DISTINCT FROM {pending})
         EXECUTE FUNCTION ai._embedding_status_pending({id})",
        Ident::new(&format!("{name}_pending"))
    ))?;
    set_update_trigger(v, relevant)
}

/// Makes the trigger for UPDATE, or gives it other columns to look at.
pub fn set_update_trigger(v: &Vectorizer, relevant: &[String]) -> Result<()> {
    let unchanged = relevant
        .iter()
        .map(|name| format!("ai._unchanged(OLD.{0}, NEW.{0})", Ident::new(name)))
        .collect::<Vec<_>>()
        .join(" AND ");
    sql::execute_once(&format!(
        "CREATE OR REPLACE TRIGGER {} BEFORE UPDATE ON {} FOR EACH ROW WHEN (NOT ({unchanged}))
         EXECUTE FUNCTION ai._embedding_status_pending({})",
        Ident::new(&format!("{}_pending_update", trigger_name(v.id))),
        v.source.ident,
        quote_literal(v.id.to_string()),
    ))
}

/// Makes the triggers again, where the vectorizer keeps a status column.
pub fn mend_triggers(v: &Vectorizer, relevant: &[String]) -> Result<()> {
    match as_extension_owner(|| status_column(v))? {
        Some(status) => create_triggers(v, &status, relevant),
        None => Ok(()),
    }
}

/// True where the vectorizer keeps a status column.
pub fn exists(vectorizer: i32) -> Result<bool> {
    Ok(sql::query_one(
        "SELECT EXISTS (SELECT FROM ai._embedding_status WHERE vectorizer_id = $1)",
        &[vectorizer.into()],
        |row| row.value(1),
    )?
    .unwrap_or(false))
}

/// Today's name of the column; None where there is none, or none any more.
fn status_column(v: &Vectorizer) -> Result<Option<Column>> {
    let remembered = sql::query_one(
        "SELECT source_oid, attnum, column_name::text FROM ai._embedding_status WHERE vectorizer_id = $1",
        &[v.id.into()],
        |row| {
            let remembered = json!({"attnum": row.value::<i16>(2)?, "name": row.value::<String>(3)?});
            Ok((row.value::<pg_sys::Oid>(1)?, remembered))
        },
    )?;
    let Some((oid, remembered)) = remembered else { return Ok(None) };
    Ok(column::find(&column::describe(v.source.oid)?, &remembered, oid == v.source.oid))
}

// --- notes ------------------------------------------------------------------------------------

/// Notes rows that a worker has finished, in its transaction.
pub fn note<'a>(v: &Vectorizer, keys: impl Iterator<Item = &'a Key>) -> Result<()> {
    let columns = columns_of(v.key.width(), keys);
    if columns[0].is_empty() || !exists(v.id)? {
        return Ok(());
    }
    let statement = format!(
        "INSERT INTO {} ({}) SELECT {} FROM {} u",
        status_queue(v.id),
        v.key.stored_names(),
        v.key.unnested_list("u"),
        v.key.unnest(1, &[]),
    );
    let args: Vec<DatumWithOid> = columns.into_iter().map(Into::into).collect();
    as_role(v.queue_owner, || sql::execute(&statement, &args))?;
    deferred::wake_at_commit();
    Ok(())
}

/// Notes every failed row, before some of them are tried again.
pub fn note_failed(v: &Vectorizer) -> Result<()> {
    if !as_extension_owner(|| exists(v.id))? {
        return Ok(());
    }
    note_all(v, &v.failed)
}

/// Notes every key of `table`, a dirty set or failed table, for a vectorizer with a status column.
pub fn note_all(v: &Vectorizer, table: &Ident) -> Result<()> {
    let statement = format!(
        "INSERT INTO {} ({names}) SELECT {names} FROM {table}",
        status_queue(v.id),
        names = v.key.stored_names(),
    );
    as_role(v.queue_owner, || sql::execute(&statement, &[]))?;
    deferred::wake_at_commit();
    Ok(())
}

/// The vectorizers whose status column has notes, in order.
pub fn due() -> Result<Vec<i32>> {
    let kept = sql::query("SELECT vectorizer_id FROM ai._embedding_status ORDER BY 1", &[], |row| {
        row.value::<i32>(1)
    })?;
    let mut due = Vec::new();
    for id in kept {
        let statement = format!("SELECT EXISTS (SELECT FROM {})", status_queue(id));
        if roles::relation_exists("ai", &status_queue_name(id))?
            && sql::query_one(&statement, &[], |row| row.value::<bool>(1))? == Some(true)
        {
            due.push(id);
        }
    }
    Ok(due)
}

/// Applies up to `limit` notes behind number `after`, in the caller's transaction, as
/// `deferred::drain` does: rows that somebody holds keep their notes.
pub fn drain(vectorizer: i32, after: i64, limit: usize) -> Result<Drained> {
    let v = catalog::vectorizer(vectorizer)?;
    let status = status_column(&v)?;
    v.lock_source(locks::ROW_EXCLUSIVE)?;
    as_role(v.source.owner, || {
        let queue = status_queue(v.id);
        let width = v.key.width();
        let notes = sql::query(
            &format!(
                "SELECT q.noted, {} FROM {queue} q WHERE q.noted > $1 ORDER BY q.noted LIMIT $2 FOR UPDATE SKIP LOCKED",
                v.key.stored_texts("q")
            ),
            &[after.into(), (limit as i64).into()],
            |row| {
                let key: Key = (2..=width + 1).map(|i| row.value::<String>(i)).collect::<Result<_>>()?;
                Ok((row.value::<i64>(1)?, key))
            },
        )?;
        let Some(last) = notes.last().map(|(noted, _)| *noted) else { return Ok(Drained::default()) };
        let done: Vec<i64> = match &status {
            // The column was dropped: there is nothing to keep.
            None => notes.iter().map(|(noted, _)| *noted).collect(),
            Some(status) => {
                let (existing, locked) = lock(&v, notes.iter().map(|(_, key)| key))?;
                write(&v, status, locked.iter())?;
                let done = notes.iter().filter(|(_, key)| locked.contains(key) || !existing.contains(key));
                done.map(|(noted, _)| *noted).collect()
            }
        };
        let count = done.len();
        sql::execute(&format!("DELETE FROM {queue} q WHERE q.noted = ANY ($1)"), &[done.into()])?;
        Ok(Drained { taken: notes.len(), last, done: count })
    })
}

fn args<'a>(v: &Vectorizer, keys: impl Iterator<Item = &'a Key>) -> Vec<DatumWithOid<'static>> {
    columns_of(v.key.width(), keys).into_iter().map(Into::into).collect()
}

/// The keys that exist, and those whose rows could be locked.
fn lock<'a>(v: &Vectorizer, keys: impl Iterator<Item = &'a Key>) -> Result<(HashSet<Key>, HashSet<Key>)> {
    let args = args(v, keys);
    let width = v.key.width();
    let select = format!(
        "SELECT {} FROM {} s JOIN {} u ON {}",
        v.key.source_texts("s"),
        v.source.scan(),
        v.key.unnest(1, &[]),
        v.key.source_matches_unnested("s", "u"),
    );
    let read = |statement: &str| {
        let found = sql::query(statement, &args, |row| {
            (1..=width).map(|i| row.value::<String>(i)).collect::<Result<Key>>()
        });
        Ok::<HashSet<Key>, crate::error::Error>(found?.into_iter().collect())
    };
    let ordered = format!("{select} ORDER BY {} FOR NO KEY UPDATE OF s SKIP LOCKED", v.key.source_list("s"));
    Ok((read(&select)?, read(&ordered)?))
}

/// Writes what dirty set and failed table say now, into rows that are locked.
fn write<'a>(v: &Vectorizer, status: &Column, keys: impl Iterator<Item = &'a Key>) -> Result<()> {
    let [pending, embedded, failed] = STATES.map(|state| super::statements::constant(state, status));
    let statement = format!(
        "UPDATE {source} s SET {column} = w.status
           FROM (SELECT {list}, CASE WHEN EXISTS (SELECT FROM {queue} q WHERE {in_queue}) THEN {pending}
                                     WHEN EXISTS (SELECT FROM {failed_table} f WHERE {in_failed}) THEN {failed}
                                     ELSE {embedded} END AS status
                   FROM {unnest} u) w
          WHERE {matches} AND s.{column} IS DISTINCT FROM w.status",
        source = v.source.scan(),
        column = Ident::new(&status.name),
        list = v.key.unnested_list("u"),
        queue = v.queue,
        in_queue = v.key.stored_matches_unnested("q", "u"),
        failed_table = v.failed,
        in_failed = v.key.stored_matches_unnested("f", "u"),
        unnest = v.key.unnest(1, &[]),
        matches = v.key.source_matches_unnested("s", "w"),
    );
    sql::execute(&statement, &args(v, keys))?;
    Ok(())
}

/// Takes the first note behind `after` off the queue; why it cannot be applied goes to the
/// vectorizer's errors.
pub fn skip_first(vectorizer: i32, after: i64, error: &str) -> Result<()> {
    let v = catalog::vectorizer(vectorizer)?;
    let queue = status_queue(v.id);
    let statement = format!(
        "DELETE FROM {queue} q WHERE q.noted = (SELECT min(m.noted) FROM {queue} m WHERE m.noted > $1) RETURNING {}",
        v.key.stored_texts("q")
    );
    let width = v.key.width();
    let key = as_role(v.source.owner, || {
        sql::query_one(&statement, &[after.into()], |row| {
            (1..=width).map(|i| row.value::<String>(i)).collect::<Result<Key>>()
        })
    })?;
    control::log_error(
        v.id,
        "the status column could not be written",
        json!({"error_reason": error, "key": key}),
    )
}

// --- the trigger ------------------------------------------------------------------------------

thread_local! {
    /// The source of a vectorizer and the name of its status column; forgotten when the source
    /// changes.
    static COLUMNS: RefCell<HashMap<i32, Rc<(pg_sys::Oid, CString)>>> = RefCell::default();
    static WATCHING: Cell<bool> = const { Cell::new(false) };
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    COLUMNS.with_borrow_mut(|columns| {
        columns.retain(|_, known| relation != pg_sys::Oid::INVALID && known.0 != relation);
    });
}

fn known(id: i32) -> Result<Option<Rc<(pg_sys::Oid, CString)>>> {
    if !WATCHING.replace(true) {
        // SAFETY: a plain function that lives as long as the library.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null()) };
    }
    if let Some(known) = COLUMNS.with_borrow(|columns| columns.get(&id).cloned()) {
        return Ok(Some(known));
    }
    let found = as_extension_owner(|| {
        if !exists(id)? {
            return Ok(None);
        }
        let v = match catalog::vectorizer(id) {
            Ok(v) => v,
            // A vectorizer that has lost its store or queue keeps nothing.
            Err(error) if is_broken(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(status_column(&v)?.map(|column| (v.source.oid, column.name)))
    })?;
    let Some((source, name)) = found else { return Ok(None) };
    let known = Rc::new((source, CString::new(name).expect("names have no NUL")));
    COLUMNS.with_borrow_mut(|columns| columns.insert(id, known.clone()));
    Ok(Some(known))
}

/// The row trigger: the row that is about to be written says `pending`.
///
/// # Safety
/// As for `trigger::fire`.
pub unsafe fn make_pending(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the context is checked by its tag; relation, trigger and tuples live for the call;
    // the number is one of the relation's columns, and the value of its type.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            pgrx::error!("this function is called by autovector's triggers only");
        }
        let data: *mut pg_sys::TriggerData = context.cast();
        let inserted = (*data).tg_event & pg_sys::TRIGGER_EVENT_OPMASK == pg_sys::TRIGGER_EVENT_INSERT;
        let tuple = if inserted { (*data).tg_trigtuple } else { (*data).tg_newtuple };
        let trigger = (*data).tg_trigger;
        let id = match (*trigger).tgnargs {
            0 => None,
            _ => CStr::from_ptr(*(*trigger).tgargs).to_str().ok().and_then(|text| text.parse().ok()),
        };
        let Some(known) = id.and_then(|id| raise(known(id))) else {
            return pg_sys::Datum::from(tuple);
        };
        let descriptor = (*(*data).tg_relation).rd_att;
        let number = pg_sys::SPI_fnumber(descriptor, known.1.as_ptr());
        if number <= 0 {
            return pg_sys::Datum::from(tuple);
        }
        let (mut input, mut parameter) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);
        pg_sys::getTypeInputInfo(pg_sys::SPI_gettypeid(descriptor, number), &mut input, &mut parameter);
        let mut value = pg_sys::OidInputFunctionCall(input, c"pending".as_ptr().cast_mut(), parameter, -1);
        let (mut number, mut is_null) = (number, false);
        let changed = pg_sys::heap_modify_tuple_by_cols(
            tuple,
            descriptor,
            1,
            &raw mut number,
            &raw mut value,
            &raw mut is_null,
        );
        pg_sys::Datum::from(changed)
    }
}
