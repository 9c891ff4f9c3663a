//! The configuration of a vectorizer: one type per `config_type`, its JSON (pgai's shapes)
//! and its checks. A constructor stands for one SQL function and refuses what cannot work;
//! `from_json` goes through the same checks.

mod chunking;
mod destination;
mod embedding;
mod fields;
mod formatting;
mod indexing;
mod loading;
mod parsing;
mod processing;
mod scheduling;
mod vectorizer;

pub use chunking::{CharacterSplitter, Chunking, RecursiveSplitter, Sizes, TokenSplitter};
pub use destination::{Destination, TableDestination};
pub use embedding::{
    AzureOpenAi, Cohere, Embedding, Fill, Gemini, Http, LiteLlm, Local, Mistral, Ollama, OpenAi, Oversize,
    Place, RequestTemplate, Step, Tei, VoyageAi,
};
pub use formatting::Formatting;
pub use indexing::{Diskann, Hnsw, Index, Indexing, Ivfflat, Metric, Opclass};
pub use loading::{Loading, Source};
pub use parsing::Parsing;
pub use processing::Processing;
pub use scheduling::{Scheduling, Timescale};
pub use vectorizer::VectorizerConfig;

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
