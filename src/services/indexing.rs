//! Building the vector index of a store once it is worth it, without blocking anybody who
//! writes.

use autovector_domain::config::{Hnsw, Indexing};

use crate::error::Result;
use crate::store::catalog::{self, Vectorizer};
use crate::store::indexes;

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
    if indexes::has_failed_recently(v)? || indexes::exists(v)? {
        return Ok(false);
    }
    if hnsw.create_when_queue_empty && !indexes::is_quiet(v)? {
        return Ok(false);
    }
    indexes::has_rows(v, hnsw.min_rows)
}
