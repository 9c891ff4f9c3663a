//! Chunks without vectors: of a text, and of the first rows of a vectorizer's source.

use autovector_domain::chunking::Chunker;
use autovector_domain::config::Chunking;
use autovector_domain::packing;
use autovector_domain::pipeline::Pipeline;
use pgrx::JsonB;

use crate::error::{Error, Kind, Result};
use crate::store::transaction::{as_extension_owner, pinned};
use crate::store::{catalog, sample};

/// More rows are not a preview.
const MOST_ROWS: i32 = 10_000;

pub struct PreviewedChunk {
    pub key: JsonB,
    pub seq: i32,
    pub text: String,
    /// A quarter of the bytes, the usual estimate.
    pub tokens: i32,
}

/// The chunks of a text.
pub fn cut(text: &str, chunking: &Chunking) -> Result<Vec<String>> {
    Ok(Chunker::new(chunking)?.chunk(text)?)
}

/// What vectorizer `id` makes of the first rows of its source, as the caller may read them.
pub fn chunks(id: i32, rows: i32) -> Result<Vec<PreviewedChunk>> {
    if !(1..=MOST_ROWS).contains(&rows) {
        return Err(Error::invalid(format!("limit_rows must be between 1 and {MOST_ROWS}, not {rows}"))
            .hint("Give the number of rows to look at."));
    }
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    if v.reads_documents() {
        return Err(Error::new(Kind::Unsupported, "documents are not read for a preview")
            .hint("Look at the chunks of the first rows once they are embedded."));
    }
    let pipeline = Pipeline::new(&v.config)?;
    let rows = pinned(|| sample::first_rows(&v, pipeline.columns(), rows))?;
    let mut chunks = Vec::new();
    for (key, row) in rows {
        let columns: Vec<Option<&str>> = row.columns.iter().map(Option::as_deref).collect();
        let made = pipeline.prepare(row.text.as_deref(), &columns)?;
        chunks.extend(made.into_iter().enumerate().map(|(seq, chunk)| PreviewedChunk {
            key: JsonB(key.0.clone()),
            seq: seq as i32,
            tokens: i32::try_from(packing::estimate_tokens(&chunk.text)).unwrap_or(i32::MAX),
            text: chunk.text,
        }));
    }
    Ok(chunks)
}
