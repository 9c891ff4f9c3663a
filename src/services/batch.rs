//! Step 2 of a batch: from rows to chunks to vectors. Runs on a thread, so it touches nothing
//! of PostgreSQL.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use autovector_domain::failure::Failure;
use autovector_domain::packing;
use autovector_domain::pipeline::{self, ContentHash, Pipeline};
use autovector_providers::isolate::embed_isolating;
use autovector_providers::{Embedder, Purpose};

use super::documents::{Documents, Unread};
use crate::store::completion::{Chunks, FinishedRow, Outcome, Usage};
use crate::store::queue::{ClaimedRow, Stored};
use crate::store::vectors::Chunk;

/// Holds a batch up between two requests while the server is busy, without losing what it has.
#[derive(Default)]
pub struct Brake {
    on: Mutex<bool>,
    released: Condvar,
}

impl Brake {
    /// Puts the brake on or lets go.
    pub fn set(&self, on: bool) {
        let mut now = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != on {
            *now = on;
            self.released.notify_all();
        }
    }

    /// Waits while the brake is on.
    fn pass(&self) {
        let now = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.released.wait_while(now, |on| *on).unwrap_or_else(PoisonError::into_inner));
    }
}

pub struct Batch {
    pub rows: Vec<ClaimedRow>,
    pub brake: Arc<Brake>,
    pub pipeline: Arc<Pipeline>,
    pub embedder: Arc<dyn Embedder>,
    pub dimensions: usize,
    /// Where rows have documents in place of texts.
    pub documents: Option<Arc<Documents>>,
    /// Vectors that are known already, by the hash of their chunk.
    pub known: HashMap<[u8; 32], Vec<f32>>,
}

impl Batch {
    /// About as many tokens as the texts of the rows have.
    pub fn estimate_tokens(&self) -> i64 {
        let texts = self.rows.iter().filter_map(|row| row.text.as_deref());
        texts.map(|text| packing::estimate_tokens(text) as i64).sum()
    }
}

pub struct Embedded {
    pub rows: Vec<FinishedRow>,
    pub usage: Usage,
    /// What stopped the batch before its end, if anything did; blames no row.
    pub failure: Option<Failure>,
}

/// What the rows need: each text once, however many chunks share it.
struct Wanted {
    texts: Vec<String>,
    by_hash: HashMap<[u8; 32], usize>,
}

type Prepared = Result<(Vec<pipeline::Chunk>, pipeline::Plan), Unprepared>;

/// Why a row has no chunks.
enum Unprepared {
    Failed {
        step: &'static str,
        message: String,
    },
    /// Its document may be there another time.
    Later {
        message: String,
    },
    /// Another batch is to have it.
    Unreached,
}

/// Text that the documents of a batch may come to; the others are left to the next one.
const MOST_TEXT: usize = 8 * 1024 * 1024;

/// Chunks, embeds and plans every row. Rows that a failure kept from their vectors come back
/// unfinished.
pub fn embed(batch: Batch) -> Embedded {
    let mut wanted = Wanted { texts: Vec::new(), by_hash: HashMap::new() };
    let mut usage = Usage::default();
    let mut interrupted = None;
    let mut read = 0;
    let prepared: Vec<Prepared> = batch
        .rows
        .iter()
        .map(|row| match document(row, &batch, &mut read, &mut interrupted)? {
            Some(text) => prepare(row, Some(&text), &batch, &mut wanted, &mut usage),
            None if batch.documents.is_some() => prepare(row, None, &batch, &mut wanted, &mut usage),
            None => prepare(row, row.text.as_deref(), &batch, &mut wanted, &mut usage),
        })
        .collect();
    let Answered { vectors, cut, failure } = request(&batch, &wanted.texts, &mut usage);
    let failure = failure.or(interrupted);
    usage.cut_to = batch.embedder.longest();
    let (known, retries) = (batch.known, batch.documents.map_or(0, |documents| documents.retries()));
    let rows = batch
        .rows
        .into_iter()
        .zip(prepared)
        .map(|(row, prepared)| FinishedRow {
            cut: count_cut(&prepared, &wanted, &cut),
            outcome: match prepared {
                Err(Unprepared::Later { message }) => later(message, row.retries, retries),
                prepared => outcome(prepared, &known, &wanted, &vectors),
            },
            key: row.key,
            generation: row.generation,
        })
        .collect();
    Embedded { rows, usage, failure }
}

