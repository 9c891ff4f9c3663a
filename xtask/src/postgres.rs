//! An installed PostgreSQL, known by its `pg_config`: what it is, and whether
//! it has what autovector needs.
//!
//! Only looks; whoever installs is in [`crate::setup`].

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::process;

/// The oldest pgvector that will do: `halfvec` came with 0.7.
pub const OLDEST_PGVECTOR: (u32, u32) = (0, 7);

/// A PostgreSQL to build against and to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Its `pg_config`.
    pub pg_config: PathBuf,
    /// Major version, such as 15.
    pub major: u16,
    /// Version as it is printed, such as `15.20`.
    pub version: String,
    /// Directory of the programs.
    pub bin: PathBuf,
    /// Directory of loadable modules.
    pub modules: PathBuf,
    /// Directory of extension scripts.
    pub extensions: PathBuf,
    /// Directory of the server's header files.
    pub headers: PathBuf,
}

impl Postgres {
    /// Asks `pg_config` and makes sure that the programs start.
    ///
    /// # Errors
    /// `pg_config` or a program is missing or does not start, or its answer
    /// makes no sense.
    pub fn inspect(pg_config: &Path) -> Result<Self, Failure> {
        let ask = |option: &str| -> Result<PathBuf, Failure> {
            let answer = process::output(Command::new(pg_config).arg(option))?;
            Ok(PathBuf::from(answer.trim()))
        };
        let printed = ask("--version")?.display().to_string();
        let version = version_of(&printed)
            .ok_or_else(|| Failure::new(format!("{}: \"{printed}\"", pg_config.display())))?;
        let found = Self {
            pg_config: pg_config.to_owned(),
            major: version.0,
            version: version.1,
            bin: ask("--bindir")?,
            modules: ask("--pkglibdir")?,
            extensions: ask("--sharedir")?.join("extension"),
            headers: ask("--includedir-server")?,
        };
        for program in ["postgres", "psql"] {
            process::output(Command::new(found.program(program)).arg("--version"))?;
        }
        Ok(found)
    }

    /// A program of this installation.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The cargo feature for this version.
    pub fn feature(&self) -> String {
        format!("pg{}", self.major)
    }

    /// The pgvector that is installed, if any: its `default_version`.
    pub fn pgvector(&self) -> Option<String> {
        let control = std::fs::read_to_string(self.extensions.join("vector.control")).ok()?;
        let library = self.modules.join("vector.so").is_file();
        default_version(&control).filter(|_| library)
    }

    /// Headers and pgvector, without which nothing can be built or created.
    ///
    /// # Errors
    /// The first thing that is missing, with the way to get it.
    pub fn require_complete(&self) -> Result<(), Failure> {
        let Self { pg_config, major, .. } = self;
        if !self.headers.join("postgres.h").is_file() {
            let message =
                format!("{} has no server headers ({})", pg_config.display(), self.headers.display());
            return Err(Failure::new(message)
                .remedy(format!("sudo apt-get install postgresql-server-dev-{major} (or its counterpart)")));
        }
        let message = match self.pgvector() {
            Some(version) if is_recent(&version) => return Ok(()),
            Some(version) => format!("{} has pgvector {version}, which is too old", pg_config.display()),
            None => format!("{} has no pgvector", pg_config.display()),
        };
        Err(Failure::new(message).remedy(format!(
            "install pgvector {}.{} or newer for this PostgreSQL, such as the package postgresql-{major}-pgvector, \
             or leave --pg-config out to use a private PostgreSQL",
            OLDEST_PGVECTOR.0, OLDEST_PGVECTOR.1
        )))
    }
}

/// `PostgreSQL 15.20 (Debian 15.20-0+deb12u1)` → `(15, "15.20")`.
fn version_of(printed: &str) -> Option<(u16, String)> {
    let version = printed.strip_prefix("PostgreSQL ")?.split_whitespace().next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_owned()))
}

/// The `default_version` of a control file.
fn default_version(control: &str) -> Option<String> {
    control.lines().find_map(|line| {
        let value = line.trim().strip_prefix("default_version")?.trim_start().strip_prefix('=')?;
        Some(value.trim().trim_matches('\'').to_owned())
    })
}

/// Whether this version of pgvector will do.
pub fn is_recent(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+', '~']).map_while(|part| part.parse::<u32>().ok());
    let Some(major) = numbers.next() else { return false };
    (major, numbers.next().unwrap_or(0)) >= OLDEST_PGVECTOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_printed() {
        let debian = version_of("PostgreSQL 15.20 (Debian 15.20-0+deb12u1)").unwrap();
        assert_eq!(debian, (15, "15.20".to_owned()));
        assert_eq!(version_of("PostgreSQL 19beta1").unwrap().0, 19);
        assert_eq!(version_of("MySQL 8"), None);
    }

    #[test]
    fn an_old_pgvector_is_refused() {
        assert!(is_recent("0.8.0") && is_recent("0.7.0") && is_recent("1.0") && is_recent("0.10.1"));
        assert!(!is_recent("0.6.2") && !is_recent("0.4") && !is_recent("x"));
        assert!(is_recent("0.8.0-1.pgdg22.04+1"));
        assert_eq!(default_version("comment = 'x'\ndefault_version = '0.8.0'\n").unwrap(), "0.8.0");
        assert_eq!(default_version("comment = 'x'"), None);
    }

    #[test]
    fn a_missing_pg_config_is_an_error() {
        assert!(Postgres::inspect(Path::new("/nonexistent/pg_config")).is_err());
    }
}
