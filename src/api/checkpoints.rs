//! Checkpoints: making, managing, reading. What SQL itself has to declare (polymorphic functions,
//! overloads by name) stands in `sql/checkpoint_functions.sql`.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, Uuid, name};

use crate::error::Error;
use crate::services::checkpoints::create::{self, Request};
use crate::services::checkpoints::upkeep::{self, Policy};
use crate::services::checkpoints::{manage, read, restore};

fn target_of(target: Option<&str>) -> Result<&str, Error> {
    target.ok_or_else(|| {
        Error::invalid("target is null").hint("Name a vectorizer, or a table with its schema: 'public.docs'.")
    })
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _create_checkpoint(
    target: Option<&str>,
    table: Option<pg_sys::Oid>,
    name: Option<&str>,
    lifetime: Option<Interval>,
    source: Option<&str>,
) -> Result<Uuid, ErrorReport> {
    let target = target_of(target)?;
    if let Some(source) = source {
        return Ok(create::from_source((target, table), name, lifetime, source)?);
    }
    let made = create::create(&Request {
        targets: vec![(target, table)],
        name,
        lifetime,
        set: None,
        kind: "manual",
    })?;
    Ok(made[0].1)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn refresh_checkpoint(
    checkpoint: Option<Uuid>,
    lifetime: Option<Interval>,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    let id = checkpoint.ok_or_else(|| Error::invalid("checkpoint is null").hint("Name a checkpoint."))?;
    Ok(manage::refresh(id, lifetime)?)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn delete_checkpoint(checkpoint: Uuid) -> Result<bool, ErrorReport> {
    Ok(manage::delete(checkpoint)?)
}

/// The id of a checkpoint that is given by name or id; NULL when there is none and `required` is
/// not said.
#[pg_extern(stable)]
#[search_path(pg_catalog, pg_temp)]
pub fn _checkpoint_id(checkpoint: &str, required: bool) -> Result<Option<Uuid>, ErrorReport> {
    if required { Ok(Some(read::id_of(checkpoint)?)) } else { Ok(read::find(checkpoint)?) }
}

#[pg_extern(stable)]
#[search_path(pg_catalog, pg_temp)]
pub fn _checkpoint_query(checkpoint: Uuid, row_type: pg_sys::Oid) -> Result<String, ErrorReport> {
    Ok(read::query(checkpoint, row_type)?)
}

#[pg_extern(stable)]
#[search_path(pg_catalog, pg_temp)]
pub fn _checkpoint_readable(checkpoint: Uuid) -> Result<bool, ErrorReport> {
    Ok(read::readable(checkpoint)?)
}

#[pg_extern(stable)]
#[search_path(pg_catalog, pg_temp)]
pub fn _checkpoint_attached(history: i32) -> Result<bool, ErrorReport> {
    Ok(read::attached(history)?)
}

/// What a vectorizer's checkpoints are of, in text.
#[pg_extern(stable)]
#[search_path(pg_catalog, pg_temp)]
pub fn _checkpoint_target(vectorizer: Option<i32>) -> Result<String, ErrorReport> {
    let id = vectorizer.ok_or_else(|| {
        Error::invalid("vectorizer is null").hint("Give the id of a vectorizer, or the name of a target.")
    })?;
    Ok(read::target(id)?)
}

#[pg_extern(stable)]
#[search_path(pg_catalog, pg_temp)]
pub fn _checkpoint_relation(
    target: Option<&str>,
    table: Option<pg_sys::Oid>,
) -> Result<Option<pg_sys::Oid>, ErrorReport> {
    Ok(read::relation(target_of(target)?, table)?)
}

#[pg_extern(stable)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn _checkpoint_kept(
    history: i32,
    number: i64,
) -> Result<TableIterator<'static, (name!(rows, i64), name!(bytes, i64))>, ErrorReport> {
    Ok(TableIterator::new(read::kept(history, number)?))
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _checkout_checkpoint(
    checkpoint: Uuid,
    view_name: &str,
    schema: Option<&str>,
) -> Result<String, ErrorReport> {
    Ok(read::checkout(checkpoint, view_name, schema)?)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn _create_checkpoint_set(
    targets: Option<Vec<Option<String>>>,
    tables: Option<Vec<Option<pg_sys::Oid>>>,
    name: Option<&str>,
    lifetime: Option<Interval>,
) -> Result<TableIterator<'static, (name!(target, String), name!(checkpoint, Uuid))>, ErrorReport> {
    let targets = targets.unwrap_or_default();
    let tables = tables.unwrap_or_default();
    let mut named = Vec::new();
    for (place, target) in targets.iter().enumerate() {
        named.push((target_of(target.as_deref())?, tables.get(place).copied().flatten()));
    }
    let set = Some(Uuid::from_bytes(*uuid::Uuid::new_v4().as_bytes()));
    let made = create::create(&Request { targets: named, name, lifetime, set, kind: "manual" })?;
    Ok(TableIterator::new(made))
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn restore_checkpoint(checkpoint: Uuid, resurrect: default!(bool, false)) -> Result<JsonB, ErrorReport> {
    Ok(JsonB(restore::restore(checkpoint, resurrect)?))
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _clone_checkpoint(
    checkpoint: Uuid,
    new_table: &str,
    schema: Option<&str>,
) -> Result<String, ErrorReport> {
    Ok(restore::clone(checkpoint, new_table, schema)?)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn verify_checkpoint(checkpoint: Uuid) -> Result<JsonB, ErrorReport> {
    Ok(JsonB(restore::verify(checkpoint)?))
}

/// With `b` NULL the live table is what `a` is compared with.
#[pg_extern(stable)]
#[search_path(pg_catalog, pg_temp)]
pub fn _diff_checkpoints(
    a: Option<Uuid>,
    b: Option<Uuid>,
) -> Result<TableIterator<'static, (name!(key, JsonB), name!(change, String))>, ErrorReport> {
    let a = a.ok_or_else(|| Error::invalid("checkpoint is null").hint("Name a checkpoint."))?;
    Ok(TableIterator::new(restore::diff(a, b)?.into_iter().map(|d| (d.key, d.change))))
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _detach_checkpoints(target: Option<&str>, table: Option<pg_sys::Oid>) -> Result<i64, ErrorReport> {
    Ok(restore::detach(target_of(target)?, table)?)
}

#[pg_extern(stable)]
#[search_path(pg_catalog, pg_temp)]
pub fn checkpoint_pending(
    checkpoint: Uuid,
) -> Result<TableIterator<'static, (name!(key, JsonB),)>, ErrorReport> {
    Ok(TableIterator::new(restore::pending(checkpoint)?.into_iter().map(|key| (key,))))
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _set_checkpoint_policy(
    target: Option<&str>,
    table: Option<pg_sys::Oid>,
    every: Option<Interval>,
    every_changes: Option<i64>,
    keep_last: Option<i32>,
    keep_for: Option<Interval>,
) -> Result<(), ErrorReport> {
    let policy = Policy { every, every_changes, keep_last, keep_for };
    Ok(upkeep::set_policy(target_of(target)?, table, policy)?)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn gc_checkpoints(
    dry_run: default!(bool, false),
    min_age: default!(Interval, "'0'"),
) -> Result<
    TableIterator<
        'static,
        (name!(target, String), name!(checkpoints, i64), name!(rows, i64), name!(bytes, i64)),
    >,
    ErrorReport,
> {
    let freed = upkeep::collect(dry_run, min_age)?;
    Ok(TableIterator::new(freed.into_iter().map(|f| (f.target, f.checkpoints, f.rows, f.bytes))))
}