/// The text of a row's document, where rows have documents.
fn document(
    row: &ClaimedRow,
    batch: &Batch,
    read: &mut usize,
    interrupted: &mut Option<Failure>,
) -> Result<Option<String>, Unprepared> {
    let Some(documents) = &batch.documents else { return Ok(None) };
    if interrupted.is_some() || *read > MOST_TEXT {
        return Err(Unprepared::Unreached);
    }
    batch.brake.pass();
    match documents.text(row) {
        Ok(text) => {
            *read += text.as_ref().map_or(0, String::len);
            Ok(text)
        }
        Err(Unread::Failed { step, message }) => Err(Unprepared::Failed { step, message }),
        Err(Unread::Later { message }) => Err(Unprepared::Later { message }),
        Err(Unread::Interrupted(failure)) => {
            *interrupted = Some(failure);
            Err(Unprepared::Unreached)
        }
    }
}

/// Tried again, or failed for good.
fn later(message: String, retries: i32, most: u32) -> Outcome {
    if u32::try_from(retries).unwrap_or(0) < most {
        Outcome::Later { message, retries: retries.saturating_add(1) }
    } else {
        Outcome::Failed { step: "loading", message }
    }
}

fn prepare(
    row: &ClaimedRow,
    text: Option<&str>,
    batch: &Batch,
    wanted: &mut Wanted,
    usage: &mut Usage,
) -> Prepared {
    let columns: Vec<Option<&str>> = row.columns.iter().map(Option::as_deref).collect();
    let chunks = batch
        .pipeline
        .prepare(text, &columns)
        .map_err(|failure| Unprepared::Failed { step: "chunking", message: failure.to_string() })?;
    let plan = pipeline::plan(&existing(row, &batch.pipeline), &chunks);
    usage.calls_saved += (chunks.len() - plan.inserts.len()) as u64;
    for index in &plan.inserts {
        let chunk = &chunks[*index];
        if batch.known.contains_key(&chunk.hash) {
            usage.calls_saved += 1;
            continue;
        }
        match wanted.by_hash.entry(chunk.hash) {
            std::collections::hash_map::Entry::Occupied(_) => usage.calls_saved += 1,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(wanted.texts.len());
                wanted.texts.push(chunk.text.clone());
            }
        }
    }
    Ok((chunks, plan))
}

/// The chunks that the store has for a row, by hash.
pub fn existing(row: &ClaimedRow, pipeline: &Pipeline) -> Vec<(i32, ContentHash)> {
    let hash = |stored: &Stored| match stored {
        Stored::Hash(hash) => *hash,
        Stored::Text(text) => pipeline.hash(text),
    };
    row.existing.iter().map(|(seq, stored)| (*seq, hash(stored))).collect()
}

/// The tokens of each text. Counting them as the provider does takes time, so it is done only
/// where a request may hold too many: no token is shorter than a byte.
fn estimates(embedder: &dyn Embedder, texts: &[String], most: usize) -> Vec<usize> {
    let bytes: usize = texts.iter().map(String::len).sum();
    let estimate = |text: &String| match bytes <= most {
        true => packing::estimate_tokens(text),
        false => embedder.count_tokens(text),
    };
    texts.iter().map(estimate).collect()
}

