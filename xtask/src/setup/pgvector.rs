//! pgvector for the private PostgreSQL 15: the package of the same origin where
//! there is one, otherwise Debian's source package, built here.
//!
//! Built without `-march=native` (the files may be copied to another machine)
//! and without bitcode.

use std::path::Path;
use std::process::Command;

use super::apt::fresh_directory;
use super::{Context, Step, digest};
use crate::failure::Failure;
use crate::postgres::{self, Postgres};
use crate::process;

const MAJOR: u16 = 15;
const PACKAGE: &str = "postgresql-15-pgvector";

/// The release of Debian whose source package is taken.
const SUITE: &str = "trixie";
const TARBALL: &str = "pgvector_0.8.0.orig.tar.gz";
const TARBALL_SHA256: &str = "867a2c328d4928a5a9d6f052cd3bc78c7d60228a9b914ad32aa3db88e9de27b0";

/// The step.
pub struct Pgvector;

impl Step for Pgvector {
    fn name(&self) -> &'static str {
        "pgvector for 15"
    }

    fn check(&self, context: &Context) -> Result<String, String> {
        let server = Postgres::inspect(&context.paths.pg_config(MAJOR))
            .map_err(|failure| failure.message().to_owned())?;
        server.require_complete().map_err(|failure| failure.message().to_owned())?;
        server.pgvector().ok_or_else(|| "no pgvector".to_owned())
    }

    fn intention(&self, _: &str) -> String {
        "fetching and building it".to_owned()
    }

    fn work(&self, context: &Context) -> Result<(), Failure> {
        let packaged =
            context.with_apt(|apt| apt.candidate(PACKAGE)).filter(|version| postgres::is_recent(version));
        if packaged.is_some() {
            return context.with_apt(|apt| apt.unpack(&[PACKAGE], &context.paths.postgres_prefix(MAJOR)));
        }
        let work = context.paths.setup().join("pgvector");
        download(context, &work)?;
        build(context, &work)
    }
}

fn download(context: &Context, work: &Path) -> Result<(), Failure> {
    let codename = release_codename(&std::fs::read_to_string("/etc/os-release").unwrap_or_default());
    let mirror = context.with_apt(|apt| {
        apt.require_lists()?;
        apt.debian_mirror(codename.as_deref().unwrap_or("bookworm"))
    })?;
    let mirror = mirror.ok_or_else(|| {
        Failure::new("no Debian mirror among this machine's package sources to fetch pgvector's source from")
            .remedy("--pg 18, or --pg-config with a PostgreSQL of your own that has pgvector")
    })?;
    context.with_apt(|apt| apt.download_source("pgvector", &mirror, SUITE, work))?;
    digest::require(&work.join(TARBALL), TARBALL_SHA256)
}

fn build(context: &Context, work: &Path) -> Result<(), Failure> {
    let log = context.paths.log("pgvector for 15");
    let source = work.join("source");
    fresh_directory(&source)?;
    let mut unpack = Command::new("tar");
    unpack.args(["--strip-components=1", "-xzf"]).arg(work.join(TARBALL)).arg("-C").arg(&source);
    process::logged(&mut unpack, &log)?;
    let pg_config = format!("PG_CONFIG={}", context.paths.pg_config(MAJOR).display());
    for goal in ["all", "install"] {
        let mut make = Command::new("make");
        make.arg("-C").arg(&source).args([&pg_config, "OPTFLAGS=", "with_llvm=no", goal]);
        // A make above us would hand its own flags down.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        process::logged(&mut make, &log)?;
    }
    Ok(())
}

fn release_codename(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_the_system() {
        let text = "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(release_codename(text).unwrap(), "bookworm");
        assert_eq!(release_codename("VERSION_CODENAME=\"noble\"").unwrap(), "noble");
        assert_eq!(release_codename("ID=debian"), None);
    }
}
