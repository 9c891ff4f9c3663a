//! The queue protocol, step 1: claiming. A claim is one short transaction that reads keys,
//! generations and texts in one snapshot and leaves a lease behind. Claiming changes no row of
//! the dirty set, so that an old snapshot held open elsewhere cannot slow it down.

use std::collections::HashSet;
use std::time::Duration;

use pgrx::datum::DatumWithOid;
use pgrx::{PgSqlErrorCode, Uuid};

use super::catalog::Vectorizer;
use super::key::{Key, columns_of};
use super::locks::{self, Lock, Mode};
use super::session::WorkerIdentity;
use super::transaction::as_role;
use super::work::{self, Standing};
use super::{control, ident::Ident, newest, sql};
use crate::error::{self, Error, Result};
use crate::settings::Settings;

/// Text bytes (as stored) that one batch may read into memory.
const MAX_BATCH_BYTES: i64 = 8 * 1024 * 1024;
/// Pages of rows that are embedded already which one claim may pass over.
const MAX_SKIPPED_PAGES: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rows that were there before the vectorizer, in key order; no queue rows.
    Backfill,
    /// Keys in the dirty set.
    Dirty,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Backfill => "backfill",
            Kind::Dirty => "dirty",
        }
    }
}

/// A worker's right to a batch.
#[derive(Debug, Clone)]
pub struct Lease {
    pub id: i64,
    pub vectorizer: i32,
    pub kind: Kind,
    pub token: Uuid,
}

/// One row of a batch, read in the snapshot of the claim.
#[derive(Debug, Clone)]
pub struct ClaimedRow {
    pub key: Key,
    /// The dirty key's generation; None in a backfill.
    pub generation: Option<i64>,
    pub text: Option<String>,
    /// What a column of documents has in place of a text.
    pub document: Option<Document>,
    /// How often its document could not be fetched.
    pub retries: i32,
    /// The template's columns, in `Pipeline::columns` order.
    pub columns: Vec<Option<String>>,
    /// Chunks that the store holds for the key, with their sequence numbers.
    pub existing: Vec<(i32, Stored)>,
}

/// What says whether a chunk of the store is still right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    Hash([u8; 32]),
    /// The chunk itself, of a store that was taken over: its hash is to be reckoned.
    Text(String),
}

/// A document as it lies in its row.
#[derive(Debug, Clone)]
pub enum Document {
    Bytes(Vec<u8>),
    /// It has so many bytes, more than it may, and was not read.
    TooLarge(u64),
}

#[derive(Debug)]
pub struct Claim {
    pub lease: Lease,
    pub rows: Vec<ClaimedRow>,
}

#[derive(Clone, PartialEq)]
struct Cursors {
    backfill: Option<Key>,
    scanned: bool,
    dirty: Option<Key>,
}

/// Which rows a claim is to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Changed rows alone.
    Changes,
    /// Changed rows, and where there are none those of the backfill.
    Any,
}

/// Claims up to `limit` rows, changed ones before those of the backfill. None: nothing to do,
/// not allowed now, or about to be paused. Runs in the caller's transaction; on Some a session-level share of
/// `Lock::Batch` is held, which the caller gives back after completion.
pub fn claim(
    v: &Vectorizer,
    template_columns: &[String],
    wanted: Wanted,
    limit: usize,
    worker: &WorkerIdentity,
    lease_duration: Duration,
) -> Result<Option<Claim>> {
    if !locks::try_for_transaction(v.id, Lock::Gate, Mode::Share) {
        return Ok(None);
    }
    let Some(standing) = work::standing(v.id)?.filter(Standing::is_ready) else { return Ok(None) };
    let limit = standing.rows_left().map_or(limit, |left| limit.min(left));
    locks::wait_for_transaction(v.id, Lock::Claim, Mode::Exclusive);
    if !is_current(v)? {
        return Ok(None);
    }
    let mut cursors = read_cursors(v.id)?;
    let before = cursors.clone();
    let (held, lowest) = held_from(v, newest::first_lease(v))?;
    v.lock_source(locks::ACCESS_SHARE)?;
    let backfills = wanted == Wanted::Any && !cursors.scanned;
    let mut kind = Kind::Backfill;
    let mut rows = Vec::new();
    // Nobody waits for the changes of a store that is not searched yet, and it is to be full one day.
    if backfills && standing.hidden {
        rows = claim_backfill(v, template_columns, limit, &mut cursors)?;
    }
    if rows.is_empty() {
        kind = Kind::Dirty;
        rows = claim_dirty(v, template_columns, limit, &held, &mut cursors)?;
    }
    if rows.is_empty() && backfills && !standing.hidden {
        kind = Kind::Backfill;
        rows = claim_backfill(v, template_columns, limit, &mut cursors)?;
    }
    if cursors != before {
        write_cursors(v.id, &cursors)?;
    }
    if rows.is_empty() {
        if standing.run && wanted == Wanted::Any {
            control::end_run(v.id)?;
        }
        return Ok(None);
    }
    if standing.rows_left().is_some() {
        control::count_run(v.id, rows.len())?;
    }
    let lease = insert_lease(v, kind, &rows, worker, lease_duration)?;
    newest::set_first_lease(v, lowest.unwrap_or(lease.id));
    // Last, because an error after it would leave the lock behind; and an error when it cannot be
    // had, because the cursors have moved on.
    if !locks::try_for_session(v.id, Lock::Batch, Mode::Share) {
        return Err(Error::new(
            error::Kind::Database(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE),
            "somebody waits for the batches in flight",
        ));
    }
    Ok(Some(Claim { lease, rows }))
}

