//! Backups in an object store. Objects cannot be renamed or locked, so a backup's name is reserved
//! by an object that nobody else can put: `manifest_<stamp>.json.tmp`. It says who is at work; it
//! is the first object of a backup and the last one to go, so what a crash leaves is found by it.
//! An object that is written in parts has a marker `<name>.tmp` before its upload begins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use autovector_object_store::{Error as Fault, Host, Put, Store};
use serde::{Deserialize, Serialize};

use crate::ends::{Input, Output};
use crate::names;
use crate::{Error, Result};

/// Nobody knows whether another server's backup is alive; after this it is not.
const LONGEST_BACKUP: u64 = 7 * 24 * 3600;

type IsAlive = dyn Fn(&str) -> Option<bool>;

/// Who is at work here, and who else still is.
#[derive(Clone)]
pub struct Owner {
    /// Different for every process that makes backups.
    pub name: String,
    /// Whether the process with that name lives; None where nobody here can tell.
    pub is_alive: Rc<IsAlive>,
    /// How long requests may take that clean up after a failure.
    pub cleaning: fn() -> Host,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a reservation says.
#[derive(Debug, Serialize, Deserialize)]
struct Reservation {
    owner: String,
    /// Seconds since 1970, when it was made.
    since: u64,
    /// The backup's first name, so that two reservations of one process differ.
    stamp: String,
}

/// One `vector_bak/` in a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    store: Store,
    /// Ends with a slash.
    prefix: String,
    owner: Owner,
}

/// `prefix/` with what belongs below it.
pub(crate) fn below(prefix: &str, task: Option<&str>) -> String {
    let mut path = prefix.trim_matches('/').to_owned();
    for part in task.into_iter().chain([names::FOLDER]) {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
    }
    path + "/"
}

fn temporary(name: &str) -> String {
    format!("{name}{}", names::TEMPORARY)
}

impl Bucket {
    pub fn new(store: Store, prefix: String, owner: Owner) -> Bucket {
        Bucket { store, prefix, owner }
    }

    pub fn path(&self) -> PathBuf {
        Path::new(&format!("s3://{}/{}", self.store.bucket(), self.prefix.trim_end_matches('/'))).to_owned()
    }

    pub fn shown(&self, file: &str) -> String {
        format!("\"s3://{}/{}{file}\"", self.store.bucket(), self.prefix)
    }

    fn key(&self, file: &str) -> String {
        format!("{}{file}", self.prefix)
    }

    fn failed(&self, what: &str, file: &str) -> impl FnOnce(Fault) -> Error {
        let (missing, what) = (self.shown(file), format!("{what} {}", self.shown(file)));
        move |error| match error {
            Fault::Missing(message) if !message.starts_with("bucket") => {
                Error::Missing(format!("object {missing} does not exist"))
            }
            error => Error::store(what)(error),
        }
    }

    /// Names and sizes of its objects.
    pub fn sizes(&self) -> Result<BTreeMap<String, u64>> {
        let found = self.store.list(&self.prefix).map_err(self.failed("list", ""))?;
        let named = found.into_iter().filter_map(|object| {
            let name = object.key.strip_prefix(&self.prefix)?;
            (!name.is_empty() && !name.contains('/')).then(|| (name.to_owned(), object.size))
        });
        Ok(named.collect())
    }

    pub fn exists(&self, file: &str) -> Result<bool> {
        match self.store.head(&self.key(file)) {
            Ok(_) => Ok(true),
            Err(Fault::Missing(_)) => Ok(false),
            Err(error) => Err(self.failed("look at", file)(error)),
        }
    }

    pub fn open(&self, file: &str) -> Result<Input> {
        let reader = self.store.reader(&self.key(file)).map_err(self.failed("read", file))?;
        Ok(Input::Object(Box::new(reader)))
    }

    pub fn read(&self, file: &str, cap: u64) -> Result<Vec<u8>> {
        self.store.get(&self.key(file), cap).map_err(self.failed("read", file))
    }

    /// False where there is one of that name.
    pub fn put_new(&self, file: &str, bytes: Vec<u8>) -> Result<bool> {
        match self.store.put(&self.key(file), bytes, Put::IfAbsent) {
            Ok(()) => Ok(true),
            Err(Fault::Exists(_)) => Ok(false),
            Err(error) => Err(self.failed("write", file)(error)),
        }
    }

    fn remove(&self, file: &str) -> Result<()> {
        self.store.delete(&self.key(file)).map_err(self.failed("delete", file))
    }

