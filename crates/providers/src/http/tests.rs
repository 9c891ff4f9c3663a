use std::{io::Write, thread};

use super::*;
use crate::endpoint::{DEFAULT_ALLOWED, Policy};

#[path = "../../tests/support/mod.rs"]
mod support;

use support::{Reply, Server, bytes, http};

const KEY: &str = "sk-test-0123456789abcdef";
const SOON: Timeouts = Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(5) };
const CAP: u64 = 1 << 20;

/// What a busy machine may add to a deadline. Without the deadline these tests would take minutes.
const SLACK: Duration = Duration::from_secs(2);

fn client(url: &str, timeouts: Timeouts) -> Client {
    let endpoint = Policy::new(&DEFAULT_ALLOWED).unwrap().check(url).unwrap();
    Client::new(endpoint, Some(Credential::bearer(Secret::new(KEY))), timeouts)
}

fn post(server: &Server, timeouts: Timeouts) -> Result<Vec<u8>, HttpError> {
    client(&server.url(), timeouts).post_json(b"{}", CAP)
}

/// The failure is a request failure; its message, which holds no secret.
fn request_failure(result: Result<Vec<u8>, HttpError>) -> String {
    match result {
        Err(HttpError::Failed(Failure::Request { message, retry_after: None })) => {
            assert!(!message.contains("sk-test"), "{message}");
            message
        }
        other => panic!("{other:?}"),
    }
}

fn refusal(result: Result<Vec<u8>, HttpError>) -> Refusal {
    match result {
        Err(HttpError::Refused(refusal)) => *refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sends_json_with_the_key_and_nothing_else_of_note() {
    let server = Server::start(|_| http(200, &[], "[1]"));
    let client = client(&format!("{}/v1?q=1", server.url()), SOON);
    assert_eq!(client.post_json(b"{\"a\":1}", CAP).unwrap(), b"[1]");
    let request = server.requests().remove(0);
    assert_eq!(request.line, "POST /v1?q=1 HTTP/1.1");
    assert_eq!(request.body, b"{\"a\":1}");
    assert_eq!(request.header("authorization"), Some("Bearer sk-test-0123456789abcdef"));
    assert_eq!(
        request.header("content-type").map(|t| t.split(';').next().unwrap()),
        Some("application/json")
    );
    assert_eq!(request.header("accept-encoding"), Some("gzip"));
    let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ];
    assert_eq!(names, expected);
}

#[test]
fn connections_are_kept_and_shared_by_threads() {
    let server = Server::start(|_| http(200, &[], "1"));
    let client = client(&server.url(), SOON);
    for _ in 0..20 {
        client.post_json(b"{}", CAP).unwrap();
    }
    assert_eq!(server.connections(), 1);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| drop(client.post_json(b"{}", CAP).unwrap())));
        }
    });
    assert_eq!(server.requests().len(), 120);
    assert!(server.connections() <= 4, "{}", server.connections());
}

#[test]
fn every_status_but_success_is_a_refusal_with_the_providers_words() {
    for status in [300, 301, 302, 307, 308, 400, 401, 403, 404, 413, 422, 429, 500, 503, 599] {
        let server = Server::start(move |_| {
            let body =
                format!(r#"{{"error":{{"message":"no, {KEY} is\u0000 wrong","code":"c","type":"t"}}}}"#);
            http(status, &[("retry-after", "7"), ("location", "http://127.0.0.1:1/")], body)
        });
        let refusal = refusal(post(&server, SOON));
        assert_eq!((refusal.status, refusal.message.as_str()), (status, "no, *** is wrong"));
        assert_eq!((refusal.code.as_deref(), refusal.kind.as_deref()), (Some("c"), Some("t")));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(7)));
        assert!(refusal.describe().starts_with(&format!("{} answered {status}", server.url())));
        assert!(!refusal.describe().contains("sk-test"));
    }
}

#[test]
fn redirects_are_not_followed() {
    let trap = Arc::new(Server::start(|_| http(200, &[], "[]")));
    for status in [301, 302, 303, 307, 308] {
        let target = trap.url();
        let server = Server::start(move |_| http(status, &[("location", &target)], ""));
        assert_eq!(refusal(post(&server, SOON)).status, status);
        assert_eq!(server.requests().len(), 1);
    }
    assert_eq!((trap.requests().len(), trap.connections()), (0, 0));
}

