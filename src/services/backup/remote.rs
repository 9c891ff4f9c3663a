//! A backup of another server, by the same order and with the same promises. All that waits for
//! the network runs on a thread; this one looks after cancels and files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use autovector_backup::draft::{self, Draft};
use autovector_backup::folder::Folder;
use autovector_backup::manifest::{self, DataFile, Manifest};
use autovector_backup::names;
use autovector_remote::{Connection, Remote, Table};
use serde_json::{Value, json};

use super::copying::Shape;
use super::directory;
use super::make::{self, Request};
use super::report::{self, Emptied, Saved};
use crate::error::{Error, Kind, Result};
use crate::services::provider;
use crate::settings::Settings;
use crate::store::backup::{ledger, server, snapshot, statement};
use crate::store::latch;
use crate::store::locks::{self, Lock, Mode};

impl From<autovector_remote::Error> for Error {
    fn from(error: autovector_remote::Error) -> Self {
        use autovector_remote::Error as Remote;
        let message = error.to_string();
        match error {
            Remote::Invalid(_) => Error::invalid(message)
                .hint("Write it as for psql: 'host=db.example dbname=app user=reader password_secret=NAME'."),
            Remote::Connect(_, can_retry) => Error::new(Kind::Connection, message)
                .detail(json!({ "can_retry": can_retry }).to_string())
                .hint("Try the same connection string with psql, on this server."),
            Remote::MissingTable(_) => Error::new(Kind::UndefinedTable, message)
                .hint("Write it as in SQL there, with its schema where that is not in the search_path."),
            Remote::NotATable(_) => Error::new(Kind::Unsupported, message),
            Remote::Changed(_) => Error::new(Kind::WrongState, message).hint("Try again."),
            Remote::Refused(state, _) => Error::new(Kind::Database(code(&state)), message),
            Remote::Lost(_) => Error::new(Kind::Database(code("08006")), message).hint("Try again."),
            Remote::Files(error) => error.into(),
        }
    }
}

/// PostgreSQL's number of an SQLSTATE: six bits a character, the first one lowest.
fn code(state: &str) -> pgrx::PgSqlErrorCode {
    let packed = state
        .bytes()
        .rev()
        .fold(0_i32, |packed, byte| (packed << 6) | i32::from(byte.wrapping_sub(b'0') & 0x3F));
    pgrx::PgSqlErrorCode::from(packed)
}

type Task = Box<dyn FnOnce(&mut Remote) + Send>;

/// A connection that a thread holds.
struct Session {
    tasks: Sender<Task>,
    stop: Arc<AtomicBool>,
    cancel: Option<Box<dyn FnOnce() + Send>>,
}

impl Session {
    fn connect(connection: Connection) -> Result<Session> {
        let patience = connection.patience().map(|time| Instant::now() + time);
        let (tasks, queue) = channel::<Task>();
        let (sender, connected) = channel();
        on_thread(move || {
            let mut remote = match Remote::connect(&connection) {
                Ok(remote) => remote,
                Err(error) => return drop(sender.send(Err(error))),
            };
            let cancel: Box<dyn FnOnce() + Send> = Box::new(remote.canceller());
            sender.send(Ok(cancel)).ok();
            // Without a COMMIT the end of the connection rolls back.
            while let Ok(task) = queue.recv() {
                task(&mut remote);
            }
        })?;
        let cancel = wait(&connected, patience)??;
        Ok(Session { tasks, stop: Arc::default(), cancel: Some(cancel) })
    }

    /// Has the thread do something and waits for it, unless the statement is cancelled.
    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Remote) -> autovector_remote::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, result) = channel();
        let task: Task = Box::new(move |remote| drop(sender.send(work(remote))));
        self.tasks.send(task).map_err(|_| lost())?;
        Ok(wait(&result, None)??)
    }

    /// The other server's transaction is over: there is nothing to cancel.
    fn finish(mut self) {
        self.cancel = None;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(cancel) = self.cancel.take() {
            let _ = on_thread(cancel);
        }
    }
}

