//! Chunking: the configurations that are ours, and cutting a text without a vectorizer.

use autovector_domain::config::Chunking;
use pgrx::JsonB;
use pgrx::iter::TableIterator;
use pgrx::name;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::config_functions::{Config, given};
use crate::error::Error;
use crate::services::preview;
use crate::store::catalog;

#[pg_extern(immutable, parallel_safe)]
pub fn chunking_token_text_splitter(
    chunk_size: default!(Option<i32>, 256),
    chunk_overlap: default!(Option<i32>, 32),
    encoding: default!(Option<&str>, "'cl100k_base'"),
) -> Config {
    let (size, overlap) = (given(chunk_size, "chunk_size")?, given(chunk_overlap, "chunk_overlap")?);
    config(Chunking::token(size, overlap, given(encoding, "encoding")?))
}

#[pg_extern(immutable, parallel_safe)]
pub fn chunking_markdown(
    chunk_size: default!(Option<i32>, 800),
    chunk_overlap: default!(Option<i32>, 100),
) -> Config {
    config(Chunking::markdown(given(chunk_size, "chunk_size")?, given(chunk_overlap, "chunk_overlap")?))
}

#[pg_extern(immutable, parallel_safe)]
pub fn chunking_sentence(
    chunk_size: default!(Option<i32>, 800),
    chunk_overlap: default!(Option<i32>, 100),
) -> Config {
    config(Chunking::sentence(given(chunk_size, "chunk_size")?, given(chunk_overlap, "chunk_overlap")?))
}

fn config(chunking: Result<Chunking, autovector_domain::config::ConfigError>) -> Config {
    Ok(JsonB(chunking.map_err(Error::from)?.to_json()))
}

/// What pgai's functions take where nothing is said: other sizes than a vectorizer.
const SIZE: i32 = 4000;
const OVERLAP: i32 = 200;

/// An overlap that was not said never gets in the way of a size that was.
fn sizes(chunk_size: Option<i32>, chunk_overlap: Option<i32>) -> (i32, i32) {
    let size = chunk_size.unwrap_or(SIZE);
    (size, chunk_overlap.unwrap_or(if size > OVERLAP { OVERLAP } else { size / 2 }))
}

fn cut(
    input: Option<&str>,
    chunking: Result<Chunking, autovector_domain::config::ConfigError>,
) -> Result<TableIterator<'static, (name!(seq, i64), name!(chunk, String))>, ErrorReport> {
    let chunks = match input {
        Some(input) => preview::cut(input, &chunking.map_err(Error::from)?)?,
        None => Vec::new(),
    };
    let numbered = chunks.into_iter().enumerate().map(|(seq, chunk)| (seq as i64, chunk));
    Ok(TableIterator::new(numbered))
}

#[pg_extern(immutable, parallel_safe)]
pub fn chunk_text(
    input: Option<&str>,
    chunk_size: default!(Option<i32>, "NULL"),
    chunk_overlap: default!(Option<i32>, "NULL"),
    separator: default!(Option<&str>, "NULL"),
    is_separator_regex: default!(Option<bool>, false),
) -> Result<TableIterator<'static, (name!(seq, i64), name!(chunk, String))>, ErrorReport> {
    let (size, overlap) = sizes(chunk_size, chunk_overlap);
    let separator = separator.unwrap_or(Chunking::DEFAULT_SEPARATOR);
    cut(input, Chunking::character(size, overlap, separator, is_separator_regex.unwrap_or(false)))
}

#[pg_extern(immutable, parallel_safe)]
pub fn chunk_text_recursively(
    input: Option<&str>,
    chunk_size: default!(Option<i32>, "NULL"),
    chunk_overlap: default!(Option<i32>, "NULL"),
    separators: default!(Option<Vec<Option<String>>>, "NULL"),
    is_separator_regex: default!(Option<bool>, false),
) -> Result<TableIterator<'static, (name!(seq, i64), name!(chunk, String))>, ErrorReport> {
    let (size, overlap) = sizes(chunk_size, chunk_overlap);
    let separators = match separators {
        Some(separators) => {
            given(separators.into_iter().collect::<Option<Vec<String>>>(), "one of the separators")?
        }
        None => ["\n\n", "\n", " ", ""].map(str::to_owned).to_vec(),
    };
    cut(input, Chunking::recursive(size, overlap, &separators, is_separator_regex.unwrap_or(false)))
}

/// The chunks that a vectorizer makes of some rows, with the rights of the caller.
#[allow(clippy::type_complexity)]
#[pg_extern(stable, parallel_restricted)]
pub fn preview_chunks(
    vectorizer: i32,
    limit_rows: default!(Option<i32>, 10),
) -> Result<
    TableIterator<
        'static,
        (name!(key, JsonB), name!(chunk_seq, i32), name!(chunk, String), name!(tokens, i32)),
    >,
    ErrorReport,
> {
    let chunks = preview::chunks(vectorizer, limit_rows.unwrap_or(10))?;
    Ok(TableIterator::new(chunks.into_iter().map(|c| (c.key, c.seq, c.text, c.tokens))))
}

#[allow(clippy::type_complexity)]
#[pg_extern(stable, parallel_restricted, name = "preview_chunks")]
pub fn preview_chunks_by_name(
    vectorizer: &str,
    limit_rows: default!(Option<i32>, 10),
) -> Result<
    TableIterator<
        'static,
        (name!(key, JsonB), name!(chunk_seq, i32), name!(chunk, String), name!(tokens, i32)),
    >,
    ErrorReport,
> {
    preview_chunks(catalog::id_of(vectorizer)?, limit_rows)
}
