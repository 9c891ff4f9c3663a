//! The data directory every cluster starts from: initdb runs once per version and user,
//! each cluster gets a copy. Nothing but initdb ever writes into the template.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use crate::{paths, process};

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";

/// Copies the template, made first if need be, to `destination`, which must not exist.
pub fn copy_to(destination: &Path) {
    copy_directory(&template(), destination).unwrap_or_else(|error| {
        panic!("cannot copy the data directory to {}: {error}", destination.display())
    });
}

/// The template's path; runs initdb when it is not there.
fn template() -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let version: String = paths::ask_pg_config("--version")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let name = format!("template-{version}-{}", process::effective_user());
    let base = base_directory();
    let finished = base.join(&name);
    if finished.join("PG_VERSION").exists() {
        return finished;
    }
    // Another test process may do the same at this moment: whoever renames first wins.
    let draft = base.join(format!("{name}.{}", std::process::id()));
    initdb(&draft);
    match fs::rename(&draft, &finished) {
        Ok(()) => {}
        Err(_) if finished.join("PG_VERSION").exists() => remove(&draft),
        Err(error) => panic!("cannot rename {} to {}: {error}", draft.display(), finished.display()),
    }
    finished
}

/// `target/cluster-tests`, or a folder of the temporary directory where that cannot be written.
fn base_directory() -> PathBuf {
    let candidates = [
        paths::workspace().join("target/cluster-tests"),
        std::env::temp_dir().join(format!("autovector-cluster-tests-{}", process::effective_user())),
    ];
    for candidate in &candidates {
        if fs::create_dir_all(candidate).is_ok() && tempfile::tempfile_in(candidate).is_ok() {
            return candidate.clone();
        }
    }
    panic!("none of {candidates:?} can be written");
}

fn initdb(directory: &Path) {
    let output = Command::new(paths::program("initdb"))
        .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", SUPERUSER, "-D"])
        .arg(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run initdb: {error}"));
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        remove(directory);
        panic!("initdb failed: {said}");
    }
}

fn remove(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        eprintln!("cannot remove {}: {error}", directory.display());
    }
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
