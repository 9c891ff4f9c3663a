//! What pgai has left behind in a schema that has been renamed: its catalog, queues and triggers.
//! Read with the rights of the caller; nothing of it is changed but the triggers.

use pgrx::{JsonB, pg_sys};
use serde_json::Value;

use super::catalog::{self, Relation, Vectorizer};
use super::ident::Ident;
use super::key::KeySpec;
use super::{ddl, locks, roles, sql};
use crate::error::{Error, Kind, Result};

/// Where pgai lived. Its catalog still says so of what has been renamed along with it.
const HOME: &str = "ai";

/// A row of pgai's catalog.
#[derive(Debug, Clone)]
pub struct Old {
    pub id: i32,
    pub name: String,
    pub source_schema: String,
    pub source_table: String,
    pub source_pk: Value,
    pub trigger_name: String,
    pub queue_schema: String,
    pub queue_table: Option<String>,
    pub queue_failed_table: Option<String>,
    pub config: Value,
    pub disabled: bool,
}

/// The vectorizers of the catalog in `schema`, in order.
pub fn read(schema: &str) -> Result<Vec<Old>> {
    let catalog = Ident::qualified(schema, "vectorizer");
    let found = sql::query_one(
        "SELECT c.relkind::text = 'r' AND (SELECT count(*) = 11 FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = c.oid AND NOT a.attisdropped
                    AND a.attname IN ('id', 'name', 'source_schema', 'source_table', 'source_pk', 'trigger_name',
                                      'queue_schema', 'queue_table', 'queue_failed_table', 'config', 'disabled'))
           FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)",
        &[catalog.to_string().into()],
        |row| row.value::<bool>(1),
    )?;
    if schema == HOME || found != Some(true) {
        return Err(Error::new(Kind::UndefinedObject, format!("schema \"{schema}\" has no catalog of pgai 0.12"))
            .hint("Rename pgai's schema out of the way and name it: ALTER SCHEMA ai RENAME TO pgai_old; an older pgai is brought up to date first."));
    }
    sql::query(
        &format!(
            "SELECT id, name::text, source_schema::text, source_table::text, source_pk, trigger_name::text,
                    queue_schema::text, queue_table::text, queue_failed_table::text, config, disabled
               FROM {catalog} ORDER BY id"
        ),
        &[],
        |row| {
            Ok(Old {
                id: row.value(1)?,
                name: row.value(2)?,
                source_schema: row.value(3)?,
                source_table: row.value(4)?,
                source_pk: row.value::<JsonB>(5)?.0,
                trigger_name: row.value(6)?,
                queue_schema: row.get(7)?.unwrap_or_default(),
                queue_table: row.get(8)?,
                queue_failed_table: row.get(9)?,
                config: row.value::<JsonB>(10)?.0,
                disabled: row.value(11)?,
            })
        },
    )
}

/// What still exists of a vectorizer, besides its row.
pub struct Remains {
    pub source: Option<Relation>,
    /// Triggers on the source.
    pub triggers: Vec<String>,
    pub queue: Option<Ident>,
    pub failed: Option<Ident>,
}

