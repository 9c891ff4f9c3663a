//! Object stores as this server reaches them: whose credentials, which service, and requests that
//! end with the statement.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use autovector_object_store::{Credentials, Error as Fault, Host, Location, Store};
use autovector_providers::endpoint::Policy;
use autovector_providers::http::Timeouts;

use crate::error::{Error, Kind, Result};
use crate::services::provider;
use crate::settings::Settings;
use crate::store::transaction::{as_superuser, current_role};
use crate::store::{latch, secret_grants};

/// The names of secrets, which are also those that other programs use. Who may use the second one
/// may use all.
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";

/// How long it may take to clean up after a failure. What is left is swept later.
const CLEANING: Duration = Duration::from_secs(10);

/// Refuses callers who may not have the credentials used.
pub fn require_credentials() -> Result<()> {
    let role = current_role();
    if as_superuser(|| secret_grants::may_use(role, SECRET_KEY))? {
        return Ok(());
    }
    Err(Error::new(Kind::InsufficientPrivilege, format!("permission denied to use the secret {SECRET_KEY}"))
        .hint(format!("A superuser grants it: SELECT ai.grant_secret('{SECRET_KEY}', '<role>');")))
}

pub fn location(bucket: &str, settings: &Settings) -> Location {
    Location {
        endpoint: settings.s3_endpoint.clone(),
        region: settings.s3_region.clone(),
        bucket: bucket.to_owned(),
    }
}

/// Opens a bucket for this statement; sends nothing yet. Without `allowed` the location's own
/// endpoint is. To be called on the main thread.
pub fn open(location: &Location, allowed: Option<&Policy>, settings: &Settings) -> Result<Store> {
    Ok(connect(location, allowed, settings)?.hosted(host()))
}

/// Opens a bucket for a thread of a worker, whose requests end at their own deadlines; sends nothing
/// yet.
pub fn open_unwatched(bucket: &str, settings: &Settings) -> Result<Store> {
    connect(&location(bucket, settings), None, settings)
}

fn connect(location: &Location, allowed: Option<&Policy>, settings: &Settings) -> Result<Store> {
    let opened = || {
        let own = Policy::new(&[location.origin()?]).map_err(Fault::from)?;
        let timeouts = Timeouts { connect: settings.connect_timeout, request: settings.request_timeout };
        Ok((own, timeouts))
    };
    let (own, timeouts) = opened().map_err(|error: Fault| explain(error.clone(), error.to_string()))?;
    let secrets = provider::surroundings(settings).secrets;
    let secret = |name: &str| {
        secrets(name).ok_or_else(|| {
            Error::new(Kind::UndefinedObject, format!("secret \"{name}\" is not there")).hint(
                "Put it into a file of that name in autovector.secrets_directory, or into the server's environment.",
            )
        })
    };
    let credentials = Credentials {
        key_id: secret(KEY_ID)?,
        secret_key: secret(SECRET_KEY)?,
        session_token: secrets(TOKEN),
    };
    Store::open(location, credentials, allowed.unwrap_or(&own), timeouts)
        .map_err(|error| explain(error.clone(), error.to_string()))
}

/// Requests that end with the statement: cancels are looked for while they run.
fn host() -> Host {
    let main = thread::current().id();
    Host::watched(latch::quiet_thread, move || {
        if thread::current().id() != main {
            return !latch::is_to_end();
        }
        if !thread::panicking() {
            pgrx::check_for_interrupts!();
        }
        true
    })
}

/// Requests after a failure, whose end nobody waits long for.
pub fn cleaning() -> Host {
    let began = OnceLock::new();
    Host::watched(latch::quiet_thread, move || began.get_or_init(Instant::now).elapsed() < CLEANING)
}

/// A fault of an object store as an error of ours.
pub fn explain(fault: Fault, message: String) -> Error {
    match fault {
        Fault::Config { hint, .. } => Error::new(Kind::WrongState, message).hint(hint),
        Fault::Missing(_) => Error::new(Kind::UndefinedFile, message)
            .hint("The bucket has to be there, and autovector.s3_endpoint and autovector.s3_region have to be its own."),
        Fault::Exists(_) => Error::new(Kind::WrongState, message).hint("Try again."),
        Fault::Denied(_) => Error::new(Kind::InsufficientPrivilege, message).hint(format!(
            "The secrets {KEY_ID} and {SECRET_KEY} have to be valid for the bucket, and the clock right."
        )),
        Fault::Refused(_) => Error::new(Kind::Io, message)
            .hint("Look at autovector.s3_endpoint and autovector.s3_region, and at the service itself."),
        Fault::Unreachable(_) => Error::new(Kind::Connection, message).hint("Try again when the service answers."),
        Fault::Stopped => Error::new(
            Kind::Database(pgrx::PgSqlErrorCode::ERRCODE_QUERY_CANCELED),
            "canceling statement due to user request",
        ),
    }
}
