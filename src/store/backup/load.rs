//! COPY FROM blocks of bytes that another thread reads: PostgreSQL's own COPY, run as the caller
//! with the caller's rights, with its triggers, defaults and checks.

use std::cell::RefCell;
use std::ffi::{CString, c_int, c_void};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use pgrx::{pg_guard, pg_sys};

use super::tables::BackupTable;
use crate::error::{Error, Kind, Result};
use crate::store::ident::Ident;
use crate::store::sql;

struct Incoming {
    blocks: Receiver<Vec<u8>>,
    block: Vec<u8>,
    used: usize,
}

thread_local! {
    /// What the running COPY reads: PostgreSQL hands its callback no argument. A trigger may
    /// run another one inside.
    static INCOMING: RefCell<Vec<Incoming>> = const { RefCell::new(Vec::new()) };
}

/// The form in which the bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Csv,
    Binary,
    /// COPY's text format without a line of names.
    Text,
}

/// Loads `columns` of the table. Returns the number of rows.
pub fn copy_from(
    table: pg_sys::Oid,
    columns: &[String],
    form: Form,
    encoding: &str,
    blocks: Receiver<Vec<u8>>,
) -> Result<u64> {
    let depth = INCOMING.with_borrow_mut(|all| {
        all.push(Incoming { blocks, block: Vec::new(), used: 0 });
        all.len()
    });
    // An error inside unwinds; what it was reading must not stay for the next one.
    let _pop = Pop(depth);
    let columns = columns.iter().map(|column| c_string(column)).collect::<Result<Vec<_>>>()?;
    let options = options(form, encoding)?;
    // SAFETY: the calls are those of PostgreSQL's own table synchronisation, in its order. The
    // lists hold nodes that are allocated in the current memory context. On ERROR the
    // transaction's abort closes the relation and frees the rest.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        let parse_state = pg_sys::make_parsestate(std::ptr::null_mut());
        pg_sys::addRangeTableEntryForRelation(
            parse_state,
            relation,
            pg_sys::RowExclusiveLock as c_int,
            std::ptr::null_mut(),
            false,
            false,
        );
        let mut names = std::ptr::null_mut();
        for column in &columns {
            names = pg_sys::lappend(names, pg_sys::makeString(pg_sys::pstrdup(column.as_ptr())).cast());
        }
        let mut list = std::ptr::null_mut();
        for (name, value) in &options {
            let value = pg_sys::makeString(pg_sys::pstrdup(value.as_ptr()));
            list = pg_sys::lappend(
                list,
                pg_sys::makeDefElem(pg_sys::pstrdup(name.as_ptr()), value.cast(), -1).cast(),
            );
        }
        let state = pg_sys::BeginCopyFrom(
            parse_state,
            relation,
            std::ptr::null_mut(),
            std::ptr::null(),
            false,
            Some(next_bytes),
            names,
            list,
        );
        let rows = pg_sys::CopyFrom(state);
        pg_sys::EndCopyFrom(state);
        pg_sys::free_parsestate(parse_state);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::CommandCounterIncrement();
        Ok(rows)
    }
}

fn options(form: Form, encoding: &str) -> Result<Vec<(CString, CString)>> {
    let mut options = match form {
        Form::Csv => vec![("format", "csv"), ("header", "true"), ("null", "\\N")],
        Form::Binary => vec![("format", "binary")],
        Form::Text => vec![("format", "text")],
    };
    if form != Form::Binary {
        options.push(("encoding", encoding));
    }
    options.into_iter().map(|(name, value)| Ok((c_string(name)?, c_string(value)?))).collect()
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(Kind::Corrupted, "a name holds a NUL"))
}

struct Pop(usize);

impl Drop for Pop {
    fn drop(&mut self) {
        INCOMING.with_borrow_mut(|all| all.truncate(self.0 - 1));
    }
}

/// COPY's callback: at least `least` bytes, fewer only at the end.
#[pg_guard]
unsafe extern "C-unwind" fn next_bytes(out: *mut c_void, least: c_int, most: c_int) -> c_int {
    let (least, most) = (least.max(1) as usize, most.max(0) as usize);
    let mut filled = 0;
    while filled < least {
        let Some(count) = take(out.cast::<u8>().wrapping_add(filled), most - filled) else { break };
        filled += count;
    }
    filled as c_int
}

/// Moves what there is, at most `room` bytes; None at the end.
fn take(out: *mut u8, room: usize) -> Option<usize> {
    loop {
        let moved = INCOMING.with_borrow_mut(|all| {
            let incoming = all.last_mut().expect("a COPY is running");
            let rest = &incoming.block[incoming.used..];
            let count = rest.len().min(room);
            // SAFETY: COPY's buffer has room for that many bytes.
            unsafe { std::ptr::copy_nonoverlapping(rest.as_ptr(), out, count) };
            incoming.used += count;
            if count > 0 {
                return Some(Ok(count));
            }
            match incoming.blocks.recv_timeout(Duration::from_millis(10)) {
                Ok(block) => {
                    (incoming.block, incoming.used) = (block, 0);
                    None
                }
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Err(())),
            }
        });
        match moved {
            Some(Ok(count)) => return Some(count),
            Some(Err(())) => return None,
            None => {
                pgrx::check_for_interrupts!();
            }
        }
    }
}

/// A table of the session's own with the same columns, for rows that are to be looked at before
/// they go into the table. Gone at the end of the transaction.
pub fn stage(table: &BackupTable, columns: &[String]) -> Result<(pg_sys::Oid, Ident)> {
    let stage = Ident::qualified("pg_temp", &format!("_autovector_restore_{}", table.oid.to_u32()));
    sql::execute_once(&format!(
        "CREATE TEMPORARY TABLE {stage} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA",
        list(columns),
        table.scan()
    ))?;
    let oid = super::tables::by_name(&stage.to_string())?
        .ok_or_else(|| Error::new(Kind::Internal, "a temporary table was not created"))?;
    Ok((oid, stage))
}

/// Moves staged rows whose key is not there yet. Returns how many.
pub fn insert_missing(table: &BackupTable, stage: &Ident, columns: &[String]) -> Result<u64> {
    let columns = list(columns);
    let rows = sql::execute(
        &format!(
            "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {stage} ON CONFLICT DO NOTHING",
            table.ident
        ),
        &[],
    )?;
    sql::execute_once(&format!("DROP TABLE {stage}"))?;
    Ok(rows as u64)
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|column| Ident::new(column).to_string()).collect::<Vec<_>>().join(", ")
}

/// True where a row can be told from another one: what `skip_existing` needs.
pub fn has_key(table: pg_sys::Oid) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = $1 AND indisunique AND indisvalid)",
        &[table.into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}
