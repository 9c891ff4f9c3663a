//! Changing vectorizers, and the rebuilds that follow.

use pgrx::JsonB;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Map;

use super::run::timeout as limit;
use crate::services::access::administer;
use crate::services::rebuild::{self, Changes, swap, upkeep};
use crate::store::catalog;

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::too_many_arguments)]
pub fn alter_vectorizer(
    vectorizer: i32,
    embedding: default!(Option<JsonB>, "NULL"),
    chunking: default!(Option<JsonB>, "NULL"),
    formatting: default!(Option<JsonB>, "NULL"),
    loading: default!(Option<JsonB>, "NULL"),
    indexing: default!(Option<JsonB>, "NULL"),
    processing: default!(Option<JsonB>, "NULL"),
    scheduling: default!(Option<JsonB>, "NULL"),
    priority: default!(Option<i32>, "NULL"),
    auto_swap: default!(bool, true),
) -> Result<&'static str, ErrorReport> {
    let parts: Map<_, _> = [
        ("embedding", embedding),
        ("chunking", chunking),
        ("formatting", formatting),
        ("loading", loading),
        ("indexing", indexing),
        ("processing", processing),
        ("scheduling", scheduling),
    ]
    .into_iter()
    .filter_map(|(part, value)| Some((part.to_owned(), value?.0)))
    .collect();
    Ok(administer(vectorizer, || rebuild::alter(vectorizer, Changes { parts, priority, auto_swap }))?)
}

#[pg_extern(volatile, name = "alter_vectorizer")]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::too_many_arguments)]
pub fn alter_vectorizer_by_name(
    vectorizer: &str,
    embedding: default!(Option<JsonB>, "NULL"),
    chunking: default!(Option<JsonB>, "NULL"),
    formatting: default!(Option<JsonB>, "NULL"),
    loading: default!(Option<JsonB>, "NULL"),
    indexing: default!(Option<JsonB>, "NULL"),
    processing: default!(Option<JsonB>, "NULL"),
    scheduling: default!(Option<JsonB>, "NULL"),
    priority: default!(Option<i32>, "NULL"),
    auto_swap: default!(bool, true),
) -> Result<&'static str, ErrorReport> {
    let id = catalog::id_of(vectorizer)?;
    alter_vectorizer(
        id, embedding, chunking, formatting, loading, indexing, processing, scheduling, priority, auto_swap,
    )
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn finish_rebuild(
    vectorizer: i32,
    force: default!(bool, false),
    timeout: default!(Interval, "'1 minute'"),
) -> Result<&'static str, ErrorReport> {
    let timeout = limit(&timeout)?;
    Ok(administer(vectorizer, || swap::finish(vectorizer, force, timeout))?)
}

#[pg_extern(volatile, name = "finish_rebuild")]
#[search_path(pg_catalog, pg_temp)]
pub fn finish_rebuild_by_name(
    vectorizer: &str,
    force: default!(bool, false),
    timeout: default!(Interval, "'1 minute'"),
) -> Result<&'static str, ErrorReport> {
    finish_rebuild(catalog::id_of(vectorizer)?, force, timeout)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn rollback_rebuild(
    vectorizer: i32,
    timeout: default!(Interval, "'1 minute'"),
) -> Result<&'static str, ErrorReport> {
    let timeout = limit(&timeout)?;
    Ok(administer(vectorizer, || swap::rollback(vectorizer, timeout))?)
}

#[pg_extern(volatile, name = "rollback_rebuild")]
#[search_path(pg_catalog, pg_temp)]
pub fn rollback_rebuild_by_name(
    vectorizer: &str,
    timeout: default!(Interval, "'1 minute'"),
) -> Result<&'static str, ErrorReport> {
    rollback_rebuild(catalog::id_of(vectorizer)?, timeout)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn cancel_rebuild(vectorizer: i32) -> Result<&'static str, ErrorReport> {
    Ok(administer(vectorizer, || rebuild::cancel(vectorizer))?)
}

#[pg_extern(volatile, name = "cancel_rebuild")]
#[search_path(pg_catalog, pg_temp)]
pub fn cancel_rebuild_by_name(vectorizer: &str) -> Result<&'static str, ErrorReport> {
    cancel_rebuild(catalog::id_of(vectorizer)?)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn drop_previous_store(vectorizer: i32) -> Result<&'static str, ErrorReport> {
    Ok(administer(vectorizer, || rebuild::drop_previous(vectorizer))?)
}

#[pg_extern(volatile, name = "drop_previous_store")]
#[search_path(pg_catalog, pg_temp)]
pub fn drop_previous_store_by_name(vectorizer: &str) -> Result<&'static str, ErrorReport> {
    drop_previous_store(catalog::id_of(vectorizer)?)
}

/// One look of `ai.wait_for_rebuild`.
#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn _rebuild_is_over(vectorizer: i32) -> Result<bool, ErrorReport> {
    Ok(upkeep::is_over(vectorizer)?)
}

#[pg_extern(volatile, name = "_rebuild_is_over")]
#[search_path(pg_catalog, pg_temp)]
pub fn _rebuild_is_over_by_name(vectorizer: &str) -> Result<bool, ErrorReport> {
    _rebuild_is_over(catalog::id_of(vectorizer)?)
}
