//! pgai's `embedding_litellm`: a model with its provider before it, such as `cohere/embed-v4.0`.
//! It stands for one of the other configurations; what it stands for is decided here.

use serde_json::{Map, Value};

use super::{
    AzureOpenAi, Cohere, Embedding, Field, Gemini, Mistral, Ollama, OpenAi, Oversize, Remote, Tei, VoyageAi,
    checked_dimensions,
};
use crate::config::{
    ConfigError,
    fields::{Fields, optional},
};

#[derive(Debug, Clone, PartialEq)]
pub struct LiteLlm {
    pub model: String,
    pub dimensions: u32,
    pub api_key_name: Option<String>,
    pub extra_options: Option<Value>,
    target: Box<Embedding>,
}

const PREFIXES: &str =
    "'openai/', 'azure/', 'cohere/', 'mistral/', 'voyage/', 'gemini/', 'huggingface/' or 'ollama/'";

impl LiteLlm {
    /// Errors: a prefix that stands for no provider here, and options that it does not know.
    pub fn new(
        model: &str,
        dimensions: i32,
        api_key_name: Option<&str>,
        extra_options: Option<Value>,
    ) -> Result<LiteLlm, ConfigError> {
        let dimensions = checked_dimensions(dimensions)?;
        let extra_options = extra_options.filter(|options| !options.is_null());
        let options = match &extra_options {
            None => Map::new(),
            Some(Value::Object(options)) => options.clone(),
            Some(_) => {
                return Err(ConfigError::new(
                    "extra_options must be a JSON object",
                    "Give options such as '{\"api_base\": \"https://host/v1\"}'.",
                ));
            }
        };
        let target = Box::new(target(model, dimensions, api_key_name, Options { rest: options })?);
        target.validate()?;
        let (model, api_key_name) = (model.to_owned(), api_key_name.map(str::to_owned));
        Ok(LiteLlm { model, dimensions, api_key_name, extra_options, target })
    }

    /// The configuration that this one stands for.
    pub fn target(&self) -> &Embedding {
        &self.target
    }
}

/// The options that are still to be understood.
struct Options {
    rest: Map<String, Value>,
}

impl Options {
    fn text(&mut self, names: &[&str]) -> Result<Option<String>, ConfigError> {
        for name in names {
            match self.rest.remove(*name) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => return Ok(Some(text)),
                Some(_) => {
                    return Err(ConfigError::new(
                        format!("the option {name} must be a string"),
                        "Give extra_options as a JSON object of strings.",
                    ));
                }
            }
        }
        Ok(None)
    }

    /// Options that change nothing here: they are passed over.
    fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.rest.remove(*name);
        }
    }

    fn end(self, known: &str) -> Result<(), ConfigError> {
        match self.rest.keys().next() {
            None => Ok(()),
            Some(name) => Err(ConfigError::new(
                format!("the option \"{name}\" is not known for this provider"),
                format!(
                    "Known are {known}. The provider's own function ai.embedding_…() has all its options."
                ),
            )),
        }
    }
}

