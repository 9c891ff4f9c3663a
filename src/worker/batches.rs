//! What a worker holds of each vectorizer and each batch between two transactions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use autovector_domain::backoff::Window;
use autovector_domain::config::VectorizerConfig;
use autovector_domain::failure::Failure;
use autovector_domain::pipeline::Pipeline;
use autovector_providers::Embedder;

use crate::services::batch::{Brake, Embedded};
use crate::services::documents::{self, Documents};
use crate::services::pacing::{Paced, SharedPacer};
use crate::services::provider;
use crate::settings::Settings;
use crate::store::catalog::Vectorizer;
use crate::store::queue::{Lease, Wanted};

/// Rows per batch when the configuration does not say; bounded by what one request may carry.
const DEFAULT_BATCH: usize = 256;
/// The same where rows have documents, which are read one after the other.
const DEFAULT_DOCUMENTS: usize = 8;
/// The time over which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(60);
/// A vectorizer whose provider gave no result for so long holds nobody back.
const STALLED: Duration = Duration::from_secs(10);

/// A vectorizer that this worker serves: its provider is open and its pipeline built.
pub struct Served {
    config: VectorizerConfig,
    may_use_key: bool,
    pub pipeline: Arc<Pipeline>,
    pub embedder: Arc<dyn Embedder>,
    pub dimensions: usize,
    loads_bytes: bool,
    pub documents: Option<Arc<Documents>>,
    pub batch_size: usize,
    /// Batches in flight, and how many there may be.
    pub in_flight: usize,
    pub window: Window,
    pub rate: Rate,
    /// The last claim found nothing; looked at again after a commit or a completion.
    pub exhausted: bool,
    /// The last claim found no changed row; a backfill may go on.
    pub unchanged: bool,
    /// Tokens of the batches in flight, as estimated.
    pub tokens_in_flight: i64,
    /// On while the server is busy.
    pub brake: Arc<Brake>,
    /// When a result came, or the first batch went.
    pub last_result: Instant,
    /// None without rate budgets.
    pacer: Option<Arc<SharedPacer>>,
    /// Somebody held a lock that a claim needs, or the rate budget is used up.
    pub not_before: Instant,
    pub last_used: Instant,
    /// It was told already that texts are cut to the model's length.
    told_of_cuts: bool,
}

impl Served {
    pub fn open(
        v: &Vectorizer,
        settings: &Settings,
        pacers: &mut Pacers,
        shared: &documents::Shared,
    ) -> Result<Self, Failure> {
        let documents = Documents::open(v, settings, shared)?.map(Arc::new);
        let pipeline = Pipeline::new(&v.config).map_err(|e| Failure::config(e.message, e.hint))?;
        let mut embedder = provider::open(&v.config.embedding, v.may_use_key, settings)?;
        let pacer = pacers.of(v);
        if let Some(pacer) = &pacer {
            embedder = Arc::new(Paced::new(embedder, pacer.clone()));
        }
        let dimensions =
            v.config.embedding.dimensions().map(|n| n as usize).or(embedder.dimensions()).unwrap_or(0);
        let default_batch = if documents.is_some() { DEFAULT_DOCUMENTS } else { DEFAULT_BATCH };
        let processing = &v.config.processing;
        let concurrency =
            processing.concurrency.map_or(embedder.default_concurrency(), |n| n as usize).max(1);
        let batch_size =
            processing.batch_size.map_or(default_batch.min(embedder.limits().inputs), |n| n as usize).max(1);
        let now = Instant::now();
        Ok(Served {
            config: v.config.clone(),
            may_use_key: v.may_use_key,
            pipeline: Arc::new(pipeline),
            embedder,
            dimensions,
            loads_bytes: v.loads_bytes,
            documents,
            batch_size,
            in_flight: 0,
            window: Window::new(concurrency),
            rate: Rate::new(now),
            exhausted: false,
            unchanged: false,
            tokens_in_flight: 0,
            brake: Arc::default(),
            pacer,
            last_result: now,
            not_before: now,
            last_used: now,
            told_of_cuts: false,
        })
    }

