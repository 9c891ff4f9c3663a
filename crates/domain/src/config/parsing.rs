//! `parsing_*`: what turns a document into text.

use serde_json::Value;

use super::{
    ConfigError,
    fields::{Kind, unavailable},
};

const KIND: Kind = Kind { config_type: "parsing", made_by: "ai.parsing_auto() or ai.parsing_none()" };

/// Both take the column as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parsing {
    #[default]
    Auto,
    None,
}

impl Parsing {
    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Parsing, ConfigError> {
        match KIND.read(value)?.implementation {
            "auto" => Ok(Parsing::Auto),
            "none" => Ok(Parsing::None),
            "pymupdf" | "docling" => {
                Err(Parsing::unavailable(value["implementation"].as_str().unwrap_or_default()))
            }
            other => Err(KIND.unknown(other)),
        }
    }

    /// What `ai.parsing_pymupdf` and `ai.parsing_docling` answer; `parser` is the part after the underscore.
    pub fn unavailable(parser: &str) -> ConfigError {
        unavailable(
            &format!("ai.parsing_{parser}"),
            "Store the text of the documents in a column and use ai.parsing_auto() or ai.parsing_none().",
        )
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        match self {
            Parsing::Auto => KIND.write("auto", []),
            Parsing::None => KIND.write("none", []),
        }
    }
}
