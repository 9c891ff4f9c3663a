//! Providers that are bought: Voyage AI, Cohere, Mistral, Google's Gemini.

use serde_json::Value;

use super::{Field, Oversize, Remote, checked_dimensions};
use crate::config::{
    ConfigError,
    fields::{Fields, optional},
};

/// The fields that all of them have.
macro_rules! common {
    ($default_key:expr) => {
        fn model(&self) -> &str {
            &self.model
        }

        fn dimensions(&self) -> u32 {
            self.dimensions
        }

        fn api_key_name(&self) -> Option<&str> {
            Some(&self.api_key_name)
        }

        fn base_url(&self) -> Option<&str> {
            self.base_url.as_deref()
        }

        fn default_key(&self) -> Option<&str> {
            Some($default_key)
        }
    };
}

/// One of some words, or nothing.
fn one_of(name: &str, value: Option<&str>, words: &[&str], hint: &str) -> Result<(), ConfigError> {
    match value {
        Some(other) if !words.contains(&other) => {
            let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            let message = format!("{name} must be one of {}, not '{other}'", words.join(", "));
            Err(ConfigError::new(message, hint))
        }
        _ => Ok(()),
    }
}

/// Voyage AI's `/embeddings`.
#[derive(Debug, Clone, PartialEq)]
pub struct VoyageAi {
    pub model: String,
    pub dimensions: u32,
    /// `document`: documents are sent as such and questions as `query`. `query`: all as that.
    /// None: nothing is said.
    pub input_type: Option<String>,
    pub api_key_name: String,
    pub base_url: Option<String>,
    /// Sent as it is; None is sent where the model has several dimensions.
    pub output_dimension: Option<u32>,
    pub output_dtype: Option<String>,
    pub oversize: Oversize,
}

impl VoyageAi {
    pub const DEFAULT_KEY: &'static str = "VOYAGE_API_KEY";
}

impl Remote for VoyageAi {
    const NAME: &'static str = "voyageai";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        Ok(VoyageAi {
            model: fields.required_text("model")?.to_owned(),
            dimensions: checked_dimensions(fields.required_int("dimensions")?)?,
            input_type: fields.text("input_type")?.map(str::to_owned),
            api_key_name: fields.text("api_key_name")?.unwrap_or(VoyageAi::DEFAULT_KEY).to_owned(),
            base_url: fields.text("base_url")?.map(str::to_owned),
            output_dimension: fields.int("output_dimension")?.map(checked_dimensions).transpose()?,
            output_dtype: fields.text("output_dtype")?.map(str::to_owned),
            oversize: Oversize::read(fields)?,
        })
    }

    fn write(&self) -> Vec<Field> {
        vec![
            ("model", self.model.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("input_type", optional(self.input_type.clone())),
            ("api_key_name", self.api_key_name.clone().into()),
            ("base_url", optional(self.base_url.clone())),
            ("output_dimension", optional(self.output_dimension)),
            ("output_dtype", optional(self.output_dtype.clone())),
            ("oversize", self.oversize.write()),
        ]
    }

    common!(VoyageAi::DEFAULT_KEY);

    fn check(&self) -> Result<(), ConfigError> {
        one_of(
            "input_type",
            self.input_type.as_deref(),
            &["query", "document"],
            "Leave it out: documents are then sent as documents and questions as queries. NULL sends neither.",
        )?;
        if self.output_dimension.is_some_and(|asked| asked != self.dimensions) {
            return Err(ConfigError::new(
                format!(
                    "output_dimension ({}) is not dimensions ({})",
                    self.output_dimension.unwrap_or_default(),
                    self.dimensions
                ),
                "Give the same number twice, or leave output_dimension out.",
            ));
        }
        if matches!(self.output_dtype.as_deref(), Some("binary" | "ubinary")) {
            return Err(ConfigError::new(
                "output_dtype with packed bits cannot be stored as a vector",
                "Use 'float', 'int8' or 'uint8'; pgvector's binary_quantize() makes bits of a vector.",
            ));
        }
        one_of(
            "output_dtype",
            self.output_dtype.as_deref(),
            &["float", "int8", "uint8"],
            "Leave it out for 'float'.",
        )
    }

    fn decisive(&self) -> Value {
        Value::from(vec![optional(self.input_type.clone()), optional(self.output_dtype.clone())])
    }
}

/// Cohere's `/v2/embed`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cohere {
    pub model: String,
    pub dimensions: u32,
    pub api_key_name: String,
    /// None: documents as `search_document`, questions as `search_query`.
    pub input_type: Option<String>,
    pub base_url: Option<String>,
    pub oversize: Oversize,
}

impl Cohere {
    pub const DEFAULT_KEY: &'static str = "COHERE_API_KEY";
}

