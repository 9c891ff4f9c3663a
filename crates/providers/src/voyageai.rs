//! Voyage AI's `/embeddings`: OpenAI's answer to a request of its own.

use autovector_domain::{
    config::{Embedding, VoyageAi},
    failure::Failure,
    models,
};
use serde::Serialize;

use crate::{
    Embedder, Purpose, Surroundings,
    http::{Credential, Refusal},
    remote::{self, Remote, Shape, WireFormat},
};

const DEFAULT_URL: &str = "https://api.voyageai.com/v1";

struct Format {
    config: VoyageAi,
    output_dimension: Option<u32>,
}

#[derive(Serialize)]
struct Request<'a> {
    input: &'a [&'a str],
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_type: Option<&'a str>,
    truncation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dtype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<&'static str>,
}

/// Opens the provider; sends nothing yet.
pub(crate) fn open(config: &VoyageAi, surroundings: &Surroundings) -> Result<impl Embedder + use<>, Failure> {
    let embedding = Embedding::VoyageAi(config.clone());
    let endpoint = remote::endpoint(config.base_url.as_deref(), DEFAULT_URL, &["embeddings"], surroundings)?;
    // Models of one size refuse the parameter.
    let several = models::has_several_dimensions("voyageai", &config.model) == Some(true);
    let output_dimension =
        config.output_dimension.or((several && config.dimensions > 0).then_some(config.dimensions));
    let format = Format { config: config.clone(), output_dimension };
    Remote::open(&embedding, format, Shape::Indexed, endpoint, Credential::bearer, surroundings)
}

impl WireFormat for Format {
    fn body(&self, inputs: &[&str], purpose: Purpose) -> Result<Vec<u8>, serde_json::Error> {
        let config = &self.config;
        let input_type = match (config.input_type.as_deref(), purpose) {
            (Some("document"), Purpose::Query) => Some("query"),
            (said, _) => said,
        };
        let output_dtype = config.output_dtype.as_deref();
        // Base64 of bytes would not say how wide the numbers are.
        let is_float = matches!(output_dtype, None | Some("float"));
        serde_json::to_vec(&Request {
            input: inputs,
            model: &config.model,
            input_type,
            truncation: config.oversize.truncates(),
            output_dimension: self.output_dimension,
            output_dtype,
            encoding_format: is_float.then_some("base64"),
        })
    }

    fn explain(&self, refusal: &Refusal) -> Option<Failure> {
        let said = refusal.message.to_ascii_lowercase();
        let about = |word: &str| refusal.status == 400 && said.contains(word);
        if about("output_dimension") || about("output_dtype") {
            let hint = "Give dimensions, output_dimension and output_dtype that the model has.";
            return Some(refusal.as_config(hint));
        }
        if about("model") && said.contains("not supported") {
            return Some(refusal.as_config(format!("Check the model's name ('{}').", self.config.model)));
        }
        None
    }
}
