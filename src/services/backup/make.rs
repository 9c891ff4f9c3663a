//! Making a backup. The order is the promise: locks, then the snapshot, then the rows into files,
//! the files durable, read back and counted, the manifest last; and only then, in the same
//! transaction, are tables emptied.

use std::time::{Duration, Instant};

use autovector_backup::draft::Draft;
use autovector_backup::folder::Folder;
use autovector_backup::manifest::{self, DataFile, Manifest};
use autovector_backup::names::{self, Compression, Format};
use autovector_backup::verify;
use serde_json::Value;

use super::copying::{self, Shape};
use super::directory;
use super::errors::explained;
use super::remote;
use super::report::{self, Emptied, Saved};
use super::sink::Trouble;
use crate::error::{Error, Kind, Result};
use crate::store::backup::pins::Pins;
use crate::store::backup::snapshot::{self, Frozen};
use crate::store::backup::tables::{self, BackupTable, Strength};
use crate::store::backup::{ledger, server};
use crate::store::failpoint;
use crate::store::locks::{self, Lock, Mode};

/// Where LangChain keeps its vectors.
const LANGCHAIN: [&str; 2] = ["langchain_pg_collection", "langchain_pg_embedding"];

/// Processes that one backup may take.
const MOST_PROCESSES: i32 = 32;

/// The arguments of `ai.backup_vector_tables`, as they were given.
pub struct Request {
    pub task: Option<String>,
    pub connection: Option<String>,
    pub truncate: bool,
    pub backup: bool,
    pub tables: Option<Vec<String>>,
    pub format: String,
    pub compression: String,
    pub parallel: i32,
    pub by_policy: bool,
}

/// Makes a backup and returns its report.
pub fn make(request: &Request) -> Result<Value> {
    if let Some(connection) = &request.connection {
        remote::hide_passwords(connection);
    }
    let trouble = Trouble::default();
    explained(|| trouble.take(), || run(request, &trouble))
}

fn run(request: &Request, trouble: &Trouble) -> Result<Value> {
    let began = Instant::now();
    let started = directory::now();
    // To be asked before the first statement.
    let exports = snapshot::can_export();
    let mut shape = check(request)?;
    if let Some(connection) = &request.connection {
        let folder = directory::folder(&directory::root()?, request.task.as_deref())?;
        return remote::make(request, connection, shape, &folder, started);
    }
    let mut processes = request.parallel as usize;
    if processes > 1 && !exports {
        pgrx::notice!(
            "the backup is made by one process: its transaction has written or has a savepoint, or the server is a standby"
        );
        processes = 1;
    }
    if request.truncate {
        refuse_truncate_here()?;
    }
    let root = directory::root()?;
    let folder = directory::folder(&root, request.task.as_deref())?;
    // Names are the session's; everything else is pinned.
    let chosen = choose(request)?;
    shape.encoding = server::encoding()?;
    let _pins = Pins::set(&shape.encoding);
    let tables = tables::in_load_order(expand(chosen, request)?)?;
    let emptied = to_empty(&tables, request)?;
    check_rights(&tables, &emptied)?;
    let strength = if request.truncate { Strength::KeepWriters } else { Strength::Read };
    locks::wait_for_transaction(0, Lock::Backup, Mode::Share);
    tables::lock(&tables, strength)?;
    let tables = tables::recheck(&tables)?;
    check_rights(&tables, &emptied)?;
    failpoint::reach("backup_locked")?;

    let frozen = Frozen::take();
    let (seen, lsn) = server::position(&frozen)?;
    let mut draft = Draft::reserve(&folder, started)?;
    let plan = copying::plan(&tables, draft.stamp(), &shape, processes);
    let copied = copying::copy_all(&frozen, &tables, &plan, &draft, &shape, processes, trouble)?;
    failpoint::reach("backup_copied")?;
    let mut written = Vec::with_capacity(tables.len());
    let mut saved = Vec::with_capacity(tables.len());
    for (number, table) in tables.iter().enumerate() {
        let parts = plan.iter().zip(&copied).filter(|(part, _)| part.table == number);
        let parts: Vec<(DataFile, Duration)> =
            parts.map(|(part, done)| (part.file(done), Duration::from_millis(done.milliseconds))).collect();
        let rows = parts.iter().map(|(file, _)| file.rows).sum();
        saved.push(Saved {
            name: shown(table, &tables),
            rows,
            bytes: parts.iter().map(|(file, _)| file.bytes).sum(),
            files: parts
                .iter()
                .map(|(file, _)| folder.path().join(&file.name).display().to_string())
                .collect(),
            took: parts.iter().map(|(_, took)| *took).max().unwrap_or_default(),
        });
        written.push(manifest::Table {
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: table.columns.clone(),
            rows,
            vectorizer: table.vectorizer.as_ref().map(|(_, name)| name.clone()),
            files: parts.into_iter().map(|(file, _)| file).collect(),
        });
    }
    let manifest = Manifest {
        version: manifest::VERSION,
        backup: folder.name(draft.stamp()).to_string(),
        id: uuid::Uuid::now_v7().to_string(),
        made_by: concat!("autovector ", env!("CARGO_PKG_VERSION")).to_owned(),
        server: server::identity(&shape.encoding)?,
        started,
        started_at: names::timestamp(started),
        finished_at: names::timestamp(directory::now()),
        snapshot: seen,
        lsn,
        format: shape.format,
        compression: shape.compression,
        tables: written,
    };
    read_back(&folder, &manifest)?;
    for table in &emptied {
        compare_with_table(&frozen, table, &manifest)?;
    }
    drop(frozen);
    failpoint::reach("backup_read_back")?;
    draft.name_files(&manifest)?;
    failpoint::reach("backup_named")?;
    draft.publish(&manifest)?;
    failpoint::reach("backup_published")?;
    note(&folder, &report::line(&manifest, emptied.len(), began.elapsed(), directory::now()));
    let emptied = empty(&emptied, &tables)?;
    failpoint::reach("backup_emptied")?;
    if snapshot::may_write() {
        ledger::record(&manifest, !emptied.is_empty(), request.by_policy)?;
    }
    failpoint::reach("backup_recorded")?;
    Ok(report::result(
        &manifest,
        &folder.path().display().to_string(),
        &saved,
        &emptied,
        began.elapsed(),
        directory::now(),
    ))
}

