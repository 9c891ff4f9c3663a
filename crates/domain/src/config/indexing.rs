//! `indexing_*`: which index the vectors get. Building it is not this crate's business.

use serde_json::Value;

use super::{
    ConfigError,
    fields::{Kind, bounded, optional},
};

const KIND: Kind = Kind {
    config_type: "indexing",
    made_by: "ai.indexing_default(), ai.indexing_hnsw(), ai.indexing_ivfflat(), ai.indexing_diskann() or ai.indexing_none()",
};

/// pgvector's indexes take at most so many dimensions of a `vector`, and of a `halfvec`.
pub const MAX_VECTOR_DIMENSIONS: u32 = 2_000;
pub const MAX_HALFVEC_DIMENSIONS: u32 = 4_000;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Indexing {
    None,
    #[default]
    Default,
    Hnsw(Hnsw),
    Ivfflat(Ivfflat),
    Diskann(Diskann),
}

/// pgvector's `hnsw`; None leaves a parameter to pgvector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hnsw {
    /// The index is built once the store has this many rows.
    pub min_rows: u32,
    pub opclass: Opclass,
    pub m: Option<u32>,
    pub ef_construction: Option<u32>,
    /// Wait with the index until little is pending.
    pub create_when_queue_empty: bool,
}

/// pgvector's `ivfflat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ivfflat {
    pub min_rows: u32,
    pub opclass: Opclass,
    /// None: chosen by the number of rows when the index is built.
    pub lists: Option<u32>,
    pub create_when_queue_empty: bool,
}

/// pgvectorscale's `diskann`, with pgai's parameters; it has one distance, the cosine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diskann {
    pub min_rows: u32,
    pub storage_layout: Option<String>,
    pub num_neighbors: Option<u32>,
    pub search_list_size: Option<u32>,
    /// As written: a number of at least 1.
    pub max_alpha: Option<String>,
    pub num_dimensions: Option<u32>,
    pub num_bits_per_dimension: Option<u32>,
    pub create_when_queue_empty: bool,
}

/// What the builder of an index has to know, whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The access method.
    pub method: &'static str,
    pub opclass: Opclass,
    pub min_rows: u32,
    pub create_when_queue_empty: bool,
    /// Storage parameters, in order.
    pub options: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    #[default]
    Cosine,
    Ip,
    L1,
    L2,
}

/// The distance that the index answers, over vectors or over half-precision ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opclass {
    pub metric: Metric,
    pub halfvec: bool,
}

impl Opclass {
    const ALL: [(&'static str, Metric, bool); 8] = [
        ("vector_cosine_ops", Metric::Cosine, false),
        ("vector_ip_ops", Metric::Ip, false),
        ("vector_l1_ops", Metric::L1, false),
        ("vector_l2_ops", Metric::L2, false),
        ("halfvec_cosine_ops", Metric::Cosine, true),
        ("halfvec_ip_ops", Metric::Ip, true),
        ("halfvec_l1_ops", Metric::L1, true),
        ("halfvec_l2_ops", Metric::L2, true),
    ];

    /// pgvector's name.
    pub fn as_str(self) -> &'static str {
        let own = |(_, metric, halfvec): &&(_, _, _)| (*metric, *halfvec) == (self.metric, self.halfvec);
        Opclass::ALL.iter().find(own).expect("every combination is listed").0
    }

    /// Reads pgvector's name.
    pub fn parse(name: &str) -> Result<Opclass, ConfigError> {
        let found = Opclass::ALL.into_iter().find(|(known, _, _)| *known == name);
        found.map(|(_, metric, halfvec)| Opclass { metric, halfvec }).ok_or_else(|| {
            ConfigError::new(
                format!("\"{name}\" is not an operator class of the index"),
                "Use vector_cosine_ops, vector_ip_ops, vector_l1_ops or vector_l2_ops, or halfvec_… of the same endings.",
            )
        })
    }
}

impl Default for Hnsw {
    fn default() -> Self {
        Hnsw {
            min_rows: Indexing::DEFAULT_MIN_ROWS as u32,
            opclass: Opclass::default(),
            m: None,
            ef_construction: None,
            create_when_queue_empty: true,
        }
    }
}

const MIN_ROWS: &str = "Give the number of rows from which on an index is worth having; 0 builds it at once.";

fn min_rows(value: i32) -> Result<u32, ConfigError> {
    bounded("min_rows", value, 0, i32::MAX as u32, MIN_ROWS)
}

