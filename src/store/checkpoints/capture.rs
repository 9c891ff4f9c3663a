//! The triggers that keep what changes. A row trigger, because only it sees the header of the old
//! row: a row version that was made after the newest checkpoint is none of any checkpoint's, and is
//! left alone without a look at the history. Everything else is put into the history unless its key
//! has an entry of the newest version already.
//!
//! A writer takes the anchor's lock in share mode, to its end, before it asks which version is the
//! newest, and asks on the latest snapshot: whoever makes a checkpoint holds the lock exclusively, so
//! that no writer can end that has not heard of it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::{pg_guard, pg_sys};
use serde::Deserialize;

use super::entries::{Value, Writer};
use super::history;
use super::shape::{self, Column};
use crate::error::{Error, Kind, Result};
use crate::store::flush::raise;
use crate::store::ident::Ident;
use crate::store::locks::{self, Lock, Mode};
use crate::store::sql;
use crate::store::transaction::as_extension_owner;
use crate::store::triggers::datum_image_eq;

/// What a backend knows of a history; forgotten when the history or its table is invalidated.
struct State {
    id: i32,
    anchor: i32,
    table: pg_sys::Oid,
    history: pg_sys::Oid,
    pinned: Option<Pinned>,
    /// Attribute numbers in the table.
    columns: Vec<i16>,
    /// In key order.
    key: Vec<KeyColumn>,
    writer: Writer,
    keep_all: String,
}

#[derive(Debug, Clone, Copy)]
struct KeyColumn {
    attnum: i16,
    length: i32,
    by_value: bool,
}

/// There is a checkpoint: what changes is kept.
#[derive(Debug, Clone, Copy)]
struct Pinned {
    /// The epoch of new entries: the newest version there ever was.
    epoch: i64,
    /// The newest version that a checkpoint still holds.
    newest: i64,
    /// Transactions from this one on began after that version.
    horizon: Option<u64>,
    /// Transactions before this one were over when that version was made.
    settled: Option<u64>,
}

/// How old a row version is beside the newest version that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// Certainly older: nothing has happened to its key since, so the key has no entry.
    Older,
    Unknown,
    /// Certainly younger: what the version had under its key was kept when this row version was made.
    Younger,
}

thread_local! {
    /// By trigger: its arguments need not be read for every row.
    static STATES: RefCell<HashMap<pg_sys::Oid, Rc<State>>> = RefCell::default();
    /// By history, of the table that it belongs to alone.
    static HISTORIES: RefCell<HashMap<i32, Rc<State>>> = RefCell::default();
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    /// Versions made by this backend, with the transaction and the command that made them.
    static MADE_HERE: RefCell<HashMap<i32, (i64, u64, pg_sys::CommandId)>> = RefCell::default();
}

/// Notes that the current command has made a version: of the rows that this transaction wrote, those
/// of earlier commands belong to it.
pub fn version_made(history: i32, number: i64) {
    // SAFETY: in a transaction; assigns a transaction id if there is none yet. The next command's id
    // is the first that does not belong to the version.
    let (transaction, command) = unsafe {
        let transaction = pg_sys::GetTopFullTransactionId().value;
        pg_sys::CommandCounterIncrement();
        (transaction, pg_sys::GetCurrentCommandId(true))
    };
    MADE_HERE.with_borrow_mut(|made| made.insert(history, (number, transaction, command)));
}

/// BEFORE statement: the lock comes before any row is locked, so that a writer who has to wait for a
/// checkpoint or a restore stands in nobody's way.
///
/// # Safety
/// Called by the trigger manager, or directly, which is refused.
pub unsafe fn lock(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    unsafe {
        let data = trigger_data(fcinfo);
        raise(state((*data).tg_trigger, (*(*data).tg_relation).rd_id));
    }
    pg_sys::Datum::null()
}

