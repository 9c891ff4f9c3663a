//! Is a backup what it was when it was made? Every file is read again, hashed and counted;
//! every fault is named, none is mended.

use crate::count::Counter;
use crate::ends::Input;
use crate::folder::Folder;
use crate::manifest::{DataFile, Manifest};
use crate::names::{self, Compression, Format};
use crate::stream::{BLOCK, Source};
use crate::{Error, Result};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    pub what: String,
}

/// What a look at a backup found. It is sound when there is no fault.
#[derive(Debug)]
pub struct Verdict {
    pub manifest: Option<Manifest>,
    pub faults: Vec<Fault>,
    /// The files, in the manifest's order, open at their beginning: what was verified is what is loaded.
    pub files: Vec<Opened>,
}

#[derive(Debug)]
pub struct Opened {
    pub file: Input,
    /// See `Counter::has_end_marker`.
    pub end_marker: bool,
}

/// Verifies the backup with `stamp`. `tick` is called for every block, so that a caller can stop
/// by unwinding. Errors: there is no such backup, or its directory cannot be read.
pub fn verify(folder: &Folder, stamp: &str, tick: &mut dyn FnMut()) -> Result<Verdict> {
    let mut verdict = Verdict { manifest: None, faults: Vec::new(), files: Vec::new() };
    let manifest = match folder.manifest(stamp) {
        Ok(manifest) => manifest,
        Err(error @ (Error::Missing(_) | Error::Store { .. })) => return Err(error),
        Err(error) => {
            verdict.faults.push(Fault { file: names::manifest(stamp), what: error.to_string() });
            return Ok(verdict);
        }
    };
    check_name(folder, stamp, &manifest, &mut verdict.faults);
    check_extra(folder, stamp, &manifest, &mut verdict.faults)?;
    for table in &manifest.tables {
        for file in &table.files {
            let opened = folder
                .open(&file.name)
                .and_then(|opened| check_file(opened, file, manifest.format, manifest.compression, tick));
            match opened {
                Ok(opened) => verdict.files.push(opened),
                // Nothing is known of what could not be fetched.
                Err(error @ Error::Store { .. }) => return Err(error),
                Err(error) => {
                    verdict.faults.push(Fault { file: file.name.clone(), what: error.to_string() });
                }
            }
        }
        let rows: u64 = table.files.iter().map(|file| file.rows).sum();
        if rows != table.rows {
            let what = format!("has {rows} rows of table {}, not {}", table.name, table.rows);
            verdict.faults.push(Fault { file: names::manifest(stamp), what });
        }
    }
    verdict.manifest = Some(manifest);
    Ok(verdict)
}

/// A backup that was made under a task may have been moved; its stamp may not have changed, nor
/// may one file stand for another.
fn check_name(folder: &Folder, stamp: &str, manifest: &Manifest, faults: &mut Vec<Fault>) {
    let sound = |file: &DataFile| names::stamp_of(&file.name) == Some(stamp) && !file.name.contains('/');
    if let Some(file) = manifest.files().find(|file| !sound(file)) {
        let what = format!("names \"{}\", which is not a file of {}", file.name, folder.name(stamp));
        faults.push(Fault { file: names::manifest(stamp), what });
    }
}

/// Files that carry the backup's stamp and are not in its manifest.
fn check_extra(folder: &Folder, stamp: &str, manifest: &Manifest, faults: &mut Vec<Fault>) -> Result<()> {
    for name in folder.files()? {
        if folder.is_bucket() && name.ends_with(names::TEMPORARY) {
            // A reservation goes after the backup has been published.
            continue;
        }
        let known = name == names::manifest(stamp) || manifest.files().any(|file| file.name == name);
        if names::stamp_of(&name) == Some(stamp) && !known {
            faults.push(Fault { file: name, what: "is not in the manifest".to_owned() });
        }
    }
    Ok(())
}

/// Reads a file again and compares it with what the manifest says of it. Errors: the fault.
pub fn check_file(
    file: Input,
    expected: &DataFile,
    format: Format,
    compression: Compression,
    tick: &mut dyn FnMut(),
) -> Result<Opened> {
    let size = file.size()?;
    if size != expected.bytes {
        return Err(Error::Damaged(format!("has {size} bytes, not {}", expected.bytes)));
    }
    let mut source = Source::new(file.again()?, compression)?;
    let mut counter = Counter::new(format);
    let mut block = vec![0; BLOCK];
    let unreadable = loop {
        tick();
        match source.fill(&mut block) {
            Ok(0) => break None,
            Ok(count) => counter.feed(&block[..count]),
            // A hash that does not match says more than what the decompressor stumbles over.
            Err(error) => break Some(error),
        }
    };
    let found = source.tally();
    if unreadable.is_none() && (found.bytes, &found.sha256) != (expected.bytes, &expected.sha256) {
        return Err(Error::Damaged("does not match its checksum".to_owned()));
    }
    if let Some(error) = unreadable {
        if error.get_ref().is_some_and(|inner| inner.is::<autovector_object_store::Error>()) {
            return Err(Error::io("read a backup file")(error));
        }
        return Err(Error::Damaged(format!("cannot be read: {error}")));
    }
    match counter.rows() {
        Ok(rows) if rows == expected.rows => {}
        Ok(rows) => return Err(Error::Damaged(format!("has {rows} rows, not {}", expected.rows))),
        Err(what) => return Err(Error::Damaged(what.to_owned())),
    }
    Ok(Opened { file: file.again()?, end_marker: counter.has_end_marker() })
}
