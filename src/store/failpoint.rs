//! Named places where a test may have a process fail, end or stop. They exist only in builds
//! with the feature `failpoints`; elsewhere `reach` is empty.
//!
//! A test writes `<place>=<action>` into the file `autovector.failpoints` of the data directory.
//! The first process that reaches the place removes the file and does what it says: `error`
//! (an ERROR), `exit` (an orderly end of the process), `abort` and `kill` (a crash), `stop`
//! (SIGSTOP: whoever goes on is late).

use crate::error::Result;

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_place: &str) -> Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub fn reach(place: &str) -> Result<()> {
    use crate::error::{Error, Kind};

    // A server process works in its data directory.
    const FILE: &str = "autovector.failpoints";
    autovector_backup::journal::note(|| place.to_owned());
    let Ok(text) = std::fs::read_to_string(FILE) else { return Ok(()) };
    let Some((wanted, action)) = text.trim().split_once('=') else { return Ok(()) };
    // Whoever removes the file is the one: another process may be at the same place.
    if wanted != place || std::fs::remove_file(FILE).is_err() {
        return Ok(());
    }
    pgrx::log!("autovector failpoint {place}: {action}");
    let signal = match action {
        "error" => return Err(Error::new(Kind::Internal, format!("failpoint {place}"))),
        "abort" => libc::SIGABRT,
        "kill" => libc::SIGKILL,
        "stop" => libc::SIGSTOP,
        _ => {
            // SAFETY: ends this process as PostgreSQL does it, with its exit callbacks.
            unsafe { pgrx::pg_sys::proc_exit(1) };
            // Whether the call is known not to return depends on PostgreSQL's version.
            #[allow(unreachable_code)]
            return Ok(());
        }
    };
    // SAFETY: a signal to this very process.
    unsafe { libc::kill(libc::getpid(), signal) };
    Ok(())
}
