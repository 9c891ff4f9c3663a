//! The C entry points of the trigger functions; `sql/triggers.sql` declares them.

use pgrx::prelude::*;

use super::checkpoints::capture as checkpoints;
use super::{capture, record_status};

macro_rules! entry_point {
    ($name:ident, $finfo:ident, $body:expr) => {
        #[unsafe(no_mangle)]
        #[doc(hidden)]
        pub extern "C" fn $finfo() -> &'static pg_sys::Pg_finfo_record {
            const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        /// # Safety
        /// Called by PostgreSQL's function manager with valid call information.
        #[unsafe(no_mangle)]
        #[pg_guard]
        pub unsafe extern "C-unwind" fn $name(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: the caller's promise.
            unsafe { $body(fcinfo) }
        }
    };
}

entry_point!(autovector_capture_row, pg_finfo_autovector_capture_row, capture::capture_row);
entry_point!(autovector_capture_truncate, pg_finfo_autovector_capture_truncate, capture::capture_truncate);
entry_point!(autovector_embedding_status, pg_finfo_autovector_embedding_status, record_status::make_pending);
entry_point!(autovector_record_status, pg_finfo_autovector_record_status, record_status::fire);
entry_point!(autovector_checkpoint_lock, pg_finfo_autovector_checkpoint_lock, checkpoints::lock);
entry_point!(autovector_checkpoint_live, pg_finfo_autovector_checkpoint_live, checkpoints::live);
entry_point!(autovector_checkpoint_row, pg_finfo_autovector_checkpoint_row, checkpoints::row);
entry_point!(autovector_checkpoint_truncate, pg_finfo_autovector_checkpoint_truncate, checkpoints::truncate);
entry_point!(
    autovector_checkpoint_altered,
    pg_finfo_autovector_checkpoint_altered,
    super::checkpoints::commands::altered
);
entry_point!(
    autovector_checkpoint_rewritten,
    pg_finfo_autovector_checkpoint_rewritten,
    super::checkpoints::commands::rewritten
);
entry_point!(
    autovector_checkpoint_dropped,
    pg_finfo_autovector_checkpoint_dropped,
    super::checkpoints::commands::dropped
);
entry_point!(autovector_unchanged, pg_finfo_autovector_unchanged, unchanged);

unsafe extern "C-unwind" {
    /// `utils/datum.h`: equality of two values as they are stored, read in full if need be.
    pub fn datum_image_eq(
        a: pg_sys::Datum,
        b: pg_sys::Datum,
        by_value: bool,
        length: std::ffi::c_int,
    ) -> bool;
}

/// True when two values of one type are stored alike. Values kept out of line are the same when
/// they have the same place: an UPDATE that leaves a column alone leaves its place alone, and
/// reading both would cost more than the UPDATE.
///
/// # Safety
/// `fcinfo` has two arguments of one type.
unsafe fn unchanged(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    pg_sys::Datum::from(unsafe { stored_alike(fcinfo) })
}

unsafe fn stored_alike(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: both arguments are present (the SQL signature) and of the type whose storage is known;
    // a varlena's header says how long it is, and how long a pointer to an out-of-line value is.
    unsafe {
        let args = (*fcinfo).args.as_slice(2);
        let (old, new) = (&args[0], &args[1]);
        if old.isnull || new.isnull {
            return old.isnull && new.isnull;
        }
        let Storage { length, by_value } = storage(fcinfo);
        if by_value {
            return old.value.value() == new.value.value();
        }
        if length == -1 {
            let (a, b) = (old.value.cast_mut_ptr::<u8>(), new.value.cast_mut_ptr::<u8>());
            if is_on_disk(a) && is_on_disk(b) {
                return std::slice::from_raw_parts(a, TOAST_POINTER)
                    == std::slice::from_raw_parts(b, TOAST_POINTER)
                    || datum_image_eq(old.value, new.value, by_value, i32::from(length));
            }
            // An UPDATE copies what it leaves alone byte by byte.
            if !pgrx::varatt_is_1b_e(a.cast()) && !pgrx::varatt_is_1b_e(b.cast()) {
                let (long, other) = (pgrx::varsize_any(a.cast()), pgrx::varsize_any(b.cast()));
                if std::slice::from_raw_parts(a, long) == std::slice::from_raw_parts(b, other) {
                    return true;
                }
            }
        }
        datum_image_eq(old.value, new.value, by_value, i32::from(length))
    }
}

/// How values of a type are kept, as `pg_type` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Storage {
    length: i16,
    by_value: bool,
}

impl Storage {
    /// As a word that is never zero.
    fn to_word(self) -> usize {
        usize::from(self.length as u16) << 2 | usize::from(self.by_value) << 1 | 1
    }

    fn from_word(word: usize) -> Storage {
        Storage { length: (word >> 2) as u16 as i16, by_value: word & 2 != 0 }
    }
}

/// The storage of the arguments' type: looked up for the first row of a statement, and kept with the
/// expression.
unsafe fn storage(fcinfo: pg_sys::FunctionCallInfo) -> Storage {
    // SAFETY: fn_extra is the function's own place, null at first and as long-lived as the expression;
    // it holds a number, nobody follows it.
    unsafe {
        let kept = (*(*fcinfo).flinfo).fn_extra;
        if !kept.is_null() {
            return Storage::from_word(kept as usize);
        }
        let sql_type = pg_sys::get_fn_expr_argtype((*fcinfo).flinfo, 0);
        let (mut length, mut by_value) = (0, false);
        pg_sys::get_typlenbyval(sql_type, &mut length, &mut by_value);
        let storage = Storage { length, by_value };
        (*(*fcinfo).flinfo).fn_extra = storage.to_word() as *mut std::ffi::c_void;
        storage
    }
}

/// Bytes of a pointer to an on-disk out-of-line value: two of header, then varatt_external
/// (postgres.h).
const TOAST_POINTER: usize = 2 + size_of::<pg_sys::varatt_external>();

/// # Safety
/// `value` points to a varlena.
unsafe fn is_on_disk(value: *const u8) -> bool {
    // SAFETY: an external varlena starts with 0x01 (little endian) and then its tag.
    unsafe {
        pgrx::varatt_is_1b_e(value.cast()) && *value.add(1) == pg_sys::vartag_external::VARTAG_ONDISK as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_survives_its_word() {
        for length in [-2, -1, 1, 2, 4, 8, 16, i16::MAX, i16::MIN] {
            for by_value in [false, true] {
                let storage = Storage { length, by_value };
                assert_ne!(storage.to_word(), 0);
                assert_eq!(Storage::from_word(storage.to_word()), storage);
            }
        }
    }
}
