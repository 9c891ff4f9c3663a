//! What pgai's users call by name and ours do not need: switches, counters, single embeddings.

use autovector_domain::config::Embedding;
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::time::Duration;

use super::search::purpose;
use crate::error::Error;
use crate::services::{control, question, status};
use crate::store::catalog;

/// What a status shows of a vectorizer that was switched off.
const DISABLED: &str = "disabled by ai.disable_vectorizer_schedule";

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn disable_vectorizer_schedule(vectorizer_id: i32) -> Result<(), ErrorReport> {
    control::pause(vectorizer_id, Some(DISABLED), false, Duration::ZERO)?;
    Ok(())
}

#[pg_extern(volatile, name = "disable_vectorizer_schedule")]
#[search_path(pg_catalog, pg_temp)]
pub fn disable_vectorizer_schedule_by_name(name: &str) -> Result<(), ErrorReport> {
    match catalog::known_id(name)? {
        Some(id) => disable_vectorizer_schedule(id),
        None => Ok(()),
    }
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn enable_vectorizer_schedule(vectorizer_id: i32) -> Result<(), ErrorReport> {
    control::resume(vectorizer_id)?;
    Ok(())
}

#[pg_extern(volatile, name = "enable_vectorizer_schedule")]
#[search_path(pg_catalog, pg_temp)]
pub fn enable_vectorizer_schedule_by_name(name: &str) -> Result<(), ErrorReport> {
    match catalog::known_id(name)? {
        Some(id) => enable_vectorizer_schedule(id),
        None => Ok(()),
    }
}

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
pub fn vectorizer_queue_pending(
    vectorizer_id: i32,
    exact_count: default!(bool, false),
) -> Result<i64, ErrorReport> {
    Ok(status::queue_pending(vectorizer_id, exact_count)?)
}

#[pg_extern(stable, parallel_restricted, name = "vectorizer_queue_pending")]
#[search_path(pg_catalog, pg_temp)]
pub fn vectorizer_queue_pending_by_name(
    name: &str,
    exact_count: default!(bool, false),
) -> Result<Option<i64>, ErrorReport> {
    match catalog::known_id(name)? {
        Some(id) => Ok(Some(status::queue_pending(id, exact_count)?)),
        None => Ok(None),
    }
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn execute_vectorizer(vectorizer_id: i32) -> Result<(), ErrorReport> {
    Ok(control::execute(vectorizer_id)?)
}

#[pg_extern(volatile, name = "execute_vectorizer")]
#[search_path(pg_catalog, pg_temp)]
pub fn execute_vectorizer_by_name(vectorizer_name: &str) -> Result<(), ErrorReport> {
    execute_vectorizer(catalog::id_of(vectorizer_name)?)
}

/// The implementation of `ai.vectorizer_embed` with a configuration; vectorizers use `ai._embed`.
#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
pub fn _embed_by(
    embedding_config: JsonB,
    input_text: &str,
    input_type: Option<&str>,
) -> Result<Vec<f32>, ErrorReport> {
    let embedding = Embedding::from_json(&embedding_config.0).map_err(Error::from)?;
    Ok(question::embed_by(embedding, input_text, purpose(input_type)?)?)
}
