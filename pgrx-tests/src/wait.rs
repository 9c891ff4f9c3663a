//! Waiting for a condition. The only place of the harness that sleeps: a test that needs
//! time to pass needs a condition instead.

use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// Polls `predicate` until it is true.
///
/// `deadline` is multiplied by the environment variable `AUTOVECTOR_PATIENCE` (default 1)
/// for slow machines. Panics with `what` when the time is over.
pub fn wait_until(what: &str, deadline: Duration, mut predicate: impl FnMut() -> bool) {
    let started = Instant::now();
    let deadline = deadline * patience();
    let mut pause = Duration::from_millis(2);
    loop {
        if predicate() {
            return;
        }
        assert!(started.elapsed() < deadline, "after {deadline:?} still not: {what}");
        thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(50));
    }
}

/// Polls `invariant` for the whole of `span` and panics with `what` as soon as it fails:
/// for promises about what does *not* happen.
pub fn holds_for(what: &str, span: Duration, mut invariant: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < span {
        assert!(invariant(), "after {:?} no longer: {what}", started.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
}

fn patience() -> u32 {
    static PATIENCE: OnceLock<u32> = OnceLock::new();
    *PATIENCE.get_or_init(|| match std::env::var("AUTOVECTOR_PATIENCE") {
        Ok(text) => text.parse().expect("AUTOVECTOR_PATIENCE is a whole number"),
        Err(_) => 1,
    })
}
