//! When and in which order vectorizers work. All of it belongs to the caller's transaction.

use std::time::Duration;

use autovector_domain::config::{Indexing, Scheduling};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use serde_json::Value;

use super::access::Level;
use super::control::{managed, with_rebuild};
use crate::error::{Error, Kind, Result};
use crate::store::transaction::as_extension_owner;
use crate::store::{capture, control, ledger, rebuilds, registry, work};

pub fn set_priority(id: i32, priority: i32) -> Result<()> {
    let v = managed(id, Level::Admin)?;
    as_extension_owner(|| {
        if let Some(other) = rebuilds::filling(v.id)? {
            control::set_priority(other, priority)?;
        }
        control::set_priority(v.id, priority)
    })?;
    capture::wake_at_commit();
    Ok(())
}

/// Other windows, or none when `scheduling` is None; another index, where one is given. Returns what is stored.
pub fn set_scheduling(id: i32, scheduling: Option<Value>, indexing: Option<Value>) -> Result<Value> {
    let v = managed(id, Level::Admin)?;
    let scheduling =
        scheduling.map_or(Ok(Scheduling::Default), |json| Scheduling::from_json(&json))?.to_json();
    let indexing = indexing.map(|json| Indexing::from_json(&json)).transpose()?;
    for id in with_rebuild(v.id)? {
        as_extension_owner(|| {
            if let Some(indexing) = &indexing {
                registry::set_config_part(id, "indexing", &indexing.to_json())?;
            }
            registry::set_config_part(id, "scheduling", &scheduling)
        })?;
    }
    capture::wake_at_commit();
    Ok(scheduling)
}

/// At most so many tokens in each period; None ends the budget.
pub fn set_budget(
    id: i32,
    tokens: Option<i64>,
    per: Option<Interval>,
    starting: Option<TimestampWithTimeZone>,
) -> Result<()> {
    let v = managed(id, Level::Admin)?;
    match tokens {
        None => as_extension_owner(|| ledger::drop_budget(v.id))?,
        Some(tokens) if tokens <= 0 => {
            return Err(Error::invalid(format!("a budget of {tokens} tokens is no budget"))
                .hint("Give a positive number of tokens, or NULL for no budget; ai.pause_vectorizer stops all work."));
        }
        Some(tokens) => {
            let per = per.filter(|per| per.as_micros() >= 1_000_000).ok_or_else(|| {
                Error::invalid("the period of a budget must be a second or longer")
                    .hint("Give an interval such as '1 day' or '1 month'.")
            })?;
            if starting.is_some_and(|start| start.is_infinity() || start.is_neg_infinity()) {
                return Err(Error::invalid("a budget cannot start at infinity")
                    .hint("Give a moment such as date_trunc('day', now())."));
            }
            as_extension_owner(|| ledger::set_budget(v.id, tokens, per, starting))?;
        }
    }
    capture::wake_at_commit();
    Ok(())
}

/// Works outside the windows: for `time`, for `max_rows`, or until everything is done. Returns
/// `running`, or `idle` when there is nothing to do.
pub fn run(id: i32, time: Option<Duration>, max_rows: Option<i64>) -> Result<&'static str> {
    let v = managed(id, Level::Operate)?;
    if let Some(rows) = max_rows.filter(|rows| *rows <= 0) {
        return Err(Error::invalid(format!("max_rows must be positive, not {rows}"))
            .hint("Leave it out for all rows; ai.pause_vectorizer stops the work."));
    }
    let state = as_extension_owner(|| control::read(v.id))?.map_or(String::new(), |control| control.state);
    if state != "running" {
        return Err(Error::new(Kind::WrongState, format!("vectorizer \"{}\" is {state}", v.name))
            .hint(format!("A pause wins over a run: SELECT ai.resume_vectorizer('{}'); first.", v.name)));
    }
    if let Some((tokens, _)) = as_extension_owner(|| ledger::spent(v.id))? {
        return Err(Error::new(
            Kind::WrongState,
            format!("the budget of {tokens} tokens of vectorizer \"{}\" is used up", v.name),
        )
        .hint("Raise it with ai.set_budget, or wait for the next period."));
    }
    let both = with_rebuild(v.id)?;
    let mut pending = false;
    for id in &both {
        pending |= as_extension_owner(|| work::is_pending(*id))?;
    }
    if !pending && time.is_none() {
        return Ok("idle");
    }
    for id in both {
        as_extension_owner(|| control::start_run(id, time, max_rows))?;
    }
    capture::wake_at_commit();
    Ok("running")
}
