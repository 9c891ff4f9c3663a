//! What belongs to a source follows its owner: queue, failed table, store and view.

use std::cell::Cell;

use super::catalog::{self, Vectorizer};
use super::ddl::status_queue;
use super::ident::Ident;
use super::record_status::embedding;
use super::transaction::{as_extension_owner, as_superuser};
use super::{queue_views, sql};
use crate::error::Result;

/// Hands queue, failed table, their views and the store to the owner of the source when that has changed: what
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
    // The views first, as their readers lock them.
    let mut relations = Vec::new();
    for table in [&v.queue, &v.failed] {
        relations.extend(queue_views::unchanged(table)?.into_iter().map(|(view, _)| view.to_string()));
    }
    relations.extend([v.queue.to_string(), v.failed.to_string()]);
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

thread_local! {
    /// Handing over is done by ALTER TABLE itself.
    static FOLLOWING: Cell<bool> = const { Cell::new(false) };
}

/// Resets the flag also where an ERROR ends the work.
struct Following;

impl Drop for Following {
    fn drop(&mut self) {
        FOLLOWING.set(false);
    }
}

/// After ALTER TABLE: hands over what belongs to a source that has a new owner, so that nothing
/// is found between two owners.
pub fn follow_all() -> Result<()> {
    if FOLLOWING.replace(true) {
        return Ok(());
    }
    let _following = Following;
    let strayed: Vec<i32> = as_extension_owner(|| {
        if sql::query_one("SELECT to_regclass('ai._rebuild') IS NOT NULL", &[], |row| row.value(1))?
            != Some(true)
        {
            return Ok(Vec::new());
        }
        sql::query(
            "SELECT v.id FROM ai.vectorizer v
               JOIN pg_catalog.pg_class s ON s.oid = v.source
               JOIN pg_catalog.pg_class q ON q.oid = to_regclass(format('%I.%I', v.queue_schema, v.queue_table))
               LEFT JOIN pg_catalog.pg_class t ON t.oid = v.store
              WHERE q.relowner <> s.relowner OR t.relowner <> s.relowner ORDER BY v.id",
            &[],
            |row| row.value(1),
        )
    })?;
    for id in strayed {
        // One that is broken has nothing to hand over.
        if let Ok(v) = as_extension_owner(|| catalog::vectorizer(id)) {
            as_superuser(|| follow_source(&v))?;
        }
    }
    Ok(())
}
