//! Ollama's `/api/embed`. Knows the wire format and what Ollama's errors mean; the
//! transport is `http`, the answer's checks are `answer`.

use autovector_domain::{config::Ollama, failure::Failure};
use serde::Serialize;
use serde_json::Value;

use crate::{
    Embedder, Embeddings, Limits, Purpose, Surroundings,
    answer::{self, Expected, List},
    http::{Client, HttpError, Refusal},
    remote,
};

const DEFAULT_URL: &str = "http://localhost:11434";

/// Ollama cuts texts to the model's context itself and counts no tokens beforehand.
const LIMITS: Limits = Limits { inputs: 2048, tokens: usize::MAX };

struct Provider {
    client: Client,
    config: Ollama,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [&'a str],
    truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<&'a str>,
}

/// Opens the provider; sends nothing yet.
///
/// Errors: `Failure::Config` where the URL is not allowed.
pub(crate) fn open(config: &Ollama, surroundings: &Surroundings) -> Result<impl Embedder + use<>, Failure> {
    let base_url = config.base_url.as_deref();
    let endpoint = remote::endpoint(base_url, DEFAULT_URL, &["api", "embed"], surroundings)?;
    let client = Client::new(endpoint, None, surroundings.into());
    Ok(Provider { client, config: config.clone() })
}

impl Embedder for Provider {
    fn embed(&self, inputs: &[&str], _: Purpose) -> Result<Embeddings, Failure> {
        let (count, dimensions) = (inputs.len(), self.config.dimensions as usize);
        if inputs.is_empty() {
            return Ok(answer::nothing(dimensions));
        }
        let request = Request {
            model: &self.config.model,
            input: inputs,
            truncate: self.config.oversize.truncates(),
            options: self.config.options.as_ref(),
            keep_alive: self.config.keep_alive.as_deref(),
        };
        let body = serde_json::to_vec(&request).map_err(|e| Failure::input(e.to_string()))?;
        let cap = answer::size_cap(count, dimensions);
        let json = self.client.post_json(&body, cap).map_err(|error| match error {
            HttpError::Refused(refusal) => self.explain(&refusal),
            HttpError::Failed(failure) => failure,
        })?;
        let origin = self.client.endpoint().origin();
        answer::read(&json, Expected { list: List::Plain, count, dimensions, origin: &origin })
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn dimensions(&self) -> Option<usize> {
        Some(self.config.dimensions as usize).filter(|dimensions| *dimensions > 0)
    }

    /// One request keeps a model on one machine busy; a second one hides the way there.
    fn default_concurrency(&self) -> usize {
        2
    }

    fn abort(&self) {
        self.client.shut_down();
    }
}

impl Provider {
    fn explain(&self, refusal: &Refusal) -> Failure {
        let said = |words: &str| refusal.message.contains(words);
        let model = &self.config.model;
        match refusal.status {
            404 if said("model") => {
                refusal.as_config(format!("Run on the machine that serves it: ollama pull {model}"))
            }
            400 if said("does not support embed") => refusal.as_config("Choose an embedding model."),
            // Some texts make a model return NaN, which Ollama cannot write as JSON; some
            // releases refuse long texts with this status even when asked to cut them. Both
            // come with every attempt, and from the text.
            500 if said("unsupported value: NaN") || said("exceeds") && said("context length") => {
                refusal.as_input()
            }
            _ => refusal.failure(),
        }
    }
}
