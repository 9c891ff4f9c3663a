//! Documents are read in processes that may crash, hang and run out of memory: each costs its
//! document and nobody else.
//!
//! A *nursery* is forked off while its parent has one thread, and does nothing but fork one
//! *reader* for each document: so no fork ever happens beside other threads. A reader gets the
//! document through a socket, lowers its own limits (memory, processor, clock, files), and answers
//! with the text or a reason. The handlers of its last signals say why it dies. When the parent is
//! gone the nursery sees the end of its socket, and the readers go with the nursery.

mod nursery;
mod reader;
mod wire;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::wire::{Answer, Request};
use crate::{How, Limits, Unreadable};

/// Beside the time of the document itself: starting a process on a busy machine.
const GRACE: Duration = Duration::from_secs(10);

/// Why there is no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The document is to blame.
    Unreadable(Unreadable),
    /// Nobody can read any document now.
    Gone(String),
}

/// Reads documents for the threads of one process.
pub struct Readers {
    #[cfg(test)]
    nursery: libc::pid_t,
    control: OwnedFd,
    free: Mutex<usize>,
    freed: Condvar,
    gone: AtomicBool,
}

impl Readers {
    /// Forks the nursery, for `at_once` documents at a time. `in_child` runs in it first and lets go
    /// of what a child must not hold; open files and signals are seen to here.
    ///
    /// # Safety
    /// This process has no other thread: what another one holds at this moment, such as a lock of
    /// the allocator, would be held for ever in the child.
    pub unsafe fn start(at_once: usize, in_child: impl FnOnce()) -> io::Result<Readers> {
        let (ours, theirs) = wire::pair()?;
        // SAFETY: the caller's promise; the child never returns from `run`.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // The child must not come back into its parent's code, whatever happens.
                let _ = catch_unwind(AssertUnwindSafe(|| nursery::run(theirs, in_child)));
                // SAFETY: ends the child without its parent's handlers.
                unsafe { libc::_exit(2) }
            }
            _nursery => Ok(Readers {
                #[cfg(test)]
                nursery: _nursery,
                control: ours,
                free: Mutex::new(at_once.max(1)),
                freed: Condvar::new(),
                gone: AtomicBool::new(false),
            }),
        }
    }

    /// The text of a document; waits for its turn.
    pub fn read(&self, bytes: &[u8], how: How, limits: &Limits) -> Result<String, Trouble> {
        if bytes.len() as u64 > limits.size {
            return Err(Trouble::Unreadable(too_large(bytes.len() as u64, limits)));
        }
        let _turn = self.turn();
        let gone = |error: io::Error| {
            Trouble::Gone(format!("no process can be started that reads documents: {error}"))
        };
        let (mut stream, theirs) = UnixStream::pair().map_err(gone)?;
        let request = Request { how, limits: *limits, length: bytes.len() as u64 };
        wire::send(self.control.as_raw_fd(), &request, theirs.as_raw_fd()).map_err(|error| {
            self.gone.store(true, Ordering::Relaxed);
            gone(error)
        })?;
        drop(theirs);
        let deadline = Instant::now() + limits.time * 2 + GRACE;
        let mut answer = Vec::new();
        let done = exchange(&mut stream, bytes, &mut answer, limits, deadline);
        match Answer::parse(&answer) {
            Some(Answer::Text(text)) => Ok(text),
            Some(Answer::Unreadable(why)) => Err(Trouble::Unreadable(Unreadable(why))),
            Some(Answer::NoProcess) => Err(Trouble::Gone(
                "no process can be started that reads documents: the server is out of them".to_owned(),
            )),
            Some(ended) => Err(Trouble::Unreadable(Unreadable(ended.explain(limits)))),
            None if done.is_err() => Err(Trouble::Unreadable(Unreadable(Answer::OutOfTime.explain(limits)))),
            // It died before it started a reader for the request, or took the reader along.
            None if wire::is_closed(self.control.as_raw_fd()) => {
                self.gone.store(true, Ordering::Relaxed);
                Err(gone(ErrorKind::BrokenPipe.into()))
            }
            None => Err(Trouble::Unreadable(Unreadable(
                "the process that read the document was killed".to_owned(),
            ))),
        }
    }

    /// The nursery has ended: nothing can be read any more by this process.
    pub fn are_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn turn(&self) -> Turn<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Turn(self)
    }
}

struct Turn<'a>(&'a Readers);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// What a document of too many bytes is told.
pub fn too_large(bytes: u64, limits: &Limits) -> Unreadable {
    Unreadable(format!("the document has {bytes} bytes, more than the {} that are allowed", limits.size))
}

/// Sends the document and reads the answer to its end.
fn exchange(
    stream: &mut UnixStream,
    document: &[u8],
    answer: &mut Vec<u8>,
    limits: &Limits,
    deadline: Instant,
) -> io::Result<()> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut rest = document;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left()?))?;
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            // It has ended; what it said is still there to be read.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => break,
            Err(error) => return Err(error),
        }
    }
    let most = wire::longest_answer(limits);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) if answer.len() + read > most => return Ok(()),
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a document is blamed, for good, for the end of the process that was to have it read:
    /// the request is on its way when that process is killed.
    #[test]
    fn who_asks_a_dying_nursery_is_not_to_blame() {
        let limits = Limits { size: 1000, text: 1000, memory: 128 << 20, time: Duration::from_secs(20) };
        // SAFETY: the other threads of a test hold no lock that reading needs.
        let readers = unsafe { Readers::start(1, || ()) }.unwrap();
        assert_eq!(readers.read(b"one", How::Text, &limits), Ok("one".to_owned()));
        // SAFETY: signals to a child that nobody else waits for; it has stopped when this returns.
        unsafe {
            libc::kill(readers.nursery, libc::SIGSTOP);
            libc::waitpid(readers.nursery, std::ptr::null_mut(), libc::WUNTRACED);
        }
        let answer = std::thread::scope(|scope| {
            let read = scope.spawn(|| readers.read(b"two", How::Text, &limits));
            // The request stands in the socket once its sender waits for the answer.
            let mut waiting: libc::c_int = 0;
            while waiting == 0 && !read.is_finished() {
                // SAFETY: writes one number.
                unsafe { libc::ioctl(readers.control.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) };
                std::thread::yield_now();
            }
            // SAFETY: as above.
            unsafe { libc::kill(readers.nursery, libc::SIGKILL) };
            read.join().unwrap()
        });
        assert!(matches!(answer, Err(Trouble::Gone(_))), "{answer:?}");
        assert!(readers.are_gone());
        assert!(matches!(readers.read(b"three", How::Text, &limits), Err(Trouble::Gone(_))));
    }
}
