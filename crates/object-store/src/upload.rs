//! An object that is written as a stream: in parts, once it is larger than one.

use std::sync::Arc;

use rusty_s3::Method;
use rusty_s3::actions::CreateMultipartUpload;

use crate::request::{Action, Body};
use crate::{Error, Host, Put, Result, Store, xml};

/// Bytes of a part, but for the last one. Memory of an upload is one of them.
pub const PART: usize = 16 * 1024 * 1024;
/// The protocol has no more.
const MOST_PARTS: usize = 10_000;

/// Dropped before it is finished, it is aborted: nothing of it stays.
#[derive(Debug)]
pub struct Upload {
    store: Store,
    key: String,
    id: Option<String>,
    etags: Vec<String>,
    buffer: Vec<u8>,
    cleaner: Option<Store>,
}

impl Upload {
    pub(crate) fn new(store: Store, key: &str) -> Upload {
        let (id, etags, buffer) = (None, Vec::new(), Vec::new());
        Upload { store, key: key.to_owned(), id, etags, buffer, cleaner: None }
    }

    /// Who watches the upload from here on, and who watches its end after a failure.
    pub fn watched(mut self, host: Host, cleaning: Host) -> Upload {
        self.cleaner = Some(self.store.once(cleaning));
        self.store = self.store.hosted(host);
        self
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer.reserve_exact(PART.min(bytes.len().max(64 * 1024)));
            }
            let count = bytes.len().min(PART - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if self.buffer.len() == PART {
                self.send_part()?;
            }
        }
        Ok(())
    }

    fn send_part(&mut self) -> Result<()> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let action = Action::new(Method::Post, &self.key).query("uploads", "");
                let answer = self.store.call(&action)?;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                let created = CreateMultipartUpload::parse_response(&text)
                    .map_err(|_| self.store.unexpected("no name of an upload"))?;
                self.id.insert(created.upload_id().to_owned()).clone()
            }
        };
        if self.etags.len() == MOST_PARTS {
            let most = (MOST_PARTS * PART) >> 30;
            return Err(Error::Config {
                message: format!("an object of more than {most} GiB cannot be written"),
                hint: "Divide it into several, or compress it: a backup does with parallel and compression."
                    .to_owned(),
            });
        }
        let body: Body = Arc::new(std::mem::take(&mut self.buffer));
        let number = (self.etags.len() + 1).to_string();
        let action = Action::new(Method::Put, &self.key)
            .query("partNumber", &number)
            .query("uploadId", &id)
            .body(body.clone());
        let answer = self.store.call(&action)?;
        drop(action);
        let etag = answer.header("etag").ok_or_else(|| self.store.unexpected("no tag of a part"))?;
        self.etags.push(etag.to_owned());
        // The memory is used again, unless an attempt that was given up still holds it.
        if let Ok(mut buffer) = Arc::try_unwrap(body) {
            buffer.clear();
            self.buffer = buffer;
        }
        Ok(())
    }

    /// Makes the object: from here on it exists, whole and durable. One that is there already is
    /// an error where `put` says so.
    pub fn finish(mut self, put: Put) -> Result<()> {
        let Some(id) = self.id.clone() else {
            let body: Body = Arc::new(std::mem::take(&mut self.buffer));
            return self.store.put_shared(&self.key, &body, put);
        };
        let size = self.etags.len() * PART + self.buffer.len();
        if !self.buffer.is_empty() {
            self.send_part()?;
        }
        let body: Body = Arc::new(xml::completion(&self.etags).into_bytes());
        let mut action = Action::new(Method::Post, &self.key).query("uploadId", &id).body(body);
        if put == Put::IfAbsent {
            action = action.header("if-none-match", "*");
        }
        match self.store.call(&action) {
            Ok(_) => {}
            // An attempt whose answer was lost has ended the upload.
            Err(error @ (Error::Missing(_) | Error::Exists(_))) => {
                let ours = format!("-{}\"", self.etags.len());
                match self.store.head(&self.key) {
                    Ok(found) if found.size == size as u64 && found.etag.ends_with(&ours) => {}
                    _ => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
        self.id = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            // What cannot be aborted now is aborted by whoever sweeps.
            let _ = self.cleaner.as_ref().unwrap_or(&self.store).abort(&self.key, id);
        }
    }
}
