//! Questions to PostgreSQL's catalogs about roles, rights and names.

use pgrx::pg_sys;

use super::catalog::Relation;
use super::ident::Ident;
use super::sql;
use super::transaction::current_role;
use crate::error::{Error, Kind, Result};

/// The caller must own the table, be a member of the role that does, or be a superuser.
pub fn require_ownership(relation: &Relation) -> Result<()> {
    // SAFETY: plain look-ups in the role caches.
    let allowed = unsafe { pg_sys::superuser() || pg_sys::is_member_of_role(current_role(), relation.owner) };
    if allowed {
        return Ok(());
    }
    Err(Error::new(Kind::InsufficientPrivilege, format!("must be owner of table {}", relation.ident))
        .hint("Only a superuser or the owner of the source table may manage its vectorizers."))
}

pub fn require_superuser(what: &str) -> Result<()> {
    // SAFETY: a plain look-up in the role caches.
    if unsafe { pg_sys::superuser() } {
        return Ok(());
    }
    Err(Error::new(Kind::InsufficientPrivilege, format!("permission denied to {what}"))
        .hint("Only a superuser may do that."))
}

/// The caller must be a member of the role that owned `table`, or a superuser.
pub fn require_membership(owner: pg_sys::Oid, table: &Ident) -> Result<()> {
    // SAFETY: plain look-ups in the role caches.
    if unsafe { pg_sys::superuser() || pg_sys::is_member_of_role(current_role(), owner) } {
        return Ok(());
    }
    Err(Error::new(Kind::InsufficientPrivilege, format!("must be owner of table {table}"))
        .hint("Only a superuser or who owned the table may use its checkpoints."))
}

/// The name of a relation that is to be made, as written by the user: `name` or `schema.name`. An
/// error when the name is taken or the schema is missing. `default_schema` is where the caller's own
/// search_path makes tables.
pub fn new_relation(text: &str, default_schema: Option<&str>) -> Result<Ident> {
    let parts: Vec<String> =
        sql::query_one("SELECT pg_catalog.parse_ident($1)", &[text.into()], |row| row.value(1))?
            .unwrap_or_default();
    let (schema, name) = match parts.as_slice() {
        [name] => match default_schema {
            Some(schema) => (schema.to_owned(), name.clone()),
            None => {
                return Err(Error::invalid(format!("no schema has been selected to create \"{text}\" in"))
                    .hint("Write the name with its schema."));
            }
        },
        [schema, name] => (schema.clone(), name.clone()),
        _ => {
            return Err(Error::invalid(format!("\"{text}\" is not the name of a relation"))
                .hint("Give a name such as 'docs_before' or 'public.docs_before'."));
        }
    };
    if !schema_exists(&schema)? {
        return Err(Error::new(Kind::UndefinedObject, format!("schema \"{schema}\" does not exist"))
            .hint("Create it first, or leave the schema out."));
    }
    if relation_exists(&schema, &name)? {
        return Err(Error::new(Kind::DuplicateObject, format!("relation {schema}.{name} already exists"))
            .hint("Give another name, or drop the relation first."));
    }
    Ok(Ident::qualified(&schema, &name))
}

/// Schema and name of a relation.
pub fn name_of(relation: pg_sys::Oid) -> Result<(String, String)> {
    let found = sql::query_one(
        "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        &[relation.into()],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )?;
    found.ok_or_else(|| Error::new(Kind::UndefinedObject, "the table does not exist"))
}

pub fn name_by_oid(role: pg_sys::Oid) -> Result<String> {
    sql::query_one("SELECT rolname::text FROM pg_catalog.pg_roles WHERE oid = $1", &[role.into()], |row| {
        row.value(1)
    })?
    .ok_or_else(|| Error::new(Kind::UndefinedObject, "the role does not exist"))
}

/// The role called `name`.
pub fn oid_of(name: &str) -> Result<pg_sys::Oid> {
    sql::query_one("SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1::name", &[name.into()], |row| {
        row.value(1)
    })?
    .ok_or_else(|| Error::new(Kind::UndefinedObject, format!("role \"{name}\" does not exist")))
}

/// The role that the session acts as, by name.
pub fn current_name() -> Result<String> {
    name_by_oid(current_role())
}

pub fn is_temporary(relation: pg_sys::Oid) -> Result<bool> {
    exists(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = $1 AND relpersistence = 't')",
        &[relation.into()],
    )
}

pub fn schema_exists(schema: &str) -> Result<bool> {
    exists("SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1::name)", &[schema.into()])
}

/// True where the caller may make objects in a schema that is there.
pub fn may_create_in(schema: &str) -> Result<bool> {
    exists("SELECT pg_catalog.has_schema_privilege($1, 'CREATE')", &[schema.into()])
}

/// True where a table, view, index or type would be in the way of a new relation.
pub fn relation_exists(schema: &str, name: &str) -> Result<bool> {
    exists(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                         WHERE n.nspname = $1::name AND c.relname = $2::name)",
        &[schema.into(), name.into()],
    )
}

/// The type of a column as SQL text.
pub fn column_type(relation: pg_sys::Oid, column: &str) -> Result<String> {
    let found = sql::query_one(
        "SELECT pg_catalog.format_type(atttypid, NULL) FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attname = $2::name AND NOT attisdropped",
        &[relation.into(), column.into()],
        |row| row.value(1),
    )?;
    found.ok_or_else(|| Error::new(Kind::UndefinedColumn, format!("column \"{column}\" does not exist")))
}

/// The roles of a list that do not exist.
pub fn missing(roles: &[String]) -> Result<Vec<String>> {
    sql::query(
        "SELECT g FROM unnest($1::text[]) AS g
          WHERE g <> 'public' AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = g::name)",
        &[roles.to_vec().into()],
        |row| row.value(1),
    )
}

/// The roles of a list that exist.
pub fn existing(roles: &[String]) -> Result<Vec<String>> {
    let missing = missing(roles)?;
    Ok(roles.iter().filter(|role| !missing.contains(role)).cloned().collect())
}

fn exists(statement: &str, args: &[pgrx::datum::DatumWithOid<'_>]) -> Result<bool> {
    Ok(sql::query_one(statement, args, |row| row.value(1))?.unwrap_or(false))
}

/// True when `role` has all rights of `other`.
pub fn acts_as(role: pg_sys::Oid, other: pg_sys::Oid) -> bool {
    // SAFETY: plain look-ups in the role caches.
    unsafe { pg_sys::superuser_arg(role) || pg_sys::has_privs_of_role(role, other) }
}

/// A name as one writes it in SQL.
pub fn quoted(name: &str) -> String {
    super::ident::Ident::new(name).to_string()
}
