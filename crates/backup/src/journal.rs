//! The order of what has to happen in order, for tests: what was synced, what was renamed. Empty
//! elsewhere.

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn note(_step: impl FnOnce() -> String) {}

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[cfg(test)]
pub(crate) fn note(step: impl FnOnce() -> String) {
    STEPS.with_borrow_mut(|steps| steps.push(step()));
}

/// What happened on this thread since the last call.
#[cfg(test)]
pub(crate) fn take() -> Vec<String> {
    STEPS.with_borrow_mut(std::mem::take)
}
