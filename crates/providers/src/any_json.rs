//! Any API that takes JSON and answers JSON: the request is a template, the vectors stand at the
//! end of a path. Both were parsed by the configuration.

use autovector_domain::{
    config::{Embedding, Fill, Http, RequestTemplate, Step},
    failure::Failure,
};

use crate::{
    Embedder, Purpose, Surroundings,
    http::Credential,
    remote::{self, Remote, Shape, WireFormat},
};

struct Format {
    model: String,
    dimensions: u32,
    template: RequestTemplate,
}

/// Opens the provider; sends nothing yet.
pub(crate) fn open(config: &Http, surroundings: &Surroundings) -> Result<impl Embedder + use<>, Failure> {
    let problem = |error: autovector_domain::config::ConfigError| Failure::config(error.message, error.hint);
    let template = RequestTemplate::parse(&config.request).map_err(problem)?;
    let vectors = Step::parse(&config.response_path).map_err(problem)?;
    let embedding = Embedding::Http(config.clone());
    let endpoint = remote::endpoint(Some(&config.url), "", &[], surroundings)?;
    let format = Format { model: config.model.clone(), dimensions: config.dimensions, template };
    let shape = Shape::At { vectors, tokens: Vec::new() };
    Remote::open(&embedding, format, shape, endpoint, Credential::bearer, surroundings)
}

impl WireFormat for Format {
    fn body(&self, inputs: &[&str], purpose: Purpose) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.template.fill(&Fill {
            inputs,
            model: &self.model,
            dimensions: self.dimensions,
            input_type: match purpose {
                Purpose::Document => "document",
                Purpose::Query => "query",
            },
        }))
    }
}
