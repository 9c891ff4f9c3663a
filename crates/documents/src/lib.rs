//! Documents become text: what kind of document some bytes are is seen in the bytes, and what is
//! read comes out as Markdown-like text. No PostgreSQL, no network, no files.
//!
//! The formats' readers are other people's code over strangers' bytes. `read` bounds what it can
//! (`Limits`), `process` runs it where a crash, an endless loop or a flood costs one document.

mod archive;
mod detect;
mod docx;
mod epub;
mod html;
mod markdown;
mod pdf;
mod pptx;
pub mod process;
mod relationships;
mod text;
mod xlsx;
mod xml;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How bytes become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By what they are.
    Auto,
    /// They are text, whatever they look like.
    Text,
}

/// What one document may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the document.
    pub size: u64,
    /// Bytes of its text.
    pub text: u64,
    /// Bytes that reading it may take in memory, besides the document itself.
    pub memory: u64,
    /// Time of the processor, and half of the time by the clock.
    pub time: Duration,
}

/// Why a document has no text; for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Unreadable {
    fn new(why: impl Into<String>) -> Self {
        Unreadable(why.into())
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Result<T> = std::result::Result<T, Unreadable>;

/// The text of a document, of at most `most` bytes; without NUL. Bounds neither time nor memory:
/// that is for `process`.
pub fn read(bytes: &[u8], how: How, most: u64) -> Result<String> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let read = || match how {
        How::Text => text::decode(bytes, most),
        How::Auto => read_by_kind(bytes, most),
    };
    // The readers of some formats panic where they should refuse.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Unreadable::new("the document is damaged, or of a kind that its reader does not know"))
    })
}

fn read_by_kind(bytes: &[u8], most: usize) -> Result<String> {
    match detect::kind(bytes)? {
        detect::Kind::Pdf => pdf::read(bytes, most),
        detect::Kind::Docx => docx::read(bytes, most),
        detect::Kind::Pptx => pptx::read(bytes, most),
        detect::Kind::Xlsx => xlsx::read(bytes, most),
        detect::Kind::Epub => epub::read(bytes, most),
        detect::Kind::Html => html::read(&text::decode_html(bytes, most)?, html::Dialect::Html, most),
        detect::Kind::Text => text::decode(bytes, most),
    }
}
