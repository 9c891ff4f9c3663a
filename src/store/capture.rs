//! Change capture. A row trigger only notes the key in the backend's memory; what was noted is
//! written to the dirty set in one statement just before the transaction commits. So a
//! statement pays for no text, no plan and no index while it runs, many changes of one row in a
//! transaction are one dirty key, and the dirty key commits or rolls back with the change.
//!
//! Notes follow savepoints: each belongs to the subtransaction that made it and goes when that
//! one is rolled back.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::{pg_guard, pg_sys};

use super::flush;
use super::key::Key;
use super::wake;

/// Keys that one subtransaction notes before they are written early; bounds the memory of a
/// bulk load.
const MAX_NOTED: usize = 50_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Written,
    /// Written under a new key: the row that had the key before may give it up later on in the
    /// same statement.
    Moved,
    Deleted,
}

/// A key as it is noted. The commonest shape needs no allocation; all keys of a source have the
/// same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NotedKey {
    /// One column of type int4 or int8.
    Int(i64),
    /// Anything else, as text.
    Text(Key),
}

/// Notes of one subtransaction, in the order of the changes.
struct Notes {
    subtransaction: pg_sys::SubTransactionId,
    changes: Vec<(NotedKey, Change)>,
}

#[derive(Default)]
struct Noted {
    /// The table that the trigger fired on: the source or one of its partitions.
    table: pg_sys::Oid,
    levels: Vec<Notes>,
}

/// How the key is read from a tuple of one table: (attribute number, output function).
type KeyReader = Vec<(i16, pg_sys::Oid)>;

/// What a trigger of one table needs, found out for its first row and kept for the transaction:
/// tables do not change under the lock that it holds.
struct Watch {
    trigger: pg_sys::Oid,
    table: pg_sys::Oid,
    vectorizer: i32,
    /// Empty for a vectorizer that has lost its store or queue: its rows are not noted.
    reader: KeyReader,
}

thread_local! {
    static NOTED: RefCell<HashMap<i32, Noted>> = RefCell::default();
    /// The last one used comes first: a statement calls one trigger many times.
    static WATCHES: RefCell<Vec<Rc<Watch>>> = RefCell::default();
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static WAKE: Cell<bool> = const { Cell::new(false) };
}

/// The row trigger. Arguments: the vectorizer's id, then the key's attribute numbers in the
/// source (partitions may number them otherwise).
///
/// # Safety
/// `fcinfo` is that of a call by PostgreSQL's trigger manager, or of a direct call, which is
/// refused.
pub unsafe fn capture_row(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the trigger manager passes a TriggerData as context, checked by its tag before
    // anything else of it is read; tuples and relation live for the call.
    unsafe {
        let data = trigger_data(fcinfo);
        let relation = (*data).tg_relation;
        let watch = watch(relation, (*data).tg_trigger);
        if watch.reader.is_empty() {
            return pg_sys::Datum::null();
        }
        let key = |tuple| read_key(&watch.reader, tuple, (*relation).rd_att);
        match (*data).tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => note(&watch, key((*data).tg_trigtuple), Change::Written),
            pg_sys::TRIGGER_EVENT_DELETE => note(&watch, key((*data).tg_trigtuple), Change::Deleted),
            _ => {
                let (old, new) = (key((*data).tg_trigtuple), key((*data).tg_newtuple));
                let change = if old == new { Change::Written } else { Change::Moved };
                if change == Change::Moved {
                    note(&watch, old, Change::Deleted);
                }
                note(&watch, new, change);
            }
        }
    }
    pg_sys::Datum::null()
}

