//! The other end of COPY's pipe: a thread that hashes, compresses and writes, so that the server
//! formats rows meanwhile.

use std::cell::RefCell;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use autovector_backup::Error as Files;
use autovector_backup::ends::Output;
use autovector_backup::names::Compression;
use autovector_backup::rows::to_csv::Sent;
use autovector_backup::stream::{self, Written};

use crate::error::{Error, Kind, Result};
use crate::store::latch;

/// The first error of a thread: it explains what PostgreSQL says about a broken pipe.
#[derive(Clone, Default)]
pub struct Trouble(Rc<RefCell<Option<Error>>>);

impl Trouble {
    pub fn take(&self) -> Option<Error> {
        self.0.borrow_mut().take()
    }

    pub fn set(&self, error: Error) {
        self.0.borrow_mut().get_or_insert(error);
    }
}

pub struct Sink {
    pipe: Option<PipeWriter>,
    result: Receiver<autovector_backup::Result<Written>>,
    thread: Option<JoinHandle<()>>,
    trouble: Trouble,
    stop: Arc<AtomicBool>,
}

/// A pipe whose end is not waited for: after an error PostgreSQL keeps its own descriptor of it
/// open until the transaction has been aborted.
struct Stoppable {
    pipe: PipeReader,
    stop: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(bytes)?;
        if self.stop.load(Ordering::Acquire) { Err(io::Error::other("stopped")) } else { Ok(count) }
    }
}

impl Sink {
    /// Starts a thread that writes what comes through the pipe into `output`: as it is, or as CSV
    /// of these columns where the server sends them one by one.
    pub fn start(
        output: Output,
        compression: Compression,
        columns: Option<Vec<(String, Sent)>>,
        trouble: &Trouble,
    ) -> Result<Sink> {
        let failed = |error: std::io::Error| Error::new(Kind::Io, format!("cannot start a writer: {error}"));
        let (reader, pipe) = std::io::pipe().map_err(failed)?;
        // Larger than the default, so that neither end waits for every row. Not vital.
        stream::widen(&pipe);
        let (sender, result) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let output = output.stopped_by(&stop);
        let mut reader = Stoppable { pipe: reader, stop: stop.clone() };
        let thread = latch::with_signals_blocked(|| {
            std::thread::Builder::new().name("backup writer".to_owned()).spawn(move || {
                let written = stream::write(&mut reader, output, compression, columns.as_deref());
                let given_up = matches!(
                    &written,
                    Err(Files::Store { error: autovector_object_store::Error::Stopped, .. })
                );
                // Nobody listens any more after an error.
                sender.send(written).ok();
                if given_up {
                    // The statement was cancelled while COPY waits for room in the pipe. It looks for
                    // cancels between two rows: it gets there when somebody takes what it writes.
                    std::io::copy(&mut reader, &mut std::io::sink()).ok();
                }
            })
        })
        .map_err(failed)?;
        Ok(Sink { pipe: Some(pipe), result, thread: Some(thread), trouble: trouble.clone(), stop })
    }

    /// The descriptor that COPY writes to.
    pub fn descriptor(&self) -> RawFd {
        self.pipe.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Closes the pipe and waits until the file is durable.
    pub fn finish(mut self) -> Result<Written> {
        self.pipe = None;
        loop {
            match self.result.recv_timeout(Duration::from_millis(10)) {
                Ok(written) => return Ok(written?),
                Err(RecvTimeoutError::Timeout) => {
                    pgrx::check_for_interrupts!();
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(Kind::Internal, "the writer of a backup panicked"));
                }
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(mut pipe) = self.pipe.take() {
            // Wakes the thread from its wait for more; where it has ended, there is nobody to wake.
            let _ = pipe.write(&[0]);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        match self.result.try_recv() {
            Ok(Err(Files::Store { error: autovector_object_store::Error::Stopped, .. })) => {}
            Ok(Err(error @ (Files::Io { code: Some(_), .. } | Files::Store { .. }))) => {
                self.trouble.set(error.into());
            }
            _ => {}
        }
    }
}
