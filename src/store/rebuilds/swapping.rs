//! The swap: a vectorizer and the hidden one behind it change stores, queues, cursors and
//! configurations, in one transaction. The names stay where they are, so whatever is named after
//! a vectorizer's id goes on being its own.
//!
//! Locks, in this order: the source against writers (so that no change is captured by halves),
//! the leases (so that no batch that was claimed before is written after), the views and the
//! stores against readers.

use std::time::Instant;

use pgrx::pg_sys;

use super::belongings;
use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Relation, Vectorizer};
use crate::store::completion::make_dirty;
use crate::store::ddl;
use crate::store::ident::Ident;
use crate::store::key::Key;
use crate::store::record_status::embedding;
use crate::store::transaction::as_role;
use crate::store::{failpoint, locks, registry, roles, sql};

/// Exchanges `main` and `other`. Returns for how many milliseconds locks were held, up to the
/// commit. The caller has closed both gates, bounds the waiting for locks, and undoes everything
/// after an error.
pub fn exchange(main: &Vectorizer, other: &Vectorizer) -> Result<f64> {
    // What needs no lock that anybody could wait for comes first.
    belongings::copy(&main.store, &other.store)?;
    // Who waits for a lock holds none, and no longer than the caller allows.
    lock_writers(main)?;
    let began = Instant::now();
    for v in [main, other] {
        end_leases(v)?;
    }
    note_status(main, other)?;
    let views = belongings::views(main.store.oid)?;
    views.iter().for_each(|view| locks::lock_relation(*view, pg_sys::AccessExclusiveLock));
    let dimensions = other.config.embedding.dimensions().unwrap_or(0);
    belongings::require_movable(&main.store, dimensions)?;
    exchange_stores(main, other, &views)?;
    exchange_queues(main.id, other.id)?;
    exchange_indexes(main, other)?;
    exchange_rows(main.id, other.id)?;
    failpoint::reach("before_swap_commits")?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

/// Waits for those who have written to the source and holds off others.
fn lock_writers(v: &Vectorizer) -> Result<()> {
    let only = if v.source.kind == b'p' { "" } else { "ONLY " };
    sql::execute_once(&format!("LOCK TABLE {only}{} IN SHARE MODE", v.source.ident))
}

/// Ends the batches in flight. Rows of a first pass would be forgotten: they become dirty.
fn end_leases(v: &Vectorizer) -> Result<()> {
    let backfilled: Vec<Key> = sql::query(
        "SELECT keys FROM ai._lease WHERE vectorizer_id = $1 AND kind = 'backfill'",
        &[v.id.into()],
        |row| row.value::<Vec<String>>(1),
    )?
    .iter()
    .flat_map(|keys| keys.chunks(v.key.width()).map(<[String]>::to_vec))
    .collect();
    as_role(v.queue_owner, || make_dirty(v, backfilled.iter()))?;
    registry::end_leases(v.id)
}

/// Rows that are pending or failed in one of them may be something else in the other: their
/// status is to be written again.
fn note_status(main: &Vectorizer, other: &Vectorizer) -> Result<()> {
    if !embedding::exists(main.id)? {
        return Ok(());
    }
    for table in [&main.queue, &main.failed, &other.queue, &other.failed] {
        embedding::note_all(main, table)?;
    }
    Ok(())
}

fn exchange_stores(main: &Vectorizer, other: &Vectorizer, views: &[pg_sys::Oid]) -> Result<()> {
    let (schema, name) = roles::name_of(main.store.oid)?;
    let (other_schema, other_name) = roles::name_of(other.store.oid)?;
    let between = between_name();
    rename(&main.store.ident, &between)?;
    let definitions: Vec<String> = views
        .iter()
        .map(|view| belongings::view_definition(*view, &between, &Ident::new(&name)))
        .collect::<Result<_>>()?;
    if schema != other_schema {
        set_schema(&Ident::qualified(&schema, &between), &other_schema)?;
        set_schema(&other.store.ident, &schema)?;
    }
    rename(&Ident::qualified(&schema, &other_name), &name)?;
    rename(&Ident::qualified(&other_schema, &between), &other_name)?;
    definitions.iter().try_for_each(|definition| sql::execute_once(definition))
}

/// No other table has this name, so it cannot be mistaken in the text of a view.
fn between_name() -> String {
    format!("_swap_{}", uuid::Uuid::new_v4().simple())
}

fn rename(table: &Ident, to: &str) -> Result<()> {
    sql::execute_once(&format!("ALTER TABLE {table} RENAME TO {}", Ident::new(to)))
}

fn set_schema(table: &Ident, to: &str) -> Result<()> {
    sql::execute_once(&format!("ALTER TABLE {table} SET SCHEMA {}", Ident::new(to)))
}

fn exchange_queues(main: i32, other: i32) -> Result<()> {
    for (a, b) in
        [(ddl::queue_name(main), ddl::queue_name(other)), (ddl::failed_name(main), ddl::failed_name(other))]
    {
        // Views show the queue that is worked on.
        let views = match catalog::relation_named("ai", &a)? {
            Some(table) => belongings::views(table.oid)?,
            None => Vec::new(),
        };
        views.iter().for_each(|view| locks::lock_relation(*view, pg_sys::AccessExclusiveLock));
        let between = between_name();
        rename(&Ident::qualified("ai", &a), &between)?;
        let definitions: Vec<String> = views
            .iter()
            .map(|view| belongings::view_definition(*view, &between, &Ident::new(&a)))
            .collect::<Result<_>>()?;
        rename(&Ident::qualified("ai", &b), &a)?;
        rename(&Ident::qualified("ai", &between), &b)?;
        definitions.iter().try_for_each(|definition| sql::execute_once(definition))?;
    }
    Ok(())
}

/// Indexes of ours end with the id of the vectorizer whose store they are on.
fn exchange_indexes(main: &Vectorizer, other: &Vectorizer) -> Result<()> {
    let ours = |store: &Relation, from: i32, to: i32| {
        sql::query(
            "SELECT n.nspname::text, c.relname::text, regexp_replace(c.relname, '[0-9]+$', $3)
               FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE i.indrelid = $1 AND c.relname ~ ('^_vectorizer_.*_' || $2 || '$')
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid)",
            &[store.oid.into(), from.to_string().into(), to.to_string().into()],
            |row| {
                Ok((
                    Ident::qualified(&row.value::<String>(1)?, &row.value::<String>(2)?),
                    row.value::<String>(1)?,
                    row.value::<String>(3)?,
                ))
            },
        )
    };
    let mut indexes = ours(&main.store, main.id, other.id)?;
    indexes.extend(ours(&other.store, other.id, main.id)?);
    for (number, (index, _, _)) in indexes.iter().enumerate() {
        sql::execute_once(&format!(
            "ALTER INDEX {index} RENAME TO {}",
            Ident::new(&between(main.id, number))
        ))?;
    }
    for (number, (_, schema, name)) in indexes.iter().enumerate() {
        let between = Ident::qualified(schema, &between(main.id, number));
        sql::execute_once(&format!("ALTER INDEX {between} RENAME TO {}", Ident::new(name)))?;
    }
    Ok(())
}

