//! `cargo lint`: the structure of the workspace, as far as a program can see it.
//!
//! Each rule is an entry of [`RULES`]; what a rule permits is in the tables
//! beside it, with the reason. Nothing is compiled.

mod dependencies;
pub mod source;

use std::fs;
use std::path::Path;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::paths::Paths;
use source::{code_only, crate_modules, has_word, without_tests};

/// No file is longer.
const LONGEST_FILE: usize = 600;

/// Where `unsafe` may stand: a path or, with a slash at the end, a directory.
const UNSAFE_PLACES: &[&str] = &[
    // Declares the module to the server and registers settings and hooks.
    "src/lib.rs",
    // SPI, datums, vectors.
    "src/store/",
    // Processes, signals, latches.
    "src/worker/",
    // Memory-mapped weights, signal mask of the threads.
    "crates/providers/src/local/",
    // Processes that read documents: fork, limits, signals.
    "crates/documents/src/process/",
    "crates/documents/tests/",
    // Signals to the processes of a cluster under test.
    "pgrx-tests/src/process.rs",
    "pgrx-tests/src/cluster/postmaster.rs",
    // Hands settings to the server.
    "src/settings.rs",
];

/// Where a thread may sleep: helpers that wait for a condition with a deadline,
/// and what must be slow on purpose.
const SLEEP_PLACES: &[&str] = &[
    "xtask/src/wait.rs",
    "pgrx-tests/src/wait.rs",
    // Scripted providers with slow answers.
    "pgrx-tests/src/provider/",
    "crates/providers/tests/support/",
];

/// Where SPI may be used.
const SPI_PLACES: &[&str] = &["src/store/", "src/pg_tests.rs", "pgrx-tests/"];

/// Where SQL functions may be declared.
const EXTERN_PLACES: &[&str] = &["src/api/", "src/pg_tests.rs"];

/// The packages that must not know PostgreSQL.
const FREE_OF_POSTGRES: &[&str] = &[
    "crates/backup/",
    "crates/documents/",
    "crates/domain/",
    "crates/object-store/",
    "crates/providers/",
    "crates/remote/",
];

/// Which modules of the extension a directory must not name: what lies above it.
const ABOVE: &[(&str, &[&str])] =
    &[("src/store/", &["services", "api", "worker"]), ("src/services/", &["api", "worker"])];

/// One file of the workspace.
struct SourceFile {
    path: String,
    text: String,
    /// Without comments and literals; empty for anything but Rust.
    code: String,
    /// Also without tests.
    product: String,
}

impl SourceFile {
    fn new(path: &str, text: String) -> Self {
        let code = if path.ends_with(".rs") { code_only(&text) } else { String::new() };
        let product = without_tests(&code);
        Self { path: path.to_owned(), text, code, product }
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            if place.ends_with('/') { self.path.starts_with(place) } else { self.path == *place }
        })
    }

    /// Complaints about each line of `code` that `wrong` is true for.
    fn lines<'a>(
        &'a self,
        code: &'a str,
        wrong: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = usize> + 'a {
        code.lines().enumerate().filter(move |(_, line)| wrong(line)).map(|(index, _)| index + 1)
    }
}

/// A rule: its name and the lines of a file that break it (0: the whole file).
struct Rule {
    says: &'static str,
    broken_at: fn(&SourceFile) -> Vec<usize>,
}

