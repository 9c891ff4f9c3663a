//! A backup that is being made. Its name is reserved by the manifest's temporary file, which is
//! locked as long as the process lives (in a bucket by an object that names the process); when the
//! draft is dropped before it was published, nothing of it stays.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, flock};

use crate::disk::Disk;
use crate::ends::Output;
use crate::folder::{Folder, Place};
use crate::journal;
use crate::manifest::Manifest;
use crate::names;
use crate::{Error, Result};

/// Backups of one second in one directory.
const MOST_IN_A_SECOND: u32 = 9999;

pub struct Draft {
    folder: Folder,
    stamp: String,
    reservation: Reservation,
    published: bool,
}

/// What keeps the name from others.
enum Reservation {
    /// The manifest's temporary file, kept open for its lock.
    Locked(File),
    /// The object that says whose it is.
    Object(Vec<u8>),
}

impl Draft {
    /// Reserves a name for a backup that begins `seconds` after 1970, and removes what dead ones
    /// left behind.
    pub fn reserve(folder: &Folder, seconds: u64) -> Result<Draft> {
        let _guard = match &folder.place {
            Place::Disk(disk) => {
                let guard = disk.lock()?;
                disk.sweep()?;
                Some(guard)
            }
            Place::Bucket(bucket) => {
                bucket.sweep(seconds)?;
                None
            }
        };
        let files = folder.files()?;
        let first = names::stamp(seconds);
        for number in 1..=MOST_IN_A_SECOND {
            let stamp = if number == 1 { first.clone() } else { format!("{first}_{number}") };
            if files.iter().any(|file| names::stamp_of(file) == Some(&stamp)) {
                continue;
            }
            let reservation = match &folder.place {
                Place::Disk(disk) => Reservation::Locked(reserve_file(disk, &stamp)?),
                Place::Bucket(bucket) => match bucket.reserve(&stamp, seconds)? {
                    Some(words) => Reservation::Object(words),
                    None => continue,
                },
            };
            return Ok(Draft { folder: folder.clone(), stamp, reservation, published: false });
        }
        Err(Error::Name(format!("there are too many backups of the second {first}")))
    }

    pub fn stamp(&self) -> &str {
        &self.stamp
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Makes all but the manifest final; durable when it returns. The files must have been
    /// synced.
    pub fn name_files(&mut self, manifest: &Manifest) -> Result<()> {
        match (&self.folder.place, &mut self.reservation) {
            (Place::Disk(disk), Reservation::Locked(file)) => {
                let temporary = format!("{}{}", names::manifest(&self.stamp), names::TEMPORARY);
                file.write_all(&manifest.seal())
                    .and_then(|()| file.sync_all())
                    .map_err(Error::io(format!("write file {}", disk.shown(&temporary))))?;
                journal::note(|| "sync manifest".to_owned());
                for file in manifest.files() {
                    disk.rename(&format!("{}{}", file.name, names::TEMPORARY), &file.name)?;
                }
                disk.sync()
            }
            (Place::Bucket(bucket), Reservation::Object(words)) => bucket.still_reserved(&self.stamp, words),
            _ => unreachable!("a reservation is of its folder's kind"),
        }
    }

    /// Gives the manifest its name: from here on the backup exists.
    pub fn publish(mut self, manifest: &Manifest) -> Result<()> {
        let name = names::manifest(&self.stamp);
        match &self.folder.place {
            Place::Disk(disk) => {
                disk.rename(&format!("{name}{}", names::TEMPORARY), &name)?;
                self.published = true;
                disk.sync()
            }
            Place::Bucket(bucket) => {
                if !bucket.put_new(&name, manifest.seal())? {
                    return Err(Error::Damaged(format!(
                        "somebody else wrote the manifest of {}",
                        self.stamp
                    )));
                }
                self.published = true;
                // What cannot be removed now is swept by the next backup.
                let _ = bucket.release(&self.stamp);
                Ok(())
            }
        }
    }
}

fn reserve_file(disk: &Disk, stamp: &str) -> Result<File> {
    let manifest = disk.create(&format!("{}{}", names::manifest(stamp), names::TEMPORARY))?;
    flock(manifest.as_fd(), FlockOperation::NonBlockingLockExclusive)
        .map_err(Error::io(format!("lock the manifest of backup {stamp}")))?;
    Ok(manifest)
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is swept by the next backup.
            let _ = match &self.folder.place {
                Place::Disk(disk) => disk.remove_all_of(&self.stamp),
                Place::Bucket(bucket) => bucket.give_up(&self.stamp),
            };
        }
    }
}

