//! Who may have which API key used: superusers decide, by the name of the key.

use autovector_providers::secrets;

use crate::error::{Error, Kind, Result};
use crate::store::transaction::as_extension_owner;
use crate::store::{capture, roles, secret_grants};

/// Lets vectorizers of tables that `role` owns use the key `secret`; `public` is every role.
pub fn grant(secret: &str, role: &str) -> Result<()> {
    check(secret, role, "grant the use of a key")?;
    as_extension_owner(|| secret_grants::add(secret, role))?;
    // Vectorizers that wait for it look again when they are resumed; others at once.
    capture::wake_at_commit();
    Ok(())
}

/// Takes the use of the key back; false when it was not granted. Counts from the next batch on.
pub fn revoke(secret: &str, role: &str) -> Result<bool> {
    roles::require_superuser("revoke the use of a key")?;
    as_extension_owner(|| secret_grants::remove(secret, role))
}

fn check(secret: &str, role: &str, what: &str) -> Result<()> {
    roles::require_superuser(what)?;
    if !secrets::is_name(secret) {
        return Err(Error::invalid("this is no name of a key").hint(
            "Give the name of its file in autovector.secrets_directory, or of its environment variable: letters, digits and underscores. Never the key itself.",
        ));
    }
    if !secret_grants::role_exists(role)? {
        return Err(Error::new(Kind::UndefinedObject, format!("role \"{role}\" does not exist"))
            .hint("Name a role, or 'public' for every role."));
    }
    Ok(())
}
