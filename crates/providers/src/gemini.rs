//! Google's `models/…:batchEmbedContents`.

use autovector_domain::{
    config::{Embedding, Gemini},
    failure::Failure,
};
use serde::Serialize;

use crate::{
    Embedder, Purpose, Surroundings,
    http::{Credential, Refusal},
    remote::{self, Remote, Shape, WireFormat},
};

const DEFAULT_URL: &str = "https://generativelanguage.googleapis.com/v1beta";

/// The first model, which knows neither task nor dimension.
const PLAIN: &str = "models/embedding-001";

struct Format {
    config: Gemini,
    /// `models/…`.
    model: String,
}

#[derive(Serialize)]
struct Requests<'a> {
    requests: Vec<Request<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

/// Opens the provider; sends nothing yet.
pub(crate) fn open(config: &Gemini, surroundings: &Surroundings) -> Result<impl Embedder + use<>, Failure> {
    let embedding = Embedding::Gemini(config.clone());
    let name = config.model.strip_prefix("models/").unwrap_or(&config.model);
    let method = format!("{name}:batchEmbedContents");
    let endpoint =
        remote::endpoint(config.base_url.as_deref(), DEFAULT_URL, &["models", &method], surroundings)?;
    let format = Format { config: config.clone(), model: format!("models/{name}") };
    let credential = |secret| Credential::header("x-goog-api-key", secret);
    Remote::open(
        &embedding,
        format,
        Shape::at("embeddings[*].values", ""),
        endpoint,
        credential,
        surroundings,
    )
}

impl WireFormat for Format {
    fn body(&self, inputs: &[&str], purpose: Purpose) -> Result<Vec<u8>, serde_json::Error> {
        let plain = self.model == PLAIN;
        let task_type = match (self.config.task_type.as_deref(), purpose) {
            (Some(said), _) => Some(said),
            _ if plain => None,
            (None, Purpose::Document) => Some("RETRIEVAL_DOCUMENT"),
            (None, Purpose::Query) => Some("RETRIEVAL_QUERY"),
        };
        let dimensions = self.config.dimensions;
        let request = |text| Request {
            model: &self.model,
            content: Content { parts: [Part { text }] },
            task_type,
            output_dimensionality: (!plain && dimensions > 0).then_some(dimensions),
        };
        serde_json::to_vec(&Requests { requests: inputs.iter().map(|input| request(*input)).collect() })
    }

    /// A wrong key is answered with 400.
    fn explain(&self, refusal: &Refusal) -> Option<Failure> {
        let said = refusal.message.to_ascii_lowercase();
        let about_key = said.contains("api key") || said.contains("api_key");
        if matches!(refusal.status, 400 | 403) && about_key {
            let name = &self.config.api_key_name;
            return Some(refusal.as_config(format!("Check the key named {name}, and what it may call.")));
        }
        None
    }
}
