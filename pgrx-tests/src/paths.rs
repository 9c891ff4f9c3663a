//! Where things are: the PostgreSQL under test, the local models, the template of the
//! data directory. Everything may be moved by environment variables.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a workspace")
}

/// `pg_config` of the PostgreSQL under test: `AUTOVECTOR_PG_CONFIG`, or the private
/// PostgreSQL 15 that the set-up unpacks under `target/`.
pub fn pg_config() -> PathBuf {
    match std::env::var_os("AUTOVECTOR_PG_CONFIG") {
        Some(path) => PathBuf::from(path),
        None => workspace().join("target/pg/15/usr/lib/postgresql/15/bin/pg_config"),
    }
}

/// The directory with the local models: `AUTOVECTOR_MODELS`, or `target/models`.
pub fn models() -> PathBuf {
    match std::env::var_os("AUTOVECTOR_MODELS") {
        Some(path) => PathBuf::from(path),
        None => workspace().join("target/models"),
    }
}

/// A program of the PostgreSQL under test, such as `initdb` or `pg_dump`.
pub fn program(name: &str) -> PathBuf {
    static BINDIR: OnceLock<PathBuf> = OnceLock::new();
    BINDIR.get_or_init(|| PathBuf::from(ask_pg_config("--bindir"))).join(name)
}

/// Whether `CREATE EXTENSION <name>` could find its control file.
pub fn extension_available(name: &str) -> bool {
    Path::new(&ask_pg_config("--sharedir")).join(format!("extension/{name}.control")).exists()
}

/// The major version of the PostgreSQL under test.
pub fn major_version() -> u32 {
    let text = ask_pg_config("--version"); // "PostgreSQL 15.20 (Debian …)"
    let number = text.split_whitespace().nth(1).expect("pg_config --version names a version");
    number
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or_else(|| panic!("no major version in {text:?}"))
}

/// What `pg_config <option>` prints, trimmed.
pub fn ask_pg_config(option: &str) -> String {
    let path = pg_config();
    let output = Command::new(&path).arg(option).output().unwrap_or_else(|error| {
        panic!("cannot run {}: {error}; set AUTOVECTOR_PG_CONFIG or run `cargo xtask setup`", path.display())
    });
    assert!(output.status.success(), "{} {option}: {}", path.display(), output.status);
    String::from_utf8(output.stdout).expect("pg_config prints UTF-8").trim().to_owned()
}
