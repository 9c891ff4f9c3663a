//! Nearest-neighbour queries over a store. The statement is the one pgvector's index serves:
//! ORDER BY one distance operator, LIMIT, and nothing else.

use autovector_domain::config::Opclass;
use pgrx::datum::DatumWithOid;
use pgrx::{JsonB, pg_sys};

use super::catalog::{Pgvector, Vectorizer};
use super::ident::Ident;
use super::transaction::current_role;
use super::{sql, vector_datum};
use crate::error::{Error, Kind, Result};

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

/// The `k` nearest chunks, with the rights of the caller.
pub fn find(
    v: &Vectorizer,
    pgvector: &Pgvector,
    opclass: Opclass,
    vector: &[f32],
    k: i32,
) -> Result<Vec<Found>> {
    let (operator, score) = match opclass {
        Opclass::Cosine => ("<=>", "1 - (distance)"),
        Opclass::Ip => ("<#>", "-(distance)"),
        Opclass::L1 => ("<+>", "-(distance)"),
        Opclass::L2 => ("<->", "-(distance)"),
    };
    let (table, embedding, key, seq, chunk, condition) = match &v.column {
        None => (
            v.store.ident.to_string(),
            Ident::new("embedding"),
            v.key.stored_json("t"),
            "t.chunk_seq".to_owned(),
            "t.chunk".to_owned(),
            String::new(),
        ),
        Some(column) => (
            v.source.scan(),
            Ident::new(column),
            v.key.source_json("t"),
            "0".to_owned(),
            format!("t.{}::text", Ident::new(&v.config.loading.column_name)),
            format!("WHERE t.{} IS NOT NULL", Ident::new(column)),
        ),
    };
    let distance = format!("t.{embedding} OPERATOR({}.{operator}) $1", pgvector.schema);
    let statement = format!(
        "SELECT {key}, {seq}, {chunk}, ({})::float8 FROM {table} t {condition} ORDER BY {distance} LIMIT $2",
        score.replace("distance", &distance),
    );
    // SAFETY: the datum is a `vector`, and the oid is that type's.
    let question = unsafe { DatumWithOid::new(vector_datum::vector(vector), pgvector.vector) };
    sql::query(&statement, &[question, i64::from(k).into()], |row| {
        Ok(Found { key: row.value(1)?, chunk_seq: row.value(2)?, chunk: row.get(3)?, score: row.value(4)? })
    })
}