#[test]
fn the_deadline_is_for_the_whole_request() {
    let limit = Duration::from_millis(400);
    let timeouts = Timeouts { connect: Duration::from_secs(5), request: limit };
    let pace = Duration::from_millis(20);
    let slow: Vec<(&str, Server)> = vec![
        ("hang", Server::start(|_| Reply::Hang)),
        ("headers", Server::start(move |_| Reply::Drip(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), pace))),
        (
            "body",
            Server::start(move |_| {
                Reply::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n".to_vec(), pace)
            }),
        ),
        ("endless", Server::start(move |_| Reply::Drip(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), pace))),
    ];
    for (name, server) in &slow {
        let start = Instant::now();
        let message = request_failure(post(server, timeouts));
        let took = start.elapsed();
        assert!(took >= limit && took < limit + SLACK, "{name}: {took:?}");
        assert!(message.contains("400ms"), "{name}: {message}");
    }
    // The explanation of an error drips too, and the status is known all the same.
    let server = Server::start(move |_| {
        Reply::Drip(b"HTTP/1.1 401 No\r\ncontent-length: 9999\r\n\r\n".to_vec(), pace)
    });
    let start = Instant::now();
    assert_eq!(refusal(post(&server, timeouts)).status, 401);
    assert!(start.elapsed() < limit + SLACK);
}

#[test]
fn a_server_that_takes_no_bytes_is_subject_to_the_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let limit = Duration::from_millis(400);
    // Takes the connection and nothing else, for as long as the test has patience.
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    thread::spawn(move || (listener.accept().unwrap(), is_done.recv_timeout(support::PATIENCE).ok()));
    let body = vec![b' '; 32 << 20];
    let client = client(&url, Timeouts { request: limit, ..SOON });
    let start = Instant::now();
    request_failure(client.post_json(&body, CAP));
    let took = start.elapsed();
    drop(done);
    assert!(took >= limit && took < limit + SLACK, "{took:?}");
}

#[test]
fn an_answer_that_came_before_the_request_was_sent_counts() {
    let server = Server::impatient(|_| http(413, &[("connection", "close")], r#"{"error":"too large"}"#));
    let body = vec![b' '; 32 << 20];
    let refusal = refusal(client(&server.url(), SOON).post_json(&body, CAP));
    assert_eq!((refusal.status, refusal.message.as_str()), (413, "too large"));
}

#[test]
fn long_answers_are_not_read_to_their_end() {
    let block = vec![b'1'; 1 << 16];
    let endless = usize::MAX;
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n"] {
        let block = block.clone();
        let server = Server::start(move |_| Reply::Flood(head.as_bytes().to_vec(), block.clone(), endless));
        let message = request_failure(post(&server, SOON));
        assert!(message.contains("more than 1048576 bytes"), "{message}");
    }
    let server = Server::start(|_| http(200, &[], vec![b'1'; CAP as usize]));
    assert_eq!(post(&server, SOON).unwrap().len() as u64, CAP);
    // Of an error only the beginning is read.
    let server =
        Server::start(move |_| Reply::Flood(b"HTTP/1.1 500 No\r\n\r\n".to_vec(), block.clone(), endless));
    let refusal = refusal(post(&server, SOON));
    assert_eq!((refusal.status, refusal.message.chars().count()), (500, 301));
}

#[test]
fn endless_headers_end_the_request() {
    let server = Server::start(|_| {
        Reply::Flood(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(1000), usize::MAX)
    });
    let start = Instant::now();
    request_failure(post(&server, SOON));
    assert!(start.elapsed() < SOON.request);
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_read_and_its_bombs_are_capped() {
    let small = gzip(b"[1,2]");
    let server = Server::start(move |_| http(200, &[("content-encoding", "gzip")], &small));
    assert_eq!(post(&server, SOON).unwrap(), b"[1,2]");
    let bomb = gzip(&vec![b' '; 16 << 20]);
    assert!((bomb.len() as u64) < CAP, "the compressed size must not be what is capped");
    let server = Server::start(move |_| http(200, &[("content-encoding", "gzip")], &bomb));
    assert!(request_failure(post(&server, SOON)).contains("more than 1048576 bytes"));
    let server = Server::start(|_| http(200, &[("content-encoding", "gzip")], "no gzip"));
    request_failure(post(&server, SOON));
}

#[test]
fn broken_answers_are_request_failures() {
    let cases: [&[u8]; 8] = [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nno chunk",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"\x16\x03\x01\x00\x05hello",
    ];
    for case in cases {
        let server = Server::start(move |_| Reply::Last(case.to_vec()));
        request_failure(post(&server, SOON));
        assert_eq!(server.requests().len(), 1, "a new connection is not tried twice: {case:?}");
    }
}

#[test]
fn a_kept_connection_that_was_closed_is_replaced_once() {
    // Closes without a word whatever is the second request on its connection.
    let server = Server::start(|r| match r.number {
        1 => Reply::Last(Vec::new()),
        _ => http(200, &[], r.number.to_string()),
    });
    let client = client(&server.url(), SOON);
    assert_eq!(client.post_json(b"{}", CAP).unwrap(), b"0");
    assert_eq!(client.post_json(b"{}", CAP).unwrap(), b"2");
    let seen: Vec<_> = server.requests().iter().map(|r| (r.number, r.connection)).collect();
    assert_eq!(seen, [(0, 0), (1, 0), (2, 1)]);
}

#[test]
fn the_second_attempt_takes_no_kept_connection() {
    let both = std::sync::Barrier::new(2);
    // The first two requests meet, so they come on two connections; both are kept, and then
    // closed without a word when they are used again.
    let server = Server::start(move |r| match (r.number, r.connection) {
        (0 | 1, _) => {
            both.wait();
            http(200, &[], "first")
        }
        (_, 0 | 1) => Reply::Last(Vec::new()),
        _ => http(200, &[], "new"),
    });
    let client = client(&server.url(), SOON);
    thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(|| client.post_json(b"{}", CAP).unwrap())));
    });
    assert_eq!(client.post_json(b"{}", CAP).unwrap(), b"new");
    assert_eq!((server.requests().len(), server.connections()), (4, 3));
}

