//! A table of vectors that is there already becomes the store of a vectorizer. What it lacks and can
//! be given without a guess is added; what would need one is refused, with the statement that helps.

use pgrx::pg_sys;

use super::catalog::{self, Pgvector, Relation};
use super::ident::Ident;
use super::key::KeySpec;
use super::{ddl, locks, roles, sql};
use crate::error::{Error, Kind, Result};

/// What other programs call the column of the text.
const TEXT_NAMES: [&str; 5] = ["content", "document", "text", "page_content", "contents"];

/// What was done to the table, for the caller to tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Rows without a chunk or a vector, which were deleted.
    pub emptied: usize,
}

struct Column {
    name: String,
    type_sql: String,
    not_null: bool,
    has_default: bool,
}

/// The table that is to be taken over; an error when it is none, or somebody else's.
pub fn candidate(schema: &str, table: &str, source: &Relation) -> Result<Relation> {
    let ident = Ident::qualified(schema, table);
    let oid = sql::query_one("SELECT to_regclass($1)::oid", &[ident.to_string().into()], |row| row.get(1))?
        .flatten();
    let store = oid.map(catalog::relation).transpose()?.flatten();
    let store =
        store.ok_or_else(|| Error::new(Kind::UndefinedTable, format!("table {ident} does not exist")))?;
    let refuse = |message: String, hint: &str| Err(Error::new(Kind::Unsupported, message).hint(hint));
    if store.kind != b'r' || roles::is_temporary(store.oid)? {
        return refuse(format!("{ident} is not an ordinary table"), "Copy its rows into one.");
    }
    if store.oid == source.oid {
        return refuse(
            format!("{ident} is the source itself"),
            "Name the table with the vectors, or use ai.destination_column('…').",
        );
    }
    roles::require_ownership(&store)?;
    Ok(store)
}

/// The vectorizer that has `store`, by name.
pub fn user_of(store: pg_sys::Oid) -> Result<Option<String>> {
    sql::query_one(
        "SELECT name::text FROM ai.vectorizer WHERE store = $1::regclass",
        &[store.into()],
        |row| row.value(1),
    )
}

/// Refuses a table that cannot become the store. Changes nothing.
pub fn check(store: &Relation, key: &KeySpec, pgvector: &Pgvector, dimensions: u32) -> Result<()> {
    let columns = columns(store)?;
    let table = &store.ident;
    for part in &key.columns {
        let quoted = Ident::new(&part.stored_name);
        match find(&columns, &part.stored_name) {
            None => {
                return Err(missing(table, &part.stored_name, "the key of the source").hint(format!(
                    "ALTER TABLE {table} ADD COLUMN {quoted} {}; and say in it which row each chunk is of.",
                    part.type_sql
                )));
            }
            Some(column) if column.type_sql != part.type_sql => {
                return Err(Error::invalid(format!(
                    "column {quoted} of {table} is {}, and {} in the source",
                    column.type_sql, part.type_sql
                ))
                .hint(format!("ALTER TABLE {table} ALTER COLUMN {quoted} TYPE {};", part.type_sql)));
            }
            Some(_) => {}
        }
        require_none(
            &format!("SELECT EXISTS (SELECT FROM {table} WHERE {quoted} IS NULL)"),
            || format!("column {quoted} of {table} has NULLs"),
            || format!("DELETE FROM {table} WHERE {quoted} IS NULL;"),
        )?;
    }
    check_chunk(table, &columns)?;
    check_vectors(table, &columns, pgvector, dimensions)?;
    check_others(store, key, &columns)
}

fn check_chunk(table: &Ident, columns: &[Column]) -> Result<()> {
    match find(columns, "chunk") {
        Some(column) if is_text(column) => Ok(()),
        Some(column) => Err(Error::invalid(format!("column chunk of {table} is {}", column.type_sql))
            .hint(format!("ALTER TABLE {table} ALTER COLUMN chunk TYPE text;"))),
        None => {
            let candidate = columns.iter().find(|c| is_text(c) && TEXT_NAMES.contains(&c.name.as_str()));
            let name = candidate.map_or("…".to_owned(), |c| Ident::new(&c.name).to_string());
            Err(missing(table, "chunk", "the text of each vector")
                .hint(format!("ALTER TABLE {table} RENAME COLUMN {name} TO chunk;")))
        }
    }
}

fn is_text(column: &Column) -> bool {
    column.type_sql == "text" || column.type_sql.starts_with("character varying")
}

