//! `ai.embedding_*` of the providers behind HTTP other than OpenAI and Ollama, which stand with
//! pgai's other configuration functions. Each refuses at once what cannot work.

use autovector_domain::config::{
    AzureOpenAi, Cohere, Embedding, Gemini, Http, LiteLlm, Mistral, Oversize, Tei, VoyageAi,
};
use pgrx::JsonB;
use pgrx::prelude::*;

use super::config_functions::{Config, embedding, given, positive};
use crate::error::Error;

fn text(value: Option<&str>) -> Option<String> {
    value.map(str::to_owned)
}

fn oversize(value: Option<&str>) -> Result<Oversize, Error> {
    Ok(Oversize::parse(value)?)
}

#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::too_many_arguments)]
pub fn embedding_voyageai(
    model: Option<&str>,
    dimensions: Option<i32>,
    input_type: default!(Option<&str>, "'document'"),
    api_key_name: default!(Option<&str>, "'VOYAGE_API_KEY'"),
    base_url: default!(Option<&str>, "NULL"),
    output_dimension: default!(Option<i32>, "NULL"),
    output_dtype: default!(Option<&str>, "NULL"),
    oversize: default!(Option<&str>, "NULL"),
) -> Config {
    embedding(Embedding::VoyageAi(VoyageAi {
        model: given(model, "model")?.to_owned(),
        dimensions: positive(given(dimensions, "dimensions")?)?,
        input_type: text(input_type),
        api_key_name: given(api_key_name, "api_key_name")?.to_owned(),
        base_url: text(base_url),
        output_dimension: output_dimension.map(positive).transpose()?,
        output_dtype: text(output_dtype),
        oversize: self::oversize(oversize)?,
    }))
}

#[pg_extern(immutable, parallel_safe)]
pub fn embedding_cohere(
    model: Option<&str>,
    dimensions: Option<i32>,
    api_key_name: default!(Option<&str>, "'COHERE_API_KEY'"),
    input_type: default!(Option<&str>, "NULL"),
    base_url: default!(Option<&str>, "NULL"),
    oversize: default!(Option<&str>, "NULL"),
) -> Config {
    embedding(Embedding::Cohere(Cohere {
        model: given(model, "model")?.to_owned(),
        dimensions: positive(given(dimensions, "dimensions")?)?,
        api_key_name: given(api_key_name, "api_key_name")?.to_owned(),
        input_type: text(input_type),
        base_url: text(base_url),
        oversize: self::oversize(oversize)?,
    }))
}

#[pg_extern(immutable, parallel_safe)]
pub fn embedding_mistral(
    model: Option<&str>,
    dimensions: Option<i32>,
    api_key_name: default!(Option<&str>, "'MISTRAL_API_KEY'"),
    base_url: default!(Option<&str>, "NULL"),
    oversize: default!(Option<&str>, "NULL"),
) -> Config {
    embedding(Embedding::Mistral(Mistral {
        model: given(model, "model")?.to_owned(),
        dimensions: positive(given(dimensions, "dimensions")?)?,
        api_key_name: given(api_key_name, "api_key_name")?.to_owned(),
        base_url: text(base_url),
        oversize: self::oversize(oversize)?,
    }))
}

#[pg_extern(immutable, parallel_safe)]
pub fn embedding_gemini(
    model: Option<&str>,
    dimensions: Option<i32>,
    api_key_name: default!(Option<&str>, "'GEMINI_API_KEY'"),
    task_type: default!(Option<&str>, "NULL"),
    base_url: default!(Option<&str>, "NULL"),
) -> Config {
    embedding(Embedding::Gemini(Gemini {
        model: given(model, "model")?.to_owned(),
        dimensions: positive(given(dimensions, "dimensions")?)?,
        api_key_name: given(api_key_name, "api_key_name")?.to_owned(),
        task_type: text(task_type),
        base_url: text(base_url),
    }))
}

#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::too_many_arguments)]
pub fn embedding_azure_openai(
    deployment: Option<&str>,
    dimensions: Option<i32>,
    base_url: Option<&str>,
    api_version: default!(Option<&str>, "'2024-10-21'"),
    api_key_name: default!(Option<&str>, "'AZURE_OPENAI_API_KEY'"),
    model: default!(Option<&str>, "NULL"),
    chat_user: default!(Option<&str>, "NULL"),
    oversize: default!(Option<&str>, "NULL"),
) -> Config {
    embedding(Embedding::AzureOpenAi(AzureOpenAi {
        deployment: given(deployment, "deployment")?.to_owned(),
        dimensions: positive(given(dimensions, "dimensions")?)?,
        base_url: given(base_url, "base_url")?.to_owned(),
        api_version: given(api_version, "api_version")?.to_owned(),
        api_key_name: given(api_key_name, "api_key_name")?.to_owned(),
        model: text(model),
        user: text(chat_user),
        oversize: self::oversize(oversize)?,
    }))
}

#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::too_many_arguments)]
pub fn embedding_tei(
    model: Option<&str>,
    dimensions: Option<i32>,
    base_url: default!(Option<&str>, "NULL"),
    api_key_name: default!(Option<&str>, "NULL"),
    document_prompt: default!(Option<&str>, "NULL"),
    query_prompt: default!(Option<&str>, "NULL"),
    normalize: default!(Option<bool>, "NULL"),
    max_inputs: default!(Option<i32>, "NULL"),
    oversize: default!(Option<&str>, "NULL"),
) -> Config {
    embedding(Embedding::Tei(Tei {
        model: given(model, "model")?.to_owned(),
        dimensions: positive(given(dimensions, "dimensions")?)?,
        base_url: text(base_url),
        api_key_name: text(api_key_name),
        document_prompt: text(document_prompt),
        query_prompt: text(query_prompt),
        normalize,
        max_inputs: Tei::checked_max_inputs(max_inputs).map_err(Error::from)?,
        oversize: self::oversize(oversize)?,
    }))
}

#[pg_extern(immutable, parallel_safe)]
pub fn embedding_litellm(
    model: Option<&str>,
    dimensions: Option<i32>,
    api_key_name: default!(Option<&str>, "NULL"),
    extra_options: default!(Option<JsonB>, "NULL"),
) -> Config {
    let (model, dimensions) = (given(model, "model")?, given(dimensions, "dimensions")?);
    let options = extra_options.map(|JsonB(options)| options);
    let config = LiteLlm::new(model, dimensions, api_key_name, options).map_err(Error::from)?;
    embedding(Embedding::LiteLlm(config))
}

#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::too_many_arguments)]
pub fn embedding_http(
    url: Option<&str>,
    model: Option<&str>,
    dimensions: Option<i32>,
    request: Option<JsonB>,
    response_path: Option<&str>,
    api_key_name: default!(Option<&str>, "NULL"),
    max_inputs: default!(Option<i32>, "NULL"),
    max_tokens: default!(Option<i32>, "NULL"),
) -> Config {
    let JsonB(request) = given(request, "request")?;
    let config = Http::new(
        given(url, "url")?,
        given(model, "model")?,
        given(dimensions, "dimensions")?,
        &request,
        given(response_path, "response_path")?,
        api_key_name,
        max_inputs,
        max_tokens,
    )
    .map_err(Error::from)?;
    embedding(Embedding::Http(config))
}
