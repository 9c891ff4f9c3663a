//! `destination_*`: where the vectors go.

use serde_json::Value;

use super::{
    ConfigError,
    fields::{Kind, identifier, optional},
};
use crate::names;

const KIND: Kind = Kind {
    config_type: "destination",
    made_by: "ai.destination_table() or ai.destination_column('embedding_column')",
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A table of their own, and a view that joins it with the source.
    Table(TableDestination),
    /// A column of the source: one vector a row.
    Column { embedding_column: String },
}

/// Names that the user chose; None takes the default. In a stored configuration the last four are set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableDestination {
    /// The view's name, and with `_store` behind it the table's.
    pub destination: Option<String>,
    pub target_schema: Option<String>,
    pub target_table: Option<String>,
    pub view_schema: Option<String>,
    pub view_name: Option<String>,
}

impl Default for Destination {
    fn default() -> Self {
        Destination::Table(TableDestination::default())
    }
}

impl Destination {
    /// `ai.destination_table`. Refuses names that PostgreSQL would not take.
    pub fn table(
        destination: Option<&str>,
        target_schema: Option<&str>,
        target_table: Option<&str>,
        view_schema: Option<&str>,
        view_name: Option<&str>,
    ) -> Result<Destination, ConfigError> {
        let named = |name: &str, value: Option<&str>| -> Result<Option<String>, ConfigError> {
            value.map(|value| identifier(name, value).map(|()| value.to_owned())).transpose()
        };
        Ok(Destination::Table(TableDestination {
            destination: named("destination", destination)?,
            target_schema: named("target_schema", target_schema)?,
            target_table: named("target_table", target_table)?,
            view_schema: named("view_schema", view_schema)?,
            view_name: named("view_name", view_name)?,
        }))
    }

    /// `ai.destination_column`. Goes with `ai.chunking_none()` alone, which `VectorizerConfig` checks.
    pub fn column(embedding_column: &str) -> Result<Destination, ConfigError> {
        identifier("embedding_column", embedding_column)?;
        Ok(Destination::Column { embedding_column: embedding_column.to_owned() })
    }

    /// The destination as it is stored: every name decided. What the user named stays as it is; the
    /// rest is `<source>_embedding_store` and `<source>_embedding` in the source's schema.
    pub fn resolve(&self, source_schema: &str, source_table: &str) -> Destination {
        let Destination::Table(wish) = self else { return self.clone() };
        let target_table = wish.target_table.clone().unwrap_or_else(|| match &wish.destination {
            Some(destination) => names::with_suffix(destination, "_store"),
            None => names::default_store(source_table),
        });
        let view_name = wish
            .view_name
            .clone()
            .or_else(|| wish.destination.clone())
            .unwrap_or_else(|| names::default_view(source_table));
        let schema =
            |chosen: &Option<String>| Some(chosen.clone().unwrap_or_else(|| source_schema.to_owned()));
        Destination::Table(TableDestination {
            destination: None,
            target_schema: schema(&wish.target_schema),
            target_table: Some(target_table),
            view_schema: schema(&wish.view_schema),
            view_name: Some(view_name),
        })
    }

    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Destination, ConfigError> {
        let fields = KIND.read(value)?;
        match fields.implementation {
            "table" => Destination::table(
                fields.text("destination")?,
                fields.text("target_schema")?,
                fields.text("target_table")?,
                fields.text("view_schema")?,
                fields.text("view_name")?,
            ),
            "column" => Destination::column(fields.required_text("embedding_column")?),
            other => Err(KIND.unknown(other)),
        }
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        match self {
            Destination::Table(table) => KIND.write(
                "table",
                [
                    ("destination", optional(table.destination.clone())),
                    ("target_schema", optional(table.target_schema.clone())),
                    ("target_table", optional(table.target_table.clone())),
                    ("view_schema", optional(table.view_schema.clone())),
                    ("view_name", optional(table.view_name.clone())),
                ],
            ),
            Destination::Column { embedding_column } => {
                KIND.write("column", [("embedding_column", embedding_column.clone().into())])
            }
        }
    }
}
