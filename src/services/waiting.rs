//! Waiting inside a session: interrupted at once by Ctrl-C, `statement_timeout` and shutdown.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::store::latch;

/// Sleeps for `time`, or ends the statement when it is cancelled.
pub fn nap(time: Duration) {
    latch::wait(time);
}

/// Runs `work` on a thread and waits for its result. When the statement is cancelled the thread
/// is left to end by itself at its own deadline.
pub fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (sender, receiver) = channel();
    let spawned = latch::with_signals_blocked(|| {
        std::thread::Builder::new().name("autovector".to_owned()).spawn(move || {
            // Nobody listens any more when the statement was cancelled.
            sender.send(work()).ok();
        })
    });
    spawned.map_err(|error| Error::new(Kind::Internal, format!("cannot start a thread: {error}")))?;
    let started = Instant::now();
    loop {
        // Short at first: a local model answers within milliseconds.
        let pause = if started.elapsed() < Duration::from_millis(50) { 1 } else { 10 };
        match receiver.recv_timeout(Duration::from_millis(pause)) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => {
                pgrx::check_for_interrupts!();
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new(
                    Kind::Internal,
                    "the provider's code panicked; the server's log says where",
                ));
            }
        }
    }
}
