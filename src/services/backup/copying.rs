//! Copying tables into files: in one process, or shared among several that read on one snapshot.
//!
//! A part belongs to whoever makes its file first. What helpers have to know stands in a file
//! beside the backup's, and so does what they have done: all of them are temporary, and are
//! removed with the rest of an unfinished backup.

use std::time::Instant;

use autovector_backup::draft::{self, Draft};
use autovector_backup::folder::Folder;
use autovector_backup::manifest::DataFile;
use autovector_backup::names::{self, BackupName, Compression, Format};
use pgrx::pg_sys;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::directory;
use super::sink::{Sink, Trouble};
use crate::error::{Error, Kind, Result};
use crate::store::backup::helpers::Helpers;
use crate::store::backup::pins::Pins;
use crate::store::backup::snapshot::Frozen;
use crate::store::backup::tables::{self, BackupTable};
use crate::store::locks::{self, Lock, Mode};
use crate::store::transaction::transaction_on;

/// Smaller tables are not worth dividing.
const DIVISIBLE_PAGES: u32 = 1024;
/// More parts than processes, so that none waits long for another at the end.
const PARTS_PER_PROCESS: usize = 2;
/// Bytes that a process's name of its task may have.
const LONGEST_EXTRA: usize = 120;

/// How rows are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shape {
    pub format: Format,
    pub compression: Compression,
    pub encoding: String,
}

/// A table, or some of its pages, and the file for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    /// Its place in the list of tables.
    pub table: usize,
    pages: Option<(u32, Option<u32>)>,
    name: String,
}

/// What was copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    bytes: u64,
    sha256: String,
    rows: u64,
    pub milliseconds: u64,
}

impl Part {
    pub fn file(&self, done: &Done) -> DataFile {
        DataFile { name: self.name.clone(), bytes: done.bytes, sha256: done.sha256.clone(), rows: done.rows }
    }
}

#[derive(Serialize, Deserialize)]
struct Job {
    snapshot: String,
    shape: Shape,
    tables: Vec<u32>,
    parts: Vec<Part>,
}

/// Divides the tables among `processes`.
pub fn plan(tables: &[BackupTable], stamp: &str, shape: &Shape, processes: usize) -> Vec<Part> {
    let named: Vec<(&str, &str)> = tables.iter().map(|t| (t.schema.as_str(), t.name.as_str())).collect();
    let mut parts = Vec::new();
    for ((number, table), base) in tables.iter().enumerate().zip(names::bases(&named)) {
        let file = |part| names::data_file(&base, stamp, part, shape.format, shape.compression);
        if processes == 1 || table.kind != b'r' || table.pages < DIVISIBLE_PAGES {
            parts.push(Part { table: number, pages: None, name: file(None) });
            continue;
        }
        let count = (processes * PARTS_PER_PROCESS) as u32;
        for part in 0..count {
            let border = |part: u32| (u64::from(table.pages) * u64::from(part) / u64::from(count)) as u32;
            // The last one has no end: the table may have grown since it was measured.
            let end = (part + 1 < count).then(|| border(part + 1));
            parts.push(Part {
                table: number,
                pages: Some((border(part), end)),
                name: file(Some(part as usize + 1)),
            });
        }
    }
    parts
}

