//! Where backups lie: a directory of the server, or a prefix of a bucket. What both have in
//! common is here; what each does in its own way is in `disk` and `bucket`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use autovector_object_store::Store;

use crate::bucket::{self, Bucket, Owner};
use crate::disk::{Base, Disk};
use crate::ends::Input;
use crate::manifest::Manifest;
use crate::names::{self, BackupName};
use crate::{Error, Result};

/// A manifest that is larger is none.
const LARGEST_MANIFEST: u64 = 256 * 1024 * 1024;

/// That below which all backups lie.
#[derive(Debug)]
pub struct Root(Above);

#[derive(Debug)]
enum Above {
    Disk(Base),
    Bucket { store: Store, prefix: String, owner: Owner },
}

/// One `vector_bak`: the one of a task, or the one of calls without.
#[derive(Debug, Clone)]
pub struct Folder {
    pub(crate) place: Place,
    path: PathBuf,
    task: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Disk(Disk),
    Bucket(Bucket),
}

impl Root {
    /// Opens a backup directory. Links in its path are its owner's business.
    pub fn open(path: &Path) -> Result<Root> {
        Ok(Root(Above::Disk(Base::open(path)?)))
    }

    /// The objects of a bucket whose keys begin with `prefix`.
    pub fn bucket(store: Store, prefix: &str, owner: Owner) -> Root {
        Root(Above::Bucket { store, prefix: prefix.to_owned(), owner })
    }

    /// The folder of `task`'s backups, or the one for calls without a task. A task's own
    /// directory must be there; `vector_bak` in it is made where `create` says so. In a bucket
    /// there are no directories.
    pub fn folder(&self, task: Option<&str>, create: bool) -> Result<Folder> {
        let place = match &self.0 {
            Above::Disk(base) => Place::Disk(base.folder(task, create)?),
            Above::Bucket { store, prefix, owner } => {
                if let Some(task) = task {
                    names::check_task(task)?;
                }
                Place::Bucket(Bucket::new(store.clone(), bucket::below(prefix, task), owner.clone()))
            }
        };
        Ok(Folder::new(place, task.map(str::to_owned)))
    }

    /// Opens a file somewhere below a directory for reading, by a relative path whose parts are plain
    /// names. No part may be a symbolic link, and the file is a regular one.
    pub fn open_file(&self, path: &str) -> Result<File> {
        match &self.0 {
            Above::Disk(base) => base.open_file(path),
            Above::Bucket { .. } => Err(Error::Missing(format!("\"{path}\" is no file of a directory"))),
        }
    }

    /// Every folder there is: the one of calls without a task, and those of tasks.
    pub fn folders(&self) -> Result<Vec<Folder>> {
        match &self.0 {
            Above::Disk(base) => {
                let found = base.folders()?.into_iter();
                Ok(found.map(|(task, disk)| Folder::new(Place::Disk(disk), task)).collect())
            }
            Above::Bucket { store, prefix, .. } => {
                let above = bucket::below(prefix, None);
                let above = above.strip_suffix(&format!("{}/", names::FOLDER)).unwrap_or_default();
                let found = store.directories(above).map_err(Error::store("list the bucket"))?;
                let tasks =
                    found.iter().filter(|name| *name != names::FOLDER && names::check_task(name).is_ok());
                std::iter::once(None)
                    .chain(tasks.map(|task| Some(task.as_str())))
                    .map(|task| self.folder(task, false))
                    .collect()
            }
        }
    }
}

