//! The housekeeper: a short-lived process that runs the chores that are due
//! (`services/chores.rs`), so that neither the scheduler nor a worker waits for them.

use pgrx::prelude::*;

use super::process;
use crate::services::chores;
use crate::store::session;
use crate::store::transaction::transaction;

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn autovector_housekeeper_main(argument: pg_sys::Datum) {
    process::attach_signals();
    session::connect(process::database(argument));
    for chore in chores::ALL {
        session::describe(&format!("autovector housekeeper: {}", chore.name));
        let due = transaction(|| Ok(session::is_ours()? && (chore.due)()?.is_some_and(|d| d.is_zero())));
        let done = due.and_then(|due| if due { (chore.run)() } else { Ok(()) });
        if let Err(error) = done {
            process::log(&format!("autovector housekeeper: {}: {error}", chore.name));
        }
        pgrx::check_for_interrupts!();
    }
}