/// Finds them: the source by its trigger, which follows a renaming, or else by its name.
pub fn remains(schema: &str, old: &Old) -> Result<Remains> {
    let home = if old.queue_schema == HOME { schema } else { &old.queue_schema };
    let by_trigger = sql::query_one(
        "SELECT t.tgrelid FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
           JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
          WHERE t.tgname = $1::name AND p.proname = $1::name AND n.nspname IN ($2::name, $3::name)
            AND NOT t.tgisinternal AND t.tgparentid = 0",
        &[old.trigger_name.as_str().into(), home.into(), schema.into()],
        |row| row.value::<pg_sys::Oid>(1),
    )?;
    let by_name = || {
        let name = Ident::qualified(&old.source_schema, &old.source_table).to_string();
        sql::query_one("SELECT to_regclass($1)::oid", &[name.into()], |row| row.get::<pg_sys::Oid>(1))
    };
    let oid = match by_trigger {
        Some(oid) => Some(oid),
        None => by_name()?.flatten(),
    };
    let source = oid.map(catalog::relation).transpose()?.flatten();
    let triggers = match &source {
        None => Vec::new(),
        Some(source) => sql::query(
            "SELECT t.tgname::text FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
               JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
              WHERE t.tgrelid = $1 AND t.tgname IN ($2::name, ($2 || '_truncate')::name)
                AND n.nspname IN ($3::name, $4::name) AND NOT t.tgisinternal ORDER BY 1",
            &[source.oid.into(), old.trigger_name.as_str().into(), home.into(), schema.into()],
            |row| row.value(1),
        )?,
    };
    let table = |name: &Option<String>| -> Result<Option<Ident>> {
        let Some(name) = name else { return Ok(None) };
        Ok(is_table(home, name)?.then(|| Ident::qualified(home, name)))
    };
    Ok(Remains { source, triggers, queue: table(&old.queue_table)?, failed: table(&old.queue_failed_table)? })
}

fn is_table(schema: &str, name: &str) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                         WHERE n.nspname = $1::name AND c.relname = $2::name AND c.relkind = 'r')",
        &[schema.into(), name.into()],
        |row| row.value::<bool>(1),
    )?;
    Ok(found == Some(true))
}

impl Remains {
    /// Nobody writes, and no worker of pgai works, until the end of the transaction.
    pub fn lock(&self) -> Result<()> {
        if let Some(source) = &self.source {
            locks::lock_relation(source.oid, locks::SHARE_ROW_EXCLUSIVE);
        }
        for table in self.queue.iter().chain(&self.failed) {
            sql::execute_once(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))?;
        }
        Ok(())
    }

    pub fn drop_triggers(&self) -> Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        for trigger in &self.triggers {
            sql::execute_once(&format!("DROP TRIGGER {} ON {}", Ident::new(trigger), source.ident))?;
        }
        Ok(())
    }

    /// Keys that are queued, and keys of failed rows that are still there.
    pub fn counts(&self, key: &KeySpec) -> Result<(i64, i64)> {
        let count = |from: String| {
            sql::query_one(&format!("SELECT count(*) FROM {from}"), &[], |row| row.value::<i64>(1))
        };
        let names = key.stored_list("o");
        let pending = match &self.queue {
            Some(queue) => count(format!("(SELECT DISTINCT {names} FROM {queue} o) k"))?,
            None => None,
        };
        let failed = match (&self.failed, &self.source) {
            (Some(failed), Some(source)) => count(failed_rows(failed, source, key, &names))?,
            _ => None,
        };
        Ok((pending.unwrap_or(0), failed.unwrap_or(0)))
    }

    /// Takes queue and failed rows over. A failed row has no vectors here.
    pub fn copy_into(&self, v: &Vectorizer) -> Result<()> {
        let (names, list) = (v.key.stored_names(), v.key.stored_list("o"));
        if let Some(queue) = &self.queue {
            sql::execute_once(&format!(
                "INSERT INTO {} ({names}, queued_at, gen)
                 SELECT {list}, min(o.queued_at), nextval('ai._generation_seq') FROM {queue} o GROUP BY {list}",
                v.queue
            ))?;
        }
        let Some(failed) = &self.failed else { return Ok(()) };
        let step = "coalesce(nullif(max(o.failure_step), ''), 'unknown step')";
        sql::execute_once(&format!(
            "INSERT INTO {} ({names}, failure_step, error) SELECT {list}, max(o.failure_step), 'failed in pgai: ' || {step}
               FROM {failed} o WHERE EXISTS (SELECT FROM {} s WHERE {}) GROUP BY {list}",
            v.failed,
            v.source.scan(),
            v.key.stored_matches_source("o", "s"),
        ))?;
        if v.column.is_none() {
            sql::execute_once(&format!(
                "DELETE FROM {} st USING {} o WHERE {}",
                v.store.ident,
                v.failed,
                same_key(&v.key, "st", "o")
            ))?;
        }
        Ok(())
    }
}

