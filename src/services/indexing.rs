//! Building the indexes of a store once they are worth it, without blocking anybody who writes:
//! the one over the vectors first, then the one over the words.

use autovector_domain::config::{Index, Indexing};

use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Pgvector, Vectorizer};
use crate::store::indexes::{self, Job, Method};
use crate::store::transaction::{as_extension_owner, as_role};
use crate::store::{capture, keywords, rebuilds, roles};

/// The next index that should be built now.
pub fn next_due() -> Result<Option<(Vectorizer, Job)>> {
    for id in catalog::ids()? {
        let Ok(v) = catalog::vectorizer(id) else { continue };
        if let Some(job) = due(&v)? {
            return Ok(Some((v, job)));
        }
    }
    Ok(None)
}

fn due(v: &Vectorizer) -> Result<Option<Job>> {
    // The store of a rebuild gets its index when it has its rows, and a kept one gets none.
    let in_rebuild = rebuilds::wants_index(v.id)?;
    if in_rebuild == Some(false) {
        return Ok(None);
    }
    let index = wanted(v)?;
    let ready = |min_rows: u32, when_quiet: bool| -> Result<bool> {
        Ok((!when_quiet || in_rebuild.is_some() || indexes::is_quiet(v)?) && indexes::has_rows(v, min_rows)?)
    };
    if let Some(index) = &index
        && (indexes::serving(v, index.opclass.metric)?.0 == Method::None
            || !indexes::outdated(v, index)?.is_empty())
        && ready(index.min_rows, index.create_when_queue_empty)?
    {
        let job = Job::Vectors(index.clone());
        if !indexes::has_failed_recently(v, job.failure())? {
            return Ok(Some(job));
        }
    }
    let words = match keywords::chosen(v)? {
        _ if v.store.kind == b'p' => None,
        Some(chosen) => chosen.indexed.then_some((chosen.configuration, 0)),
        None => match index {
            Some(index) => Some((keywords::configuration(v)?, index.min_rows)),
            None => None,
        },
    };
    if let Some((configuration, min_rows)) = words
        && !indexes::has_words(v, &configuration)?
        && ready(min_rows, true)?
    {
        let job = Job::Words(configuration);
        if !indexes::has_failed_recently(v, job.failure())? {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

/// The index that the configuration asks for. None for a column of a partitioned table, where no
/// index can be built without blocking those who write.
fn wanted(v: &Vectorizer) -> Result<Option<Index>> {
    if v.store.kind == b'p' {
        return Ok(None);
    }
    Ok(v.config.indexing.index(v.config.embedding.dimensions().unwrap_or_default())?)
}

/// Refuses an index that cannot be built here.
pub fn check(indexing: &Indexing, dimensions: u32, pgvector: &Pgvector) -> Result<()> {
    let Some(index) = indexing.index(dimensions)? else { return Ok(()) };
    if !indexes::has_method(index.method)? {
        return Err(Error::new(
            Kind::Unsupported,
            format!("there is no index method {} in this database", index.method),
        )
        .hint(match index.method {
            "diskann" => "Install pgvectorscale: CREATE EXTENSION vectorscale; or use ai.indexing_hnsw().",
            _ => "ALTER EXTENSION vector UPDATE;",
        }));
    }
    if index.opclass.halfvec && !pgvector.at_least(0, 7) {
        return Err(Error::new(
            Kind::Unsupported,
            format!("extension vector {} has no half-precision vectors, which an index over {dimensions} dimensions needs", pgvector.version),
        )
        .hint("ALTER EXTENSION vector UPDATE; 0.7.0 brought them."));
    }
    Ok(())
}

/// Has the words of vectorizer `id` searched under a text-search configuration, with or without
/// an index; None keeps the configuration.
pub fn set_text_search(id: i32, configuration: Option<&str>, indexed: bool) -> Result<String> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    roles::require_ownership(&v.source)?;
    let configuration = match configuration {
        Some(name) => keywords::resolve(name)?,
        None => as_extension_owner(|| keywords::configuration(&v))?,
    };
    if !indexed || !indexes::has_words(&v, &configuration)? {
        let schema = roles::name_of(v.store.oid)?.0;
        as_role(v.store.owner, || indexes::drop_words(&v, &schema))?;
    }
    as_extension_owner(|| keywords::choose(id, &configuration, indexed))?;
    capture::wake_at_commit();
    Ok(configuration)
}

/// What an index is doing, in one word or a few: `none`, `waiting`, `building: …`, `ready`,
/// `failed`.
pub struct State {
    pub vectors: String,
    pub words: String,
    pub configuration: String,
}

pub fn state(v: &Vectorizer) -> Result<State> {
    let index = wanted(v).ok().flatten();
    let metric = v.config.indexing.metric();
    let building = indexes::progress(v)?;
    let chosen = keywords::chosen(v)?;
    let words_wanted = chosen.as_ref().map_or(index.is_some(), |chosen| chosen.indexed);
    let configuration = keywords::configuration(v)?;
    let vectors_ready = indexes::serving(v, metric)?.0 != Method::None;
    let words_ready = indexes::has_words(v, &configuration)?;
    let say = |ready: bool, wanted: bool, turn: bool, job: &str| -> Result<String> {
        Ok(match &building {
            _ if ready => "ready".to_owned(),
            _ if !wanted => "none".to_owned(),
            Some(progress) if turn => format!("building: {progress}"),
            _ if indexes::has_failed_recently(v, job)? => "failed".to_owned(),
            _ => "waiting".to_owned(),
        })
    };
    let words =
        say(words_ready, words_wanted, vectors_ready || index.is_none(), "keyword index build failed")?;
    let vectors = say(vectors_ready, index.is_some(), true, "index build failed")?;
    Ok(State { vectors, words, configuration })
}

/// True when the configuration asks for an index over the vectors that is not there yet, though it
/// should be.
pub fn is_missing(v: &Vectorizer) -> Result<bool> {
    let Some(index) = wanted(v)? else { return Ok(false) };
    let missing = indexes::serving(v, index.opclass.metric)?.0 == Method::None;
    Ok(missing && indexes::has_rows(v, index.min_rows)?)
}