impl Remote for Cohere {
    const NAME: &'static str = "cohere";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        Ok(Cohere {
            model: fields.required_text("model")?.to_owned(),
            dimensions: checked_dimensions(fields.required_int("dimensions")?)?,
            api_key_name: fields.text("api_key_name")?.unwrap_or(Cohere::DEFAULT_KEY).to_owned(),
            input_type: fields.text("input_type")?.map(str::to_owned),
            base_url: fields.text("base_url")?.map(str::to_owned),
            oversize: Oversize::read(fields)?,
        })
    }

    fn write(&self) -> Vec<Field> {
        vec![
            ("model", self.model.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("api_key_name", self.api_key_name.clone().into()),
            ("input_type", optional(self.input_type.clone())),
            ("base_url", optional(self.base_url.clone())),
            ("oversize", self.oversize.write()),
        ]
    }

    common!(Cohere::DEFAULT_KEY);

    fn check(&self) -> Result<(), ConfigError> {
        one_of(
            "input_type",
            self.input_type.as_deref(),
            &["search_document", "search_query", "classification", "clustering"],
            "Leave it out for search: documents as 'search_document', questions as 'search_query'.",
        )
    }

    fn decisive(&self) -> Value {
        optional(self.input_type.clone())
    }
}

/// Mistral's `/embeddings`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistral {
    pub model: String,
    pub dimensions: u32,
    pub api_key_name: String,
    pub base_url: Option<String>,
    pub oversize: Oversize,
}

impl Mistral {
    pub const DEFAULT_KEY: &'static str = "MISTRAL_API_KEY";
}

impl Remote for Mistral {
    const NAME: &'static str = "mistral";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        Ok(Mistral {
            model: fields.required_text("model")?.to_owned(),
            dimensions: checked_dimensions(fields.required_int("dimensions")?)?,
            api_key_name: fields.text("api_key_name")?.unwrap_or(Mistral::DEFAULT_KEY).to_owned(),
            base_url: fields.text("base_url")?.map(str::to_owned),
            oversize: Oversize::read(fields)?,
        })
    }

    fn write(&self) -> Vec<Field> {
        vec![
            ("model", self.model.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("api_key_name", self.api_key_name.clone().into()),
            ("base_url", optional(self.base_url.clone())),
            ("oversize", self.oversize.write()),
        ]
    }

    common!(Mistral::DEFAULT_KEY);
}

/// Google's `models/…:batchEmbedContents`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemini {
    pub model: String,
    pub dimensions: u32,
    pub api_key_name: String,
    /// None: documents as `RETRIEVAL_DOCUMENT`, questions as `RETRIEVAL_QUERY`.
    pub task_type: Option<String>,
    pub base_url: Option<String>,
}

impl Gemini {
    pub const DEFAULT_KEY: &'static str = "GEMINI_API_KEY";
}

impl Remote for Gemini {
    const NAME: &'static str = "gemini";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        Ok(Gemini {
            model: fields.required_text("model")?.to_owned(),
            dimensions: checked_dimensions(fields.required_int("dimensions")?)?,
            api_key_name: fields.text("api_key_name")?.unwrap_or(Gemini::DEFAULT_KEY).to_owned(),
            task_type: fields.text("task_type")?.map(str::to_owned),
            base_url: fields.text("base_url")?.map(str::to_owned),
        })
    }

    fn write(&self) -> Vec<Field> {
        vec![
            ("model", self.model.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("api_key_name", self.api_key_name.clone().into()),
            ("task_type", optional(self.task_type.clone())),
            ("base_url", optional(self.base_url.clone())),
        ]
    }

    common!(Gemini::DEFAULT_KEY);

    fn check(&self) -> Result<(), ConfigError> {
        // The name becomes a part of the URL.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !self.model.strip_prefix("models/").unwrap_or(&self.model).chars().all(plain) {
            return Err(ConfigError::new(
                "the model's name holds characters that no model of Gemini's has",
                "Give a name such as 'gemini-embedding-001'.",
            ));
        }
        one_of(
            "task_type",
            self.task_type.as_deref(),
            &[
                "RETRIEVAL_DOCUMENT",
                "RETRIEVAL_QUERY",
                "SEMANTIC_SIMILARITY",
                "CLASSIFICATION",
                "CLUSTERING",
                "QUESTION_ANSWERING",
                "FACT_VERIFICATION",
                "CODE_RETRIEVAL_QUERY",
            ],
            "Leave it out for search: documents as 'RETRIEVAL_DOCUMENT', questions as 'RETRIEVAL_QUERY'.",
        )
    }

    fn decisive(&self) -> Value {
        optional(self.task_type.clone())
    }
}
