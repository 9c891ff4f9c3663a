//! The processes in which a worker has documents read.

use crate::settings::Settings;
use autovector_documents::process::Readers;

// Not through pgrx, which knows the process that loaded it and refuses to serve another.
unsafe extern "C" {
    /// What PostgreSQL itself does in children that need no shared memory.
    fn PGSharedMemoryDetach();
    /// Adds to the title of the process.
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    fn set_ps_display(activity: *const std::ffi::c_char);
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    fn set_ps_display_with_len(activity: *const std::ffi::c_char, length: usize);
}

const TITLE: &std::ffi::CStr = c"(reads documents)";

/// Starts the process that starts the others. Called before the worker has other threads.
pub fn start() -> Readers {
    let at_once = Settings::now().local_threads;
    // SAFETY: a worker begins with one thread. The child lets go of shared memory, whose latches
    // and locks are not its own, and never comes back into PostgreSQL's code.
    let started = unsafe {
        Readers::start(at_once, || {
            #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
            set_ps_display(TITLE.as_ptr());
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            set_ps_display_with_len(TITLE.as_ptr(), TITLE.count_bytes());
            PGSharedMemoryDetach();
        })
    };
    started.unwrap_or_else(|error| pgrx::error!("autovector cannot start a process: {error}"))
}
