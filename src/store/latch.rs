//! The backend's latch and its threads' signal masks.

use std::time::Duration;

use pgrx::pg_sys;

/// Sleeps until the latch is set or `time` is over; cancels and shutdowns end the statement.
pub fn wait(time: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: the backend's own latch, on its main thread.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, time.as_millis() as i64, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// Runs `start` with all signals blocked in this thread. Threads begin with the mask of the one
/// that starts them, so PostgreSQL's handlers go on running on the main thread alone.
pub fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: sets and restores this thread's own signal mask.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut previous: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut previous);
        let result = start();
        libc::pthread_sigmask(libc::SIG_SETMASK, &previous, std::ptr::null_mut());
        result
    }
}

/// A thread with all signals blocked, which nobody waits for.
pub fn quiet_thread(work: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("autovector request".to_owned());
    with_signals_blocked(|| thread.spawn(work)).map(drop)
}

/// True where the statement, or the session, is to end as soon as it looks. For other threads than
/// the main one, which looks itself.
pub fn is_to_end() -> bool {
    // SAFETY: plain reads of flags that signal handlers set; an old value is only a later look.
    unsafe {
        std::ptr::read_volatile(&raw const pg_sys::QueryCancelPending) != 0
            || std::ptr::read_volatile(&raw const pg_sys::ProcDiePending) != 0
    }
}

/// Sleeps for a moment without looking for cancels: for cleaning up after one.
pub fn doze(time: Duration) {
    // SAFETY: no descriptors are given; an interrupted call only makes the sleep shorter.
    unsafe { libc::poll(std::ptr::null_mut(), 0, time.as_millis().clamp(1, 1000) as i32) };
}
