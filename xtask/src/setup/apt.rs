//! The distribution's packages, asked and fetched through apt.
//!
//! `apt-get download` needs no right but package lists; where the system has
//! none and the caller is not root, private lists are kept below `target/`.
//! Never installs anything; that is `system_packages`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::process;

/// apt with the options that this caller needs.
pub struct Apt {
    root: bool,
    /// State and cache of private lists, when in use.
    private: Option<PathBuf>,
    work: PathBuf,
    log: PathBuf,
}

impl Apt {
    /// `work` is a directory for private lists, `log` takes apt's own words.
    pub fn new(root: bool, work: &Path, log: &Path) -> Self {
        let private = Some(work.join("system")).filter(|lists| !root && lists.join("lists").is_dir());
        Self { root, private, work: work.to_owned(), log: log.to_owned() }
    }

    /// Whether this machine has apt at all.
    pub fn exists() -> bool {
        process::on_path("apt-get") && process::on_path("dpkg-deb") && process::on_path("dpkg-query")
    }

    fn options(&self, private: Option<&Path>) -> Vec<String> {
        let mut options = Vec::new();
        if self.root {
            // The sandbox's user cannot write into a directory of root's.
            options.push("APT::Sandbox::User=root".to_owned());
            options.push("DPkg::Lock::Timeout=300".to_owned());
        }
        if let Some(directory) = private {
            options.push(format!("Dir::State::Lists={}", directory.join("lists").display()));
            options.push(format!("Dir::Cache={}", directory.join("cache").display()));
        }
        options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect()
    }

    /// `apt-get` or `apt-cache` with its options and plain English output.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(self.options(self.private.as_deref()));
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Fetches the package lists: the system's as root, private ones otherwise.
    ///
    /// # Errors
    /// apt's own.
    pub fn update(&mut self) -> Result<(), Failure> {
        if !self.root {
            let directory = self.work.join("system");
            make_private(&directory)?;
            self.private = Some(directory);
        }
        process::logged(self.command("apt-get").arg("update"), &self.log)
    }

    /// Whether there are package lists; fetches them if not.
    ///
    /// # Errors
    /// They cannot be fetched.
    pub fn require_lists(&mut self) -> Result<(), Failure> {
        if self.index_targets()?.lines().any(|line| !line.trim().is_empty()) {
            return Ok(());
        }
        self.update()
    }

    fn index_targets(&self) -> Result<String, Failure> {
        let format = "$(ORIGIN)\t$(CODENAME)\t$(REPO_URI)";
        process::output(self.command("apt-get").args([
            "indextargets",
            "--format",
            format,
            "Created-By: Packages",
        ]))
    }

    /// The mirror from which this machine takes Debian `codename`, if it does.
    ///
    /// # Errors
    /// apt's own.
    pub fn debian_mirror(&self, codename: &str) -> Result<Option<String>, Failure> {
        Ok(mirror_in(&self.index_targets()?, codename))
    }

    /// The version apt would install of `package`, if it knows the package.
    pub fn candidate(&self, package: &str) -> Option<String> {
        let policy = process::output(self.command("apt-cache").args(["policy", package])).ok()?;
        candidate_in(&policy)
    }

    /// The names `package` depends on, the first of each set of alternatives.
    ///
    /// # Errors
    /// apt's own, also for a package it does not know.
    pub fn dependencies(&self, package: &str) -> Result<Vec<String>, Failure> {
        let text = process::output(self.command("apt-cache").args(["depends", "--important", package]))?;
        Ok(dependencies_in(&text))
    }

    /// Downloads `packages` and unpacks them into `prefix`. Lists that are older
    /// than the mirror are renewed once.
    ///
    /// # Errors
    /// A package cannot be fetched or unpacked.
    pub fn unpack(&mut self, packages: &[&str], prefix: &Path) -> Result<(), Failure> {
        let downloads = self.work.join(format!("deb-{}", std::process::id()));
        fresh_directory(&downloads)?;
        let fetch = |apt: &Self| {
            let mut command = apt.command("apt-get");
            process::logged(command.arg("download").args(packages).current_dir(&downloads), &apt.log)
        };
        if fetch(self).is_err() {
            self.update()?;
            fetch(self)?;
        }
        for entry in fs::read_dir(&downloads).map_err(Failure::io(downloads.display()))? {
            let archive = entry.map_err(Failure::io(downloads.display()))?.path();
            process::logged(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(prefix), &self.log)?;
        }
        fs::remove_dir_all(&downloads).map_err(Failure::io(downloads.display()))
    }

