//! A client of object stores that speak S3: objects whole and in pieces, listings, uploads in
//! parts. Requests are signed and go through the one HTTP client and its policy of endpoints.
//! Each is small (no more than a part), has a deadline, and is tried again after faults that pass,
//! so that streams of any size need constant memory. It knows nothing of what it stores.

mod error;
mod location;
mod reader;
mod request;
#[cfg(test)]
mod tests;
mod upload;
mod xml;

use std::sync::Arc;

use autovector_domain::secret::Secret;
use autovector_providers::endpoint::Policy;
use autovector_providers::http::{Client, Timeouts};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Method};

pub use error::{Error, Result};
pub use location::Location;
pub use reader::Reader;
pub use request::Host;
use request::{Action, Body};
pub use upload::{PART, Upload};

/// Answers without an object in them.
const SMALL: u64 = 16 * 1024 * 1024;

/// How requests are signed.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub key_id: Secret,
    pub secret_key: Secret,
    /// Of credentials that are valid for a while.
    pub session_token: Option<Secret>,
}

/// One bucket. Cloning is cheap; threads may share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    host: Host,
    attempts: u32,
}

struct Inner {
    client: Client,
    bucket: Bucket,
    credentials: Credentials,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.inner.bucket.name())
    }
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub key: String,
    pub size: u64,
    /// Changes when the object does.
    pub etag: String,
}

/// What a put does with an object that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Replace,
    /// It stays, and the put fails with `Error::Exists`.
    IfAbsent,
}

impl Store {
    /// Opens a bucket; nothing is sent yet.
    pub fn open(
        location: &Location,
        credentials: Credentials,
        policy: &Policy,
        timeouts: Timeouts,
    ) -> Result<Store> {
        let bucket = location.open()?;
        let endpoint = policy.check(&bucket.base_url().origin().ascii_serialization())?;
        let client = Client::new(endpoint, None, timeouts);
        let inner = Inner { client, bucket, credentials };
        Ok(Store { inner: Arc::new(inner), host: Host::default(), attempts: request::ATTEMPTS })
    }

    /// The same bucket, with requests that the caller can give up on.
    pub fn hosted(&self, host: Host) -> Store {
        Store { host, ..self.clone() }
    }

    /// What its requests are run by.
    pub fn host(&self) -> Host {
        self.host.clone()
    }

    /// The same bucket for a last attempt to clean up: each request is made once.
    pub fn once(&self, host: Host) -> Store {
        Store { host, attempts: 1, ..self.clone() }
    }

    pub fn bucket(&self) -> &str {
        self.inner.bucket.name()
    }

    /// The whole object, of at most `cap` bytes.
    pub fn get(&self, key: &str, cap: u64) -> Result<Vec<u8>> {
        Ok(self.call(&Action::new(Method::Get, key).cap(cap))?.body)
    }

    /// Size and version of an object.
    pub fn head(&self, key: &str) -> Result<Meta> {
        let answer = self.call(&Action::new(Method::Head, key))?;
        let size = answer.header("content-length").and_then(|value| value.parse().ok());
        let size = size.ok_or_else(|| self.unexpected("no size"))?;
        let etag = answer.header("etag").unwrap_or_default().to_owned();
        Ok(Meta { key: key.to_owned(), size, etag })
    }

    /// Reads an object as a stream, in pieces; all of them of the version that is there now.
    pub fn reader(&self, key: &str) -> Result<Reader> {
        Ok(Reader::new(self.clone(), self.head(key)?))
    }

    /// Writes an object at once.
    pub fn put(&self, key: &str, bytes: Vec<u8>, put: Put) -> Result<()> {
        let bytes: Body = Arc::new(bytes);
        self.put_shared(key, &bytes, put)
    }

    fn put_shared(&self, key: &str, bytes: &Body, put: Put) -> Result<()> {
        let mut action = Action::new(Method::Put, key).body(bytes.clone());
        if put == Put::IfAbsent {
            action = action.header("if-none-match", "*");
        }
        match self.call(&action) {
            Ok(_) => Ok(()),
            // An attempt whose answer was lost may have written it.
            Err(error @ Error::Exists(_)) if put == Put::IfAbsent => {
                let found = self.get(key, bytes.len() as u64);
                if !bytes.is_empty() && found.is_ok_and(|found| found == **bytes) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes an object; one that is not there is no error.
    pub fn delete(&self, key: &str) -> Result<()> {
        match self.call(&Action::new(Method::Delete, key)) {
            Ok(_) | Err(Error::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Every object whose key begins with `prefix`, in the order of keys.
    pub fn list(&self, prefix: &str) -> Result<Vec<Meta>> {
        let mut found = Vec::new();
        self.pages(prefix, None, |page| {
            found.extend(page.contents.into_iter().map(|object| Meta {
                key: object.key,
                size: object.size.unwrap_or(0),
                etag: object.etag.unwrap_or_default(),
            }));
        })?;
        Ok(found)
    }

    /// What stands between `prefix` and the next slash in the keys that begin with it.
    pub fn directories(&self, prefix: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        self.pages(prefix, Some("/"), |page| {
            let below = page.common_prefixes.iter().filter_map(|p| p.prefix.strip_prefix(prefix));
            found.extend(below.map(|name| name.trim_end_matches('/').to_owned()));
        })?;
        Ok(found)
    }

    fn pages(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        mut page: impl FnMut(rusty_s3::actions::ListObjectsV2Response),
    ) -> Result<()> {
        let mut token: Option<String> = None;
        loop {
            let mut action = Action::new(Method::Get, "")
                .query("encoding-type", "url")
                .query("list-type", "2")
                .query("prefix", prefix);
            if let Some(delimiter) = delimiter {
                action = action.query("delimiter", delimiter);
            }
            if let Some(token) = &token {
                action = action.query("continuation-token", token);
            }
            let answer = self.call(&action)?;
            let text = std::str::from_utf8(&answer.body).map_err(|_| self.unexpected("no text"))?;
            let mut found = ListObjectsV2::parse_response(text).map_err(|_| self.unexpected("no listing"))?;
            token = found.next_continuation_token.take();
            page(found);
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Begins an object that is written as a stream.
    pub fn upload(&self, key: &str) -> Upload {
        Upload::new(self.clone(), key)
    }

    /// Ends uploads of this very key that somebody began and did not end.
    pub fn abort_uploads(&self, key: &str) -> Result<usize> {
        let action = Action::new(Method::Get, "").query("prefix", key).query("uploads", "");
        let answer = self.call(&action)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let mut aborted = 0;
        for upload in xml::each(&text, "Upload") {
            if xml::text(upload, "Key").as_deref() != Some(key) {
                continue;
            }
            if let Some(id) = xml::text(upload, "UploadId") {
                self.abort(key, &id)?;
                aborted += 1;
            }
        }
        Ok(aborted)
    }

    fn abort(&self, key: &str, id: &str) -> Result<()> {
        match self.call(&Action::new(Method::Delete, key).query("uploadId", id)) {
            Ok(_) | Err(Error::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn unexpected(&self, what: &str) -> Error {
        Error::Unreachable(format!("{} sent {what}", self.inner.client.endpoint().origin()))
    }
}
