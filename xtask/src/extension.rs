//! Building the extension and putting it into a PostgreSQL, by cargo-pgrx.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::postgres::Postgres;
use crate::process;
use crate::setup::{Toolbox, digest};

/// The cargo feature with which tests can make the extension fail on purpose.
pub const FAILPOINTS: &str = "failpoints";

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// For tests: quick to build.
    Dev,
    /// For the demo and benchmarks: optimized, and sooner ready than what is packaged.
    Demo,
}

impl Toolbox {
    /// Gives `command` what cargo, cargo-pgrx and the tests read from the
    /// environment.
    pub fn equip(&self, mut command: Command) -> Command {
        command
            .env("PGRX_HOME", self.paths.pgrx_home())
            .env("CARGO_PGRX", &self.cargo_pgrx)
            .env("CARGO_TARGET_DIR", self.paths.target())
            .env("AUTOVECTOR_MODELS", self.paths.models())
            .env("PATH", process::path_with(&self.paths.tools().join("bin")))
            // With a backtrace in it, the DETAIL of every error would change.
            .env_remove("RUST_BACKTRACE")
            // A cluster made without a locale would know no characters.
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.paths.root());
        command
    }

    /// The command that builds the extension and puts it into `server`.
    pub fn install_command(&self, server: &Postgres, profile: Profile, extra_features: &[&str]) -> Command {
        let mut command = self.equip(Command::new(&self.cargo_pgrx));
        command.args(["pgrx", "install", "--pg-config"]).arg(&server.pg_config);
        command.args(["--no-default-features", "--features", &features(server, extra_features)]);
        match profile {
            Profile::Dev => &mut command,
            Profile::Demo => command.args(["--profile", "demo"]),
        };
        command
    }
}

/// The value of `--features` for this server.
pub fn features(server: &Postgres, extra: &[&str]) -> String {
    let own = server.feature();
    std::iter::once(own.as_str()).chain(extra.iter().copied()).collect::<Vec<_>>().join(" ")
}

/// Whether the extension's manifest declares the cargo feature `name`.
///
/// # Errors
/// The manifest cannot be read.
pub fn has_feature(root: &Path, name: &str) -> Result<bool, Failure> {
    let path = root.join("Cargo.toml");
    let manifest = fs::read_to_string(&path).map_err(Failure::io(path.display()))?;
    Ok(declares_feature(&manifest, name))
}

fn declares_feature(manifest: &str, name: &str) -> bool {
    let mut in_features = false;
    for line in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') && line.ends_with(']') {
            in_features = line == "[features]";
        } else if in_features && line.split('=').next().is_some_and(|key| key.trim() == name) {
            return true;
        }
    }
    false
}

/// A digest of what is installed in `server`: it changes with the library and
/// with the SQL scripts.
///
/// # Errors
/// The extension is not installed.
pub fn fingerprint(server: &Postgres) -> Result<String, Failure> {
    let mut parts = vec![digest::sha256(&server.modules.join("autovector.so"))?];
    let entries = fs::read_dir(&server.extensions).map_err(Failure::io(server.extensions.display()))?;
    let mut scripts: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("autovector")))
        .collect();
    scripts.sort();
    for script in scripts {
        parts.push(digest::sha256(&script)?);
    }
    Ok(parts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_looked_for_in_their_section() {
        let manifest = "[dependencies]\nfailpoints = \"1\"\n[features]\npg15 = [\"failpoints\"]\n";
        assert!(!declares_feature(manifest, "failpoints"));
        assert!(declares_feature(&format!("{manifest}failpoints = []\n"), "failpoints"));
        assert!(declares_feature(manifest, "pg15"));
        assert!(!declares_feature("[features]\nx = []\n[lib]\npg15 = 1\n", "pg15"));
    }
}
