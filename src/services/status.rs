//! What people see of a vectorizer.

use crate::error::{Error, Kind, Result};
use crate::store::catalog;
use crate::store::status::{self, Counts, Record};
use crate::store::transaction::{as_extension_owner, current_role};

/// Counts of vectorizer `id`; None when the caller may not read the source, or it is gone.
pub fn counts(id: i32) -> Result<Option<Counts>> {
    let role = current_role();
    as_extension_owner(|| match catalog::vectorizer(id) {
        Ok(v) if status::may_see(&v, role) => status::counts(&v).map(Some),
        _ => Ok(None),
    })
}

/// The state of each row of the source of vectorizer `id`.
pub fn records(id: i32) -> Result<Vec<Record>> {
    let role = current_role();
    as_extension_owner(|| {
        let v = catalog::vectorizer(id)?;
        if !status::may_see(&v, role) {
            return Err(Error::new(
                Kind::InsufficientPrivilege,
                format!("permission denied for source table {}", v.source.ident),
            )
            .hint("Its rows are shown to those who may SELECT from it."));
        }
        status::records(&v)
    })
}
