//! `indexing_*`: which index the vectors get. Building it is not this crate's business.

use serde_json::Value;

use super::{
    ConfigError,
    fields::{Kind, bounded, optional, unavailable},
};

const KIND: Kind = Kind {
    config_type: "indexing",
    made_by: "ai.indexing_default(), ai.indexing_hnsw() or ai.indexing_none()",
};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Indexing {
    None,
    #[default]
    Default,
    Hnsw(Hnsw),
}

/// pgvector's `hnsw`; None leaves a parameter to pgvector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hnsw {
    /// The index is built once the store has this many rows.
    pub min_rows: u32,
    pub opclass: Opclass,
    pub m: Option<u32>,
    pub ef_construction: Option<u32>,
    /// Wait with the index until nothing is pending.
    pub create_when_queue_empty: bool,
}

/// The distance that the index answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Opclass {
    #[default]
    Cosine,
    Ip,
    L1,
    L2,
}

impl Opclass {
    const ALL: [Opclass; 4] = [Opclass::Cosine, Opclass::Ip, Opclass::L1, Opclass::L2];

    /// pgvector's name for the `vector` type.
    pub fn as_str(self) -> &'static str {
        match self {
            Opclass::Cosine => "vector_cosine_ops",
            Opclass::Ip => "vector_ip_ops",
            Opclass::L1 => "vector_l1_ops",
            Opclass::L2 => "vector_l2_ops",
        }
    }

    /// Reads pgvector's name.
    pub fn parse(name: &str) -> Result<Opclass, ConfigError> {
        Opclass::ALL.into_iter().find(|opclass| opclass.as_str() == name).ok_or_else(|| {
            ConfigError::new(
                format!("\"{name}\" is not an operator class of hnsw"),
                "Use vector_cosine_ops, vector_ip_ops, vector_l1_ops or vector_l2_ops.",
            )
        })
    }
}

impl Default for Hnsw {
    fn default() -> Self {
        Hnsw {
            min_rows: Indexing::DEFAULT_MIN_ROWS as u32,
            opclass: Opclass::Cosine,
            m: None,
            ef_construction: None,
            create_when_queue_empty: true,
        }
    }
}

impl Indexing {
    pub const DEFAULT_MIN_ROWS: i32 = 100_000;

    /// `ai.indexing_hnsw`. The bounds are pgvector's: `m` 2 to 100, `ef_construction` 4 to 1000 and at
    /// least twice `m` (left out they are 16 and 64).
    pub fn hnsw(
        min_rows: i32,
        opclass: &str,
        m: Option<i32>,
        ef_construction: Option<i32>,
        create_when_queue_empty: bool,
    ) -> Result<Indexing, ConfigError> {
        let hint = "Give the number of rows from which on an index is worth having; 0 builds it at once.";
        let min_rows = bounded("min_rows", min_rows, 0, i32::MAX as u32, hint)?;
        let opclass = Opclass::parse(opclass)?;
        let m = m.map(|m| bounded("m", m, 2, 100, "Leave m out for pgvector's default, 16.")).transpose()?;
        let ef_construction = ef_construction
            .map(|ef| {
                let hint = "Leave ef_construction out for pgvector's default, 64.";
                bounded("ef_construction", ef, 4, 1000, hint)
            })
            .transpose()?;
        let (links, candidates) = (m.unwrap_or(16), ef_construction.unwrap_or(64));
        if candidates < 2 * links {
            return Err(ConfigError::new(
                format!("ef_construction ({candidates}) must be at least twice m ({links})"),
                format!("Give ef_construction => {} or more, or a smaller m.", 2 * links),
            ));
        }
        Ok(Indexing::Hnsw(Hnsw { min_rows, opclass, m, ef_construction, create_when_queue_empty }))
    }

    /// Reads the JSON that `to_json` writes; absent fields take their defaults.
    pub fn from_json(value: &Value) -> Result<Indexing, ConfigError> {
        let fields = KIND.read(value)?;
        match fields.implementation {
            "none" => Ok(Indexing::None),
            "default" => Ok(Indexing::Default),
            "hnsw" => Indexing::hnsw(
                fields.int("min_rows")?.unwrap_or(Indexing::DEFAULT_MIN_ROWS),
                fields.text("opclass")?.unwrap_or(Opclass::default().as_str()),
                fields.int("m")?,
                fields.int("ef_construction")?,
                fields.flag("create_when_queue_empty")?.unwrap_or(true),
            ),
            "diskann" => Err(Indexing::diskann_unavailable()),
            other => Err(KIND.unknown(other)),
        }
    }

    /// What `ai.indexing_diskann` answers.
    pub fn diskann_unavailable() -> ConfigError {
        unavailable(
            "ai.indexing_diskann",
            "Use ai.indexing_hnsw(), or ai.indexing_none() and build the index by hand.",
        )
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        match self {
            Indexing::None => KIND.write("none", []),
            Indexing::Default => KIND.write("default", []),
            Indexing::Hnsw(hnsw) => KIND.write(
                "hnsw",
                [
                    ("min_rows", hnsw.min_rows.into()),
                    ("opclass", hnsw.opclass.as_str().into()),
                    ("m", optional(hnsw.m)),
                    ("ef_construction", optional(hnsw.ef_construction)),
                    ("create_when_queue_empty", hnsw.create_when_queue_empty.into()),
                ],
            ),
        }
    }
}
