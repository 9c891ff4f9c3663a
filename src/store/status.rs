//! What the status views show: exact counts and the state of each row. Read with the rights of
//! the source's owner; who may ask is decided by the caller's rights on the source.

use pgrx::datum::{DatumWithOid, Interval, TimestampWithTimeZone};
use pgrx::{JsonB, pg_sys};

use super::catalog::Vectorizer;
use super::ident::Ident;
use super::key::Key;
use super::sql;
use super::transaction::as_role;
use super::vectorizer_grants;
use crate::error::{Error, Kind, Result};

#[derive(Debug)]
pub struct Counts {
    pub total: i64,
    pub embedded: i64,
    pub pending: i64,
    pub failed: i64,
    pub oldest_pending: Option<TimestampWithTimeZone>,
}

/// True when the role may read the source, and so may know how many rows it has, or was given the
/// vectorizer to operate. Runs with the rights of the extension's owner outside.
pub fn may_see(v: &Vectorizer, role: pg_sys::Oid) -> bool {
    may_read(v, role)
        || vectorizer_grants::levels(v, role).is_ok_and(|levels| levels.iter().any(|level| level != "use"))
}

fn may_read(v: &Vectorizer, role: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in the relation's access list.
    unsafe {
        pg_sys::pg_class_aclcheck(v.source.oid, role, pg_sys::ACL_SELECT as pg_sys::AclMode)
            == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// Refuses a role that may not read the source; `hint` says what it would be shown.
pub fn require_may_see(v: &Vectorizer, role: pg_sys::Oid, hint: &str) -> Result<()> {
    if may_see(v, role) {
        return Ok(());
    }
    let message = format!("permission denied for source table {}", v.source.ident);
    Err(Error::new(Kind::InsufficientPrivilege, message).hint(hint))
}

struct Backfill {
    cursor: Option<Key>,
    scanned: bool,
    leased: i64,
}

fn backfill(id: i32) -> Result<Backfill> {
    let found = sql::query_one(
        "SELECT c.backfill, c.scanned,
                (SELECT coalesce(sum(l.rows), 0)::int8 FROM ai._lease l WHERE l.vectorizer_id = $1 AND l.kind = 'backfill')
           FROM ai._vectorizer_cursor c WHERE c.vectorizer_id = $1",
        &[id.into()],
        |row| Ok(Backfill { cursor: row.get(1)?, scanned: row.value(2)?, leased: row.value(3)? }),
    )?;
    Ok(found.unwrap_or(Backfill { cursor: None, scanned: true, leased: 0 }))
}

/// Rows that the first pass has still to come to, as SQL over the source, with its parameters; counted
/// up to `limit`.
fn rest(v: &Vectorizer, backfill: &Backfill, limit: &str) -> (String, Vec<DatumWithOid<'static>>) {
    if backfill.scanned {
        return ("0::int8".to_owned(), Vec::new());
    }
    let cursor = &backfill.cursor;
    let after = cursor.as_ref().map_or("true".to_owned(), |_| v.key.source_after("s", 1));
    let args = cursor.iter().flatten().map(|part| part.clone().into()).collect();
    let rows = format!("SELECT FROM {} s WHERE {after} AND NOT ({}) {limit}", v.source.scan(), settled(v));
    (format!("(SELECT count(*) FROM ({rows}) r)"), args)
}

/// How many rows are pending, counted up to `most`. Runs with the rights of the extension's owner outside.
pub fn pending(v: &Vectorizer, most: Option<i64>) -> Result<i64> {
    let backfill = backfill(v.id)?;
    let limit = most.map_or(String::new(), |most| format!("LIMIT {most}"));
    let (rest, args) = rest(v, &backfill, &limit);
    let statement = format!("SELECT (SELECT count(*) FROM (SELECT FROM {} {limit}) q) + {rest}", v.queue);
    let counted = as_role(v.source.owner, || sql::query_one(&statement, &args, |row| row.value::<i64>(1)))?;
    Ok(counted.expect("a SELECT without FROM returns a row") + backfill.leased)
}

/// How far the store is behind the source.
pub struct Freshness {
    pub pending: i64,
    pub oldest_age: Option<Interval>,
    pub backfilling: bool,
}

/// What is pending, without counting what is done. Runs with the rights of the extension's owner
/// outside.
pub fn freshness(v: &Vectorizer) -> Result<Freshness> {
    let backfill = backfill(v.id)?;
    let (rest, args) = rest(v, &backfill, "");
    let statement = format!(
        "SELECT (SELECT count(*) FROM {queue}) + {rest}, (SELECT clock_timestamp() - min(queued_at) FROM {queue})",
        queue = v.queue,
    );
    let (pending, oldest_age) = as_role(v.source.owner, || {
        sql::query_one(&statement, &args, |row| Ok((row.value::<i64>(1)?, row.get(2)?)))
    })?
    .expect("a SELECT without FROM returns a row");
    let backfilling = !backfill.scanned || backfill.leased > 0;
    Ok(Freshness { pending: pending + backfill.leased, oldest_age, backfilling })
}

/// Exact counts, by counting. Runs with the rights of the extension's owner outside.
pub fn counts(v: &Vectorizer) -> Result<Counts> {
    let backfill = backfill(v.id)?;
    let (rest, args) = rest(v, &backfill, "");
    let statement = format!(
        "SELECT (SELECT count(*) FROM {source}), (SELECT count(*) FROM {queue}) + {rest},
                (SELECT count(*) FROM {failed} f WHERE NOT EXISTS (SELECT FROM {queue} q WHERE ({in_queue}) = ({in_failed}))),
                (SELECT min(queued_at) FROM {queue})",
        source = v.source.scan(),
        queue = v.queue,
        failed = v.failed,
        // A refused row that was changed since is pending again.
        in_queue = v.key.stored_list("q"),
        in_failed = v.key.stored_list("f"),
    );
    let (total, pending, failed, oldest) = as_role(v.source.owner, || {
        sql::query_one(&statement, &args, |row| {
            Ok((row.value::<i64>(1)?, row.value::<i64>(2)?, row.value::<i64>(3)?, row.get(4)?))
        })
    })?
    .expect("a SELECT without FROM returns a row");
    let pending = pending + backfill.leased;
    Ok(Counts { total, pending, failed, embedded: (total - pending - failed).max(0), oldest_pending: oldest })
}

/// A source row that the first pass need not visit any more.
fn settled(v: &Vectorizer) -> String {
    let embedded = match &v.column {
        Some(column) => format!("s.{} IS NOT NULL", Ident::new(column)),
        None => format!(
            "EXISTS (SELECT FROM {} st WHERE {})",
            v.store.ident,
            v.key.stored_matches_source("st", "s")
        ),
    };
    format!(
        "{embedded} OR EXISTS (SELECT FROM {} q WHERE {}) OR EXISTS (SELECT FROM {} f WHERE {})",
        v.queue,
        v.key.stored_matches_source("q", "s"),
        v.failed,
        v.key.stored_matches_source("f", "s"),
    )
}

#[derive(Debug)]
pub struct Record {
    pub key: JsonB,
    pub state: String,
    pub error: Option<String>,
    pub embedded_at: Option<TimestampWithTimeZone>,
}

/// The state of every row of the source.
pub fn records(v: &Vectorizer) -> Result<Vec<Record>> {
    let backfill = backfill(v.id)?;
    let mut args: Vec<DatumWithOid> = Vec::new();
    // Rows that the first pass has not come to, or holds in a batch, are pending too.
    let waiting = match (&backfill.cursor, backfill.scanned) {
        (_, true) => "false".to_owned(),
        (None, false) => "true".to_owned(),
        (Some(cursor), false) => {
            args.extend(cursor.iter().map(|part| part.as_str().into()));
            v.key.source_after("s", 1)
        }
    };
    let held = super::queue::held_keys(v)?;
    let (embedded, at) = match &v.column {
        Some(column) => (format!("s.{} IS NOT NULL", Ident::new(column)), "NULL::timestamptz".to_owned()),
        None => (
            format!(
                "EXISTS (SELECT FROM {} st WHERE {})",
                v.store.ident,
                v.key.stored_matches_source("st", "s")
            ),
            format!(
                "(SELECT max(st.embedded_at) FROM {} st WHERE {})",
                v.store.ident,
                v.key.stored_matches_source("st", "s")
            ),
        ),
    };
    let width = v.key.width();
    let statement = format!(
        "SELECT {texts}, {json},
                CASE WHEN q.gen IS NOT NULL THEN 'pending' WHEN f.created_at IS NOT NULL THEN 'failed'
                     WHEN {embedded} THEN 'embedded' WHEN {waiting} THEN 'pending' ELSE 'embedded' END,
                f.error, {at}
           FROM {source} s
           LEFT JOIN {queue} q ON {in_queue}
           LEFT JOIN {failed} f ON {in_failed}
          ORDER BY {order}",
        texts = v.key.source_texts("s"),
        json = v.key.source_json("s"),
        source = v.source.scan(),
        queue = v.queue,
        in_queue = v.key.stored_matches_source("q", "s"),
        failed = v.failed,
        in_failed = v.key.stored_matches_source("f", "s"),
        order = v.key.source_list("s"),
    );
    as_role(v.source.owner, || {
        sql::query(&statement, &args, |row| {
            let key: Key = (1..=width).map(|i| row.value::<String>(i)).collect::<Result<_>>()?;
            let state: String = row.value(width + 2)?;
            Ok(Record {
                key: row.value(width + 1)?,
                state: if held.contains(&key) { "processing".to_owned() } else { state },
                error: row.get(width + 3)?,
                embedded_at: row.get(width + 4)?,
            })
        })
    })
}
