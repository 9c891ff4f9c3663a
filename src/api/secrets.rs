//! Granting the use of API keys.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::services::secrets;

#[pg_extern(volatile, strict)]
#[search_path(pg_catalog, pg_temp)]
pub fn grant_secret(secret_name: &str, grant_to_role: &str) -> Result<(), ErrorReport> {
    Ok(secrets::grant(secret_name, grant_to_role)?)
}

#[pg_extern(volatile, strict)]
#[search_path(pg_catalog, pg_temp)]
pub fn revoke_secret(secret_name: &str, revoke_from_role: &str) -> Result<bool, ErrorReport> {
    Ok(secrets::revoke(secret_name, revoke_from_role)?)
}