/// False when store or queue are others than when `v` was read, or something is called otherwise: no
/// swap comes once the gate is held, but one may have come just before.
fn is_current(v: &Vectorizer) -> Result<bool> {
    let current = sql::query_one(
        "SELECT coalesce(store::oid, source::oid) = $2 AND to_regclass($3)::oid = $4
                AND to_regclass($5)::oid = source::oid AND to_regclass($6)::oid = $2
           FROM ai.vectorizer WHERE id = $1",
        &[
            v.id.into(),
            v.store.oid.into(),
            v.queue.to_string().into(),
            v.queue_oid.into(),
            v.source.ident.to_string().into(),
            v.store.ident.to_string().into(),
        ],
        |row| Ok(row.get::<bool>(1)?.unwrap_or(false)),
    )?;
    Ok(current.unwrap_or(false))
}

fn read_cursors(id: i32) -> Result<Cursors> {
    let read = newest::row(
        newest::CURSORS,
        id,
        |found| {
            format!("SELECT backfill, scanned, dirty, ctid::text FROM ai._vectorizer_cursor WHERE {found}")
        },
        || vec![id.into()],
        4,
        |row| Ok(Cursors { backfill: row.get(1)?, scanned: row.value(2)?, dirty: row.get(3)? }),
    )?;
    Ok(read.unwrap_or(Cursors { backfill: None, scanned: true, dirty: None }))
}

fn write_cursors(id: i32, cursors: &Cursors) -> Result<()> {
    newest::row(
        newest::CURSORS,
        id,
        |found| {
            format!(
                "UPDATE ai._vectorizer_cursor SET backfill = $2, scanned = $3, dirty = $4 WHERE {found}
                 RETURNING ctid::text"
            )
        },
        || {
            let (backfill, dirty) = (cursors.backfill.clone(), cursors.dirty.clone());
            vec![id.into(), backfill.into(), cursors.scanned.into(), dirty.into()]
        },
        1,
        |_| Ok(()),
    )?;
    Ok(())
}

/// Keys that live leases hold: they are in flight and may not be claimed twice.
pub fn held_keys(v: &Vectorizer) -> Result<HashSet<Key>> {
    held_from(v, 0).map(|(keys, _)| keys)
}

/// The same of leases from number `first` on, and the lowest number of one.
fn held_from(v: &Vectorizer, first: i64) -> Result<(HashSet<Key>, Option<i64>)> {
    let leases = sql::query(
        "SELECT keys, id FROM ai._lease WHERE vectorizer_id = $1 AND id >= $2 ORDER BY id",
        &[v.id.into(), first.into()],
        |row| Ok((row.value::<Vec<String>>(1)?, row.value::<i64>(2)?)),
    )?;
    let lowest = leases.first().map(|(_, id)| *id);
    let keys = leases.iter().flat_map(|(keys, _)| keys.chunks(v.key.width()).map(<[String]>::to_vec));
    Ok((keys.collect(), lowest))
}

