//! What people see of a vectorizer.

use super::indexing;
use crate::error::Result;
use crate::store::catalog;
use crate::store::nearest;
use crate::store::status::{self, Counts, Freshness, Record};
use crate::store::transaction::{as_extension_owner, current_role};

/// Counts of vectorizer `id`; None when the caller may not read the source, or it is gone.
pub fn counts(id: i32) -> Result<Option<Counts>> {
    let role = current_role();
    as_extension_owner(|| match catalog::vectorizer(id) {
        Ok(v) if status::may_see(&v, role) => status::counts(&v).map(Some),
        _ => Ok(None),
    })
}

/// What the index over the vectors of `id` is doing; None where `counts` says nothing.
pub fn index_state(id: i32) -> Result<Option<String>> {
    let role = current_role();
    as_extension_owner(|| match catalog::vectorizer(id) {
        Ok(v) if status::may_see(&v, role) => Ok(Some(indexing::state(&v)?.vectors)),
        _ => Ok(None),
    })
}

/// How fresh an answer of `ai.search` is, and what it is found with. For those who may search.
pub fn search_status(id: i32) -> Result<(Freshness, indexing::State)> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    nearest::require_select(&v)?;
    as_extension_owner(|| Ok((status::freshness(&v)?, indexing::state(&v)?)))
}

/// So many rows that are pending are counted unless all are asked for.
const COUNTED: i64 = 10_000;

/// How many rows of vectorizer `id` are pending; i64::MAX for more than are counted, as pgai has it.
pub fn queue_pending(id: i32, exact: bool) -> Result<i64> {
    let role = current_role();
    as_extension_owner(|| {
        let v = catalog::vectorizer(id)?;
        status::require_may_see(&v, role, "How many are pending is told to those who may SELECT from it.")?;
        let pending = status::pending(&v, (!exact).then_some(COUNTED + 1))?;
        Ok(if !exact && pending > COUNTED { i64::MAX } else { pending })
    })
}

/// The state of each row of the source of vectorizer `id`.
pub fn records(id: i32) -> Result<Vec<Record>> {
    let role = current_role();
    as_extension_owner(|| {
        let v = catalog::vectorizer(id)?;
        status::require_may_see(&v, role, "Its rows are shown to those who may SELECT from it.")?;
        status::records(&v)
    })
}
