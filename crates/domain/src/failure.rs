//! What can go wrong with a provider, and who is to blame: the request (nobody; wait
//! and try again), the configuration (the vectorizer halts), or one input (one row).

use std::time::Duration;

/// An error of a provider, classed by what has to follow from it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// 429, 5xx, timeout, refused connection, unreadable or malformed answer: no row is
    /// blamed, the vectorizer backs off and tries again.
    #[error("{message}")]
    Request { message: String, retry_after: Option<Duration> },
    /// 401, 403, 404, missing key, unknown model, wrong dimension: the same for every row,
    /// so the vectorizer halts until somebody mends its configuration.
    #[error("{message}")]
    Config { message: String, hint: Option<String> },
    /// 400, 413, 422 and their like: one of the inputs is refused; the batch is bisected.
    #[error("{message}")]
    Input { message: String },
}

impl Failure {
    pub fn request(message: impl Into<String>) -> Self {
        Failure::Request { message: message.into(), retry_after: None }
    }

    pub fn config(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::Config { message: message.into(), hint: Some(hint.into()) }
    }

    pub fn input(message: impl Into<String>) -> Self {
        Failure::Input { message: message.into() }
    }
}
