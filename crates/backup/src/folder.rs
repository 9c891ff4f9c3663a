//! Directories, held open and never named again: what is opened below them is opened relative to
//! the descriptor and follows no symbolic link, so nobody can lead a backup elsewhere while it
//! runs. Files are 0600, directories 0700.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self as unix, AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::journal;
use crate::manifest::Manifest;
use crate::names::{self, BackupName};
use crate::{Error, Result};

/// A manifest that is larger is none.
const LARGEST_MANIFEST: u64 = 256 * 1024 * 1024;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The directory below which all backups lie.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

/// One `vector_bak` directory: the one of a task, or the one of calls without.
#[derive(Debug, Clone)]
pub struct Folder {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    task: Option<String>,
}

impl Root {
    /// Opens the backup directory. Links in its path are its owner's business.
    pub fn open(path: &Path) -> Result<Root> {
        let fd = unix::open(path, DIRECTORY, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => Error::Missing(format!("backup directory \"{}\" does not exist", path.display())),
            error => Error::io(format!("open directory \"{}\"", path.display()))(error),
        })?;
        Ok(Root { fd, path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of `task`'s backups, or the one for calls without a task. A task's own
    /// directory must be there; `vector_bak` in it is made where `create` says so.
    pub fn folder(&self, task: Option<&str>, create: bool) -> Result<Folder> {
        let (above, path) = match task {
            None => (None, self.path.clone()),
            Some(task) => {
                names::check_task(task)?;
                let path = self.path.join(task);
                (Some(open_directory(&self.fd, task, &path)?), path)
            }
        };
        let above = above.as_ref().unwrap_or(&self.fd);
        let path = path.join(names::FOLDER);
        if create {
            match unix::mkdirat(above, names::FOLDER, Mode::RWXU) {
                Ok(()) => unix::fsync(above)
                    .map_err(Error::io(format!("fsync directory of \"{}\"", path.display())))?,
                Err(Errno::EXIST) => {}
                Err(error) => {
                    return Err(Error::io(format!("create directory \"{}\"", path.display()))(error));
                }
            }
        }
        let fd = open_directory(above, names::FOLDER, &path)?;
        Ok(Folder { fd: Arc::new(fd), path, task: task.map(str::to_owned) })
    }

    /// Opens a file somewhere below for reading, by a relative path whose parts are plain names. No
    /// part may be a symbolic link, and the file is a regular one.
    pub fn open_file(&self, path: &str) -> Result<File> {
        // Whoever names the file need not know where the directory is.
        let shown = Path::new(path);
        let mut parts: Vec<&str> = path.split('/').collect();
        let plain = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && !part.contains('\0');
        if !parts.iter().all(plain) {
            return Err(Error::Missing(format!("\"{}\" is not a path below the directory", shown.display())));
        }
        let file = parts.pop().unwrap_or_default();
        let mut above: Option<OwnedFd> = None;
        for part in parts {
            above = Some(open_directory(above.as_ref().unwrap_or(&self.fd), part, shown)?);
        }
        open_regular(above.as_ref().unwrap_or(&self.fd), file, || format!("\"{}\"", shown.display()))
    }

    /// Every folder there is: the one of calls without a task, and those of tasks.
    pub fn folders(&self) -> Result<Vec<Folder>> {
        let mut tasks: Vec<Option<String>> = vec![None];
        for (name, kind) in entries(&self.fd, &self.path)? {
            if matches!(kind, FileType::Directory | FileType::Unknown) && names::check_task(&name).is_ok() {
                tasks.push(Some(name));
            }
        }
        tasks.sort();
        let mut folders = Vec::new();
        for task in tasks {
            match self.folder(task.as_deref(), false) {
                Ok(folder) => folders.push(folder),
                // Not a task's, or not ours to read.
                Err(Error::Missing(_)) => {}
                Err(Error::Io { kind: std::io::ErrorKind::PermissionDenied, .. }) if task.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(folders)
    }
}

fn open_directory(above: &OwnedFd, name: &str, path: &Path) -> Result<OwnedFd> {
    unix::openat(above, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => Error::Missing(format!("directory \"{}\" does not exist", path.display())),
        Errno::LOOP | Errno::NOTDIR => {
            Error::Missing(format!("\"{}\" is not a directory, or a symbolic link", path.display()))
        }
        error => Error::io(format!("open directory \"{}\"", path.display()))(error),
    })
}

/// Opens a regular file; a pipe or a device is not waited for. `shown` is for messages.
fn open_regular(above: &OwnedFd, file: &str, shown: impl Fn() -> String) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = unix::openat(above, file, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => Error::Missing(format!("file {} does not exist", shown())),
        error => Error::io(format!("open file {}", shown()))(error),
    })?;
    let kind = FileType::from_raw_mode(
        unix::fstat(&fd).map_err(Error::io(format!("look at file {}", shown())))?.st_mode,
    );
    if kind != FileType::RegularFile {
        return Err(Error::Damaged(format!("{} is not a regular file", shown())));
    }
    Ok(File::from(fd))
}

fn entries(fd: &OwnedFd, path: &Path) -> Result<Vec<(String, FileType)>> {
    let what = || format!("read directory \"{}\"", path.display());
    let mut found = Vec::new();
    for entry in unix::Dir::read_from(fd).map_err(Error::io(what()))? {
        let entry = entry.map_err(Error::io(what()))?;
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            found.push((name.to_owned(), entry.file_type()));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// A held lock on the directory; given back when dropped.
pub(crate) struct Guard<'a>(&'a Folder);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Closing the descriptor would give it back too.
        let _ = unix::flock(&*self.0.fd, FlockOperation::Unlock);
    }
}

