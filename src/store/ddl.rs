//! DDL on behalf of a vectorizer: queue, store, view, triggers. Names derive from the
//! vectorizer's id or pass through `Ident`.

use pgrx::pg_sys;
use pgrx::spi::quote_literal;

use super::catalog::{self, Pgvector, Relation};
use super::ident::Ident;
use super::key::KeySpec;
use super::registry::Target;
use super::{queue_views, roles, sql};
use crate::error::{Error, Kind, Result};

pub fn queue_name(id: i32) -> String {
    format!("_vectorizer_q_{id}")
}

pub fn failed_name(id: i32) -> String {
    format!("_vectorizer_q_failed_{id}")
}

pub fn trigger_name(id: i32) -> String {
    format!("_vectorizer_src_trg_{id}")
}

/// Keys whose embedding status has to be written, where the vectorizer keeps it.
pub fn status_queue_name(id: i32) -> String {
    format!("_vectorizer_q_status_{id}")
}

pub fn status_queue(id: i32) -> Ident {
    Ident::qualified("ai", &status_queue_name(id))
}

/// The dirty set and the failed table, owned by the owner of the source. Left-overs of an
/// extension that was dropped and created again have the same name and go first.
pub fn create_queue(id: i32, key: &KeySpec, owner: &str) -> Result<()> {
    drop_queue(id)?;
    let (queue, failed) = queue_idents(id);
    let (columns, names) = (key.definitions(), key.stored_names());
    let has = |name: &str| key.columns.iter().any(|c| c.stored_name == name);
    if let Some(taken) = QUEUE_COLUMNS.iter().find(|name| has(name)) {
        return Err(Error::invalid(format!("key column \"{taken}\" has the name of a column of the queue"))
            .hint("Rename the key column."));
    }
    // A partition key of this name is common, and it says the same: that there is a failed row.
    let created_at = match has("created_at") {
        true => "",
        false => "created_at timestamptz NOT NULL DEFAULT now(),",
    };
    for statement in [
        format!(
            "CREATE TABLE {queue} ({columns}, queued_at timestamptz NOT NULL DEFAULT now(),
               loading_retries int4 NOT NULL DEFAULT 0, loading_retry_after timestamptz, gen int8 NOT NULL,
               PRIMARY KEY ({names}))
               WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)"
        ),
        format!(
            "CREATE TABLE {failed} ({columns}, {created_at}
               failure_step text NOT NULL DEFAULT '', error text, PRIMARY KEY ({names}))"
        ),
        format!("ALTER TABLE {queue} OWNER TO {}", Ident::new(owner)),
        format!("ALTER TABLE {failed} OWNER TO {}", Ident::new(owner)),
    ] {
        sql::execute_once(&statement)?;
    }
    Ok(())
}

/// Columns of queue and failed table besides the key.
const QUEUE_COLUMNS: [&str; 6] =
    ["queued_at", "loading_retries", "loading_retry_after", "gen", "failure_step", "error"];

fn queue_idents(id: i32) -> (Ident, Ident) {
    (Ident::qualified("ai", &queue_name(id)), Ident::qualified("ai", &failed_name(id)))
}

pub fn drop_queue(id: i32) -> Result<()> {
    let (queue, failed) = queue_idents(id);
    let status = (status_queue_name(id), status_queue(id));
    for (name, ident) in [(queue_name(id), queue), (failed_name(id), failed), status] {
        if roles::relation_exists("ai", &name)? {
            queue_views::drop(&ident)?;
            sql::execute_once(&format!("DROP TABLE {ident}"))?;
        }
    }
    Ok(())
}

/// The store. Vectors stay inline (`MAIN`): out of line each would cost an index look-up.
pub fn create_store(
    schema: &str,
    table: &str,
    key: &KeySpec,
    pgvector: &Pgvector,
    dimensions: u32,
) -> Result<pg_sys::Oid> {
    let store = Ident::qualified(schema, table);
    if let Some(taken) = key.columns.iter().find(|c| RESERVED.contains(&c.source_name.as_str())) {
        return Err(Error::invalid(format!(
            "key column \"{}\" has the name of a column of the store",
            taken.source_name
        ))
        .hint("Rename the key column."));
    }
    sql::execute_once(&format!(
        "CREATE TABLE {store} (
           embedding_uuid uuid NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
           {}, chunk_seq int4 NOT NULL, chunk text NOT NULL, embedding {}.vector({dimensions}) NOT NULL,
           content_hash bytea, embedded_at timestamptz NOT NULL DEFAULT now(), UNIQUE ({}, chunk_seq))",
        key.definitions(),
        pgvector.schema,
        key.stored_names(),
    ))?;
    sql::execute_once(&format!("ALTER TABLE {store} ALTER COLUMN embedding SET STORAGE MAIN"))?;
    oid_of(&store)
}

