//! The pinned cargo-pgrx and its list of PostgreSQL installations.
//!
//! Built once, without optimisation: it spends its time in the compiler it
//! calls. `PGRX_HOME` is ours, so a list of the user's own stays as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Context, Step};
use crate::failure::Failure;
use crate::paths::Paths;
use crate::postgres::Postgres;
use crate::process;

/// The same version as the crates `pgrx` and `pgrx-tests` in `Cargo.toml`.
pub const VERSION: &str = "0.18.1";

/// The step that gets the program.
pub struct CargoPgrx;

impl Step for CargoPgrx {
    fn name(&self) -> &'static str {
        "cargo-pgrx"
    }

    fn check(&self, context: &Context) -> Result<String, String> {
        let path = executable(&context.paths);
        let printed = process::output(Command::new(&path).args(["pgrx", "--version"]))
            .map_err(|_| "not built yet".to_owned())?;
        let version = printed.split_whitespace().last().unwrap_or_default();
        if version == VERSION { Ok(version.to_owned()) } else { Err(format!("it is {version}")) }
    }

    fn intention(&self, _: &str) -> String {
        format!("building {VERSION} (two minutes or more)")
    }

    fn work(&self, context: &Context) -> Result<(), Failure> {
        let log = context.paths.log(self.name());
        let build = context.paths.setup().join("cargo-pgrx");
        let mut install = process::cargo();
        install.args([
            "install",
            "cargo-pgrx",
            "--version",
            VERSION,
            "--locked",
            "--debug",
            "--force",
            "--root",
        ]);
        install.arg(context.paths.tools()).arg("--target-dir").arg(&build);
        // Not inside the workspace, whose configuration is not meant for it.
        install.current_dir(context.paths.setup()).env_remove("RUSTFLAGS");
        process::logged(&mut install, &log)?;
        fs::remove_dir_all(&build).map_err(Failure::io(build.display()))
    }
}

/// The program to call: ours.
pub fn executable(paths: &Paths) -> PathBuf {
    paths.cargo_pgrx()
}

/// The step that tells cargo-pgrx about the installations.
pub struct Registration<'a> {
    /// What is to be on the list.
    pub servers: &'a [Postgres],
}

impl Step for Registration<'_> {
    fn name(&self) -> &'static str {
        "pgrx home"
    }

    fn check(&self, context: &Context) -> Result<String, String> {
        let listed = listed(&context.paths);
        for server in self.servers {
            if listed.get(&server.feature()) != Some(&server.pg_config) {
                return Err(format!("{} is not on the list", server.feature()));
            }
        }
        Ok(listed.keys().cloned().collect::<Vec<_>>().join(", "))
    }

    fn intention(&self, missing: &str) -> String {
        missing.to_owned()
    }

    fn work(&self, context: &Context) -> Result<(), Failure> {
        // `init` writes the whole list anew, so what is on it is given again.
        let mut all = listed(&context.paths);
        all.retain(|_, pg_config| pg_config.is_file());
        for server in self.servers {
            all.insert(server.feature(), server.pg_config.clone());
        }
        let home = context.paths.pgrx_home();
        fs::create_dir_all(&home).map_err(Failure::io(home.display()))?;
        let mut init = Command::new(executable(&context.paths));
        init.args(["pgrx", "init", "--no-run"]).env("PGRX_HOME", &home);
        for (feature, pg_config) in &all {
            init.arg(format!("--{feature}")).arg(pg_config);
        }
        process::logged(&mut init, &context.paths.log(self.name()))
    }
}

fn listed(paths: &Paths) -> BTreeMap<String, PathBuf> {
    read_list(&paths.pgrx_home().join("config.toml"))
}

fn read_list(config: &Path) -> BTreeMap<String, PathBuf> {
    parse_list(&fs::read_to_string(config).unwrap_or_default())
}

/// The `pgNN = "path"` lines of cargo-pgrx's configuration.
fn parse_list(config: &str) -> BTreeMap<String, PathBuf> {
    config
        .lines()
        .filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            let path = value.trim().strip_prefix('"')?.strip_suffix('"')?;
            let name = name.trim();
            name.starts_with("pg").then(|| (name.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_as_cargo_pgrx_writes_it() {
        let list =
            parse_list("base_port = 28800\n[configs]\npg15 = \"/a/pg_config\"\npg18 = \"/b/pg_config\"\n");
        assert_eq!(list.len(), 2);
        assert_eq!(list["pg15"], Path::new("/a/pg_config"));
        assert!(parse_list("").is_empty());
    }

    #[test]
    fn the_version_is_the_one_the_workspace_is_built_with() {
        let manifest = fs::read_to_string(Paths::discover().root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("pgrx = \"={VERSION}\"")), "pgrx in Cargo.toml is not ={VERSION}");
    }
}
