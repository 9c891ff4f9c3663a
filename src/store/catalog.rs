//! The catalog: what a vectorizer is, read from `ai.vectorizer` and PostgreSQL's own tables.
//! Read anew for every batch, so that a renamed column or a new owner counts at once.

use autovector_domain::config::{Destination, VectorizerConfig};
use autovector_domain::pipeline;
use pgrx::{JsonB, PgSqlErrorCode, pg_sys};

use super::ident::Ident;
use super::key::{KeyColumn, KeySpec};
use super::{locks, secret_grants, sql};
use crate::error::{Error, Kind, Result};

/// Everything that the engine needs to know of one vectorizer.
#[derive(Debug, Clone)]
pub struct Vectorizer {
    pub id: i32,
    pub name: String,
    pub source: Relation,
    /// The column that `destination_column` fills; None with a store of its own.
    pub column: Option<String>,
    /// The store; with `destination_column` the source itself.
    pub store: Relation,
    pub queue: Ident,
    pub queue_oid: pg_sys::Oid,
    /// Owns queue and failed table: the owner of the source, or who it was when they were made.
    pub queue_owner: pg_sys::Oid,
    pub failed: Ident,
    pub key: KeySpec,
    pub config: VectorizerConfig,
    /// The loading column is bytea: a document, not text.
    pub loads_bytes: bool,
    /// The owner of the source may have the key used that the configuration names, if any.
    pub may_use_key: bool,
    /// Chunks of the store without a hash were made by the model as it is configured: the store was
    /// taken over, and the model has not changed since.
    pub adopted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub oid: pg_sys::Oid,
    pub ident: Ident,
    pub owner: pg_sys::Oid,
    /// `'p'` for partitioned tables, which are read with their partitions.
    pub kind: u8,
}

impl Relation {
    /// How the relation stands in FROM: without the children of legacy inheritance, because
    /// their keys are not unique together.
    pub fn scan(&self) -> String {
        if self.kind == b'p' { self.ident.to_string() } else { format!("ONLY {}", self.ident) }
    }
}

impl Vectorizer {
    /// What an upsert sets of a key that is dirty already. Only queues of vectorizers that load by URI
    /// are sure to know of retries: older versions made others without.
    pub fn dirty_again(&self) -> &'static str {
        match self.config.loading.is_uri() {
            true => "gen = excluded.gen, loading_retries = 0, loading_retry_after = NULL",
            false => "gen = excluded.gen",
        }
    }

    /// What its rows have, or name, are documents.
    pub fn reads_documents(&self) -> bool {
        self.loads_bytes || self.config.loading.is_uri()
    }

    /// Locks the source in `mode` until the end of the transaction. TRUNCATE takes the source first
    /// and then queue, failed table and store; whoever takes them in this order too never waits in a
    /// circle with it. A source that has got another name meanwhile is an error after which the
    /// caller tries again with what the catalog says then.
    pub fn lock_source(&self, mode: u32) -> Result<()> {
        locks::lock_relation(self.source.oid, mode);
        match name_now(self.source.oid) {
            Some(name) if name == self.source.ident => Ok(()),
            _ => Err(Error::new(
                Kind::Database(PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE),
                format!("{} was renamed, moved or dropped meanwhile", self.source.ident),
            )),
        }
    }
}

/// The relation behind `oid`, None when it has been dropped.
pub fn relation(oid: pg_sys::Oid) -> Result<Option<Relation>> {
    let found = sql::query_one(
        "SELECT c.relowner, c.relkind::text FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[oid.into()],
        |row| Ok((row.value(1)?, row.value::<String>(2)?.as_bytes()[0])),
    )?;
    let (Some((owner, kind)), Some(ident)) = (found, name_now(oid)) else { return Ok(None) };
    Ok(Some(Relation { oid, ident, owner, kind }))
}

/// The relation of that name, None when there is none.
pub fn relation_named(schema: &str, name: &str) -> Result<Option<Relation>> {
    let ident = Ident::qualified(schema, name).to_string();
    let oid = sql::query_one("SELECT to_regclass($1)::oid", &[ident.into()], |row| row.get(1))?;
    Ok(oid.flatten().map(relation).transpose()?.flatten())
}

/// What a relation is called now, as statements will look it up, also where the transaction's
/// snapshot is from before it was renamed. None when it has been dropped.
fn name_now(oid: pg_sys::Oid) -> Option<Ident> {
    // SAFETY: look-ups in the catalog caches; names are palloc'd, NUL-terminated strings, or null.
    unsafe {
        let name = pg_sys::get_rel_name(oid);
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid));
        if name.is_null() || schema.is_null() {
            return None;
        }
        let text =
            |name: *mut std::ffi::c_char| std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned();
        Some(Ident::qualified(&text(schema), &text(name)))
    }
}

