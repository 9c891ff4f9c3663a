//! Loading a backup: verified first, then all of it or nothing, in the caller's transaction.

use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use autovector_backup::manifest::{self, DataFile, Manifest};
use autovector_backup::names::{Compression, Format};
use autovector_backup::rows::from_csv::Type;
use autovector_backup::stream::{self, Written};
use autovector_backup::verify::{self, Fault, Opened};
use serde_json::{Map, Value, json};

use super::catalog::READER;
use super::directory;
use super::errors::explained;
use super::sink::Trouble;
use crate::error::{Error, Kind, Result};
use crate::store::backup::load;
use crate::store::backup::pins::Pins;
use crate::store::backup::tables::{self, BackupTable, Strength};
use crate::store::backup::{columns, indexes, snapshot, vectorizers};
use crate::store::catalog::Vectorizer;
use crate::store::ident::Ident;
use crate::store::latch;
use crate::store::locks::{self, Lock};
use crate::store::roles;

/// Blocks between the reading thread and COPY.
const AHEAD: usize = 4;

/// What happens to rows that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// There may be none.
    Refuse,
    /// They go.
    Replace,
    /// They stay; a row with the same key is an error.
    Append,
    /// They stay, and rows with the same key are not loaded.
    SkipExisting,
}

impl Mode {
    pub fn parse(text: &str) -> Result<Mode> {
        match text {
            "refuse" => Ok(Mode::Refuse),
            "replace" => Ok(Mode::Replace),
            "append" => Ok(Mode::Append),
            "skip_existing" => Ok(Mode::SkipExisting),
            other => Err(Error::invalid(format!("mode \"{}\" is unknown", other.escape_default()))
                .hint("Use 'refuse', 'replace', 'append' or 'skip_existing'.")),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Mode::Refuse => "refuse",
            Mode::Replace => "replace",
            Mode::Append => "append",
            Mode::SkipExisting => "skip_existing",
        }
    }
}

/// Loads the backup called `name`; returns a report.
pub fn restore(name: &str, mode: &str) -> Result<Value> {
    let trouble = Trouble::default();
    explained(|| trouble.take(), || run(name, Mode::parse(mode)?, &trouble))
}

struct Target<'a> {
    table: BackupTable,
    saved: &'a manifest::Table,
    vectorizer: Option<Vectorizer>,
}

fn run(name: &str, mode: Mode, trouble: &Trouble) -> Result<Value> {
    let began = Instant::now();
    if !snapshot::may_write() {
        return Err(Error::new(Kind::WrongState, "a backup cannot be restored in a read-only transaction")
            .hint("Call it in a read-write transaction on the primary server."));
    }
    let (folder, name) = directory::find(name, READER)?;
    let verdict = verify::verify(&folder, &name.stamp, &mut || {
        pgrx::check_for_interrupts!();
    })?;
    let manifest = match verdict.manifest {
        Some(manifest) if verdict.faults.is_empty() => manifest,
        _ => return Err(damaged(&name.to_string(), &verdict.faults)),
    };
    let _pins = Pins::set(&manifest.server.encoding);
    locks::wait_for_transaction(0, Lock::Backup, locks::Mode::Share);
    let mut targets = targets(&manifest)?;
    for target in &mut targets {
        if let Some((id, _)) = &target.table.vectorizer {
            let vectorizer = vectorizers::hold(*id)?;
            roles::require_ownership(&vectorizer.source)?;
            target.vectorizer = Some(vectorizer);
        }
    }
    lock(&targets, mode)?;
    let tables: Vec<BackupTable> = targets.iter().map(|target| target.table.clone()).collect();
    tables::recheck(&tables)?;
    match mode {
        Mode::Refuse => refuse_rows(&tables)?,
        Mode::Replace => tables::truncate(&tables.iter().collect::<Vec<_>>())?,
        Mode::Append | Mode::SkipExisting => {}
    }
    let mut files = verdict.files.into_iter();
    let mut report = Map::new();
    for target in &targets {
        let opened: Vec<Opened> = files.by_ref().take(target.saved.files.len()).collect();
        let loaded = load(target, opened, &manifest, mode, trouble)?;
        let entry =
            json!({"rows": target.saved.rows, "loaded": loaded, "skipped": target.saved.rows - loaded});
        report.insert(target.table.ident.to_string(), entry);
    }
    for vectorizer in targets.iter().filter_map(|target| target.vectorizer.as_ref()) {
        vectorizers::look_again(vectorizer)?;
    }
    Ok(json!({
        "backup": name.to_string(),
        "response": format!("backup {name} is restored"),
        "mode": mode.as_str(),
        "tables_restored": report,
        "duration": (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
    }))
}

/// Names every fault: in the message the first, in the detail all.
fn damaged(name: &str, faults: &[Fault]) -> Error {
    let first = faults.first().map_or(String::new(), |fault| format!(": {} {}", fault.file, fault.what));
    let all: Vec<Value> =
        faults.iter().map(|fault| json!({"file": fault.file, "fault": fault.what})).collect();
    Error::new(Kind::Corrupted, format!("backup \"{name}\" is damaged{first}"))
        .detail(json!({ "faults": all }).to_string())
        .hint("Nothing was changed. SELECT ai.list_backups(); shows other backups.")
}

fn targets(manifest: &Manifest) -> Result<Vec<Target<'_>>> {
    let mut targets = Vec::with_capacity(manifest.tables.len());
    for saved in &manifest.tables {
        let name = Ident::qualified(&saved.schema, &saved.name).to_string();
        let oid = tables::by_name(&name)?.ok_or_else(|| {
            Error::new(Kind::UndefinedTable, format!("table {name} does not exist")).hint(
                "Create it first: by pg_dump --schema-only, by LangChain, or by ai.create_vectorizer for a store.",
            )
        })?;
        let table = tables::describe(oid)?;
        tables::require(&table, "INSERT")?;
        check_columns(&table, saved, manifest.format)?;
        targets.push(Target { table, saved, vectorizer: None });
    }
    Ok(targets)
}

