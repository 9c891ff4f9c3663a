//! `processing_*`: how much a worker takes at once.

use serde_json::Value;

use crate::pacing::Rates;

use super::{
    ConfigError,
    fields::{Kind, bounded, optional},
};

const KIND: Kind = Kind { config_type: "processing", made_by: "ai.processing_default()" };

/// None leaves the choice to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processing {
    /// Rows per batch.
    pub batch_size: Option<u32>,
    /// Requests in flight at once.
    pub concurrency: Option<u32>,
    /// Requests and tokens a minute.
    pub rates: Rates,
    /// Vectors are shared with the owner's other vectorizers of the same model.
    pub embedding_cache: bool,
}

impl Processing {
    pub const MAX_BATCH_SIZE: u32 = 2048;
    pub const MAX_CONCURRENCY: u32 = 50;

    /// `ai.processing_default`: `batch_size` 1 to 2048, `concurrency` 1 to 50, requests and tokens a
    /// minute from 1 on.
    pub fn new(
        batch_size: Option<i32>,
        concurrency: Option<i32>,
        requests_per_minute: Option<i32>,
        tokens_per_minute: Option<i32>,
    ) -> Result<Processing, ConfigError> {
        let batch_size = batch_size
            .map(|rows| {
                let hint = "Give the rows per batch, or leave batch_size out and the worker chooses.";
                bounded("batch_size", rows, 1, Processing::MAX_BATCH_SIZE, hint)
            })
            .transpose()?;
        let concurrency = concurrency
            .map(|requests| {
                let hint =
                    "Give the requests in flight at once, or leave concurrency out and the worker chooses.";
                bounded("concurrency", requests, 1, Processing::MAX_CONCURRENCY, hint)
            })
            .transpose()?;
        let rate = |name: &str, rate: Option<i32>| {
            let hint = "Give what the provider allows in a minute, or leave it out for no limit.";
            rate.map(|rate| bounded(name, rate, 1, i32::MAX as u32, hint)).transpose()
        };
        let rates = Rates {
            requests: rate("requests_per_minute", requests_per_minute)?,
            tokens: rate("tokens_per_minute", tokens_per_minute)?,
        };
        Ok(Processing { batch_size, concurrency, rates, embedding_cache: false })
    }

    pub fn with_cache(self, embedding_cache: bool) -> Processing {
        Processing { embedding_cache, ..self }
    }

    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Processing, ConfigError> {
        let fields = KIND.read(value)?;
        match fields.implementation {
            "default" => Ok(Processing::new(
                fields.int("batch_size")?,
                fields.int("concurrency")?,
                fields.int("requests_per_minute")?,
                fields.int("tokens_per_minute")?,
            )?
            .with_cache(fields.flag("embedding_cache")?.unwrap_or(false))),
            other => Err(KIND.unknown(other)),
        }
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        KIND.write(
            "default",
            [
                ("batch_size", optional(self.batch_size)),
                ("concurrency", optional(self.concurrency)),
                ("requests_per_minute", optional(self.rates.requests)),
                ("tokens_per_minute", optional(self.rates.tokens)),
                ("embedding_cache", optional(self.embedding_cache.then_some(true))),
            ],
        )
    }
}