impl Folder {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    /// The name of the backup with `stamp` in this folder.
    pub fn name(&self, stamp: &str) -> BackupName {
        BackupName { task: self.task.clone(), stamp: stamp.to_owned() }
    }

    /// For error messages.
    pub(crate) fn shown(&self, file: &str) -> String {
        format!("\"{}\"", self.path.join(file).display())
    }

    /// Names of what is in it, sorted.
    pub fn files(&self) -> Result<Vec<String>> {
        Ok(entries(&self.fd, &self.path)?.into_iter().map(|(name, _)| name).collect())
    }

    /// The stamps of complete-looking backups, oldest first.
    pub fn stamps(&self) -> Result<Vec<String>> {
        let files = self.files()?;
        Ok(files.iter().filter_map(|file| names::stamp_of_manifest(file)).map(str::to_owned).collect())
    }

    /// Opens a file of this folder for reading.
    pub fn open(&self, file: &str) -> Result<File> {
        open_regular(&self.fd, file, || self.shown(file))
    }

    /// Makes a file that was not there.
    pub(crate) fn create(&self, file: &str) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = unix::openat(&*self.fd, file, flags, Mode::RUSR | Mode::WUSR)
            .map_err(Error::io(format!("create file {}", self.shown(file))))?;
        Ok(File::from(fd))
    }

    pub fn exists(&self, file: &str) -> Result<bool> {
        match unix::statat(&*self.fd, file, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(Error::io(format!("look at file {}", self.shown(file)))(error)),
        }
    }

    /// Renames; never over a file that is there.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let what = || format!("rename file {} to \"{to}\"", self.shown(from));
        journal::note(|| format!("rename to {to}"));
        match unix::renameat_with(&*self.fd, from, &*self.fd, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // Network file systems may not know the flag; the stamp is reserved anyway.
            Err(Errno::INVAL | Errno::NOSYS) if !self.exists(to)? => {
                unix::renameat(&*self.fd, from, &*self.fd, to).map_err(Error::io(what()))
            }
            Err(error) => Err(Error::io(what())(error)),
        }
    }

    /// Removes a file; one that is gone already is no error.
    pub(crate) fn remove(&self, file: &str) -> Result<()> {
        journal::note(|| format!("remove {file}"));
        match unix::unlinkat(&*self.fd, file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io(format!("remove file {}", self.shown(file)))(error)),
        }
    }

    /// Makes names durable: those that were made, changed or removed before.
    pub(crate) fn sync(&self) -> Result<()> {
        journal::note(|| "sync directory".to_owned());
        unix::fsync(&*self.fd).map_err(Error::io(format!("fsync directory \"{}\"", self.path.display())))
    }

    /// Keeps other backups from reserving names or sweeping meanwhile.
    pub(crate) fn lock(&self) -> Result<Guard<'_>> {
        unix::flock(&*self.fd, FlockOperation::LockExclusive)
            .map_err(Error::io(format!("lock directory \"{}\"", self.path.display())))?;
        Ok(Guard(self))
    }

    /// Adds a line to the log of backups.
    pub fn log(&self, line: &str) -> Result<()> {
        let what = || format!("append to file {}", self.shown(names::LOG));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            unix::openat(&*self.fd, names::LOG, flags, Mode::RUSR | Mode::WUSR).map_err(Error::io(what()))?;
        File::from(fd).write_all(format!("{line}\n").as_bytes()).map_err(Error::io(what()))
    }

    /// Reads the manifest of `stamp`; checks that it vouches for itself and for this name.
    pub fn manifest(&self, stamp: &str) -> Result<Manifest> {
        let name = names::manifest(stamp);
        let file = self.open(&name).map_err(|error| match error {
            Error::Missing(_) => Error::Missing(format!("backup \"{}\" does not exist", self.name(stamp))),
            error => error,
        })?;
        let manifest = Manifest::open(&read_whole(file, || self.shown(&name))?)?;
        if BackupName::parse(&manifest.backup).is_ok_and(|found| found.stamp == stamp) {
            return Ok(manifest);
        }
        Err(Error::Damaged(format!("the manifest is that of backup \"{}\"", manifest.backup)))
    }

    /// Deletes a backup: from the first step on it does not exist any more, and what a crash
    /// leaves is swept by the next one.
    pub fn delete(&self, stamp: &str) -> Result<()> {
        let _guard = self.lock()?;
        let manifest = names::manifest(stamp);
        let trash = format!("{manifest}{}", names::TEMPORARY);
        self.rename(&manifest, &trash).map_err(|error| match error {
            Error::Io { kind: std::io::ErrorKind::NotFound, .. } => {
                Error::Missing(format!("backup \"{}\" does not exist", self.name(stamp)))
            }
            error => error,
        })?;
        self.sync()?;
        self.remove_all_of(stamp)?;
        self.sync()
    }

    /// Removes what belongs to `stamp`, the manifest last.
    pub(crate) fn remove_all_of(&self, stamp: &str) -> Result<()> {
        let files = self.files()?;
        let (manifests, data): (Vec<&String>, Vec<&String>) = files
            .iter()
            .filter(|file| names::stamp_of(file) == Some(stamp))
            .partition(|file| file.starts_with(&names::manifest(stamp)));
        for file in data.into_iter().chain(manifests) {
            self.remove(file)?;
        }
        Ok(())
    }

    /// Removes what backups left behind that are no longer running. Returns how many there were.
    pub(crate) fn sweep(&self) -> Result<usize> {
        let files = self.files()?;
        let mut stamps: Vec<&str> = files
            .iter()
            .filter(|file| file.ends_with(names::TEMPORARY))
            .filter_map(|file| names::stamp_of(file))
            .collect();
        stamps.dedup();
        let mut swept = 0;
        for stamp in stamps {
            if files.contains(&names::manifest(stamp)) {
                continue;
            }
            let manifest = format!("{}{}", names::manifest(stamp), names::TEMPORARY);
            if files.contains(&manifest) {
                let file = match self.open(&manifest) {
                    Ok(file) => file,
                    // Published since the list was read.
                    Err(Error::Missing(_)) => continue,
                    Err(error) => return Err(error),
                };
                if unix::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
                    continue;
                }
            }
            self.remove_all_of(stamp)?;
            swept += 1;
        }
        Ok(swept)
    }
}

fn read_whole(file: File, shown: impl Fn() -> String) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST_MANIFEST)
        .read_to_end(&mut bytes)
        .map_err(Error::io(format!("read file {}", shown())))?;
    Ok(bytes)
}
