//! What is pending, and what it will take, before the first request is made.

use autovector_domain::config::Embedding;
use autovector_domain::estimate::{self, Estimate, Requests, Sample};
use autovector_domain::models;
use autovector_domain::packing;
use autovector_domain::pipeline::Pipeline;

use crate::error::Result;
use crate::store::transaction::{as_extension_owner, current_role};
use crate::store::{catalog, sample, status};

/// Rows in a batch when nobody says otherwise.
const BATCH: u64 = 512;

pub struct Report {
    pub estimate: Estimate,
    pub price: Option<f64>,
    pub seconds: Option<f64>,
    pub sampled: u64,
    pub note: String,
}

/// For those who may read the source.
pub fn estimate(id: i32) -> Result<Report> {
    let role = current_role();
    as_extension_owner(|| {
        let v = catalog::vectorizer(id)?;
        status::require_may_see(&v, role, "What its rows take is shown to those who may SELECT from it.")?;
        let pipeline = Pipeline::new(&v.config)?;
        let pending = status::freshness(&v)?.pending;
        let rows =
            if v.reads_documents() { Vec::new() } else { sample::rows(&v, pipeline.columns(), pending)? };
        let mut read = Sample::default();
        for row in &rows {
            let columns: Vec<Option<&str>> = row.columns.iter().map(Option::as_deref).collect();
            // A row that cannot be cut fails alone, and costs nothing.
            let chunks = pipeline.prepare(row.text.as_deref(), &columns).unwrap_or_default();
            read.rows += 1;
            read.chunks += chunks.len() as u64;
            read.tokens += chunks.iter().map(|c| packing::estimate_tokens(&c.text) as u64).sum::<u64>();
        }
        let requests = requests(&v.config.embedding, v.config.processing.batch_size);
        let estimate = estimate::estimate(pending.max(0) as u64, read, requests);
        let per_million = estimate::price_per_million(&v.config.embedding);
        let pace = sample::tokens_per_minute(&v)?;
        Ok(Report {
            price: per_million.map(|price| price * estimate.tokens as f64 / 1_000_000.0),
            seconds: pace.map(|tokens| estimate.tokens as f64 / tokens as f64 * 60.0),
            note: if v.reads_documents() {
                "the documents are not read for an estimate, so what they hold is not known".to_owned()
            } else {
                note(read.rows, pending, per_million.is_some(), pace.is_some())
            },
            sampled: read.rows,
            estimate,
        })
    })
}

/// As the providers take them; see the table in docs/providers.md.
fn requests(embedding: &Embedding, batch_size: Option<u32>) -> Requests {
    let limits = models::request_limits(embedding);
    let (inputs, tokens) = (limits.inputs as u64, limits.tokens as u64);
    Requests { batch: batch_size.map_or(BATCH.min(inputs), u64::from), inputs, tokens }
}

fn note(sampled: u64, pending: i64, priced: bool, paced: bool) -> String {
    let mut parts = vec![if (sampled as i64) < pending {
        format!("estimated from {sampled} rows; a token is taken for four bytes")
    } else {
        "a token is taken for four bytes".to_owned()
    }];
    if !priced {
        parts.push("the price of this model is not known".to_owned());
    }
    if !paced {
        parts.push("nothing was measured with this model yet, so the time is not known".to_owned());
    }
    parts.join("; ")
}
