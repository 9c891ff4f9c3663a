//! The function behind `ai.openai_embed`, `ai.ollama_embed`, `ai.voyageai_embed` and
//! `ai.cohere_embed`, which are SQL (`sql/model_calls.sql`) because they return pgvector's type.

use autovector_domain::tokens::Encoding;
use pgrx::JsonB;
use pgrx::iter::TableIterator;
use pgrx::name;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::search::purpose;
use crate::error::Error;
use crate::services::model_calls::{self, Call};

/// Vectors of `inputs`, by the provider that `config` names, with the rights of the caller.
#[pg_extern(stable, parallel_restricted)]
#[search_path(pg_catalog, pg_temp)]
#[allow(clippy::type_complexity)]
pub fn _model_embed(
    config: JsonB,
    inputs: Vec<Option<String>>,
    api_key: Option<&str>,
    input_type: Option<&str>,
) -> Result<TableIterator<'static, (name!(index, i32), name!(embedding, Option<Vec<f32>>))>, ErrorReport> {
    let purpose = match input_type {
        None => autovector_providers::Purpose::Document,
        said => purpose(said)?,
    };
    let vectors = model_calls::embed(Call { config: config.0, api_key, purpose }, inputs)?;
    Ok(TableIterator::new(vectors.into_iter().enumerate().map(|(index, vector)| (index as i32, vector))))
}

/// The text that tokens of `cl100k_base` stand for.
#[pg_extern(immutable, strict, parallel_safe)]
#[search_path(pg_catalog, pg_temp)]
pub fn _text_of_tokens(tokens: Vec<Option<i32>>) -> Result<String, ErrorReport> {
    let tokens: Option<Vec<u32>> =
        tokens.into_iter().map(|token| token.and_then(|token| u32::try_from(token).ok())).collect();
    let text = tokens.and_then(|tokens| Encoding::Cl100k.decode(&tokens));
    let text = text.ok_or_else(|| {
        Error::invalid("input_tokens are not the tokens of a text")
            .hint("Give tokens of the encoding cl100k_base, or the text itself.")
    })?;
    Ok(text)
}