/// Arguments that make no sense are refused before anything happens.
fn check(request: &Request) -> Result<Shape> {
    if !request.backup && !request.truncate {
        return Err(Error::invalid("there is nothing to do")
            .hint("Leave backup_vector_tables at true, or give truncate_vector_tables => true, which implies a backup."));
    }
    let format = Format::parse(&request.format).ok_or_else(|| {
        Error::invalid(format!("format \"{}\" is unknown", request.format.escape_default()))
            .hint("Use 'csv' or 'binary'.")
    })?;
    let compression = Compression::parse(&request.compression).ok_or_else(|| {
        Error::invalid(format!("compression \"{}\" is unknown", request.compression.escape_default()))
            .hint("Use 'none' or 'zstd'.")
    })?;
    if !(1..=MOST_PROCESSES).contains(&request.parallel) {
        return Err(Error::invalid(format!("parallel {} is out of range", request.parallel))
            .hint(format!("Use 1 to {MOST_PROCESSES}.")));
    }
    if request.tables.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::invalid("tables is empty").hint("Name tables, or leave the argument out."));
    }
    Ok(Shape { format, compression, encoding: String::new() })
}

/// A log that cannot be written does not spoil a backup.
pub(super) fn note(folder: &Folder, line: &str) {
    if let Err(error) = folder.log(line) {
        pgrx::warning!("{error}");
    }
}

/// Under a snapshot that is older than the lock, rows committed in between would be emptied
/// without having been copied.
fn refuse_truncate_here() -> Result<()> {
    if !snapshot::is_read_committed() {
        return Err(Error::new(
            Kind::WrongState,
            "a backup that empties tables needs a transaction at READ COMMITTED",
        )
        .hint("Its snapshot has to be younger than its locks: call it in a transaction of its own."));
    }
    if !snapshot::may_write() {
        return Err(Error::new(Kind::WrongState, "tables cannot be emptied in a read-only transaction")
            .hint("Make the backup without truncate_vector_tables, or call it on the primary server."));
    }
    Ok(())
}

/// The tables that were asked for, by number.
fn choose(request: &Request) -> Result<Vec<pgrx::pg_sys::Oid>> {
    let mut chosen = Vec::new();
    match &request.tables {
        Some(names) => {
            for name in names {
                let oid = tables::by_name(name)?.ok_or_else(|| {
                    Error::new(Kind::UndefinedTable, format!("table \"{name}\" does not exist"))
                        .hint("Write it as in SQL, with its schema where that is not in the search_path.")
                })?;
                chosen.push(oid);
            }
        }
        None => {
            for name in LANGCHAIN {
                chosen.extend(tables::by_name(name)?);
            }
            chosen.extend(tables::stores()?);
        }
    }
    let mut unique = Vec::with_capacity(chosen.len());
    for oid in chosen {
        if !unique.contains(&oid) {
            unique.push(oid);
        }
    }
    if unique.is_empty() {
        return Err(Error::new(Kind::UndefinedTable, "there are no vector tables here").hint(
            "Without LangChain's tables in the search_path and without a vectorizer, name the tables: tables => '{docs}'.",
        ));
    }
    Ok(unique)
}