/// The condition of the row trigger: false where nothing is pinned, so that a row costs neither a
/// place in the queue of triggers nor a second look at its two versions.
///
/// # Safety
/// Called by PostgreSQL with two int4 that are not NULL.
pub unsafe fn live(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller's promise; the function is declared STRICT.
    let (id, anchor) = unsafe {
        let arguments = (*fcinfo).args.as_slice(2);
        (arguments[0].value.value() as i32, arguments[1].value.value() as i32)
    };
    // Logical replication fires no statement trigger.
    share(anchor);
    let nothing = HISTORIES.with_borrow(|known| known.get(&id).is_some_and(|state| state.pinned.is_none()));
    pg_sys::Datum::from(!nothing)
}

/// AFTER row: keeps what the newest version had under the row's keys.
///
/// # Safety
/// As `lock`.
pub unsafe fn row(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the trigger manager's tuples and relation live for the call.
    unsafe {
        let data = trigger_data(fcinfo);
        let relation = (*data).tg_relation;
        let state = raise(state((*data).tg_trigger, (*relation).rd_id));
        let Some(pinned) = state.pinned else { return pg_sys::Datum::null() };
        let old = (*data).tg_trigtuple;
        match (*data).tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => keep_absence(&state, pinned, old, relation),
            event => {
                match age(state.id, &pinned, old) {
                    Age::Older => keep_row(&state, pinned, old, relation, false),
                    Age::Unknown => keep_row(&state, pinned, old, relation, true),
                    Age::Younger => {}
                }
                if event == pg_sys::TRIGGER_EVENT_UPDATE {
                    let new = (*data).tg_newtuple;
                    if key_changed(&state, old, new, relation) {
                        keep_absence(&state, pinned, new, relation);
                    }
                }
            }
        }
    }
    pg_sys::Datum::null()
}

/// BEFORE TRUNCATE: keeps every row that a version still needs.
///
/// # Safety
/// As `lock`.
pub unsafe fn truncate(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    unsafe {
        let data = trigger_data(fcinfo);
        let state = raise(state((*data).tg_trigger, (*(*data).tg_relation).rd_id));
        if let Some(pinned) = state.pinned {
            let args = [pinned.epoch.into(), pinned.newest.into()];
            raise(as_extension_owner(|| sql::execute_latest(&state.keep_all, &args)));
        }
    }
    pg_sys::Datum::null()
}

unsafe fn trigger_data(fcinfo: pg_sys::FunctionCallInfo) -> *mut pg_sys::TriggerData {
    // SAFETY: `context` is null or a Node, whose tag is its first field.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            pgrx::error!("this function is called by autovector's triggers only");
        }
        context.cast()
    }
}

/// The trigger's arguments: history and anchor.
unsafe fn arguments(trigger: *mut pg_sys::Trigger) -> (i32, i32) {
    // SAFETY: tgargs holds tgnargs NUL-terminated strings for as long as the relation is open.
    let number = |i: usize| unsafe {
        let has = i < (*trigger).tgnargs as usize;
        has.then(|| CStr::from_ptr(*(*trigger).tgargs.add(i)).to_str().ok()?.parse::<i32>().ok()).flatten()
    };
    match (number(0), number(1)) {
        (Some(history), Some(anchor)) => (history, anchor),
        _ => pgrx::error!("a trigger of autovector has lost its arguments"),
    }
}

/// Takes the anchor's lock in share mode to the end of the transaction.
fn share(anchor: i32) {
    if locks::newly_for_transaction(anchor, Lock::Checkpoint, Mode::Share) {
        // SAFETY: reads what other sessions have sent before they gave up the lock.
        unsafe { pg_sys::AcceptInvalidationMessages() };
    }
}