/// The primary key of `source` as it stands now, None when it has none.
pub fn primary_key(source: pg_sys::Oid) -> Result<Option<KeySpec>> {
    let columns = sql::query(
        "SELECT a.attnum, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod)
           FROM pg_catalog.pg_index i
          CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, pknum)
           JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
          WHERE i.indrelid = $1 AND i.indisprimary AND k.pknum <= i.indnkeyatts
          ORDER BY k.pknum",
        &[source.into()],
        |row| {
            let name: String = row.value(2)?;
            Ok(KeyColumn {
                attnum: row.value(1)?,
                source_name: name.clone(),
                stored_name: name,
                type_sql: row.value(3)?,
            })
        },
    )?;
    Ok((!columns.is_empty()).then_some(KeySpec { columns }))
}

/// The names of a relation's columns, in order, without dropped ones.
pub fn column_names(relation: pg_sys::Oid) -> Result<Vec<String>> {
    sql::query(
        "SELECT attname::text FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        &[relation.into()],
        |row| row.value(1),
    )
}

/// Whether a column is bytea, or a domain over it; false where there is no such column.
pub fn is_bytea(relation: pg_sys::Oid, column: &str) -> Result<bool> {
    let found = sql::query_one(
        "SELECT a.atttypid FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = $1 AND a.attname = $2::name AND NOT a.attisdropped",
        &[relation.into(), column.into()],
        |row| row.value::<pg_sys::Oid>(1),
    )?;
    // SAFETY: a look-up in the catalog caches.
    Ok(found.is_some_and(|oid| unsafe { pg_sys::getBaseType(oid) } == pg_sys::BYTEAOID))
}

/// The id of the vectorizer called `name`; an unknown name is an error that names the nearest.
pub fn id_of(name: &str) -> Result<i32> {
    match sql::query_one("SELECT id FROM ai.vectorizer WHERE name = $1::name", &[name.into()], |r| {
        r.value(1)
    })? {
        Some(id) => Ok(id),
        None => Err(unknown(&format!("\"{name}\""), name)?),
    }
}

