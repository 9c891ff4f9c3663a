//! The threads that call providers and run models. They never touch PostgreSQL: work goes in
//! and results come out as plain data, and a descriptor tells the main thread that there are
//! some. All signals are blocked in them, so that handlers run on the main thread alone.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use autovector_domain::failure::Failure;

use crate::services::batch::{self, Batch, Embedded};
use crate::store::completion::{FinishedRow, Outcome, Usage};
use crate::store::latch::with_signals_blocked;

/// Threads of one worker process; a thread waits for one request at a time.
const MAX_THREADS: usize = 64;

struct Job {
    id: u64,
    batch: Batch,
}

pub struct Threads {
    jobs: Sender<Job>,
    queue: Arc<Mutex<Receiver<Job>>>,
    results: Receiver<(u64, Embedded)>,
    finished: Sender<(u64, Embedded)>,
    ready: Arc<OwnedFd>,
    started: usize,
    busy: usize,
}

impl Threads {
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: eventfd returns a new descriptor or -1, which is checked before it is owned.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: see above; nobody else owns it.
        let ready = Arc::new(unsafe { OwnedFd::from_raw_fd(descriptor) });
        let (jobs, queue) = channel();
        let (finished, results) = channel();
        let queue = Arc::new(Mutex::new(queue));
        Ok(Threads { jobs, queue, results, finished, ready, started: 0, busy: 0 })
    }

    /// Readable while there are results.
    pub fn descriptor(&self) -> RawFd {
        self.ready.as_raw_fd()
    }

    /// Room for more batches.
    pub fn has_room(&self) -> bool {
        self.busy < MAX_THREADS
    }

    pub fn submit(&mut self, id: u64, batch: Batch) {
        if self.busy == self.started {
            self.start();
        }
        self.busy += 1;
        self.jobs.send(Job { id, batch }).expect("this struct holds the receiver");
    }

    /// The next result, if there is one.
    pub fn next(&mut self) -> Option<(u64, Embedded)> {
        let result = self.results.try_recv().ok()?;
        self.busy -= 1;
        Some(result)
    }

    /// Empties the descriptor; call it before taking the results.
    pub fn clear(&self) {
        let mut counter = 0u64;
        // SAFETY: reads eight bytes into an eight-byte integer. EAGAIN means that it is empty.
        unsafe { libc::read(self.descriptor(), (&raw mut counter).cast(), size_of::<u64>()) };
    }

    fn start(&mut self) {
        let (queue, finished, ready) = (self.queue.clone(), self.finished.clone(), self.ready.clone());
        let run = move || {
            loop {
                let job = match queue.lock() {
                    Ok(queue) => queue.recv(),
                    Err(_) => return,
                };
                let Ok(job) = job else { return };
                let result = (job.id, run_job(job.batch));
                if finished.send(result).is_err() {
                    return;
                }
                let one = 1u64;
                // SAFETY: writes eight bytes from an eight-byte integer; the counter cannot
                // overflow with so few results.
                unsafe { libc::write(ready.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
            }
        };
        let spawned =
            with_signals_blocked(|| std::thread::Builder::new().name("autovector".to_owned()).spawn(run));
        match spawned {
            Ok(_) => self.started += 1,
            // The job waits for a thread that there is; with none at all it never runs.
            Err(error) if self.started > 0 => pgrx::log!("autovector cannot start another thread: {error}"),
            Err(error) => pgrx::error!("autovector cannot start a thread: {error}"),
        }
    }
}

/// A panic costs the batch, not the process.
fn run_job(batch: Batch) -> Embedded {
    let keys: Vec<_> = batch.rows.iter().map(|row| (row.key.clone(), row.generation)).collect();
    catch_unwind(AssertUnwindSafe(|| batch::embed(batch))).unwrap_or_else(|_| Embedded {
        rows: keys
            .into_iter()
            .map(|(key, generation)| FinishedRow { key, generation, outcome: Outcome::Unfinished, cut: 0 })
            .collect(),
        usage: Usage::default(),
        failure: Some(Failure::request("the provider's code panicked; the server's log says where")),
    })
}
