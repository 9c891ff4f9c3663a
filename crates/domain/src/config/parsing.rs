//! `parsing_*`: what turns a document into text.

use serde_json::Value;

use super::{ConfigError, fields::Kind};

const KIND: Kind = Kind { config_type: "parsing", made_by: "ai.parsing_auto() or ai.parsing_none()" };

/// A column of text is taken as it is by all of them. The parsers that pgai names are served by our
/// own, as `Auto` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parsing {
    /// By what the document is.
    #[default]
    Auto,
    /// The document is text.
    None,
    Pymupdf,
    Docling,
}

impl Parsing {
    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Parsing, ConfigError> {
        match KIND.read(value)?.implementation {
            "auto" => Ok(Parsing::Auto),
            "none" => Ok(Parsing::None),
            "pymupdf" => Ok(Parsing::Pymupdf),
            "docling" => Ok(Parsing::Docling),
            other => Err(KIND.unknown(other)),
        }
    }

    /// Looks at what the document is.
    pub fn detects(self) -> bool {
        self != Parsing::None
    }

    /// Is about documents: a column of text has none.
    pub fn needs_document(self) -> bool {
        matches!(self, Parsing::Pymupdf | Parsing::Docling)
    }

    fn implementation(self) -> &'static str {
        match self {
            Parsing::Auto => "auto",
            Parsing::None => "none",
            Parsing::Pymupdf => "pymupdf",
            Parsing::Docling => "docling",
        }
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        KIND.write(self.implementation(), [])
    }
}
