//! PostgreSQL 15 of the distribution, unpacked into a prefix of its own.
//!
//! The programs find their files relative to themselves, so nothing is
//! installed and no running server of this machine is touched. Also brings
//! pg_cron, which has no other source.

use std::fs;

use super::apt::Apt;
use super::{Context, Step};
use crate::failure::Failure;
use crate::postgres::Postgres;

const MAJOR: u16 = 15;

const PACKAGES: &[&str] =
    &["postgresql-15", "postgresql-client-15", "postgresql-server-dev-15", "postgresql-15-cron", "libpq5"];

/// Server headers include what libpq's package carries.
const HEADERS_OF_LIBPQ: &str = "libpq-dev";

/// The step.
pub struct Postgres15;

impl Step for Postgres15 {
    fn name(&self) -> &'static str {
        "postgresql 15"
    }

    fn check(&self, context: &Context) -> Result<String, String> {
        let found = Postgres::inspect(&context.paths.pg_config(MAJOR))
            .map_err(|failure| failure.message().to_owned())?;
        if found.major != MAJOR {
            return Err(format!("it is {}", found.version));
        }
        for file in [found.headers.join("postgres.h"), found.extensions.join("pg_cron.control")] {
            if !file.is_file() {
                return Err(format!("{} is missing", file.display()));
            }
        }
        Ok(format!("{} with pg_cron", found.version))
    }

    fn intention(&self, _: &str) -> String {
        "unpacking the distribution's packages (25 MB)".to_owned()
    }

    fn work(&self, context: &Context) -> Result<(), Failure> {
        let place = context.paths.postgres_prefix(MAJOR);
        let staging = place.with_extension("new");
        super::apt::fresh_directory(&staging)?;
        let packages: Vec<&str> = PACKAGES.iter().copied().chain([HEADERS_OF_LIBPQ]).collect();
        context.with_apt(|apt| apt.unpack(&packages, &staging))?;
        if place.exists() {
            fs::remove_dir_all(&place).map_err(Failure::io(place.display()))?;
        }
        fs::rename(&staging, &place).map_err(Failure::io(place.display()))
    }
}

/// Whether this machine's package sources have PostgreSQL 15.
///
/// # Errors
/// They have not, or there is no apt.
pub fn require_available(context: &Context) -> Result<(), Failure> {
    let advice = "--pg 18, or --pg-config with a PostgreSQL 15 of your own that has pgvector";
    if !Apt::exists() {
        return Err(Failure::new("there is no apt here to fetch PostgreSQL 15 from").remedy(advice));
    }
    context.with_apt(|apt| {
        apt.require_lists()?;
        match apt.candidate("postgresql-server-dev-15") {
            Some(_) => Ok(()),
            None => Err(Failure::new("this distribution's packages have no PostgreSQL 15").remedy(advice)),
        }
    })
}
