//! Backups of vector tables. Comments and grants stand in `sql/backup.sql`.

use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, datum::Interval, name};

use crate::error::Error;
use crate::services::backup::make::{self, Request};
use crate::services::backup::{catalog, policy, restore};

#[pg_extern(volatile)]
#[allow(clippy::too_many_arguments)]
pub fn backup_vector_tables(
    task_id: default!(Option<&str>, "NULL"),
    db_connection: default!(Option<&str>, "NULL"),
    truncate_vector_tables: default!(Option<bool>, "false"),
    backup_vector_tables: default!(Option<bool>, "true"),
    tables: default!(Option<Vec<Option<String>>>, "NULL"),
    format: default!(Option<&str>, "'csv'"),
    compression: default!(Option<&str>, "'none'"),
    parallel: default!(Option<i32>, "1"),
) -> Result<JsonB, ErrorReport> {
    let request = Request {
        task: task_id.map(str::to_owned),
        connection: db_connection.map(str::to_owned),
        truncate: truncate_vector_tables.unwrap_or(false),
        backup: backup_vector_tables.unwrap_or(true),
        tables: tables.map(|tables| tables.into_iter().flatten().collect()),
        format: format.unwrap_or("csv").to_owned(),
        compression: compression.unwrap_or("none").to_owned(),
        parallel: parallel.unwrap_or(1),
        by_policy: false,
    };
    Ok(JsonB(make::make(&request)?))
}

#[pg_extern(volatile)]
pub fn restore_vector_tables(
    backup: Option<&str>,
    mode: default!(Option<&str>, "'refuse'"),
) -> Result<JsonB, ErrorReport> {
    Ok(JsonB(restore::restore(named(backup)?, mode.unwrap_or("refuse"))?))
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn verify_backup(backup: Option<&str>) -> Result<JsonB, ErrorReport> {
    Ok(JsonB(catalog::verify(named(backup)?)?))
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn delete_backup(backup: Option<&str>) -> Result<(), ErrorReport> {
    Ok(catalog::delete(named(backup)?)?)
}

#[pg_extern(volatile)]
pub fn set_backup_policy(
    every: Option<Interval>,
    keep_last: default!(Option<i32>, "NULL"),
    keep_for: default!(Option<Interval>, "NULL"),
) -> Result<(), ErrorReport> {
    Ok(policy::set(every, keep_last, keep_for)?)
}

fn named(backup: Option<&str>) -> Result<&str, Error> {
    backup.ok_or_else(|| {
        Error::invalid("backup is null").hint("Name it: SELECT backup FROM ai.list_backups(); lists them.")
    })
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn _list_backups() -> Result<
    TableIterator<
        'static,
        (
            name!(backup, String),
            name!(task_id, Option<String>),
            name!(complete, bool),
            name!(truncated, bool),
            name!(by_policy, bool),
            name!(made_by, Option<String>),
            name!(bytes, Option<i64>),
            name!(manifest, Option<JsonB>),
        ),
    >,
    ErrorReport,
> {
    let listed = catalog::list()?;
    Ok(TableIterator::new(listed.into_iter().map(|l| {
        let bytes = l.manifest.as_ref().map(|manifest| manifest.bytes() as i64);
        let manifest = l.manifest.and_then(|manifest| serde_json::to_value(manifest).ok()).map(JsonB);
        (l.name, l.task, l.complete, l.truncated, l.by_policy, l.made_by, bytes, manifest)
    })))
}
