//! Search and query embeddings.

use autovector_providers::Purpose;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, name};

use crate::error::Error;
use crate::services::search::{self, Request};
use crate::store::catalog;

/// `input_type` as pgai's functions have it; a question when it is not given.
fn purpose(input_type: Option<&str>) -> Result<Purpose, Error> {
    match input_type {
        None | Some("query") => Ok(Purpose::Query),
        Some("document") => Ok(Purpose::Document),
        Some(other) => Err(Error::invalid(format!("input_type \"{other}\" does not exist"))
            .hint("Use 'query' or 'document'.")),
    }
}

/// The implementation of `ai.embed`: values that the SQL wrapper casts to `vector`.
#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
pub fn _embed(vectorizer: i32, input: &str, input_type: Option<&str>) -> Result<Vec<f32>, ErrorReport> {
    Ok(search::embed(vectorizer, input, purpose(input_type)?)?)
}

#[pg_extern(stable, parallel_restricted, name = "_embed")]
#[search_path(pg_catalog, pg_temp)]
pub fn _embed_by_name(
    vectorizer: &str,
    input: &str,
    input_type: Option<&str>,
) -> Result<Vec<f32>, ErrorReport> {
    _embed(catalog::id_of(vectorizer)?, input, input_type)
}

#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn search(
    vectorizer: Option<i32>,
    query: Option<&str>,
    k: default!(Option<i32>, 10),
    mode: default!(Option<&str>, "'vector'"),
    filter: default!(Option<JsonB>, "NULL"),
    chunks: default!(Option<&str>, "'all'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(key, JsonB),
            name!(chunk_seq, i32),
            name!(chunk, Option<String>),
            name!(score, f64),
            name!(found_by, String),
        ),
    >,
    ErrorReport,
> {
    let vectorizer =
        vectorizer.ok_or_else(|| Error::invalid("vectorizer is null").hint("Name the vectorizer."))?;
    let request = Request { query, k, mode, filter: filter.map(|JsonB(filter)| filter), chunks };
    let found = search::search(vectorizer, request)?;
    let rows = found.into_iter().map(|f| (f.key, f.chunk_seq, f.chunk, f.score, f.found_by.to_owned()));
    Ok(TableIterator::new(rows))
}

#[pg_extern(stable, parallel_restricted, name = "search")]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn search_by_name(
    vectorizer: Option<&str>,
    query: Option<&str>,
    k: default!(Option<i32>, 10),
    mode: default!(Option<&str>, "'vector'"),
    filter: default!(Option<JsonB>, "NULL"),
    chunks: default!(Option<&str>, "'all'"),
) -> Result<
    TableIterator<
        'static,
        (
            name!(key, JsonB),
            name!(chunk_seq, i32),
            name!(chunk, Option<String>),
            name!(score, f64),
            name!(found_by, String),
        ),
    >,
    ErrorReport,
> {
    search(vectorizer.map(catalog::id_of).transpose()?, query, k, mode, filter, chunks)
}
