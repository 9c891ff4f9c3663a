//! Lifetimes and ends of checkpoints.

use pgrx::Uuid;
use pgrx::datum::{Interval, TimestampWithTimeZone};

use super::create::check_lifetime;
use crate::error::Result;
use crate::store::checkpoints::history;
use crate::store::checkpoints::named::{self, Checkpoint, Hold};
use crate::store::roles;
use crate::store::transaction::as_extension_owner;

/// The live checkpoint, of a table that the caller owns.
pub fn owned(id: Uuid, hold: Hold) -> Result<Checkpoint> {
    let checkpoint = as_extension_owner(|| named::live(id, hold))?;
    let (history, _) = as_extension_owner(|| checkpoint.main())?;
    match &history.relation {
        Some(relation) => roles::require_ownership(relation)?,
        None => roles::require_membership(history.owner, &history.table)?,
    }
    Ok(checkpoint)
}

/// Changes the expiry alone; None: never.
pub fn refresh(id: Uuid, lifetime: Option<Interval>) -> Result<Option<TimestampWithTimeZone>> {
    check_lifetime(lifetime.as_ref())?;
    owned(id, Hold::Update)?;
    as_extension_owner(|| named::set_lifetime(id, lifetime))
}

/// False when there is no such checkpoint any more. What it held is freed by a collection.
pub fn delete(id: Uuid) -> Result<bool> {
    let histories = as_extension_owner(|| named::histories(id))?;
    for id in &histories {
        let Some(history) = as_extension_owner(|| history::load(*id))? else { continue };
        match &history.relation {
            Some(relation) => roles::require_ownership(relation)?,
            None => roles::require_membership(history.owner, &history.table)?,
        }
        history::invalidate(history.oid);
    }
    as_extension_owner(|| named::delete(id))
}
