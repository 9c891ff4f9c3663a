//! Settings that decide how values are written as text: the same for every backup and every
//! restore, whatever the session says. They end with the guard, or with the transaction.

use pgrx::pg_sys;

use crate::store::transaction::set_in_level;

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
            set_in_level(name, value);
        }
        set_in_level("client_encoding", encoding);
        Pins { level }
    }

    /// For a backup that nobody waits for: what names mean, and that locks are waited for.
    pub fn unattended(search_path: &str) -> Pins {
        // SAFETY: as above.
        let level = unsafe { pg_sys::NewGUCNestLevel() };
        set_in_level("search_path", search_path);
        set_in_level("lock_timeout", "60s");
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
