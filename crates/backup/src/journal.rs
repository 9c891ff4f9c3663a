//! The order of what has to happen in order, for tests: what was synced, what was renamed. A
//! step is noted where the system call has succeeded. In builds for tests of the whole server
//! (feature `record`) it is a line in the file `autovector.journal` of the working directory,
//! if there is one; elsewhere it is nothing.

#[cfg(not(any(test, feature = "record")))]
#[inline(always)]
pub fn note(_step: impl FnOnce() -> String) {}

#[cfg(all(feature = "record", not(test)))]
pub fn note(step: impl FnOnce() -> String) {
    use std::io::Write;

    if let Ok(mut file) = std::fs::OpenOptions::new().append(true).open("autovector.journal") {
        // A test that misses a line fails.
        let _ = file.write_all(format!("{}\n", step()).as_bytes());
    }
}

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[cfg(test)]
pub fn note(step: impl FnOnce() -> String) {
    STEPS.with_borrow_mut(|steps| steps.push(step()));
}

/// What happened on this thread since the last call.
#[cfg(test)]
pub(crate) fn take() -> Vec<String> {
    STEPS.with_borrow_mut(std::mem::take)
}
