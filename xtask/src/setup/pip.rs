//! Wheels from the Python package index, fetched by pip and unpacked here.
//! Nothing is installed into any Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::process;
use crate::setup::apt::fresh_directory;

/// The first Python on the PATH that has pip.
pub fn find_python() -> Option<&'static str> {
    ["python3", "python"]
        .into_iter()
        .find(|python| process::succeeds(Command::new(python).args(["-m", "pip", "--version"])))
}

/// Downloads the wheel of `requirement` (`name==version`) without what it
/// depends on, and unpacks it into the new directory `directory`.
///
/// # Errors
/// No Python with pip, no such wheel for this platform, or a broken one.
pub fn unpack_wheel(requirement: &str, directory: &Path, log: &Path) -> Result<(), Failure> {
    let python = find_python()
        .ok_or_else(|| Failure::new("no python3 with pip").remedy("sudo apt-get install python3-pip"))?;
    let downloads = directory.with_extension("download");
    fresh_directory(&downloads)?;
    fresh_directory(directory)?;
    let mut download = Command::new(python);
    download.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]);
    download.arg(&downloads).arg(requirement);
    // pip's complaint about its own age is of no use here.
    download.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_INPUT", "1");
    process::logged(&mut download, log)?;
    let wheel = only_wheel(&downloads)?;
    process::logged(Command::new(python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(directory), log)?;
    fs::remove_dir_all(&downloads).map_err(Failure::io(downloads.display()))
}

fn only_wheel(directory: &Path) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(directory).map_err(Failure::io(directory.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Failure::new(format!("pip left no wheel in {}", directory.display())))
}
