//! Counts, records, doctor: what the views are made of.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, name};

use crate::services::{doctor, status};
use crate::store::catalog;

type Counts = (Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<TimestampWithTimeZone>);

/// One row with the counts of a vectorizer; all NULL for who may not read its source.
#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn _vectorizer_counts(
    vectorizer: i32,
) -> Result<
    TableIterator<
        'static,
        (
            name!(total, Option<i64>),
            name!(embedded, Option<i64>),
            name!(pending, Option<i64>),
            name!(failed, Option<i64>),
            name!(oldest_pending, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let row: Counts = match status::counts(vectorizer)? {
        Some(c) => (Some(c.total), Some(c.embedded), Some(c.pending), Some(c.failed), c.oldest_pending),
        None => (None, None, None, None, None),
    };
    Ok(TableIterator::once(row))
}

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn vectorizer_records(
    vectorizer: i32,
) -> Result<
    TableIterator<
        'static,
        (
            name!(key, JsonB),
            name!(state, String),
            name!(attempts, i32),
            name!(error, Option<String>),
            name!(embedded_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let records = status::records(vectorizer)?;
    Ok(TableIterator::new(records.into_iter().map(|record| {
        let attempts = i32::from(record.state == "failed");
        (record.key, record.state, attempts, record.error, record.embedded_at)
    })))
}

#[pg_extern(stable, parallel_restricted, name = "vectorizer_records")]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn vectorizer_records_by_name(
    vectorizer: &str,
) -> Result<
    TableIterator<
        'static,
        (
            name!(key, JsonB),
            name!(state, String),
            name!(attempts, i32),
            name!(error, Option<String>),
            name!(embedded_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    vectorizer_records(catalog::id_of(vectorizer)?)
}

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn doctor() -> Result<
    TableIterator<
        'static,
        (name!(severity, String), name!(subject, String), name!(finding, String), name!(fix, String)),
    >,
    ErrorReport,
> {
    let findings = doctor::examine()?;
    Ok(TableIterator::new(findings.into_iter().map(|f| (f.severity.to_owned(), f.subject, f.finding, f.fix))))
}
