//! Requests of other kinds than JSON to a provider: any method, path, header and body, one
//! origin. For object stores; the policy and the deadlines are the same.

use std::{io::Read, time::Instant};

use ureq::{
    Error,
    http::{self, HeaderMap, Method},
};
use url::Url;

use super::{Client, call::Call, is_hang_up};
use autovector_domain::failure::Failure;

/// One request. The URL's query is never shown: it may be signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    pub url: &'a Url,
    pub headers: &'a [(&'a str, &'a str)],
    /// Only sent where the method has one.
    pub body: &'a [u8],
    /// The most bytes that the answer may have.
    pub cap: u64,
}

/// What came back, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    headers: HeaderMap,
}

impl Answer {
    /// The value of a header, if it is plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Client {
    /// Sends a request to the endpoint's origin and reads the whole answer.
    ///
    /// Errors: `Failure::Request` where no complete answer came in time, `Failure::Config` for
    /// another origin and for addresses that the policy does not allow.
    pub fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        if request.url.origin() != self.endpoint.url().origin() {
            return Err(Failure::config(
                "the request leads to another host than was checked".to_owned(),
                "Give the endpoint of the service itself.",
            ));
        }
        let deadline = Instant::now() + self.timeouts.request;
        let mut avoid_pool = false;
        loop {
            let call = Call::begin(deadline, self.timeouts.connect, avoid_pool);
            let error = match self.send_once(request) {
                Ok(answer) => return answer,
                Err(error) => error,
            };
            let state = call.state();
            if avoid_pool || state.fresh || state.received > 0 || !is_hang_up(&error) {
                return Err(self.explain(error, state));
            }
            avoid_pool = true;
        }
    }

    fn send_once(&self, request: &Request<'_>) -> Result<Result<Answer, Failure>, Error> {
        let method = Method::from_bytes(request.method.as_bytes()).map_err(http::Error::from)?;
        let has_body = matches!(method, Method::PUT | Method::POST);
        let mut built = http::Request::builder().method(method).uri(request.url.as_str());
        for (name, value) in request.headers {
            built = built.header(*name, *value);
        }
        let response = if has_body {
            self.agent.run(built.body(request.body)?)?
        } else {
            self.agent.run(built.body(())?)?
        };
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_reader().take(request.cap.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > request.cap {
            let (origin, cap) = (self.endpoint.origin(), request.cap);
            return Ok(Err(Failure::request(format!("{origin} sent an answer of more than {cap} bytes"))));
        }
        Ok(Ok(Answer { status: parts.status.as_u16(), body: bytes, headers: parts.headers }))
    }
}
