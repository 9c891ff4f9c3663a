//! From a row to the text of its document: fetched where the row says, then read in a process of
//! its own. Runs on threads, so it touches nothing of PostgreSQL.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use autovector_backup::folder::Root;
use autovector_documents::process::{Readers, Trouble, too_large};
use autovector_documents::{How, Limits};
use autovector_domain::config::Loading;
use autovector_domain::failure::Failure;
use autovector_providers::fetch::Fetcher;
use autovector_providers::http::Timeouts;

use super::document_buckets::{self, Buckets};
use crate::error::{Error, Kind};
use crate::settings::Settings;
use crate::store::catalog::Vectorizer;
use crate::store::queue::{ClaimedRow, Document};

/// Bytes of text that a document may have.
const MOST_TEXT: u64 = 32 * 1024 * 1024;
/// Documents that one worker holds at a time, whatever its threads.
const AT_ONCE: usize = 8;

/// Why a row has no text.
#[derive(Debug)]
pub enum Unread {
    /// The row is to blame; the step is `loading` or `parsing`.
    Failed { step: &'static str, message: String },
    /// It may be there another time.
    Later { message: String },
    /// Nobody is to blame, and nothing goes on.
    Interrupted(Failure),
}

impl Unread {
    pub fn loading(message: impl Into<String>) -> Self {
        Unread::Failed { step: "loading", message: message.into() }
    }
}

/// What a worker shares among its vectorizers.
#[derive(Clone)]
pub struct Shared {
    pub readers: Arc<Readers>,
    held: Arc<Turns>,
}

impl Shared {
    pub fn new(readers: Readers) -> Self {
        let held = Turns { free: Mutex::new(AT_ONCE), freed: Condvar::new() };
        Shared { readers: Arc::new(readers), held: Arc::new(held) }
    }
}

/// Bounds how many documents are in memory.
struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

struct Turn<'a>(&'a Turns);

impl Turns {
    fn take(&self) -> Turn<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// How the documents of one vectorizer are found and read.
pub struct Documents {
    shared: Shared,
    how: How,
    limits: Limits,
    loading: Loading,
    directory: Option<PathBuf>,
    fetcher: Fetcher,
    buckets: Buckets,
}

impl Documents {
    /// None for a vectorizer of plain text. Errors: `Failure::Config` for settings that cannot be
    /// used.
    pub fn open(v: &Vectorizer, settings: &Settings, shared: &Shared) -> Result<Option<Self>, Failure> {
        if !v.reads_documents() {
            return Ok(None);
        }
        let (fetcher, buckets) = places(settings)?;
        Ok(Some(Documents {
            shared: shared.clone(),
            how: if v.config.parsing.detects() { How::Auto } else { How::Text },
            limits: Limits {
                size: settings.document_max_size,
                text: MOST_TEXT,
                memory: settings.document_memory,
                time: settings.document_timeout,
            },
            loading: v.config.loading.clone(),
            directory: settings.document_directory.clone(),
            fetcher,
            buckets,
        }))
    }

    /// How often a document is fetched again.
    pub fn retries(&self) -> u32 {
        self.loading.retries
    }

    /// The text of a row's document; None where the row has none.
    pub fn text(&self, row: &ClaimedRow) -> Result<Option<String>, Unread> {
        let _turn = self.shared.held.take();
        let bytes = match (&row.document, &row.text) {
            (Some(Document::Bytes(bytes)), _) => return self.read(bytes).map(Some),
            (Some(Document::TooLarge(length)), _) => {
                return Err(Unread::loading(too_large(*length, &self.limits).to_string()));
            }
            (None, Some(uri)) if self.loading.is_uri() && !uri.trim().is_empty() => self.fetch(uri.trim())?,
            (None, _) => return Ok(None),
        };
        self.read(&bytes).map(Some)
    }

    fn read(&self, bytes: &[u8]) -> Result<String, Unread> {
        self.shared.readers.read(bytes, self.how, &self.limits).map_err(|trouble| match trouble {
            Trouble::Unreadable(why) => Unread::Failed { step: "parsing", message: tidy(&why.0) },
            Trouble::Gone(why) => Unread::Interrupted(Failure::request(why)),
        })
    }

