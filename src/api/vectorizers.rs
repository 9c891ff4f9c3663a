//! Creating and dropping vectorizers.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, pg_sys};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::services::access::administer;
use crate::services::vectorizers::{self, DEFAULT_PRIORITY, Request};
use crate::store::catalog;

/// The implementation of `ai.create_vectorizer`. `config` has one member for each configuration
/// argument that was given.
#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::too_many_arguments)]
pub fn _create_vectorizer(
    source: Option<pg_sys::Oid>,
    name: Option<&str>,
    config: Option<JsonB>,
    queue_schema: Option<&str>,
    queue_table: Option<&str>,
    grant_to: Option<Vec<Option<String>>>,
    enqueue_existing: Option<bool>,
    if_not_exists: Option<bool>,
    priority: Option<i32>,
    adopt_existing: Option<bool>,
) -> Result<i32, ErrorReport> {
    let source =
        source.ok_or_else(|| Error::invalid("source is null").hint("Name the table: 'public.docs'."))?;
    let config = match config {
        Some(JsonB(Value::Object(parts))) => parts,
        _ => Map::new(),
    };
    Ok(vectorizers::create(Request {
        source,
        name: name.map(str::to_owned),
        config,
        queue_schema: queue_schema.map(str::to_owned),
        queue_table: queue_table.map(str::to_owned),
        grant_to: grant_to.unwrap_or_default().into_iter().flatten().collect(),
        enqueue_existing: enqueue_existing.unwrap_or(true),
        if_not_exists: if_not_exists.unwrap_or(false),
        priority: priority.unwrap_or(DEFAULT_PRIORITY),
        adopt_existing: adopt_existing.unwrap_or(false),
    })?)
}

/// Has a vectorizer see rows that logical replication applies, too; returns its id.
#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _capture_replicated(vectorizer: i32) -> Result<i32, ErrorReport> {
    vectorizers::capture_replicated(vectorizer)?;
    Ok(vectorizer)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn drop_vectorizer(vectorizer_id: i32, drop_all: default!(bool, false)) -> Result<(), ErrorReport> {
    Ok(administer(vectorizer_id, || vectorizers::drop(vectorizer_id, drop_all))?)
}

#[pg_extern(volatile, name = "drop_vectorizer")]
#[search_path(pg_catalog, pg_temp)]
pub fn drop_vectorizer_by_name(name: &str, drop_all: default!(bool, false)) -> Result<(), ErrorReport> {
    match catalog::known_id(name)? {
        Some(id) => drop_vectorizer(id, drop_all),
        None => Ok(()),
    }
}
