//! A scripted embedding provider over real HTTP on the loopback interface. It answers well
//! unless a [`Rule`] says otherwise, and writes down every call.

mod calls;
mod http;
mod rules;
mod vectors;
mod wire;

use std::{
    io::{BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::wait::wait_until;
use rules::{Action, Script, linger};
use wire::Format;

pub use calls::{Call, Outcome, count_inputs};
pub use rules::{Gate, Rule};
pub use vectors::expected_vector;
pub use wire::Shape;

/// Components of a vector when the request names no dimension.
pub const DEFAULT_DIMENSIONS: usize = 8;

/// A running provider. Dropping it closes every connection.
pub struct Provider {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    port: AtomicU16,
    stopped: AtomicBool,
    latency_us: AtomicU64,
    dimensions: AtomicUsize,
    forget_inputs: AtomicBool,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    script: Mutex<Script>,
    calls: Mutex<Vec<Call>>,
    gates: Mutex<Vec<Gate>>,
}

impl Provider {
    /// Starts on a free port.
    pub fn start() -> Provider {
        Provider::start_on(0)
    }

    /// Starts on `port`, for example one that [`Provider::port`] named before it was stopped.
    pub fn start_on(port: u16) -> Provider {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .unwrap_or_else(|error| panic!("cannot listen on port {port}: {error}"));
        let shared = Arc::new(Shared::default());
        let port = listener.local_addr().expect("a bound socket has an address").port();
        shared.port.store(port, Ordering::Relaxed);
        shared.dimensions.store(DEFAULT_DIMENSIONS, Ordering::Relaxed);
        let for_thread = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &for_thread));
        Provider { shared, acceptor: Some(acceptor) }
    }

    pub fn port(&self) -> u16 {
        self.shared.port.load(Ordering::Relaxed)
    }

    /// `base_url` of an OpenAI configuration.
    pub fn openai_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port())
    }

    /// `base_url` of an Ollama configuration.
    pub fn ollama_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// `base_url` of any other provider: the path of its API, such as `/mistral/v1`, stands
    /// behind it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port())
    }

    /// How long every answer takes from now on, on top of what a rule says.
    pub fn set_latency(&self, latency: Duration) {
        let micros = latency.as_micros().try_into().expect("a latency of less than 500,000 years");
        self.shared.latency_us.store(micros, Ordering::Relaxed);
    }

    /// Components of a vector when the request does not name a number.
    pub fn set_dimensions(&self, dimensions: usize) {
        self.shared.dimensions.store(dimensions, Ordering::Relaxed);
    }

    /// Keeps calls without their inputs: for runs with millions of rows.
    pub fn forget_inputs(&self) {
        self.shared.forget_inputs.store(true, Ordering::Relaxed);
    }

    /// Adds a rule; it comes before those that are there.
    pub fn rule(&self, rule: Rule) {
        lock(&self.shared.script).add(rule);
    }

    /// Holds what `rule` matches at a gate.
    pub fn hold(&self, rule: Rule) -> Gate {
        let gate = Gate::default();
        lock(&self.shared.gates).push(gate.clone());
        self.rule(rule.held_at(gate.clone()));
        gate
    }

    /// Removes every rule. Requests at a gate stay there until it is released.
    pub fn clear_rules(&self) {
        lock(&self.shared.script).clear();
    }

    /// The calls so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// The number of calls so far.
    pub fn call_count(&self) -> usize {
        lock(&self.shared.calls).len()
    }

    /// How often `input` was sent, answered or not.
    pub fn times_sent(&self, input: &str) -> usize {
        self.count(input, |_| true)
    }

    /// How often `input` was answered with a vector.
    pub fn times_answered(&self, input: &str) -> usize {
        self.count(input, Call::was_answered)
    }

    fn count(&self, input: &str, accept: impl Fn(&Call) -> bool) -> usize {
        let calls = lock(&self.shared.calls);
        let inputs = calls.iter().filter(|call| accept(call)).flat_map(|call| call.inputs.iter());
        inputs.filter(|other| *other == input).count()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        // Calls in flight write their outcome at their index: only finished logs are cleared.
        wait_until("no call in flight", Duration::from_secs(30), || self.in_flight() == 0);
        lock(&self.shared.calls).clear();
    }

    /// Waits until no request is in flight. An answer has arrived a moment before the provider
    /// sees that it has.
    pub fn wait_until_at_rest(&self) {
        crate::wait_until("the provider is at rest", Duration::from_secs(10), || self.in_flight() == 0);
    }

    /// Requests that are being answered now.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// The most requests that were ever in flight at once.
    pub fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for gate in lock(&self.shared.gates).iter() {
            gate.release();
        }
        // accept() only returns for a connection.
        let woken = TcpStream::connect(("127.0.0.1", self.port()));
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take())
            && acceptor.join().is_err()
        {
            eprintln!("the provider's accepting thread panicked");
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopped() {
            return;
        }
        // A client that is gone before it was accepted is none of the provider's business.
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            if let Err(error) = serve(stream, &shared)
                && !client_went_away(&error)
            {
                eprintln!("scripted provider: {error}");
            }
        });
    }
}

