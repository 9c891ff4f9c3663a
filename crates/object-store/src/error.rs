//! What can go wrong with an object store. Messages hold the service's short codes, never its
//! sentences, which may repeat what was signed.

use autovector_domain::failure::Failure;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The location, the policy or the credentials have to change.
    #[error("{message}")]
    Config { message: String, hint: String },
    /// There is no such object, upload or bucket.
    #[error("{0}")]
    Missing(String),
    /// The object is there already, or it is not the one that it was.
    #[error("{0}")]
    Exists(String),
    /// The credentials are wrong, or do not allow it.
    #[error("{0}")]
    Denied(String),
    /// The service does not do what was asked; trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// No answer that could be used, however often it was asked.
    #[error("{0}")]
    Unreachable(String),
    /// The caller does not wait any longer.
    #[error("the request was given up")]
    Stopped,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Config { message, hint } => Error::Config { message, hint: hint.unwrap_or_default() },
            Failure::Request { message, .. } | Failure::Input { message } => Error::Unreachable(message),
        }
    }
}
