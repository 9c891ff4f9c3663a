//! `cargo verify`: everything continuous integration runs, in one order, each
//! command shown before it runs, up to the first that fails.
//!
//! One target directory for all of it: cargo keeps the results of plain builds
//! and of cargo-pgrx's, which differ in a flag, side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::arguments::{Arguments, PROVIDED_VERSIONS};
use crate::cluster::require_reach;
use crate::extension::{self, FAILPOINTS, Profile};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::paths::fits_socket;
use crate::postgres::Postgres;
use crate::process;
use crate::setup::{self, Toolbox};

/// Packages whose tests need no server.
const SERVERLESS: &[&str] = &[
    "autovector-domain",
    "autovector-providers",
    "autovector-backup",
    "autovector-documents",
    "autovector-object-store",
    "autovector-remote",
    "xtask",
];

/// The package of the tests on real clusters.
pub const CLUSTER_TESTS: &str = "autovector-cluster-tests";

/// `cargo verify`.
///
/// # Errors
/// The first step that fails.
pub fn command(arguments: Arguments) -> Result<(), Failure> {
    let started = Instant::now();
    require_components()?;
    let toolbox = setup::run(&arguments, PROVIDED_VERSIONS)?;
    let mut run = Run { toolbox: &toolbox, results: Vec::new() };
    let outcome = run.all(arguments.quick);
    run.summary();
    match &outcome {
        Ok(()) => println!("\nverify passed in {:.0} s", started.elapsed().as_secs_f64()),
        Err(_) => println!("\nverify stopped after {:.0} s", started.elapsed().as_secs_f64()),
    }
    outcome
}

fn require_components() -> Result<(), Failure> {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !process::succeeds(process::cargo().args([tool, "--version"])) {
            return Err(Failure::new(format!("cargo {tool} is missing"))
                .remedy(format!("rustup component add {component}")));
        }
    }
    Ok(())
}

struct Run<'a> {
    toolbox: &'a Toolbox,
    /// Name of a step and a closing line of its runner.
    results: Vec<(String, String)>,
}

impl Run<'_> {
    fn all(&mut self, quick: bool) -> Result<(), Failure> {
        self.style()?;
        self.tests_without_server()?;
        if quick {
            println!("\n--quick: the tests that start a server are left out");
            return Ok(());
        }
        for server in &self.toolbox.servers {
            self.tests_in_server(server)?;
            self.tests_on_clusters(server)?;
        }
        Ok(())
    }

    fn style(&mut self) -> Result<(), Failure> {
        self.step("rustfmt", self.cargo(&["fmt", "--all", "--", "--check"]))?;
        println!("\n$ cargo lint");
        crate::lint::run(&self.toolbox.paths)?;
        let others =
            ["clippy", "--workspace", "--exclude", "autovector", "--all-targets", "--", "-D", "warnings"];
        self.step("clippy", self.cargo(&others))?;
        let failpoints = self.failpoints()?;
        for server in &self.toolbox.servers {
            let extra: Vec<&str> = ["pg_test"].into_iter().chain(failpoints).collect();
            let mut clippy = self.cargo(&["clippy", "--package", "autovector", "--all-targets"]);
            clippy.args(["--no-default-features", "--features", &extension::features(server, &extra)]);
            clippy.args(["--", "-D", "warnings"]);
            self.step(&format!("clippy {}", server.feature()), clippy)?;
        }
        Ok(())
    }

    fn tests_without_server(&mut self) -> Result<(), Failure> {
        let mut test = self.cargo(&["test"]);
        for package in SERVERLESS {
            test.args(["--package", package]);
        }
        self.step("tests without a server", test)
    }

    /// `#[pg_test]` functions run inside a server that the runner starts.
    fn tests_in_server(&mut self, server: &Postgres) -> Result<(), Failure> {
        let identity = Identity::current()?;
        require_reach(identity, &server.program("postgres"))?;
        let data = self.data_directory(identity, server)?;
        let mut test = match identity.wraps_builds() {
            true => self.toolbox.equip(identity.command(&self.toolbox.cargo_pgrx)),
            false => self.toolbox.equip(Command::new(&self.toolbox.cargo_pgrx)),
        };
        test.args(["pgrx", "test", &server.feature(), "--no-default-features"]);
        test.args(["--features", &server.feature(), "--pgdata"]).arg(&data);
        if let (false, Some(account)) = (identity.wraps_builds(), identity.account()) {
            test.args(["--runas", &account.name]);
            test.env("PATH", process::path_with(&self.sudo_directory()?));
        }
        let outcome = self.step(&format!("tests inside PostgreSQL {}", server.version), test);
        fs::remove_dir_all(&data).map_err(Failure::io(data.display()))?;
        outcome
    }

    fn tests_on_clusters(&mut self, server: &Postgres) -> Result<(), Failure> {
        let identity = Identity::current()?;
        let extra: Vec<&str> = self.failpoints()?.into_iter().collect();
        let install = self.toolbox.install_command(server, Profile::Dev, &extra);
        self.step(&format!("install for PostgreSQL {}", server.version), install)?;
        let mut test = cargo_with_server(self.toolbox, identity);
        test.args(["test", "--package", CLUSTER_TESTS]);
        test.env("AUTOVECTOR_PG_CONFIG", &server.pg_config);
        self.step(&format!("clusters of PostgreSQL {}", server.version), test)
    }

    fn failpoints(&self) -> Result<Option<&'static str>, Failure> {
        Ok(extension::has_feature(self.toolbox.paths.root(), FAILPOINTS)?.then_some(FAILPOINTS))
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.toolbox.equip(process::cargo());
        command.args(arguments);
        command
    }

    /// An empty directory for the runner's data, whose path leaves room for a
    /// socket's name and which the server's account can reach.
    fn data_directory(&self, identity: &Identity, server: &Postgres) -> Result<PathBuf, Failure> {
        let near = self.toolbox.paths.target().join("pgdata").join(server.feature());
        // The runner takes any free port.
        let usable = fits_socket(&near, u16::MAX) && identity.wraps_builds();
        let far =
            std::env::temp_dir().join(format!("autovector-{}-{}", server.feature(), std::process::id()));
        let directory = if usable { near } else { far };
        setup::apt::fresh_directory(&directory)?;
        identity.hand_over(&directory)?;
        Ok(directory)
    }

    /// A directory with a `sudo`: cargo-pgrx calls it to become another user,
    /// which root can do without.
    fn sudo_directory(&self) -> Result<PathBuf, Failure> {
        let directory = self.toolbox.paths.setup().join("sudo");
        write_program(&directory, "sudo", SUDO)?;
        // The tools stay on the PATH: this one is put before all others.
        Ok(directory)
    }

    fn step(&mut self, name: &str, mut command: Command) -> Result<(), Failure> {
        let started = Instant::now();
        let kept = process::watched(&mut command, is_closing_line)
            .map_err(|failure| Failure::new(format!("{name}: {}", failure.message())))?;
        println!("-- {name}: {:.0} s", started.elapsed().as_secs_f64());
        self.results.extend(kept.into_iter().map(|line| (name.to_owned(), line)));
        Ok(())
    }

    fn summary(&self) {
        println!("\nWhat the test runners said:");
        for (name, line) in self.results.iter().filter(|(_, line)| !ran_nothing(line)) {
            println!("  {name}: {line}");
        }
    }
}