fn check_vectors(table: &Ident, columns: &[Column], pgvector: &Pgvector, dimensions: u32) -> Result<()> {
    let plain = format!("{}.vector", pgvector.schema);
    let is_vector = |column: &Column| column.type_sql == plain || dimensions_of(column, &plain).is_some();
    let Some(column) = find(columns, "embedding") else {
        let name = columns
            .iter()
            .find(|c| is_vector(c))
            .map_or("…".to_owned(), |c| Ident::new(&c.name).to_string());
        return Err(missing(table, "embedding", "the vector")
            .hint(format!("ALTER TABLE {table} RENAME COLUMN {name} TO embedding;")));
    };
    if !is_vector(column) {
        return Err(Error::invalid(format!(
            "column embedding of {table} is {}, not a vector",
            column.type_sql
        ))
        .hint(format!("ALTER TABLE {table} ALTER COLUMN embedding TYPE vector({dimensions});")));
    }
    let other = match dimensions_of(column, &plain) {
        Some(found) => Some(found).filter(|found| *found != dimensions),
        None => sql::query_one(
            &format!(
                "SELECT {0}.vector_dims(embedding) FROM {table}
                  WHERE {0}.vector_dims(embedding) <> {dimensions} LIMIT 1",
                pgvector.schema
            ),
            &[],
            |row| row.value::<i32>(1),
        )?
        .map(|found| found as u32),
    };
    match other {
        None => Ok(()),
        Some(found) => Err(Error::invalid(format!(
            "vectors of {table} have {found} dimensions, and those of the model {dimensions}"
        ))
        .hint("Give as embedding the model that made them, or another destination for new vectors.")),
    }
}

/// The number in `vector(n)`.
fn dimensions_of(column: &Column, plain: &str) -> Option<u32> {
    column.type_sql.strip_prefix(plain)?.strip_prefix('(')?.strip_suffix(')')?.parse().ok()
}

fn check_others(store: &Relation, key: &KeySpec, columns: &[Column]) -> Result<()> {
    let table = &store.ident;
    for (name, type_sql) in [
        ("embedding_uuid", "uuid"),
        ("chunk_seq", "integer"),
        ("content_hash", "bytea"),
        ("embedded_at", "timestamp with time zone"),
    ] {
        if let Some(column) = find(columns, name).filter(|column| column.type_sql != type_sql) {
            return Err(Error::invalid(format!(
                "column {name} of {table} is {}, and a store has {type_sql} there",
                column.type_sql
            ))
            .hint(format!("ALTER TABLE {table} RENAME COLUMN {name} TO …;")));
        }
    }
    let ours = |name: &str| {
        ddl::RESERVED.contains(&name) || key.columns.iter().any(|column| column.stored_name == name)
    };
    if let Some(column) = columns.iter().find(|c| !ours(&c.name) && c.not_null && !c.has_default) {
        let quoted = Ident::new(&column.name);
        return Err(Error::invalid(format!(
            "column {quoted} of {table} needs a value that no vectorizer gives"
        ))
        .hint(format!("ALTER TABLE {table} ALTER COLUMN {quoted} DROP NOT NULL; or give it a default.")));
    }
    if find(columns, "chunk_seq").is_some() {
        let names = key.stored_names();
        require_none(
            &format!("SELECT EXISTS (SELECT FROM {table} GROUP BY {names}, chunk_seq HAVING count(*) > 1)"),
            || format!("two chunks of a row have the same chunk_seq in {table}"),
            || {
                format!(
                    "Number them anew, or ALTER TABLE {table} DROP COLUMN chunk_seq; and it is done here."
                )
            },
        )?;
    }
    Ok(())
}

