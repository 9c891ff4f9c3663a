//! Handing vectorizers on to other roles.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::services::access;
use crate::store::catalog;

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn grant_vectorizer(
    vectorizer: i32,
    role: &str,
    level: default!(&str, "'use'"),
) -> Result<(), ErrorReport> {
    Ok(access::grant(vectorizer, role, level)?)
}

#[pg_extern(volatile, name = "grant_vectorizer")]
#[search_path(pg_catalog, pg_temp)]
pub fn grant_vectorizer_by_name(
    vectorizer: &str,
    role: &str,
    level: default!(&str, "'use'"),
) -> Result<(), ErrorReport> {
    grant_vectorizer(catalog::id_of(vectorizer)?, role, level)
}

#[pg_extern(volatile)]
#[search_path(pg_catalog, pg_temp)]
pub fn revoke_vectorizer(vectorizer: i32, role: &str) -> Result<bool, ErrorReport> {
    Ok(access::revoke(vectorizer, role)?)
}

#[pg_extern(volatile, name = "revoke_vectorizer")]
#[search_path(pg_catalog, pg_temp)]
pub fn revoke_vectorizer_by_name(vectorizer: &str, role: &str) -> Result<bool, ErrorReport> {
    revoke_vectorizer(catalog::id_of(vectorizer)?, role)
}
