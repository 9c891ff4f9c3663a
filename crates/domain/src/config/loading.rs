//! `loading_*`: where the text of a row comes from.

use serde_json::Value;

use super::{
    ConfigError,
    fields::{Kind, bounded, identifier, unavailable},
};

const KIND: Kind = Kind { config_type: "loading", made_by: "ai.loading_column('column_name')" };

/// The text stands in a column of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loading {
    pub column_name: String,
    /// Kept for pgai's sake: reading a column cannot fail on its own.
    pub retries: u32,
}

impl Loading {
    pub const DEFAULT_RETRIES: i32 = 6;

    /// `ai.loading_column`. Refuses a name that PostgreSQL would not take, and fewer than no retries.
    pub fn column(column_name: &str, retries: i32) -> Result<Loading, ConfigError> {
        identifier("column_name", column_name)?;
        let retries =
            bounded("retries", retries, 0, i32::MAX as u32, "Leave retries out, or give 0 or more.")?;
        Ok(Loading { column_name: column_name.to_owned(), retries })
    }

    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Loading, ConfigError> {
        let fields = KIND.read(value)?;
        match fields.implementation {
            "column" => Loading::column(
                fields.required_text("column_name")?,
                fields.int("retries")?.unwrap_or(Loading::DEFAULT_RETRIES),
            ),
            "uri" => Err(Loading::uri_unavailable()),
            other => Err(KIND.unknown(other)),
        }
    }

    /// What `ai.loading_uri` answers.
    pub fn uri_unavailable() -> ConfigError {
        unavailable("ai.loading_uri", "Store the text in a column and use ai.loading_column('column_name').")
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        KIND.write(
            "column",
            [("column_name", self.column_name.clone().into()), ("retries", self.retries.into())],
        )
    }
}
