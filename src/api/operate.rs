//! When and in which order vectorizers work: windows, priorities, budgets, runs by hand.

use std::time::Duration;

use autovector_domain::config::Scheduling;
use pgrx::JsonB;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

use crate::error::Error;
use crate::services::{operate, standstill};
use crate::store::{catalog, work};

type Config = Result<JsonB, ErrorReport>;

/// A time of day from its seconds, as `extract(epoch FROM …)` has them.
fn time_of_day(seconds: Option<f64>, name: &str) -> Result<u32, Error> {
    let seconds = seconds.ok_or_else(|| {
        Error::invalid(format!("{name} is null")).hint("Give a time of day such as '22:00'.")
    })?;
    if seconds.fract() != 0.0 {
        return Err(Error::invalid(format!("{name} is not a whole second"))
            .hint("Give a time of day such as '22:00' or '22:00:30'."));
    }
    Ok(seconds as u32)
}

#[pg_extern(immutable, parallel_safe)]
pub fn _scheduling_window(
    start: Option<f64>,
    stop: Option<f64>,
    days: Option<Vec<Option<String>>>,
    timezone: Option<&str>,
) -> Config {
    let days: Option<Vec<String>> =
        days.map(|days| days.into_iter().map(Option::unwrap_or_default).collect());
    let scheduling = Scheduling::window(
        time_of_day(start, "start")?,
        time_of_day(stop, "stop")?,
        days.as_deref(),
        timezone.unwrap_or_default(),
    )
    .map_err(Error::from)?;
    Ok(JsonB(scheduling.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn _scheduling_windows(windows: Option<Vec<Option<JsonB>>>) -> Config {
    let windows: Vec<Value> = windows
        .unwrap_or_default()
        .into_iter()
        .map(|window| window.map_or(Value::Null, |JsonB(value)| value))
        .collect();
    Ok(JsonB(Scheduling::windows(&windows).map_err(Error::from)?.to_json()))
}

/// What the windows of a configuration say of a moment: open or not, and when one opens next.
#[pg_extern(stable, parallel_safe)]
#[allow(clippy::type_complexity)]
pub fn _window(
    scheduling: Option<JsonB>,
    at: Option<TimestampWithTimeZone>,
) -> Result<
    TableIterator<'static, (name!(open, bool), name!(next_window, Option<TimestampWithTimeZone>))>,
    ErrorReport,
> {
    let now = at.map_or_else(work::now, work::from_timestamp);
    let state = scheduling.and_then(|JsonB(json)| Scheduling::from_json(&json).ok()?.state(now));
    Ok(TableIterator::once(match state {
        Some(state) => (state.open, state.opens_at.and_then(work::to_timestamp)),
        None => (true, None),
    }))
}

/// Why workers give way now; NULL when they do not.
#[pg_extern(volatile, parallel_restricted)]
pub fn _throttle() -> Option<String> {
    standstill::throttle()
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn set_priority(vectorizer: i32, priority: i32) -> Result<(), ErrorReport> {
    Ok(operate::set_priority(vectorizer, priority)?)
}

#[pg_extern(volatile, name = "set_priority")]
#[search_path(pg_catalog, pg_temp)]
pub fn set_priority_by_name(vectorizer: &str, priority: i32) -> Result<(), ErrorReport> {
    set_priority(catalog::id_of(vectorizer)?, priority)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn set_scheduling(
    vectorizer_id: i32,
    scheduling: default!(Option<JsonB>, "NULL"),
    indexing: default!(Option<JsonB>, "NULL"),
) -> Config {
    let json = |part: Option<JsonB>| part.map(|JsonB(json)| json);
    Ok(JsonB(operate::set_scheduling(vectorizer_id, json(scheduling), json(indexing))?))
}

#[pg_extern(volatile, name = "set_scheduling")]
#[search_path(pg_catalog, pg_temp)]
pub fn set_scheduling_by_name(
    vectorizer: &str,
    scheduling: default!(Option<JsonB>, "NULL"),
    indexing: default!(Option<JsonB>, "NULL"),
) -> Config {
    set_scheduling(catalog::id_of(vectorizer)?, scheduling, indexing)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn set_budget(
    vectorizer: i32,
    tokens: Option<i64>,
    per: default!(Option<Interval>, "'1 day'"),
    starting: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> Result<(), ErrorReport> {
    Ok(operate::set_budget(vectorizer, tokens, per, starting)?)
}

#[pg_extern(volatile, name = "set_budget")]
#[search_path(pg_catalog, pg_temp)]
pub fn set_budget_by_name(
    vectorizer: &str,
    tokens: Option<i64>,
    per: default!(Option<Interval>, "'1 day'"),
    starting: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> Result<(), ErrorReport> {
    set_budget(catalog::id_of(vectorizer)?, tokens, per, starting)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _run_vectorizer(
    vectorizer: Option<i32>,
    time: Option<Interval>,
    max_rows: Option<i64>,
) -> Result<Option<String>, ErrorReport> {
    let Some(vectorizer) = vectorizer else { return Ok(None) };
    let time = match time {
        Some(time) => Some(positive(&time)?),
        None => None,
    };
    Ok(Some(operate::run(vectorizer, time, max_rows)?.to_owned()))
}

#[pg_extern(volatile, name = "_run_vectorizer")]
#[search_path(pg_catalog, pg_temp)]
pub fn _run_vectorizer_by_name(
    vectorizer: Option<&str>,
    time: Option<Interval>,
    max_rows: Option<i64>,
) -> Result<Option<String>, ErrorReport> {
    let Some(vectorizer) = vectorizer else { return Ok(None) };
    _run_vectorizer(Some(catalog::id_of(vectorizer)?), time, max_rows)
}

fn positive(interval: &Interval) -> Result<Duration, Error> {
    u64::try_from(interval.as_micros())
        .ok()
        .filter(|micros| *micros > 0)
        .map(Duration::from_micros)
        .ok_or_else(|| {
            Error::invalid("\"for\" must be longer than nothing").hint("Give an interval such as '2 hours'.")
        })
}
