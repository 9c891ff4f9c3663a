//! Servers of one's own that run a model: Ollama, and Hugging Face's text-embeddings-inference.

use serde_json::{Value, json};

use super::{Field, Oversize, Remote, checked_dimensions};
use crate::config::{
    ConfigError,
    fields::{Fields, bounded, optional},
};

/// Ollama's `/api/embed`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ollama {
    pub model: String,
    pub dimensions: u32,
    pub base_url: Option<String>,
    pub options: Option<Value>,
    pub keep_alive: Option<String>,
    pub oversize: Oversize,
}

impl Remote for Ollama {
    const NAME: &'static str = "ollama";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        Ok(Ollama {
            model: fields.required_text("model")?.to_owned(),
            dimensions: checked_dimensions(fields.required_int("dimensions")?)?,
            base_url: fields.text("base_url")?.map(str::to_owned),
            options: fields.value("options").cloned(),
            keep_alive: fields.text("keep_alive")?.map(str::to_owned),
            oversize: Oversize::read(fields)?,
        })
    }

    fn write(&self) -> Vec<Field> {
        vec![
            ("model", self.model.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("base_url", optional(self.base_url.clone())),
            ("options", optional(self.options.clone())),
            ("keep_alive", optional(self.keep_alive.clone())),
            ("oversize", self.oversize.write()),
        ]
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn dimensions(&self) -> u32 {
        self.dimensions
    }

    fn api_key_name(&self) -> Option<&str> {
        None
    }

    fn base_url(&self) -> Option<&str> {
        self.base_url.as_deref()
    }

    fn default_key(&self) -> Option<&str> {
        None
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.options.as_ref().is_some_and(|options| !options.is_object()) {
            return Err(ConfigError::new(
                "options must be a JSON object",
                "Give Ollama's model options, such as '{\"num_ctx\": 8192}'.",
            ));
        }
        Ok(())
    }

    fn decisive(&self) -> Value {
        optional(self.options.clone())
    }
}

/// Hugging Face's text-embeddings-inference, `/embed`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tei {
    /// What the server runs; it is not sent.
    pub model: String,
    pub dimensions: u32,
    pub base_url: Option<String>,
    pub api_key_name: Option<String>,
    /// Names of prompts in the model's configuration.
    pub document_prompt: Option<String>,
    pub query_prompt: Option<String>,
    pub normalize: Option<bool>,
    /// The server's `--max-client-batch-size`.
    pub max_inputs: u32,
    pub oversize: Oversize,
}

impl Tei {
    pub const DEFAULT_MAX_INPUTS: i32 = 32;
    const MOST_INPUTS: u32 = 4096;

    pub fn checked_max_inputs(inputs: Option<i32>) -> Result<u32, ConfigError> {
        bounded(
            "max_inputs",
            inputs.unwrap_or(Tei::DEFAULT_MAX_INPUTS),
            1,
            Tei::MOST_INPUTS,
            "Give what the server was started with as --max-client-batch-size, or leave it out.",
        )
    }
}

impl Remote for Tei {
    const NAME: &'static str = "tei";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        Ok(Tei {
            model: fields.required_text("model")?.to_owned(),
            dimensions: checked_dimensions(fields.required_int("dimensions")?)?,
            base_url: fields.text("base_url")?.map(str::to_owned),
            api_key_name: fields.text("api_key_name")?.map(str::to_owned),
            document_prompt: fields.text("document_prompt")?.map(str::to_owned),
            query_prompt: fields.text("query_prompt")?.map(str::to_owned),
            normalize: fields.flag("normalize")?,
            max_inputs: Tei::checked_max_inputs(fields.int("max_inputs")?)?,
            oversize: Oversize::read(fields)?,
        })
    }

    fn write(&self) -> Vec<Field> {
        let usual = self.max_inputs == Tei::DEFAULT_MAX_INPUTS as u32;
        vec![
            ("model", self.model.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("base_url", optional(self.base_url.clone())),
            ("api_key_name", optional(self.api_key_name.clone())),
            ("document_prompt", optional(self.document_prompt.clone())),
            ("query_prompt", optional(self.query_prompt.clone())),
            ("normalize", optional(self.normalize)),
            ("max_inputs", optional((!usual).then_some(self.max_inputs))),
            ("oversize", self.oversize.write()),
        ]
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn dimensions(&self) -> u32 {
        self.dimensions
    }

    fn api_key_name(&self) -> Option<&str> {
        self.api_key_name.as_deref()
    }

    fn base_url(&self) -> Option<&str> {
        self.base_url.as_deref()
    }

    fn default_key(&self) -> Option<&str> {
        None
    }

    fn decisive(&self) -> Value {
        json!([self.document_prompt, self.normalize])
    }
}
