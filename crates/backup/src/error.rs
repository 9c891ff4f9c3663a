//! What can go wrong with files. The caller turns it into an error of its own kind.

use std::io;

use autovector_object_store as objects;

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
    /// The object store failed.
    #[error("could not {what}: {error}")]
    Store { what: String, error: objects::Error },
}

impl Error {
    /// For `map_err`: what was being done when the operating system refused.
    pub(crate) fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        move |error| {
            let error: io::Error = error.into();
            let what = what.into();
            if let Some(error) = error.get_ref().and_then(|e| e.downcast_ref::<objects::Error>()) {
                return Error::Store { what, error: error.clone() };
            }
            Error::Io { what, code: error.raw_os_error(), kind: error.kind(), message: error.to_string() }
        }
    }

    /// The same for an object store.
    pub(crate) fn store(what: impl Into<String>) -> impl FnOnce(objects::Error) -> Error {
        move |error| Error::Store { what: what.into(), error }
    }
}
