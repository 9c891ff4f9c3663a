//! The threads on which models run: as many as the setting allows, made when needed, kept while
//! a model is open. Inside a PostgreSQL process a signal must reach the main thread only, so
//! these threads block all signals. It knows nothing of models.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    thread,
};

use autovector_domain::failure::Failure;
use rten::ThreadPool;

/// The threads of this process.
///
/// A model runs on one thread, several texts on several: that uses all processors when there is
/// much to do, and a sum is always formed in the same order, so that a vector never depends on
/// how many threads there are.
#[derive(Debug, Default)]
pub struct Threads {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    busy: usize,
    idle: Vec<Arc<ThreadPool>>,
}

static SHARED: Mutex<Weak<Threads>> = Mutex::new(Weak::new());

impl Threads {
    /// The threads of this process; they end when nobody holds them any more.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let threads = Arc::new(Threads::default());
            *shared = Arc::downgrade(&threads);
            threads
        })
    }

    /// Runs `work` on one of at most `limit` threads; waits while all of them are busy.
    ///
    /// `work` gets the pool that it runs on, for code that would otherwise look for one.
    /// Fails with [`Failure::Request`] where no thread can be started, and with what `panicked`
    /// makes of the message where `work` panics.
    pub fn run<R: Send>(
        &self,
        limit: usize,
        work: impl FnOnce(&Arc<ThreadPool>) -> Result<R, Failure> + Send,
        panicked: impl FnOnce(String) -> Failure,
    ) -> Result<R, Failure> {
        let seat = self.sit_down(limit.max(1))?;
        guarded(|| seat.pool.run(|| work(&seat.pool))).unwrap_or_else(|message| Err(panicked(message)))
    }

    fn sit_down(&self, limit: usize) -> Result<Seat<'_>, Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.busy >= limit {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let pool = match state.idle.pop() {
            Some(pool) => pool,
            None => Arc::new(one_thread()?),
        };
        state.busy += 1;
        Ok(Seat { threads: self, pool, limit })
    }
}

/// A thread in use; given back when dropped.
struct Seat<'a> {
    threads: &'a Threads,
    pool: Arc<ThreadPool>,
    limit: usize,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut state = self.threads.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        // After the setting was lowered the surplus threads end.
        if state.busy + state.idle.len() < self.limit {
            state.idle.push(self.pool.clone());
        }
        drop(state);
        self.threads.freed.notify_one();
    }
}

fn one_thread() -> Result<ThreadPool, Failure> {
    let _blocked = BlockedSignals::new();
    let pool = ThreadPool::with_num_threads(1);
    // Without a thread the pool runs things on the caller's, and asks a global one for help.
    let here = thread::current().id();
    if pool.run(|| thread::current().id()) == here {
        return Err(Failure::request("the system starts no thread for the local model"));
    }
    Ok(pool)
}

/// Runs `work`; a panic becomes its message.
pub fn guarded<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    // What a panic leaves behind is dropped with `work`, or is a lock that is poisoned.
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| message(payload.as_ref()))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown reason").to_owned()
}

/// While it lives, the calling thread blocks all signals; a thread inherits that.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn new() -> Self {
        // SAFETY: both sets are plain memory that the C library fills; the calls change only
        // the calling thread's mask and cannot fail with these arguments.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            BlockedSignals(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `self.0` is the mask that the C library gave.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut());
        }
    }
}
