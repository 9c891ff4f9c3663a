//! Statements: prepared once per backend, run by text, results handed out as owned data.
//! Nothing of SPI leaves this file.

use std::{cell::RefCell, collections::HashMap};

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiTupleTable};
use pgrx::{FromDatum, IntoDatum, PgOid};

use crate::error::Result;

/// Plans of dropped vectorizers are never asked for again; they go when the cache is emptied.
const MAX_PLANS: usize = 512;

thread_local! {
    static PLANS: RefCell<HashMap<String, OwnedPreparedStatement>> = RefCell::new(HashMap::new());
}

/// One row of a result, valid inside the closure that reads it.
pub struct Row<'a>(&'a SpiTupleTable<'a>);

impl Row<'_> {
    /// The value of column `ordinal` (from 1), None for NULL.
    pub fn get<T: IntoDatum + FromDatum>(&self, ordinal: usize) -> Result<Option<T>> {
        Ok(self.0.get::<T>(ordinal)?)
    }

    /// The value of a column that is never NULL.
    pub fn value<T: IntoDatum + FromDatum>(&self, ordinal: usize) -> Result<T> {
        self.get(ordinal)?.ok_or_else(|| {
            crate::error::Error::new(crate::error::Kind::Internal, format!("column {ordinal} is null"))
        })
    }
}

