//! `formatting_*`: how a chunk and the row's columns become the text that is embedded.

use serde_json::Value;

use super::{ConfigError, fields::Kind};
use crate::template::Template;

const KIND: Kind =
    Kind { config_type: "formatting", made_by: "ai.formatting_python_template('$title: $chunk')" };

/// A template in the manner of Python's `string.Template`; see `crate::template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formatting {
    pub template: String,
}

impl Default for Formatting {
    fn default() -> Self {
        Formatting { template: Formatting::DEFAULT_TEMPLATE.to_owned() }
    }
}

impl Formatting {
    pub const DEFAULT_TEMPLATE: &'static str = "$chunk";

    /// `ai.formatting_python_template`. Refuses a malformed template and one without `$chunk`.
    pub fn python_template(template: &str) -> Result<Formatting, ConfigError> {
        Template::parse(template)?;
        Ok(Formatting { template: template.to_owned() })
    }

    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Formatting, ConfigError> {
        let fields = KIND.read(value)?;
        match fields.implementation {
            "python_template" => {
                Formatting::python_template(fields.text("template")?.unwrap_or(Formatting::DEFAULT_TEMPLATE))
            }
            other => Err(KIND.unknown(other)),
        }
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        KIND.write("python_template", [("template", self.template.clone().into())])
    }
}
