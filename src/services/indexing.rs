//! Building the vector index of a store once it is worth it, without blocking anybody who
//! writes.

use autovector_domain::config::{Hnsw, Indexing};

use crate::error::Result;
use crate::store::catalog::{self, Vectorizer};
use crate::store::{indexes, rebuilds};

/// The next vectorizer whose store should get its index now.
pub fn next_due() -> Result<Option<(Vectorizer, Hnsw)>> {
    for id in catalog::ids()? {
        let Ok(v) = catalog::vectorizer(id) else { continue };
        let Indexing::Hnsw(hnsw) = v.config.indexing.clone() else { continue };
        if is_due(&v, &hnsw)? {
            return Ok(Some((v, hnsw)));
        }
    }
    Ok(None)
}

fn is_due(v: &Vectorizer, hnsw: &Hnsw) -> Result<bool> {
    // The store of a rebuild gets its index when it has its rows, and a kept one gets none.
    let in_rebuild = rebuilds::wants_index(v.id)?;
    if in_rebuild == Some(false) {
        return Ok(false);
    }
    if indexes::has_failed_recently(v)? || indexes::exists(v)? {
        return Ok(false);
    }
    if hnsw.create_when_queue_empty && in_rebuild.is_none() && !indexes::is_quiet(v)? {
        return Ok(false);
    }
    indexes::has_rows(v, hnsw.min_rows)
}

/// True when the configuration asks for an index that is not there yet, though it should be.
pub fn is_missing(v: &Vectorizer) -> Result<bool> {
    match &v.config.indexing {
        Indexing::Hnsw(hnsw) => Ok(!indexes::exists(v)? && indexes::has_rows(v, hnsw.min_rows)?),
        Indexing::None | Indexing::Default => Ok(false),
    }
}