fn insert_lease(
    v: &Vectorizer,
    kind: Kind,
    rows: &[ClaimedRow],
    worker: &WorkerIdentity,
    duration: Duration,
) -> Result<Lease> {
    let keys: Vec<String> = rows.iter().flat_map(|row| row.key.iter().cloned()).collect();
    let lease = sql::query_one(
        "INSERT INTO ai._lease (vectorizer_id, kind, keys, rows, token, worker_pid, worker_start, expires_at)
         VALUES ($1, $2, $3, $4, gen_random_uuid(), $5, $6, clock_timestamp() + $7 * interval '1 millisecond')
         RETURNING id, token",
        &[
            v.id.into(),
            kind.as_str().into(),
            keys.into(),
            (rows.len() as i32).into(),
            worker.pid.into(),
            worker.started.into(),
            (duration.as_millis() as i64).into(),
        ],
        |row| Ok(Lease { id: row.value(1)?, vectorizer: v.id, kind, token: row.value(2)? }),
    )?;
    Ok(lease.expect("INSERT … RETURNING returns its row"))
}

// --- changed rows -----------------------------------------------------------------------------

fn claim_dirty(
    v: &Vectorizer,
    template_columns: &[String],
    limit: usize,
    held: &HashSet<Key>,
    cursors: &mut Cursors,
) -> Result<Vec<ClaimedRow>> {
    let mut candidates = dirty_keys(v, limit, held, cursors.dirty.as_ref())?;
    if candidates.is_empty() && cursors.dirty.take().is_some() {
        candidates = dirty_keys(v, limit, held, None)?;
    }
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let rows = read_dirty(v, template_columns, &candidates)?;
    // The next claim goes on behind this one: the index entries before it may be dead ones that
    // an old snapshot keeps alive.
    cursors.dirty = rows.last().map(|row| row.key.clone()).or_else(|| candidates.last().cloned());
    Ok(rows)
}

fn dirty_keys(v: &Vectorizer, limit: usize, held: &HashSet<Key>, after: Option<&Key>) -> Result<Vec<Key>> {
    let width = v.key.width();
    let mut conditions: Vec<String> = after.iter().map(|_| v.key.stored_after("q", 2)).collect();
    if v.config.loading.is_uri() {
        conditions.push(format!("({})", work::IS_DUE));
    }
    let condition = match conditions.as_slice() {
        [] => String::new(),
        conditions => format!("WHERE {}", conditions.join(" AND ")),
    };
    let statement = format!(
        "SELECT {} FROM {} q {condition} ORDER BY {} LIMIT $1",
        v.key.stored_texts("q"),
        v.queue,
        v.key.stored_list("q"),
    );
    let mut args: Vec<DatumWithOid> = vec![((limit + held.len()) as i64).into()];
    args.extend(after.into_iter().flatten().map(|part| part.as_str().into()));
    let keys = as_role(v.source.owner, || sql::query(&statement, &args, |row| read_key(row, 1, width)))?;
    Ok(keys.into_iter().filter(|key| !held.contains(key)).take(limit).collect())
}

