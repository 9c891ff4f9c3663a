//! The text of the statement that runs: it may hold a password, and PostgreSQL shows it to
//! others and writes it to its log.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Writes stars over each of `secrets` in the text of the client's statement, in place: the very
/// bytes that a later error or a slow-statement line would log. What it shows of itself in
/// `pg_stat_activity` changes with it.
pub fn hide(secrets: &[String]) {
    // SAFETY: the statement's text is NUL-terminated and belongs to this process: a message
    // buffer or palloc'ed. Where it is a constant it holds no secret and is not written to. No
    // length changes, and the statement was parsed long ago.
    unsafe {
        let text = pg_sys::debug_query_string;
        if text.is_null() {
            return;
        }
        let found = places(CStr::from_ptr(text).to_bytes(), secrets);
        if found.is_empty() {
            return;
        }
        for (start, length) in found {
            std::ptr::write_bytes(text.cast_mut().add(start), b'*', length);
        }
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text);
    }
}

/// Where in `text` a secret stands: as it is, or with the doublings that a literal asks for.
fn places(text: &[u8], secrets: &[String]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for secret in secrets {
        let doubled = secret.replace('\'', "''");
        for form in
            [secret.clone(), doubled.clone(), doubled.replace('\\', "\\\\"), secret.replace('\\', "\\\\")]
        {
            let form = form.as_bytes();
            if form.is_empty() {
                continue;
            }
            let windows = text.windows(form.len()).enumerate();
            found.extend(windows.filter(|(_, window)| *window == form).map(|(at, _)| (at, form.len())));
        }
    }
    found
}
