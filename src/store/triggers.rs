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
    // SAFETY: both arguments are present (the SQL signature); a varlena's header says how long a
    // pointer to an out-of-line value is.
    unsafe {
        let args = (*fcinfo).args.as_slice(2);
        let (old, new) = (&args[0], &args[1]);
        if old.isnull || new.isnull {
            return old.isnull && new.isnull;
        }
        let sql_type = pg_sys::get_fn_expr_argtype((*fcinfo).flinfo, 0);
        let (mut length, mut by_value) = (0, false);
        pg_sys::get_typlenbyval(sql_type, &mut length, &mut by_value);
        if length == -1 {
            let (a, b) = (old.value.cast_mut_ptr::<u8>(), new.value.cast_mut_ptr::<u8>());
            if is_on_disk(a) && is_on_disk(b) {
                return std::slice::from_raw_parts(a, TOAST_POINTER)
                    == std::slice::from_raw_parts(b, TOAST_POINTER)
                    || datum_image_eq(old.value, new.value, by_value, i32::from(length));
            }
        }
        datum_image_eq(old.value, new.value, by_value, i32::from(length))
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
