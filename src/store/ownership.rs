//! What belongs to a source follows its owner: queue, failed table, store and view.

use super::catalog::Vectorizer;
use super::ddl::status_queue;
use super::ident::Ident;
use super::record_status::embedding;
use super::sql;
use crate::error::Result;

/// Hands queue, failed table and store to the owner of the source when that has changed: what
/// runs with the owner's rights could not use them otherwise.
pub fn follow_source(v: &Vectorizer) -> Result<()> {
    if v.queue_owner == v.source.owner && v.store.owner == v.source.owner {
        return Ok(());
    }
    let owner: String = sql::query_one(
        "SELECT rolname::text FROM pg_catalog.pg_roles WHERE oid = $1",
        &[v.source.owner.into()],
        |row| row.value(1),
    )?
    .expect("an owner exists as long as it owns something");
    let owner = Ident::new(&owner);
    let mut relations = vec![v.queue.to_string(), v.failed.to_string()];
    if v.column.is_none() {
        relations.push(v.store.ident.to_string());
    }
    if embedding::exists(v.id)? {
        relations.push(status_queue(v.id).to_string());
    }
    for relation in relations {
        sql::execute_once(&format!("ALTER TABLE {relation} OWNER TO {owner}"))?;
    }
    Ok(())
}
