//! Record status: the SQL functions of its rules. Those that write records have no search_path of
//! their own, because users' triggers fire; what they look up they look up with a pinned one.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{AnyNumeric, JsonB, name, pg_sys};

use crate::error::Error;
use crate::services::embedding_status;
use crate::services::record_status::{self, Request};

/// The implementation of `ai.track_record_status`.
#[pg_extern(volatile)]
#[allow(clippy::too_many_arguments)]
pub fn _track_record_status(
    records: Option<pg_sys::Oid>,
    responses: Option<pg_sys::Oid>,
    record_key: Option<&str>,
    status_column: Option<&str>,
    response_status_column: Option<&str>,
    submitted_value: Option<&str>,
    min_submitted: Option<i32>,
    mode: Option<&str>,
    status_expression: Option<&str>,
    completed_value: Option<&str>,
    pending_value: Option<&str>,
    notify_channel: Option<&str>,
    status_type: Option<pg_sys::Oid>,
    search_path: Option<&str>,
) -> Result<i32, ErrorReport> {
    Ok(record_status::track(Request {
        records: table(records, "records")?,
        responses: table(responses, "responses")?,
        record_key: text(record_key, "record_key")?,
        status_column: text(status_column, "status_column")?,
        response_status_column: text(response_status_column, "response_status_column")?,
        submitted_value: text(submitted_value, "submitted_value")?,
        min_submitted: number(min_submitted)?,
        mode: text(mode, "mode")?,
        status_expression: status_expression.map(str::to_owned),
        completed_value: text(completed_value, "completed_value")?,
        pending_value: text(pending_value, "pending_value")?,
        notify_channel: notify_channel.map(str::to_owned),
        status_type,
        search_path: search_path.unwrap_or_default().to_owned(),
    })?)
}

fn table(value: Option<pg_sys::Oid>, name: &str) -> Result<pg_sys::Oid, Error> {
    value.ok_or_else(|| {
        Error::invalid(format!("{name} is null")).hint(format!("Name the table: {name} => 'public.{name}'."))
    })
}

fn text(value: Option<&str>, name: &str) -> Result<String, Error> {
    value.map(str::to_owned).ok_or_else(|| {
        Error::invalid(format!("{name} is null")).hint(format!("Give {name}, or leave it out."))
    })
}

fn number(value: Option<i32>) -> Result<i32, Error> {
    value.ok_or_else(|| {
        Error::invalid("min_submitted is null").hint("Give the number of submitted responses, 1 or more.")
    })
}

#[pg_extern(volatile)]
pub fn _untrack_record_status(records: Option<pg_sys::Oid>) -> Result<(), ErrorReport> {
    Ok(record_status::untrack(table(records, "records")?)?)
}

#[pg_extern(volatile)]
pub fn _set_min_submitted(
    records: Option<pg_sys::Oid>,
    min_submitted: Option<i32>,
) -> Result<i64, ErrorReport> {
    Ok(record_status::set_min_submitted(table(records, "records")?, number(min_submitted)?)?)
}

#[pg_extern(volatile)]
pub fn _recompute_record_status(records: Option<pg_sys::Oid>) -> Result<i64, ErrorReport> {
    Ok(record_status::recompute(table(records, "records")?)?)
}

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn _record_progress(
    records: Option<pg_sys::Oid>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(total, i64),
            name!(completed, i64),
            name!(pending, i64),
            name!(percent, AnyNumeric),
            name!(by_status, JsonB),
        ),
    >,
    ErrorReport,
> {
    let p = record_status::progress(table(records, "records")?)?;
    Ok(TableIterator::once((p.total, p.completed, p.total - p.completed, p.percent, JsonB(p.by_status))))
}

/// Has a vectorizer keep the state of each row in a column of its source; returns its id.
#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _keep_embedding_status(vectorizer: i32, status_column: &str) -> Result<i32, ErrorReport> {
    embedding_status::keep(vectorizer, status_column)?;
    Ok(vectorizer)
}

/// Ends rules whose tables or columns are gone, however they went; harmless to whoever calls it.
#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _forget_record_status() -> Result<(), ErrorReport> {
    Ok(record_status::forget_dropped()?)
}