unsafe fn state(trigger: *mut pg_sys::Trigger, table: pg_sys::Oid) -> Result<Rc<State>> {
    // SAFETY: the caller's promise.
    let number = unsafe { (*trigger).tgoid };
    let known =
        || STATES.with_borrow(|states| states.get(&number).filter(|state| state.table == table).cloned());
    // Logical replication fires no statement trigger, so the lock is taken here too; what was known
    // before may be forgotten with it.
    if let Some(state) = known() {
        share(state.anchor);
        if let Some(state) = known() {
            return Ok(state);
        }
    }
    // SAFETY: the caller's promise.
    let (id, anchor) = unsafe { arguments(trigger) };
    share(anchor);
    if !WATCHING.replace(true) {
        // SAFETY: a plain function that lives as long as the library.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null()) };
    }
    let of_other_trigger =
        HISTORIES.with_borrow(|known| known.get(&id).filter(|state| state.table == table).cloned());
    let state = match of_other_trigger {
        Some(state) => state,
        None => Rc::new(as_extension_owner(|| load(id, anchor, table))?),
    };
    if state.history != pg_sys::Oid::INVALID {
        HISTORIES.with_borrow_mut(|known| known.insert(id, state.clone()));
    }
    STATES.with_borrow_mut(|states| states.insert(number, state.clone()));
    Ok(state)
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    let untouched = |state: &Rc<State>| {
        relation != pg_sys::Oid::INVALID && state.table != relation && state.history != relation
    };
    STATES.with_borrow_mut(|states| states.retain(|_, state| untouched(state)));
    HISTORIES.with_borrow_mut(|known| known.retain(|_, state| untouched(state)));
}

#[derive(Deserialize)]
struct Stored {
    history: u32,
    index: u32,
    classes: Vec<u32>,
    collations: Vec<u32>,
    columns: Vec<Column>,
    /// Number and type of each column of the table, by name.
    now: HashMap<String, (i16, u32)>,
    renumbered: bool,
    epoch: Option<i64>,
    newest: Option<i64>,
    horizon: Option<i64>,
    settled: Option<i64>,
}

/// One statement, so that it is one snapshot: the latest. Names no operator by search_path.
const STATE: &str = "
SELECT pg_catalog.json_build_object(
         'history', h.oid::pg_catalog.int8, 'columns', c.columns, 'index', i.indexrelid::pg_catalog.int8,
         'classes', i.indclass::pg_catalog.oid[]::pg_catalog.int8[],
         'collations', i.indcollation::pg_catalog.oid[]::pg_catalog.int8[],
         'renumbered', c.numbered_in OPERATOR(pg_catalog.<>) $2,
         'now', (SELECT pg_catalog.json_object_agg(a.attname, pg_catalog.json_build_array(a.attnum, a.atttypid::pg_catalog.int8))
                   FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid OPERATOR(pg_catalog.=) $2 AND a.attnum OPERATOR(pg_catalog.>) 0::pg_catalog.int2
                    AND NOT a.attisdropped),
         'epoch', c.last,
         'newest', n.newest,
         'horizon', z.horizon, 'settled', z.settled)::pg_catalog.text
  FROM ai._checkpoint_history c
  JOIN pg_catalog.pg_class h ON h.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($3)
  JOIN pg_catalog.pg_index i ON i.indrelid OPERATOR(pg_catalog.=) h.oid AND i.indisunique
 CROSS JOIN LATERAL
       (SELECT pg_catalog.max(p.number) AS newest FROM ai._checkpoint_pin p
          JOIN ai._checkpoint k ON k.id OPERATOR(pg_catalog.=) p.checkpoint
         WHERE p.history OPERATOR(pg_catalog.=) $1 AND k.deleted_at IS NULL) n
  LEFT JOIN ai._checkpoint_horizon z ON z.history OPERATOR(pg_catalog.=) $1 AND z.number OPERATOR(pg_catalog.=) n.newest
        AND z.filenode OPERATOR(pg_catalog.=) pg_catalog.pg_relation_filenode($2::pg_catalog.regclass)
 WHERE c.id OPERATOR(pg_catalog.=) $1 AND NOT c.detached AND c.relation::pg_catalog.oid OPERATOR(pg_catalog.=) $2";

