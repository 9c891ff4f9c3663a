//! Which backups there are, whether they are sound, and their end.

use autovector_backup::manifest::Manifest;
use autovector_backup::names::{self, BackupName};
use autovector_backup::verify;
use serde_json::{Value, json};

use super::directory;
use super::errors::explained;
use crate::error::{Error, Kind, Result};
use crate::store::backup::{ledger, server, snapshot};

/// What reading backups takes, of those that somebody else made.
pub const READER: &str = "pg_read_server_files";
/// What deleting them takes.
pub const WRITER: &str = "pg_write_server_files";

pub struct Listed {
    pub name: String,
    pub task: Option<String>,
    pub manifest: Option<Manifest>,
    /// All files are there, with the right size.
    pub complete: bool,
    pub made_by: Option<String>,
    pub truncated: bool,
    pub by_policy: bool,
}

/// Every backup that the caller may see, oldest first within a directory.
pub fn list() -> Result<Vec<Listed>> {
    explained(
        || None,
        || {
            let sees_all = server::may_use_all(READER)?;
            let ledger = ledger::all()?;
            let mut listed = Vec::new();
            for folder in directory::root()?.folders()? {
                let sizes = folder.sizes()?;
                for stamp in folder.stamps()? {
                    let manifest = folder.manifest(&stamp).ok();
                    let entry = manifest.as_ref().and_then(|m| ledger.iter().find(|entry| entry.id == m.id));
                    if !sees_all
                        && !entry.is_some_and(|entry| entry.made_by.is_some_and(server::is_member_of))
                    {
                        continue;
                    }
                    let complete = manifest.as_ref().is_some_and(|manifest| {
                        manifest.files().all(|file| sizes.get(&file.name) == Some(&file.bytes))
                    });
                    listed.push(Listed {
                        name: folder.name(&stamp).to_string(),
                        task: folder.task().map(str::to_owned),
                        complete,
                        made_by: entry.map(|entry| entry.made_by_name.clone()),
                        truncated: entry.is_some_and(|entry| entry.truncated),
                        by_policy: entry.is_some_and(|entry| entry.by_policy),
                        manifest,
                    });
                }
            }
            Ok(listed)
        },
    )
}

/// Reads a whole backup and says what is wrong with it.
pub fn verify(name: &str) -> Result<Value> {
    explained(
        || None,
        || {
            let (folder, name) = directory::find(name, READER)?;
            let verdict = verify::verify(&folder, &name.stamp, &mut || {
                pgrx::check_for_interrupts!();
            })?;
            let faults: Vec<Value> =
                verdict.faults.iter().map(|fault| json!({"file": fault.file, "fault": fault.what})).collect();
            let manifest = verdict.manifest.as_ref();
            Ok(json!({
                "backup": name.to_string(),
                "valid": faults.is_empty(),
                "faults": faults,
                "tables": manifest.map_or(0, |m| m.tables.len()),
                "files": manifest.map_or(0, |m| m.files().count()),
                "rows": manifest.map_or(0, Manifest::rows),
                "bytes": manifest.map_or(0, Manifest::bytes),
            }))
        },
    )
}

/// Deletes a backup, damaged or not.
pub fn delete(name: &str) -> Result<()> {
    explained(
        || None,
        || {
            let (folder, name) = directory::find(name, WRITER)?;
            if !snapshot::may_write() {
                return Err(Error::new(
                    Kind::WrongState,
                    "a backup cannot be deleted in a read-only transaction",
                )
                .hint("Call it in a read-write transaction on the primary server."));
            }
            remove(&folder, &name)
        },
    )
}

/// Deletes the files, then the ledger's row: a rollback leaves a row without files, which means
/// nothing.
pub fn remove(folder: &autovector_backup::folder::Folder, name: &BackupName) -> Result<()> {
    let id = folder.manifest(&name.stamp).ok().map(|manifest| manifest.id);
    folder.delete(&name.stamp, directory::now())?;
    let line = format!("{} backup {name} deleted", names::timestamp(directory::now()));
    if let Err(error) = folder.log(&line) {
        pgrx::warning!("{error}");
    }
    id.map_or(Ok(()), |id| ledger::forget(&id))
}
