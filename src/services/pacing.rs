//! Rate budgets at work: an embedder that sends no request before its vectorizer's pacer allows it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use autovector_domain::failure::Failure;
use autovector_domain::pacing::{Pacer, Rates};
use autovector_providers::{Embedder, Embeddings, Limits, Purpose};

/// A pacer with a clock, shared by the requests of one vectorizer. It outlives its provider, which
/// is opened anew now and then.
pub struct SharedPacer {
    started: Instant,
    pacer: Mutex<Pacer>,
}

impl SharedPacer {
    pub fn new(rates: Rates) -> Arc<Self> {
        Arc::new(SharedPacer {
            started: Instant::now(),
            pacer: Mutex::new(Pacer::new(rates, Duration::ZERO)),
        })
    }

    pub fn rates(&self) -> Rates {
        self.lock().rates()
    }

    /// How long until another request may go.
    pub fn wait(&self) -> Duration {
        self.lock().wait(self.started.elapsed())
    }

    /// The time from one request to the next at the steady rate.
    pub fn interval(&self) -> Duration {
        self.lock().interval()
    }

    fn lock(&self) -> MutexGuard<'_, Pacer> {
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `inner`, no faster than `pacer` allows.
pub struct Paced {
    inner: Arc<dyn Embedder>,
    pacer: Arc<SharedPacer>,
    aborted: Mutex<bool>,
    abort: Condvar,
}

impl Paced {
    pub fn new(inner: Arc<dyn Embedder>, pacer: Arc<SharedPacer>) -> Self {
        Paced { inner, pacer, aborted: Mutex::default(), abort: Condvar::new() }
    }

    /// Waits for the request's turn; false when nobody wants its answer any more.
    fn wait(&self, time: Duration) -> bool {
        let aborted = self.aborted.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.abort.wait_timeout_while(aborted, time, |aborted| !*aborted);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Embedder for Paced {
    fn embed(&self, inputs: &[&str], purpose: Purpose) -> Result<Embeddings, Failure> {
        let estimated = inputs.iter().map(|input| self.inner.count_tokens(input)).sum();
        let wait = self.pacer.lock().take(estimated, self.pacer.started.elapsed());
        if !self.wait(wait) {
            return Err(Failure::request("the request was given up before it was sent"));
        }
        let answer = self.inner.embed(inputs, purpose);
        if let Ok(answer) = &answer
            && answer.tokens > 0
        {
            self.pacer.lock().correct(estimated, answer.tokens as usize);
        }
        answer
    }

    /// No request is larger than a minute's budget.
    fn limits(&self) -> Limits {
        let limits = self.inner.limits();
        let most = self.pacer.rates().tokens.map_or(usize::MAX, |tokens| tokens as usize);
        Limits { tokens: limits.tokens.min(most), ..limits }
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.inner.count_tokens(text)
    }

    fn longest(&self) -> Option<usize> {
        self.inner.longest()
    }

    fn dimensions(&self) -> Option<usize> {
        self.inner.dimensions()
    }

    fn default_concurrency(&self) -> usize {
        self.inner.default_concurrency()
    }

    fn abort(&self) {
        *self.aborted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.abort.notify_all();
        self.inner.abort();
    }
}