fn load(id: i32, anchor: i32, table: pg_sys::Oid) -> Result<State> {
    let args = [id.into(), table.into(), format!("ai.{}", history::name(id)).into()];
    let Some(text) = sql::text_latest(STATE, &args)? else {
        // Not this table's history, or detached: anybody may attach a trigger to a table of theirs.
        return Ok(State {
            id,
            anchor,
            table,
            history: pg_sys::Oid::INVALID,
            pinned: None,
            columns: Vec::new(),
            key: Vec::new(),
            writer: Writer::default(),
            keep_all: String::new(),
        });
    };
    let stored: Stored = serde_json::from_str(&text)
        .map_err(|error| Error::new(Kind::Internal, format!("history {id} cannot be read: {error}")))?;
    let pinned = match (stored.epoch, stored.newest) {
        (Some(epoch), Some(newest)) => {
            let number = |number: Option<i64>| number.map(|number| number as u64);
            Some(Pinned { epoch, newest, horizon: number(stored.horizon), settled: number(stored.settled) })
        }
        _ => None,
    };
    // A column that was dropped while nothing was pinned is of no interest any more.
    let mut columns: Vec<(Column, pg_sys::Oid)> = Vec::new();
    for mut column in stored.columns {
        let by_number = || stored.now.values().find(|(attnum, _)| *attnum == column.attnum);
        let found = if stored.renumbered { stored.now.get(&column.name) } else { by_number() };
        if let Some((attnum, sql_type)) = found {
            column.attnum = *attnum;
            // SAFETY: a look-up in the type cache.
            let base = unsafe { pg_sys::getBaseType(pg_sys::Oid::from(*sql_type)) };
            columns.push((column, base));
        }
    }
    let shapes: Vec<Column> = columns.iter().map(|(column, _)| column.clone()).collect();
    let place = |wanted: &Column| shapes.iter().position(|column| column.h == wanted.h);
    let key_columns = shape::key_of(&shapes);
    let key: Vec<usize> = key_columns.iter().filter_map(|column| place(column)).collect();
    let history = pg_sys::Oid::from(stored.history);
    let names: Vec<String> = shapes.iter().map(|column| column.h.clone()).collect();
    let key_of = |place: &usize| {
        let (column, sql_type) = &columns[*place];
        let (mut length, mut by_value) = (0, false);
        // SAFETY: a look-up in the type cache.
        unsafe { pg_sys::get_typlenbyval(*sql_type, &mut length, &mut by_value) };
        KeyColumn { attnum: column.attnum, length: i32::from(length), by_value }
    };
    Ok(State {
        id,
        anchor,
        table,
        history,
        pinned,
        writer: Writer::new(
            history,
            pg_sys::Oid::from(stored.index),
            &names,
            &key,
            &stored.classes,
            &stored.collations,
        ),
        keep_all: keep_all(id, table, &shapes, &key_columns),
        columns: columns.iter().map(|(column, _)| column.attnum).collect(),
        key: key.iter().map(key_of).collect(),
    })
}

/// The statement that keeps every row that a version from `$2` on still reads, as entries of `$1`.
fn keep_all(id: i32, table: pg_sys::Oid, columns: &[Column], key: &[&Column]) -> String {
    let history = Ident::qualified("ai", &history::name(id));
    // SAFETY: look-ups in the catalog caches of a relation that is open.
    let live = unsafe {
        let name = |text: *const std::ffi::c_char| CStr::from_ptr(text).to_string_lossy().into_owned();
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table));
        Ident::qualified(&name(schema), &name(pg_sys::get_rel_name(table)))
    };
    let matches: Vec<String> =
        key.iter().map(|c| format!("h.{} {} t.{}", c.h, equality(c), c.ident())).collect();
    let names: Vec<&str> = columns.iter().map(|column| column.h.as_str()).collect();
    let values: Vec<String> = columns.iter().map(|c| format!("t.{}", c.ident())).collect();
    format!(
        "INSERT INTO {history} (epoch, present, {}) SELECT $1, true, {} FROM ONLY {live} t
          WHERE NOT EXISTS (SELECT FROM {history} h WHERE {} AND h.epoch OPERATOR(pg_catalog.>=) $2)
         ON CONFLICT DO NOTHING",
        names.join(", "),
        values.join(", "),
        matches.join(" AND "),
    )
}

fn equality(column: &Column) -> &str {
    column.eq.as_deref().unwrap_or("OPERATOR(pg_catalog.=)")
}

