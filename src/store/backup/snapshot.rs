//! One snapshot for everything that a backup reads, and COPY TO with it.
//!
//! PostgreSQL's own COPY writes to a pipe of this process, named through `/proc`. The server
//! opens it like any file, so the bytes are exactly those of COPY TO, at its speed, in every
//! version; what is at the other end of the pipe hashes, compresses and syncs them. CSV of tables
//! with vectors it writes as well: the server sends the values one by one.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use autovector_backup::names::Format;
use pgrx::pg_sys;

use super::tables::BackupTable;
use crate::error::{Error, Kind, Result};
use crate::store::ident::Ident;
use crate::store::transaction::as_superuser;

/// Registered for the life of the guard, so that several statements read the same rows.
pub struct Frozen(pg_sys::Snapshot);

impl Frozen {
    /// A snapshot taken now; under REPEATABLE READ and above the transaction's.
    pub fn take() -> Frozen {
        // SAFETY: in a transaction, on the main thread. The counter lets the snapshot see what
        // the transaction itself has done before.
        unsafe {
            pg_sys::CommandCounterIncrement();
            Frozen(pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot()))
        }
    }

    /// Lets other processes read the same rows, until the end of the transaction.
    pub fn export(&self) -> String {
        // SAFETY: the snapshot is registered; the name is a palloc'ed, NUL-terminated string.
        unsafe { CStr::from_ptr(pg_sys::ExportSnapshot(self.0)).to_string_lossy().into_owned() }
    }

    /// Runs a statement on this snapshot. Returns the number of rows that it processed.
    fn run<T>(&self, statement: &str, read: impl FnOnce() -> T) -> Result<T> {
        let text = CString::new(statement).map_err(|_| Error::new(Kind::Internal, "a statement with NUL"))?;
        // SAFETY: SPI is connected for the calls; the statement has no parameters; the snapshot
        // is registered. On ERROR the abort disconnects.
        unsafe {
            pg_sys::SPI_connect();
            let plan = pg_sys::SPI_prepare(text.as_ptr(), 0, std::ptr::null_mut());
            if plan.is_null() {
                return Err(Error::new(Kind::Internal, format!("cannot prepare: {statement}")));
            }
            let code = pg_sys::SPI_execute_snapshot(
                plan,
                std::ptr::null_mut(),
                std::ptr::null(),
                self.0,
                std::ptr::null_mut(),
                false,
                true,
                0,
            );
            if code < 0 {
                return Err(Error::new(Kind::Internal, format!("error {code} in: {statement}")));
            }
            let result = read();
            pg_sys::SPI_finish();
            Ok(result)
        }
    }

    /// The first column of the only row of a query, as text.
    pub fn value(&self, query: &str) -> Result<Option<String>> {
        self.run(query, || {
            // SAFETY: the query returned one row into SPI's result table.
            unsafe {
                if pg_sys::SPI_processed != 1 || pg_sys::SPI_tuptable.is_null() {
                    return None;
                }
                let table = &*pg_sys::SPI_tuptable;
                let value = pg_sys::SPI_getvalue(*table.vals, table.tupdesc, 1);
                (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
            }
        })
    }

    /// The rows of a table that this snapshot sees, counted by reading them.
    pub fn count(&self, table: &BackupTable) -> Result<u64> {
        let query = format!("SELECT count(*)::text FROM {}", table.scan());
        let count = as_superuser(|| self.value(&query))?;
        count
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| Error::new(Kind::Internal, "count(*) returned nothing"))
    }

    /// Copies a table, or its pages from `pages.0` to before `pages.1`, into the pipe. Returns the
    /// number of rows. The caller's rights have been checked: what runs as the superuser here is
    /// COPY of plain columns alone.
    pub fn copy_to(
        &self,
        table: &BackupTable,
        pages: Option<(u32, Option<u32>)>,
        format: Format,
        encoding: &str,
        pipe: RawFd,
    ) -> Result<u64> {
        let statement = copy_statement(table, pages, format, encoding, &format!("'/proc/self/fd/{pipe}'"));
        // SAFETY: a plain global that SPI sets.
        as_superuser(|| self.run(&statement, || unsafe { pg_sys::SPI_processed }))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // After an error the resource owner gives it back.
        if !std::thread::panicking() {
            // SAFETY: registered in `take`, given back once.
            unsafe { pg_sys::UnregisterSnapshot(self.0) };
        }
    }
}

/// The COPY statement; `target` is SQL. What `BackupTable::sent_as` says is sent in binary.
pub fn copy_statement(
    table: &BackupTable,
    pages: Option<(u32, Option<u32>)>,
    format: Format,
    encoding: &str,
    target: &str,
) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| Ident::new(&c.name).to_string()).collect();
    let columns = columns.join(", ");
    let values = table.sent_as(format).map(|outputs| {
        let values: Vec<&str> = outputs.iter().map(|output| output.expression.as_str()).collect();
        values.join(", ")
    });
    let what = match pages {
        Some((first, end)) => {
            let end = end.map_or(String::new(), |end| format!(" AND ctid < '({end},0)'::tid"));
            let values = values.as_ref().unwrap_or(&columns);
            format!("(SELECT {values} FROM {} WHERE ctid >= '({first},0)'::tid{end})", table.scan())
        }
        None if let Some(values) = &values => format!("(SELECT {values} FROM {})", table.scan()),
        None if table.kind == b'p' => format!("(SELECT {columns} FROM {})", table.scan()),
        None => format!("{} ({columns})", table.ident),
    };
    let options = match format {
        Format::Csv if values.is_some() => "FORMAT binary".to_owned(),
        Format::Csv => format!("FORMAT csv, HEADER, NULL '\\N', FORCE_QUOTE *, ENCODING '{encoding}'"),
        Format::Binary => "FORMAT binary".to_owned(),
    };
    format!("COPY {what} TO {target} ({options})")
}

/// Only READ COMMITTED takes a new snapshot for every statement.
pub fn is_read_committed() -> bool {
    // SAFETY: a plain global.
    unsafe { pg_sys::XactIsoLevel <= pg_sys::XACT_READ_COMMITTED as i32 }
}

/// True where the transaction may write: not on a standby, not READ ONLY.
pub fn may_write() -> bool {
    // SAFETY: plain reads of backend state.
    unsafe { !pg_sys::XactReadOnly && !pg_sys::RecoveryInProgress() }
}

/// True where other processes can be shown what this transaction sees: it has written nothing,
/// and it is not in a savepoint. To be asked first of all: the statements of a backup take a
/// transaction id too, though they write nothing that it has to see.
pub fn can_export() -> bool {
    // SAFETY: plain reads of backend state.
    unsafe {
        pg_sys::GetTopTransactionIdIfAny() == pg_sys::InvalidTransactionId
            && pg_sys::GetCurrentTransactionNestLevel() == 1
            && !pg_sys::RecoveryInProgress()
    }
}