/// Reads texts and generations of `keys` in one statement, so in one snapshot.
fn read_dirty(v: &Vectorizer, template_columns: &[String], keys: &[Key]) -> Result<Vec<ClaimedRow>> {
    let width = v.key.width();
    let first_source_key = Ident::new(&v.key.columns[0].source_name);
    let (inner, outer) = text_columns(v, template_columns, "r");
    let existing = match v.column {
        Some(_) => {
            "LEFT JOIN LATERAL (SELECT NULL::int4[] AS seqs, NULL::text[] AS hashes, NULL::text[] AS texts) e ON true".to_owned()
        }
        None => format!(
            "LEFT JOIN LATERAL (
               SELECT array_agg(st.chunk_seq ORDER BY st.chunk_seq) AS seqs,
                      array_agg(encode(st.content_hash, 'hex') ORDER BY st.chunk_seq) AS hashes,
                      {} AS texts
                 FROM {} st WHERE {}) e ON true",
            match v.adopted {
                true => "array_agg(CASE WHEN st.content_hash IS NULL THEN st.chunk END ORDER BY st.chunk_seq)",
                false => "NULL::text[]",
            },
            v.store.ident,
            v.key.stored_matches_unnested("st", "u"),
        ),
    };
    let statement = format!(
        "SELECT {outer_keys}, r.gen, r.present, r.seqs, r.hashes, r.texts, r.loading_retries, {outer}
           FROM (SELECT {inner_keys}, q.gen, {retries} AS loading_retries, s.{first_source_key} IS NOT NULL AS present,
                        e.seqs, e.hashes, e.texts,
                        u.ordinality, {inner},
                        sum(coalesce(pg_column_size(s.{text}), 0)) OVER (ORDER BY u.ordinality)
                          - coalesce(pg_column_size(s.{text}), 0) AS before
                   FROM {unnest} u
                   JOIN {queue} q ON {queue_matches}
                   LEFT JOIN {source} s ON {source_matches}
                   {existing}) r
          WHERE r.before < {MAX_BATCH_BYTES} ORDER BY r.ordinality",
        outer_keys = numbered(width, |i| format!("r.k{i}")),
        inner_keys = v
            .key
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| format!("q.{}::text AS k{}", Ident::new(&c.stored_name), i + 1))
            .collect::<Vec<_>>()
            .join(", "),
        retries = if v.config.loading.is_uri() { "q.loading_retries" } else { "0" },
        text = Ident::new(&v.config.loading.column_name),
        unnest = v.key.unnest(1, &[]),
        queue = v.queue,
        queue_matches = v.key.stored_matches_unnested("q", "u"),
        source = v.source.scan(),
        source_matches = v.key.source_matches_unnested("s", "u"),
    );
    let args: Vec<DatumWithOid> = columns_of(width, keys.iter()).into_iter().map(Into::into).collect();
    as_role(v.source.owner, || {
        sql::query(&statement, &args, |row| {
            let present: bool = row.value(width + 2)?;
            let seqs: Vec<i32> = row.get(width + 3)?.unwrap_or_default();
            let hashes: Vec<Option<String>> = row.get(width + 4)?.unwrap_or_default();
            let texts: Vec<Option<String>> = row.get(width + 5)?.unwrap_or_else(|| vec![None; seqs.len()]);
            let stored = hashes.into_iter().zip(texts).map(|(hash, text)| match text {
                Some(text) => Stored::Text(text),
                None => Stored::Hash(fixed(hash)),
            });
            let (text, document) =
                if present { read_body(v, row, width + 7, template_columns.len())? } else { (None, None) };
            Ok(ClaimedRow {
                key: read_key(row, 1, width)?,
                generation: Some(row.value(width + 1)?),
                text,
                document,
                retries: row.value(width + 6)?,
                columns: read_columns(row, width + 8, template_columns.len())?,
                existing: seqs.into_iter().zip(stored).collect(),
            })
        })
    })
}

/// A hash from its hexadecimal digits. A chunk without one equals no new chunk.
fn fixed(hash: Option<String>) -> [u8; 32] {
    let mut bytes = [0; 32];
    let digits = hash.unwrap_or_default();
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
    }
    bytes
}

// --- the first pass ---------------------------------------------------------------------------

struct Page {
    rows: Vec<(bool, ClaimedRow)>,
    /// Rows that the page held before the byte limit cut it.
    length: usize,
}

fn claim_backfill(
    v: &Vectorizer,
    template_columns: &[String],
    limit: usize,
    cursors: &mut Cursors,
) -> Result<Vec<ClaimedRow>> {
    for _ in 0..MAX_SKIPPED_PAGES {
        let page = backfill_page(v, template_columns, limit, cursors.backfill.as_ref())?;
        if page.length == page.rows.len() && page.length < limit {
            cursors.scanned = true;
        }
        if let Some((_, last)) = page.rows.last() {
            cursors.backfill = Some(last.key.clone());
        }
        let rows: Vec<ClaimedRow> =
            page.rows.into_iter().filter(|(skip, _)| !skip).map(|(_, row)| row).collect();
        if !rows.is_empty() || cursors.scanned {
            return Ok(rows);
        }
    }
    Ok(Vec::new())
}

