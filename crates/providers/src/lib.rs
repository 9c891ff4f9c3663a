//! Providers turn text into vectors. This crate knows no PostgreSQL: it runs on worker
//! threads and hands back plain data.

use std::{path::PathBuf, sync::Arc, time::Duration};

use autovector_domain::{config::Embedding, failure::Failure, secret::Secret};

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
    /// Estimated tokens per request (see `autovector_domain::packing`).
    pub tokens: usize,
}

/// Vectors in the order of the inputs, row-major: `values.len() == count * dimensions`.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    pub dimensions: usize,
    pub values: Vec<f32>,
    /// Tokens that the provider says it billed; 0 where it does not say.
    pub tokens: u64,
}

impl Embeddings {
    pub fn count(&self) -> usize {
        if self.dimensions == 0 { 0 } else { self.values.len() / self.dimensions }
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

    /// The dimension, where the provider knows it before the first call (local models).
    fn dimensions(&self) -> Option<usize>;

    /// Requests worth having in flight at once when the configuration does not say.
    fn default_concurrency(&self) -> usize;
}

/// Everything a provider needs from its surroundings, as plain data.
#[derive(Clone)]
pub struct Surroundings {
    pub local_model_directory: Option<PathBuf>,
    pub local_threads: usize,
    pub connect_timeout: Duration,
    /// From the first byte sent to the last byte read.
    pub request_timeout: Duration,
    /// Patterns `scheme://host[:port]`; see `endpoint`.
    pub allowed_endpoints: Vec<String>,
    /// Finds a secret by its name.
    pub secrets: Arc<dyn Fn(&str) -> Option<Secret> + Send + Sync>,
}

/// Opens the provider that `embedding` names.
pub fn open(_embedding: &Embedding, _surroundings: &Surroundings) -> Result<Arc<dyn Embedder>, Failure> {
    todo!()
}
