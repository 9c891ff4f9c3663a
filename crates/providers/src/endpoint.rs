//! Where requests may go: parses URLs, matches them with the operator's patterns, and says
//! which addresses a host may resolve to. Opens no socket and looks up no name.

use std::net::IpAddr;

use autovector_domain::failure::Failure;
use url::{Host, Url};

use crate::address::{Class, classify};

/// The setting that holds the patterns, as hints name it.
pub const SETTING: &str = "autovector.allowed_endpoints";

/// The patterns that hold unless the operator says otherwise: the known providers and this
/// machine. A provider that gives each customer a host name of his own is left out: the
/// wildcard would let text out to anybody's account there.
pub const DEFAULT_ALLOWED: [&str; 11] = [
    "https://api.openai.com",
    "https://api.voyageai.com",
    "https://api.cohere.com",
    "https://api.mistral.ai",
    "https://generativelanguage.googleapis.com",
    "http://localhost:*",
    "https://localhost:*",
    "http://127.0.0.1:*",
    "https://127.0.0.1:*",
    "http://[::1]:*",
    "https://[::1]:*",
];

/// The addresses a host may have, which follows from the pattern that allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Allowed by a wildcard: public addresses only.
    Public,
    /// Listed by its name: public and private addresses, but neither this machine (which
    /// `localhost` names) nor link-local ones.
    Listed,
    /// `localhost`: this machine only.
    Loopback,
    /// Listed as an address: that address only.
    Address(IpAddr),
}

impl Reach {
    /// Whether a connection to `ip` is allowed.
    pub fn admits(self, ip: IpAddr) -> bool {
        match (self, classify(ip)) {
            (_, Class::Forbidden) => false,
            (Reach::Address(listed), _) => listed == ip,
            (Reach::Loopback, class) => class == Class::Loopback,
            (Reach::Listed, class) => matches!(class, Class::Public | Class::Private),
            (Reach::Public, class) => class == Class::Public,
        }
    }
}

/// A URL that the policy has let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    reach: Reach,
}

impl Endpoint {
    /// The URL to request. Errors name `origin` instead, which holds no query.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// `scheme://host[:port]`, safe to show.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// The host as it is written in the URL; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// The same place with a parameter in its query.
    pub fn with_query(&self, name: &str, value: &str) -> Endpoint {
        let mut joined = self.clone();
        joined.url.query_pairs_mut().append_pair(name, value);
        joined
    }

    /// The same place with `segments` appended to the path.
    pub fn join(&self, segments: &[&str]) -> Endpoint {
        let mut joined = self.clone();
        if let Ok(mut path) = joined.url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        joined
    }
}

/// The operator's patterns `scheme://host[:port]`, parsed.
#[derive(Debug, Clone)]
pub struct Policy {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    scheme: String,
    host: HostPattern,
    /// None is any port.
    port: Option<u16>,
}

#[derive(Debug, Clone)]
enum HostPattern {
    Exact(Host<String>),
    /// `*.example.com` is kept as `.example.com`.
    Suffix(String),
}

