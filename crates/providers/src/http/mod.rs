//! The one HTTP client. It posts JSON to one endpoint and hands back the bytes of the
//! answer, within a deadline and a size. It follows no redirect, reads no proxy from the
//! environment, keeps no cookie, and never shows a key, a header or a query. What the JSON
//! means is the business of the wire formats.

mod call;
mod connect;
mod refusal;
mod waits;

use std::{
    io::{self, Read},
    sync::Arc,
    time::{Duration, Instant},
};

use autovector_domain::{failure::Failure, secret::Secret};
use ureq::{
    Agent, Body, Error,
    config::Config,
    http::Response,
    tls::{Certificate, RootCerts, TlsConfig},
    unversioned::transport::{Connector, RustlsConnector},
};

use self::{
    call::{Call, Phase, State},
    connect::{Denied, Lookup, Ready, ResolveLater, TcpOpener},
};
use crate::{Surroundings, endpoint::Endpoint};

pub(crate) use refusal::tidy;
pub use refusal::{LONGEST_WAIT, Refusal};

/// How much of an error's body is read; its message is at the beginning.
const ERROR_BODY: u64 = 64 * 1024;

/// The most that is reserved on the word of a `Content-Length`.
const FIRST_ALLOCATION: u64 = 16 * 1024 * 1024;

/// Connections kept open between requests: more than any concurrency asks for.
const IDLE_CONNECTIONS: usize = 64;

/// Servers close idle connections after a minute or so; giving them up earlier spares the
/// race between their closing and our sending.
const IDLE_AGE: Duration = Duration::from_secs(20);

/// What went wrong with a request.
#[derive(Debug)]
pub enum HttpError {
    /// The provider answered, and not with 2xx.
    Refused(Box<Refusal>),
    /// There was no answer that could be used.
    Failed(Failure),
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Failure {
        match error {
            HttpError::Refused(refusal) => refusal.failure(),
            HttpError::Failed(failure) => failure,
        }
    }
}

/// The header that carries the key.
#[derive(Debug, Clone)]
pub struct Credential {
    header: &'static str,
    prefix: &'static str,
    secret: Secret,
}

impl Credential {
    /// `Authorization: Bearer <secret>`.
    pub fn bearer(secret: Secret) -> Self {
        Credential { header: "authorization", prefix: "Bearer ", secret }
    }

    /// `<header>: <secret>`.
    pub fn header(header: &'static str, secret: Secret) -> Self {
        Credential { header, prefix: "", secret }
    }
}

/// How long a client waits.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Looking up the name, TCP and TLS together.
    pub connect: Duration,
    /// The whole request, connecting included, however slowly the answer drips.
    pub request: Duration,
}

impl From<&Surroundings> for Timeouts {
    fn from(surroundings: &Surroundings) -> Self {
        Timeouts { connect: surroundings.connect_timeout, request: surroundings.request_timeout }
    }
}

/// What a GET led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Body(Vec<u8>),
    /// The body has more bytes than it may.
    TooLarge,
    Redirect(String),
}

/// A client for one endpoint. Threads share it and its open connections.
pub struct Client {
    agent: Agent,
    endpoint: Endpoint,
    credential: Option<Credential>,
    timeouts: Timeouts,
}

impl Client {
    /// Prepares a client; no connection is opened yet.
    pub fn new(endpoint: Endpoint, credential: Option<Credential>, timeouts: Timeouts) -> Client {
        Client::with_parts(endpoint, credential, timeouts, connect::system_lookup(), None)
    }

