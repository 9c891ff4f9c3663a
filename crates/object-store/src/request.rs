//! One signed request, and its attempts.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use autovector_domain::failure::Failure;
use autovector_providers::http::{Answer, Request};
use jiff::Timestamp;
use rusty_s3::{Method, signing};

use crate::{Error, Result, SMALL, Store, xml};

/// How often a request is made before its fault is believed.
pub(crate) const ATTEMPTS: u32 = 6;
/// The pause after the first attempt; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A service that asks for a longer pause gets this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// How long a signature is good for: longer than any request takes.
const VALID_SECONDS: u64 = 3600;
/// Between two looks whether the caller still waits.
const TICK: Duration = Duration::from_millis(10);

pub(crate) type Body = Arc<Vec<u8>>;

/// A piece of work for a thread.
pub type Work = Box<dyn FnOnce() + Send>;

/// How the caller's process runs requests that it may give up on.
#[derive(Clone, Default)]
pub struct Host {
    watch: Option<Watch>,
}

#[derive(Clone)]
struct Watch {
    spawn: fn(Work) -> io::Result<()>,
    go_on: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Host {
    /// Requests run on threads that `spawn` starts. `go_on` is asked about every ten milliseconds
    /// by the thread that waits; it may unwind, or return false: then the request ends with
    /// `Error::Stopped`, and its answer is not looked at.
    pub fn watched(
        spawn: fn(Work) -> io::Result<()>,
        go_on: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Host {
        Host { watch: Some(Watch { spawn, go_on: Arc::new(go_on) }) }
    }

    /// The same, but ends also when `more` says so.
    pub fn and(&self, more: impl Fn() -> bool + Send + Sync + 'static) -> Host {
        let Some(watch) = self.watch.clone() else { return Host::default() };
        let go_on = watch.go_on.clone();
        Host { watch: Some(Watch { spawn: watch.spawn, go_on: Arc::new(move || more() && go_on()) }) }
    }

    fn goes_on(&self) -> bool {
        self.watch.as_ref().is_none_or(|watch| (watch.go_on)())
    }
}

/// What is asked of the service.
#[derive(Clone)]
pub(crate) struct Action {
    method: Method,
    key: String,
    /// Sorted by name, as the signature wants it.
    query: Vec<(String, String)>,
    headers: Vec<(&'static str, String)>,
    body: Body,
    cap: u64,
}

impl Action {
    /// `key` is empty where the bucket itself is meant.
    pub fn new(method: Method, key: &str) -> Action {
        let (query, headers, body) = (Vec::new(), Vec::new(), Body::default());
        Action { method, key: key.to_owned(), query, headers, body, cap: SMALL }
    }

    pub fn query(mut self, name: &str, value: &str) -> Action {
        self.query.push((name.to_owned(), value.to_owned()));
        self.query.sort();
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Action {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: Body) -> Action {
        self.body = body;
        self
    }

    pub fn cap(mut self, cap: u64) -> Action {
        self.cap = cap;
        self
    }
}

/// Whether an attempt is worth another one.
enum Outcome {
    Final(Result<Answer>),
    Again(Error, Option<Duration>),
}

impl Store {
    /// Makes a request, as often as it takes.
    pub(crate) fn call(&self, action: &Action) -> Result<Answer> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let outcome = self.judge(action, self.attempt(action)?);
            match outcome {
                Outcome::Final(result) => return result,
                Outcome::Again(error, _) if attempt >= self.attempts => return Err(error),
                Outcome::Again(_, asked) => self.pause(asked.unwrap_or(pause).min(LONGEST_PAUSE))?,
            }
            pause *= 2;
        }
        unreachable!("attempts are counted")
    }

    /// One attempt. The outer error is the caller's wish to stop.
    fn attempt(&self, action: &Action) -> Result<std::result::Result<Answer, Failure>> {
        let Some(watch) = &self.host.watch else { return Ok(self.send(action)) };
        let (sender, receiver) = sync_channel(1);
        let (store, action) = (self.clone(), action.clone());
        let work: Work = Box::new(move || {
            let answer = store.send(&action);
            // What was lent is given back before the answer: the caller may want it whole again.
            drop((store, action));
            sender.send(answer).ok();
        });
        (watch.spawn)(work).map_err(|error| Error::Unreachable(format!("cannot start a thread: {error}")))?;
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) if self.host.goes_on() => {}
                Err(RecvTimeoutError::Timeout) => return Err(Error::Stopped),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Unreachable("the thread of a request panicked".to_owned()));
                }
            }
        }
    }

    fn send(&self, action: &Action) -> std::result::Result<Answer, Failure> {
        let inner = &self.inner;
        let url = if action.key.is_empty() {
            inner.bucket.base_url().clone()
        } else {
            inner.bucket.object_url(&action.key)
        };
        let url = signing::sign(
            &Timestamp::now(),
            action.method,
            url,
            inner.credentials.key_id.expose(),
            inner.credentials.secret_key.expose(),
            inner.credentials.session_token.as_ref().map(|token| token.expose()),
            inner.bucket.region(),
            VALID_SECONDS,
            action.query.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            std::iter::empty(),
        );
        // Compressed answers would have other lengths than those that were asked for.
        let mut headers = vec![("accept-encoding", "identity"), ("accept", "*/*")];
        headers.extend(action.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let method = action.method.to_str();
        inner.client.send(&Request {
            method,
            url: &url,
            headers: &headers,
            body: &action.body,
            cap: action.cap,
        })
    }

    fn judge(&self, action: &Action, answer: std::result::Result<Answer, Failure>) -> Outcome {
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure @ Failure::Request { .. }) => return Outcome::Again(failure.into(), None),
            Err(failure) => return Outcome::Final(Err(failure.into())),
        };
        let code = if answer.status == 200 && action.method != Method::Post {
            None
        } else {
            xml::code(&answer.body)
        };
        // Ending an upload answers 200 before it knows whether it will succeed.
        if (200..300).contains(&answer.status) && code.is_none() {
            return Outcome::Final(Ok(answer));
        }
        let origin = self.inner.client.endpoint().origin();
        let code = code.map_or(String::new(), |code| format!(" {code}"));
        let what = format!("{origin} refused the request: {}{code}", answer.status);
        let asked = answer.header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let place = if action.key.is_empty() { self.bucket() } else { &action.key };
        Outcome::Final(Err(match answer.status {
            404 if code == " NoSuchBucket" => {
                Error::Missing(format!("bucket \"{}\" does not exist", self.bucket()))
            }
            404 => Error::Missing(format!("\"{place}\" does not exist in the object store")),
            412 => Error::Exists(format!("\"{place}\" is there already, or has changed")),
            401 | 403 => Error::Denied(what),
            301 | 302 | 307 | 308 => {
                Error::Refused(format!("{what}: the bucket lies in another region or at another endpoint"))
            }
            501 => Error::Refused(what),
            200..=299 | 408 | 409 | 429 | 500..=599 => {
                return Outcome::Again(Error::Unreachable(what), asked);
            }
            _ => Error::Refused(what),
        }))
    }

    /// Waits; ends early with `Error::Stopped`.
    fn pause(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        let (_nobody, receiver) = sync_channel::<()>(0);
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if !self.host.goes_on() {
                return Err(Error::Stopped);
            }
            // Nobody sends: it is the clock that is waited for.
            let _ = receiver.recv_timeout(left.min(TICK));
        }
        Ok(())
    }
}
