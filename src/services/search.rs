//! Searching: a question becomes a vector by the vectorizer's own provider, and the index of the
//! store finds the nearest chunks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use autovector_domain::config::{Embedding, Indexing, Opclass};
use autovector_providers::{Embedder, Purpose};

use super::{provider, waiting};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::store::catalog::{self, Vectorizer};
use crate::store::locks;
use crate::store::nearest::{self, Found};
use crate::store::transaction::as_extension_owner;

/// More are not a search but an export.
const MAX_RESULTS: i32 = 10_000;

/// With which configuration, and whether with its key, a provider was opened.
type Opened = ((Embedding, bool), Arc<dyn Embedder>);

thread_local! {
    /// Providers opened by this session: a local model is loaded once.
    static OPEN: RefCell<HashMap<String, Opened>> = RefCell::default();
}

/// The vector of `text`, by the provider of vectorizer `id`.
pub fn embed(id: i32, text: &str, purpose: Purpose) -> Result<Vec<f32>> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    nearest::require_select(&v)?;
    embed_for(&v, text, purpose)
}

fn embed_for(v: &Vectorizer, text: &str, purpose: Purpose) -> Result<Vec<f32>> {
    let embedder = embedder(v)?;
    let text = text.to_owned();
    let embeddings = waiting::on_thread(move || embedder.embed(&[&text], purpose))??;
    Ok(embeddings.vector(0).to_vec())
}

fn embedder(v: &Vectorizer) -> Result<Arc<dyn Embedder>> {
    let wanted = (v.config.embedding.clone(), v.may_use_key);
    let kept = OPEN
        .with_borrow(|open| open.get(&v.name).filter(|(with, _)| *with == wanted).map(|(_, e)| e.clone()));
    if let Some(embedder) = kept {
        return Ok(embedder);
    }
    let settings = Settings::now();
    let (config, may_use_key) = (v.config.embedding.clone(), v.may_use_key);
    // On a thread: loading a model takes a while, and its threads must not see signals.
    let opened = waiting::on_thread(move || provider::open(&config, may_use_key, &settings))??;
    OPEN.with_borrow_mut(|open| open.insert(v.name.clone(), (wanted, opened.clone())));
    Ok(opened)
}

/// The `k` chunks of vectorizer `id` nearest to `query`, best first.
pub fn search(id: i32, query: &str, k: i32, mode: &str) -> Result<Vec<Found>> {
    if mode != "vector" {
        return Err(
            Error::invalid(format!("search mode \"{mode}\" does not exist")).hint("Use mode => 'vector'.")
        );
    }
    if !(1..=MAX_RESULTS).contains(&k) {
        return Err(Error::invalid(format!("k must be between 1 and {MAX_RESULTS}, not {k}"))
            .hint("k is the number of chunks to return."));
    }
    if query.trim().is_empty() {
        return Err(Error::invalid("the query is empty").hint("Say what to look for."));
    }
    let pgvector = catalog::pgvector()?;
    loop {
        let v = as_extension_owner(|| catalog::vectorizer(id))?;
        nearest::require_select(&v)?;
        let vector = embed_for(&v, query, Purpose::Query)?;
        // While the question was embedded, another store may have taken over, with another model.
        locks::lock_relation(v.store.oid, locks::ACCESS_SHARE);
        let now = as_extension_owner(|| catalog::vectorizer(id))?;
        if now.store.oid == v.store.oid {
            return nearest::find(&now, &pgvector, opclass(&now), &vector, k);
        }
    }
}

fn opclass(v: &Vectorizer) -> Opclass {
    match &v.config.indexing {
        Indexing::Hnsw(hnsw) => hnsw.opclass,
        _ => Opclass::Cosine,
    }
}
