//! Pausing, resuming, waiting, retrying.

use std::time::Duration;

use pgrx::datum::Interval;
use pgrx::iter::TableIterator;
use pgrx::name;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::services::control;
use crate::store::catalog;

/// An interval as a time to wait; negative ones are refused.
pub(super) fn timeout(interval: &Interval) -> Result<Duration> {
    let micros = interval.as_micros();
    u64::try_from(micros).map(Duration::from_micros).map_err(|_| {
        Error::invalid("timeout is negative or out of range").hint("Give an interval such as '1 minute'.")
    })
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn pause_vectorizer(
    vectorizer: i32,
    reason: default!(Option<&str>, "NULL"),
    wait: default!(Option<bool>, "true"),
    timeout: default!(Option<Interval>, "'1 minute'"),
) -> std::result::Result<String, ErrorReport> {
    let limit = timeout.as_ref().map_or(Ok(Duration::MAX / 4), self::timeout)?;
    Ok(control::pause(vectorizer, reason, wait.unwrap_or(true), limit)?.to_owned())
}

#[pg_extern(volatile, name = "pause_vectorizer")]
#[search_path(pg_catalog, pg_temp)]
pub fn pause_vectorizer_by_name(
    vectorizer: &str,
    reason: default!(Option<&str>, "NULL"),
    wait: default!(Option<bool>, "true"),
    timeout: default!(Option<Interval>, "'1 minute'"),
) -> std::result::Result<String, ErrorReport> {
    pause_vectorizer(catalog::id_of(vectorizer)?, reason, wait, timeout)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn resume_vectorizer(vectorizer: i32) -> std::result::Result<String, ErrorReport> {
    Ok(control::resume(vectorizer)?.to_owned())
}

#[pg_extern(volatile, name = "resume_vectorizer")]
#[search_path(pg_catalog, pg_temp)]
pub fn resume_vectorizer_by_name(vectorizer: &str) -> std::result::Result<String, ErrorReport> {
    resume_vectorizer(catalog::id_of(vectorizer)?)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn pause_all_vectorizers(
    reason: default!(Option<&str>, "NULL"),
    wait: default!(Option<bool>, "true"),
    timeout: default!(Option<Interval>, "'1 minute'"),
) -> std::result::Result<TableIterator<'static, (name!(vectorizer, String), name!(state, String))>, ErrorReport>
{
    let limit = timeout.as_ref().map_or(Ok(Duration::MAX / 4), self::timeout)?;
    let paused = control::pause_all(reason, wait.unwrap_or(true), limit)?;
    Ok(TableIterator::new(paused.into_iter().map(|(name, state)| (name, state.to_owned()))))
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn resume_all_vectorizers()
-> std::result::Result<TableIterator<'static, (name!(vectorizer, String), name!(state, String))>, ErrorReport>
{
    let resumed = control::resume_all()?;
    Ok(TableIterator::new(resumed.into_iter().map(|(name, state)| (name, state.to_owned()))))
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn wait_for_vectorizer(
    vectorizer: i32,
    timeout: default!(Option<Interval>, "'1 hour'"),
) -> std::result::Result<bool, ErrorReport> {
    let limit = timeout.as_ref().map_or(Ok(Duration::MAX / 4), self::timeout)?;
    Ok(control::wait(vectorizer, limit)?)
}

#[pg_extern(volatile, name = "wait_for_vectorizer")]
#[search_path(pg_catalog, pg_temp)]
pub fn wait_for_vectorizer_by_name(
    vectorizer: &str,
    timeout: default!(Option<Interval>, "'1 hour'"),
) -> std::result::Result<bool, ErrorReport> {
    wait_for_vectorizer(catalog::id_of(vectorizer)?, timeout)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn retry_failed(
    vectorizer: i32,
    error_like: default!(Option<&str>, "NULL"),
) -> std::result::Result<i64, ErrorReport> {
    Ok(control::retry_failed(vectorizer, error_like)?)
}

#[pg_extern(volatile, name = "retry_failed")]
#[search_path(pg_catalog, pg_temp)]
pub fn retry_failed_by_name(
    vectorizer: &str,
    error_like: default!(Option<&str>, "NULL"),
) -> std::result::Result<i64, ErrorReport> {
    retry_failed(catalog::id_of(vectorizer)?, error_like)
}