fn target(
    model: &str,
    dimensions: u32,
    key: Option<&str>,
    mut options: Options,
) -> Result<Embedding, ConfigError> {
    let (prefix, name) = match model.split_once('/') {
        Some((prefix, name)) => (prefix, name.to_owned()),
        // Without a prefix litellm knows the models of OpenAI and Cohere by their names.
        None if model.starts_with("text-embedding-") => ("openai", model.to_owned()),
        None if model.starts_with("embed-") => ("cohere", model.to_owned()),
        None => ("", model.to_owned()),
    };
    let key_or = |default: &str| key.unwrap_or(default).to_owned();
    let base = ["api_base", "base_url"];
    options.ignore(&["timeout", "num_retries", "max_retries", "encoding_format", "drop_params"]);
    let base_url = options.text(&base)?;
    let (embedding, known) = match prefix {
        "openai" => {
            let user = options.text(&["user"])?;
            let config = OpenAi {
                model: name,
                dimensions,
                user,
                api_key_name: key_or(Embedding::DEFAULT_OPENAI_KEY),
                base_url,
                oversize: Oversize::Truncate,
            };
            (Embedding::OpenAi(config), "api_base and user")
        }
        "azure" => {
            let base_url = base_url.ok_or_else(|| {
                ConfigError::new(
                    "azure needs the option api_base",
                    "Give extra_options => '{\"api_base\": \"https://<resource>.openai.azure.com\", \"api_version\": \"2024-10-21\"}'.",
                )
            })?;
            let api_version = options.text(&["api_version"])?;
            let config = AzureOpenAi {
                deployment: name,
                dimensions,
                base_url,
                api_version: api_version.unwrap_or_else(|| AzureOpenAi::DEFAULT_VERSION.to_owned()),
                api_key_name: key_or("AZURE_API_KEY"),
                model: options.text(&["base_model"])?,
                user: options.text(&["user"])?,
                oversize: Oversize::Truncate,
            };
            (Embedding::AzureOpenAi(config), "api_base, api_version, base_model and user")
        }
        "cohere" | "cohere_chat" => {
            let config = Cohere {
                model: name,
                dimensions,
                api_key_name: key_or(Cohere::DEFAULT_KEY),
                input_type: options.text(&["input_type"])?,
                base_url,
                oversize: Oversize::Truncate,
            };
            (Embedding::Cohere(config), "api_base and input_type")
        }
        "mistral" => {
            let api_key_name = key_or(Mistral::DEFAULT_KEY);
            let config =
                Mistral { model: name, dimensions, api_key_name, base_url, oversize: Oversize::Truncate };
            (Embedding::Mistral(config), "api_base")
        }
        "voyage" => {
            let config = VoyageAi {
                model: name,
                dimensions,
                input_type: options.text(&["input_type"])?.or_else(|| Some("document".to_owned())),
                api_key_name: key_or(VoyageAi::DEFAULT_KEY),
                base_url,
                output_dimension: None,
                output_dtype: options.text(&["output_dtype"])?,
                oversize: Oversize::Truncate,
            };
            (Embedding::VoyageAi(config), "api_base, input_type and output_dtype")
        }
        "gemini" => {
            let config = Gemini {
                model: name,
                dimensions,
                api_key_name: key_or(Gemini::DEFAULT_KEY),
                task_type: options.text(&["task_type", "taskType"])?,
                base_url,
            };
            (Embedding::Gemini(config), "api_base and task_type")
        }
        "huggingface" => {
            options.ignore(&["wait_for_model", "use_cache"]);
            if base_url.is_none() {
                return Err(ConfigError::new(
                    "huggingface needs the option api_base",
                    "Run the model with text-embeddings-inference and give extra_options => '{\"api_base\": \"http://host:8080\"}', or use ai.embedding_local().",
                ));
            }
            let config = Tei {
                model: name,
                dimensions,
                base_url,
                api_key_name: key.map(str::to_owned),
                document_prompt: None,
                query_prompt: None,
                normalize: None,
                max_inputs: Tei::DEFAULT_MAX_INPUTS as u32,
                oversize: Oversize::Truncate,
            };
            (Embedding::Tei(config), "api_base and wait_for_model")
        }
        "ollama" => {
            let keep_alive = options.text(&["keep_alive"])?;
            let config = Ollama {
                model: name,
                dimensions,
                base_url,
                options: None,
                keep_alive,
                oversize: Oversize::Truncate,
            };
            (Embedding::Ollama(config), "api_base and keep_alive")
        }
        other => {
            let message = match other {
                "" => format!("the model '{model}' does not say which provider it belongs to"),
                other => format!("the provider '{other}' of the model '{model}' is not known here"),
            };
            return Err(ConfigError::new(
                message,
                format!(
                    "Begin the model with {PREFIXES}. Any other JSON API can be called with ai.embedding_http()."
                ),
            ));
        }
    };
    options.end(known)?;
    Ok(embedding)
}

impl Remote for LiteLlm {
    const NAME: &'static str = "litellm";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        LiteLlm::new(
            fields.required_text("model")?,
            fields.required_int("dimensions")?,
            fields.text("api_key_name")?,
            fields.value("extra_options").cloned(),
        )
    }

    fn write(&self) -> Vec<Field> {
        vec![
            ("model", self.model.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("api_key_name", optional(self.api_key_name.clone())),
            ("extra_options", optional(self.extra_options.clone())),
        ]
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn dimensions(&self) -> u32 {
        self.dimensions
    }

    fn api_key_name(&self) -> Option<&str> {
        self.target.api_key_name()
    }

    fn base_url(&self) -> Option<&str> {
        None
    }

    fn default_key(&self) -> Option<&str> {
        None
    }

    fn needs_key(&self) -> bool {
        self.target.needs_key()
    }

    fn decisive(&self) -> Value {
        self.target.decisive()
    }
}
