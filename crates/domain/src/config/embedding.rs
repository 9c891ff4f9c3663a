//! `embedding_*`: which provider and model make the vectors. Each provider's own fields are in
//! the files below; what they have in common is `Remote`.

mod checks;
mod hosted;
mod http;
mod litellm;
mod open;
mod servers;

use serde_json::Value;

use super::{
    ConfigError,
    fields::{Fields, Kind, optional, unavailable},
};
use crate::models;
pub use checks::Oversize;
pub(super) use checks::checked_dimensions;
pub use hosted::{Cohere, Gemini, Mistral, VoyageAi};
pub use http::{Fill, Http, Place, Step, Template as RequestTemplate};
pub use litellm::LiteLlm;
pub use open::{AzureOpenAi, OpenAi};
pub use servers::{Ollama, Tei};

const KIND: Kind = Kind {
    config_type: "embedding",
    made_by: "ai.embedding_local(), ai.embedding_openai() or another function ai.embedding_…()",
};

/// The stored JSON is `{"implementation": …, "config_type": "embedding", …}` with pgai's key
/// names; absent options are left out.
#[derive(Debug, Clone, PartialEq)]
pub enum Embedding {
    Local(Local),
    OpenAi(OpenAi),
    AzureOpenAi(AzureOpenAi),
    Ollama(Ollama),
    VoyageAi(VoyageAi),
    Cohere(Cohere),
    Mistral(Mistral),
    Gemini(Gemini),
    Tei(Tei),
    LiteLlm(LiteLlm),
    Http(Http),
}

/// A model directory under `autovector.local_model_directory`, run inside the worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Local {
    pub model: String,
    /// Read from the model when the vectorizer is created.
    pub dimensions: Option<u32>,
}