    /// Begins an object; None where another process has begun it.
    pub fn create(&self, file: &str) -> Result<Option<Output>> {
        if !self.put_new(&temporary(file), format!("{}\n", self.owner.name).into_bytes())? {
            return Ok(None);
        }
        let upload = self.store.upload(&self.key(file));
        Ok(Some(Output::Object(Box::new(upload), self.store.host(), (self.owner.cleaning)())))
    }

    /// Reserves `stamp`, and returns what the reservation says; None where it is taken.
    pub fn reserve(&self, stamp: &str, seconds: u64) -> Result<Option<Vec<u8>>> {
        let words = Reservation { owner: self.owner.name.clone(), since: seconds, stamp: stamp.to_owned() };
        let bytes = serde_json::to_vec(&words).expect("plain data");
        let taken = !self.put_new(&temporary(&names::manifest(stamp)), bytes.clone())?;
        Ok((!taken).then_some(bytes))
    }

    /// Makes sure that the reservation is still the one that was made: a store that ignores
    /// conditions would let two backups write one name.
    pub fn still_reserved(&self, stamp: &str, words: &[u8]) -> Result<()> {
        let name = temporary(&names::manifest(stamp));
        match self.read(&name, 4096) {
            Ok(found) if found == words => Ok(()),
            Ok(_) | Err(Error::Missing(_)) => {
                Err(Error::Damaged(format!("the name of backup {stamp} was taken by somebody else")))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a reservation and removes the markers, after the backup was published.
    pub fn release(&self, stamp: &str) -> Result<()> {
        self.remove_of(stamp, |name| name.ends_with(names::TEMPORARY))
    }

    /// Removes what belongs to `stamp`, its reservation last.
    pub fn remove_all_of(&self, stamp: &str) -> Result<()> {
        self.remove_of(stamp, |_| true)
    }

    /// The same after a failure, in a little time: what is left is swept by the next backup.
    pub fn give_up(&self, stamp: &str) -> Result<()> {
        let store = self.store.once((self.owner.cleaning)());
        Bucket { store, ..self.clone() }.remove_all_of(stamp)
    }

    fn remove_of(&self, stamp: &str, which: impl Fn(&str) -> bool) -> Result<()> {
        let files = self.sizes()?;
        let mut names: Vec<&String> =
            files.keys().filter(|name| names::stamp_of(name) == Some(stamp) && which(name)).collect();
        // A manifest goes first: without it there is no backup.
        let (manifest, reservation) = (names::manifest(stamp), temporary(&names::manifest(stamp)));
        names.sort_by_key(|name| (**name == reservation, **name != manifest));
        for name in names {
            if let Some(object) = name.strip_suffix(names::TEMPORARY)
                && *name != reservation
            {
                self.store.abort_uploads(&self.key(object)).map_err(self.failed("end uploads of", object))?;
            }
            self.remove(name)?;
        }
        Ok(())
    }

    /// Removes what dead backups left behind. Returns how many there were.
    pub fn sweep(&self, now: u64) -> Result<usize> {
        let files = self.sizes()?;
        let mut swept = 0;
        for name in files.keys() {
            let Some(stamp) = name.strip_suffix(names::TEMPORARY).and_then(names::stamp_of_manifest) else {
                continue;
            };
            let words = match self.read(name, 4096) {
                Ok(words) => words,
                // Published since the list was read.
                Err(Error::Missing(_)) => continue,
                Err(error) => return Err(error),
            };
            let alive = match serde_json::from_slice::<Reservation>(&words) {
                Ok(found) => (self.owner.is_alive)(&found.owner)
                    .unwrap_or(now < found.since.saturating_add(LONGEST_BACKUP)),
                Err(_) => true,
            };
            if alive {
                continue;
            }
            if files.contains_key(&names::manifest(stamp)) {
                self.release(stamp)?;
            } else {
                self.remove_all_of(stamp)?;
            }
            swept += 1;
        }
        Ok(swept)
    }

    /// Deletes a backup: it does not exist any more from the moment its manifest goes.
    pub fn delete(&self, stamp: &str, now: u64) -> Result<()> {
        if !self.exists(&names::manifest(stamp))? {
            return Err(Error::Missing(format!("backup \"{stamp}\" does not exist")));
        }
        // So that a crash in between is swept.
        self.reserve(stamp, now)?;
        self.remove_all_of(stamp)
    }
}
