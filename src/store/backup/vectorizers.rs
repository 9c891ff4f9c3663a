//! Stores that are filled from a backup while their vectorizer lives on: nothing in flight may be
//! written over what is restored, and every source row is looked at again. Chunks whose hash the
//! restored store has keep their vector, so that looking costs no provider anything.

use crate::error::Result;
use crate::store::catalog::{self, Vectorizer};
use crate::store::locks::{self, Lock, Mode};
use crate::store::transaction::{as_extension_owner, as_role};
use crate::store::{capture, registry, sql};

/// Stops new claims until the end of the transaction and makes what is in flight stale.
pub fn hold(id: i32) -> Result<Vectorizer> {
    locks::wait_for_transaction(id, Lock::Gate, Mode::Exclusive);
    as_extension_owner(|| {
        registry::end_leases(id)?;
        catalog::vectorizer(id)
    })
}

/// Removes vectors of rows that are gone from the source, and makes all others dirty.
pub fn look_again(v: &Vectorizer) -> Result<()> {
    as_role(v.store.owner, || {
        sql::execute_once(&format!(
            "DELETE FROM {} t WHERE NOT EXISTS (SELECT FROM {} s WHERE {})",
            v.store.ident,
            v.source.scan(),
            v.key.stored_matches_source("t", "s")
        ))
    })?;
    let (names, again) = (v.key.stored_names(), v.dirty_again());
    as_role(v.queue_owner, || {
        sql::execute_once(&format!(
            "INSERT INTO {queue} ({names}, gen)
             SELECT {keys}, g.gen FROM {source} s, (SELECT nextval('ai._generation_seq') AS gen) g ORDER BY {keys}
             ON CONFLICT ({names}) DO UPDATE SET {again}",
            queue = v.queue,
            keys = v.key.source_list("s"),
            source = v.source.scan(),
        ))
    })?;
    capture::wake_at_commit();
    Ok(())
}
