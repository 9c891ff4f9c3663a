//! Providers turn text into vectors. This crate knows no PostgreSQL: it runs on worker
//! threads and hands back plain data.

mod address;
mod answer;
mod any_json;
mod cohere;
pub mod endpoint;
pub mod fetch;
mod gemini;
pub mod http;
pub mod isolate;
pub mod local;
mod mistral;
mod ollama;
mod openai;
mod remote;
pub mod secrets;
mod tei;
mod voyageai;

use std::{path::PathBuf, sync::Arc, time::Duration};

use autovector_domain::{config::Embedding, failure::Failure, packing, secret::Secret};

/// What the vectors are for; some models embed a question otherwise than a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Document,
    Query,
}

/// The most that one request may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Inputs per request.
    pub inputs: usize,
    /// Tokens per request, as `Embedder::count_tokens` counts them.
    pub tokens: usize,
}

/// Vectors in the order of the inputs, row-major: `values.len() == count * dimensions`.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    pub dimensions: usize,
    pub values: Vec<f32>,
    /// Tokens that the provider says it billed; 0 where it does not say.
    pub tokens: u64,
    /// The inputs of which only the beginning was embedded, as far as that is known here: some
    /// providers cut without a word.
    pub cut: Vec<usize>,
}

impl Embeddings {
    pub fn count(&self) -> usize {
        self.values.len().checked_div(self.dimensions).unwrap_or(0)
    }

    pub fn vector(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimensions..(index + 1) * self.dimensions]
    }
}

/// One provider, opened with one configuration. Used by several threads at once.
pub trait Embedder: Send + Sync {
    /// One vector per input, in order. The answer has been checked: count, dimension,
    /// finite numbers.
    fn embed(&self, inputs: &[&str], purpose: Purpose) -> Result<Embeddings, Failure>;

    fn limits(&self) -> Limits;

    /// The tokens that `text` counts against `limits`: as the provider counts, or more.
    fn count_tokens(&self, text: &str) -> usize {
        packing::estimate_tokens(text)
    }

    /// The most tokens that are embedded of one text, where texts are cut here.
    fn longest(&self) -> Option<usize> {
        None
    }

    /// The dimension, where the provider knows it before the first call (local models).
    fn dimensions(&self) -> Option<usize>;

    /// Requests worth having in flight at once when the configuration does not say.
    fn default_concurrency(&self) -> usize;

    /// Called by a thread that no longer wants the answers of others: requests in flight end
    /// at once with `Failure::Request`, and so does every later one.
    fn abort(&self) {}
}

/// Finds a secret by its name.
pub type Secrets = Arc<dyn Fn(&str) -> Option<Secret> + Send + Sync>;

/// Everything a provider needs from its surroundings, as plain data.
#[derive(Clone)]
pub struct Surroundings {
    pub local_model_directory: Option<PathBuf>,
    pub local_threads: usize,
    pub connect_timeout: Duration,
    /// The whole request, from looking up the name to the last byte read.
    pub request_timeout: Duration,
    /// Patterns `scheme://host[:port]`; see `endpoint`.
    pub allowed_endpoints: Vec<String>,
    /// `secrets::lookup`, with whatever checks come before it.
    pub secrets: Secrets,
}

/// Opens the provider that `embedding` names. Sends nothing yet.
///
/// Errors: `Failure::Config` for what can be seen without asking the provider: a URL that is
/// not allowed, a missing key, a model directory that cannot be loaded.
pub fn open(embedding: &Embedding, surroundings: &Surroundings) -> Result<Arc<dyn Embedder>, Failure> {
    match embedding.resolved() {
        Embedding::Local(config) => local::open(config, surroundings),
        Embedding::OpenAi(config) => Ok(Arc::new(openai::open(config, surroundings)?)),
        Embedding::Ollama(config) => Ok(Arc::new(ollama::open(config, surroundings)?)),
        Embedding::VoyageAi(config) => Ok(Arc::new(voyageai::open(config, surroundings)?)),
        Embedding::Cohere(config) => Ok(Arc::new(cohere::open(config, surroundings)?)),
        Embedding::Mistral(config) => Ok(Arc::new(mistral::open(config, surroundings)?)),
        Embedding::AzureOpenAi(config) => Ok(Arc::new(openai::open_azure(config, surroundings)?)),
        Embedding::Gemini(config) => Ok(Arc::new(gemini::open(config, surroundings)?)),
        Embedding::Tei(config) => Ok(Arc::new(tei::open(config, surroundings)?)),
        Embedding::Http(config) => Ok(Arc::new(any_json::open(config, surroundings)?)),
        Embedding::LiteLlm(_) => unreachable!("it is resolved to another"),
    }
}
