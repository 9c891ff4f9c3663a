//! Restoring, cloning, comparing, verifying, detaching.

use pgrx::{Uuid, pg_sys};
use serde_json::{Value, json};

use super::create::{self, Request, Subject};
use super::manage::owned;
use super::read;
use crate::error::{Error, Kind, Result};
use crate::store::catalog::{Relation, Vectorizer};
use crate::store::checkpoints::comparing::{self, Difference};
use crate::store::checkpoints::named::{self, Checkpoint, Hold};
use crate::store::checkpoints::{history, restoring, versions};
use crate::store::locks;
use crate::store::transaction::as_extension_owner;
use crate::store::{capture, roles};

/// Makes the version the present again, as a new version, after a checkpoint of what was there.
pub fn restore(id: Uuid, resurrect: bool) -> Result<Value> {
    let checkpoint = owned(id, Hold::Share)?;
    let (history, _) = as_extension_owner(|| checkpoint.main())?;
    let relation = history.live()?.clone();
    roles::require_ownership(&relation)?;
    let vectorizer = same_vectorizer(&checkpoint, &relation)?;
    let subject = match &vectorizer {
        Some(v) => create::subject(&v.name, None)?,
        None => Subject {
            shown: checkpoint.target.clone(),
            vectorizer: None,
            tables: vec![("table", relation.clone())],
        },
    };
    // Before the lock that keeps writers out: who truncates has these tables first, and that lock next.
    if let Some(v) = &vectorizer {
        v.lock_source(locks::ROW_EXCLUSIVE)?;
    }
    versions::lock_table(&relation, "ROW EXCLUSIVE")?;
    let version = read::version_of(&checkpoint)?;
    restoring::require_same_shape(&version)?;
    let name = format!("before-restore-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let made = create::create_of(
        &[subject],
        &Request { targets: Vec::new(), name: Some(&name), lifetime: None, set: None, kind: "restore" },
    )?;
    let before = made[0].1;
    let (_, before_number) = as_extension_owner(|| named::live(before, Hold::No)?.main())?;
    let done = restoring::restore(&version, before_number, vectorizer.as_ref(), resurrect)?;
    if vectorizer.is_some() {
        capture::wake_at_commit();
    }
    Ok(json!({
        "restored": id.to_string(),
        "before": before.to_string(),
        "before_name": name,
        "inserted": done.inserted,
        "updated": done.updated,
        "deleted": done.deleted,
        "not_resurrected": done.not_resurrected,
        "dirty": done.dirty,
    }))
}

/// The checkpoint's vectorizer, when it is still there and still embeds the same way.
fn same_vectorizer(checkpoint: &Checkpoint, relation: &Relation) -> Result<Option<Vectorizer>> {
    let Some(id) = checkpoint.vectorizer else { return Ok(None) };
    let v = match as_extension_owner(|| named::vectorizer(id)) {
        Ok(v) => v,
        Err(error) if matches!(error.kind, Kind::UndefinedObject | Kind::WrongState) => return Ok(None),
        Err(error) => return Err(error),
    };
    if v.store.oid != relation.oid {
        return Err(Error::new(
            Kind::WrongState,
            format!("{} is not the store of vectorizer \"{}\" any more", relation.ident, v.name),
        )
        .hint("Make a table of the checkpoint instead: ai.clone_checkpoint(checkpoint, 'new_table')."));
    }
    let then = checkpoint.config.as_ref().map_or(&Value::Null, |config| &config["config"]);
    let now = v.config.to_json();
    let differs = ["embedding", "chunking", "formatting", "loading", "destination"]
        .iter()
        .find(|part| !then.is_null() && then[**part] != now[**part]);
    if let Some(part) = differs {
        return Err(Error::new(
            Kind::WrongState,
            format!("the {part} configuration of vectorizer \"{}\" has changed since the checkpoint", v.name),
        )
        .hint("Make a table of the checkpoint instead: ai.clone_checkpoint(checkpoint, 'new_table')."));
    }
    Ok(Some(v))
}

/// Makes an independent table of the version; returns its name.
pub fn clone(id: Uuid, table: &str, schema: Option<&str>) -> Result<String> {
    let version = read::version(id, Hold::Share)?;
    let table = roles::new_relation(table, schema)?;
    restoring::clone(&version, &table)?;
    Ok(table.to_string())
}

/// Keys that differ between two checkpoints; `b` None: between a checkpoint and now.
pub fn diff(a: Uuid, b: Option<Uuid>) -> Result<Vec<Difference>> {
    let a = read::version(a, Hold::No)?;
    let b = b.map(|b| read::version(b, Hold::No)).transpose()?;
    comparing::differences(&a, b.as_ref())
}

/// Reads the version as a restore would, and compares its checksum with the one of the first time.
pub fn verify(id: Uuid) -> Result<Value> {
    let checkpoint = owned(id, Hold::Share)?;
    let version = read::version_of(&checkpoint)?;
    let (rows, checksum) = comparing::checksum(&version)?;
    let checksum = format!("{rows}:{checksum}");
    let faults = as_extension_owner(|| named::faults(&version))?;
    let matches = checkpoint.checksum.as_ref().is_none_or(|known| *known == checksum);
    let ok = matches && faults.is_empty();
    let at = as_extension_owner(|| named::verified(id, rows, &checksum, ok))?;
    Ok(json!({
        "checkpoint": id.to_string(),
        "ok": ok,
        "rows": rows,
        "checksum": checksum,
        "expected": checkpoint.checksum,
        "faults": faults,
        "verified_at": at,
    }))
}

/// Copies what checkpoints still read from live rows, so that the tables may be changed or dropped.
pub fn detach(target: &str, table: Option<pg_sys::Oid>) -> Result<i64> {
    let subject = create::subject(target, table)?;
    detach_tables(subject.in_lock_order())
}

/// Writers of the tables are kept out by the tables' own locks, before the histories' locks: the
/// triggers go, and a writer that waits for a history has locked its table.
pub fn detach_tables<'a>(tables: impl Iterator<Item = &'a Relation>) -> Result<i64> {
    let mut locked = Vec::new();
    for relation in tables {
        if as_extension_owner(|| history::attached_to(relation.oid))?.is_some() {
            versions::lock_table(relation, "SHARE ROW EXCLUSIVE")?;
            locked.push(relation.oid);
        }
    }
    let mut kept = 0;
    for oid in locked {
        // Read under the lock: somebody else may have been first.
        let Some(found) = as_extension_owner(|| history::attached_to(oid))? else { continue };
        create::lock_anchors(&[found.anchor]);
        kept += as_extension_owner(|| versions::detach(&found))?;
        if let Some(relation) = &found.relation {
            history::drop_triggers(relation)?;
        }
    }
    Ok(kept)
}

/// For the end of a vectorizer: its queue tables go, checkpoints of them stay.
pub fn detach_queue(vectorizer: i32) -> Result<()> {
    let Ok((queue, failed)) = named::queue_tables(vectorizer) else { return Ok(()) };
    detach_tables([queue, failed].iter()).map(|_| ())
}

/// The keys that were pending at the time of the checkpoint: dirty, or claimed by the first pass.
pub fn pending(id: Uuid) -> Result<Vec<pgrx::JsonB>> {
    let checkpoint = owned(id, Hold::No)?;
    as_extension_owner(|| named::pending(&checkpoint))
}
