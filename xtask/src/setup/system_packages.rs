//! Compiler, headers and tools that come from the distribution.
//!
//! Each is looked for by what it gives, not by a package's name: a compiler of
//! another origin will do. Root gets what is missing installed; anybody else
//! gets the exact line to type.

use std::path::Path;
use std::process::Command;

use super::apt::{self, Apt};
use super::postgres15::Postgres15;
use super::{Context, Step, pip};
use crate::failure::Failure;
use crate::process;

/// Something to have, how it is recognised, and the packages that bring it.
struct Need {
    what: &'static str,
    present: fn() -> bool,
    packages: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need {
        what: "a C compiler and make",
        present: || runs("cc", "--version") && runs("make", "--version") && header_compiles("stdio.h"),
        packages: &["build-essential"],
    },
    Need { what: "pkg-config", present: || runs("pkg-config", "--version"), packages: &["pkg-config"] },
    Need {
        what: "OpenSSL's headers",
        present: || process::succeeds(Command::new("pkg-config").args(["--exists", "openssl"])),
        packages: &["libssl-dev"],
    },
    Need { what: "python3 with pip", present: || pip::find_python().is_some(), packages: &["python3-pip"] },
];

/// The step.
pub struct SystemPackages;

impl Step for SystemPackages {
    fn name(&self) -> &'static str {
        "system packages"
    }

    fn check(&self, context: &Context) -> Result<String, String> {
        let missing = missing(context);
        if missing.is_empty() {
            return Ok("compiler, headers, libclang, pip".into());
        }
        Err(missing.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>().join(", "))
    }

    fn intention(&self, missing: &str) -> String {
        format!("missing: {missing}")
    }

    fn work(&self, context: &Context) -> Result<(), Failure> {
        let missing = missing(context);
        let names = || missing.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>().join(", ");
        if !Apt::exists() {
            return Err(Failure::new(format!("missing: {}", names()))
                .remedy("install them with this system's package manager; the set-up knows apt alone"));
        }
        let packages: Vec<&str> = missing.iter().flat_map(|(_, names)| names).map(String::as_str).collect();
        let line = format!("apt-get install --no-install-recommends {}", packages.join(" "));
        if !context.root {
            return Err(Failure::new(format!("missing: {}", names())).remedy(format!("sudo {line}")));
        }
        context.with_apt(|apt| {
            apt.update()?;
            println!("setup  {:<16} {line}", self.name());
            let mut install = apt.command("apt-get");
            install.args(["install", "--yes", "--no-install-recommends"]).args(&packages);
            process::logged(&mut install, &context.paths.log(self.name()))
        })
    }
}

/// What is missing, with the packages that bring it.
fn missing(context: &Context) -> Vec<(String, Vec<String>)> {
    let mut missing: Vec<(String, Vec<String>)> = Vec::new();
    for need in NEEDS.iter().filter(|need| !(need.present)()) {
        missing.push((need.what.to_owned(), need.packages.iter().map(|name| (*name).to_owned()).collect()));
    }
    if let Some(packages) = libclang_missing(context) {
        missing.push(("libclang".to_owned(), packages));
    }
    let libraries = missing_libraries(context);
    if !libraries.is_empty() {
        missing.push(("libraries of PostgreSQL 15".to_owned(), libraries));
    }
    missing
}

fn runs(program: &str, option: &str) -> bool {
    process::succeeds(Command::new(program).arg(option))
}

/// Whether the C compiler finds a header.
fn header_compiles(header: &str) -> bool {
    let mut command = Command::new("cc");
    command.args(["-E", "-include", header, "-x", "c", "/dev/null"]);
    process::succeeds(&mut command)
}

/// bindgen loads libclang and reads the headers that belong to it. `None` when
/// both are there, otherwise the packages of the distribution's own version.
fn libclang_missing(context: &Context) -> Option<Vec<String>> {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return None;
    }
    let roots = ["/usr/lib/llvm-", "/usr/lib64/llvm-"];
    let complete = (10..40).any(|version| {
        roots.iter().any(|root| {
            let base = format!("{root}{version}/lib");
            has_libclang(Path::new(&base)) && Path::new(&base).join("clang").is_dir()
        })
    });
    if complete || runs("clang", "--version") && runs("llvm-config", "--version") {
        return None;
    }
    let version = context.with_apt(|apt| {
        apt.require_lists().ok()?;
        apt.dependencies("libclang-dev").ok()?.iter().find_map(|name| version_in(name))
    });
    // Debian 12's, for a machine whose lists cannot be had.
    let version = version.unwrap_or(14);
    Some(vec![format!("libclang1-{version}"), format!("libclang-common-{version}-dev")])
}

fn has_libclang(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("libclang.so")
                || name.to_string_lossy().starts_with("libclang-")
        })
    })
}

/// `libclang-14-dev` → 14.
fn version_in(package: &str) -> Option<u32> {
    package.strip_prefix("libclang-")?.strip_suffix("-dev")?.parse().ok()
}

/// The shared libraries the distribution's PostgreSQL 15 is linked with: its
/// package is unpacked, not installed, so nobody else brings them.
fn missing_libraries(context: &Context) -> Vec<String> {
    let served = !context.wants(15) || Postgres15.check(context).is_ok();
    if served || !Apt::exists() {
        return Vec::new();
    }
    let needed = context.with_apt(|apt| {
        apt.require_lists().ok()?;
        let mut names = apt.dependencies("postgresql-15").ok()?;
        names.extend(apt.dependencies("postgresql-client-15").ok()?);
        Some(names)
    });
    let mut needed: Vec<String> =
        needed.unwrap_or_default().into_iter().filter(|name| is_runtime(name)).collect();
    needed.sort();
    needed.dedup();
    if needed.is_empty() {
        return needed;
    }
    let installed = apt::installed(&needed);
    needed.retain(|name| !installed.contains(name));
    needed
}

/// Libraries, and the time zones that the server reads from the system.
fn is_runtime(package: &str) -> bool {
    package.starts_with("lib") || package == "tzdata"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distributions_libclang_is_read_from_its_metapackage() {
        assert_eq!(version_in("libclang-14-dev"), Some(14));
        assert_eq!(version_in("libclang-common-14-dev"), None);
        assert_eq!(version_in("libc6"), None);
    }

    #[test]
    fn only_what_a_running_server_needs_is_installed() {
        assert!(is_runtime("libicu72") && is_runtime("tzdata"));
        assert!(!is_runtime("postgresql-common") && !is_runtime("ssl-cert") && !is_runtime("locales"));
    }

    #[test]
    fn a_missing_header_is_noticed() {
        assert!(!header_compiles("no/such/header.h"));
    }
}
