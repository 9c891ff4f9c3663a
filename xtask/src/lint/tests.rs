//! Each rule can fail, and does not fail on what it permits.

use super::*;

/// What the rules say about a tree of one file, by the start of the rule.
fn complaints(path: &str, text: &str) -> Vec<String> {
    check(&[SourceFile::new(path, text.to_owned())])
}

/// A tree of one module with a heading, so that only the body counts.
fn module(path: &str, body: &str) -> Vec<String> {
    complaints(path, &format!("//! Heading.\n{body}\n"))
}

fn breaks(found: &[String], rule: &str, line: usize) -> bool {
    found.len() == 1 && found[0].contains(rule) && found[0].contains(&format!(":{line}:"))
}

#[test]
fn postgres_in_a_pure_crate_is_found() {
    assert!(breaks(
        &module("crates/domain/src/a.rs", "use pgrx::prelude::*;"),
        "know nothing of PostgreSQL",
        2
    ));
    assert!(breaks(&module("crates/providers/src/a.rs", "fn f(x: pg_sys::Oid) {}"), "know nothing", 2));
    assert!(!complaints("crates/domain/Cargo.toml", "[dependencies]\npgrx = \"1\"\n").is_empty());
    assert!(module("crates/domain/src/a.rs", "// never pgrx\nconst A: &str = \"pgrx\";").is_empty());
    assert!(module("src/api/a.rs", "use pgrx::prelude::*;").is_empty());
}

#[test]
fn spi_outside_the_store_is_found() {
    assert!(breaks(&module("src/services/a.rs", "\nfn f() { Spi::run(q) }"), "SPI is used", 3));
    assert!(module("src/store/queue.rs", "fn f() { Spi::run(q) }").is_empty());
    let in_tests =
        "#[cfg(any(test, feature = \"pg_test\"))]\n#[pg_schema]\nmod tests {\n fn f() { Spi::run(q) }\n}";
    assert!(module("src/lib.rs", in_tests).is_empty());
}

#[test]
fn sql_functions_outside_the_api_are_found() {
    assert!(breaks(&module("src/services/a.rs", "#[pg_extern(stable)]\nfn f() {}"), "SQL functions", 2));
    assert!(breaks(&module("src/worker/a.rs", "#[pg_trigger]\nfn f() {}"), "SQL functions", 2));
    assert!(module("src/api/a.rs", "#[pg_extern]\nfn f() {}").is_empty());
}

#[test]
fn unsafe_outside_its_places_is_found() {
    assert!(breaks(&module("src/api/a.rs", "fn f() { unsafe { g() } }"), "unsafe code", 2));
    assert!(breaks(&module("src/error.rs", "#[unsafe(no_mangle)]\nfn f() {}"), "unsafe code", 2));
    for place in
        ["src/lib.rs", "src/store/vectors.rs", "src/worker/mod.rs", "crates/providers/src/local/map.rs"]
    {
        assert!(module(place, "fn f() { unsafe { g() } }").is_empty(), "{place}");
    }
    assert!(module("src/api/a.rs", "// unsafe\n#![deny(unsafe_code)]").is_empty());
}

#[test]
fn long_files_are_found() {
    let lines = |count: usize| format!("//! Heading.\n{}", "x;\n".repeat(count - 1));
    assert!(breaks(&complaints("src/api/a.rs", &lines(601)), "600 lines", 601));
    assert!(complaints("src/api/a.rs", &lines(600)).is_empty());
    assert!(!complaints("sql/a.sql", &"select 1;\n".repeat(601)).is_empty());
}

#[test]
fn modules_without_a_heading_are_found() {
    assert!(breaks(&complaints("src/api/a.rs", "use x;\n"), "every module says", 1));
    assert!(!complaints("src/api/a.rs", "").is_empty());
    assert!(complaints("src/api/a.rs", "\n//! It owns nothing.\n").is_empty());
    assert!(complaints("sql/a.sql", "select 1;\n").is_empty());
    assert!(complaints("src/api/tests.rs", "use super::*;\n").is_empty());
}

#[test]
fn unfinished_work_is_found() {
    for body in ["#[ignore = \"slow\"]\nfn f() {}", "fn f() { todo!() }", "fn f() { unimplemented!() }"] {
        assert!(breaks(&module("src/api/a.rs", body), "unfinished", 2), "{body}");
    }
    let in_tests = "#[cfg(test)]\nmod tests {\n#[ignore]\nfn f() {}\n}";
    assert!(breaks(&module("crates/domain/src/a.rs", in_tests), "unfinished", 4));
    assert!(module("src/api/a.rs", "// todo!()").is_empty());
}

#[test]
fn sleeping_is_found() {
    assert!(breaks(&module("pgrx-tests/tests/a.rs", "fn f() { std::thread::sleep(d) }"), "sleeps", 2));
    assert!(breaks(&module("src/worker/a.rs", "use std::thread::{sleep, spawn};"), "sleeps", 2));
    assert!(module("pgrx-tests/src/wait.rs", "fn f() { thread::sleep(d) }").is_empty());
}

#[test]
fn calls_upwards_are_found() {
    assert!(breaks(&module("src/store/a.rs", "use crate::services::ingest;"), "never upwards", 2));
    assert!(breaks(&module("src/store/a.rs", "use crate::{error,\n worker::wake};"), "never upwards", 3));
    assert!(breaks(&module("src/services/a.rs", "fn f() { crate::api::g() }"), "never upwards", 2));
    assert!(module("src/services/a.rs", "use crate::{error, store};").is_empty());
    assert!(module("src/api/a.rs", "use crate::services::search;").is_empty());
}

#[test]
fn the_tree_is_read_from_a_directory() {
    let root = std::env::temp_dir().join(format!("xtask-lint-{}", std::process::id()));
    fs::create_dir_all(root.join("src/target")).unwrap();
    fs::write(root.join("src/lib.rs"), "//! x\n").unwrap();
    fs::write(root.join("src/target/skipped.rs"), "no heading\n").unwrap();
    fs::write(root.join("src/notes.txt"), "no source\n").unwrap();
    let files = read_tree(&root).unwrap();
    assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["src/lib.rs"]);
    assert!(read_tree(&root.join("src/target")).is_err());
    fs::remove_dir_all(&root).unwrap();
}
