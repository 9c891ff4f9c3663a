//! `scheduling_*`: when a vectorizer may work.

use serde_json::Value;

use super::{
    ConfigError,
    fields::{Kind, unavailable},
};

const KIND: Kind =
    Kind { config_type: "scheduling", made_by: "ai.scheduling_default() or ai.scheduling_none()" };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheduling {
    None,
    #[default]
    Default,
}

impl Scheduling {
    /// Reads the JSON that `to_json` writes.
    pub fn from_json(value: &Value) -> Result<Scheduling, ConfigError> {
        match KIND.read(value)?.implementation {
            "none" => Ok(Scheduling::None),
            "default" => Ok(Scheduling::Default),
            "timescaledb" => Err(Scheduling::timescaledb_unavailable()),
            other => Err(KIND.unknown(other)),
        }
    }

    /// What `ai.scheduling_timescaledb` answers.
    pub fn timescaledb_unavailable() -> ConfigError {
        unavailable(
            "ai.scheduling_timescaledb",
            "Leave scheduling out: the workers start by themselves as soon as a row changes.",
        )
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        match self {
            Scheduling::None => KIND.write("none", []),
            Scheduling::Default => KIND.write("default", []),
        }
    }
}
