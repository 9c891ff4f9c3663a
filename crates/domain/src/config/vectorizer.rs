//! The whole configuration of a vectorizer, as `ai.vectorizer.config` stores it, and the
//! checks that concern more than one part.

use serde_json::{Map, Value};

use crate::template::Template;

use super::{
    Chunking, ConfigError, Destination, Embedding, Formatting, Indexing, Loading, Parsing, Processing,
    Scheduling,
};

/// Each part stands under the key of its name; `version` is the library that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorizerConfig {
    pub version: String,
    pub loading: Loading,
    pub parsing: Parsing,
    pub chunking: Chunking,
    pub formatting: Formatting,
    pub embedding: Embedding,
    pub destination: Destination,
    pub processing: Processing,
    pub indexing: Indexing,
    pub scheduling: Scheduling,
}

impl VectorizerConfig {
    /// The columns of the source that the vectors are made of: the loading column and those that the
    /// template names.
    pub fn watched_columns(&self) -> Result<Vec<String>, ConfigError> {
        let mut columns = vec![self.loading.column_name.clone()];
        for placeholder in Template::parse(&self.formatting.template)?.placeholders() {
            if placeholder != "chunk" && !columns.iter().any(|column| column == placeholder) {
                columns.push(placeholder.to_string());
            }
        }
        Ok(columns)
    }

    /// Checks what concerns more than one part. The parts have checked themselves when they were made.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.embedding.validate()?;
        if matches!(self.destination, Destination::Column { .. }) && self.chunking != Chunking::None {
            return Err(ConfigError::new(
                "a column holds one vector a row, and this chunking can make several",
                "Give chunking => ai.chunking_none(), or destination => ai.destination_table().",
            ));
        }
        Ok(())
    }

    /// Reads the JSON that `to_json` writes. `loading` and `embedding` must be there; the other parts
    /// take their defaults, as in `ai.create_vectorizer`.
    pub fn from_json(value: &Value) -> Result<VectorizerConfig, ConfigError> {
        let Value::Object(object) = value else {
            return Err(ConfigError::new(
                "the configuration of a vectorizer must be a JSON object",
                "Take it from the column config of ai.vectorizer.",
            ));
        };
        let part = |key: &str| object.get(key).filter(|part| !part.is_null());
        let required = |key: &str, function: &str| {
            part(key).ok_or_else(|| {
                ConfigError::new(
                    format!("the configuration of the vectorizer has no {key}"),
                    format!("Give {key} => {function}."),
                )
            })
        };
        let config = VectorizerConfig {
            version: part("version").and_then(Value::as_str).unwrap_or_default().to_owned(),
            loading: Loading::from_json(required("loading", "ai.loading_column('column_name')")?)?,
            parsing: part("parsing").map(Parsing::from_json).transpose()?.unwrap_or_default(),
            chunking: part("chunking").map(Chunking::from_json).transpose()?.unwrap_or_default(),
            formatting: part("formatting").map(Formatting::from_json).transpose()?.unwrap_or_default(),
            embedding: Embedding::from_json(required("embedding", "ai.embedding_local()")?)?,
            destination: part("destination").map(Destination::from_json).transpose()?.unwrap_or_default(),
            processing: part("processing").map(Processing::from_json).transpose()?.unwrap_or_default(),
            indexing: part("indexing").map(Indexing::from_json).transpose()?.unwrap_or_default(),
            scheduling: part("scheduling").map(Scheduling::from_json).transpose()?.unwrap_or_default(),
        };
        config.validate()?;
        Ok(config)
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        let parts: [(&str, Value); 10] = [
            ("version", self.version.clone().into()),
            ("loading", self.loading.to_json()),
            ("parsing", self.parsing.to_json()),
            ("chunking", self.chunking.to_json()),
            ("formatting", self.formatting.to_json()),
            ("embedding", self.embedding.to_json()),
            ("destination", self.destination.to_json()),
            ("processing", self.processing.to_json()),
            ("indexing", self.indexing.to_json()),
            ("scheduling", self.scheduling.to_json()),
        ];
        Value::Object(parts.into_iter().map(|(key, part)| (key.to_owned(), part)).collect::<Map<_, _>>())
    }
}
