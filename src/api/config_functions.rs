//! The configuration functions: pgai's names, argument order and JSON. Each refuses at once what
//! cannot work.

use autovector_domain::config::{
    Chunking, Destination, Embedding, Formatting, Indexing, Loading, Local, Ollama, OpenAi, Oversize,
    Parsing, Processing, Scheduling,
};
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;

pub(super) type Config = Result<JsonB, ErrorReport>;

/// An argument that may not be NULL.
pub(super) fn given<T>(value: Option<T>, name: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(format!("{name} is null")).hint(format!("Give {name}.")))
}

#[pg_extern(immutable, parallel_safe)]
pub fn loading_column(column_name: Option<&str>, retries: default!(Option<i32>, 6)) -> Config {
    let loading =
        Loading::column(given(column_name, "column_name")?, retries.unwrap_or(6)).map_err(Error::from)?;
    Ok(JsonB(loading.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn loading_uri(
    column_name: Option<&str>,
    retries: default!(Option<i32>, 6),
    aws_role_arn: default!(Option<&str>, "NULL"),
) -> Config {
    let loading = Loading::uri(given(column_name, "column_name")?, retries.unwrap_or(6), aws_role_arn)
        .map_err(Error::from)?;
    Ok(JsonB(loading.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn parsing_pymupdf() -> JsonB {
    JsonB(Parsing::Pymupdf.to_json())
}

#[pg_extern(immutable, parallel_safe)]
pub fn parsing_docling() -> JsonB {
    JsonB(Parsing::Docling.to_json())
}

#[pg_extern(immutable, parallel_safe)]
pub fn parsing_auto() -> JsonB {
    JsonB(Parsing::Auto.to_json())
}

#[pg_extern(immutable, parallel_safe)]
pub fn parsing_none() -> JsonB {
    JsonB(Parsing::None.to_json())
}

#[pg_extern(immutable, parallel_safe)]
pub fn chunking_none() -> JsonB {
    JsonB(Chunking::None.to_json())
}

#[pg_extern(immutable, parallel_safe)]
pub fn chunking_character_text_splitter(
    chunk_size: default!(Option<i32>, 800),
    chunk_overlap: default!(Option<i32>, 400),
    separator: default!(Option<&str>, "E'\\n\\n'"),
    is_separator_regex: default!(Option<bool>, false),
) -> Config {
    let chunking = Chunking::character(
        given(chunk_size, "chunk_size")?,
        given(chunk_overlap, "chunk_overlap")?,
        given(separator, "separator")?,
        is_separator_regex.unwrap_or(false),
    )
    .map_err(Error::from)?;
    Ok(JsonB(chunking.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn chunking_recursive_character_text_splitter(
    chunk_size: default!(Option<i32>, 800),
    chunk_overlap: default!(Option<i32>, 400),
    separators: default!(Option<Vec<Option<String>>>, "ARRAY[E'\\n\\n', E'\\n', '.', '?', '!', ' ', '']"),
    is_separator_regex: default!(Option<bool>, false),
) -> Config {
    let separators: Option<Vec<String>> = given(separators, "separators")?.into_iter().collect();
    let chunking = Chunking::recursive(
        given(chunk_size, "chunk_size")?,
        given(chunk_overlap, "chunk_overlap")?,
        &given(separators, "one of the separators")?,
        is_separator_regex.unwrap_or(false),
    )
    .map_err(Error::from)?;
    Ok(JsonB(chunking.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn formatting_python_template(template: default!(Option<&str>, "'$chunk'")) -> Config {
    let formatting = Formatting::python_template(given(template, "template")?).map_err(Error::from)?;
    Ok(JsonB(formatting.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn embedding_local(
    model: default!(Option<&str>, "'all-MiniLM-L6-v2'"),
    dimensions: default!(Option<i32>, "NULL"),
) -> Config {
    embedding(Embedding::Local(Local {
        model: given(model, "model")?.to_owned(),
        dimensions: dimensions.map(positive).transpose()?,
    }))
}

#[pg_extern(immutable, parallel_safe)]
pub fn embedding_openai(
    model: Option<&str>,
    dimensions: Option<i32>,
    chat_user: default!(Option<&str>, "NULL"),
    api_key_name: default!(Option<&str>, "'OPENAI_API_KEY'"),
    base_url: default!(Option<&str>, "NULL"),
    oversize: default!(Option<&str>, "NULL"),
) -> Config {
    embedding(Embedding::OpenAi(OpenAi {
        model: given(model, "model")?.to_owned(),
        dimensions: positive(given(dimensions, "dimensions")?)?,
        user: chat_user.map(str::to_owned),
        api_key_name: given(api_key_name, "api_key_name")?.to_owned(),
        base_url: base_url.map(str::to_owned),
        oversize: Oversize::parse(oversize).map_err(Error::from)?,
    }))
}

#[pg_extern(immutable, parallel_safe)]
pub fn embedding_ollama(
    model: Option<&str>,
    dimensions: Option<i32>,
    base_url: default!(Option<&str>, "NULL"),
    options: default!(Option<JsonB>, "NULL"),
    keep_alive: default!(Option<&str>, "NULL"),
    oversize: default!(Option<&str>, "NULL"),
) -> Config {
    embedding(Embedding::Ollama(Ollama {
        model: given(model, "model")?.to_owned(),
        dimensions: positive(given(dimensions, "dimensions")?)?,
        base_url: base_url.map(str::to_owned),
        options: options.map(|JsonB(value)| value),
        keep_alive: keep_alive.map(str::to_owned),
        oversize: Oversize::parse(oversize).map_err(Error::from)?,
    }))
}

pub(super) fn positive(dimensions: i32) -> Result<u32, Error> {
    u32::try_from(dimensions).map_err(|_| {
        Error::invalid(format!("dimensions must be positive, not {dimensions}"))
            .hint("Give the number of dimensions that the model returns.")
    })
}

pub(super) fn embedding(embedding: Embedding) -> Config {
    embedding.validate().and_then(|()| embedding.check_model()).map_err(Error::from)?;
    Ok(JsonB(embedding.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn processing_default(
    batch_size: default!(Option<i32>, "NULL"),
    concurrency: default!(Option<i32>, "NULL"),
    requests_per_minute: default!(Option<i32>, "NULL"),
    tokens_per_minute: default!(Option<i32>, "NULL"),
    embedding_cache: default!(Option<bool>, false),
) -> Config {
    let processing = Processing::new(batch_size, concurrency, requests_per_minute, tokens_per_minute);
    let processing = processing.map_err(Error::from)?.with_cache(embedding_cache.unwrap_or(false));
    Ok(JsonB(processing.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn indexing_none() -> JsonB {
    JsonB(Indexing::None.to_json())
}

#[pg_extern(immutable, parallel_safe)]
pub fn indexing_default() -> JsonB {
    JsonB(Indexing::Default.to_json())
}

#[pg_extern(immutable, parallel_safe)]
pub fn indexing_hnsw(
    min_rows: default!(Option<i32>, 100000),
    opclass: default!(Option<&str>, "'vector_cosine_ops'"),
    m: default!(Option<i32>, "NULL"),
    ef_construction: default!(Option<i32>, "NULL"),
    create_when_queue_empty: default!(Option<bool>, true),
) -> Config {
    let indexing = Indexing::hnsw(
        given(min_rows, "min_rows")?,
        given(opclass, "opclass")?,
        m,
        ef_construction,
        create_when_queue_empty.unwrap_or(true),
    )
    .map_err(Error::from)?;
    Ok(JsonB(indexing.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn indexing_ivfflat(
    min_rows: default!(Option<i32>, 100000),
    opclass: default!(Option<&str>, "'vector_cosine_ops'"),
    lists: default!(Option<i32>, "NULL"),
    create_when_queue_empty: default!(Option<bool>, true),
) -> Config {
    let indexing = Indexing::ivfflat(
        given(min_rows, "min_rows")?,
        given(opclass, "opclass")?,
        lists,
        create_when_queue_empty.unwrap_or(true),
    )
    .map_err(Error::from)?;
    Ok(JsonB(indexing.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::too_many_arguments)]
pub fn indexing_diskann(
    min_rows: default!(Option<i32>, 100000),
    storage_layout: default!(Option<&str>, "NULL"),
    num_neighbors: default!(Option<i32>, "NULL"),
    search_list_size: default!(Option<i32>, "NULL"),
    max_alpha: default!(Option<f64>, "NULL"),
    num_dimensions: default!(Option<i32>, "NULL"),
    num_bits_per_dimension: default!(Option<i32>, "NULL"),
    create_when_queue_empty: default!(Option<bool>, true),
) -> Config {
    let indexing = Indexing::diskann(
        given(min_rows, "min_rows")?,
        storage_layout,
        num_neighbors,
        search_list_size,
        max_alpha,
        num_dimensions,
        num_bits_per_dimension,
        create_when_queue_empty.unwrap_or(true),
    )
    .map_err(Error::from)?;
    Ok(JsonB(indexing.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn scheduling_none() -> JsonB {
    JsonB(Scheduling::None.to_json())
}

#[pg_extern(immutable, parallel_safe)]
pub fn scheduling_default() -> JsonB {
    JsonB(Scheduling::Default.to_json())
}

#[pg_extern(immutable, parallel_safe)]
pub fn destination_table(
    destination: default!(Option<&str>, "NULL"),
    target_schema: default!(Option<&str>, "NULL"),
    target_table: default!(Option<&str>, "NULL"),
    view_schema: default!(Option<&str>, "NULL"),
    view_name: default!(Option<&str>, "NULL"),
) -> Config {
    let destination = Destination::table(destination, target_schema, target_table, view_schema, view_name)
        .map_err(Error::from)?;
    Ok(JsonB(destination.to_json()))
}

#[pg_extern(immutable, parallel_safe)]
pub fn destination_column(embedding_column: Option<&str>) -> Config {
    let destination =
        Destination::column(given(embedding_column, "embedding_column")?).map_err(Error::from)?;
    Ok(JsonB(destination.to_json()))
}
