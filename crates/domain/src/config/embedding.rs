//! `embedding_*`: which provider and model make the vectors.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ConfigError,
    fields::{Fields, Kind, bounded, optional, unavailable},
};

const KIND: Kind = Kind {
    config_type: "embedding",
    made_by: "ai.embedding_local(), ai.embedding_openai() or ai.embedding_ollama()",
};

/// A name that is longer is more likely the key itself.
const MAX_KEY_NAME: usize = 63;

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

impl OpenAi {
    /// True when the provider cannot be called without the key `api_key_name`: OpenAI itself, or a
    /// key that was asked for by name.
    pub fn needs_key(&self) -> bool {
        self.base_url.is_none() || self.api_key_name != Embedding::DEFAULT_OPENAI_KEY
    }
}

impl Embedding {
    pub const DEFAULT_LOCAL_MODEL: &'static str = "all-MiniLM-L6-v2";
    pub const DEFAULT_OPENAI_KEY: &'static str = "OPENAI_API_KEY";

    /// The key that the configuration names, None where there is none to name.
    pub fn api_key_name(&self) -> Option<&str> {
        match self {
            Embedding::OpenAi(openai) => Some(&openai.api_key_name),
            Embedding::Local(_) | Embedding::Ollama(_) => None,
        }
    }

    /// `ai.embedding_local`. None for `dimensions` takes what the model says.
    pub fn local(model: &str, dimensions: Option<i32>) -> Result<Embedding, ConfigError> {
        let dimensions = dimensions.map(checked_dimensions).transpose()?;
        Embedding::Local(Local { model: model.to_owned(), dimensions }).validated()
    }

    /// `ai.embedding_openai`; `user` is its `chat_user`.
    pub fn openai(
        model: &str,
        dimensions: i32,
        user: Option<&str>,
        api_key_name: &str,
        base_url: Option<&str>,
    ) -> Result<Embedding, ConfigError> {
        Embedding::OpenAi(OpenAi {
            model: model.to_owned(),
            dimensions: checked_dimensions(dimensions)?,
            user: user.map(str::to_owned),
            api_key_name: api_key_name.to_owned(),
            base_url: base_url.map(str::to_owned),
        })
        .validated()
    }

    /// `ai.embedding_ollama`. `options` must be a JSON object.
    pub fn ollama(
        model: &str,
        dimensions: i32,
        base_url: Option<&str>,
        options: Option<&Value>,
        keep_alive: Option<&str>,
    ) -> Result<Embedding, ConfigError> {
        Embedding::Ollama(Ollama {
            model: model.to_owned(),
            dimensions: checked_dimensions(dimensions)?,
            base_url: base_url.map(str::to_owned),
            options: options.filter(|options| !options.is_null()).cloned(),
            keep_alive: keep_alive.map(str::to_owned),
        })
        .validated()
    }

    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Embedding, ConfigError> {
        let fields = KIND.read(value)?;
        let model = |fields: &Fields<'_>| fields.required_text("model").map(str::to_owned);
        match fields.implementation {
            "local" => Embedding::local(
                fields.text("model")?.unwrap_or(Embedding::DEFAULT_LOCAL_MODEL),
                fields.int("dimensions")?,
            ),
            "openai" => Embedding::openai(
                &model(&fields)?,
                fields.required_int("dimensions")?,
                fields.text("user")?,
                fields.text("api_key_name")?.unwrap_or(Embedding::DEFAULT_OPENAI_KEY),
                fields.text("base_url")?,
            ),
            "ollama" => Embedding::ollama(
                &model(&fields)?,
                fields.required_int("dimensions")?,
                fields.text("base_url")?,
                fields.value("options"),
                fields.text("keep_alive")?,
            ),
            "voyageai" | "litellm" | "sentence_transformers" => {
                Err(Embedding::unavailable(fields.implementation))
            }
            other => Err(KIND.unknown(other)),
        }
    }

