//! `loading_*`: where the text of a row comes from.

use serde_json::Value;

use super::{
    ConfigError,
    fields::{Kind, bounded, identifier, optional},
};

const KIND: Kind = Kind {
    config_type: "loading",
    made_by: "ai.loading_column('column_name') or ai.loading_uri('column_name')",
};

/// A column of the source has the text or the document, or says where the document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loading {
    pub column_name: String,
    /// How often a document that could not be fetched is tried again.
    pub retries: u32,
    pub from: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The column itself.
    Column,
    /// What the column names.
    Uri { aws_role_arn: Option<String> },
}

impl Loading {
    pub const DEFAULT_RETRIES: i32 = 6;

    /// `ai.loading_column`. Refuses a name that PostgreSQL would not take, and fewer than no retries.
    pub fn column(column_name: &str, retries: i32) -> Result<Loading, ConfigError> {
        identifier("column_name", column_name)?;
        let retries =
            bounded("retries", retries, 0, i32::MAX as u32, "Leave retries out, or give 0 or more.")?;
        Ok(Loading { column_name: column_name.to_owned(), retries, from: Source::Column })
    }

    /// `ai.loading_uri`. Refuses what `column` refuses, and what names no role of AWS.
    pub fn uri(column_name: &str, retries: i32, aws_role_arn: Option<&str>) -> Result<Loading, ConfigError> {
        let is_role = |arn: &str| {
            arn.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(":role/")).is_some()
        };
        if aws_role_arn.is_some_and(|arn| !is_role(arn)) {
            return Err(ConfigError::new(
                "aws_role_arn must match arn:aws:iam::*:role/*",
                "Leave aws_role_arn out, or give one such as arn:aws:iam::123456789012:role/reader.",
            ));
        }
        let from = Source::Uri { aws_role_arn: aws_role_arn.map(str::to_owned) };
        Ok(Loading { from, ..Loading::column(column_name, retries)? })
    }

    /// The column says where the document is.
    pub fn is_uri(&self) -> bool {
        matches!(self.from, Source::Uri { .. })
    }

    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Loading, ConfigError> {
        let fields = KIND.read(value)?;
        match fields.implementation {
            "column" => Loading::column(
                fields.required_text("column_name")?,
                fields.int("retries")?.unwrap_or(Loading::DEFAULT_RETRIES),
            ),
            "uri" => Loading::uri(
                fields.required_text("column_name")?,
                fields.int("retries")?.unwrap_or(Loading::DEFAULT_RETRIES),
                fields.text("aws_role_arn")?,
            ),
            other => Err(KIND.unknown(other)),
        }
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        let (implementation, role) = match &self.from {
            Source::Column => ("column", None),
            Source::Uri { aws_role_arn } => ("uri", aws_role_arn.clone()),
        };
        KIND.write(
            implementation,
            [
                ("column_name", self.column_name.clone().into()),
                ("retries", self.retries.into()),
                ("aws_role_arn", optional(role)),
            ],
        )
    }
}
