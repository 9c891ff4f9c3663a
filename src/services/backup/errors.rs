//! Errors of backups: each carries, as JSON in its DETAIL, what kind of thing failed and whether
//! it may succeed when tried again.

use std::panic::AssertUnwindSafe;

use pgrx::PgTryBuilder;
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::services::object_store;
use crate::store::transaction::describe;

impl From<autovector_backup::Error> for Error {
    fn from(error: autovector_backup::Error) -> Self {
        use autovector_backup::Error as Files;
        let message = error.to_string();
        match error {
            Files::Io { code: Some(libc::ENOSPC | libc::EDQUOT), .. } => {
                Error::new(Kind::DiskFull, message).hint("Make room below autovector.backup_directory.")
            }
            Files::Io { kind: std::io::ErrorKind::PermissionDenied, .. } => {
                Error::new(Kind::InsufficientPrivilege, message)
                    .hint("The server's own account must be able to read and write the directory.")
            }
            Files::Io { .. } => Error::new(Kind::Io, message).hint(
                "The server's own account writes below autovector.backup_directory; look at that disk.",
            ),
            Files::Missing(_) => Error::new(Kind::UndefinedFile, message),
            Files::Name(_) => Error::new(Kind::InvalidParameter, message),
            Files::Damaged(_) => Error::new(Kind::Corrupted, message),
            Files::Store { error, .. } => object_store::explain(error, message),
        }
    }
}

/// Runs `body`; whatever it fails with gets the JSON that callers decide by. `first` is asked for
/// the error of a helper thread, which explains PostgreSQL's own.
pub fn explained<T>(first: impl Fn() -> Option<Error>, body: impl FnOnce() -> Result<T>) -> Result<T> {
    // The error is passed on at once: nothing of PostgreSQL is called in between.
    let result =
        PgTryBuilder::new(AssertUnwindSafe(body)).catch_others(|caught| Err(describe(&caught))).execute();
    result.map_err(|error| {
        let mut error = match first() {
            Some(cause) if error.sqlstate() != "57014" => cause,
            _ => error,
        };
        let (kind, can_retry) = judge(&error);
        let mut detail = json!({ "error_type": kind, "can_retry": can_retry });
        match error.detail.take().map(|text| serde_json::from_str::<Value>(&text).map_err(|_| text)) {
            Some(Ok(Value::Object(more))) => detail.as_object_mut().expect("an object").extend(more),
            Some(Ok(other)) => detail["detail"] = other,
            Some(Err(text)) => detail["detail"] = Value::String(text),
            None => {}
        }
        error.detail(detail.to_string())
    })
}

/// What kind of thing failed, and whether trying again may help.
fn judge(error: &Error) -> (&'static str, bool) {
    let state = error.sqlstate();
    let kind = match error.kind {
        Kind::InvalidParameter | Kind::Unsupported => "INVALID_PARAMS",
        Kind::UndefinedFile | Kind::UndefinedTable | Kind::UndefinedObject => "RESOURCE_NOT_FOUND",
        _ => "DATABASE_ERROR",
    };
    // A lock that was not to be had, a deadlock, a full disk, a connection that broke.
    let again = ["55P03", "40P01", "40001", "53100", "08001", "08006", "57P01", "57P03"];
    (kind, again.contains(&state.as_str()))
}
