//! `cargo bench-all`: the benchmarks, against an optimized build of the extension.
//!
//! Builds, installs and starts; what is measured and how is in the program
//! `bench` of the cluster tests.

use std::fs;
use std::process::Command;

use crate::arguments::Arguments;
use crate::cluster::require_reach;
use crate::extension::Profile;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::postgres::Postgres;
use crate::process;
use crate::setup::{self, Toolbox};
use crate::verify::{CLUSTER_TESTS, cargo_with_server};

/// `cargo bench-all`: on PostgreSQL 18 unless another is asked for. Names of cases and options of
/// the program `bench` are handed on to it.
///
/// # Errors
/// The set-up, a build or a case fails. A bar that is not reached is no error:
/// it stands in the table.
pub fn command(arguments: Arguments) -> Result<(), Failure> {
    let toolbox = setup::run(&arguments, &[18])?;
    let identity = Identity::current()?;
    for server in &toolbox.servers {
        require_reach(identity, &server.program("postgres"))?;
        process::watched(&mut toolbox.install_command(server, Profile::Demo, &[]), |_| false)?;
        process::watched(&mut run(&toolbox, identity, server, &arguments.words)?, |_| false)?;
    }
    Ok(())
}

/// The command that runs the program for `server`.
fn run(
    toolbox: &Toolbox,
    identity: &Identity,
    server: &Postgres,
    words: &[String],
) -> Result<Command, Failure> {
    // The account that runs the program may have nothing else that it can write.
    let results = toolbox.paths.target().join("bench");
    fs::create_dir_all(&results).map_err(Failure::io(results.display()))?;
    identity.hand_over(&results)?;
    let mut bench = cargo_with_server(toolbox, identity);
    // In the extension's profile, so that what both need is built once; the features are for tests.
    bench.args(["run", "--profile", "demo", "--no-default-features"]);
    bench.args(["--package", CLUSTER_TESTS, "--bin", "bench", "--"]);
    bench.args(words);
    bench.env("AUTOVECTOR_PG_CONFIG", &server.pg_config);
    bench.env("AUTOVECTOR_BENCH_RESULTS", results.join("results.json"));
    Ok(bench)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;

    #[test]
    fn the_program_is_told_the_server_the_cases_and_where_to_write() {
        let target = std::env::temp_dir().join(format!("xtask-bench-{}", std::process::id()));
        let toolbox = Toolbox {
            paths: Paths::at("/r", &target),
            servers: Vec::new(),
            cargo_pgrx: "/t/cargo-pgrx".into(),
        };
        let server = Postgres {
            pg_config: "/x/pg_config".into(),
            major: 18,
            version: "18.0".into(),
            bin: "/x".into(),
            modules: "/x".into(),
            extensions: "/x".into(),
            headers: "/x".into(),
        };
        let command =
            run(&toolbox, &Identity::Caller, &server, &["memory", "--scale", "0.1"].map(str::to_owned))
                .unwrap();
        let shown = process::shown(&command);
        assert!(shown.contains("AUTOVECTOR_PG_CONFIG=/x/pg_config"), "{shown}");
        assert!(shown.contains("bench/results.json") && target.join("bench").is_dir(), "{shown}");
        assert!(
            shown.ends_with("--package autovector-cluster-tests --bin bench -- memory --scale 0.1"),
            "{shown}"
        );
        fs::remove_dir_all(&target).unwrap();
    }
}
