//! The configuration of a vectorizer: one type per `config_type`, its JSON (pgai's shapes)
//! and its checks.

mod embedding;

pub use embedding::{Embedding, Local, Ollama, OpenAi};

/// pgvector stores at most this many dimensions in a `vector` column.
pub const MAX_DIMENSIONS: u32 = 16_000;

/// A configuration that cannot work, with what to type instead.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    pub message: String,
    pub hint: String,
}

impl ConfigError {
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        ConfigError { message: message.into(), hint: hint.into() }
    }
}