#[test]
fn the_second_attempt_is_the_last() {
    let server = Server::start(|r| match r.number {
        0 => http(200, &[], "ok"),
        _ => Reply::Last(Vec::new()),
    });
    let client = client(&server.url(), SOON);
    client.post_json(b"{}", CAP).unwrap();
    request_failure(client.post_json(b"{}", CAP));
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn an_answer_that_began_is_not_asked_for_again() {
    let server = Server::start(|r| match r.number {
        0 => http(200, &[], "ok"),
        _ => Reply::Last(b"HTTP/1.1 2".to_vec()),
    });
    let client = client(&server.url(), SOON);
    client.post_json(b"{}", CAP).unwrap();
    request_failure(client.post_json(b"{}", CAP));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn connections_closed_while_idle_are_noticed() {
    let server = Server::start(|_| http(200, &[], "ok"));
    let client = client(&server.url(), SOON);
    for round in 1..=3 {
        client.post_json(b"{}", CAP).unwrap();
        assert_eq!(server.requests().len(), round);
        server.hang_up();
    }
}

#[test]
fn unreachable_servers_are_request_failures() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let message = request_failure(client(&format!("http://127.0.0.1:{port}"), SOON).post_json(b"{}", CAP));
    assert!(message.contains("refused"), "{message}");
}

#[test]
fn shutting_down_ends_requests_in_flight_at_once() {
    let server = Server::start(|_| Reply::Hang);
    let client = client(&server.url(), Timeouts { request: Duration::from_secs(600), ..SOON });
    thread::scope(|scope| {
        let waiting = scope.spawn(|| client.post_json(b"{}", CAP));
        server.wait_for_requests(1);
        client.shut_down();
        request_failure(waiting.join().unwrap());
    });
    request_failure(client.post_json(b"{}", CAP));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn the_answers_of_a_connection_are_never_mixed_up() {
    // The first answer is longer than it says; what is left over must not become the next.
    let server = Server::start(|r| {
        let mut answer = bytes(200, &[], r.number.to_string());
        if r.number == 0 {
            answer.extend(bytes(200, &[], "stale"));
        }
        Reply::Raw(answer)
    });
    let client = client(&server.url(), SOON);
    assert_eq!(client.post_json(b"{}", CAP).unwrap(), b"0");
    assert_eq!(client.post_json(b"{}", CAP).unwrap(), b"1");
}

mod names;
mod tls;
