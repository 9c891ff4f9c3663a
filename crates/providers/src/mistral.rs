//! Mistral's `/embeddings`: OpenAI's format with few of its parameters.

use autovector_domain::{
    config::{Embedding, Mistral},
    failure::Failure,
    models, packing,
};
use serde::Serialize;

use crate::{
    Embedder, Purpose, Surroundings,
    http::{Credential, Refusal},
    remote::{self, Remote, Shape, WireFormat},
};

const DEFAULT_URL: &str = "https://api.mistral.ai/v1";

/// What the models read of one text. There is no parameter that has the server cut.
const LONGEST: usize = 8192;

struct Format {
    config: Mistral,
    output_dimension: Option<u32>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
}

/// Opens the provider; sends nothing yet.
pub(crate) fn open(config: &Mistral, surroundings: &Surroundings) -> Result<impl Embedder + use<>, Failure> {
    let embedding = Embedding::Mistral(config.clone());
    let endpoint = remote::endpoint(config.base_url.as_deref(), DEFAULT_URL, &["embeddings"], surroundings)?;
    let several = models::has_several_dimensions("mistral", &config.model) == Some(true);
    let output_dimension = (several && config.dimensions > 0).then_some(config.dimensions);
    let format = Format { config: config.clone(), output_dimension };
    Remote::open(&embedding, format, Shape::Indexed, endpoint, Credential::bearer, surroundings)
}

impl WireFormat for Format {
    fn body(&self, inputs: &[&str], _: Purpose) -> Result<Vec<u8>, serde_json::Error> {
        let Format { config: Mistral { model, .. }, output_dimension } = self;
        serde_json::to_vec(&Request { model, input: inputs, output_dimension: *output_dimension })
    }

    fn shorter(&self, input: &str, refusal: &Refusal) -> Option<usize> {
        let said = refusal.message.to_ascii_lowercase();
        let too_long = matches!(refusal.status, 400 | 413 | 422) && said.contains("token");
        if !too_long || !self.config.oversize.truncates() {
            return None;
        }
        packing::certain_beginning(input, LONGEST)
    }

    fn longest(&self) -> Option<usize> {
        Some(LONGEST)
    }

    fn explain(&self, refusal: &Refusal) -> Option<Failure> {
        let said = refusal.message.to_ascii_lowercase();
        (matches!(refusal.status, 400 | 404 | 422) && said.contains("invalid model")).then(|| {
            let model = &self.config.model;
            refusal.as_config(format!("Check the model's name ('{model}') and whether the key may use it."))
        })
    }
}
