//! Settings that decide how values are written as text: the same for every backup and every
//! restore, whatever the session says. They end with the guard, or with the transaction.

use std::ffi::CString;

use pgrx::pg_sys;

/// `row_security = off` makes a policy that would hide rows an error.
const PINNED: [(&str, &str); 9] = [
    ("search_path", "pg_catalog, pg_temp"),
    ("row_security", "off"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
];

pub struct Pins {
    level: i32,
}

impl Pins {
    /// Pins the settings. `encoding` is that of the files.
    pub fn set(encoding: &str) -> Pins {
        // SAFETY: a plain counter; undone in drop or by the end of the transaction.
        let level = unsafe { pg_sys::NewGUCNestLevel() };
        for (name, value) in PINNED {
            set(name, value);
        }
        set("client_encoding", encoding);
        Pins { level }
    }

    /// For a backup that nobody waits for: what names mean, and that locks are waited for.
    pub fn unattended(search_path: &str) -> Pins {
        // SAFETY: as above.
        let level = unsafe { pg_sys::NewGUCNestLevel() };
        set("search_path", search_path);
        set("lock_timeout", "60s");
        Pins { level }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // An error ends the transaction, or the subtransaction, and the settings with it.
        if !std::thread::panicking() {
            // SAFETY: the level was opened above and is closed once.
            unsafe { pg_sys::AtEOXact_GUC(true, self.level) };
        }
    }
}

fn set(name: &str, value: &str) {
    let name = CString::new(name).expect("a constant without NUL");
    let value = CString::new(value).expect("the name of an encoding");
    // SAFETY: both strings live through the call.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}