/// Copies all parts; returns what was done, in their order.
pub fn copy_all(
    frozen: &Frozen,
    tables: &[BackupTable],
    parts: &[Part],
    draft: &Draft,
    shape: &Shape,
    processes: usize,
    trouble: &Trouble,
) -> Result<Vec<Done>> {
    let folder = draft.folder();
    let name = folder.name(draft.stamp()).to_string();
    let shared = processes > 1 && parts.len() > 1 && name.len() <= LONGEST_EXTRA;
    let mut helpers = if shared {
        let job = Job {
            snapshot: frozen.export(),
            shape: shape.clone(),
            tables: tables.iter().map(|table| table.oid.to_u32()).collect(),
            parts: parts.to_vec(),
        };
        note(folder, &job_file(draft.stamp()), &job)?;
        Some(Helpers::start(processes - 1, &name))
    } else {
        None
    };
    if helpers.as_ref().is_some_and(|helpers| helpers.count() < processes - 1) {
        pgrx::notice!("the backup is made by fewer processes than asked for");
    }
    let mut done: Vec<Option<Done>> = vec![None; parts.len()];
    for (part, done) in parts.iter().zip(&mut done) {
        *done = copy(frozen, &tables[part.table], part, folder, shape, trouble)?;
    }
    if let Some(helpers) = &mut helpers {
        helpers.wait();
    }
    let results = parts.iter().enumerate().zip(done).map(|((number, _), done)| match done {
        Some(done) => Ok(done),
        None => read_note::<std::result::Result<Done, String>>(folder, &result_file(draft.stamp(), number))
            .map_err(|_| "a helper process of the backup ended early; the server's log says why".to_owned())
            .and_then(|result| result)
            .map_err(|message| Error::new(Kind::Io, message).hint("Try again, or with parallel => 1.")),
    });
    let results: Vec<Done> = results.collect::<Result<_>>()?;
    if shared {
        draft::discard(folder, &job_file(draft.stamp()))?;
        for number in 0..parts.len() {
            draft::discard(folder, &result_file(draft.stamp(), number))?;
        }
    }
    Ok(results)
}

/// Copies one part; None where another process has it.
fn copy(
    frozen: &Frozen,
    table: &BackupTable,
    part: &Part,
    folder: &Folder,
    shape: &Shape,
    trouble: &Trouble,
) -> Result<Option<Done>> {
    let Some(output) = draft::create(folder, &part.name)? else { return Ok(None) };
    let began = Instant::now();
    let columns =
        table.sent_as(shape.format).map(|all| all.iter().map(|o| (o.column.clone(), o.sent)).collect());
    let sink = Sink::start(output, shape.compression, columns, trouble)?;
    let rows = frozen.copy_to(table, part.pages, shape.format, &shape.encoding, sink.descriptor())?;
    let written = sink.finish()?;
    let milliseconds = began.elapsed().as_millis() as u64;
    Ok(Some(Done { bytes: written.bytes, sha256: written.sha256, rows, milliseconds }))
}

/// What a helper does: as many parts of the backup called `name` as it can get.
pub fn help(name: &str) -> Result<()> {
    let name = BackupName::parse(name)?;
    let folder = directory::open()?.folder(name.task.as_deref(), false)?;
    let job: Job = read_note(&folder, &job_file(&name.stamp))?;
    let snapshot = std::ffi::CString::new(job.snapshot.as_str())
        .map_err(|_| Error::new(Kind::Internal, "a snapshot's name with NUL"))?;
    transaction_on(Some(&snapshot), || {
        locks::wait_for_transaction(0, Lock::Backup, Mode::Share);
        let tables = job
            .tables
            .iter()
            .map(|oid| tables::describe(pg_sys::Oid::from(*oid)))
            .collect::<Result<Vec<BackupTable>>>()?;
        // The backup holds its locks already. Waiting behind somebody who waits for the backup
        // would be a deadlock that nobody sees.
        tables::lock_at_once(&tables)?;
        let _pins = Pins::set(&job.shape.encoding);
        let frozen = Frozen::take();
        let trouble = Trouble::default();
        for (number, part) in job.parts.iter().enumerate() {
            let copied = super::errors::explained(
                || trouble.take(),
                || copy(&frozen, &tables[part.table], part, &folder, &job.shape, &trouble),
            );
            let result = match &copied {
                Ok(None) => continue,
                Ok(Some(done)) => Ok(done),
                Err(error) => Err(error.to_string()),
            };
            note(&folder, &result_file(&name.stamp, number), &result)?;
            copied?;
        }
        Ok(())
    })
}

fn job_file(stamp: &str) -> String {
    format!("job_{stamp}.json")
}

fn result_file(stamp: &str, part: usize) -> String {
    format!("part_{stamp}.p{part}.json")
}

/// Writes a value into a temporary file of the backup.
fn note(folder: &Folder, file: &str, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value).expect("plain data");
    Ok(draft::note(folder, file, &bytes)?)
}

fn read_note<T: DeserializeOwned>(folder: &Folder, file: &str) -> Result<T> {
    serde_json::from_slice(&draft::read_note(folder, file)?)
        .map_err(|error| Error::new(Kind::Io, format!("could not read file \"{file}\": {error}")))
}
