//! `embedding_*`: which provider and model make the vectors.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ConfigError;

/// The stored JSON is `{"implementation": …, "config_type": "embedding", …}` with pgai's key
/// names; absent options are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "implementation", rename_all = "lowercase")]
pub enum Embedding {
    Local(Local),
    OpenAi(OpenAi),
    Ollama(Ollama),
}

/// A model directory under `autovector.local_model_directory`, run inside the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Local {
    pub model: String,
    /// Read from the model when the vectorizer is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
}

/// OpenAI's API, or any server that speaks it (`base_url`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAi {
    pub model: String,
    pub dimensions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub api_key_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
}

/// Ollama's `/api/embed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ollama {
    pub model: String,
    pub dimensions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<String>,
}

impl Embedding {
    pub fn model(&self) -> &str {
        match self {
            Embedding::Local(c) => &c.model,
            Embedding::OpenAi(c) => &c.model,
            Embedding::Ollama(c) => &c.model,
        }
    }

    /// None only for a local model whose directory has not been looked into yet.
    pub fn dimensions(&self) -> Option<u32> {
        match self {
            Embedding::Local(c) => c.dimensions,
            Embedding::OpenAi(c) => Some(c.dimensions),
            Embedding::Ollama(c) => Some(c.dimensions),
        }
    }

    /// Checks what can be checked without asking the provider.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.model().trim().is_empty() {
            return Err(ConfigError::new("the model's name is empty", "Name the model that the provider should use."));
        }
        if let Some(dimensions) = self.dimensions()
            && !(1..=super::MAX_DIMENSIONS).contains(&dimensions)
        {
            return Err(ConfigError::new(
                format!("dimensions must be between 1 and {}, not {dimensions}", super::MAX_DIMENSIONS),
                "Give the number of dimensions that the model returns.",
            ));
        }
        Ok(())
    }
}
