//! A process that copies parts of somebody's backup, on the snapshot that the backup exported.

use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;

use super::process;
use crate::services::backup::copying;
use crate::store::session;

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn autovector_backup_helper_main(argument: pg_sys::Datum) {
    process::attach_signals();
    session::connect(process::database(argument));
    let name = BackgroundWorker::get_extra();
    session::describe(&format!("autovector backup: {name}"));
    if let Err(error) = copying::help(name) {
        process::log(&format!("autovector backup: {error}"));
    }
}
