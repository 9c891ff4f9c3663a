//! The command table of `cargo xtask` and its aliases.
//!
//! Owns the names and the help text; what a command does is in its module.

use std::process::ExitCode;

use xtask::arguments::Arguments;
use xtask::failure::Failure;
use xtask::{bench, demo, lint, setup, verify};

struct Entry {
    name: &'static str,
    options: &'static str,
    purpose: &'static str,
    run: fn(Arguments) -> Result<(), Failure>,
}

const COMMANDS: &[Entry] = &[
    Entry {
        name: "setup",
        options: "[--pg N] [--pg-config PATH]",
        purpose: "get PostgreSQL 15 and 18, pgvector, cargo-pgrx and the local model into target/",
        run: setup::command,
    },
    Entry {
        name: "demo",
        options: "[--pg N] [--pg-config PATH] [--stop]",
        purpose: "a private cluster with the extension, a table, a vectorizer and three questions",
        run: demo::command,
    },
    Entry {
        name: "verify",
        options: "[--pg N] [--pg-config PATH] [--quick]",
        purpose: "everything continuous integration runs: style, structure, lints, all tests",
        run: verify::command,
    },
    Entry { name: "lint", options: "", purpose: "the structure checks alone", run: lint::command },
    Entry {
        name: "bench-all",
        options: "[NAME…] [--scale F] [--skip NAME] [--list] [--pg N] [--pg-config PATH]",
        purpose: "every benchmark, or those that are named, against an optimized build; --list names them",
        run: bench::command,
    },
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).filter(|word| word != "--");
    let Some(name) = words.next().filter(|name| name != "help" && name != "--help" && name != "-h") else {
        print!("{}", help());
        return ExitCode::SUCCESS;
    };
    let Some(entry) = COMMANDS.iter().find(|entry| entry.name == name) else {
        eprintln!("unknown command \"{name}\"\n\n{}", help());
        return ExitCode::from(2);
    };
    let outcome = Arguments::parse(words, entry.options).and_then(entry.run);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\n{name} failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let mut text = String::from("Commands (each also as `cargo xtask COMMAND`):\n");
    for entry in COMMANDS {
        text += &format!("  cargo {} {}\n      {}\n", entry.name, entry.options, entry.purpose);
    }
    text
}