/// Columns are matched by name: their order does not matter, and the table may have more.
fn check_columns(table: &BackupTable, saved: &manifest::Table, format: Format) -> Result<()> {
    for column in &saved.columns {
        let Some(found) = table.columns.iter().find(|found| found.name == column.name) else {
            let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(Error::new(
                Kind::UndefinedColumn,
                format!("column \"{}\" of the backup does not exist in {}", column.name, table.shown()),
            )
            .hint(format!(
                "The table has {}; add the column, or load into a table that has it.",
                columns.join(", ")
            )));
        };
        if format == Format::Binary && base(&found.r#type) != base(&column.r#type) {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "column \"{}\" of {} is {}, in the backup {}",
                    column.name,
                    table.shown(),
                    found.r#type,
                    column.r#type
                ),
            )
            .hint("A binary backup needs the same types; change the column, or make a csv backup."));
        }
    }
    Ok(())
}

/// A type without its modifier, which COPY enforces itself: it may stand within the name, as in
/// `timestamp(3) with time zone`.
fn base(name: &str) -> String {
    match (name.find('('), name.find(')')) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &name[..from], &name[to + 1..]),
        _ => name.to_owned(),
    }
}

fn lock(targets: &[Target<'_>], mode: Mode) -> Result<()> {
    let strength = if mode == Mode::Replace { Strength::Alone } else { Strength::KeepWriters };
    let tables: Vec<BackupTable> = targets.iter().map(|target| target.table.clone()).collect();
    tables::lock(&tables, strength)
}

fn refuse_rows(tables: &[BackupTable]) -> Result<()> {
    for table in tables {
        if !tables::is_empty(table)? {
            return Err(Error::new(Kind::WrongState, format!("table {} is not empty", table.shown())).hint(
                "Give mode => 'replace' to empty it first, 'append' to add, or 'skip_existing' to add what is missing.",
            ));
        }
    }
    Ok(())
}

/// Loads one table; returns how many rows went into it.
fn load(
    target: &Target<'_>,
    opened: Vec<Opened>,
    manifest: &Manifest,
    mode: Mode,
    trouble: &Trouble,
) -> Result<u64> {
    let columns: Vec<String> = target.saved.columns.iter().map(|column| column.name.clone()).collect();
    let table = &target.table;
    if mode == Mode::SkipExisting && !load::has_key(table.oid)? {
        return Err(Error::new(Kind::WrongState, format!("table {} has no primary key", table.shown()))
            .hint("Without a key nobody can tell which rows are there already. Use another mode."));
    }
    let types = types(target, manifest.format)?;
    let dropped = if tables::is_empty(table)? { indexes::drop_for_load(table)? } else { Vec::new() };
    let mut rows = 0;
    if mode == Mode::SkipExisting {
        let (oid, stage) = load::stage(table, &columns)?;
        for (file, opened) in target.saved.files.iter().zip(opened) {
            load_file(oid, &columns, file, opened, manifest, &types, trouble)?;
        }
        rows += load::insert_missing(table, &stage, &columns)?;
    } else {
        for (file, opened) in target.saved.files.iter().zip(opened) {
            rows += load_file(table.oid, &columns, file, opened, manifest, &types, trouble)?;
        }
        if rows > target.saved.rows {
            return Err(Error::new(
                Kind::Internal,
                format!("{rows} rows were loaded into {}", table.shown()),
            ));
        }
    }
    indexes::build_again(&dropped)?;
    Ok(rows)
}

/// The types of the columns, where CSV with vectors can be loaded as binary values: the table has
/// the types that were saved, and all of them are known.
fn types(target: &Target<'_>, format: Format) -> Result<Option<Vec<Type>>> {
    if format == Format::Binary {
        return Ok(None);
    }
    let known = columns::known_types(target.table.oid)?;
    let r#type = |saved: &manifest::Column| {
        let found = target.table.columns.iter().find(|found| found.name == saved.name)?;
        let same = bare(&found.r#type) == bare(&saved.r#type);
        known.get(&saved.name).copied().filter(|r#type| same || *r#type == Type::Text)
    };
    let types: Option<Vec<Type>> = target.saved.columns.iter().map(r#type).collect();
    Ok(types.filter(|types| types.contains(&Type::Vector)))
}

/// A type without its schema and its modifier: those of pgvector may be in another schema there.
fn bare(name: &str) -> String {
    let name = base(name);
    name.rsplit_once('.').map_or(name.clone(), |(_, last)| last.to_owned())
}

/// Loads one file, and makes sure that it was still the one that was verified.
fn load_file(
    table: pgrx::pg_sys::Oid,
    columns: &[String],
    file: &DataFile,
    opened: Opened,
    manifest: &Manifest,
    types: &Option<Vec<Type>>,
    trouble: &Trouble,
) -> Result<u64> {
    let (form, sent) = match (manifest.format, types) {
        (Format::Binary, _) => (stream::Form::AsIs, load::Form::Binary),
        (Format::Csv, Some(types)) => (stream::Form::Binary(types.clone()), load::Form::Binary),
        (Format::Csv, None) if opened.end_marker && cuts_at_end_marker() => {
            (stream::Form::Text, load::Form::Text)
        }
        (Format::Csv, None) => (stream::Form::AsIs, load::Form::Csv),
    };
    let (sender, blocks) = sync_channel(AHEAD);
    let compression: Compression = manifest.compression;
    let reader = latch::with_signals_blocked(|| {
        std::thread::Builder::new()
            .name("backup reader".to_owned())
            .spawn(move || stream::send(opened.file, compression, form, &sender))
    })
    .map_err(|error| Error::new(Kind::Internal, format!("cannot start a thread: {error}")))?;
    let reader = Reading { thread: Some(reader), trouble: trouble.clone() };
    let rows = load::copy_from(table, columns, sent, &manifest.server.encoding, blocks)?;
    let read = reader.end().map_err(|_| Error::new(Kind::Internal, "the reader of a backup panicked"))??;
    if (read.bytes, &read.sha256) != (file.bytes, &file.sha256) {
        return Err(Error::new(Kind::Corrupted, format!("file {} changed while it was loaded", file.name))
            .hint("Nothing was changed. Keep others from writing below autovector.backup_directory."));
    }
    Ok(rows)
}

/// The thread that reads. Where it ends early, COPY complains of what it did not get.
struct Reading {
    thread: Option<JoinHandle<autovector_backup::Result<Written>>>,
    trouble: Trouble,
}

impl Reading {
    fn end(mut self) -> std::thread::Result<autovector_backup::Result<Written>> {
        self.thread.take().expect("it ends once").join()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // After an error. A thread that still reads finds nobody to send to, and ends by itself;
        // one whose end was the error is about to be over.
        for _ in 0..50 {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                break;
            }
            latch::doze(Duration::from_millis(1));
        }
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished)
            && let Ok(Err(error)) = thread.join()
        {
            self.trouble.set(error.into());
        }
    }
}

/// Until version 17 PostgreSQL ends CSV at a line `\.`, even inside a quoted value.
fn cuts_at_end_marker() -> bool {
    cfg!(any(feature = "pg14", feature = "pg15", feature = "pg16", feature = "pg17"))
}
