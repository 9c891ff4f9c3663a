//! Several threads at once, and what is left behind.

use std::{fs, sync::Barrier, thread};

use autovector_providers::Purpose;

use crate::support::{Tiny, embed, models, open};

const TEXTS: [&str; 4] =
    ["a river", "two stones in a river", "the lantern", "an elephant that remembers the lantern"];

#[test]
fn threads_share_one_model_and_get_the_same_vectors() {
    let directory = models();
    let first = open(&directory, "all-MiniLM-L6-v2").unwrap();
    let expected = embed(&first, &TEXTS);
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                together.wait();
                let model = open(&directory, "all-MiniLM-L6-v2").unwrap();
                for _ in 0..5 {
                    assert_eq!(model.embed(&TEXTS, Purpose::Document).unwrap(), expected);
                }
            });
        }
    });
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter(|line| line.ends_with("all-MiniLM-L6-v2/model.safetensors")).count();
    assert_eq!(mapped, 1, "the weights are mapped once, however many have the model open");
}

#[test]
fn a_model_that_nobody_has_open_is_gone() {
    let home = Tiny::new("bert").write();
    let path = home.path().join("tiny/model.safetensors");
    let path = fs::canonicalize(path).unwrap().display().to_string();
    let mapped = || fs::read_to_string("/proc/self/maps").unwrap().contains(&path);
    let (one, two) = (open(home.path(), "tiny").unwrap(), open(home.path(), "tiny").unwrap());
    assert!(mapped());
    drop(one);
    assert!(mapped());
    drop(two);
    assert!(!mapped());
}

#[test]
fn no_signal_reaches_the_threads_that_run_models() {
    let home = Tiny::new("bert").write();
    let model = open(home.path(), "tiny").unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| embed(&model, &["t5 t6"]));
        }
    });
    let mut threads = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        // A thread of another test may end meanwhile.
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
        let blocked = u64::from_str_radix(&field("SigBlk:"), 16).unwrap();
        if field("Name:").starts_with("rten-") {
            threads += 1;
            // All but SIGKILL and SIGSTOP, and the two that the C library keeps for itself.
            assert_eq!(blocked, 0xffff_fffe_7ffb_feff);
        }
    }
    assert!(threads > 0);
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(own.contains("SigBlk:\t0000000000000000"), "the caller's own signals are as before");
}