unsafe fn age(id: i32, pinned: &Pinned, tuple: pg_sys::HeapTuple) -> Age {
    // SAFETY: the tuple has a heap tuple's header; of a frozen one the transaction id may be one of
    // an earlier round of the counter, so it says nothing.
    unsafe {
        let header = (*tuple).t_data;
        let frozen = pg_sys::HEAP_XMIN_FROZEN as u16;
        let xmin = (*header).t_choice.t_heap.t_xmin;
        if (*header).t_infomask & frozen == frozen || xmin < pg_sys::FirstNormalTransactionId {
            return Age::Unknown;
        }
        if pg_sys::TransactionIdIsCurrentTransactionId(xmin) {
            return if made_later_here(id, pinned, header) { Age::Younger } else { Age::Unknown };
        }
        // Not frozen, so at most half a round away from our own.
        let own = pg_sys::GetTopFullTransactionId().value;
        let distance = u32::from(xmin).wrapping_sub(own as u32) as i32;
        let full = own.wrapping_add_signed(i64::from(distance));
        if pinned.horizon.is_some_and(|horizon| full >= horizon) {
            Age::Younger
        } else if pinned.settled.is_some_and(|settled| full < settled) {
            Age::Older
        } else {
            // Begun before the version, and maybe written after it.
            Age::Unknown
        }
    }
}

/// The same for a row version of this transaction. It holds the lock since its first write, so a
/// version that is newer than that write can only be its own.
unsafe fn made_later_here(id: i32, pinned: &Pinned, header: pg_sys::HeapTupleHeader) -> bool {
    // SAFETY: the tuple was made by the current transaction.
    unsafe {
        let made = MADE_HERE.with_borrow(|made| made.get(&id).copied());
        match made {
            Some((number, transaction, command))
                if transaction == pg_sys::GetTopFullTransactionId().value && number == pinned.newest =>
            {
                pg_sys::HeapTupleHeaderGetCmin(header) >= command
            }
            _ => true,
        }
    }
}

unsafe fn value(tuple: pg_sys::HeapTuple, relation: pg_sys::Relation, attnum: i16) -> Value {
    let mut is_null = false;
    // SAFETY: the tuple has the relation's shape; the datum lives as long as the tuple.
    let datum = unsafe { pg_sys::SPI_getbinval(tuple, (*relation).rd_att, i32::from(attnum), &mut is_null) };
    (!is_null).then_some(datum)
}

unsafe fn key(state: &State, tuple: pg_sys::HeapTuple, relation: pg_sys::Relation) -> Vec<pg_sys::Datum> {
    // SAFETY: the caller's promise; a key is never NULL.
    state.key.iter().filter_map(|column| unsafe { value(tuple, relation, column.attnum) }).collect()
}

/// `look`: the key may have an entry already.
unsafe fn keep_row(
    state: &State,
    pinned: Pinned,
    tuple: pg_sys::HeapTuple,
    relation: pg_sys::Relation,
    look: bool,
) {
    // SAFETY: the writer was made for these columns.
    unsafe {
        let row: Vec<Value> = state.columns.iter().map(|attnum| value(tuple, relation, *attnum)).collect();
        state.writer.keep_row(pinned.epoch, &key(state, tuple, relation), &row, look);
    }
}

unsafe fn keep_absence(state: &State, pinned: Pinned, tuple: pg_sys::HeapTuple, relation: pg_sys::Relation) {
    // SAFETY: as above.
    unsafe { state.writer.keep_absence(pinned.epoch, &key(state, tuple, relation)) };
}

/// True when the key's columns differ as they are stored.
unsafe fn key_changed(
    state: &State,
    old: pg_sys::HeapTuple,
    new: pg_sys::HeapTuple,
    relation: pg_sys::Relation,
) -> bool {
    state.key.iter().any(|column| {
        let (mut a_null, mut b_null) = (false, false);
        let attnum = i32::from(column.attnum);
        // SAFETY: both tuples have the relation's shape; a key is never NULL.
        unsafe {
            let descriptor = (*relation).rd_att;
            let a = pg_sys::SPI_getbinval(old, descriptor, attnum, &mut a_null);
            let b = pg_sys::SPI_getbinval(new, descriptor, attnum, &mut b_null);
            !datum_image_eq(a, b, column.by_value, column.length)
        }
    })
}
