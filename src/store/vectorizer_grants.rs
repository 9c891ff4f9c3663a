//! Who may do what with a vectorizer besides the owner of its source: `ai._vectorizer_grant`, and
//! the grants on store and view that make it good. A row without its grant on the store counts for
//! nothing: the grant goes with a role that is dropped, the row would wait for the next of its name.

use pgrx::pg_sys;

use super::catalog::Vectorizer;
use super::ident::Ident;
use super::{queue_views, roles, sql};
use crate::error::Result;

/// Stands for every role.
pub const EVERYBODY: &str = "public";

/// A grant that is in force, of the store `$3`.
const IN_FORCE: &str = "EXISTS (
    SELECT FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a
     WHERE c.oid = $3 AND a.privilege_type = 'SELECT'
       AND a.grantee = CASE WHEN g.role = 'public' THEN 0 ELSE r.oid END)";

/// The levels that `role` has been granted, itself or as a member of another.
pub fn levels(v: &Vectorizer, role: pg_sys::Oid) -> Result<Vec<String>> {
    let statement = format!(
        "SELECT g.level FROM ai._vectorizer_grant g LEFT JOIN pg_catalog.pg_roles r ON r.rolname = g.role
          WHERE g.vectorizer_id = $1 AND {IN_FORCE}
            AND (g.role = 'public' OR pg_catalog.pg_has_role($2, r.oid, 'USAGE'))"
    );
    sql::query(&statement, &[v.id.into(), role.into(), v.store.oid.into()], |row| row.value(1))
}

/// Notes the level of a role, instead of the one that it had; forgets roles that are gone.
pub fn set(v: &Vectorizer, role: &str, level: &str) -> Result<()> {
    forget_gone(v)?;
    sql::execute(
        "INSERT INTO ai._vectorizer_grant (vectorizer_id, role, level) VALUES ($1, $2::name, $3)
         ON CONFLICT (vectorizer_id, role) DO UPDATE SET level = excluded.level",
        &[v.id.into(), role.into(), level.into()],
    )?;
    Ok(())
}

/// False when there was nothing to take back.
pub fn remove(v: &Vectorizer, role: &str) -> Result<bool> {
    forget_gone(v)?;
    let removed = sql::execute(
        "DELETE FROM ai._vectorizer_grant WHERE vectorizer_id = $1 AND role = $2::name",
        &[v.id.into(), role.into()],
    )?;
    Ok(removed > 0)
}

fn forget_gone(v: &Vectorizer) -> Result<()> {
    let statement = format!(
        "DELETE FROM ai._vectorizer_grant d USING ai._vectorizer_grant g
           LEFT JOIN pg_catalog.pg_roles r ON r.rolname = g.role
          WHERE d.vectorizer_id = $1 AND g.vectorizer_id = $1 AND d.role = g.role AND $2 AND NOT {IN_FORCE}"
    );
    sql::execute(&statement, &[v.id.into(), true.into(), v.store.oid.into()])?;
    Ok(())
}

/// Lets a role read `relations`, with the caller's rights: their schemas too, where it may not use
/// them yet.
pub fn grant_select(relations: &[(Ident, String)], role: &str) -> Result<()> {
    let grantee = grantee(role);
    for (relation, schema) in relations {
        if !may_use_schema(schema, role)? {
            sql::execute_once(&format!("GRANT USAGE ON SCHEMA {} TO {grantee}", Ident::new(schema)))?;
        }
        sql::execute_once(&format!("GRANT SELECT ON {relation} TO {grantee}"))?;
    }
    Ok(())
}

/// Takes that back; the schemas may be used for other things, and stay.
pub fn revoke_select(relations: &[(Ident, String)], role: &str) -> Result<()> {
    let grantee = grantee(role);
    for (relation, _) in relations {
        sql::execute_once(&format!("REVOKE SELECT ON {relation} FROM {grantee}"))?;
    }
    Ok(())
}

fn grantee(role: &str) -> String {
    if role == EVERYBODY { "PUBLIC".to_owned() } else { Ident::new(role).to_string() }
}

fn may_use_schema(schema: &str, role: &str) -> Result<bool> {
    let found = sql::query_one(
        "SELECT pg_catalog.has_schema_privilege($2::name, $1, 'USAGE')",
        &[schema.into(), role.into()],
        |row| row.value::<bool>(1),
    )?;
    Ok(found == Some(true))
}

/// Store and view of a vectorizer, and the views of its queue, with their schemas, as far as they are
/// there.
pub fn readable(v: &Vectorizer) -> Result<Vec<(Ident, String)>> {
    let mut found = vec![(v.store.ident.clone(), roles::name_of(v.store.oid)?.0)];
    let view = sql::query_one(
        "SELECT config #>> '{destination,view_schema}', config #>> '{destination,view_name}' FROM ai.vectorizer WHERE id = $1",
        &[v.id.into()],
        |row| Ok(row.get::<String>(1)?.zip(row.get::<String>(2)?)),
    )?;
    if let Some((schema, name)) = view.flatten()
        && roles::relation_exists(&schema, &name)?
    {
        found.push((Ident::qualified(&schema, &name), schema));
    }
    for table in [&v.queue, &v.failed] {
        found.extend(queue_views::unchanged(table)?);
    }
    Ok(found)
}
