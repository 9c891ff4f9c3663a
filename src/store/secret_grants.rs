//! Who may have which secret used: `ai._secret_grant`.

use pgrx::pg_sys;

use super::sql;
use crate::error::Result;

/// Stands for every role.
const EVERYBODY: &str = "public";

/// True when vectorizers of tables that `owner` owns may use `secret`.
pub fn may_use(owner: pg_sys::Oid, secret: &str) -> Result<bool> {
    // SAFETY: a plain look-up in the role cache.
    if unsafe { pg_sys::superuser_arg(owner) } {
        return Ok(true);
    }
    let found = sql::query_one(
        "SELECT EXISTS (
           SELECT FROM ai._secret_grant g LEFT JOIN pg_catalog.pg_roles r ON r.rolname = g.role
            WHERE g.secret = $2 AND (g.role = $3::name OR pg_catalog.pg_has_role($1, r.oid, 'USAGE')))",
        &[owner.into(), secret.into(), EVERYBODY.into()],
        |row| row.value::<bool>(1),
    )?;
    Ok(found == Some(true))
}

/// True when there is such a role, or `role` stands for everybody.
pub fn role_exists(role: &str) -> Result<bool> {
    if role == EVERYBODY {
        return Ok(true);
    }
    let found = sql::query_one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1::name)",
        &[role.into()],
        |row| row.value::<bool>(1),
    )?;
    Ok(found == Some(true))
}

pub fn add(secret: &str, role: &str) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._secret_grant (secret, role) VALUES ($1, $2::name) ON CONFLICT DO NOTHING",
        &[secret.into(), role.into()],
    )?;
    Ok(())
}

/// False when there was no such grant.
pub fn remove(secret: &str, role: &str) -> Result<bool> {
    let removed = sql::execute(
        "DELETE FROM ai._secret_grant WHERE secret = $1 AND role = $2::name",
        &[secret.into(), role.into()],
    )?;
    Ok(removed > 0)
}