fn between(id: i32, number: usize) -> String {
    format!("_vectorizer_swap_{id}_{number}")
}

/// Store, configuration and cursors change places; destination and hours stay.
fn exchange_rows(main: i32, other: i32) -> Result<()> {
    sql::execute(
        "UPDATE ai.vectorizer v
            SET store = o.store, source_pk = o.source_pk,
                config = o.config || jsonb_build_object('destination', v.config -> 'destination',
                                                        'scheduling', v.config -> 'scheduling')
           FROM ai.vectorizer o
          WHERE (v.id = $1 AND o.id = $2) OR (v.id = $2 AND o.id = $1)",
        &[main.into(), other.into()],
    )?;
    sql::execute(
        "UPDATE ai._vectorizer_cursor v SET backfill = o.backfill, scanned = o.scanned, dirty = o.dirty
           FROM ai._vectorizer_cursor o
          WHERE (v.vectorizer_id = $1 AND o.vectorizer_id = $2) OR (v.vectorizer_id = $2 AND o.vectorizer_id = $1)",
        &[main.into(), other.into()],
    )?;
    // The rules for checkpoints are the vectorizer's; the checkpoints themselves stay with their rows.
    sql::execute(
        "UPDATE ai._checkpoint_policy p SET relation = v.store FROM ai.vectorizer v, ai.vectorizer o
          WHERE v.id = $1 AND o.id = $2 AND p.relation = o.store
            AND NOT EXISTS (SELECT FROM ai._checkpoint_policy there WHERE there.relation = v.store)",
        &[main.into(), other.into()],
    )?;
    Ok(())
}

/// Both as they are now, the main one first; an error where one cannot be read.
pub fn pair(main: i32, other: i32) -> Result<(Vectorizer, Vectorizer)> {
    let (main, other) = (catalog::vectorizer(main)?, catalog::vectorizer(other)?);
    if main.source.oid != other.source.oid || main.column.is_some() || other.column.is_some() {
        return Err(Error::new(Kind::Internal, "the rebuild does not belong to the vectorizer"));
    }
    Ok((main, other))
}