/// A cargo whose tests or benchmarks start servers: all of it under the server's
/// account, or the finished programs alone where that account has no toolchain.
pub fn cargo_with_server(toolbox: &Toolbox, identity: &Identity) -> Command {
    let cargo = process::cargo();
    match identity.account().filter(|_| !identity.wraps_builds()) {
        None => toolbox.equip(identity.command(cargo.get_program())),
        Some(account) => {
            let mut command = toolbox.equip(cargo);
            let runner = format!("target.'cfg(all())'.runner=['runuser','-u','{}','--']", account.name);
            command.args(["--config", &runner]).env("USER", &account.name);
            command
        }
    }
}

/// Becomes the user after `-u`, or stays root; then runs the rest.
const SUDO: &str = "#!/bin/sh\nif [ \"$1\" = -u ]; then user=$2; shift 2; exec runuser -u \"$user\" -- env \"$@\"; fi\nexec env \"$@\"\n";

fn write_program(directory: &Path, name: &str, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    fs::create_dir_all(directory).map_err(Failure::io(directory.display()))?;
    fs::write(&path, text).map_err(Failure::io(path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(Failure::io(path.display()))
}

fn is_closing_line(line: &str) -> bool {
    line.trim_start().starts_with("test result: ")
}

/// A runner without tests says so at length.
fn ran_nothing(line: &str) -> bool {
    line.contains(" 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_are_recognised() {
        let line =
            "test result: ok. 52 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.08s";
        assert!(is_closing_line(line) && !ran_nothing(line));
        let empty =
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert!(is_closing_line(empty) && ran_nothing(empty));
        let failed = "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        assert!(!ran_nothing(failed));
        assert!(!is_closing_line("running 3 tests"));
    }

    #[test]
    fn the_small_sudo_runs_what_follows() {
        let directory = std::env::temp_dir().join(format!("xtask-sudo-{}", std::process::id()));
        write_program(&directory, "sudo", SUDO).unwrap();
        let answer =
            process::output(Command::new(directory.join("sudo")).args(["A=b", "sh", "-c", "echo $A"]));
        assert_eq!(answer.unwrap(), "b\n");
        fs::remove_dir_all(&directory).unwrap();
    }
}