fn backfill_page(
    v: &Vectorizer,
    template_columns: &[String],
    limit: usize,
    after: Option<&Key>,
) -> Result<Page> {
    let width = v.key.width();
    let condition = after.map_or(String::new(), |_| format!("WHERE {}", v.key.source_after("s", 2)));
    let (inner, outer) = text_columns(v, template_columns, "p");
    let page_matches = |alias: &str| {
        let pairs = v.key.columns.iter().enumerate();
        pairs
            .map(|(i, c)| format!("{alias}.{} = p.k{}", Ident::new(&c.stored_name), i + 1))
            .collect::<Vec<_>>()
            .join(" AND ")
    };
    let embedded = match v.column {
        Some(_) => "p.embedded".to_owned(),
        None => format!("EXISTS (SELECT FROM {} st WHERE {})", v.store.ident, page_matches("st")),
    };
    let column_filled = match &v.column {
        Some(column) => format!(", s.{} IS NOT NULL AS embedded", Ident::new(column)),
        None => String::new(),
    };
    let statement = format!(
        "WITH page AS MATERIALIZED (
           SELECT {keys}, {inner} {column_filled}
             FROM {source} s {condition} ORDER BY {order} LIMIT $1),
         sized AS (
           SELECT p.*, count(*) OVER () AS length, row_number() OVER (ORDER BY {page_order}) AS position,
                  sum(coalesce(pg_column_size(p.body), 0)) OVER (ORDER BY {page_order})
                    - coalesce(pg_column_size(p.body), 0) AS before
             FROM page p)
         SELECT {key_texts}, p.length,
                EXISTS (SELECT FROM {queue} q WHERE {in_queue}) OR {embedded}
                  OR EXISTS (SELECT FROM {failed} f WHERE {in_failed}), {outer}
           FROM sized p WHERE p.before < {MAX_BATCH_BYTES} ORDER BY p.position",
        keys = v
            .key
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| format!("s.{} AS k{}", Ident::new(&c.source_name), i + 1))
            .collect::<Vec<_>>()
            .join(", "),
        source = v.source.scan(),
        order = v.key.source_list("s"),
        page_order = numbered(width, |i| format!("p.k{i}")),
        key_texts = numbered(width, |i| format!("p.k{i}::text")),
        queue = v.queue,
        in_queue = page_matches("q"),
        failed = v.failed,
        in_failed = page_matches("f"),
    );
    let mut args: Vec<DatumWithOid> = vec![(limit as i64).into()];
    args.extend(after.into_iter().flatten().map(|part| part.as_str().into()));
    let mut length = 0;
    let rows = as_role(v.source.owner, || {
        sql::query(&statement, &args, |row| {
            length = row.value::<i64>(width + 1)? as usize;
            let skip: bool = row.value(width + 2)?;
            let (text, document) =
                if skip { (None, None) } else { read_body(v, row, width + 3, template_columns.len())? };
            let columns = read_columns(row, width + 4, template_columns.len())?;
            let (key, existing) = (read_key(row, 1, width)?, Vec::new());
            Ok((skip, ClaimedRow { key, generation: None, text, document, retries: 0, columns, existing }))
        })
    })?;
    Ok(Page { rows, length })
}

// --- fragments --------------------------------------------------------------------------------

/// The text and template columns: inside a subquery as they are (still toasted), outside as
/// text, so that only the rows that are taken are read in full. A document that is too large is
/// not read at all; its length, which is known without reading it, comes last.
fn text_columns(v: &Vectorizer, template_columns: &[String], alias: &str) -> (String, String) {
    let mut inner = format!("s.{} AS body", Ident::new(&v.config.loading.column_name));
    let mut outer = match v.loads_bytes {
        true => format!(
            "CASE WHEN octet_length({alias}.body::bytea) <= {} THEN {alias}.body::bytea END",
            Settings::now().document_max_size,
        ),
        false => format!("{alias}.body::text"),
    };
    for (i, column) in template_columns.iter().enumerate() {
        inner.push_str(&format!(", s.{} AS c{}", Ident::new(column), i + 1));
        outer.push_str(&format!(", {alias}.c{}::text", i + 1));
    }
    if v.loads_bytes {
        outer.push_str(&format!(", octet_length({alias}.body::bytea)::int8"));
    }
    (inner, outer)
}

/// The text or document at `first`, before so many template columns.
fn read_body(
    v: &Vectorizer,
    row: &sql::Row<'_>,
    first: usize,
    columns: usize,
) -> Result<(Option<String>, Option<Document>)> {
    if !v.loads_bytes {
        return Ok((row.get(first)?, None));
    }
    let document = match (row.get::<Vec<u8>>(first)?, row.get::<i64>(first + columns + 1)?) {
        (Some(bytes), _) => Some(Document::Bytes(bytes)),
        (None, length) => length.map(|length| Document::TooLarge(length.max(0) as u64)),
    };
    Ok((None, document))
}

fn numbered(width: usize, each: impl Fn(usize) -> String) -> String {
    (1..=width).map(each).collect::<Vec<_>>().join(", ")
}

fn read_key(row: &sql::Row<'_>, first: usize, width: usize) -> Result<Key> {
    (first..first + width).map(|ordinal| row.value::<String>(ordinal)).collect()
}

fn read_columns(row: &sql::Row<'_>, first: usize, count: usize) -> Result<Vec<Option<String>>> {
    (first..first + count).map(|ordinal| row.get::<String>(ordinal)).collect()
}