fn lost() -> Error {
    Error::new(Kind::Internal, "the thread of a backup panicked")
}

fn on_thread(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name("backup connection".to_owned());
    latch::with_signals_blocked(|| thread.spawn(work))
        .map(drop)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot start a thread: {error}")))
}

fn wait<T>(result: &Receiver<T>, until: Option<Instant>) -> Result<T> {
    loop {
        match result.recv_timeout(Duration::from_millis(10)) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => {
                pgrx::check_for_interrupts!();
                if until.is_some_and(|until| Instant::now() > until) {
                    return Err(
                        autovector_remote::Error::Connect("it does not answer".to_owned(), true).into()
                    );
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Err(lost()),
        }
    }
}

/// Takes passwords out of what this session shows of itself. First of all: any error after it
/// would have the whole statement logged.
pub fn hide_passwords(text: &str) {
    match Connection::parse(text, Duration::ZERO) {
        Ok(connection) => statement::hide(&connection.written_passwords),
        // Nobody can tell where a password stands in it.
        Err(_) => statement::hide(&[text.to_owned()]),
    }
}

/// Who may have this server open connections, and where to.
fn connection(text: &str) -> Result<Connection> {
    if !server::is_superuser() {
        return Err(Error::new(Kind::InsufficientPrivilege, "permission denied to use db_connection")
            .hint("Only superusers may have the server connect to another one."));
    }
    let settings = Settings::now();
    let mut connection = Connection::parse(text, settings.connect_timeout)?;
    if let Some(name) = connection.password_secret.take() {
        let found = (provider::surroundings(&settings).secrets)(&name).ok_or_else(|| {
            Error::new(Kind::UndefinedObject, format!("secret \"{}\" is not there", name.escape_default()))
                .hint("Put it into a file of that name in autovector.secrets_directory.")
        })?;
        connection.set_password(found.expose());
    }
    Ok(connection)
}

/// Makes a backup of the server behind `text`.
pub fn make(request: &Request, text: &str, mut shape: Shape, folder: &Folder, started: u64) -> Result<Value> {
    let began = Instant::now();
    if request.parallel > 1 {
        pgrx::notice!("the tables of another server are copied by one process");
    }
    shape.encoding = "UTF8".to_owned();
    let session = Session::connect(connection(text)?)?;
    locks::wait_for_transaction(0, Lock::Backup, Mode::Share);
    let names = request.tables.clone();
    let tables = session.call(move |remote| remote.tables(names.as_deref()))?;
    if tables.is_empty() {
        return Err(Error::new(Kind::UndefinedTable, "there are no vector tables on that server")
            .hint("Name the tables: tables => '{docs}'."));
    }
    let emptied = to_empty(&tables, request)?;
    let (locked, truncate) = (tables.clone(), request.truncate);
    session.call(move |remote| remote.begin(&locked, truncate))?;
    let (identity, seen) = session.call(Remote::identity)?;
    let mut draft = Draft::reserve(folder, started)?;
    let (written, saved) = copy_all(&session, &tables, &draft, &shape)?;
    let manifest = Manifest {
        version: manifest::VERSION,
        backup: folder.name(draft.stamp()).to_string(),
        id: uuid::Uuid::now_v7().to_string(),
        made_by: concat!("autovector ", env!("CARGO_PKG_VERSION")).to_owned(),
        server: identity,
        started,
        started_at: names::timestamp(started),
        finished_at: names::timestamp(directory::now()),
        snapshot: seen,
        lsn: None,
        format: shape.format,
        compression: shape.compression,
        tables: written,
    };
    make::read_back(folder, &manifest)?;
    let mut before = Vec::with_capacity(emptied.len());
    for table in &emptied {
        let counted = table.clone();
        let rows = session.call(move |remote| remote.count(&counted))?;
        let saved = manifest.tables.iter().find(|t| (&t.schema, &t.name) == (&table.schema, &table.name));
        if saved.map(|table| table.rows) != Some(rows) {
            return Err(Error::new(
                Kind::Internal,
                format!("{} has {rows} rows, its backup not", table.ident),
            ));
        }
        before.push(rows);
    }
    draft.name_files(&manifest)?;
    draft.publish(&manifest)?;
    make::note(folder, &report::line(&manifest, emptied.len(), began.elapsed(), directory::now()));
    let results = empty(&session, &emptied, &before, &manifest.backup)?;
    session.finish();
    if snapshot::may_write() {
        ledger::record(&manifest, !results.is_empty(), request.by_policy)?;
    }
    let directory = folder.path().display().to_string();
    Ok(report::result(&manifest, &directory, &saved, &results, began.elapsed(), directory::now()))
}

fn to_empty(tables: &[Table], request: &Request) -> Result<Vec<Table>> {
    if !request.truncate {
        return Ok(Vec::new());
    }
    if request.tables.is_some()
        && let Some(store) = tables.iter().find(|table| table.vectorizer.is_some())
    {
        return Err(make::is_a_store(&store.ident));
    }
    let emptied: Vec<Table> =
        tables.iter().filter(|table| table.has_vectors && table.vectorizer.is_none()).cloned().collect();
    if emptied.is_empty() {
        return Err(make::nothing_to_empty());
    }
    Ok(emptied)
}

fn copy_all(
    session: &Session,
    tables: &[Table],
    draft: &Draft,
    shape: &Shape,
) -> Result<(Vec<manifest::Table>, Vec<Saved>)> {
    let named: Vec<(&str, &str)> = tables.iter().map(|t| (t.schema.as_str(), t.name.as_str())).collect();
    let (mut written, mut saved) = (Vec::new(), Vec::new());
    for (table, base) in tables.iter().zip(names::bases(&named)) {
        let copying = Instant::now();
        let name = names::data_file(&base, draft.stamp(), None, shape.format, shape.compression);
        let output = draft::create(draft.folder(), &name)?.expect("nobody else makes it");
        let (copied, stop) = (table.clone(), session.stop.clone());
        let output = output.stopped_by(&stop);
        let (format, compression) = (shape.format, shape.compression);
        let (done, rows) =
            session.call(move |remote| remote.copy(&copied, format, compression, output, &stop))?;
        let alone = tables.iter().filter(|other| other.name == table.name).count() == 1;
        saved.push(Saved {
            name: if alone { table.name.clone() } else { format!("{}.{}", table.schema, table.name) },
            rows,
            bytes: done.bytes,
            files: vec![draft.folder().path().join(&name).display().to_string()],
            took: copying.elapsed(),
        });
        written.push(manifest::Table {
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: table.columns.clone(),
            rows,
            vectorizer: table.vectorizer.clone(),
            files: vec![DataFile { name, bytes: done.bytes, sha256: done.sha256, rows }],
        });
    }
    Ok((written, saved))
}

/// Empties the tables and ends the other server's transaction.
fn empty(session: &Session, emptied: &[Table], before: &[u64], backup: &str) -> Result<Vec<Emptied>> {
    let tables = emptied.to_vec();
    let after = session.call(move |remote| {
        if !tables.is_empty() {
            remote.truncate(&tables)?;
        }
        tables.iter().map(|table| remote.count(table)).collect::<autovector_remote::Result<Vec<u64>>>()
    })?;
    let committed = session.call(Remote::commit);
    if !emptied.is_empty() {
        committed.map_err(|error| {
            error.hint(format!(
                "Backup {backup} is complete. Look whether the tables are empty before you try again."
            ))
        })?;
    }
    let results = emptied.iter().zip(before.iter().zip(after));
    let result = |(table, (before, after)): (&Table, (&u64, u64))| Emptied {
        name: table.name.clone(),
        before: *before as i64,
        after: after as i64,
    };
    Ok(results.map(result).collect())
}
