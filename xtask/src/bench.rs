//! `cargo bench-all`: every benchmark of the workspace, against the extension
//! as it is packaged.
//!
//! What is measured and how is in the packages' `benches/`.

use std::path::Path;

use crate::arguments::Arguments;
use crate::extension::Profile;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::process;
use crate::setup;
use crate::verify::{CLUSTER_TESTS, cargo_with_server};

/// Packages that may have benchmarks, with their directories.
const WITHOUT_SERVER: &[(&str, &str)] =
    &[("autovector-domain", "crates/domain"), ("autovector-providers", "crates/providers")];
const WITH_SERVER: (&str, &str) = (CLUSTER_TESTS, "pgrx-tests");

/// `cargo bench-all`.
///
/// # Errors
/// The set-up, a build or a benchmark fails, or there is none.
pub fn command(arguments: Arguments) -> Result<(), Failure> {
    let toolbox = setup::run(&arguments, &[18])?;
    let root = toolbox.paths.root();
    let mut ran = 0;
    for (package, _) in WITHOUT_SERVER.iter().filter(|(_, directory)| has_benches(&root.join(directory))) {
        let mut bench = toolbox.equip(process::cargo());
        bench.args(["bench", "--package", package, "--bench", "*"]);
        process::watched(&mut bench, |_| false)?;
        ran += 1;
    }
    if has_benches(&root.join(WITH_SERVER.1)) {
        for server in &toolbox.servers {
            process::watched(&mut toolbox.install_command(server, Profile::Release, &[]), |_| false)?;
            let identity = Identity::current()?;
            let mut bench = cargo_with_server(&toolbox, identity);
            bench.args(["bench", "--package", WITH_SERVER.0, "--bench", "*"]);
            bench.env("AUTOVECTOR_PG_CONFIG", &server.pg_config);
            process::watched(&mut bench, |_| false)?;
            ran += 1;
        }
    }
    if ran == 0 {
        return Err(Failure::new("no package of the workspace has a directory benches"));
    }
    Ok(())
}

fn has_benches(package: &Path) -> bool {
    std::fs::read_dir(package.join("benches")).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_benchmarks_is_passed_over() {
        let package = std::env::temp_dir().join(format!("xtask-bench-{}", std::process::id()));
        std::fs::create_dir_all(package.join("benches")).unwrap();
        assert!(!has_benches(&package));
        std::fs::write(package.join("benches/a.rs"), "").unwrap();
        assert!(has_benches(&package));
        std::fs::remove_dir_all(&package).unwrap();
    }
}
