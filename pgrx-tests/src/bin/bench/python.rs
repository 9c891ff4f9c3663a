//! Programs in Python that some cases measure against, from the package index. Each has an
//! environment of its own under `target/bench`, made at its first use.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use autovector_cluster_tests::paths;

use crate::workbench::Order;

/// What a case needs.
pub struct Wanted {
    /// The name of the environment.
    pub name: &'static str,
    /// Statements that run once everything is there.
    pub probe: &'static str,
    /// Arguments of one `pip install` each.
    pub installs: &'static [&'static [&'static str]],
}

/// The Python of that environment; none where there is no Python, or no way to the package index.
pub fn with(order: &Order, wanted: &Wanted) -> Option<PathBuf> {
    let home = paths::workspace().join("target/bench").join(wanted.name);
    let python = home.join("bin/python");
    if !is_complete(&python, wanted) {
        order.say(&format!("installing {} for Python …", wanted.name));
        let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&home));
        let pip = |arguments: &&[&str]| {
            succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(*arguments))
        };
        if !(made && wanted.installs.iter().all(pip) && is_complete(&python, wanted)) {
            order.say(&format!("no Python with {}: not compared", wanted.name));
            return None;
        }
    }
    Some(python)
}

fn is_complete(python: &Path, wanted: &Wanted) -> bool {
    Command::new(python).args(["-c", wanted.probe]).output().is_ok_and(|output| output.status.success())
}

fn succeeds(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