    /// False when the configuration has changed since: it has to be opened again.
    pub fn is_current(&self, v: &Vectorizer) -> bool {
        self.config == v.config && self.may_use_key == v.may_use_key && self.loads_bytes == v.loads_bytes
    }

    /// True once: texts were longer than the model reads, and were cut.
    pub fn has_news_of_cuts(&mut self, embedded: &Embedded) -> bool {
        let news = !self.told_of_cuts && embedded.rows.iter().any(|row| row.cut > 0);
        self.told_of_cuts |= news;
        news
    }

    pub fn has_room(&self) -> bool {
        self.in_flight < self.window.size()
    }

    /// How long its rate budget keeps it from another batch.
    pub fn paced(&self) -> Duration {
        self.pacer.as_ref().map_or(Duration::ZERO, |pacer| pacer.wait())
    }

    /// When another batch may be claimed after one that was claimed `now`: batches in hand that
    /// wait for their turn would only hold up a pause.
    pub fn next_claim(&self, now: Instant) -> Instant {
        let settled = Duration::from_millis(20);
        self.pacer.as_ref().map_or(self.not_before, |pacer| now + pacer.interval().max(settled))
    }

    /// Looks for work again after a commit or a completion.
    pub fn look_again(&mut self) {
        self.exhausted = false;
        self.unchanged = false;
    }

    /// Whether the last claim of this kind found nothing.
    pub fn is_empty(&self, wanted: Wanted) -> bool {
        self.exhausted || wanted == Wanted::Changes && self.unchanged
    }

    /// Has more to do than it may have in flight, and gets on with it: those of lower priority
    /// wait. One that waits for a slow provider, or may not go faster, does not hold them back.
    pub fn holds_back(&self, wanted: Wanted, now: Instant) -> bool {
        let may_go_on = self.not_before <= now && !self.is_empty(wanted);
        self.in_flight > 0 && may_go_on && now.duration_since(self.last_result) < STALLED
    }
}

/// The pacers of vectorizers with rate budgets. They are kept while the process lives: what was
/// sent counts, whatever becomes of the provider.
#[derive(Default)]
pub struct Pacers(HashMap<i32, Arc<SharedPacer>>);

impl Pacers {
    /// None without rate budgets.
    fn of(&mut self, v: &Vectorizer) -> Option<Arc<SharedPacer>> {
        let rates = v.config.processing.rates;
        if rates.is_unlimited() {
            self.0.remove(&v.id);
            return None;
        }
        let pacer = self.0.entry(v.id).or_insert_with(|| SharedPacer::new(rates));
        if pacer.rates() != rates {
            *pacer = SharedPacer::new(rates);
        }
        Some(pacer.clone())
    }
}

/// A batch between claim and completion.
pub struct InFlight {
    pub vectorizer: Vectorizer,
    pub lease: Lease,
    /// As estimated when it was claimed.
    pub tokens: i64,
}

/// A batch that is embedded but could not be written yet.
pub struct Deferred {
    pub batch: InFlight,
    pub embedded: Embedded,
    pub replace: bool,
    pub attempts: u32,
    pub next: Instant,
}

/// Rows per second over the last moments.
pub struct Rate {
    since: Instant,
    done: VecDeque<(Instant, usize)>,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Rate { since: now, done: VecDeque::new() }
    }

    /// Adds `rows` finished at `now` and returns the rate.
    pub fn add(&mut self, now: Instant, rows: usize) -> f64 {
        self.done.push_back((now, rows));
        while let Some((at, _)) = self.done.front()
            && now.duration_since(*at) > RATE_WINDOW
        {
            self.since = *at;
            self.done.pop_front();
        }
        let total: usize = self.done.iter().map(|(_, rows)| rows).sum();
        let elapsed = now.duration_since(self.since).min(RATE_WINDOW).as_secs_f64();
        total as f64 / elapsed.max(0.001)
    }

    /// Starts measuring anew after a pause.
    pub fn restart(&mut self, now: Instant) {
        self.since = now;
        self.done.clear();
    }
}