/// The chunks of a row that are to be embedded and were cut for it.
fn count_cut(prepared: &Prepared, wanted: &Wanted, cut: &HashSet<usize>) -> usize {
    let Ok((chunks, plan)) = prepared else { return 0 };
    let text = |index: &usize| wanted.by_hash.get(&chunks[*index].hash);
    plan.inserts.iter().filter(|index| text(index).is_some_and(|text| cut.contains(text))).count()
}

struct Answered {
    /// A vector per text, or why there is none.
    vectors: Vec<Result<Vec<f32>, Failure>>,
    /// The texts of which only the beginning was embedded.
    cut: HashSet<usize>,
    failure: Option<Failure>,
}

fn request(batch: &Batch, texts: &[String], usage: &mut Usage) -> Answered {
    let limits = batch.embedder.limits();
    let estimates = estimates(batch.embedder.as_ref(), texts, limits.tokens);
    let mut vectors = Vec::with_capacity(texts.len());
    let mut cut = HashSet::new();
    for range in packing::pack(&estimates, limits.inputs, limits.tokens) {
        batch.brake.pass();
        let first = range.start;
        let inputs: Vec<&str> = texts[range].iter().map(String::as_str).collect();
        let estimated: usize = inputs.iter().map(|input| packing::estimate_tokens(input)).sum();
        let isolated = embed_isolating(batch.embedder.as_ref(), &inputs, Purpose::Document);
        usage.requests += isolated.calls as u64;
        // A provider that does not count would make a budget endless.
        let answered = isolated.iter().any(|vector| vector.is_ok());
        usage.tokens += if isolated.tokens == 0 && answered { estimated as u64 } else { isolated.tokens };
        cut.extend(isolated.cut.iter().map(|index| first + index));
        vectors.extend(isolated.iter().map(|vector| vector.map(<[f32]>::to_vec).map_err(Clone::clone)));
        if let Some(failure) = isolated.interruption() {
            vectors.resize(texts.len(), Err(failure.clone()));
            return Answered { vectors, cut, failure: Some(failure.clone()) };
        }
    }
    for vector in &vectors {
        if let Ok(vector) = vector
            && vector.len() != batch.dimensions
        {
            let failure = Failure::config(
                format!("the model returned {} dimensions instead of {}", vector.len(), batch.dimensions),
                "Create the vectorizer with the model's own number of dimensions.",
            );
            let vectors = vectors.iter().map(|_| Err(failure.clone())).collect();
            return Answered { vectors, cut, failure: Some(failure) };
        }
    }
    usage.chunks_embedded += vectors.iter().filter(|vector| vector.is_ok()).count() as u64;
    Answered { vectors, cut, failure: None }
}

fn outcome(
    prepared: Prepared,
    known: &HashMap<[u8; 32], Vec<f32>>,
    wanted: &Wanted,
    vectors: &[Result<Vec<f32>, Failure>],
) -> Outcome {
    let (mut chunks, plan) = match prepared {
        Ok(prepared) => prepared,
        Err(Unprepared::Failed { step, message }) => return Outcome::Failed { step, message },
        Err(Unprepared::Later { .. } | Unprepared::Unreached) => return Outcome::Unfinished,
    };
    let mut inserts = Vec::with_capacity(plan.inserts.len());
    for index in &plan.inserts {
        let chunk = &mut chunks[*index];
        let vector = match known.get(&chunk.hash) {
            Some(vector) => Ok(vector),
            None => vectors[wanted.by_hash[&chunk.hash]].as_ref(),
        };
        match vector {
            Ok(vector) => inserts.push(Chunk {
                seq: *index as i32,
                text: std::mem::take(&mut chunk.text),
                hash: chunk.hash,
                vector: vector.clone(),
            }),
            Err(Failure::Input { message }) => {
                return Outcome::Failed { step: "embedding", message: message.clone() };
            }
            Err(_) => return Outcome::Unfinished,
        }
    }
    let keeps = chunks.len() > plan.inserts.len() + plan.moves.len();
    Outcome::Done(Chunks { moves: plan.moves, deletes: plan.deletes, inserts, keeps })
}