impl Folder {
    fn new(place: Place, task: Option<String>) -> Folder {
        let path = match &place {
            Place::Disk(disk) => disk.path().to_owned(),
            Place::Bucket(bucket) => bucket.path(),
        };
        Folder { place, path, task }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    pub(crate) fn is_bucket(&self) -> bool {
        matches!(self.place, Place::Bucket(_))
    }

    /// The name of the backup with `stamp` in this folder.
    pub fn name(&self, stamp: &str) -> BackupName {
        BackupName { task: self.task.clone(), stamp: stamp.to_owned() }
    }

    /// For error messages.
    pub(crate) fn shown(&self, file: &str) -> String {
        match &self.place {
            Place::Disk(disk) => disk.shown(file),
            Place::Bucket(bucket) => bucket.shown(file),
        }
    }

    /// Names of what is in it, sorted.
    pub fn files(&self) -> Result<Vec<String>> {
        match &self.place {
            Place::Disk(disk) => disk.files(),
            Place::Bucket(bucket) => Ok(bucket.sizes()?.into_keys().collect()),
        }
    }

    /// Names and sizes of the regular files in it.
    pub fn sizes(&self) -> Result<BTreeMap<String, u64>> {
        match &self.place {
            Place::Disk(disk) => {
                let size = |name: &String| Some(disk.open(name).ok()?.metadata().ok()?.len());
                let files = disk.files()?.into_iter();
                Ok(files.filter_map(|name| size(&name).map(|size| (name, size))).collect())
            }
            Place::Bucket(bucket) => bucket.sizes(),
        }
    }

    /// The stamps of complete-looking backups, oldest first.
    pub fn stamps(&self) -> Result<Vec<String>> {
        let files = self.files()?;
        Ok(files.iter().filter_map(|file| names::stamp_of_manifest(file)).map(str::to_owned).collect())
    }

    pub fn exists(&self, file: &str) -> Result<bool> {
        match &self.place {
            Place::Disk(disk) => disk.exists(file),
            Place::Bucket(bucket) => bucket.exists(file),
        }
    }

    /// Opens a file of this folder for reading.
    pub fn open(&self, file: &str) -> Result<Input> {
        match &self.place {
            Place::Disk(disk) => Ok(Input::File(disk.open(file)?)),
            Place::Bucket(bucket) => bucket.open(file),
        }
    }

    /// Opens a data file of a backup that was not published yet.
    pub fn open_unpublished(&self, file: &str) -> Result<Input> {
        match &self.place {
            Place::Disk(disk) => Ok(Input::File(disk.open(&format!("{file}{}", names::TEMPORARY))?)),
            Place::Bucket(bucket) => bucket.open(file),
        }
    }

    /// Adds a line to the log of backups. Objects cannot be added to: a bucket has none.
    pub fn log(&self, line: &str) -> Result<()> {
        match &self.place {
            Place::Disk(disk) => disk.log(line),
            Place::Bucket(_) => Ok(()),
        }
    }

    /// Reads the manifest of `stamp`; checks that it vouches for itself and for this name.
    pub fn manifest(&self, stamp: &str) -> Result<Manifest> {
        let name = names::manifest(stamp);
        let bytes = self.read(&name).map_err(|error| match error {
            Error::Missing(_) => Error::Missing(format!("backup \"{}\" does not exist", self.name(stamp))),
            error => error,
        })?;
        let manifest = Manifest::open(&bytes)?;
        if BackupName::parse(&manifest.backup).is_ok_and(|found| found.stamp == stamp) {
            return Ok(manifest);
        }
        Err(Error::Damaged(format!("the manifest is that of backup \"{}\"", manifest.backup)))
    }

    /// A small file, whole.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        match &self.place {
            Place::Disk(disk) => {
                let mut bytes = Vec::new();
                disk.open(name)?
                    .take(LARGEST_MANIFEST)
                    .read_to_end(&mut bytes)
                    .map_err(Error::io(format!("read file {}", self.shown(name))))?;
                Ok(bytes)
            }
            Place::Bucket(bucket) => bucket.read(name, LARGEST_MANIFEST),
        }
    }

    /// Deletes a backup: from the first step on it does not exist any more, and what a crash
    /// leaves is swept by the next one. `now` is in seconds since 1970.
    pub fn delete(&self, stamp: &str, now: u64) -> Result<()> {
        match &self.place {
            Place::Disk(disk) => disk.delete(stamp),
            Place::Bucket(bucket) => bucket.delete(stamp, now),
        }
    }
}