/// The same for the functions that pgai had: those passed an unknown name over in silence, which
/// scripts count on, so it is a warning and None.
pub fn known_id(name: &str) -> Result<Option<i32>> {
    match id_of(name) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.kind == Kind::UndefinedObject => {
            let hint = error.hint.as_deref().unwrap_or_default();
            pgrx::warning!("{error}, nothing was done ({hint})");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The name of vectorizer `id`.
pub fn name_of(id: i32) -> Result<String> {
    match sql::query_one("SELECT name::text FROM ai.vectorizer WHERE id = $1", &[id.into()], |r| r.value(1))?
    {
        Some(name) => Ok(name),
        None => Err(unknown(&id.to_string(), "")?),
    }
}

fn unknown(shown: &str, name: &str) -> Result<Error> {
    let names: Vec<String> =
        sql::query("SELECT name::text FROM ai.vectorizer ORDER BY name", &[], |r| r.value(1))?;
    let nearest = autovector_domain::names::nearest(name, names.iter().map(String::as_str));
    let hint = match nearest.as_slice() {
        [] if names.is_empty() => {
            "There are no vectorizers in this database; see ai.create_vectorizer.".to_owned()
        }
        [] => "SELECT name FROM ai.vectorizer_status; lists them.".to_owned(),
        near => format!("Did you mean {}?", near.join(" or ")),
    };
    Ok(Error::new(Kind::UndefinedObject, format!("vectorizer {shown} does not exist")).hint(hint))
}

/// Ids of all vectorizers, in order.
pub fn ids() -> Result<Vec<i32>> {
    sql::query("SELECT id FROM ai.vectorizer ORDER BY id", &[], |row| row.value(1))
}

struct Stored {
    name: String,
    source: pg_sys::Oid,
    store: Option<pg_sys::Oid>,
    source_name: String,
    queue: Ident,
    failed: Ident,
    source_pk: serde_json::Value,
    config: serde_json::Value,
    adopted: Option<String>,
}

/// The vectorizer `id`. Errors: it does not exist, or what it stands on is gone. Statements of users
/// come here before ALTER EXTENSION UPDATE too: columns that are younger than the first release are
/// read as they are there or not.
pub fn vectorizer(id: i32) -> Result<Vectorizer> {
    let stored = sql::query_one(
        "SELECT name::text, source::oid, store::oid, source_schema::text || '.' || source_table::text,
                queue_schema::text, queue_table::text, queue_failed_table::text, source_pk, config,
                pg_catalog.to_jsonb(v) OPERATOR(pg_catalog.->>) 'adopted'
           FROM ai.vectorizer v WHERE id = $1",
        &[id.into()],
        |row| {
            let schema: String = row.value(5)?;
            Ok(Stored {
                name: row.value(1)?,
                source: row.value(2)?,
                store: row.get(3)?,
                source_name: row.value(4)?,
                queue: Ident::qualified(&schema, &row.value::<String>(6)?),
                failed: Ident::qualified("ai", &row.value::<String>(7)?),
                source_pk: row.value::<JsonB>(8)?.0,
                config: row.value::<JsonB>(9)?.0,
                adopted: row.get(10)?,
            })
        },
    )?;
    let Some(stored) = stored else { return Err(unknown(&id.to_string(), "")?) };
    let source = relation(stored.source)?.ok_or_else(|| {
        Error::new(Kind::WrongState, format!("source table {} was dropped", stored.source_name))
            .hint(format!("SELECT ai.drop_vectorizer('{}');", stored.name))
    })?;
    let config = VectorizerConfig::from_json(&stored.config)?;
    let column = match &config.destination {
        Destination::Column { embedding_column } => Some(embedding_column.clone()),
        Destination::Table(_) => None,
    };
    let store = match stored.store {
        None => source.clone(),
        Some(oid) => relation(oid)?.ok_or_else(|| {
            Error::new(Kind::WrongState, format!("the store of vectorizer \"{}\" was dropped", stored.name))
                .hint("Drop the vectorizer and create it again.")
        })?,
    };
    let key = stored_key(&source, &stored.source_pk)?;
    let (queue_oid, queue_owner) = sql::query_one(
        "SELECT c.oid, c.relowner FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)",
        &[stored.queue.to_string().into()],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )?
    .ok_or_else(|| {
        Error::new(Kind::WrongState, format!("the queue of vectorizer \"{}\" was dropped", stored.name))
            .hint("Drop the vectorizer and create it again.")
    })?;
    let loads_bytes = is_bytea(source.oid, &config.loading.column_name)?;
    let may_use_key = match config.embedding.api_key_name() {
        Some(secret) => secret_grants::may_use(source.owner, secret)?,
        None => true,
    };
    let adopted = stored.adopted.is_some_and(|made_by| made_by == pipeline::fingerprint(&config.embedding));
    Ok(Vectorizer {
        id,
        name: stored.name,
        source,
        column,
        store,
        queue: stored.queue,
        queue_oid,
        queue_owner,
        failed: stored.failed,
        key,
        config,
        loads_bytes,
        may_use_key,
        adopted,
    })
}

/// The key as it was when the vectorizer was created, under today's column names.
pub fn stored_key(source: &Relation, source_pk: &serde_json::Value) -> Result<KeySpec> {
    let mut parts: Vec<(i64, i16, String)> = source_pk
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| {
            Some((
                c.get("pknum")?.as_i64()?,
                i16::try_from(c.get("attnum")?.as_i64()?).ok()?,
                c.get("attname")?.as_str()?.to_owned(),
            ))
        })
        .collect();
    parts.sort();
    let mut columns = Vec::with_capacity(parts.len());
    for (_, attnum, stored_name) in parts {
        let column = sql::query_one(
            "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute
              WHERE attrelid = $1 AND attnum = $2 AND NOT attisdropped",
            &[source.oid.into(), attnum.into()],
            |row| {
                Ok(KeyColumn {
                    attnum,
                    source_name: row.value(1)?,
                    stored_name: stored_name.clone(),
                    type_sql: row.value(2)?,
                })
            },
        )?;
        columns.push(column.ok_or_else(|| {
            Error::new(
                Kind::WrongState,
                format!("key column \"{stored_name}\" of {} was dropped", source.ident),
            )
            .hint("Drop the vectorizer and create it again over the new key.")
        })?);
    }
    Ok(KeySpec { columns })
}

/// pgvector as it is installed here.
#[derive(Debug, Clone)]
pub struct Pgvector {
    pub schema: Ident,
    pub version: String,
    /// The type `vector` and the type of its arrays.
    pub vector: pg_sys::Oid,
    pub vector_array: pg_sys::Oid,
}

impl Pgvector {
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        parse_version(&self.version) >= (major, minor)
    }
}

/// The installed pgvector; an error with a hint when it is missing or too old.
pub fn pgvector() -> Result<Pgvector> {
    let found = sql::query_one(
        "SELECT n.nspname::text, e.extversion::text, t.oid, t.typarray
           FROM pg_catalog.pg_extension e
           JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
           JOIN pg_catalog.pg_type t ON t.typnamespace = n.oid AND t.typname = 'vector'
          WHERE e.extname = 'vector'",
        &[],
        |row| {
            Ok(Pgvector {
                schema: Ident::new(&row.value::<String>(1)?),
                version: row.value(2)?,
                vector: row.value(3)?,
                vector_array: row.value(4)?,
            })
        },
    )?
    .ok_or_else(|| {
        Error::new(Kind::WrongState, "extension vector is not installed in this database")
            .hint("CREATE EXTENSION vector;")
    })?;
    check_version(&found.version)?;
    Ok(found)
}

/// HNSW, which everything here is indexed with, came with pgvector 0.5.0.
fn check_version(version: &str) -> Result<()> {
    if parse_version(version) < (0, 5) {
        return Err(Error::new(Kind::WrongState, format!("extension vector {version} is too old"))
            .hint("autovector needs 0.5.0 or later: ALTER EXTENSION vector UPDATE;"));
    }
    Ok(())
}

fn parse_version(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