impl Policy {
    /// Parses patterns. The host may be `*.suffix` and the port `*`; without a port the
    /// scheme's own port is meant.
    ///
    /// Errors: `Failure::Config` that names the pattern that cannot be read.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Policy, Failure> {
        let patterns = patterns.iter().map(|p| p.as_ref().trim()).filter(|p| !p.is_empty());
        Ok(Policy { patterns: patterns.map(Pattern::parse).collect::<Result<_, _>>()? })
    }

    /// Checks a URL that came from a configuration.
    ///
    /// Errors: `Failure::Config` where the URL cannot be read, carries a user name or a
    /// password, writes an address in an unusual way, or names a place that no pattern lists.
    pub fn check(&self, raw: &str) -> Result<Endpoint, Failure> {
        let (url, host) = parse(raw).map_err(|problem| {
            Failure::config(
                format!("the provider's URL cannot be used: {problem}"),
                "Give a URL such as https://host:8080/v1 or http://localhost:11434.",
            )
        })?;
        let matching = |p: &&Pattern| p.matches(&url, &host);
        let exact = self.patterns.iter().filter(matching).any(|p| matches!(p.host, HostPattern::Exact(_)));
        let listed = exact || self.patterns.iter().any(|p| matching(&p));
        let reach = match &host {
            Host::Ipv4(ip) => Reach::Address(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => Reach::Address(IpAddr::V6(*ip)),
            Host::Domain(name) if name == "localhost" => Reach::Loopback,
            Host::Domain(_) if exact => Reach::Listed,
            Host::Domain(_) => Reach::Public,
        };
        let endpoint = Endpoint { url, reach };
        let origin = endpoint.origin();
        if !listed {
            return Err(Failure::config(
                format!("requests to {origin} are not allowed"),
                format!("A superuser can add '{origin}' to {SETTING}."),
            ));
        }
        if let Reach::Address(ip) = reach
            && !reach.admits(ip)
        {
            return Err(Failure::config(
                format!("requests to {origin} are never allowed: the address is link-local or reserved"),
                "Use the address under which the provider itself listens.",
            ));
        }
        Ok(endpoint)
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, Failure> {
        let bad = |problem: &str| {
            Failure::config(
                format!("the pattern '{text}' cannot be used: {problem}"),
                format!(
                    "Write {SETTING} as scheme://host[:port], such as https://*.example.com or http://10.0.0.5:11434."
                ),
            )
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(bad("it has no scheme"));
        };
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(bad("the scheme must be http or https")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@', '\\']) {
            return Err(bad("it must end after the host and the port"));
        }
        let (host, port) = split_port(rest);
        let port = match port {
            None => Some(default_port),
            Some("*") => None,
            Some(digits) => Some(digits.parse().map_err(|_| bad("the port is neither a number nor *"))?),
        };
        let host = if let Some(suffix) = host.strip_prefix("*.") {
            match Host::parse(suffix) {
                Ok(Host::Domain(name)) if !name.contains('*') => HostPattern::Suffix(format!(".{name}")),
                _ => return Err(bad("* must be followed by a domain")),
            }
        } else {
            let parsed = Host::parse(host).map_err(|_| bad("the host cannot be read"))?;
            if host.contains('*') || !plainly_written(host, &parsed) {
                return Err(bad("the host is neither a name, nor a plain address, nor *.domain"));
            }
            HostPattern::Exact(parsed)
        };
        Ok(Pattern { scheme, host, port })
    }

    fn matches(&self, url: &Url, host: &Host<String>) -> bool {
        let host_matches = match (&self.host, host) {
            (HostPattern::Exact(listed), host) => listed == host,
            (HostPattern::Suffix(suffix), Host::Domain(name)) => {
                name.len() > suffix.len() && name.ends_with(suffix.as_str())
            }
            (HostPattern::Suffix(_), _) => false,
        };
        host_matches
            && self.scheme == url.scheme()
            && self.port.is_none_or(|port| Some(port) == url.port_or_known_default())
    }
}

/// Reads a URL strictly. The `url` crate follows browsers, which repair what they are given
/// (backslashes, line breaks, `http:host`, decimal addresses); a repaired URL is not the
/// one that the operator has listed, so whatever would be repaired is refused.
fn parse(raw: &str) -> Result<(Url, Host<String>), &'static str> {
    let raw = raw.trim();
    if raw.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("it contains a space, a control character or a backslash");
    }
    let Some((scheme, rest)) = raw.split_once("://") else {
        return Err("it has no scheme");
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err("the scheme must be http or https");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user name or a password must not stand in it");
    }
    let mut url = Url::parse(raw).map_err(|_| "it is not a valid URL")?;
    url.set_fragment(None);
    let host = url.host().ok_or("it has no host")?.to_owned();
    let (written, port) = split_port(authority);
    if port.is_some_and(|p| p.is_empty() || p == "0") {
        return Err("the port is not a number between 1 and 65535");
    }
    if !plainly_written(written, &host) {
        return Err("the address is not written in the usual form (four decimal numbers)");
    }
    Ok((url, host))
}

/// Splits `host:port` without being misled by the colons of an IPv6 address.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Whether `written` is the address that it was parsed into, and not decimal, octal,
/// hexadecimal, shortened, percent-encoded or typeset digits that happen to mean it.
fn plainly_written(written: &str, parsed: &Host<String>) -> bool {
    match parsed {
        Host::Ipv4(ip) => written == ip.to_string(),
        Host::Ipv6(_) => written.starts_with('['),
        // A name in another script is written in Unicode and parsed into ASCII.
        Host::Domain(name) => {
            !written.is_empty()
                && !written.contains('%')
                && (!written.is_ascii() || written.eq_ignore_ascii_case(name))
        }
    }
}

#[cfg(test)]
mod tests;
