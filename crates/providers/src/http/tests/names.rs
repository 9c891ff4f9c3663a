//! Name resolution under the egress policy, with addresses made up for the test.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

/// A client for `url` whose host has these addresses.
fn resolving(patterns: &[&str], url: &str, found: Vec<&'static str>) -> (Client, Arc<AtomicUsize>) {
    let endpoint = Policy::new(patterns).unwrap().check(url).unwrap();
    let lookups = Arc::new(AtomicUsize::new(0));
    let counter = lookups.clone();
    let lookup: Lookup = Arc::new(move |_, port| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(found.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect())
    });
    (Client::with_parts(endpoint, None, SOON, lookup, None), lookups)
}

#[test]
fn names_must_not_lead_where_the_policy_does_not() {
    let server = Server::start(|_| http(200, &[], "ok"));
    let port = server.port();
    let wildcard = "http://*.evil.test:*";
    let listed = "http://a.evil.test:*";
    let localhost = "http://localhost:*";
    let cases = [
        (wildcard, "a.evil.test", vec!["127.0.0.1"]),
        (wildcard, "a.evil.test", vec!["::1", "127.0.0.1"]),
        (wildcard, "a.evil.test", vec!["10.0.0.1"]),
        (wildcard, "a.evil.test", vec!["100.64.0.1"]),
        (wildcard, "a.evil.test", vec!["::ffff:127.0.0.1"]),
        (wildcard, "a.evil.test", vec!["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1"]),
        (listed, "a.evil.test", vec!["127.0.0.1"]),
        (listed, "a.evil.test", vec!["169.254.169.254"]),
        (listed, "a.evil.test", vec!["0.0.0.0"]),
        (localhost, "localhost", vec!["10.0.0.1"]),
        (localhost, "localhost", vec!["8.8.8.8"]),
    ];
    for (pattern, host, found) in cases {
        let (client, _) = resolving(&[pattern], &format!("http://{host}:{port}"), found.clone());
        match client.post_json(b"{}", CAP) {
            Err(HttpError::Failed(Failure::Config { message, hint })) => {
                assert!(message.contains(host) && hint.is_some(), "{message}");
            }
            other => panic!("{pattern} {found:?}: {other:?}"),
        }
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn the_address_that_was_checked_is_the_one_connected_to() {
    let server = Server::start(|_| http(200, &[], "ok"));
    let url = format!("http://localhost:{}", server.port());
    // The first lookup finds the server. A second one would find nothing allowed.
    let endpoint = Policy::new(&DEFAULT_ALLOWED).unwrap().check(&url).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let lookup: Lookup = Arc::new(move |_, port| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        let ip = if first { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(10, 0, 0, 1) };
        // What is not allowed is passed over for what is.
        Ok(vec![SocketAddr::from(([10, 0, 0, 1], port)), SocketAddr::from((ip, port))])
    });
    let client = Client::with_parts(endpoint, None, SOON, lookup, None);
    for _ in 0..3 {
        client.post_json(b"{}", CAP).unwrap();
    }
    assert_eq!((asked.load(Ordering::SeqCst), server.connections()), (1, 1));
    let host = server.requests()[0].header("host").unwrap().to_owned();
    assert_eq!(host, format!("localhost:{}", server.port()));
    server.hang_up();
    assert!(matches!(client.post_json(b"{}", CAP), Err(HttpError::Failed(Failure::Config { .. }))));
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    let server = Server::start(|_| http(200, &[], "ok"));
    let url = format!("http://localhost:{}", server.port());
    // Nothing listens on [::1] and 127.0.0.2 at that port.
    let (client, lookups) = resolving(&DEFAULT_ALLOWED, &url, vec!["::1", "127.0.0.2", "127.0.0.1"]);
    client.post_json(b"{}", CAP).unwrap();
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
}

#[test]
fn names_without_addresses_and_slow_lookups_are_request_failures() {
    let (client, _) = resolving(&DEFAULT_ALLOWED, "http://localhost:9", vec![]);
    assert!(request_failure(client.post_json(b"{}", CAP)).contains("no address"));
    let endpoint = Policy::new(&DEFAULT_ALLOWED).unwrap().check("http://localhost:9").unwrap();
    let never: Lookup = Arc::new(|_, _| {
        loop {
            thread::park();
        }
    });
    let connect = Duration::from_millis(200);
    let client = Client::with_parts(endpoint.clone(), None, Timeouts { connect, ..SOON }, never, None);
    let start = Instant::now();
    let message = request_failure(client.post_json(b"{}", CAP));
    assert!(message.contains("not resolved within 200ms"), "{message}");
    assert!(start.elapsed() >= connect && start.elapsed() < SOON.request);
    let fails: Lookup = Arc::new(|_, _| Err(io::Error::other("no such host")));
    let client = Client::with_parts(endpoint, None, SOON, fails, None);
    assert!(request_failure(client.post_json(b"{}", CAP)).contains("no such host"));
}
