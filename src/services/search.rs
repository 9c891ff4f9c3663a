//! Searching: by meaning, by words, or by both. A question becomes a vector by the vectorizer's
//! own provider, and indexes of the store find the chunks.

use std::collections::HashSet;

use autovector_domain::filter::Filter;
use autovector_domain::fusion;
use autovector_providers::Purpose;
use pgrx::JsonB;
use serde_json::Value;

use super::question;
use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Vectorizer};
use crate::store::filter::{self, Condition};
use crate::store::indexes;
use crate::store::keywords::{self, Words};
use crate::store::locks;
use crate::store::nearest;
use crate::store::transaction::as_extension_owner;

/// More are not a search but an export.
const MAX_RESULTS: i32 = 10_000;
/// Each ranking of a hybrid search is at least so deep: as deep as pgvector looks anyway.
const DEPTH: i32 = 40;
/// So many matches of a keyword search are ranked.
const RANKED: i32 = 1_000;
/// So many are in a hybrid search, at least.
const RANKED_IN_HYBRID: i32 = 100;
/// How much more is fetched where the chunks of one row count once.
const CHUNKS_PER_ROW: i32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Vector,
    Keyword,
    Hybrid,
}

/// What `ai.search` was called with; None is NULL.
pub struct Request<'a> {
    pub query: Option<&'a str>,
    pub k: Option<i32>,
    pub mode: Option<&'a str>,
    pub filter: Option<Value>,
    pub chunks: Option<&'a str>,
}

/// One chunk that was found.
pub struct Found {
    pub key: JsonB,
    pub chunk_seq: i32,
    pub chunk: Option<String>,
    pub score: f64,
    /// `vector`, `keyword` or `both`.
    pub found_by: &'static str,
}

/// A search that has been checked.
struct Search<'a> {
    v: Vectorizer,
    query: &'a str,
    k: i32,
    mode: Mode,
    filter: Option<Filter>,
    best_only: bool,
}

/// The vector of `text`, by the provider of vectorizer `id`.
pub fn embed(id: i32, text: &str, purpose: Purpose) -> Result<Vec<f32>> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    nearest::require_select(&v)?;
    question::embed(&v, text, purpose)
}

/// The best chunks of vectorizer `id` for a query, best first.
pub fn search(id: i32, request: Request<'_>) -> Result<Vec<Found>> {
    let mut search = check(id, request)?;
    let (mode, vector) = loop {
        let question = embed_question(&search)?;
        // While the question was embedded, another store may have taken over, with another model.
        locks::lock_relation(search.v.store.oid, locks::ACCESS_SHARE);
        let now = as_extension_owner(|| catalog::vectorizer(id))?;
        if now.store.oid == search.v.store.oid {
            break question;
        }
        nearest::require_select(&now)?;
        search.v = now;
    };
    let mut found = match (mode, &vector) {
        (Mode::Vector, Some(vector)) => mark(search.by_vector(vector, search.k)?, "vector"),
        (Mode::Hybrid, Some(vector)) => search.by_both(vector)?,
        _ => mark(search.by_words(search.k, search.k, RANKED)?, "keyword"),
    };
    found.truncate(search.k as usize);
    Ok(found)
}