/// Gives the table what a store has. Its rows and their vectors stay.
pub fn convert(store: &Relation, key: &KeySpec, pgvector: &Pgvector, dimensions: u32) -> Result<Adopted> {
    let table = &store.ident;
    locks::lock_relation(store.oid, pg_sys::AccessExclusiveLock);
    let columns = columns(store)?;
    let has = |name: &str| find(&columns, name).is_some();
    let nullable = |name: &str| find(&columns, name).is_none_or(|column| !column.not_null);
    let mut adopted = Adopted::default();
    if nullable("chunk") || nullable("embedding") {
        adopted.emptied =
            sql::execute(&format!("DELETE FROM {table} WHERE chunk IS NULL OR embedding IS NULL"), &[])?;
    }
    let mut changes = Vec::new();
    for part in key.columns.iter().filter(|part| nullable(&part.stored_name)) {
        changes.push(format!("ALTER COLUMN {} SET NOT NULL", Ident::new(&part.stored_name)));
    }
    for name in ["chunk", "embedding"].into_iter().filter(|name| nullable(name)) {
        changes.push(format!("ALTER COLUMN {name} SET NOT NULL"));
    }
    if find(&columns, "chunk").is_some_and(|column| column.type_sql != "text") {
        changes.push("ALTER COLUMN chunk TYPE text".to_owned());
    }
    let plain = format!("{}.vector", pgvector.schema);
    if find(&columns, "embedding").is_some_and(|column| column.type_sql == plain) {
        changes.push(format!("ALTER COLUMN embedding TYPE {plain}({dimensions})"));
    }
    match has("embedding_uuid") {
        true => changes.push("ALTER COLUMN embedding_uuid SET DEFAULT gen_random_uuid()".to_owned()),
        false => changes.push("ADD COLUMN embedding_uuid uuid NOT NULL DEFAULT gen_random_uuid()".to_owned()),
    }
    if !has("content_hash") {
        changes.push("ADD COLUMN content_hash bytea".to_owned());
    }
    if !has("embedded_at") {
        changes.push("ADD COLUMN embedded_at timestamptz NOT NULL DEFAULT now()".to_owned());
    }
    if !has("chunk_seq") {
        changes.push("ADD COLUMN chunk_seq int4".to_owned());
    }
    sql::execute_once(&format!("ALTER TABLE {table} {}", changes.join(", ")))?;
    if !has("chunk_seq") {
        number(table, key)?;
    }
    if nullable("chunk_seq") {
        sql::execute_once(&format!("ALTER TABLE {table} ALTER COLUMN chunk_seq SET NOT NULL"))?;
    }
    require_unique(store, key)?;
    Ok(adopted)
}

/// The chunks of a row in the order in which they lie: what is wrong there is put right when the row
/// is looked at.
fn number(table: &Ident, key: &KeySpec) -> Result<()> {
    sql::execute_once(&format!(
        "UPDATE {table} t SET chunk_seq = n.seq
           FROM (SELECT ctid AS place, row_number() OVER (PARTITION BY {} ORDER BY ctid) - 1 AS seq FROM {table}) n
          WHERE t.ctid = n.place",
        key.stored_names()
    ))
}

/// A row's chunks are found by the key, and no number is there twice.
fn require_unique(store: &Relation, key: &KeySpec) -> Result<()> {
    let mut wanted: Vec<String> = key.columns.iter().map(|c| c.stored_name.clone()).collect();
    wanted.push("chunk_seq".to_owned());
    let found = sql::query_one(
        "SELECT EXISTS (
           SELECT FROM pg_catalog.pg_index i
            WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
              AND (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
                     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) = $2)",
        &[store.oid.into(), wanted.into()],
        |row| row.value::<bool>(1),
    )?;
    if found == Some(true) {
        return Ok(());
    }
    sql::execute_once(&format!("ALTER TABLE {} ADD UNIQUE ({}, chunk_seq)", store.ident, key.stored_names()))
}

fn columns(store: &Relation) -> Result<Vec<Column>> {
    sql::query(
        "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod), attnotnull,
                atthasdef OR attidentity <> '' FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        &[store.oid.into()],
        |row| {
            Ok(Column {
                name: row.value(1)?,
                type_sql: row.value(2)?,
                not_null: row.value(3)?,
                has_default: row.value(4)?,
            })
        },
    )
}

fn find<'a>(columns: &'a [Column], name: &str) -> Option<&'a Column> {
    columns.iter().find(|column| column.name == name)
}

fn missing(table: &Ident, column: &str, what: &str) -> Error {
    Error::new(Kind::UndefinedColumn, format!("{table} has no column \"{column}\", {what}"))
}

fn require_none(
    statement: &str,
    message: impl FnOnce() -> String,
    hint: impl FnOnce() -> String,
) -> Result<()> {
    match sql::query_one(statement, &[], |row| row.value::<bool>(1))? {
        Some(true) => Err(Error::invalid(message()).hint(hint())),
        _ => Ok(()),
    }
}

/// Whether the view `schema.name` reads the store.
pub fn reads(schema: &str, name: &str, store: pg_sys::Oid) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (
           SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid
             JOIN pg_catalog.pg_class c ON c.oid = w.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
              AND d.refobjid = $1 AND c.relkind = 'v' AND n.nspname = $2::name AND c.relname = $3::name)",
        &[store.into(), schema.into(), name.into()],
        |row| row.value::<bool>(1),
    )?;
    Ok(found == Some(true))
}
