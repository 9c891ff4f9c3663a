//! Cohere's `/v2/embed`.

use autovector_domain::{
    config::{Cohere, Embedding},
    failure::Failure,
    models,
};
use serde::Serialize;

use crate::{
    Embedder, Purpose, Surroundings,
    http::{Credential, Refusal},
    remote::{self, Remote, Shape, WireFormat},
};

const DEFAULT_URL: &str = "https://api.cohere.com";

struct Format {
    config: Cohere,
    output_dimension: Option<u32>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    texts: &'a [&'a str],
    input_type: &'a str,
    embedding_types: [&'static str; 1],
    truncate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
}

/// Opens the provider; sends nothing yet.
pub(crate) fn open(config: &Cohere, surroundings: &Surroundings) -> Result<impl Embedder + use<>, Failure> {
    let embedding = Embedding::Cohere(config.clone());
    let endpoint = remote::endpoint(config.base_url.as_deref(), DEFAULT_URL, &["v2", "embed"], surroundings)?;
    let several = models::has_several_dimensions("cohere", &config.model) == Some(true);
    let output_dimension = (several && config.dimensions > 0).then_some(config.dimensions);
    let format = Format { config: config.clone(), output_dimension };
    let shape = Shape::at("embeddings.float", "meta.billed_units.input_tokens");
    Remote::open(&embedding, format, shape, endpoint, Credential::bearer, surroundings)
}

impl WireFormat for Format {
    fn body(&self, inputs: &[&str], purpose: Purpose) -> Result<Vec<u8>, serde_json::Error> {
        let input_type = match (self.config.input_type.as_deref(), purpose) {
            (Some(said), _) => said,
            (None, Purpose::Document) => "search_document",
            (None, Purpose::Query) => "search_query",
        };
        serde_json::to_vec(&Request {
            model: &self.config.model,
            texts: inputs,
            input_type,
            embedding_types: ["float"],
            truncate: if self.config.oversize.truncates() { "END" } else { "NONE" },
            output_dimension: self.output_dimension,
        })
    }

    fn explain(&self, refusal: &Refusal) -> Option<Failure> {
        let said = refusal.message.to_ascii_lowercase();
        let about_model = said.contains("model") && said.contains("not found");
        (matches!(refusal.status, 400 | 404 | 422) && about_model).then(|| {
            let model = &self.config.model;
            refusal.as_config(format!("Check the model's name ('{model}') and whether the key may use it."))
        })
    }
}
