//! Nearest-neighbour queries over a store. The statement is the one pgvector's index serves:
//! ORDER BY one distance operator and LIMIT, with at most a filter over the source beside it.

use std::fmt::Write;

use autovector_domain::config::{Metric, Opclass};
use pgrx::datum::DatumWithOid;
use pgrx::{JsonB, pg_sys};

use super::catalog::{Pgvector, Vectorizer};
use super::filter::Condition;
use super::ident::Ident;
use super::indexes::{self, Method};
use super::transaction::{current_role, with_settings};
use super::{sql, vector_datum};
use crate::error::{Error, Kind, Result};

/// pgvector's default for `hnsw.ef_search`, and the most that it takes.
const EF_SEARCH: i32 = 40;
const MAX_EF_SEARCH: i32 = 1000;

#[derive(Debug)]
pub struct Found {
    pub key: JsonB,
    pub chunk_seq: i32,
    pub chunk: Option<String>,
    /// Larger is nearer: cosine similarity, inner product, or the negative distance.
    pub score: f64,
}

/// Searching needs SELECT on the store, like reading it.
pub fn require_select(v: &Vectorizer) -> Result<()> {
    // SAFETY: a look-up in the relation's access list.
    let allowed = unsafe {
        pg_sys::pg_class_aclcheck(v.store.oid, current_role(), pg_sys::ACL_SELECT as pg_sys::AclMode)
            == pg_sys::AclResult::ACLCHECK_OK
    };
    if allowed {
        return Ok(());
    }
    Err(Error::new(
        Kind::InsufficientPrivilege,
        format!("permission denied for the store of vectorizer \"{}\"", v.name),
    )
    .hint(format!("GRANT SELECT ON {} TO …;", v.store.ident)))
}

/// How the parts of a found chunk stand in a statement over the store (`t`), joined with the
/// source (`s`) where a filter needs it; with `destination_column` both are the source.
pub struct Shape {
    pub from: String,
    pub key: String,
    pub seq: &'static str,
    pub chunk: String,
    /// The vector.
    pub embedding: String,
    /// What must hold besides: empty, or beginning with `AND`.
    pub condition: String,
}

/// The alias that the source has in the statements of `v`.
pub fn source_alias(v: &Vectorizer) -> &'static str {
    if v.column.is_some() { "t" } else { "s" }
}

impl Shape {
    pub fn new(v: &Vectorizer, filter: &Condition) -> Shape {
        let filtered = if filter.is_empty() { String::new() } else { format!(" AND {}", filter.sql) };
        match &v.column {
            None => {
                let join = match filter.is_empty() {
                    true => String::new(),
                    false => {
                        format!(" JOIN {} s ON {}", v.source.scan(), v.key.stored_matches_source("t", "s"))
                    }
                };
                Shape {
                    from: format!("{} t{join}", v.store.ident),
                    key: v.key.stored_json("t"),
                    seq: "t.chunk_seq",
                    chunk: "t.chunk".to_owned(),
                    embedding: "t.embedding".to_owned(),
                    condition: filtered,
                }
            }
            Some(column) => {
                let embedding = format!("t.{}", Ident::new(column));
                Shape {
                    from: format!("{} t", v.source.scan()),
                    key: v.key.source_json("t"),
                    seq: "0",
                    chunk: format!("t.{}::text", Ident::new(&v.config.loading.column_name)),
                    condition: format!(" AND {embedding} IS NOT NULL{filtered}"),
                    embedding,
                }
            }
        }
    }
}

/// The statement that finds the `k` nearest chunks; `$1` is the question's vector, the filter's
/// parameters follow. The limit is part of the text: a plan that does not know it may be one for
/// the whole table.
pub fn statement(
    v: &Vectorizer,
    pgvector: &Pgvector,
    opclass: Opclass,
    filter: &Condition,
    k: i32,
) -> String {
    let shape = Shape::new(v, filter);
    let (operator, score) = match opclass.metric {
        Metric::Cosine => ("<=>", "1 - (distance)"),
        Metric::Ip => ("<#>", "-(distance)"),
        Metric::L1 => ("<+>", "-(distance)"),
        Metric::L2 => ("<->", "-(distance)"),
    };
    let schema = &pgvector.schema;
    let exact = format!("{} OPERATOR({schema}.{operator}) $1", shape.embedding);
    let order = match opclass.halfvec {
        false => exact.clone(),
        true => format!(
            "({}) OPERATOR({schema}.{operator}) ($1::{schema}.halfvec)",
            indexes::half_expression(v, pgvector, Some("t")),
        ),
    };
    let mut statement = format!(
        "SELECT {}, {}, {}, ({})::float8 FROM {}",
        shape.key,
        shape.seq,
        shape.chunk,
        score.replace("distance", &exact),
        shape.from,
    );
    if !shape.condition.is_empty() {
        write!(statement, " WHERE true{}", shape.condition).expect("strings take what they are given");
    }
    write!(statement, " ORDER BY {order} LIMIT {k}").expect("strings take what they are given");
    statement
}

/// The `k` nearest chunks, with the rights of the caller, best first.
pub fn find(
    v: &Vectorizer,
    pgvector: &Pgvector,
    (method, opclass): (Method, Opclass),
    filter: &Condition,
    vector: &[f32],
    k: i32,
) -> Result<Vec<Found>> {
    let statement = statement(v, pgvector, opclass, filter, k);
    // SAFETY: the datum is a `vector`, and the oid is that type's.
    let question = unsafe { DatumWithOid::new(vector_datum::vector(vector), pgvector.vector) };
    let mut args = vec![question];
    args.extend(filter.args());
    let mut found = with_settings(&settings(pgvector, method, filter, k), || {
        sql::query(&statement, &args, |row| {
            Ok(Found {
                key: row.value(1)?,
                chunk_seq: row.value(2)?,
                chunk: row.get(3)?,
                score: row.value(4)?,
            })
        })
    })?;
    // A scan that goes on after its first candidates hands them out nearly in order.
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(found)
}

/// What the scan is told: to look at enough candidates for `k`, and to go on where a filter has
/// thrown them away. A plan for a filter is made for its values, which say how many rows are left.
fn settings(pgvector: &Pgvector, method: Method, filter: &Condition, k: i32) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    let goes_on = pgvector.at_least(0, 8);
    match method {
        Method::Hnsw => {
            if k > EF_SEARCH {
                settings.push(("hnsw.ef_search", k.min(MAX_EF_SEARCH).to_string()));
            }
            if goes_on && (!filter.is_empty() || k > EF_SEARCH) {
                settings.push(("hnsw.iterative_scan", "relaxed_order".to_owned()));
            }
        }
        Method::Ivfflat { lists } => {
            // pgvector's advice: the square root of the lists.
            let probes = f64::from(lists.unwrap_or(1)).sqrt().ceil().max(1.0);
            settings.push(("ivfflat.probes", format!("{probes:.0}")));
            if goes_on {
                settings.push(("ivfflat.iterative_scan", "relaxed_order".to_owned()));
            }
        }
        Method::Diskann | Method::None => {}
    }
    if !filter.is_empty() {
        settings.push(("plan_cache_mode", "force_custom_plan".to_owned()));
    }
    settings
}
