//! OpenAI's API: at OpenAI, at any server that speaks it, and at Azure.

use serde_json::Value;

use super::{Embedding, Field, Oversize, Remote, checked_dimensions};
use crate::config::{
    ConfigError,
    fields::{Fields, optional},
};

/// OpenAI's API, or any server that speaks it (`base_url`).
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAi {
    pub model: String,
    pub dimensions: u32,
    pub user: Option<String>,
    pub api_key_name: String,
    pub base_url: Option<String>,
    pub oversize: Oversize,
}

impl Remote for OpenAi {
    const NAME: &'static str = "openai";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        Ok(OpenAi {
            model: fields.required_text("model")?.to_owned(),
            dimensions: checked_dimensions(fields.required_int("dimensions")?)?,
            user: fields.text("user")?.map(str::to_owned),
            api_key_name: fields.text("api_key_name")?.unwrap_or(Embedding::DEFAULT_OPENAI_KEY).to_owned(),
            base_url: fields.text("base_url")?.map(str::to_owned),
            oversize: Oversize::read(fields)?,
        })
    }

    fn write(&self) -> Vec<Field> {
        vec![
            ("model", self.model.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("user", optional(self.user.clone())),
            ("api_key_name", self.api_key_name.clone().into()),
            ("base_url", optional(self.base_url.clone())),
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
        Some(&self.api_key_name)
    }

    fn base_url(&self) -> Option<&str> {
        self.base_url.as_deref()
    }

    fn default_key(&self) -> Option<&str> {
        Some(Embedding::DEFAULT_OPENAI_KEY)
    }
}

impl OpenAi {
    /// True when the provider cannot be called without the key `api_key_name`: OpenAI itself, or a
    /// key that was asked for by name.
    pub fn needs_key(&self) -> bool {
        Remote::needs_key(self)
    }
}

/// A deployment of a model in Azure OpenAI.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureOpenAi {
    /// The deployment's name; it stands where other configurations have the model.
    pub deployment: String,
    pub dimensions: u32,
    /// `https://<resource>.openai.azure.com`.
    pub base_url: String,
    pub api_version: String,
    pub api_key_name: String,
    /// The model behind the deployment: decides how texts are counted.
    pub model: Option<String>,
    pub user: Option<String>,
    pub oversize: Oversize,
}

impl AzureOpenAi {
    pub const DEFAULT_KEY: &'static str = "AZURE_OPENAI_API_KEY";
    pub const DEFAULT_VERSION: &'static str = "2024-10-21";
}

impl Remote for AzureOpenAi {
    const NAME: &'static str = "azure_openai";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        Ok(AzureOpenAi {
            deployment: fields.required_text("deployment")?.to_owned(),
            dimensions: checked_dimensions(fields.required_int("dimensions")?)?,
            base_url: fields.required_text("base_url")?.to_owned(),
            api_version: fields.text("api_version")?.unwrap_or(AzureOpenAi::DEFAULT_VERSION).to_owned(),
            api_key_name: fields.text("api_key_name")?.unwrap_or(AzureOpenAi::DEFAULT_KEY).to_owned(),
            model: fields.text("model")?.map(str::to_owned),
            user: fields.text("user")?.map(str::to_owned),
            oversize: Oversize::read(fields)?,
        })
    }

    fn write(&self) -> Vec<Field> {
        vec![
            ("deployment", self.deployment.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("base_url", self.base_url.clone().into()),
            ("api_version", self.api_version.clone().into()),
            ("api_key_name", self.api_key_name.clone().into()),
            ("model", optional(self.model.clone())),
            ("user", optional(self.user.clone())),
            ("oversize", self.oversize.write()),
        ]
    }

    fn model(&self) -> &str {
        &self.deployment
    }

    fn dimensions(&self) -> u32 {
        self.dimensions
    }

    fn api_key_name(&self) -> Option<&str> {
        Some(&self.api_key_name)
    }

    fn base_url(&self) -> Option<&str> {
        Some(&self.base_url)
    }

    fn default_key(&self) -> Option<&str> {
        Some(AzureOpenAi::DEFAULT_KEY)
    }

    fn needs_key(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), ConfigError> {
        let version = &self.api_version;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if version.is_empty() || !version.chars().all(plain) {
            return Err(ConfigError::new(
                "api_version is not a version of Azure's API",
                format!("Give a date such as '{}', or leave it out.", AzureOpenAi::DEFAULT_VERSION),
            ));
        }
        if let Some(model) = &self.model {
            crate::models::check_dimensions(OpenAi::NAME, model, self.dimensions)?;
        }
        Ok(())
    }

    /// The model itself where it is known: deployments are renamed.
    fn decisive(&self) -> Value {
        optional(self.model.clone())
    }
}
