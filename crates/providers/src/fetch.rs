//! Fetches documents from URLs that stand in rows: each request, and each redirect, goes only where
//! the operator's patterns allow, carries no key, and has a bound of bytes and time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use autovector_domain::failure::Failure;
use url::Url;

use crate::endpoint::Policy;
use crate::http::{Client, Got, HttpError, Timeouts};

/// Browsers follow twenty; documents that move more often than this are not worth it.
const MOST_REDIRECTS: usize = 5;
/// Clients hold connections and certificates; a table may name any number of hosts.
const MOST_CLIENTS: usize = 32;

/// Why a document was not fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfetched {
    pub message: String,
    /// It may be there another time.
    pub retryable: bool,
}

impl Unfetched {
    fn for_good(message: impl Into<String>) -> Self {
        Unfetched { message: message.into(), retryable: false }
    }
}

pub struct Fetcher {
    policy: Policy,
    /// The setting that holds the patterns, for messages.
    setting: &'static str,
    timeouts: Timeouts,
    clients: Mutex<HashMap<String, Arc<Client>>>,
}

impl Fetcher {
    /// Errors: `Failure::Config` for a pattern that cannot be read.
    pub fn new(patterns: &[String], setting: &'static str, timeouts: Timeouts) -> Result<Self, Failure> {
        Ok(Fetcher { policy: Policy::new(patterns)?, setting, timeouts, clients: Mutex::default() })
    }

    /// The bytes behind `url`, at most `cap`.
    pub fn get(&self, url: &str, cap: u64) -> Result<Vec<u8>, Unfetched> {
        let mut next = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let endpoint = self.policy.check(&next).map_err(|failure| self.not_allowed(&failure))?;
            let here: Url = endpoint.url().clone();
            let origin = endpoint.origin();
            let client = self.client(&origin, || Client::new(endpoint, None, self.timeouts));
            match client.get(here.as_str(), cap).map_err(|error| explain(error, &origin))? {
                Got::Body(bytes) => return Ok(bytes),
                Got::TooLarge => {
                    return Err(Unfetched::for_good(format!(
                        "{origin} sends more than the {cap} bytes that are allowed"
                    )));
                }
                Got::Redirect(target) => {
                    next = here
                        .join(&target)
                        .map_err(|_| Unfetched::for_good(format!("{origin} redirects to what is no URL")))?
                        .into();
                }
            }
        }
        Err(Unfetched::for_good(format!("more than {MOST_REDIRECTS} redirects")))
    }

    fn client(&self, origin: &str, open: impl FnOnce() -> Client) -> Arc<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(origin) {
            return client.clone();
        }
        if clients.len() >= MOST_CLIENTS {
            clients.clear();
        }
        let client = Arc::new(open());
        clients.insert(origin.to_owned(), client.clone());
        client
    }

    fn not_allowed(&self, failure: &Failure) -> Unfetched {
        let message = failure.to_string().replace("the provider's URL", "the URL");
        let hint = if message.ends_with("are not allowed") {
            format!(" (a superuser can list the place in {})", self.setting)
        } else {
            String::new()
        };
        Unfetched::for_good(format!("{message}{hint}"))
    }
}

/// Whoever is busy or broken may be well later; whoever says no means it.
fn explain(error: HttpError, origin: &str) -> Unfetched {
    match error {
        HttpError::Refused(refusal) => {
            let status = refusal.status;
            let retryable = matches!(status, 408 | 425 | 429 | 500..=599);
            Unfetched { message: format!("{origin} answered with status {status}"), retryable }
        }
        HttpError::Failed(failure) => {
            let retryable = matches!(failure, Failure::Request { .. });
            Unfetched { message: failure.to_string(), retryable }
        }
    }
}
