//! What all processes share: signals, waiting, starting other processes.

use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, DynamicBackgroundWorker, SignalWakeFlags};
use pgrx::{pg_guard, pg_sys};

use crate::store::wake::{self, Role};

unsafe extern "C-unwind" {
    /// PostgreSQL's own SIGTERM handler: it interrupts a running query as well as a wait.
    fn die(signal: std::ffi::c_int);
}

/// First thing in every process: SIGTERM ends it at the next safe point, also in the middle of a
/// statement; SIGHUP is noted for `reloaded`.
pub fn attach_signals() {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP);
    // SAFETY: `die` is PostgreSQL's handler for this signal, with this signature.
    unsafe {
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(libc::SIGTERM, Some(die));
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(libc::SIGTERM, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Puts this process on the list of those to be woken, and takes it off however it ends.
pub fn register(role: Role, database: pg_sys::Oid) {
    wake::register(role, database);
    // SAFETY: a plain function that lives as long as the library.
    unsafe { pg_sys::before_shmem_exit(Some(unregister), pg_sys::Datum::from(database)) };
}

#[pg_guard]
unsafe extern "C-unwind" fn unregister(_code: std::ffi::c_int, database: pg_sys::Datum) {
    wake::unregister(pg_sys::Oid::from(database.value() as u32));
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// Somebody set the latch.
    pub latch: bool,
    /// The file descriptor became readable.
    pub readable: bool,
}

/// The one place to sleep: until the latch, the descriptor, or `timeout`. Ends the process when
/// the postmaster is gone or SIGTERM came.
pub fn wait(timeout: Duration, readable: Option<std::os::fd::RawFd>) -> Woken {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    if readable.is_some() {
        events |= pg_sys::WL_SOCKET_READABLE;
    }
    // SAFETY: the process's own latch, on its main thread; the descriptor is open.
    let happened = unsafe {
        pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as i32,
            readable.unwrap_or(pg_sys::PGINVALID_SOCKET),
            timeout.as_millis().min(i32::MAX as u128) as i64,
            pg_sys::PG_WAIT_EXTENSION,
        ) as u32
    };
    if happened & pg_sys::WL_LATCH_SET != 0 {
        // SAFETY: as above. Reset before the work is looked for, so that no wake-up is lost.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
    }
    check_for_interrupts();
    Woken {
        latch: happened & pg_sys::WL_LATCH_SET != 0,
        readable: happened & pg_sys::WL_SOCKET_READABLE != 0,
    }
}

/// Sleeps until the descriptor is readable or `timeout` is over; wake-ups stay for the next
/// `wait`. For short times: SIGTERM counts only afterwards.
pub fn rest(timeout: Duration, readable: Option<std::os::fd::RawFd>) {
    // poll(2) passes over negative descriptors.
    let mut poll = libc::pollfd { fd: readable.unwrap_or(-1), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd. An interrupted call only makes the sleep shorter.
    unsafe { libc::poll(&mut poll, 1, timeout.as_micros().div_ceil(1000) as i32) };
    check_for_interrupts();
}

/// Ends the process if SIGTERM came.
fn check_for_interrupts() {
    without_cancels(|| {
        pgrx::check_for_interrupts!();
    });
}

/// A line in the server's log, from outside a transaction.
pub fn log(line: &str) {
    without_cancels(|| pgrx::log!("{line}"));
}

/// Outside a transaction a cancel has nothing to cancel, and would end the process: PostgreSQL looks
/// for one at the end of each log line, too. One that comes meanwhile is forgotten.
fn without_cancels(body: impl FnOnce()) {
    // SAFETY: plain globals of the main thread; an ERROR or the end of the process resets the count.
    unsafe { pg_sys::QueryCancelHoldoffCount += 1 };
    body();
    // SAFETY: as above.
    unsafe {
        pg_sys::QueryCancelHoldoffCount -= 1;
        pg_sys::QueryCancelPending = 0;
    }
}

/// Reads the configuration file again if SIGHUP came; true when it did.
pub fn reload_settings() -> bool {
    let reloaded = BackgroundWorker::sighup_received();
    if reloaded {
        // SAFETY: on the main thread, outside a transaction, as PostgreSQL's processes do it.
        unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
    }
    reloaded
}

/// The database that this process was started for.
pub fn database(argument: pg_sys::Datum) -> pg_sys::Oid {
    pg_sys::Oid::from(argument.value() as u32)
}

/// Starts a process for `database`; it is not restarted by the postmaster, and its end wakes
/// this one. None: no free place (`max_worker_processes`).
pub fn start(
    kind: &str,
    function: &str,
    database: pg_sys::Oid,
    database_name: &str,
) -> Option<DynamicBackgroundWorker> {
    // SAFETY: the handle is palloc'ed and has to outlive this call; the switch is undone below.
    let previous = unsafe {
        let previous = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        previous
    };
    let started = BackgroundWorkerBuilder::new(&format!("{kind}: {database_name}"))
        .set_type(kind)
        .set_library("autovector")
        .set_function(function)
        .set_argument(Some(pg_sys::Datum::from(database)))
        .set_restart_time(None)
        // SAFETY: a plain global.
        .set_notify_pid(unsafe { pg_sys::MyProcPid })
        .enable_spi_access()
        .load_dynamic();
    // SAFETY: restores what was saved above.
    unsafe { pg_sys::CurrentMemoryContext = previous };
    started.ok()
}

/// True until the process has ended.
pub fn is_alive(worker: &DynamicBackgroundWorker) -> bool {
    use pgrx::bgworkers::BackgroundWorkerStatus::NotYetStarted;
    matches!(worker.pid(), Ok(_) | Err(NotYetStarted))
}