/// The TRUNCATE trigger, per statement: empties what belongs to the rows that go.
///
/// # Safety
/// As `capture_row`.
pub unsafe fn capture_truncate(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: as in `capture_row`.
    let (vectorizer, table) = unsafe {
        let data = trigger_data(fcinfo);
        (arguments((*data).tg_trigger).0, (*(*data).tg_relation).rd_id)
    };
    register_callbacks();
    WAKE.set(true);
    flush::raise(flush::truncate(vectorizer, table));
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

/// The trigger's arguments as numbers.
unsafe fn arguments(trigger: *mut pg_sys::Trigger) -> (i32, Vec<i16>) {
    // SAFETY: tgargs holds tgnargs NUL-terminated strings for as long as the relation is open.
    let numbers: Vec<i32> = unsafe {
        (0..(*trigger).tgnargs as usize)
            .filter_map(|i| std::ffi::CStr::from_ptr(*(*trigger).tgargs.add(i)).to_str().ok()?.parse().ok())
            .collect()
    };
    match numbers.split_first() {
        Some((id, attnums)) => (*id, attnums.iter().map(|n| *n as i16).collect()),
        None => pgrx::error!("a trigger of autovector has lost its arguments"),
    }
}

/// # Safety
/// Relation and trigger are those of the call.
unsafe fn watch(relation: pg_sys::Relation, trigger: *mut pg_sys::Trigger) -> Rc<Watch> {
    // SAFETY: the caller's promise.
    let (table, oid) = unsafe { ((*relation).rd_id, (*trigger).tgoid) };
    let known = WATCHES.with_borrow_mut(|watches| {
        let at = watches.iter().position(|watch| watch.trigger == oid && watch.table == table)?;
        watches.swap(0, at);
        Some(watches[0].clone())
    });
    known.unwrap_or_else(|| {
        // SAFETY: as above.
        let (vectorizer, attnums) = unsafe { arguments(trigger) };
        let reader = build_reader(relation, vectorizer, &attnums);
        let watch = Rc::new(Watch { trigger: oid, table, vectorizer, reader });
        WATCHES.with_borrow_mut(|watches| watches.push(watch.clone()));
        watch
    })
}

/// The reader of a vectorizer that has lost its store or queue is empty.
fn build_reader(relation: pg_sys::Relation, vectorizer: i32, attnums: &[i16]) -> KeyReader {
    register_callbacks();
    // SAFETY: the relation is open.
    let root = match flush::source_of(vectorizer, unsafe { (*relation).rd_id }) {
        Err(error) if flush::is_broken(&error) => return KeyReader::new(),
        root => flush::raise(root),
    };
    // SAFETY: the relation and its descriptor are open; attribute numbers are checked against
    // natts by SPI_fnumber and come from the catalog otherwise.
    unsafe {
        let descriptor = (*relation).rd_att;
        attnums
            .iter()
            .map(|attnum| {
                let own = if root == (*relation).rd_id {
                    i32::from(*attnum)
                } else {
                    let name = pg_sys::get_attname(root, *attnum, false);
                    pg_sys::SPI_fnumber(descriptor, name)
                };
                let mut output = pg_sys::Oid::INVALID;
                let mut is_varlena = false;
                pg_sys::getTypeOutputInfo(
                    pg_sys::SPI_gettypeid(descriptor, own),
                    &mut output,
                    &mut is_varlena,
                );
                (own as i16, output)
            })
            .collect()
    }
}

/// The key: a single whole number as it is, anything else as its type writes it.
unsafe fn read_key(reader: &KeyReader, tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> NotedKey {
    let value = |attnum: i16| {
        let mut is_null = false;
        // SAFETY: the tuple has the descriptor's shape and attnum is one of its columns; a key
        // column is never NULL.
        unsafe { pg_sys::SPI_getbinval(tuple, descriptor, i32::from(attnum), &mut is_null) }
    };
    if let [(attnum, output)] = reader.as_slice() {
        match output.to_u32() {
            pg_sys::F_INT8OUT => return NotedKey::Int(value(*attnum).value() as i64),
            pg_sys::F_INT4OUT => return NotedKey::Int(i64::from(value(*attnum).value() as i32)),
            _ => {}
        }
    }
    let text = |(attnum, output): &(i16, pg_sys::Oid)| {
        // SAFETY: output functions return a NUL-terminated palloc'd string.
        unsafe {
            let text = pg_sys::OidOutputFunctionCall(*output, value(*attnum));
            let owned = std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned();
            pg_sys::pfree(text.cast());
            owned
        }
    };
    NotedKey::Text(reader.iter().map(text).collect())
}

fn note(watch: &Watch, key: NotedKey, change: Change) {
    let vectorizer = watch.vectorizer;
    // SAFETY: reads transaction state.
    let current = unsafe { pg_sys::GetCurrentSubTransactionId() };
    let full = NOTED.with_borrow_mut(|noted| {
        let noted = noted.entry(vectorizer).or_default();
        noted.table = watch.table;
        if noted.levels.last().is_none_or(|level| level.subtransaction != current) {
            noted.levels.push(Notes { subtransaction: current, changes: Vec::new() });
        }
        let level = noted.levels.last_mut().expect("pushed above");
        level.changes.push((key, change));
        level.changes.len() >= MAX_NOTED
    });
    if full {
        write_level(vectorizer, current);
    }
}

/// Writes the notes of the current subtransaction (and of those below it) early. What outer
/// ones noted stays: written now, it would be lost if this one rolled back.
fn write_level(vectorizer: i32, current: pg_sys::SubTransactionId) {
    let taken = NOTED.with_borrow_mut(|noted| {
        let noted = noted.get_mut(&vectorizer)?;
        let at = noted.levels.iter().position(|level| level.subtransaction >= current)?;
        Some((noted.table, noted.levels.split_off(at)))
    });
    if let Some((table, levels)) = taken {
        write(vectorizer, table, levels);
    }
}

fn write(vectorizer: i32, table: pg_sys::Oid, levels: Vec<Notes>) {
    let changes: Vec<(NotedKey, Change)> = levels.into_iter().flat_map(|level| level.changes).collect();
    if changes.is_empty() {
        return;
    }
    WAKE.set(true);
    flush::raise(flush::write(vectorizer, table, changes));
}

/// Wakes the workers of this database when the current transaction commits; for functions that
/// change what workers look at without touching a row of a source.
pub fn wake_at_commit() {
    register_callbacks();
    WAKE.set(true);
}

/// The same where no scheduler serves this database yet: one is started.
pub fn wake_scheduler_at_commit() {
    // SAFETY: a plain global, set for the life of the backend.
    if !wake::has_scheduler(unsafe { pg_sys::MyDatabaseId }) {
        wake_at_commit();
    }
}

fn register_callbacks() {
    if !REGISTERED.replace(true) {
        // SAFETY: plain functions that live as long as the library, which is never unloaded.
        unsafe {
            pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(subtransaction_event), std::ptr::null_mut());
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    use pg_sys::XactEvent::*;
    match event {
        XACT_EVENT_PRE_COMMIT | XACT_EVENT_PRE_PREPARE => {
            let noted = NOTED.take();
            let mut vectorizers: Vec<(i32, Noted)> = noted.into_iter().collect();
            // Everybody writes in the same order: no two commits wait for each other.
            vectorizers.sort_by_key(|(id, _)| *id);
            if !vectorizers.is_empty() {
                // SAFETY: the transaction is still in progress; while it commits it has no
                // snapshot of its own any more. On ERROR the abort pops it.
                unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
                for (vectorizer, noted) in vectorizers {
                    write(vectorizer, noted.table, noted.levels);
                }
                // SAFETY: pairs with the push above.
                unsafe { pg_sys::PopActiveSnapshot() };
            }
        }
        XACT_EVENT_COMMIT => {
            if WAKE.replace(false) {
                // SAFETY: a plain global.
                wake::changed(unsafe { pg_sys::MyDatabaseId });
            }
            WATCHES.take();
        }
        XACT_EVENT_ABORT | XACT_EVENT_PREPARE => {
            WAKE.set(false);
            NOTED.take();
            WATCHES.take();
        }
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn subtransaction_event(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut std::ffi::c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        // Ids grow, so everything from this one on was made in it or below it.
        NOTED.with_borrow_mut(|noted| {
            for noted in noted.values_mut() {
                noted.levels.retain(|level| level.subtransaction < subtransaction);
            }
        });
    }
}
