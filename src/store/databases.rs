//! The cluster's databases, read without being connected to one.

use pgrx::pg_sys;

use super::transaction::transaction;
use crate::error::Result;

#[derive(Debug, Clone)]
pub struct Database {
    pub oid: pg_sys::Oid,
    pub name: String,
}

/// Gives this background worker access to the shared catalogs alone.
pub fn connect_to_none() {
    // SAFETY: called once, first thing in a background worker's main function.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
}

/// Databases that can be connected to and are no templates.
pub fn list() -> Result<Vec<Database>> {
    transaction(|| {
        let mut found = Vec::new();
        // SAFETY: a scan of pg_database, a shared catalog, in a transaction: SPI needs a database
        // and cannot be used. Tuples are read before the scan goes on.
        unsafe {
            let relation =
                pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let scan = pg_sys::table_beginscan_catalog(relation, 0, std::ptr::null_mut());
            loop {
                let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if tuple.is_null() {
                    break;
                }
                let row = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_database>(tuple);
                if (*row).datallowconn && !(*row).datistemplate {
                    found.push(Database {
                        oid: (*row).oid,
                        name: std::ffi::CStr::from_ptr((*row).datname.data.as_ptr())
                            .to_string_lossy()
                            .into_owned(),
                    });
                }
            }
            end_scan(scan);
            pg_sys::table_close(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        }
        Ok(found)
    })
}

/// # Safety
/// `scan` was begun on a heap and is not used afterwards.
unsafe fn end_scan(scan: pg_sys::TableScanDesc) {
    // SAFETY: pg_database is a heap, so its scan is ended as one.
    unsafe { pg_sys::heap_endscan(scan) };
}

pub fn max_worker_processes() -> i32 {
    // SAFETY: a plain global.
    unsafe { pg_sys::max_worker_processes }
}