fn failed_rows(failed: &Ident, source: &Relation, key: &KeySpec, names: &str) -> String {
    format!(
        "(SELECT DISTINCT {names} FROM {failed} o WHERE EXISTS (SELECT FROM {} s WHERE {})) k",
        source.scan(),
        key.stored_matches_source("o", "s")
    )
}

fn same_key(key: &KeySpec, left: &str, right: &str) -> String {
    let pairs = key.columns.iter().map(|c| {
        let name = Ident::new(&c.stored_name);
        format!("{left}.{name} = {right}.{name}")
    });
    pairs.collect::<Vec<_>>().join(" AND ")
}

fn orphans(store: &Relation, source: &Relation, key: &KeySpec) -> String {
    format!(
        "FROM {} t WHERE NOT EXISTS (SELECT FROM {} s WHERE {})",
        store.ident,
        source.scan(),
        key.stored_matches_source("t", "s")
    )
}

/// Chunks of the store, and those whose row is gone, which pgai leaves there.
pub fn chunks(store: &Relation, source: &Relation, key: &KeySpec) -> Result<(i64, i64)> {
    let statement = format!(
        "SELECT (SELECT count(*) FROM {}), (SELECT count(*) {})",
        store.ident,
        orphans(store, source, key)
    );
    let found = sql::query_one(&statement, &[], |row| Ok((row.value(1)?, row.value(2)?)))?;
    Ok(found.unwrap_or((0, 0)))
}

/// Deletes the chunks whose row is gone.
pub fn delete_orphans(v: &Vectorizer) -> Result<()> {
    sql::execute_once(&format!("DELETE {}", orphans(&v.store, &v.source, &v.key)))
}

/// The view of the vectorizer: pgai makes it in the schema of the source, whatever it was told.
pub fn view(old: &Old, name: &str, schema: &str) -> Result<Option<String>> {
    for schema in [schema, &old.source_schema] {
        if roles::relation_exists(schema, name)? {
            return Ok(Some(schema.to_owned()));
        }
    }
    Ok(None)
}

/// The last entries of pgai's error log, as one JSON array.
pub fn read_errors(schema: &str, old: &Old) -> Result<Option<Value>> {
    if !is_table(schema, "_vectorizer_errors")? {
        return Ok(None);
    }
    let statement = format!(
        "SELECT jsonb_agg(to_jsonb(e)) FROM (SELECT message, details, recorded FROM {}
                                              WHERE id = $1 ORDER BY recorded DESC LIMIT 1000) e",
        Ident::qualified(schema, "_vectorizer_errors")
    );
    let found = sql::query_one(&statement, &[old.id.into()], |row| row.get::<JsonB>(1))?;
    Ok(found.flatten().map(|JsonB(errors)| errors))
}

/// Puts them into the error log of vectorizer `id`.
pub fn write_errors(errors: Value, id: i32) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._vectorizer_errors (id, message, details, recorded)
         SELECT $1, e.message, e.details, e.recorded
           FROM jsonb_to_recordset($2) AS e(message text, details jsonb, recorded timestamptz)",
        &[id.into(), JsonB(errors).into()],
    )?;
    Ok(())
}

/// The id that the vectorizer had, where it is free; the next one otherwise.
pub fn take_id(wanted: i32) -> Result<i32> {
    let taken = sql::query_one(
        "SELECT EXISTS (SELECT FROM ai.vectorizer WHERE id = $1)
             OR to_regclass('ai.' || quote_ident($2)) IS NOT NULL",
        &[wanted.into(), ddl::queue_name(wanted).into()],
        |row| row.value::<bool>(1),
    )?;
    if taken == Some(true) {
        return super::registry::next_id();
    }
    sql::query(
        "SELECT setval('ai.vectorizer_id_seq', greatest($1, (SELECT last_value FROM ai.vectorizer_id_seq)))",
        &[i64::from(wanted).into()],
        |_| Ok(()),
    )?;
    Ok(wanted)
}