impl Indexing {
    pub const DEFAULT_MIN_ROWS: i32 = 100_000;

    /// `ai.indexing_hnsw`. The bounds are pgvector's: `m` 2 to 100, `ef_construction` 4 to 1000 and at
    /// least twice `m` (left out they are 16 and 64).
    pub fn hnsw(
        rows: i32,
        opclass: &str,
        m: Option<i32>,
        ef_construction: Option<i32>,
        create_when_queue_empty: bool,
    ) -> Result<Indexing, ConfigError> {
        let min_rows = min_rows(rows)?;
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

    /// `ai.indexing_ivfflat`. pgvector takes 1 to 32768 lists, and has no L1 distance here.
    pub fn ivfflat(
        rows: i32,
        opclass: &str,
        lists: Option<i32>,
        create_when_queue_empty: bool,
    ) -> Result<Indexing, ConfigError> {
        let min_rows = min_rows(rows)?;
        let opclass = Opclass::parse(opclass)?;
        if opclass.metric == Metric::L1 {
            return Err(ConfigError::new(
                format!("ivfflat has no operator class {}", opclass.as_str()),
                "Use ai.indexing_hnsw() for the L1 distance.",
            ));
        }
        let hint = "Leave lists out: their number is chosen by the rows when the index is built.";
        let lists = lists.map(|lists| bounded("lists", lists, 1, 32_768, hint)).transpose()?;
        Ok(Indexing::Ivfflat(Ivfflat { min_rows, opclass, lists, create_when_queue_empty }))
    }

    /// `ai.indexing_diskann`. Whether pgvectorscale is installed is for others to see.
    #[allow(clippy::too_many_arguments)]
    pub fn diskann(
        rows: i32,
        storage_layout: Option<&str>,
        num_neighbors: Option<i32>,
        search_list_size: Option<i32>,
        max_alpha: Option<f64>,
        num_dimensions: Option<i32>,
        num_bits_per_dimension: Option<i32>,
        create_when_queue_empty: bool,
    ) -> Result<Indexing, ConfigError> {
        if let Some(other) = storage_layout.filter(|name| !matches!(*name, "memory_optimized" | "plain")) {
            return Err(ConfigError::new(
                format!("storage_layout \"{other}\" does not exist"),
                "Use memory_optimized or plain, or leave it out.",
            ));
        }
        if let Some(alpha) = max_alpha.filter(|alpha| !(1.0..=5.0).contains(alpha)) {
            return Err(ConfigError::new(
                format!("max_alpha must be between 1 and 5, not {alpha}"),
                "Leave max_alpha out for pgvectorscale's default, 1.2.",
            ));
        }
        let whole = |name: &str, value: Option<i32>, least: u32, most: u32| {
            let hint = "Leave it out for pgvectorscale's default.";
            value.map(|value| bounded(name, value, least, most, hint)).transpose()
        };
        Ok(Indexing::Diskann(Diskann {
            min_rows: min_rows(rows)?,
            storage_layout: storage_layout.map(str::to_owned),
            num_neighbors: whole("num_neighbors", num_neighbors, 10, 1000)?,
            search_list_size: whole("search_list_size", search_list_size, 10, 1000)?,
            max_alpha: max_alpha.map(|alpha| alpha.to_string()),
            num_dimensions: whole("num_dimensions", num_dimensions, 0, 5000)?,
            num_bits_per_dimension: whole("num_bits_per_dimension", num_bits_per_dimension, 0, 32)?,
            create_when_queue_empty,
        }))
    }

    /// The index that vectors of `dimensions` get, None where they get none. What is too wide for an
    /// index over vectors gets one over half-precision copies. Errors: too wide for that as well.
    pub fn index(&self, dimensions: u32) -> Result<Option<Index>, ConfigError> {
        let Some(mut index) = self.as_configured() else { return Ok(None) };
        if index.method == "diskann" {
            return Ok(Some(index));
        }
        index.opclass.halfvec |= dimensions > MAX_VECTOR_DIMENSIONS;
        if dimensions > MAX_HALFVEC_DIMENSIONS {
            return Err(ConfigError::new(
                format!(
                    "an index takes at most {MAX_HALFVEC_DIMENSIONS} dimensions, and the model has {dimensions}"
                ),
                "Ask the model for fewer dimensions, or use ai.indexing_none().",
            ));
        }
        if index.method == "ivfflat" && index.opclass.metric == Metric::L1 {
            return Err(ConfigError::new("ivfflat has no L1 distance", "Use ai.indexing_hnsw()."));
        }
        Ok(Some(index))
    }

    fn as_configured(&self) -> Option<Index> {
        Some(match self {
            Indexing::None | Indexing::Default => return None,
            Indexing::Hnsw(hnsw) => Index {
                method: "hnsw",
                opclass: hnsw.opclass,
                min_rows: hnsw.min_rows,
                create_when_queue_empty: hnsw.create_when_queue_empty,
                options: options([
                    ("m", hnsw.m.map(|m| m.to_string())),
                    ("ef_construction", hnsw.ef_construction.map(|ef| ef.to_string())),
                ]),
            },
            Indexing::Ivfflat(ivfflat) => Index {
                method: "ivfflat",
                opclass: ivfflat.opclass,
                min_rows: ivfflat.min_rows,
                create_when_queue_empty: ivfflat.create_when_queue_empty,
                options: options([("lists", ivfflat.lists.map(|lists| lists.to_string()))]),
            },
            Indexing::Diskann(diskann) => Index {
                method: "diskann",
                opclass: Opclass::default(),
                min_rows: diskann.min_rows,
                create_when_queue_empty: diskann.create_when_queue_empty,
                options: options([
                    ("storage_layout", diskann.storage_layout.clone()),
                    ("num_neighbors", diskann.num_neighbors.map(|n| n.to_string())),
                    ("search_list_size", diskann.search_list_size.map(|n| n.to_string())),
                    ("max_alpha", diskann.max_alpha.clone()),
                    ("num_dimensions", diskann.num_dimensions.map(|n| n.to_string())),
                    ("num_bits_per_dimension", diskann.num_bits_per_dimension.map(|n| n.to_string())),
                ]),
            },
        })
    }

    /// The distance that searches use.
    pub fn metric(&self) -> Metric {
        self.as_configured().map_or(Metric::default(), |index| index.opclass.metric)
    }

    /// Reads the JSON that `to_json` writes; absent fields take their defaults.
    pub fn from_json(value: &Value) -> Result<Indexing, ConfigError> {
        let fields = KIND.read(value)?;
        let rows = || Ok(fields.int("min_rows")?.unwrap_or(Indexing::DEFAULT_MIN_ROWS));
        let when_empty = || Ok(fields.flag("create_when_queue_empty")?.unwrap_or(true));
        let opclass = || Ok(fields.text("opclass")?.unwrap_or(Opclass::default().as_str()));
        match fields.implementation {
            "none" => Ok(Indexing::None),
            "default" => Ok(Indexing::Default),
            "hnsw" => Indexing::hnsw(
                rows()?,
                opclass()?,
                fields.int("m")?,
                fields.int("ef_construction")?,
                when_empty()?,
            ),
            "ivfflat" => Indexing::ivfflat(rows()?, opclass()?, fields.int("lists")?, when_empty()?),
            "diskann" => Indexing::diskann(
                rows()?,
                fields.text("storage_layout")?,
                fields.int("num_neighbors")?,
                fields.int("search_list_size")?,
                value.get("max_alpha").and_then(Value::as_f64),
                fields.int("num_dimensions")?,
                fields.int("num_bits_per_dimension")?,
                when_empty()?,
            ),
            other => Err(KIND.unknown(other)),
        }
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
            Indexing::Ivfflat(ivfflat) => KIND.write(
                "ivfflat",
                [
                    ("min_rows", ivfflat.min_rows.into()),
                    ("opclass", ivfflat.opclass.as_str().into()),
                    ("lists", optional(ivfflat.lists)),
                    ("create_when_queue_empty", ivfflat.create_when_queue_empty.into()),
                ],
            ),
            Indexing::Diskann(diskann) => KIND.write(
                "diskann",
                [
                    ("min_rows", diskann.min_rows.into()),
                    ("storage_layout", optional(diskann.storage_layout.clone())),
                    ("num_neighbors", optional(diskann.num_neighbors)),
                    ("search_list_size", optional(diskann.search_list_size)),
                    ("max_alpha", optional(diskann.max_alpha.as_ref().and_then(|a| a.parse::<f64>().ok()))),
                    ("num_dimensions", optional(diskann.num_dimensions)),
                    ("num_bits_per_dimension", optional(diskann.num_bits_per_dimension)),
                    ("create_when_queue_empty", diskann.create_when_queue_empty.into()),
                ],
            ),
        }
    }
}

fn options<const N: usize>(options: [(&'static str, Option<String>); N]) -> Vec<(&'static str, String)> {
    options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
