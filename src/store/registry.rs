//! The rows that make a vectorizer: written when it is created, deleted when it is dropped.

use pgrx::{JsonB, pg_sys};
use serde_json::{Value, json};

use super::catalog::{self, Relation};
use super::ddl::{failed_name, queue_name, trigger_name};
use super::ident::Ident;
use super::key::KeySpec;
use super::sql;
use crate::error::{Error, Kind, Result};

pub struct NewVectorizer<'a> {
    pub id: i32,
    pub name: &'a str,
    pub source_schema: &'a str,
    pub source_table: &'a str,
    pub source: pg_sys::Oid,
    pub store: Option<pg_sys::Oid>,
    pub key: &'a KeySpec,
    pub config: Value,
    /// Rows that are there already are left alone.
    pub scanned: bool,
    pub priority: i32,
    /// The fingerprint of the model that made the chunks of a store that was taken over.
    pub adopted: Option<&'a str>,
}

pub fn next_id() -> Result<i32> {
    let id = sql::query_one("SELECT nextval('ai.vectorizer_id_seq')::int4", &[], |row| row.value(1))?;
    Ok(id.expect("a sequence has a next value"))
}

/// The id behind `name`, None when it is free.
pub fn id_by_name(name: &str) -> Result<Option<i32>> {
    sql::query_one("SELECT id FROM ai.vectorizer WHERE name = $1::name", &[name.into()], |row| row.value(1))
}

pub fn insert(new: &NewVectorizer<'_>) -> Result<()> {
    let source_pk: Vec<Value> = new
        .key
        .columns
        .iter()
        .enumerate()
        .map(|(i, c)| json!({"attnum": c.attnum, "pknum": i + 1, "attname": c.source_name, "typname": c.type_sql}))
        .collect();
    sql::execute(
        "INSERT INTO ai.vectorizer (id, source_schema, source_table, source_pk, trigger_name, queue_schema, queue_table,
                                    config, queue_failed_table, name, source, store, adopted)
         VALUES ($1, $2::name, $3::name, $4, $5::name, 'ai', $6::name, $7, $8::name, $9::name, $10::regclass, $11::regclass, $12)",
        &[
            new.id.into(),
            new.source_schema.into(),
            new.source_table.into(),
            JsonB(Value::Array(source_pk)).into(),
            trigger_name(new.id).into(),
            queue_name(new.id).into(),
            JsonB(new.config.clone()).into(),
            failed_name(new.id).into(),
            new.name.into(),
            new.source.into(),
            new.store.into(),
            new.adopted.into(),
        ],
    )?;
    sql::execute(
        "INSERT INTO ai._vectorizer_control (vectorizer_id, priority) VALUES ($1, $2)",
        &[new.id.into(), new.priority.into()],
    )?;
    sql::execute("INSERT INTO ai._vectorizer_counters (vectorizer_id) VALUES ($1)", &[new.id.into()])?;
    sql::execute(
        "INSERT INTO ai._vectorizer_cursor (vectorizer_id, scanned) VALUES ($1, $2)",
        &[new.id.into(), new.scanned.into()],
    )?;
    Ok(())
}

/// What a drop needs, as far as it still exists.
pub struct Droppable {
    pub source: Option<Relation>,
    pub store: Option<Relation>,
    pub target: Option<Target>,
}

/// Store and view of a vectorizer.
pub struct Target {
    pub store: Option<Ident>,
    pub view: Ident,
}

pub fn for_drop(id: i32) -> Result<Droppable> {
    let found = sql::query_one(
        "SELECT source::oid, store::oid, config->'destination' FROM ai.vectorizer WHERE id = $1",
        &[id.into()],
        |row| Ok((row.value::<pg_sys::Oid>(1)?, row.get::<pg_sys::Oid>(2)?, row.value::<JsonB>(3)?.0)),
    )?;
    let Some((source, store, destination)) = found else {
        return Err(Error::new(Kind::UndefinedObject, format!("vectorizer {id} does not exist"))
            .hint("SELECT id, name FROM ai.vectorizer_status; lists them."));
    };
    let text = |key: &str| destination.get(key).and_then(Value::as_str);
    let store = store.map(catalog::relation).transpose()?.flatten();
    let target = match (text("view_schema"), text("view_name")) {
        (Some(schema), Some(name)) => Some(Target {
            store: store.as_ref().map(|relation| relation.ident.clone()),
            view: Ident::qualified(schema, name),
        }),
        _ => None,
    };
    Ok(Droppable { source: catalog::relation(source)?, store, target })
}

/// Ends all leases of a vectorizer: what is in flight can no longer be written.
pub fn end_leases(id: i32) -> Result<()> {
    sql::execute("DELETE FROM ai._lease WHERE vectorizer_id = $1", &[id.into()])?;
    Ok(())
}

pub fn delete(id: i32) -> Result<()> {
    sql::execute("DELETE FROM ai.vectorizer WHERE id = $1", &[id.into()])?;
    Ok(())
}

/// Replaces the whole configuration.
pub fn set_config(id: i32, config: &Value) -> Result<()> {
    sql::execute(
        "UPDATE ai.vectorizer SET config = $2 WHERE id = $1",
        &[id.into(), JsonB(config.clone()).into()],
    )?;
    Ok(())
}

/// The name of a vectorizer.
pub fn name_of(id: i32) -> Result<String> {
    let found = sql::query_one("SELECT name::text FROM ai.vectorizer WHERE id = $1", &[id.into()], |row| {
        row.value(1)
    })?;
    found.ok_or_else(|| Error::new(Kind::UndefinedObject, format!("vectorizer {id} does not exist")))
}

/// Locks the row of a vectorizer until the end of the transaction: changes of its configuration
/// come one after the other.
pub fn lock(id: i32) -> Result<()> {
    sql::query("SELECT id FROM ai.vectorizer WHERE id = $1 FOR UPDATE", &[id.into()], |_| Ok(()))?;
    Ok(())
}

/// Replaces one part of a vectorizer's configuration.
pub fn set_config_part(id: i32, part: &str, value: &Value) -> Result<()> {
    sql::execute(
        "UPDATE ai.vectorizer SET config = jsonb_set(config, ARRAY[$2], $3) WHERE id = $1",
        &[id.into(), part.into(), JsonB(value.clone()).into()],
    )?;
    Ok(())
}