/// Runs `statement` and reads every row. The plan is kept for the life of the backend.
pub fn query<T>(
    statement: &str,
    args: &[DatumWithOid<'_>],
    mut read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    run(statement, args, |mut table| {
        let mut rows = Vec::with_capacity(table.len());
        while table.next().is_some() {
            rows.push(read(&Row(&table))?);
        }
        Ok(rows)
    })
}

/// Runs `statement` and reads its first row, if there is one.
pub fn query_one<T>(
    statement: &str,
    args: &[DatumWithOid<'_>],
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    run(statement, args, |table| {
        let table = table.first();
        if table.is_empty() { Ok(None) } else { read(&Row(&table)).map(Some) }
    })
}

/// Runs `statement` and returns the number of rows it processed.
pub fn execute(statement: &str, args: &[DatumWithOid<'_>]) -> Result<usize> {
    run(statement, args, |_| Ok(processed()))
}

/// Runs a statement that is used once (DDL): its plan is not kept. Not by pgrx, which would give the
/// transaction an id first: LOCK needs none, and a standby has none.
pub fn execute_once(statement: &str) -> Result<()> {
    use crate::error::{Error, Kind};

    let text =
        std::ffi::CString::new(statement).map_err(|_| Error::new(Kind::Internal, "a statement with NUL"))?;
    // SAFETY: SPI is connected for the call; the text lives through it. On ERROR the abort
    // disconnects.
    let code = unsafe {
        pg_sys::SPI_connect();
        let code = pg_sys::SPI_execute(text.as_ptr(), false, 0);
        pg_sys::SPI_finish();
        code
    };
    if code < 0 {
        return Err(Error::new(Kind::Internal, format!("error {code} in: {statement}")));
    }
    Ok(())
}

fn run<T>(
    statement: &str,
    args: &[DatumWithOid<'_>],
    read: impl FnOnce(SpiTupleTable<'_>) -> Result<T>,
) -> Result<T> {
    Spi::connect_mut(|client| {
        // The plan is taken out while it runs: a statement may fire a trigger that runs another.
        let plan = match PLANS.with_borrow_mut(|plans| plans.remove(statement)) {
            Some(plan) => plan,
            None => {
                let types: Vec<PgOid> = args.iter().map(|arg| PgOid::from(arg.oid())).collect();
                client.prepare_mut(statement, &types)?.keep()
            }
        };
        // A plan of `prepare_mut` may write and sees what was committed a moment ago. `update` does the
        // same, and gives the transaction an id first: a standby has none, some commands of users must
        // not have one yet, and whoever only reads should not use one up.
        let table = client.select(&plan, None, args);
        let result = table.map_err(Into::into).and_then(read);
        PLANS.with_borrow_mut(|plans| {
            if plans.len() >= MAX_PLANS {
                plans.clear();
            }
            plans.insert(statement.to_owned(), plan);
        });
        result
    })
}

fn processed() -> usize {
    // SAFETY: a plain global that SPI sets; read on the backend's only PostgreSQL thread.
    unsafe { pg_sys::SPI_processed as usize }
}

thread_local! {
    static LATEST_PLANS: RefCell<HashMap<String, pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// Runs `statement` on a snapshot taken now, whatever the transaction's isolation level, as
/// foreign-key triggers do. May be called while a transaction is committing.
pub fn execute_latest(statement: &str, args: &[DatumWithOid<'_>]) -> Result<()> {
    run_latest(statement, args).map(|_| ())
}

/// True when `statement` returns a row on a snapshot taken now.
pub fn exists_latest(statement: &str, args: &[DatumWithOid<'_>]) -> Result<bool> {
    run_latest(statement, args).map(|rows| rows > 0)
}

/// The first column of the first row, as text, on a snapshot taken now.
pub fn text_latest(statement: &str, args: &[DatumWithOid<'_>]) -> Result<Option<String>> {
    let mut text = None;
    read_latest(statement, args, |processed| {
        if processed == 0 {
            return;
        }
        // SAFETY: SPI has just filled its table with at least one row.
        unsafe {
            let table = pg_sys::SPI_tuptable;
            let value = pg_sys::SPI_getvalue(*(*table).vals, (*table).tupdesc, 1);
            if !value.is_null() {
                text = Some(std::ffi::CStr::from_ptr(value).to_string_lossy().into_owned());
            }
        }
    })?;
    Ok(text)
}

fn run_latest(statement: &str, args: &[DatumWithOid<'_>]) -> Result<u64> {
    read_latest(statement, args, |_| ())
}

/// True when `statement` returns a row on the snapshot of the query that has called us. The other
/// functions of this file see what was committed since that query began.
pub fn exists_for_caller(statement: &str, args: &[DatumWithOid<'_>]) -> Result<bool> {
    // SAFETY: a function is called by a query, which has pushed its snapshot; it stays on the stack
    // below the one that is pushed for planning.
    let snapshot = unsafe { pg_sys::GetActiveSnapshot() };
    on_snapshot(snapshot, statement, args, |_| ()).map(|rows| rows > 0)
}

fn read_latest(statement: &str, args: &[DatumWithOid<'_>], read: impl FnOnce(u64)) -> Result<u64> {
    on_snapshot(std::ptr::null_mut(), statement, args, read)
}

/// Null: a snapshot taken now.
fn on_snapshot(
    snapshot: pg_sys::Snapshot,
    statement: &str,
    args: &[DatumWithOid<'_>],
    read: impl FnOnce(u64),
) -> Result<u64> {
    let mut types: Vec<pg_sys::Oid> = args.iter().map(DatumWithOid::oid).collect();
    let mut values: Vec<pg_sys::Datum> =
        args.iter().map(|arg| arg.datum().map_or(pg_sys::Datum::null(), |d| d.sans_lifetime())).collect();
    let nulls: Vec<std::ffi::c_char> =
        args.iter().map(|arg| if arg.datum().is_some() { b' ' } else { b'n' } as std::ffi::c_char).collect();
    let latest = snapshot.is_null();
    let kept = LATEST_PLANS.with_borrow(|plans| plans.get(statement).copied());
    // SAFETY: SPI is connected for the calls, the plan is kept for the life of the backend, and
    // the three argument arrays have the plan's length. The active snapshot is for planning; the
    // statement itself runs on the given one. On ERROR the abort disconnects and pops.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        pg_sys::SPI_connect();
        let plan = match kept {
            Some(plan) => plan,
            None => {
                let text = std::ffi::CString::new(statement).expect("statements have no NUL");
                let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr());
                if plan.is_null() {
                    pgrx::error!("cannot prepare an internal statement: {statement}");
                }
                pg_sys::SPI_keepplan(plan);
                LATEST_PLANS.with_borrow_mut(|plans| plans.insert(statement.to_owned(), plan));
                plan
            }
        };
        let code = pg_sys::SPI_execute_snapshot(
            plan,
            values.as_mut_ptr(),
            nulls.as_ptr(),
            if latest { pg_sys::GetLatestSnapshot() } else { snapshot },
            std::ptr::null_mut(),
            !latest,
            true,
            0,
        );
        if code < 0 {
            pgrx::error!("an internal statement failed with {code}: {statement}");
        }
        let processed = pg_sys::SPI_processed;
        read(processed);
        pg_sys::SPI_finish();
        pg_sys::PopActiveSnapshot();
        Ok(processed)
    }
}