    /// `lookup` stands in for the system's name resolution and `roots` for its certificates.
    pub(crate) fn with_parts(
        endpoint: Endpoint,
        credential: Option<Credential>,
        timeouts: Timeouts,
        lookup: Lookup,
        roots: Option<RootCerts>,
    ) -> Client {
        let is_tls = endpoint.url().scheme() == "https";
        let roots = roots.unwrap_or_else(|| if is_tls { trusted_roots() } else { RootCerts::WebPki });
        let config = Config::builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("autovector/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .max_idle_age(IDLE_AGE)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        let opener = TcpOpener { endpoint: endpoint.clone(), lookup };
        let agent =
            Agent::with_parts(config, opener.chain(RustlsConnector::default()).chain(Ready), ResolveLater);
        Client { agent, endpoint, credential, timeouts }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Posts `body` and returns the bytes of a 2xx answer, decompressed.
    ///
    /// `cap` is the most bytes that the answer may have; a longer one is not read to its
    /// end. A request that was sent on a connection from the pool, which the provider
    /// closed without a byte of an answer, is sent once more on a new connection.
    ///
    /// Errors: `Refused` for any other status; `Failed` with `Failure::Request` where no
    /// usable answer came in time, and with `Failure::Config` where the host has only
    /// addresses that the policy does not allow.
    pub fn post_json(&self, body: &[u8], cap: u64) -> Result<Vec<u8>, HttpError> {
        let deadline = Instant::now() + self.timeouts.request;
        let mut avoid_pool = false;
        loop {
            let call = Call::begin(deadline, self.timeouts.connect, avoid_pool);
            let error = match self.exchange(body, cap) {
                Ok(result) => return result,
                Err(error) => error,
            };
            let state = call.state();
            if avoid_pool || state.fresh || state.received > 0 || !is_hang_up(&error) {
                return Err(HttpError::Failed(self.explain(error, state)));
            }
            avoid_pool = true;
        }
    }

    /// Gets `url`, which lies at this client's origin, within the same bounds as `post_json`. No
    /// redirect is followed: where it leads is told instead.
    pub(crate) fn get(&self, url: &str, cap: u64) -> Result<Got, HttpError> {
        let deadline = Instant::now() + self.timeouts.request;
        let mut avoid_pool = false;
        loop {
            let call = Call::begin(deadline, self.timeouts.connect, avoid_pool);
            let error = match self.exchange_get(url, cap) {
                Ok(result) => return result,
                Err(error) => error,
            };
            let state = call.state();
            if avoid_pool || state.fresh || state.received > 0 || !is_hang_up(&error) {
                return Err(HttpError::Failed(self.explain(error, state)));
            }
            avoid_pool = true;
        }
    }

    fn exchange_get(&self, url: &str, cap: u64) -> Result<Result<Got, HttpError>, Error> {
        let response = self.agent.get(url).header("accept", "*/*").call()?;
        let status = response.status();
        if status.is_success() {
            if response.body().content_length().is_some_and(|announced| announced > cap) {
                return Ok(Ok(Got::TooLarge));
            }
            let mut bytes = Vec::new();
            response.into_body().into_reader().take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
            return Ok(Ok(if bytes.len() as u64 > cap { Got::TooLarge } else { Got::Body(bytes) }));
        }
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        if status.is_redirection()
            && let Some(location) = location
        {
            return Ok(Ok(Got::Redirect(location.to_owned())));
        }
        Ok(Err(HttpError::Refused(Box::new(self.read_refusal(response)))))
    }

    /// Ends every request in flight at once; they and all later ones fail. For the thread
    /// that no longer wants the answers of others.
    pub fn shut_down(&self) {
        self.agent.clone().shutdown();
    }

    /// Runs inside a `Call`. The outer error is the transport's, the inner one is final.
    fn exchange(&self, body: &[u8], cap: u64) -> Result<Result<Vec<u8>, HttpError>, Error> {
        let mut request = self.agent.post(self.endpoint.url().as_str()).content_type("application/json");
        if let Some(Credential { header, prefix, secret }) = &self.credential {
            request = request.header(*header, format!("{prefix}{}", secret.expose()));
        }
        let response = request.send(body)?;
        if response.status().is_success() {
            return self.read_answer(response, cap);
        }
        Ok(Err(HttpError::Refused(Box::new(self.read_refusal(response)))))
    }

    fn read_answer(&self, response: Response<Body>, cap: u64) -> Result<Result<Vec<u8>, HttpError>, Error> {
        let announced = response.body().content_length().unwrap_or(0).min(cap).min(FIRST_ALLOCATION);
        let mut bytes = Vec::with_capacity(announced as usize + 1);
        // The limit stands behind the decompression, so a gzip bomb stops here too.
        response.into_body().into_reader().take(cap.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > cap {
            let origin = self.endpoint.origin();
            let message = format!("{origin} sent an answer of more than {cap} bytes");
            return Ok(Err(HttpError::Failed(Failure::request(message))));
        }
        Ok(Ok(bytes))
    }

    fn read_refusal(&self, response: Response<Body>) -> Refusal {
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        let read = body.into_reader().take(ERROR_BODY).read_to_end(&mut bytes);
        if read.is_err() {
            // The status counts, whatever became of its explanation.
            bytes.clear();
        }
        let secret = self.credential.as_ref().map(|c| &c.secret);
        Refusal::new(parts.status.as_u16(), &parts.headers, &bytes, self.endpoint.origin(), secret)
    }

    /// Words an error of the transport. The library's own words are used only where they
    /// cannot hold anything of the request.
    fn explain(&self, error: Error, state: State) -> Failure {
        let origin = self.endpoint.origin();
        let (connect, request) = (self.timeouts.connect, self.timeouts.request);
        let message = match (error, state.phase) {
            (Error::Other(other), _) => match other.downcast::<Denied>() {
                Ok(denied) => return denied.0,
                Err(_) => format!("the request to {origin} failed"),
            },
            (Error::Timeout(_), Phase::Exchange) if state.received > 0 => {
                format!("the answer of {origin} was not complete after {request:?}")
            }
            (Error::Timeout(_), Phase::Exchange) => format!("{origin} did not answer within {request:?}"),
            (Error::Timeout(_), Phase::Resolve) => {
                format!("the name of {origin} was not resolved within {:?}", connect.min(request))
            }
            (Error::Timeout(_), Phase::Connect) => {
                format!("no connection to {origin} within {:?}", connect.min(request))
            }
            (Error::Timeout(_), Phase::Handshake) => {
                format!("no TLS handshake with {origin} within {:?}", connect.min(request))
            }
            (Error::HostNotFound, _) => format!("the name of {origin} has no address"),
            (Error::Io(e), Phase::Resolve) => format!("the name of {origin} cannot be resolved: {e}"),
            (Error::Io(e), Phase::Connect) => format!("cannot connect to {origin}: {e}"),
            (Error::Io(e), Phase::Handshake) => format!("the TLS handshake with {origin} failed: {e}"),
            (Error::Rustls(e), _) => format!("TLS with {origin} failed: {e}"),
            (Error::Tls(e), _) => format!("TLS with {origin} failed: {e}"),
            (Error::Io(e), Phase::Exchange) => match rustls_error(&e) {
                Some(e) => format!("TLS with {origin} failed: {e}"),
                None => format!("the connection to {origin} broke: {}", e.kind()),
            },
            (Error::LargeResponseHeader(..), _) => format!("{origin} sent headers that are too long"),
            (Error::Decompress(..), _) => format!("{origin} sent an answer that cannot be decompressed"),
            _ => format!("{origin} does not answer as an HTTP server should"),
        };
        Failure::request(tidy(&message, self.credential.as_ref().map(|c| &c.secret)))
    }
}

/// The other side closed the connection.
fn is_hang_up(error: &Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error, Error::Io(e) if matches!(e.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe))
}

fn rustls_error(error: &io::Error) -> Option<String> {
    // rustls hands its errors through `io::Error` with the kind InvalidData.
    (error.kind() == io::ErrorKind::InvalidData).then(|| error.to_string())
}

/// The system's certificates, which an operator can add to; the ones built in where the
/// system has none (minimal container images).
fn trusted_roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return RootCerts::WebPki;
    }
    let certificates = found.iter().map(|c| Certificate::from_der(c.as_ref()).to_owned());
    RootCerts::Specific(Arc::new(certificates.collect()))
}

#[cfg(test)]
mod tests;
