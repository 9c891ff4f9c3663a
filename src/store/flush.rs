//! Writing what capture noted: the dirty set, and the vectors of deleted rows, in the user's own
//! transaction. Statements run as the owner of what they write, on the latest snapshot: an old
//! one (REPEATABLE READ) would miss vectors that a worker wrote meanwhile.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_guard, pg_sys};

use super::capture::{Change, NotedKey};
use super::catalog::{self, Vectorizer};
use super::key::columns_of;
use super::sql;
use super::transaction::{as_extension_owner, as_role, as_role_unpinned, attempt, has_fixed_snapshot};
use crate::error::{Error, Kind, Result};

thread_local! {
    /// Forgotten when the source, the queue or the store changes its shape or owner.
    static TARGETS: RefCell<HashMap<i32, Rc<Target>>> = RefCell::default();
    static WATCHING: Cell<bool> = const { Cell::new(false) };
}

/// A vectorizer whose source this backend has written to.
struct Target {
    vectorizer: Vectorizer,
    /// Makes `$1` dirty, where the key is one number.
    upsert: OnceCell<String>,
}

impl Deref for Target {
    type Target = Vectorizer;

    fn deref(&self) -> &Vectorizer {
        &self.vectorizer
    }
}

/// Raises an error of ours as PostgreSQL's: inside triggers and callbacks there is no caller to
/// return it to.
pub fn raise<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            ErrorReport::from(error).report(PgLogLevel::ERROR);
            unreachable!("ERROR does not return")
        }
    }
}

/// The vectorizer that a trigger names. Where the transaction's snapshot is too old to know it, the
/// change cannot be captured, and the transaction has to be tried again, as after any change that
/// it cannot see.
fn target(vectorizer: i32) -> Result<Rc<Target>> {
    let found = known_target(vectorizer);
    if found.as_ref().is_err_and(is_broken) && has_fixed_snapshot() {
        let exists = as_extension_owner(|| {
            sql::exists_latest("SELECT FROM ai.vectorizer WHERE id = $1", &[vectorizer.into()])
        })?;
        if exists {
            return Err(Error::new(
                Kind::Database(PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE),
                "could not serialize access: a vectorizer was made after the snapshot was taken",
            )
            .hint("Try the transaction again."));
        }
    }
    found
}

fn known_target(vectorizer: i32) -> Result<Rc<Target>> {
    if !WATCHING.replace(true) {
        // SAFETY: a plain function that lives as long as the library.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null()) };
    }
    if let Some(target) = TARGETS.with_borrow(|targets| targets.get(&vectorizer).cloned()) {
        return Ok(target);
    }
    let found = as_extension_owner(|| catalog::vectorizer(vectorizer))?;
    let target = Rc::new(Target { vectorizer: found, upsert: OnceCell::new() });
    TARGETS.with_borrow_mut(|targets| targets.insert(vectorizer, target.clone()));
    Ok(target)
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    TARGETS.with_borrow_mut(|targets| {
        targets.retain(|_, v| {
            relation != pg_sys::Oid::INVALID && ![v.source.oid, v.store.oid, v.queue_oid].contains(&relation)
        });
    });
}

/// The source of `vectorizer`, when `table` is that source or one of its partitions. Anybody may
/// attach a trigger to a table of theirs; only the registered pair is trusted.
pub fn source_of(vectorizer: i32, table: pg_sys::Oid) -> Result<pg_sys::Oid> {
    let source = target(vectorizer)?.source.oid;
    if table == source {
        return Ok(source);
    }
    let is_partition = sql::query_one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors($1) a WHERE a.relid = $2)",
        &[table.into(), source.into()],
        |row| row.value::<bool>(1),
    )?;
    match is_partition {
        Some(true) => Ok(source),
        _ => Err(Error::new(Kind::InsufficientPrivilege, "this table is not the source of that vectorizer")
            .hint("Triggers of autovector are made by ai.create_vectorizer alone.")),
    }
}

