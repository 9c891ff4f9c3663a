//! Questions become vectors: by the vectorizer's own provider, opened once a session, and out of
//! a small memory of what the session has asked before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use autovector_domain::config::Embedding;
use autovector_providers::{Embedder, Purpose};

use super::{provider, waiting};
use crate::error::{Error, Kind, Result};
use crate::settings::Settings;
use crate::store::catalog::Vectorizer;
use crate::store::secret_grants;
use crate::store::transaction::{as_extension_owner, current_role};

/// Questions that a session remembers for each model, and their longest text.
const REMEMBERED: usize = 256;
const LONGEST: usize = 4096;
/// Models that a session remembers questions for.
const MODELS: usize = 32;

/// A provider that took so long to fail is not asked again before the rest is over.
const SLOW: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_secs(10);

/// A provider with what this session knows of it.
struct Opened {
    /// With which configuration, and whether with its key.
    with: (Embedding, bool),
    embedder: Arc<dyn Embedder>,
    questions: HashMap<String, (Vec<f32>, u64)>,
    asked: u64,
    down: Option<(Instant, Error)>,
}

thread_local! {
    static OPEN: RefCell<HashMap<String, Opened>> = RefCell::default();
}

/// The vector of `text`. Errors of kind `Provider`: it cannot be reached now.
pub fn embed(v: &Vectorizer, text: &str, purpose: Purpose) -> Result<Vec<f32>> {
    open(v)?;
    let (embedder, known) = OPEN.with_borrow_mut(|open| {
        let opened = open.get_mut(&v.name).expect("opened above");
        if let Some((since, error)) = &opened.down
            && since.elapsed() < REST
        {
            return Err(error.clone());
        }
        Ok((opened.embedder.clone(), if purpose == Purpose::Query { opened.recall(text) } else { None }))
    })?;
    if let Some(vector) = known {
        return Ok(vector);
    }
    let input = text.to_owned();
    let started = Instant::now();
    let asked = waiting::on_thread(move || embedder.embed(&[&input], purpose))?.map_err(Error::from);
    OPEN.with_borrow_mut(|open| {
        let opened = open.get_mut(&v.name).expect("opened above");
        match asked {
            Ok(embeddings) => {
                opened.down = None;
                let vector = embeddings.vector(0).to_vec();
                if purpose == Purpose::Query && text.len() <= LONGEST {
                    opened.remember(text, &vector);
                }
                Ok(vector)
            }
            Err(error) => {
                if error.kind == Kind::Provider && started.elapsed() >= SLOW {
                    opened.down = Some((Instant::now(), error.clone()));
                }
                Err(error)
            }
        }
    })
}

/// The vector of `text` by a provider that belongs to no vectorizer; its key is used where the caller may.
pub fn embed_by(embedding: Embedding, text: &str, purpose: Purpose) -> Result<Vec<f32>> {
    let role = current_role();
    let may_use_key = match embedding.api_key_name() {
        Some(secret) => as_extension_owner(|| secret_grants::may_use(role, secret))?,
        None => true,
    };
    let (input, settings) = (text.to_owned(), Settings::now());
    let embedded = waiting::on_thread(move || {
        provider::open(&embedding, may_use_key, &settings)?.embed(&[&input], purpose)
    })??;
    Ok(embedded.vector(0).to_vec())
}

impl Opened {
    fn recall(&mut self, text: &str) -> Option<Vec<f32>> {
        self.asked += 1;
        let (vector, last) = self.questions.get_mut(text)?;
        *last = self.asked;
        Some(vector.clone())
    }

    fn remember(&mut self, text: &str, vector: &[f32]) {
        if self.questions.len() >= REMEMBERED
            && let Some(oldest) = self.questions.iter().min_by_key(|(_, (_, last))| *last)
        {
            let oldest = oldest.0.clone();
            self.questions.remove(&oldest);
        }
        self.questions.insert(text.to_owned(), (vector.to_vec(), self.asked));
    }
}

/// Opens the provider of `v` unless this session has it open as it is configured now.
fn open(v: &Vectorizer) -> Result<()> {
    let is_current = |opened: &Opened| opened.with.0 == v.config.embedding && opened.with.1 == v.may_use_key;
    if OPEN.with_borrow(|open| open.get(&v.name).is_some_and(is_current)) {
        return Ok(());
    }
    let settings = Settings::now();
    let (config, may_use_key) = (v.config.embedding.clone(), v.may_use_key);
    // On a thread: loading a model takes a while, and its threads must not see signals.
    let embedder = waiting::on_thread(move || provider::open(&config, may_use_key, &settings))??;
    OPEN.with_borrow_mut(|open| {
        if open.len() >= MODELS && !open.contains_key(&v.name) {
            open.clear();
        }
        let with = (v.config.embedding.clone(), v.may_use_key);
        let opened = Opened { with, embedder, questions: HashMap::new(), asked: 0, down: None };
        open.insert(v.name.clone(), opened);
    });
    Ok(())
}