/// A field of the stored JSON.
type Field = (&'static str, Value);

/// What the providers behind HTTP have in common.
trait Remote: Sized {
    /// The implementation's name in the JSON.
    const NAME: &'static str;

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError>;

    /// The fields after `implementation` and `config_type`; nulls are left out.
    fn write(&self) -> Vec<Field>;

    fn model(&self) -> &str;

    fn dimensions(&self) -> u32;

    fn api_key_name(&self) -> Option<&str>;

    /// Where requests go, where that was said.
    fn base_url(&self) -> Option<&str>;

    /// The key that is named unless another is; None where no key is needed by default.
    fn default_key(&self) -> Option<&str>;

    /// True when the provider cannot be called without its key: a hosted one, or one with a key
    /// that was asked for by name.
    fn needs_key(&self) -> bool {
        self.api_key_name().is_some_and(|name| self.base_url().is_none() || Some(name) != self.default_key())
    }

    /// Checks beyond model, dimensions, key and URL.
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// What decides the vector besides implementation, model and dimensions.
    fn decisive(&self) -> Value {
        Value::Null
    }
}

fn check<R: Remote>(remote: &R) -> Result<(), ConfigError> {
    checked_dimensions(i32::try_from(remote.dimensions()).unwrap_or(i32::MAX))?;
    remote.api_key_name().map_or(Ok(()), checks::check_key_name)?;
    remote.base_url().map_or(Ok(()), checks::check_base_url)?;
    remote.check()
}

/// Calls the same method of whichever remote provider it is.
macro_rules! remote {
    ($embedding:expr, $local:pat => $otherwise:expr, $config:ident => $call:expr) => {
        match $embedding {
            Embedding::Local($local) => $otherwise,
            Embedding::OpenAi($config) => $call,
            Embedding::AzureOpenAi($config) => $call,
            Embedding::Ollama($config) => $call,
            Embedding::VoyageAi($config) => $call,
            Embedding::Cohere($config) => $call,
            Embedding::Mistral($config) => $call,
            Embedding::Gemini($config) => $call,
            Embedding::Tei($config) => $call,
            Embedding::LiteLlm($config) => $call,
            Embedding::Http($config) => $call,
        }
    };
}

impl Embedding {
    pub const DEFAULT_LOCAL_MODEL: &'static str = "all-MiniLM-L6-v2";
    pub const DEFAULT_OPENAI_KEY: &'static str = "OPENAI_API_KEY";

    /// The key that the configuration names, None where there is none to name.
    pub fn api_key_name(&self) -> Option<&str> {
        remote!(self, _ => None, config => config.api_key_name())
    }

    /// True when the provider cannot be called without the key `api_key_name`.
    pub fn needs_key(&self) -> bool {
        remote!(self, _ => false, config => config.needs_key())
    }

    /// The provider that is called: `litellm` stands for one of the others.
    pub fn resolved(&self) -> &Embedding {
        match self {
            Embedding::LiteLlm(config) => config.target(),
            other => other,
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
            oversize: Oversize::Truncate,
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
            oversize: Oversize::Truncate,
        })
        .validated()
    }

    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Embedding, ConfigError> {
        let fields = KIND.read(value)?;
        let embedding = match fields.implementation {
            "local" => {
                return Embedding::local(
                    fields.text("model")?.unwrap_or(Embedding::DEFAULT_LOCAL_MODEL),
                    fields.int("dimensions")?,
                );
            }
            OpenAi::NAME => Embedding::OpenAi(Remote::read(&fields)?),
            AzureOpenAi::NAME => Embedding::AzureOpenAi(Remote::read(&fields)?),
            Ollama::NAME => Embedding::Ollama(Remote::read(&fields)?),
            VoyageAi::NAME => Embedding::VoyageAi(Remote::read(&fields)?),
            Cohere::NAME => Embedding::Cohere(Remote::read(&fields)?),
            Mistral::NAME => Embedding::Mistral(Remote::read(&fields)?),
            Gemini::NAME => Embedding::Gemini(Remote::read(&fields)?),
            Tei::NAME => Embedding::Tei(Remote::read(&fields)?),
            LiteLlm::NAME => Embedding::LiteLlm(Remote::read(&fields)?),
            Http::NAME => Embedding::Http(Remote::read(&fields)?),
            "sentence_transformers" => return Err(Embedding::unavailable(fields.implementation)),
            other => return Err(KIND.unknown(other)),
        };
        embedding.validated()
    }

    /// What pgai's other providers answer; `provider` is the part of the function's name after
    /// `embedding_`.
    pub fn unavailable(provider: &str) -> ConfigError {
        unavailable(
            &format!("ai.embedding_{provider}"),
            "Use ai.embedding_local() with a model's directory, or ai.embedding_tei() with a server that has it.",
        )
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        remote!(
            self,
            local => KIND.write(
                "local",
                [("model", local.model.clone().into()), ("dimensions", optional(local.dimensions))],
            ),
            config => KIND.write(self.implementation(), config.write())
        )
    }

    /// The implementation's name in the JSON.
    pub fn implementation(&self) -> &'static str {
        fn name<R: Remote>(_: &R) -> &'static str {
            R::NAME
        }
        remote!(self, _ => "local", config => name(config))
    }

    pub fn model(&self) -> &str {
        remote!(self, local => &local.model, config => config.model())
    }

    /// None only for a local model whose directory has not been looked into yet.
    pub fn dimensions(&self) -> Option<u32> {
        remote!(self, local => local.dimensions, config => Some(config.dimensions()))
    }

    /// What decides the vector besides implementation, model and dimensions; Null for nothing. Not
    /// where the provider is, who pays, or how long it keeps the model in memory.
    pub fn decisive(&self) -> Value {
        remote!(self, _ => Value::Null, config => config.decisive())
    }

    /// The same for vectors of any number of dimensions: for a single call, where no column waits
    /// for them. Never stored.
    pub fn with_any_dimensions(mut self) -> Embedding {
        match &mut self {
            Embedding::OpenAi(config) => config.dimensions = 0,
            Embedding::Ollama(config) => config.dimensions = 0,
            Embedding::VoyageAi(config) => config.dimensions = 0,
            Embedding::Cohere(config) => config.dimensions = 0,
            _ => {}
        }
        self
    }

    /// Checks what can be checked without asking the provider.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.model().trim().is_empty() {
            return Err(ConfigError::new(
                "the model's name is empty",
                "Name the model that the provider should use.",
            ));
        }
        if let Embedding::Local(Local { dimensions: Some(dimensions), .. }) = self {
            checked_dimensions(i32::try_from(*dimensions).unwrap_or(i32::MAX))?;
        }
        remote!(self, _ => Ok(()), config => check(config))
    }

    /// Checks the dimensions against what is known of the provider's own models. Not part of
    /// `validate`: what was stored once must stay readable when models learn something new.
    pub fn check_model(&self) -> Result<(), ConfigError> {
        let target = self.resolved();
        let elsewhere = remote!(target, _ => None, config => config.base_url());
        match (elsewhere, target.dimensions()) {
            (None, Some(dimensions)) => {
                models::check_dimensions(target.implementation(), target.model(), dimensions)
            }
            _ => Ok(()),
        }
    }

    fn validated(self) -> Result<Embedding, ConfigError> {
        self.validate().map(|()| self)
    }
}
