//! Search and query embeddings.

use autovector_providers::Purpose;
use pgrx::datum::Interval;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, name};

use crate::error::Error;
use crate::services::access::administer;
use crate::services::search::{self, Request};
use crate::services::{estimate, indexing, status};
use crate::store::catalog;

/// `input_type` as pgai's functions have it; a question when it is not given.
pub(super) fn purpose(input_type: Option<&str>) -> Result<Purpose, Error> {
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

type StatusRow = (String, i64, Option<Interval>, bool, bool, String, String, String);

/// How fresh an answer is, and what it is found with.
#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn search_status(
    vectorizer: i32,
) -> Result<
    TableIterator<
        'static,
        (
            name!(name, String),
            name!(rows_pending, i64),
            name!(oldest_pending_age, Option<Interval>),
            name!(backfilling, bool),
            name!(up_to_date, bool),
            name!(vector_index, String),
            name!(keyword_index, String),
            name!(keyword_configuration, String),
        ),
    >,
    ErrorReport,
> {
    let (fresh, index) = status::search_status(vectorizer)?;
    let row: StatusRow = (
        catalog::name_of(vectorizer)?,
        fresh.pending,
        fresh.oldest_age,
        fresh.backfilling,
        fresh.pending == 0 && !fresh.backfilling,
        index.vectors,
        index.words,
        index.configuration,
    );
    Ok(TableIterator::once(row))
}

#[pg_extern(stable, parallel_restricted, name = "search_status")]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn search_status_by_name(
    vectorizer: &str,
) -> Result<
    TableIterator<
        'static,
        (
            name!(name, String),
            name!(rows_pending, i64),
            name!(oldest_pending_age, Option<Interval>),
            name!(backfilling, bool),
            name!(up_to_date, bool),
            name!(vector_index, String),
            name!(keyword_index, String),
            name!(keyword_configuration, String),
        ),
    >,
    ErrorReport,
> {
    search_status(catalog::id_of(vectorizer)?)
}

/// Returns the configuration that words are searched under from now on.
#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn set_text_search(
    vectorizer: i32,
    configuration: default!(Option<&str>, "NULL"),
    indexed: default!(bool, true),
) -> Result<String, ErrorReport> {
    Ok(administer(vectorizer, || indexing::set_text_search(vectorizer, configuration, indexed))?)
}

#[pg_extern(volatile, name = "set_text_search")]
#[search_path(pg_catalog, pg_temp)]
pub fn set_text_search_by_name(
    vectorizer: &str,
    configuration: default!(Option<&str>, "NULL"),
    indexed: default!(bool, true),
) -> Result<String, ErrorReport> {
    set_text_search(catalog::id_of(vectorizer)?, configuration, indexed)
}

type EstimateRow = (i64, i64, i64, i64, Option<f64>, Option<f64>, i64, String);

/// Behind ai.estimate: what is pending, and what it will take.
#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn _estimate(
    vectorizer: i32,
) -> Result<
    TableIterator<
        'static,
        (
            name!(rows, i64),
            name!(chunks, i64),
            name!(tokens, i64),
            name!(requests, i64),
            name!(price, Option<f64>),
            name!(seconds, Option<f64>),
            name!(sampled_rows, i64),
            name!(note, String),
        ),
    >,
    ErrorReport,
> {
    let report = estimate::estimate(vectorizer)?;
    let e = report.estimate;
    let row: EstimateRow = (
        e.rows as i64,
        e.chunks as i64,
        e.tokens as i64,
        e.requests as i64,
        report.price,
        report.seconds,
        report.sampled as i64,
        report.note,
    );
    Ok(TableIterator::once(row))
}

/// The id of a vectorizer, for functions in SQL.
#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
pub fn _vectorizer_id(vectorizer: &str) -> Result<i32, ErrorReport> {
    Ok(catalog::id_of(vectorizer)?)
}

/// Behind ai.vectorizer_status: what the vector index is doing.
#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
pub fn _index_state(vectorizer: i32) -> Result<Option<String>, ErrorReport> {
    Ok(status::index_state(vectorizer)?)
}
