//! Checks that the embedding configurations share: dimensions, names of keys, URLs.

use serde_json::Value;

use crate::config::{
    ConfigError,
    fields::{Fields, bounded},
};

/// A name that is longer is more likely the key itself.
const MAX_KEY_NAME: usize = 63;

/// What becomes of a text that is longer than the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Oversize {
    /// Its end is left out; the vector is that of the beginning.
    #[default]
    Truncate,
    /// Its row is set aside as failed.
    Refuse,
}

impl Oversize {
    pub fn parse(text: Option<&str>) -> Result<Oversize, ConfigError> {
        match text {
            None | Some("truncate") => Ok(Oversize::Truncate),
            Some("refuse") => Ok(Oversize::Refuse),
            Some(other) => Err(ConfigError::new(
                format!("oversize must be 'truncate' or 'refuse', not '{other}'"),
                "'truncate' embeds the beginning of a text that is too long for the model; 'refuse' sets its row aside.",
            )),
        }
    }

    pub(super) fn read(fields: &Fields<'_>) -> Result<Oversize, ConfigError> {
        Oversize::parse(fields.text("oversize")?)
    }

    /// Null for the default, which is not written.
    pub(super) fn write(self) -> Value {
        match self {
            Oversize::Truncate => Value::Null,
            Oversize::Refuse => "refuse".into(),
        }
    }

    pub fn truncates(self) -> bool {
        self == Oversize::Truncate
    }
}

pub(in crate::config) fn checked_dimensions(dimensions: i32) -> Result<u32, ConfigError> {
    let hint = "Give the number of dimensions that the model returns.";
    bounded("dimensions", dimensions, 1, crate::config::MAX_DIMENSIONS, hint)
}

/// A secret's name becomes the name of an environment variable or a file: nothing else fits it. The
/// message never repeats it, because it may be the key itself.
pub(in crate::config) fn check_key_name(name: &str) -> Result<(), ConfigError> {
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
pub(in crate::config) fn check_base_url(url: &str) -> Result<(), ConfigError> {
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