const RULES: &[Rule] = &[
    Rule {
        says: "the crates know nothing of PostgreSQL",
        broken_at: |file| {
            if !file.is_in(FREE_OF_POSTGRES) {
                return Vec::new();
            }
            let text = if file.path.ends_with("Cargo.toml") { &file.text } else { &file.code };
            file.lines(text, |line| line.contains("pgrx") || line.contains("pg_sys")).collect()
        },
    },
    Rule {
        says: "SPI is used in src/store and in tests alone",
        broken_at: |file| {
            if file.is_in(SPI_PLACES) {
                return Vec::new();
            }
            file.lines(&file.product, |line| has_word(line, "Spi::")).collect()
        },
    },
    Rule {
        says: "SQL functions are declared in src/api alone",
        broken_at: |file| {
            if file.is_in(EXTERN_PLACES) {
                return Vec::new();
            }
            file.lines(&file.product, |line| has_word(line, "#[pg_extern") || has_word(line, "#[pg_trigger"))
                .collect()
        },
    },
    Rule {
        says: "unsafe code stands only where xtask/src/lint/mod.rs lists it",
        broken_at: |file| {
            if file.is_in(UNSAFE_PLACES) {
                return Vec::new();
            }
            file.lines(&file.code, |line| has_word(line, "unsafe")).collect()
        },
    },
    Rule {
        says: "no file has more than 600 lines",
        broken_at: |file| {
            // What changed from one release to the next is one script: PostgreSQL wants it so.
            let counted = file.path.ends_with(".rs")
                || file.path.ends_with(".sql") && !file.path.starts_with("sql/autovector--");
            if counted && file.text.lines().count() > LONGEST_FILE {
                vec![LONGEST_FILE + 1]
            } else {
                Vec::new()
            }
        },
    },
    Rule {
        says: "every module says in //! what it owns",
        broken_at: |file| {
            let first = file.text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
            // What a module of tests is about, its parent has said.
            let counted = file.path.ends_with(".rs") && !file.path.ends_with("/tests.rs");
            let silent = counted && !first.is_some_and(|line| line.starts_with("//!"));
            if silent { vec![1] } else { Vec::new() }
        },
    },
    Rule {
        says: "nothing is unfinished or switched off",
        broken_at: |file| {
            let wrong =
                |line: &str| ["#[ignore", "todo!", "unimplemented!"].iter().any(|word| has_word(line, word));
            file.lines(&file.code, wrong).collect()
        },
    },
    Rule {
        says: "nothing sleeps in place of a condition",
        broken_at: |file| {
            if file.is_in(SLEEP_PLACES) {
                return Vec::new();
            }
            let wrong = |line: &str| {
                has_word(line, "thread::sleep")
                    || line.contains("use std::thread::{") && has_word(line, "sleep")
            };
            file.lines(&file.code, wrong).collect()
        },
    },
    Rule {
        says: "api and worker call services, services call store, never upwards",
        broken_at: |file| {
            let above =
                ABOVE.iter().filter(|(place, _)| file.path.starts_with(place)).flat_map(|(_, names)| *names);
            let above: Vec<&str> = above.copied().collect();
            let named = crate_modules(&file.product).into_iter();
            named.filter(|(_, name)| above.contains(&name.as_str())).map(|(line, _)| line).collect()
        },
    },
];

/// `cargo lint`.
///
/// # Errors
/// Every place that breaks a rule.
pub fn command(_: Arguments) -> Result<(), Failure> {
    run(&Paths::discover())
}

/// Checks the workspace.
///
/// # Errors
/// Every place that breaks a rule.
pub fn run(paths: &Paths) -> Result<(), Failure> {
    let files = read_tree(paths.root())?;
    let broken = check(&files);
    if broken.is_empty() {
        println!("structure: {} rules hold in {} files", RULES.len(), files.len());
        let packages = dependencies::check(paths.root())?;
        println!(
            "dependencies: {packages} packages from the registry, under licences that let them be passed on"
        );
        return Ok(());
    }
    Err(Failure::new(format!("{} places break a rule of the structure\n{}", broken.len(), broken.join("\n"))))
}

fn check(files: &[SourceFile]) -> Vec<String> {
    let mut broken = Vec::new();
    for rule in RULES {
        for file in files {
            for line in (rule.broken_at)(file) {
                broken.push(format!("  {}:{line}: {}", file.path, rule.says));
            }
        }
    }
    broken
}

/// Every file the rules are about.
fn read_tree(root: &Path) -> Result<Vec<SourceFile>, Failure> {
    let mut files = Vec::new();
    for top in ["src", "sql", "crates", "pgrx-tests", "xtask"] {
        let directory = root.join(top);
        if directory.is_dir() {
            read_directory(root, &directory, &mut files)?;
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if files.is_empty() {
        return Err(Failure::new(format!("no source files in {}", root.display())));
    }
    Ok(files)
}

fn read_directory(root: &Path, directory: &Path, files: &mut Vec<SourceFile>) -> Result<(), Failure> {
    for entry in fs::read_dir(directory).map_err(Failure::io(directory.display()))? {
        let path = entry.map_err(Failure::io(directory.display()))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                read_directory(root, &path, files)?;
            }
        } else if name.ends_with(".rs") || name.ends_with(".sql") || name == "Cargo.toml" {
            let text = fs::read_to_string(&path).map_err(Failure::io(path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push(SourceFile::new(&relative, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
