//! Paying once across vectorizers: what the shared cache knows of a batch before it is embedded,
//! and what it learns from one. Nothing here may stop a batch.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use autovector_domain::pipeline::{ContentHash, Pipeline};

use super::batch::{self, Embedded};
use super::chores::Chore;
use crate::error::Result;
use crate::settings::Settings;
use crate::store::catalog::Vectorizer;
use crate::store::completion::Outcome;
use crate::store::embedding_cache;
use crate::store::queue::ClaimedRow;
use crate::store::transaction::transaction;

pub const CHORE: Chore = Chore { name: "embedding cache", due, run };

/// The vectors that the cache has for chunks that these rows need.
pub fn recall(v: &Vectorizer, pipeline: &Pipeline, rows: &[ClaimedRow]) -> HashMap<ContentHash, Vec<f32>> {
    // The texts of documents are not known before they are read.
    if !v.config.processing.embedding_cache || v.reads_documents() {
        return HashMap::new();
    }
    let mut hashes: HashSet<ContentHash> = HashSet::new();
    for row in rows {
        let columns: Vec<Option<&str>> = row.columns.iter().map(Option::as_deref).collect();
        let chunks = pipeline.prepare(row.text.as_deref(), &columns).unwrap_or_default();
        let stored: HashSet<ContentHash> =
            batch::existing(row, pipeline).into_iter().map(|(_, hash)| hash).collect();
        hashes.extend(chunks.iter().map(|chunk| chunk.hash).filter(|hash| !stored.contains(hash)));
    }
    let hashes: Vec<ContentHash> = hashes.into_iter().collect();
    or_log(v, transaction(|| embedding_cache::recall(v, &hashes))).unwrap_or_default()
}

/// Keeps the vectors of a batch that was written.
pub fn keep(v: &Vectorizer, embedded: &Embedded) {
    if !v.config.processing.embedding_cache {
        return;
    }
    let chunks = embedded.rows.iter().filter_map(|row| match &row.outcome {
        Outcome::Done(chunks) => Some(chunks.inserts.iter()),
        _ => None,
    });
    let vectors = chunks.flatten().map(|chunk| (&chunk.hash, chunk.vector.as_slice()));
    or_log(v, transaction(|| embedding_cache::keep(v, vectors)));
}

fn or_log<T>(v: &Vectorizer, result: Result<T>) -> Option<T> {
    result.inspect_err(|error| pgrx::log!("autovector worker: cache of \"{}\": {error}", v.name)).ok()
}

fn due() -> Result<Option<Duration>> {
    let over = embedding_cache::rows()? > Settings::now().embedding_cache_rows;
    Ok(over.then_some(Duration::ZERO))
}

/// Makes room for a tenth more than there may be, so that it is not run for every batch.
fn run() -> Result<()> {
    let most = Settings::now().embedding_cache_rows;
    while transaction(|| embedding_cache::evict(most - most / 10))? > most {
        pgrx::check_for_interrupts!();
    }
    Ok(())
}
