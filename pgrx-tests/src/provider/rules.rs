//! Scripts: which requests are answered in another way than well, and gates that hold
//! requests until the test lets them go.

use std::{
    net::TcpStream,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use super::wire::Shape;
use crate::wait::wait_until;

/// What happens to a request that a rule matches.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Answered well, in a certain shape.
    Answer(Shape),
    /// A status with a body.
    Status(u16, String),
    /// 200 with these bytes.
    Garbage(Vec<u8>),
    /// The good answer, one byte per pause.
    Drip(Duration),
    /// A status line and headers, then a body that never ends.
    Flood,
    /// Nothing at all, until the client gives up.
    Silence,
    /// The connection is reset.
    Reset,
    /// Waits at the gate, then the good answer.
    Hold(Gate),
}

type Predicate = Box<dyn Fn(&[String]) -> bool + Send + Sync>;

/// One line of a script: requests that match are treated so, as often as allowed.
pub struct Rule {
    matches: Predicate,
    remaining: Option<usize>,
    latency: Duration,
    headers: Vec<(String, String)>,
    action: Action,
}

impl Rule {
    /// Matches every request.
    pub fn always() -> Rule {
        Rule::when(|_| true)
    }

    /// Matches requests with an input that contains `word`.
    pub fn containing(word: &str) -> Rule {
        let word = word.to_owned();
        Rule::when(move |inputs| inputs.iter().any(|input| input.contains(&word)))
    }

    /// Matches requests whose inputs satisfy `predicate`.
    pub fn when(predicate: impl Fn(&[String]) -> bool + Send + Sync + 'static) -> Rule {
        Rule {
            matches: Box::new(predicate),
            remaining: None,
            latency: Duration::ZERO,
            headers: Vec::new(),
            action: Action::Answer(Shape::Right),
        }
    }

    /// Holds for the next `count` matching requests only.
    pub fn times(mut self, count: usize) -> Rule {
        self.remaining = Some(count);
        self
    }

    /// Waits that long before anything else.
    pub fn after(mut self, latency: Duration) -> Rule {
        self.latency = latency;
        self
    }

    /// Answers with an HTTP status and a body.
    pub fn status(mut self, code: u16, body: &str) -> Rule {
        self.action = Action::Status(code, body.to_owned());
        self
    }

    /// Answers with a status and OpenAI's error object.
    pub fn error(self, code: u16, message: &str) -> Rule {
        let body = serde_json::json!({"error": {"message": message, "type": "scripted", "code": null}});
        self.status(code, &body.to_string())
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: &str, value: &str) -> Rule {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers 200 with bytes that are no embedding.
    pub fn garbage(mut self, bytes: impl Into<Vec<u8>>) -> Rule {
        self.action = Action::Garbage(bytes.into());
        self
    }

    /// Answers in a shape other than the documented one.
    pub fn shape(mut self, shape: Shape) -> Rule {
        self.action = Action::Answer(shape);
        self
    }

    /// Sends the good answer one byte per `pause`.
    pub fn drips(mut self, pause: Duration) -> Rule {
        self.action = Action::Drip(pause);
        self
    }

    /// Sends a body without end.
    pub fn floods(mut self) -> Rule {
        self.action = Action::Flood;
        self
    }

    /// Never answers.
    pub fn never_answers(mut self) -> Rule {
        self.action = Action::Silence;
        self
    }

    /// Resets the connection.
    pub fn resets(mut self) -> Rule {
        self.action = Action::Reset;
        self
    }

    pub(super) fn held_at(mut self, gate: Gate) -> Rule {
        self.action = Action::Hold(gate);
        self
    }
}

/// What a rule decided about one request.
pub(super) struct Verdict {
    pub latency: Duration,
    pub headers: Vec<(String, String)>,
    pub action: Action,
}

/// The rules in force; later ones come first.
#[derive(Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
}

impl Script {
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The verdict of the newest rule that matches, counted as used.
    pub fn judge(&mut self, inputs: &[String]) -> Option<Verdict> {
        let rule =
            self.rules.iter_mut().rev().find(|rule| rule.remaining != Some(0) && (rule.matches)(inputs))?;
        if let Some(remaining) = &mut rule.remaining {
            *remaining -= 1;
        }
        Some(Verdict { latency: rule.latency, headers: rule.headers.clone(), action: rule.action.clone() })
    }
}

/// A barrier for requests. Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate {
    inner: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Default)]
struct GateState {
    open: bool,
    /// Inputs of the requests that wait here, with a ticket each.
    waiting: Vec<(u64, Vec<String>)>,
    next_ticket: u64,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({} waiting)", self.holding())
    }
}

impl Gate {
    /// How many requests wait here. One whose client has hung up no longer counts.
    pub fn holding(&self) -> usize {
        self.state().waiting.len()
    }

    /// The inputs of all requests that wait here.
    pub fn held_inputs(&self) -> Vec<String> {
        self.state().waiting.iter().flat_map(|(_, inputs)| inputs.clone()).collect()
    }

    /// Waits until at least `count` requests wait here; half a minute at most.
    pub fn wait_until_holding(&self, count: usize) {
        wait_until(&format!("{count} request(s) held at the gate"), Duration::from_secs(30), || {
            self.holding() >= count
        });
    }

    /// Lets all go, those that come later too.
    pub fn release(&self) {
        self.state().open = true;
        self.inner.1.notify_all();
    }

    /// Waits for the release. False if the client hung up or `stopped` came true first.
    pub(super) fn pass(&self, inputs: &[String], client: &TcpStream, stopped: impl Fn() -> bool) -> bool {
        let mut state = self.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push((ticket, inputs.to_vec()));
        let passed = loop {
            if state.open {
                break true;
            }
            let (again, _) = self
                .inner
                .1
                .wait_timeout(state, Duration::from_millis(20))
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            state = again;
            if !state.open && (stopped() || hung_up(client)) {
                break false;
            }
        };
        state.waiting.retain(|(other, _)| *other != ticket);
        passed
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.inner.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Waits `span`, or until the client hangs up or `stopped` comes true. True if nothing came
/// in between.
pub(super) fn linger(span: Duration, client: &TcpStream, stopped: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    loop {
        let left = span.saturating_sub(started.elapsed());
        if left.is_zero() {
            return true;
        }
        thread::park_timeout(left.min(Duration::from_millis(20)));
        if stopped() || hung_up(client) {
            return false;
        }
    }
}

/// Whether the other end has closed or reset the connection.
fn hung_up(client: &TcpStream) -> bool {
    if client.set_nonblocking(true).is_err() {
        return true;
    }
    let seen = client.peek(&mut [0]);
    let restored = client.set_nonblocking(false);
    let gone = match seen {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    gone || restored.is_err()
}
