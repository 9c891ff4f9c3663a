//! The status keeper: applies what deferred record status rules have noted. A process of its own,
//! because chores and workers may be busy for long and notes are due within a second. It stays
//! for a while after the last note, so that steady traffic does not start one process after the
//! other.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::process;
use crate::services::record_status;
use crate::store::{session, wake};

/// Between two looks for new notes.
const LOOK: Duration = Duration::from_millis(100);
/// After an error, before the next process may try again.
const REST: Duration = Duration::from_secs(1);
/// Without a note for so long it ends; the next one starts it again.
const IDLE: Duration = Duration::from_secs(5);

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn autovector_status_keeper_main(argument: pg_sys::Datum) {
    process::attach_signals();
    let database = process::database(argument);
    session::connect(database);
    session::describe("autovector status keeper");
    let mut last = Instant::now();
    while last.elapsed() < IDLE && !wake::is_withdrawn(database) {
        match record_status::apply_notes() {
            Ok(0) => {}
            Ok(_) => last = Instant::now(),
            Err(error) => {
                process::log(&format!("autovector status keeper: {error}"));
                process::wait(REST, None);
                return;
            }
        }
        process::wait(LOOK, None);
    }
}