    /// Downloads the source files of `package` from `suite` of the Debian
    /// `mirror` into `directory`. apt's signature check is left out where this
    /// machine has no key for the suite: the caller compares a known digest.
    ///
    /// # Errors
    /// The suite or the package is not there.
    pub fn download_source(
        &self,
        package: &str,
        mirror: &str,
        suite: &str,
        directory: &Path,
    ) -> Result<(), Failure> {
        let apt = self.work.join(suite);
        let parts = apt.join("parts");
        make_private(&apt)?;
        fs::create_dir_all(&parts).map_err(Failure::io(parts.display()))?;
        fresh_directory(directory)?;
        let sources = parts.join("source.sources");
        let command = || {
            let mut command = Command::new("apt-get");
            command.args(self.options(Some(&apt))).args(["-o", "Dir::Etc::sourcelist=/dev/null"]);
            command.arg("-o").arg(format!("Dir::Etc::sourceparts={}", parts.display()));
            command.env("LC_ALL", "C").current_dir(directory);
            command
        };
        let update = |trusted: bool| {
            let stanza = source_stanza(mirror, suite, trusted);
            fs::write(&sources, stanza).map_err(Failure::io(sources.display()))?;
            process::logged(command().arg("update"), &self.log)?;
            process::logged(command().args(["source", "--download-only", package]), &self.log)
        };
        update(false).or_else(|_| update(true))
    }
}

fn make_private(directory: &Path) -> Result<(), Failure> {
    for inside in ["lists/partial", "cache/archives/partial"] {
        let path = directory.join(inside);
        fs::create_dir_all(&path).map_err(Failure::io(path.display()))?;
    }
    Ok(())
}

/// An empty directory, whatever was there.
///
/// # Errors
/// What was there cannot be removed, or the directory not made.
pub fn fresh_directory(directory: &Path) -> Result<(), Failure> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(Failure::io(directory.display()))?;
    }
    fs::create_dir_all(directory).map_err(Failure::io(directory.display()))
}

fn source_stanza(mirror: &str, suite: &str, trusted: bool) -> String {
    let trust = if trusted { "Trusted: yes\n" } else { "" };
    format!("Types: deb-src\nURIs: {mirror}\nSuites: {suite}\nComponents: main\n{trust}")
}

/// Which of the packages are installed, by dpkg's own account.
pub fn installed(packages: &[String]) -> Vec<String> {
    let mut command = Command::new("dpkg-query");
    command.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).args(packages).env("LC_ALL", "C");
    // It fails when one of them is unknown, and still answers for the others.
    let answer = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&answer)
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect()
}

fn mirror_in(index_targets: &str, codename: &str) -> Option<String> {
    index_targets.lines().find_map(|line| {
        let mut fields = line.split('\t');
        let (origin, name, uri) = (fields.next()?, fields.next()?, fields.next()?);
        (origin == "Debian" && name == codename).then(|| uri.trim().to_owned())
    })
}

fn candidate_in(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

fn dependencies_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut alternative = false;
    for line in text.lines() {
        let line = line.trim_start();
        let (first, rest) = match line.strip_prefix('|') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let Some(name) = rest.strip_prefix("Depends: ").or_else(|| rest.strip_prefix("PreDepends: ")) else {
            continue;
        };
        if !alternative {
            names.push(name.trim().to_owned());
        }
        alternative = first;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_alternatives_is_taken() {
        let text = "postgresql-15\n |Depends: locales\n  Depends: locales-all\n  Depends: tzdata\n\
                    \x20|Depends: a\n |Depends: b\n  Depends: c\n  Depends: libicu72\n  Suggests: x\n";
        assert_eq!(dependencies_in(text), ["locales", "tzdata", "a", "libicu72"]);
    }

    #[test]
    fn the_mirror_is_the_one_of_the_release_itself() {
        let text = "Debian\tbookworm-security\thttp://mirror/security/\n\
                    Other\tbookworm\thttp://other/\nDebian\tbookworm\thttp://mirror/debian/\n";
        assert_eq!(mirror_in(text, "bookworm").unwrap(), "http://mirror/debian/");
        assert_eq!(mirror_in(text, "trixie"), None);
    }

    #[test]
    fn a_package_without_candidate_is_unknown() {
        assert_eq!(candidate_in("x:\n  Installed: (none)\n  Candidate: 1.2-3\n").unwrap(), "1.2-3");
        assert_eq!(candidate_in("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_in(""), None);
    }

    #[test]
    fn trust_is_stated_only_when_asked_for() {
        assert!(!source_stanza("m", "s", false).contains("Trusted"));
        assert!(source_stanza("m", "s", true).ends_with("Trusted: yes\n"));
    }
}