/// Writes changes, in the order in which they were made: the last one of a key counts.
pub fn write(vectorizer: i32, table: pg_sys::Oid, changes: Vec<(NotedKey, Change)>) -> Result<()> {
    let v = match target(vectorizer) {
        Ok(v) => v,
        // There is nothing to keep in step, and no reason to refuse the user's statement.
        Err(error) if is_broken(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    source_of(vectorizer, table)?;
    let (written, deleted) = last_changes(changes);
    if !deleted.is_empty() {
        delete(&v, &deleted)?;
    }
    if !written.is_empty() {
        make_dirty(&v, &written)?;
    }
    Ok(())
}

/// The vectorizer, its store, its queue or the whole extension was dropped, be it in this very
/// transaction after the change.
pub fn is_broken(error: &Error) -> bool {
    matches!(error.kind, Kind::UndefinedObject | Kind::WrongState)
}

/// Keys that are dirty now, and keys whose vectors go. A key may be both: when two rows change
/// places, each key is written by one row and given up by the other, in either order.
fn last_changes(changes: Vec<(NotedKey, Change)>) -> (Vec<NotedKey>, Vec<NotedKey>) {
    if let [(_, change)] = changes.as_slice() {
        let change = *change;
        let key = changes.into_iter().map(|(key, _)| key).collect();
        return if change == Change::Deleted { (Vec::new(), key) } else { (key, Vec::new()) };
    }
    if changes.iter().all(|(_, change)| *change == Change::Written) {
        // A bulk load: the statement finds the doubles, if there are any.
        return (changes.into_iter().map(|(key, _)| key).collect(), Vec::new());
    }
    // For each key: was it ever moved to, and was it deleted last?
    let mut last: HashMap<NotedKey, (bool, bool)> = HashMap::with_capacity(changes.len());
    for (key, change) in changes {
        let entry = last.entry(key).or_default();
        entry.0 |= change == Change::Moved;
        entry.1 = change == Change::Deleted;
    }
    let keys = |wanted: fn(&(bool, bool)) -> bool| {
        last.iter().filter(|(_, change)| wanted(change)).map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    (keys(|(moved, deleted)| *moved || !*deleted), keys(|(_, deleted)| *deleted))
}

/// From so many keys on a plain INSERT is tried first.
const WORTH_A_TRY: usize = 64;

/// One generation serves the whole statement: what counts is that it is newer than the last.
/// Keys go in sorted, so that two commits with common keys cannot deadlock.
fn make_dirty(v: &Target, keys: &[NotedKey]) -> Result<()> {
    let (rows, args) = match keys {
        // The commonest case, a single row with a number for a key. The statement names everything in
        // full: to pin the search_path for it would cost a tenth of it.
        [NotedKey::Int(value)] => {
            let upsert = v.upsert.get_or_init(|| upsert_number(v));
            return as_role_unpinned(v.queue_owner, || sql::execute_latest(upsert, &[(*value).into()]));
        }
        [key] => {
            let (value, args) = one_key(v, key);
            (format!("VALUES ({value}, nextval('ai._generation_seq'))"), args)
        }
        // Two texts may be one key (1.0 and 1.00): the type decides what is distinct.
        _ => {
            let (table, args) = many_keys(v, keys);
            let list = v.key.unnested_list("u");
            let distinct = match keys {
                [NotedKey::Int(_), ..] => format!("SELECT {list} FROM {table} u"),
                _ => format!("SELECT DISTINCT {list} FROM {table} u ORDER BY {list}"),
            };
            (format!("SELECT {list}, (SELECT nextval('ai._generation_seq')) FROM ({distinct}) u"), args)
        }
    };
    let names = v.key.stored_names();
    let insert = format!("INSERT INTO {} ({names}, gen) {rows}", v.queue);
    let again = v.dirty_again();
    let upsert = format!("{insert} ON CONFLICT ({names}) DO UPDATE SET {again}");
    as_role(v.queue_owner, || {
        // Rows that are changed in bulk are seldom dirty yet, and ON CONFLICT costs each row a
        // second look into the index and a second WAL record.
        if keys.len() >= WORTH_A_TRY {
            match attempt(|| sql::execute_latest(&insert, &args)) {
                Err(error) if error.kind == Kind::Database(PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION) => {}
                done => return done,
            }
        }
        sql::execute_latest(&upsert, &args)
    })
}

fn upsert_number(v: &Vectorizer) -> String {
    let (names, again) = (v.key.stored_names(), v.dirty_again());
    format!(
        "INSERT INTO {} ({names}, gen)
         VALUES (($1::pg_catalog.int8)::{}, pg_catalog.nextval('ai._generation_seq'::pg_catalog.regclass))
         ON CONFLICT ({names}) DO UPDATE SET {again}",
        v.queue, v.key.columns[0].type_sql
    )
}

/// Deletes what belongs to deleted rows: dirty keys first, then vectors. A worker that is
/// completing such a row holds its dirty key locked; after that wait its vectors are visible.
/// A backfill batch in flight has no dirty key that could stop it, so while the backfill runs
/// the key stays dirty as a tombstone, and a worker clears up after it.
fn delete(v: &Target, keys: &[NotedKey]) -> Result<()> {
    if !backfill_finished(v.id)? {
        make_dirty(v, keys)?;
    } else {
        delete_from(v, &v.queue.to_string(), v.queue_owner, keys)?;
    }
    delete_from(v, &v.failed.to_string(), v.queue_owner, keys)?;
    if v.column.is_none() {
        delete_from(v, &v.store.ident.to_string(), v.store.owner, keys)?;
    }
    Ok(())
}

fn delete_from(v: &Vectorizer, table: &str, owner: pg_sys::Oid, keys: &[NotedKey]) -> Result<()> {
    let (condition, args) = match keys {
        [key] => {
            let (value, args) = one_key(v, key);
            (format!("WHERE ({}) = ({value})", v.key.stored_list("t")), args)
        }
        _ => {
            let (rows, args) = many_keys(v, keys);
            (format!("USING {rows} u WHERE {}", v.key.stored_matches_unnested("t", "u")), args)
        }
    };
    as_role(owner, || sql::execute_latest(&format!("DELETE FROM {table} t {condition}"), &args))
}

/// One key as SQL over parameters from `$1` on, and the parameters.
fn one_key(v: &Vectorizer, key: &NotedKey) -> (String, Vec<DatumWithOid<'static>>) {
    match key {
        NotedKey::Int(value) => (format!("($1::int8)::{}", v.key.columns[0].type_sql), vec![(*value).into()]),
        NotedKey::Text(parts) => {
            (v.key.parameters(1), parts.iter().map(|part| part.clone().into()).collect())
        }
    }
}

/// Keys as a table with columns `k1`, `k2`, … over parameters from `$1` on, and the parameters.
/// Whole numbers come sorted, each once.
fn many_keys(v: &Vectorizer, keys: &[NotedKey]) -> (String, Vec<DatumWithOid<'static>>) {
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    for key in keys {
        match key {
            NotedKey::Int(value) => numbers.push(*value),
            NotedKey::Text(parts) => texts.push(parts),
        }
    }
    if texts.is_empty() {
        numbers.sort_unstable();
        numbers.dedup();
        let rows = format!("(SELECT n::{} AS k1 FROM unnest($1::int8[]) AS n)", v.key.columns[0].type_sql);
        return (rows, vec![numbers.into()]);
    }
    let columns = columns_of(v.key.width(), texts.into_iter());
    (v.key.unnest(1, &[]), columns.into_iter().map(Into::into).collect())
}

/// True once the first pass is over and none of its batches is in flight. Asked on the latest
/// snapshot: then the vectors of all its batches are visible to the statements that follow.
fn backfill_finished(vectorizer: i32) -> Result<bool> {
    as_extension_owner(|| {
        sql::exists_latest(
            "SELECT FROM ai._vectorizer_cursor c
              WHERE c.vectorizer_id = $1 AND c.scanned
                AND NOT EXISTS (SELECT FROM ai._lease l WHERE l.vectorizer_id = $1 AND l.kind = 'backfill')",
            &[vectorizer.into()],
        )
    })
}

/// TRUNCATE of the source: ends every lease (what is in flight is stale), then empties queue,
/// failed table and store.
pub fn truncate(vectorizer: i32, table: pg_sys::Oid) -> Result<()> {
    let v = match target(vectorizer) {
        Err(error) if is_broken(&error) => return Ok(()),
        v => v?,
    };
    source_of(vectorizer, table)?;
    as_extension_owner(|| {
        sql::execute_latest("DELETE FROM ai._lease WHERE vectorizer_id = $1", &[vectorizer.into()])
    })?;
    as_role(v.queue_owner, || sql::execute_once(&format!("TRUNCATE {}, {}", v.queue, v.failed)))?;
    if v.column.is_none() {
        as_role(v.store.owner, || sql::execute_once(&format!("TRUNCATE {}", v.store.ident)))?;
    }
    Ok(())
}