pub const RESERVED: [&str; 6] =
    ["embedding_uuid", "chunk_seq", "chunk", "embedding", "content_hash", "embedded_at"];

fn oid_of(ident: &Ident) -> Result<pg_sys::Oid> {
    let found =
        sql::query_one("SELECT to_regclass($1)::oid", &[ident.to_string().into()], |row| row.value(1))?;
    found.ok_or_else(|| Error::new(Kind::Internal, format!("{ident} was not created")))
}

pub fn set_owner(schema: &str, table: &str, owner: &str) -> Result<()> {
    sql::execute_once(&format!(
        "ALTER TABLE {} OWNER TO {}",
        Ident::qualified(schema, table),
        Ident::new(owner)
    ))
}

pub fn set_schema(schema: &str, table: &str, to: &str) -> Result<()> {
    let table = Ident::qualified(schema, table);
    sql::execute_once(&format!("ALTER TABLE {table} SET SCHEMA {}", Ident::new(to)))
}

/// The column of `destination_column`; one that is there already is used if it fits.
pub fn add_vector_column(
    source: &Relation,
    column: &str,
    pgvector: &Pgvector,
    dimensions: u32,
) -> Result<()> {
    let wanted = format!("vector({dimensions})");
    let existing = sql::query_one(
        "SELECT t.typname::text || coalesce('(' || nullif(a.atttypmod, -1) || ')', '')
           FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
          WHERE a.attrelid = $1 AND a.attname = $2::name AND NOT a.attisdropped",
        &[source.oid.into(), column.into()],
        |row| row.value::<String>(1),
    )?;
    match existing {
        Some(found) if found == wanted => {
            pgrx::notice!("column \"{column}\" already exists in {}, using it", source.ident);
            Ok(())
        }
        Some(found) => Err(Error::new(
            Kind::DuplicateObject,
            format!("column \"{column}\" of {} is {found}, not {wanted}", source.ident),
        )
        .hint("Give another embedding_column.")),
        None => {
            let column = Ident::new(column);
            sql::execute_once(&format!(
                "ALTER TABLE {} ADD COLUMN {column} {}.{wanted}",
                source.ident, pgvector.schema
            ))?;
            sql::execute_once(&format!("ALTER TABLE {} ALTER COLUMN {column} SET STORAGE MAIN", source.ident))
        }
    }
}

/// Four triggers. The one for UPDATE fires only for rows whose key or relevant columns changed.
pub fn create_triggers(id: i32, source: &Relation, key: &KeySpec, relevant: &[String]) -> Result<()> {
    let name = trigger_name(id);
    let arguments = trigger_arguments(id, key);
    let table = &source.ident;
    for statement in [
        format!(
            "CREATE TRIGGER {} AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION ai._capture_row({arguments})",
            Ident::new(&name)
        ),
        format!(
            "CREATE TRIGGER {} AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION ai._capture_row({arguments})",
            Ident::new(&format!("{name}_delete"))
        ),
        format!(
            "CREATE TRIGGER {} AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION ai._capture_truncate({arguments})",
            Ident::new(&format!("{name}_truncate"))
        ),
    ] {
        sql::execute_once(&statement)?;
    }
    set_update_trigger(id, source, key, relevant)
}

/// Makes the trigger for UPDATE, or gives it other columns to look at: `ai._unchanged` compares
/// them as they are stored, without reading what is out of line.
pub fn set_update_trigger(id: i32, source: &Relation, key: &KeySpec, relevant: &[String]) -> Result<()> {
    let mut watched: Vec<&String> = key.columns.iter().map(|c| &c.source_name).collect();
    watched.extend(relevant.iter().filter(|column| !key.columns.iter().any(|c| &c.source_name == *column)));
    let unchanged = watched
        .iter()
        .map(|column| format!("ai._unchanged(OLD.{0}, NEW.{0})", Ident::new(column)))
        .collect::<Vec<_>>()
        .join(" AND ");
    sql::execute_once(&format!(
        "CREATE OR REPLACE TRIGGER {} AFTER UPDATE ON {} FOR EACH ROW WHEN (NOT ({unchanged}))
         EXECUTE FUNCTION ai._capture_row({})",
        Ident::new(&format!("{}_update", trigger_name(id))),
        source.ident,
        trigger_arguments(id, key),
    ))
}