/// Makes a data file of the backup that is being made. None where another process has made it
/// already.
pub fn create(folder: &Folder, file: &str) -> Result<Option<Output>> {
    match &folder.place {
        Place::Disk(disk) => match disk.create(&format!("{file}{}", names::TEMPORARY)) {
            Ok(file) => Ok(Some(file.into())),
            Err(Error::Io { kind: std::io::ErrorKind::AlreadyExists, .. }) => Ok(None),
            Err(error) => Err(error),
        },
        Place::Bucket(bucket) => bucket.create(file),
    }
}

/// Leaves a word for the other processes that make the backup. It goes with the backup's end.
pub fn note(folder: &Folder, file: &str, bytes: &[u8]) -> Result<()> {
    let file = format!("{file}{}", names::TEMPORARY);
    match &folder.place {
        Place::Disk(disk) => disk
            .create(&file)?
            .write_all(bytes)
            .map_err(Error::io(format!("write file {}", disk.shown(&file)))),
        Place::Bucket(bucket) => {
            if bucket.put_new(&file, bytes.to_vec())? {
                return Ok(());
            }
            Err(Error::Damaged(format!("{} is there already", bucket.shown(&file))))
        }
    }
}

/// Reads what was left by `note`.
pub fn read_note(folder: &Folder, file: &str) -> Result<Vec<u8>> {
    folder.read(&format!("{file}{}", names::TEMPORARY))
}