/// The question's vector, where the mode needs one and the provider can be reached; and the mode that
/// is left.
fn embed_question(search: &Search<'_>) -> Result<(Mode, Option<Vec<f32>>)> {
    let mut mode = search.mode;
    let mut vector = None;
    if mode != Mode::Keyword {
        match question::embed(&search.v, search.query, Purpose::Query) {
            Ok(embedded) => vector = Some(embedded),
            Err(error) if error.kind == Kind::Provider => {
                pgrx::warning!(
                    "the provider of vectorizer \"{}\" cannot be reached, so words alone were searched: {error}",
                    search.v.name
                );
                mode = Mode::Keyword;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((mode, vector))
}

fn check(id: i32, request: Request<'_>) -> Result<Search<'_>> {
    let mode = match request.mode {
        Some("vector") => Mode::Vector,
        Some("keyword") => Mode::Keyword,
        Some("hybrid") => Mode::Hybrid,
        other => {
            let shown = other.map_or("null".to_owned(), |mode| format!("\"{mode}\""));
            return Err(Error::invalid(format!("search mode {shown} does not exist"))
                .hint("Use mode => 'vector', 'keyword' or 'hybrid'."));
        }
    };
    let best_only = match request.chunks {
        Some("all") => false,
        Some("best") => true,
        other => {
            let shown = other.map_or("null".to_owned(), |chunks| format!("\"{chunks}\""));
            return Err(Error::invalid(format!("chunks {shown} does not exist"))
                .hint("Use chunks => 'all', or 'best' for the best chunk of each row."));
        }
    };
    let k = match request.k {
        Some(k) if (1..=MAX_RESULTS).contains(&k) => k,
        other => {
            let shown = other.map_or("null".to_owned(), |k| k.to_string());
            return Err(Error::invalid(format!("k must be between 1 and {MAX_RESULTS}, not {shown}"))
                .hint("k is the number of chunks to return."));
        }
    };
    let query = match request.query {
        None => return Err(Error::invalid("the query is null").hint("Say what to look for.")),
        Some(query) if query.trim().is_empty() => {
            return Err(Error::invalid("the query is empty").hint("Say what to look for."));
        }
        Some(query) => query,
    };
    let filter = request.filter.as_ref().map(Filter::parse).transpose()?;
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    nearest::require_select(&v)?;
    Ok(Search { v, query, k, mode, filter, best_only })
}

fn mark(found: Vec<nearest::Found>, found_by: &'static str) -> Vec<Found> {
    let marked = found.into_iter().map(|f| Found {
        key: f.key,
        chunk_seq: f.chunk_seq,
        chunk: f.chunk,
        score: f.score,
        found_by,
    });
    marked.collect()
}

impl Search<'_> {
    fn condition(&self) -> Result<Condition> {
        match &self.filter {
            None => Ok(Condition::default()),
            Some(filter) => filter::condition(filter, &self.v.source, nearest::source_alias(&self.v), 2),
        }
    }

    fn by_vector(&self, vector: &[f32], k: i32) -> Result<Vec<nearest::Found>> {
        let pgvector = catalog::pgvector()?;
        let condition = self.condition()?;
        let index = indexes::serving(&self.v, self.v.config.indexing.metric())?;
        self.best(k, |k| nearest::find(&self.v, &pgvector, index, &condition, vector, k))
    }

    /// Any of the words will do where fewer than `enough` chunks have them all.
    fn by_words(&self, k: i32, enough: i32, ranked: i32) -> Result<Vec<nearest::Found>> {
        let configuration = as_extension_owner(|| keywords::configuration(&self.v))?;
        let condition = self.condition()?;
        self.best(k, |k| {
            let ranked = ranked.max(k);
            let find =
                |words| keywords::find(&self.v, &configuration, (self.query, words), &condition, k, ranked);
            let mut found = find(Words::All)?;
            if found.len() < enough.min(k) as usize && is_plain(self.query) {
                let known: HashSet<String> = found.iter().map(place).collect();
                let more = find(Words::Any)?;
                found.extend(more.into_iter().filter(|f| !known.contains(&place(f))));
                found.truncate(k as usize);
            }
            Ok(found)
        })
    }

    /// Ranks the two answers into one by reciprocal rank fusion.
    fn by_both(&self, vector: &[f32]) -> Result<Vec<Found>> {
        let depth = (2 * self.k).clamp(DEPTH, MAX_RESULTS);
        let answers = [self.by_vector(vector, depth)?, self.by_words(depth, 1, RANKED_IN_HYBRID)?];
        let unit =
            |found: &nearest::Found| if self.best_only { found.key.0.to_string() } else { place(found) };
        let rankings: Vec<Vec<String>> =
            answers.iter().map(|answer| answer.iter().map(unit).collect()).collect();
        let fused = fusion::fuse(&rankings);
        let mut answers = answers.map(|answer| answer.into_iter().map(Some).collect::<Vec<_>>());
        let found = fused.into_iter().take(self.k as usize).map(|fused| {
            let ranks = (fused.ranks[0], fused.ranks[1]);
            // The better of the two has the chunk that speaks for the row.
            let (answer, rank) = match ranks {
                (Some(a), Some(b)) if b < a => (1, b),
                (Some(a), _) => (0, a),
                (None, b) => (1, b.expect("it was found somewhere")),
            };
            let found = answers[answer][rank - 1].take().expect("each is fused once");
            let found_by = match ranks {
                (Some(_), Some(_)) => "both",
                (Some(_), None) => "vector",
                _ => "keyword",
            };
            Found {
                key: found.key,
                chunk_seq: found.chunk_seq,
                chunk: found.chunk,
                score: fused.score,
                found_by,
            }
        });
        Ok(found.collect())
    }

    /// `k` chunks as `find` returns them; where the best chunk of each row counts alone, so many
    /// more are fetched that `k` rows are among them, if there are.
    fn best(&self, k: i32, find: impl Fn(i32) -> Result<Vec<nearest::Found>>) -> Result<Vec<nearest::Found>> {
        if !self.best_only || self.v.column.is_some() {
            return find(k);
        }
        let mut wanted = k;
        loop {
            wanted = wanted.saturating_mul(CHUNKS_PER_ROW);
            let found = find(wanted)?;
            let all = found.len() < wanted as usize;
            let mut rows = HashSet::new();
            let mut best: Vec<_> = found.into_iter().filter(|f| rows.insert(f.key.0.to_string())).collect();
            if all || best.len() >= k as usize || wanted >= MAX_RESULTS * CHUNKS_PER_ROW {
                best.truncate(k as usize);
                return Ok(best);
            }
        }
    }
}

fn place(found: &nearest::Found) -> String {
    format!("{} {}", found.chunk_seq, found.key.0)
}

/// True for a query without the operators of web searches: nothing is said about which of its
/// words have to be there.
fn is_plain(query: &str) -> bool {
    !query.contains('"')
        && query.split_whitespace().all(|word| !word.starts_with('-') && !word.eq_ignore_ascii_case("or"))
}