/// The vectorizer's id, then the key's attribute numbers.
fn trigger_arguments(id: i32, key: &KeySpec) -> String {
    let mut arguments = quote_literal(id.to_string());
    for column in &key.columns {
        arguments.push_str(&format!(", {}", quote_literal(column.attnum.to_string())));
    }
    arguments
}

/// The triggers of a vectorizer, by what follows its name in theirs.
const TRIGGERS: [&str; 6] = ["", "_update", "_delete", "_truncate", "_pending", "_pending_update"];

/// The triggers of the vectorizer that are there, and whether one of them fires always.
pub fn triggers_of(id: i32, source: &Relation) -> Result<(Vec<String>, bool)> {
    let wanted: Vec<String> = TRIGGERS.iter().map(|suffix| format!("{}{suffix}", trigger_name(id))).collect();
    let found = sql::query(
        "SELECT tgname::text, tgenabled = 'A' FROM pg_catalog.pg_trigger
          WHERE tgrelid = $1 AND NOT tgisinternal AND tgname::text = ANY ($2)",
        &[source.oid.into(), wanted.into()],
        |row| Ok((row.value::<String>(1)?, row.value::<bool>(2)?)),
    )?;
    let always = found.iter().any(|(_, always)| *always);
    Ok((found.into_iter().map(|(name, _)| name).collect(), always))
}

/// Lets the vectorizer's triggers fire in sessions that apply another server's changes as well.
pub fn enable_always(id: i32, source: &Relation) -> Result<()> {
    for trigger in triggers_of(id, source)?.0 {
        sql::execute_once(&format!(
            "ALTER TABLE {} ENABLE ALWAYS TRIGGER {}",
            source.ident,
            Ident::new(&trigger)
        ))?;
    }
    Ok(())
}

pub fn drop_triggers(id: i32, source: &Relation) -> Result<()> {
    let name = trigger_name(id);
    for suffix in TRIGGERS {
        let trigger = Ident::new(&format!("{name}{suffix}"));
        sql::execute_once(&format!("DROP TRIGGER IF EXISTS {trigger} ON {}", source.ident))?;
    }
    Ok(())
}

/// The view that joins the store with its source: pgai's columns, then the source's. A source
/// column that has the name of one of the store's is shown as `source_<name>`. The vectors are
/// shown without their number of dimensions, so that a model with another one can take over
/// under the view, and under whatever stands on it.
pub fn create_view(
    schema: &str,
    name: &str,
    source: &Relation,
    store: &Relation,
    key: &KeySpec,
    pgvector: &Pgvector,
    owner: &str,
) -> Result<()> {
    let shown = ["embedding_uuid", "chunk_seq", "chunk", "embedding"];
    let mut columns: Vec<String> = shown[..3].iter().map(|column| format!("t.{column}")).collect();
    columns.push(format!("t.embedding::{}.vector AS embedding", pgvector.schema));
    for column in catalog::column_names(source.oid)? {
        let from = if key.columns.iter().any(|c| c.source_name == column) { "t" } else { "s" };
        let alias =
            if shown.contains(&column.as_str()) { format!("source_{column}") } else { column.clone() };
        columns.push(format!("{from}.{} AS {}", Ident::new(&column), Ident::new(&alias)));
    }
    let view = Ident::qualified(schema, name);
    sql::execute_once(&format!(
        "CREATE VIEW {view} AS SELECT {} FROM {} t LEFT JOIN {} s ON {}",
        columns.join(", "),
        store.ident,
        source.ident,
        key.stored_matches_source("t", "s"),
    ))?;
    if super::transaction::current_role() != source.owner {
        sql::execute_once(&format!("ALTER VIEW {view} OWNER TO {}", Ident::new(owner)))?;
    }
    Ok(())
}

pub fn drop_table(table: &Ident) -> Result<()> {
    sql::execute_once(&format!("DROP TABLE {table}"))
}

pub fn drop_target(target: &Target) -> Result<()> {
    sql::execute_once(&format!("DROP VIEW IF EXISTS {}", target.view))?;
    match &target.store {
        Some(store) => sql::execute_once(&format!("DROP TABLE {store}")),
        None => Ok(()),
    }
}
