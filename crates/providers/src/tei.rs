//! `/embed` of Hugging Face's text-embeddings-inference.

use autovector_domain::{
    config::{Embedding, Tei},
    failure::Failure,
};
use serde::Serialize;

use crate::{
    Embedder, Purpose, Surroundings,
    http::{Credential, Refusal},
    remote::{self, Remote, Shape, WireFormat},
};

const DEFAULT_URL: &str = "http://localhost:8080";

struct Format {
    config: Tei,
}

#[derive(Serialize)]
struct Request<'a> {
    inputs: &'a [&'a str],
    truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    normalize: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_name: Option<&'a str>,
}

/// Opens the provider; sends nothing yet.
pub(crate) fn open(config: &Tei, surroundings: &Surroundings) -> Result<impl Embedder + use<>, Failure> {
    let embedding = Embedding::Tei(config.clone());
    let endpoint = remote::endpoint(config.base_url.as_deref(), DEFAULT_URL, &["embed"], surroundings)?;
    let format = Format { config: config.clone() };
    let remote =
        Remote::open(&embedding, format, Shape::at("[*]", ""), endpoint, Credential::bearer, surroundings)?;
    Ok(remote.concurrency(4))
}

impl WireFormat for Format {
    fn body(&self, inputs: &[&str], purpose: Purpose) -> Result<Vec<u8>, serde_json::Error> {
        let config = &self.config;
        serde_json::to_vec(&Request {
            inputs,
            truncate: config.oversize.truncates(),
            normalize: config.normalize,
            prompt_name: match purpose {
                Purpose::Document => config.document_prompt.as_deref(),
                Purpose::Query => config.query_prompt.as_deref(),
            },
        })
    }

    fn explain(&self, refusal: &Refusal) -> Option<Failure> {
        let said = &refusal.message;
        match refusal.status {
            // The model failed, or is not loaded yet; no text is to blame.
            424 => Some(refusal.as_request()),
            422 if said.contains("prompt") => {
                Some(refusal.as_config("Give document_prompt and query_prompt that the model has."))
            }
            _ => None,
        }
    }
}