fn client_went_away(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// Serves one connection until either end closes it.
fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    while wait_for_bytes(&mut reader, shared)? {
        let Some(request) = http::read_request(&mut reader)? else { break };
        let stay = answer(&request, reader.get_mut(), shared)?;
        if !stay || request.wants_close() {
            break;
        }
    }
    match reader.get_ref().shutdown(Shutdown::Both) {
        Err(error) if !client_went_away(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Waits for the next request. False when the client or the provider has finished.
fn wait_for_bytes(reader: &mut BufReader<TcpStream>, shared: &Shared) -> std::io::Result<bool> {
    use std::io::{BufRead, ErrorKind::TimedOut, ErrorKind::WouldBlock};
    reader.get_ref().set_read_timeout(Some(Duration::from_millis(200)))?;
    let more = loop {
        match reader.fill_buf() {
            Ok(bytes) => break !bytes.is_empty(),
            Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => {
                if shared.is_stopped() {
                    break false;
                }
            }
            Err(error) => return Err(error),
        }
    };
    reader.get_ref().set_read_timeout(None)?;
    Ok(more)
}

/// Answers one request. False when the connection must not be used again.
fn answer(request: &http::Request, stream: &mut TcpStream, shared: &Shared) -> std::io::Result<bool> {
    let Some(format) = Format::of(&request.path) else {
        // What a client asks beside embeddings: the list of models, a health check.
        let status = if request.method == "GET" { 200 } else { 404 };
        stream.write_all(&http::response(status, &[], br#"{"object":"list","data":[],"models":[]}"#))?;
        return Ok(true);
    };
    let asked = match wire::read(&request.body) {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("scripted provider: unreadable request: {error}");
            stream.write_all(&http::response(400, &[], br#"{"error":{"message":"unreadable"}}"#))?;
            return Ok(true);
        }
    };
    let verdict = lock(&shared.script).judge(&asked.inputs);
    let ticket = shared.begin(request, &asked);
    let _guard = InFlight { shared, ticket };
    let (latency, headers, action) = match verdict {
        Some(verdict) => (verdict.latency, verdict.headers, verdict.action),
        None => (Duration::ZERO, Vec::new(), Action::Answer(Shape::Right)),
    };
    let latency = latency + Duration::from_micros(shared.latency_us.load(Ordering::Relaxed));
    let stopped = || shared.is_stopped();
    if !linger(latency, stream, stopped) {
        return Ok(false);
    }
    let dimensions = asked.dimensions.unwrap_or_else(|| shared.dimensions.load(Ordering::Relaxed));
    let good = |shape| wire::answer(format, &asked, dimensions, shape).into_bytes();
    let (status, body) = match action {
        Action::Answer(shape) => (200, good(shape)),
        Action::Status(status, body) => (status, body.into_bytes()),
        Action::Garbage(bytes) => (200, bytes),
        Action::Hold(gate) => {
            if !gate.pass(&asked.inputs, stream, stopped) || shared.is_stopped() {
                return Ok(false);
            }
            (200, good(Shape::Right))
        }
        Action::Silence => {
            linger(Duration::MAX, stream, stopped);
            return Ok(false);
        }
        Action::Drip(pause) => {
            for byte in http::response(200, &headers, &good(Shape::Right)) {
                if !linger(pause, stream, stopped) {
                    return Ok(false);
                }
                stream.write_all(&[byte])?;
            }
            shared.finish(ticket, Outcome::Status(200));
            return Ok(true);
        }
        Action::Flood => {
            stream.write_all(&http::head(200, &headers, None))?;
            stream.write_all(br#"{"data":["#)?;
            while !shared.is_stopped() {
                stream.write_all(&[b' '; 64 << 10])?;
            }
            return Ok(false);
        }
        Action::Reset => {
            // Without lingering, closing sends RST instead of FIN.
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
    };
    // The log says so before the client can know: a test that saw the effect finds the cause.
    shared.finish(ticket, Outcome::Status(status));
    stream.write_all(&http::response(status, &headers, &body))?;
    Ok(true)
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Writes a call down; returns its place in the log.
    fn begin(&self, request: &http::Request, asked: &wire::Asked) -> usize {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let keep = !self.forget_inputs.load(Ordering::Relaxed);
        let inputs = if keep { asked.inputs.clone() } else { Vec::new() };
        let mut calls = lock(&self.calls);
        calls.push(Call {
            at: Instant::now(),
            path: request.path.clone(),
            model: asked.model.clone(),
            inputs: Arc::new(inputs),
            authorization: ["authorization", "api-key", "x-goog-api-key"]
                .iter()
                .find_map(|name| request.header(name))
                .map(str::to_owned),
            outcome: Outcome::InFlight,
        });
        calls.len() - 1
    }

    fn finish(&self, ticket: usize, outcome: Outcome) {
        if let Some(call) = lock(&self.calls).get_mut(ticket) {
            call.outcome = outcome;
        }
    }
}

/// Counts a call as in flight; whatever has no outcome at the end was lost.
struct InFlight<'a> {
    shared: &'a Shared,
    ticket: usize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(call) = lock(&self.shared.calls).get_mut(self.ticket)
            && call.outcome == Outcome::InFlight
        {
            call.outcome = Outcome::Lost;
        }
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