/// Looks at the tables, and adds those that inherit from them: TRUNCATE and SELECT reach them too.
fn expand(chosen: Vec<pgrx::pg_sys::Oid>, _request: &Request) -> Result<Vec<BackupTable>> {
    let mut tables: Vec<BackupTable> = Vec::with_capacity(chosen.len());
    for oid in chosen {
        let children = tables::legacy_children(oid)?;
        for oid in std::iter::once(oid).chain(children) {
            if !tables.iter().any(|table| table.oid == oid) {
                tables.push(tables::describe(oid)?);
            }
        }
    }
    Ok(tables)
}

/// The tables that are emptied: those with vectors, but no vectorizer's store.
fn to_empty(tables: &[BackupTable], request: &Request) -> Result<Vec<BackupTable>> {
    if !request.truncate {
        return Ok(Vec::new());
    }
    if request.tables.is_some()
        && let Some(store) = tables.iter().find(|table| table.vectorizer.is_some())
    {
        return Err(is_a_store(&store.shown()));
    }
    let emptied: Vec<BackupTable> =
        tables.iter().filter(|table| table.has_vectors && table.vectorizer.is_none()).cloned().collect();
    if emptied.is_empty() {
        return Err(nothing_to_empty());
    }
    Ok(emptied)
}

pub(super) fn is_a_store(table: &str) -> Error {
    let message = format!("{table} is the store of a vectorizer and cannot be emptied");
    Error::new(Kind::WrongState, message)
        .hint("It would be filled again from its source. Empty the source, or drop the vectorizer.")
}

pub(super) fn nothing_to_empty() -> Error {
    Error::invalid("there is no embedding table to empty").hint(
        "truncate_vector_tables empties tables that have a column of vectors and are no vectorizer's store.",
    )
}

fn check_rights(tables: &[BackupTable], emptied: &[BackupTable]) -> Result<()> {
    for table in tables {
        tables::require(table, "SELECT")?;
    }
    for table in emptied {
        tables::require(table, "TRUNCATE")?;
    }
    Ok(())
}

/// Reads every file again before anything depends on it.
pub(super) fn read_back(folder: &Folder, manifest: &Manifest) -> Result<()> {
    for file in manifest.files() {
        let opened = folder.open_unpublished(&file.name)?;
        let mut tick = || {
            pgrx::check_for_interrupts!();
        };
        verify::check_file(opened, file, manifest.format, manifest.compression, &mut tick).map_err(
            |error| {
                Error::new(Kind::Io, format!("the file \"{}\" that was just written {error}", file.name))
                    .hint("The disk does not keep what is written to it. Nothing was emptied.")
            },
        )?;
    }
    Ok(())
}

/// What is emptied has as many rows as its files, by a count that COPY has no part in.
fn compare_with_table(frozen: &Frozen, table: &BackupTable, manifest: &Manifest) -> Result<()> {
    let found = frozen.count(table)?;
    let saved = manifest.tables.iter().find(|t| t.schema == table.schema && t.name == table.name);
    match saved {
        Some(saved) if saved.rows == found => Ok(()),
        _ => Err(Error::new(
            Kind::Internal,
            format!("{} has {found} rows, its backup {}", table.shown(), saved.map_or(0, |t| t.rows)),
        )),
    }
}

fn empty(emptied: &[BackupTable], all: &[BackupTable]) -> Result<Vec<Emptied>> {
    let before = emptied.iter().map(tables::count).collect::<Result<Vec<_>>>()?;
    tables::truncate(&emptied.iter().collect::<Vec<_>>())?;
    let mut results = Vec::with_capacity(emptied.len());
    for (table, before) in emptied.iter().zip(before) {
        results.push(Emptied { name: shown(table, all), before, after: tables::count(table)? });
    }
    Ok(results)
}

/// A table's name in results: without its schema where that is clear.
fn shown(table: &BackupTable, all: &[BackupTable]) -> String {
    if all.iter().filter(|other| other.name == table.name).count() == 1 {
        table.name.clone()
    } else {
        format!("{}.{}", table.schema, table.name)
    }
}
