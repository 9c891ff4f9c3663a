//! The one table of errors: a coarse kind, its SQLSTATE, a message in PostgreSQL's style and
//! a hint that says what to type. Errors are logged where they are handled, not where they
//! are passed on.

use autovector_domain::{config::ConfigError, failure::Failure};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgSqlErrorCode, spi};

pub type Result<T> = std::result::Result<T, Error>;

/// What the caller has to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An argument has to change (22023).
    InvalidParameter,
    /// Somebody has to grant a right (42501).
    InsufficientPrivilege,
    /// There is no such object (42704).
    UndefinedObject,
    /// There is no such column (42703).
    UndefinedColumn,
    /// The name is taken (42710).
    DuplicateObject,
    /// The object is in a state that forbids the call (55000).
    WrongState,
    /// The feature does not exist for this kind of object (0A000).
    Unsupported,
    /// The provider failed (38000, external routine exception).
    Provider,
    /// The database contradicts what autovector wrote there (XX000).
    Internal,
    /// There is no such file or directory (58P01).
    UndefinedFile,
    /// The operating system refused (58030, 53100 for a full disk).
    Io,
    DiskFull,
    /// There is no connection to another server (08001).
    Connection,
    /// Files are not what they were when they were written (XX001).
    Corrupted,
    /// There is no such table (42P01).
    UndefinedTable,
    /// PostgreSQL raised it, with this SQLSTATE.
    Database(PgSqlErrorCode),
}

impl Kind {
    fn sqlstate(self) -> PgSqlErrorCode {
        match self {
            Kind::InvalidParameter => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Kind::InsufficientPrivilege => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Kind::UndefinedObject => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Kind::UndefinedColumn => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            Kind::DuplicateObject => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            Kind::WrongState => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Kind::Unsupported => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Kind::Provider => PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
            Kind::Internal => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            Kind::UndefinedFile => PgSqlErrorCode::ERRCODE_UNDEFINED_FILE,
            Kind::Io => PgSqlErrorCode::ERRCODE_IO_ERROR,
            Kind::DiskFull => PgSqlErrorCode::ERRCODE_DISK_FULL,
            Kind::Connection => PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
            Kind::Corrupted => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            Kind::UndefinedTable => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            Kind::Database(code) => code,
        }
    }
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub hint: Option<String>,
    pub detail: Option<String>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None, detail: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The five characters of the SQLSTATE.
    pub fn sqlstate(&self) -> String {
        // PostgreSQL packs them six bits each, the first lowest (MAKE_SQLSTATE in elog.h).
        let packed = self.kind.sqlstate() as i32;
        (0..5).map(|i| char::from(((packed >> (6 * i)) & 0x3F) as u8 + b'0')).collect()
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(Kind::InvalidParameter, message)
    }
}

impl From<Error> for ErrorReport {
    #[track_caller]
    fn from(error: Error) -> Self {
        let report = ErrorReport::new(error.kind.sqlstate(), error.message, "autovector");
        let report = match error.detail {
            Some(detail) => report.set_detail(detail),
            None => report,
        };
        match error.hint {
            Some(hint) => report.set_hint(hint),
            None => report,
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::invalid(error.message).hint(error.hint)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Config { message, hint } => {
                Error { kind: Kind::InvalidParameter, message, hint, detail: None }
            }
            Failure::Input { message } => Error::invalid(message),
            Failure::Request { message, .. } => Error::new(Kind::Provider, message),
        }
    }
}

impl From<spi::Error> for Error {
    fn from(error: spi::Error) -> Self {
        Error::new(Kind::Internal, format!("unexpected result of an internal query: {error}"))
    }
}
