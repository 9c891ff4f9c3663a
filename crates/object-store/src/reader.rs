//! An object that is read as a stream, piece by piece.

use std::io::{self, Read};

use rusty_s3::Method;

use crate::request::Action;
use crate::{Error, Meta, Result, Store};

/// Bytes of a piece: what a reader keeps in memory.
const PIECE: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
pub struct Reader {
    store: Store,
    meta: Meta,
    at: u64,
    piece: Vec<u8>,
    used: usize,
}

impl Reader {
    pub(crate) fn new(store: Store, meta: Meta) -> Reader {
        Reader { store, meta, at: 0, piece: Vec::new(), used: 0 }
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The same version from its beginning.
    pub fn again(&self) -> Reader {
        Reader::new(self.store.clone(), self.meta.clone())
    }

    fn fetch(&mut self) -> Result<()> {
        let end = self.meta.size.min(self.at + PIECE);
        let action = Action::new(Method::Get, &self.meta.key)
            .header("range", format!("bytes={}-{}", self.at, end - 1))
            .header("if-match", self.meta.etag.clone())
            .cap(PIECE);
        let answer = self.store.call(&action)?;
        if answer.body.len() as u64 != end - self.at
            || (answer.status != 206 && (self.at, end) != (0, self.meta.size))
        {
            return Err(Error::Refused(format!(
                "the object store sent {} bytes of \"{}\" where {} were asked for",
                answer.body.len(),
                self.meta.key,
                end - self.at
            )));
        }
        (self.piece, self.used, self.at) = (answer.body, 0, end);
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() && self.at < self.meta.size {
            self.piece = Vec::new();
            self.used = 0;
            self.fetch().map_err(io::Error::other)?;
        }
        let count = bytes.len().min(self.piece.len() - self.used);
        bytes[..count].copy_from_slice(&self.piece[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}
