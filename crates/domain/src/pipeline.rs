//! From a row to what is embedded: chunking, formatting, hashing; and from the chunks that a
//! store has to those that it should have. Calls no provider and writes nothing.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    chunking::{Chunker, is_blank},
    config::{ConfigError, Embedding, VectorizerConfig},
    failure::Failure,
    template::Template,
};

/// SHA-256 over everything that a vector depends on.
pub type ContentHash = [u8; 32];

/// One text for the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Formatted: what the provider gets and the store keeps.
    pub text: String,
    pub hash: ContentHash,
}

/// What a configuration makes of a row. Made once, used for every row, by any thread.
#[derive(Debug)]
pub struct Pipeline {
    chunker: Chunker,
    template: Template,
    columns: Vec<String>,
    /// SHA-256 with the embedding's part already in it.
    seed: Sha256,
}

impl Pipeline {
    /// Errors: what `VectorizerConfig::validate`, `Chunker::new` and `Template::parse` refuse.
    pub fn new(config: &VectorizerConfig) -> Result<Pipeline, ConfigError> {
        config.validate()?;
        let template = Template::parse(&config.formatting.template)?;
        Ok(Pipeline {
            chunker: Chunker::new(&config.chunking)?,
            columns: template.columns().map(str::to_owned).collect(),
            template,
            seed: seed(&config.embedding),
        })
    }

    /// The source columns that the template needs besides the chunk.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The chunks of one row. `text` is the loaded column, `columns` are the values of `columns()` in that
    /// order; None is NULL. A text without anything visible has no chunks, and a chunk without anything
    /// visible is left out. `Failure::Input` where the text cannot be cut, `Failure::Config` where the
    /// number of columns is wrong.
    pub fn prepare(&self, text: Option<&str>, columns: &[Option<&str>]) -> Result<Vec<Chunk>, Failure> {
        if columns.len() != self.columns.len() {
            return Err(Failure::Config {
                message: format!(
                    "the template needs {} columns and got {}",
                    self.columns.len(),
                    columns.len()
                ),
                hint: None,
            });
        }
        let Some(text) = text.filter(|text| !is_blank(text)) else { return Ok(Vec::new()) };
        let value = |name: &str| {
            let index = self.columns.iter().position(|column| column == name)?;
            columns[index]
        };
        let mut chunks = Vec::new();
        self.chunker.for_each(text, &mut |chunk| {
            if !is_blank(chunk) {
                let text = self.template.render(chunk, value);
                chunks.push(Chunk { hash: self.hash(&text), text });
            }
        })?;
        Ok(chunks)
    }

    /// The hash of a formatted chunk under this configuration's embedding.
    pub fn hash(&self, formatted: &str) -> ContentHash {
        let mut state = self.seed.clone();
        feed(&mut state, formatted.as_bytes());
        state.finalize().into()
    }
}

/// What of the embedding decides the vector: implementation, model, dimensions, model options.
fn seed(embedding: &Embedding) -> Sha256 {
    let embedding = embedding.resolved();
    let options = match embedding.decisive() {
        Value::Null => String::new(),
        options => canonical(&options),
    };
    let mut state = Sha256::new();
    feed(&mut state, embedding.implementation().as_bytes());
    feed(&mut state, embedding.model().as_bytes());
    feed(&mut state, &embedding.dimensions().unwrap_or(0).to_be_bytes());
    feed(&mut state, options.as_bytes());
    state
}

/// The hash under which a vector may be shared within a scope: who pays, and where it comes from.
pub fn scoped(hash: &ContentHash, scope: &str) -> ContentHash {
    let mut state = Sha256::new();
    feed(&mut state, scope.as_bytes());
    feed(&mut state, hash);
    state.finalize().into()
}

/// Whether rows give the same chunks and vectors under both configurations: what a store holds of
/// one is good for the other.
pub fn same_result(a: &VectorizerConfig, b: &VectorizerConfig) -> bool {
    a.loading.column_name == b.loading.column_name
        && a.loading.is_uri() == b.loading.is_uri()
        && a.parsing.detects() == b.parsing.detects()
        && a.chunking == b.chunking
        && a.formatting == b.formatting
        && same_vectors(&a.embedding, &b.embedding)
}

/// Whether both make the same vector of a text.
pub fn same_vectors(a: &Embedding, b: &Embedding) -> bool {
    seed(a).finalize() == seed(b).finalize()
}

/// Stands for everything of an embedding that decides the vector of a text.
pub fn fingerprint(embedding: &Embedding) -> String {
    seed(embedding).finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds a part with its length before it, so that no two lists of parts read the same.
fn feed(state: &mut Sha256, part: &[u8]) {
    state.update((part.len() as u64).to_be_bytes());
    state.update(part);
}

/// JSON with the keys of every object in order: the same options hash the same however they were typed.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// How a row's chunks in the store become the wanted ones. Rows of the store that are right already are
/// not mentioned. Take the deletes first; a move may go to a number that another move is about to leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Rows that keep their vector under another number: (`chunk_seq` now, `chunk_seq` then).
    pub moves: Vec<(i32, i32)>,
    /// Numbers of the rows that go.
    pub deletes: Vec<i32>,
    /// Indexes, in the wanted chunks, of those that have to be embedded; the index is the `chunk_seq`.
    pub inserts: Vec<usize>,
}

impl Plan {
    /// Whether the store is right as it is.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.deletes.is_empty() && self.inserts.is_empty()
    }
}

/// Compares a row's chunks in the store, as (`chunk_seq`, hash) with every number once, with the wanted
/// ones, whose numbers are their indexes. Each vector in the store is used at most once, and at its own
/// number where that is right.
pub fn plan(existing: &[(i32, ContentHash)], wanted: &[Chunk]) -> Plan {
    let mut settled = vec![false; wanted.len()];
    let mut spare: HashMap<&ContentHash, VecDeque<usize>> = HashMap::new();
    let mut used = vec![false; existing.len()];
    for (row, (seq, hash)) in existing.iter().enumerate() {
        let index = usize::try_from(*seq).ok();
        match index.filter(|&index| wanted.get(index).is_some_and(|chunk| chunk.hash == *hash)) {
            Some(index) => {
                settled[index] = true;
                used[row] = true;
            }
            None => spare.entry(hash).or_default().push_back(row),
        }
    }
    let mut plan = Plan::default();
    for (index, chunk) in wanted.iter().enumerate().filter(|(index, _)| !settled[*index]) {
        match spare.get_mut(&chunk.hash).and_then(VecDeque::pop_front) {
            Some(row) => {
                used[row] = true;
                // A text of at most 1 GB has fewer than 2^31 chunks.
                plan.moves.push((existing[row].0, index as i32));
            }
            None => plan.inserts.push(index),
        }
    }
    plan.deletes = existing.iter().zip(used).filter(|(_, used)| !used).map(|((seq, _), _)| *seq).collect();
    plan
}
