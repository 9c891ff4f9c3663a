//! Taking over a store that is there already: for `adopt_existing`, and for pgai's.

use super::vectorizers::Target;
use crate::error::{Error, Kind, Result};
use crate::store::adoption;
use crate::store::catalog::{Pgvector, Relation};
use crate::store::key::KeySpec;
use crate::store::roles;
use crate::store::transaction::as_extension_owner;

/// The table that is to be taken over, checked; None when there is none, and a new one is to be made.
pub fn find(
    target: &Target,
    source: &Relation,
    key: &KeySpec,
    pgvector: &Pgvector,
    dimensions: u32,
) -> Result<Option<Relation>> {
    if !roles::relation_exists(&target.schema, &target.table)? {
        return Ok(None);
    }
    let store = adoption::candidate(&target.schema, &target.table, source)?;
    check(&store, key, pgvector, dimensions)?;
    Ok(Some(store))
}

/// Refuses a table that belongs to another vectorizer, or cannot become a store.
pub fn check(store: &Relation, key: &KeySpec, pgvector: &Pgvector, dimensions: u32) -> Result<()> {
    if let Some(user) = as_extension_owner(|| adoption::user_of(store.oid))? {
        return Err(Error::new(
            Kind::DuplicateObject,
            format!("{} is the store of vectorizer \"{user}\"", store.ident),
        )
        .hint(format!("SELECT ai.drop_vectorizer('{user}'); leaves its store to be taken over.")));
    }
    adoption::check(store, key, pgvector, dimensions)
}

/// Makes it a store.
pub fn take_over(store: &Relation, key: &KeySpec, pgvector: &Pgvector, dimensions: u32) -> Result<()> {
    let adopted = adoption::convert(store, key, pgvector, dimensions)?;
    if adopted.emptied > 0 {
        pgrx::notice!(
            "{} rows without a chunk or a vector were deleted from {}",
            adopted.emptied,
            store.ident
        );
    }
    Ok(())
}