    fn fetch(&self, uri: &str) -> Result<Vec<u8>, Unread> {
        match scheme(uri) {
            None => self.file(uri),
            Some("file") => self.file(&file_path(uri)?),
            Some("http" | "https") => self.fetcher.get(uri, self.limits.size).map_err(|unfetched| {
                let message = tidy(&unfetched.message);
                if unfetched.retryable { Unread::Later { message } } else { Unread::loading(message) }
            }),
            Some("s3") => {
                self.buckets.get(uri, self.limits.size, |size| too_large(size, &self.limits).to_string())
            }
            Some(other) => Err(Unread::loading(format!("documents are not read from {}://", tidy(other)))),
        }
    }

    /// Below the directory that is allowed, and by no symbolic link.
    fn file(&self, path: &str) -> Result<Vec<u8>, Unread> {
        let Some(directory) = &self.directory else {
            return Err(Unread::loading(format!("files are not read: {DIRECTORY} is not set")));
        };
        let below = match path.strip_prefix('/') {
            None => Some(path),
            Some(_) => path
                .strip_prefix(directory.to_str().unwrap_or("/").trim_end_matches('/'))
                .and_then(|below| below.strip_prefix('/')),
        };
        let Some(below) = below else {
            return Err(Unread::loading(format!("\"{}\" is not below {DIRECTORY}", tidy(path))));
        };
        let file = open(directory)
            .map_err(Unread::loading)?
            .open_file(below)
            .map_err(|error| Unread::loading(tidy(&error.to_string())))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if length > self.limits.size {
            return Err(Unread::loading(too_large(length, &self.limits).to_string()));
        }
        // It may grow meanwhile.
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.take(self.limits.size + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Unread::Later { message: format!("cannot read \"{}\": {error}", tidy(path)) })?;
        if bytes.len() as u64 > self.limits.size {
            return Err(Unread::loading(too_large(bytes.len() as u64, &self.limits).to_string()));
        }
        Ok(bytes)
    }
}

pub const DIRECTORY: &str = "autovector.document_directory";
pub const ENDPOINTS: &str = "autovector.document_endpoints";

/// Errors name the setting, not the path, which is a superuser's to know.
fn open(directory: &Path) -> Result<Root, String> {
    Root::open(directory).map_err(|error| match error {
        autovector_backup::Error::Missing(_) => format!("{DIRECTORY} cannot be read: it does not exist"),
        _ => format!("{DIRECTORY} cannot be read by the server's account"),
    })
}

/// Where else documents may come from: the web, and buckets.
fn places(settings: &Settings) -> Result<(Fetcher, Buckets), Failure> {
    let (web, buckets) = document_buckets::divide(&settings.document_endpoints)?;
    let fetcher = Fetcher::new(&web, ENDPOINTS, timeouts(settings))?;
    Ok((fetcher, Buckets::new(buckets, settings)))
}

fn timeouts(settings: &Settings) -> Timeouts {
    Timeouts { connect: settings.connect_timeout, request: settings.request_timeout }
}

/// What can be seen of the places of documents without reading one.
pub fn check(settings: &Settings) -> Result<(), Error> {
    let (_, buckets) = places(settings)?;
    buckets.check()?;
    match &settings.document_directory {
        None if settings.document_endpoints.is_empty() => Err(Error::new(
            Kind::WrongState,
            format!("no document can be loaded: neither {DIRECTORY} nor {ENDPOINTS} is set"),
        )
        .hint(format!(
            "ALTER SYSTEM SET {DIRECTORY} = '/a/directory/of/the/server'; SELECT pg_reload_conf();"
        ))),
        None => Ok(()),
        Some(directory) => open(directory).map(|_| ()).map_err(|problem| {
            Error::new(Kind::WrongState, problem).hint("Create it, and let the server's account read it.")
        }),
    }
}

/// What stands before `://`, where it is a scheme; names of files have none.
fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once("://")?;
    let mut letters = scheme.chars();
    let begins = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
    (begins && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))).then_some(scheme)
}

/// The path of `file:///path` or `file://localhost/path`, with `%20` and its like resolved.
fn file_path(uri: &str) -> Result<String, Unread> {
    let rest = &uri["file://".len()..];
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(Unread::loading("a file:// URI must name a path of this server: file:///path"));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).map_err(|_| Unread::loading("the path of the file:// URI is not UTF-8"))
}

/// Without control characters, which JSON would not hold, and not endless.
pub fn tidy(message: &str) -> String {
    message.chars().filter(|c| !c.is_control()).take(1000).collect()
}
