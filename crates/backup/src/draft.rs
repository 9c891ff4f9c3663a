//! A backup that is being made. Its name is reserved by the manifest's temporary file, which is
//! locked as long as the process lives; when the draft is dropped before it was published,
//! nothing of it stays.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, flock};

use crate::folder::Folder;
use crate::manifest::Manifest;
use crate::names;
use crate::{Error, Result};

/// Backups of one second in one directory.
const MOST_IN_A_SECOND: u32 = 9999;

pub struct Draft {
    folder: Folder,
    stamp: String,
    /// Kept open for its lock.
    manifest: File,
    published: bool,
}

impl Draft {
    /// Reserves a name for a backup that begins `seconds` after 1970, and removes what dead ones
    /// left behind.
    pub fn reserve(folder: &Folder, seconds: u64) -> Result<Draft> {
        let _guard = folder.lock()?;
        folder.sweep()?;
        let files = folder.files()?;
        let first = names::stamp(seconds);
        for number in 1..=MOST_IN_A_SECOND {
            let stamp = if number == 1 { first.clone() } else { format!("{first}_{number}") };
            if files.iter().any(|file| names::stamp_of(file) == Some(&stamp)) {
                continue;
            }
            let manifest = folder.create(&format!("{}{}", names::manifest(&stamp), names::TEMPORARY))?;
            flock(manifest.as_fd(), FlockOperation::NonBlockingLockExclusive)
                .map_err(Error::io(format!("lock the manifest of backup {stamp}")))?;
            return Ok(Draft { folder: folder.clone(), stamp, manifest, published: false });
        }
        Err(Error::Name(format!("there are too many backups of the second {first}")))
    }

    pub fn stamp(&self) -> &str {
        &self.stamp
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Publishes: the files' names first, the manifest's last, and every step durable before the
    /// next. The files must have been synced.
    pub fn publish(mut self, manifest: &Manifest) -> Result<()> {
        let temporary = format!("{}{}", names::manifest(&self.stamp), names::TEMPORARY);
        self.manifest
            .write_all(&manifest.seal())
            .and_then(|()| self.manifest.sync_all())
            .map_err(Error::io(format!("write file {}", self.folder.shown(&temporary))))?;
        for file in manifest.files() {
            self.folder.rename(&format!("{}{}", file.name, names::TEMPORARY), &file.name)?;
        }
        self.folder.sync()?;
        self.folder.rename(&temporary, &names::manifest(&self.stamp))?;
        self.published = true;
        self.folder.sync()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is swept by the next backup.
            let _ = self.folder.remove_all_of(&self.stamp);
        }
    }
}

/// Makes a data file of the backup with `stamp`, under its temporary name. With `claim` it is
/// None where another process has made it already.
pub fn create(folder: &Folder, file: &str, claim: bool) -> Result<Option<File>> {
    match folder.create(&format!("{file}{}", names::TEMPORARY)) {
        Ok(file) => Ok(Some(file)),
        Err(Error::Io { kind: std::io::ErrorKind::AlreadyExists, .. }) if claim => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a temporary file of an unfinished backup.
pub fn discard(folder: &Folder, file: &str) -> Result<()> {
    folder.remove(&format!("{file}{}", names::TEMPORARY))
}