/// Removes a note.
pub fn discard(folder: &Folder, file: &str) -> Result<()> {
    match &folder.place {
        Place::Disk(disk) => disk.remove(&format!("{file}{}", names::TEMPORARY)),
        // With the reservation, all at once.
        Place::Bucket(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::folder::Root;
    use crate::manifest::{DataFile, tests::sample};
    use crate::names::Compression;
    use crate::stream;

    const SECOND: u64 = 1_767_323_045;

    fn folder(path: &Path) -> Folder {
        Root::open(path).unwrap().folder(None, true).unwrap()
    }

    fn disk(folder: &Folder) -> &Disk {
        match &folder.place {
            Place::Disk(disk) => disk,
            Place::Bucket(_) => panic!("a directory"),
        }
    }

    /// Makes a draft with one file, and the manifest for it.
    fn drafted(folder: &Folder) -> (Draft, Manifest) {
        let draft = Draft::reserve(folder, SECOND).unwrap();
        let name = format!("docs_{}.csv", draft.stamp());
        let file = create(folder, &name).unwrap().unwrap();
        let text: &[u8] = b"id\n\"1\"\n\"2\"\n";
        let written = stream::write(text, file, Compression::None, None).unwrap();
        let file = DataFile { name, bytes: written.bytes, sha256: written.sha256, rows: 2 };
        let manifest = sample(&folder.name(draft.stamp()).to_string(), vec![file]);
        (draft, manifest)
    }

    fn publish(mut draft: Draft, manifest: &Manifest) {
        draft.name_files(manifest).unwrap();
        draft.publish(manifest).unwrap();
    }

    /// Ends a draft as a crash does: its files stay, its lock goes.
    fn crash(draft: Draft) {
        let mut draft = draft;
        draft.published = true;
    }

    fn verdict(folder: &Folder, stamp: &str) -> Vec<crate::verify::Fault> {
        crate::verify::verify(folder, stamp, &mut || {}).unwrap().faults
    }

    /// Fear: a backup that was published is not there, or one that was given up is.
    #[test]
    fn a_draft_is_published_whole_or_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let folder = folder(directory.path());
        let (draft, manifest) = drafted(&folder);
        let stamp = draft.stamp().to_owned();
        assert!(folder.files().unwrap().iter().all(|file| file.ends_with(".tmp")));
        publish(draft, &manifest);
        assert_eq!(verdict(&folder, &stamp), []);
        let published = folder.files().unwrap();
        assert_eq!(published, [format!("docs_{stamp}.csv"), format!("manifest_{stamp}.json")]);
        drop(drafted(&folder));
        assert_eq!(folder.files().unwrap(), published);
    }

    /// Fear: two backups of one second share a name.
    #[test]
    fn drafts_of_one_second_have_names_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let folder = folder(directory.path());
        let drafts: Vec<(Draft, Manifest)> = (0..3).map(|_| drafted(&folder)).collect();
        let stamps: Vec<String> = drafts.iter().map(|(draft, _)| draft.stamp().to_owned()).collect();
        assert_eq!(stamps, ["20260102_030405", "20260102_030405_2", "20260102_030405_3"]);
        for (draft, manifest) in drafts {
            publish(draft, &manifest);
        }
        for stamp in &stamps {
            assert_eq!(verdict(&folder, stamp), [], "{stamp}");
        }
        folder.delete(&stamps[1], SECOND).unwrap();
        assert_eq!(folder.stamps().unwrap(), [stamps[0].clone(), stamps[2].clone()]);
        assert!(matches!(folder.delete(&stamps[1], SECOND), Err(Error::Missing(_))));
    }

    /// Fear: what a crash left behind looks like a backup, stays for ever, or is swept away while
    /// it is being written; or somebody else's file is swept.
    #[test]
    fn the_next_draft_sweeps_what_crashes_left_at_any_step() {
        let directory = tempfile::tempdir().unwrap();
        let folder = folder(directory.path());
        std::fs::write(folder.path().join("notes.tmp"), "mine").unwrap();
        // While the rows are written.
        let (draft, _) = drafted(&folder);
        crash(draft);
        let (draft, manifest) = drafted(&folder);
        assert_eq!(draft.stamp(), "20260102_030405", "the name is free again");
        // After some files have their names.
        disk(&folder)
            .rename(&format!("{}.tmp", manifest.files().next().unwrap().name), "docs_20260102_030405.csv")
            .unwrap();
        crash(draft);
        assert_eq!(folder.stamps().unwrap(), Vec::<String>::new());
        let (draft, _) = drafted(&folder);
        assert_eq!(draft.stamp(), "20260102_030405");
        // One that is alive stays.
        let (other, manifest) = drafted(&folder);
        assert_eq!(other.stamp(), "20260102_030405_2");
        drop(draft);
        publish(other, &manifest);
        assert_eq!(verdict(&folder, "20260102_030405_2"), []);
        // In the middle of a deletion.
        let manifest = names::manifest("20260102_030405_2");
        disk(&folder).rename(&manifest, &format!("{manifest}.tmp")).unwrap();
        drop(Draft::reserve(&folder, SECOND).unwrap());
        assert_eq!(folder.files().unwrap(), ["notes.tmp"]);
    }

    /// Fear: a name is durable before what it stands for, so that a power cut leaves a backup
    /// without its rows; or a deletion takes rows away from a backup that still exists.
    #[test]
    fn every_step_is_durable_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let folder = folder(directory.path());
        journal::take();
        let (draft, manifest) = drafted(&folder);
        publish(draft, &manifest);
        let steps = [
            "sync file",
            "sync manifest",
            "rename to docs_20260102_030405.csv",
            "sync directory",
            "rename to manifest_20260102_030405.json",
            "sync directory",
        ];
        assert_eq!(journal::take(), steps);
        folder.delete("20260102_030405", SECOND).unwrap();
        let steps = [
            "rename to manifest_20260102_030405.json.tmp",
            "sync directory",
            "remove docs_20260102_030405.csv",
            "remove manifest_20260102_030405.json.tmp",
            "sync directory",
        ];
        assert_eq!(journal::take(), steps);
    }

    /// Fear: a full disk goes unnoticed.
    #[test]
    fn a_full_disk_is_an_error() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = stream::write(&[7_u8; 100][..], full.into(), Compression::None, None).unwrap_err();
        assert!(matches!(error, Error::Io { code: Some(28), .. }), "{error:?}");
    }
}