    /// What pgai's other providers answer; `provider` is the part of the function's name after
    /// `embedding_`.
    pub fn unavailable(provider: &str) -> ConfigError {
        unavailable(
            &format!("ai.embedding_{provider}"),
            "Use ai.embedding_local(), ai.embedding_ollama(), or ai.embedding_openai() with the base_url of any \
             server that speaks OpenAI's API.",
        )
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        match self {
            Embedding::Local(local) => KIND.write(
                "local",
                [("model", local.model.clone().into()), ("dimensions", optional(local.dimensions))],
            ),
            Embedding::OpenAi(openai) => KIND.write(
                "openai",
                [
                    ("model", openai.model.clone().into()),
                    ("dimensions", openai.dimensions.into()),
                    ("user", optional(openai.user.clone())),
                    ("api_key_name", openai.api_key_name.clone().into()),
                    ("base_url", optional(openai.base_url.clone())),
                ],
            ),
            Embedding::Ollama(ollama) => KIND.write(
                "ollama",
                [
                    ("model", ollama.model.clone().into()),
                    ("dimensions", ollama.dimensions.into()),
                    ("base_url", optional(ollama.base_url.clone())),
                    ("options", optional(ollama.options.clone())),
                    ("keep_alive", optional(ollama.keep_alive.clone())),
                ],
            ),
        }
    }

    /// The implementation's name in the JSON.
    pub fn implementation(&self) -> &'static str {
        match self {
            Embedding::Local(_) => "local",
            Embedding::OpenAi(_) => "openai",
            Embedding::Ollama(_) => "ollama",
        }
    }

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
            return Err(ConfigError::new(
                "the model's name is empty",
                "Name the model that the provider should use.",
            ));
        }
        if let Some(dimensions) = self.dimensions() {
            checked_dimensions(i32::try_from(dimensions).unwrap_or(i32::MAX))?;
        }
        match self {
            Embedding::Local(_) => Ok(()),
            Embedding::OpenAi(openai) => {
                check_key_name(&openai.api_key_name)?;
                openai.base_url.as_deref().map_or(Ok(()), check_base_url)
            }
            Embedding::Ollama(ollama) => {
                if ollama.options.as_ref().is_some_and(|options| !options.is_object()) {
                    return Err(ConfigError::new(
                        "options must be a JSON object",
                        "Give Ollama's model options, such as '{\"num_ctx\": 8192}'.",
                    ));
                }
                ollama.base_url.as_deref().map_or(Ok(()), check_base_url)
            }
        }
    }

    fn validated(self) -> Result<Embedding, ConfigError> {
        self.validate().map(|()| self)
    }
}

fn checked_dimensions(dimensions: i32) -> Result<u32, ConfigError> {
    let hint = "Give the number of dimensions that the model returns.";
    bounded("dimensions", dimensions, 1, super::MAX_DIMENSIONS, hint)
}

/// A secret's name becomes the name of an environment variable or a file: nothing else fits it. The
/// message never repeats it, because it may be the key itself.
fn check_key_name(name: &str) -> Result<(), ConfigError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if starts_well && name.chars().all(allowed) && name.len() <= MAX_KEY_NAME && !name.starts_with("sk-") {
        return Ok(());
    }
    Err(ConfigError::new(
        "api_key_name is not the name of a secret",
        "Give the name under which the server finds the key, such as 'OPENAI_API_KEY', never the key itself.",
    ))
}

/// `http://` or `https://` and a host. A password in it would be stored in the catalog, so it is refused.
fn check_base_url(url: &str) -> Result<(), ConfigError> {
    let error = |message: &str| {
        ConfigError::new(
            message,
            "Give a base_url such as 'https://api.example.com/v1' or 'http://localhost:11434'.",
        )
    };
    let lower = url.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://")) else {
        return Err(error("base_url must begin with http:// or https://"));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err(error("base_url must not contain a user name or a password"));
    }
    if host.is_empty() || host.starts_with(':') || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(error("base_url is not a valid URL"));
    }
    Ok(())
}
