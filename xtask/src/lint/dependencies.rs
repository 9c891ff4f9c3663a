//! The audit of what the workspace depends on: every package comes from the registry, with its
//! checksum in Cargo.lock, and under a licence that lets anybody pass the extension on.
//!
//! Known vulnerabilities are not looked up: no database of them can be reached from every machine
//! that this runs on. `cargo audit`, where it can, reads the same Cargo.lock.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::process;

/// Licences that ask for no more than their text, in SPDX's names.
const PERMITTED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Certificates of authorities, as data.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "PostgreSQL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks Cargo.lock and the licences of every package that is built.
///
/// # Errors
/// Packages from elsewhere, without a checksum, or under another licence.
pub fn check(root: &Path) -> Result<usize, Failure> {
    let path = root.join("Cargo.lock");
    let lock = fs::read_to_string(&path).map_err(Failure::io(path.display()))?;
    let mut broken = strangers(&lock);
    let mut tree = process::cargo();
    tree.current_dir(root).args(["tree", "--locked", "--workspace", "--edges", "normal,build"]);
    tree.args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"]);
    let output = tree.output().map_err(Failure::io("cargo tree"))?;
    if !output.status.success() {
        return Err(Failure::new(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    let mut packages: Vec<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    packages.retain(|line| !line.is_empty());
    packages.sort();
    packages.dedup();
    broken.extend(packages.iter().filter_map(|line| {
        let (package, licence) = line.split_once('|')?;
        (!is_permitted(licence)).then(|| format!("  {package}: licence \"{licence}\" is not in the list"))
    }));
    if broken.is_empty() {
        return Ok(packages.len());
    }
    Err(Failure::new(format!("{} dependencies cannot be passed on\n{}", broken.len(), broken.join("\n"))))
}

/// Packages of a Cargo.lock that come from anywhere but the registry, or have no checksum.
fn strangers(lock: &str) -> Vec<String> {
    lock.split("[[package]]")
        .skip(1)
        .filter_map(|package| {
            let field = |name: &str| {
                package
                    .lines()
                    .find_map(|line| line.strip_prefix(&format!("{name} = ")))
                    .map(|value| value.trim_matches('"'))
            };
            // Packages of the workspace have no source.
            let source = field("source")?;
            let known = source == REGISTRY && field("checksum").is_some();
            (!known).then(|| format!("  {}: source {source}", field("name").unwrap_or("?")))
        })
        .collect()
}

/// Whether an SPDX expression can be met with permitted licences. A slash is the old way to write OR.
fn is_permitted(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let tokens = expression.replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = tokens.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    either(&mut rest) == Some(true) && rest.is_empty()
}

fn either(rest: &mut &[&str]) -> Option<bool> {
    let mut met = both(rest)?;
    while rest.first() == Some(&"OR") {
        *rest = &rest[1..];
        met |= both(rest)?;
    }
    Some(met)
}

fn both(rest: &mut &[&str]) -> Option<bool> {
    let mut met = one(rest)?;
    while rest.first() == Some(&"AND") {
        *rest = &rest[1..];
        met &= one(rest)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str]) -> Option<bool> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    if *first == "(" {
        let met = either(rest)?;
        let (close, after) = rest.split_first()?;
        *rest = after;
        return (*close == ")").then_some(met);
    }
    let name = match rest {
        ["WITH", exception, ..] => {
            let name = format!("{first} WITH {exception}");
            *rest = &rest[2..];
            name
        }
        _ => (*first).to_owned(),
    };
    Some(PERMITTED.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{is_permitted, strangers};

    /// Fear: a licence that binds who passes the extension on slips in behind an AND.
    #[test]
    fn expressions_are_met_by_permitted_licences_alone() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "Apache-2.0 / MIT",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(is_permitted(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT OR", "MPL-2.0", "GPL-2.0 WITH Classpath"] {
            assert!(!is_permitted(bad), "{bad}");
        }
    }

    /// Fear: code from somebody's branch, which may be another one tomorrow.
    #[test]
    fn packages_from_elsewhere_are_found() {
        let lock = "version = 4\n[[package]]\nname = \"own\"\nversion = \"1\"\n
[[package]]\nname = \"good\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"00\"\n
[[package]]\nname = \"branch\"\nsource = \"git+https://example.org/x\"\n
[[package]]\nname = \"bare\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        let found = strangers(lock);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("branch") && found[1].contains("bare"), "{found:?}");
    }
}
