//! What can go wrong with files. The caller turns it into an error of its own kind.

use std::io;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The operating system refused; `code` is its error number.
    #[error("could not {what}: {message}")]
    Io { what: String, code: Option<i32>, kind: io::ErrorKind, message: String },
    /// There is no such directory or backup.
    #[error("{0}")]
    Missing(String),
    /// A name that is not allowed.
    #[error("{0}")]
    Name(String),
    /// The files are not what they were when they were written.
    #[error("{0}")]
    Damaged(String),
}

impl Error {
    /// For `map_err`: what was being done when the operating system refused.
    pub(crate) fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        let what = what.into();
        move |error| {
            let error: io::Error = error.into();
            Error::Io { what, code: error.raw_os_error(), kind: error.kind(), message: error.to_string() }
        }
    }
}
