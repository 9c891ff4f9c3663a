//! Faults of the service, from a scripted one: what passes is tried again, what does not is said,
//! and nothing that was signed is shown.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;

#[path = "../../providers/tests/support/mod.rs"]
mod support;

use support::{Reply, Request, Server, bytes, http};

const CREATED: &str = "<?xml version=\"1.0\"?><InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>bucket</Bucket><Key>k</Key><UploadId>u-1</UploadId></InitiateMultipartUploadResult>";

fn store(server: &Server) -> Store {
    let location = Location {
        endpoint: Some(server.url()),
        region: "us-east-1".to_owned(),
        bucket: "bucket".to_owned(),
    };
    let credentials = Credentials {
        key_id: Secret::new("AKIDEXAMPLE"),
        secret_key: Secret::new("hush-hush-hush"),
        session_token: None,
    };
    let policy = Policy::new(&[location.origin().unwrap()]).unwrap();
    let timeouts = Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(10) };
    Store::open(&location, credentials, &policy, timeouts).unwrap()
}

fn error(status: u16, code: &str) -> Reply {
    let body = format!("<Error><Code>{code}</Code><Message>AKIDEXAMPLE may not</Message></Error>");
    http(status, &[], body)
}

fn is(request: &Request, method: &str, has: &str) -> bool {
    request.line.starts_with(method) && request.line.contains(has)
}

/// Fear: a fault that passes ends a backup, or one that does not is tried for ever; what was
/// signed is shown.
#[test]
fn passing_faults_are_tried_again_and_others_are_said() {
    let server = Server::start(|request| match request.number {
        0 => error(503, "SlowDown"),
        1 => Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut".to_vec()),
        2 => Reply::Last(Vec::new()),
        3 => http(200, &[], "whole"),
        _ => error(403, "AccessDenied"),
    });
    let store = store(&server);
    assert_eq!(store.get("a b/ü", 100).unwrap(), b"whole");
    let Err(Error::Denied(message)) = store.get("x", 100) else { panic!("it was denied") };
    assert!(message.ends_with("403 AccessDenied"), "{message}");
    assert!(!message.contains("AKID") && !message.contains("hush"), "{message}");
    let requests = server.requests();
    assert_eq!(requests.len(), 5, "a refusal is not asked again");
    assert!(
        requests[0].line.starts_with("GET /bucket/a%20b/%C3%BC?X-Amz-Algorithm="),
        "{}",
        requests[0].line
    );
    assert!(requests.iter().all(|r| !r.line.contains("hush")), "the key itself is sent");
}

#[test]
fn a_service_that_never_recovers_is_given_up() {
    let server = Server::start(|_| error(500, "InternalError"));
    let store = Store { attempts: 2, ..store(&server) };
    let Err(Error::Unreachable(message)) = store.head("x") else { panic!("it never answered") };
    assert!(message.contains("500"), "{message}");
    assert_eq!(server.requests().len(), 2);
}

/// Fear: two writers put the same name and the second one wins; or a put whose answer was lost
/// believes that somebody else was there.
#[test]
fn a_put_of_a_taken_name_fails_unless_it_was_its_own() {
    let server = Server::start(|request| match (request.number, request.line.starts_with("PUT")) {
        (_, true) if request.header("if-none-match") != Some("*") => error(400, "Unconditional"),
        (0, _) => Reply::Last(Vec::new()),
        (_, true) => error(412, "PreconditionFailed"),
        _ => http(200, &[], "mine"),
    });
    let store = store(&server);
    store.put("k", b"mine".to_vec(), Put::IfAbsent).unwrap();
    assert!(matches!(store.put("k", b"other".to_vec(), Put::IfAbsent), Err(Error::Exists(_))));
}

/// Fear: a fault in the middle of an upload loses a part, doubles one, or leaves the upload behind.
#[test]
fn parts_are_sent_again_and_the_end_is_believed_only_when_it_is_one() {
    let (faults, ends) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        if is(request, "POST", "uploads=") {
            return http(200, &[], CREATED);
        }
        if is(request, "PUT", "partNumber=2") && faults.fetch_add(1, Ordering::SeqCst) == 0 {
            return error(500, "InternalError");
        }
        if is(request, "PUT", "partNumber=") {
            return http(200, &[("etag", &format!("\"{}\"", request.body.len()))], "");
        }
        if is(request, "POST", "uploadId=u-1") && ends.fetch_add(1, Ordering::SeqCst) == 0 {
            return error(200, "InternalError");
        }
        http(200, &[], "<CompleteMultipartUploadResult/>")
    });
    let mut upload = store(&server).upload("k");
    let block = vec![7_u8; 1024 * 1024 + 1];
    for _ in 0..33 {
        upload.write(&block).unwrap();
    }
    upload.finish(Put::IfAbsent).unwrap();
    let requests = server.requests();
    let ends: Vec<&Request> = requests.iter().filter(|r| is(r, "POST", "uploadId=u-1")).collect();
    assert_eq!(ends.len(), 2, "an error inside a 200 was believed");
    assert!(ends.iter().all(|r| r.header("if-none-match") == Some("*")));
    let rest = 33 * block.len() - 2 * PART;
    let expected: String = [PART, PART, rest]
        .iter()
        .zip(1..)
        .map(|(size, number)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{size}\"</ETag></Part>")
        })
        .collect();
    assert!(String::from_utf8_lossy(&ends[1].body).contains(&expected));
    assert!(!requests.iter().any(|r| r.line.starts_with("DELETE")), "a finished upload was aborted");
}

#[test]
fn an_upload_that_fails_is_aborted() {
    let server = Server::start(|request| match () {
        () if is(request, "POST", "uploads=") => http(200, &[], CREATED),
        () if request.line.starts_with("DELETE") => http(204, &[], ""),
        () => error(403, "AccessDenied"),
    });
    let mut upload = store(&server).upload("k");
    assert!(matches!(upload.write(&vec![0; PART]), Err(Error::Denied(_))));
    drop(upload);
    let last = server.requests().pop().unwrap();
    assert!(is(&last, "DELETE /bucket/k?", "uploadId=u-1"), "{}", last.line);
}

/// Fear: a truncated, shifted or exchanged piece of an object is taken for the right one.
#[test]
fn a_stream_is_read_in_pieces_of_one_version() {
    let size = 20 * 1024 * 1024_u64;
    let server = Server::start(move |request| {
        if request.line.starts_with("HEAD") {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\netag: \"v1\"\r\n\r\n");
            return Reply::Raw(head.into_bytes());
        }
        if request.header("if-match") != Some("\"v1\"") {
            return error(412, "PreconditionFailed");
        }
        let range = request.header("range").unwrap().trim_start_matches("bytes=").to_owned();
        let (from, to) = range.split_once('-').unwrap();
        let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
        let body: Vec<u8> = (from..=to).map(|at| (at / 1000) as u8).collect();
        match request.number {
            // The second piece is cut once.
            2 => Reply::Last(bytes(206, &[], &body)[..1000].to_vec()),
            _ => http(206, &[], body),
        }
    });
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut store(&server).reader("k").unwrap(), &mut read).unwrap();
    assert_eq!(read.len() as u64, size);
    assert!(read.iter().zip(0_u64..).all(|(byte, at)| *byte == (at / 1000) as u8));
    assert_eq!(server.requests().len(), 1 + 3 + 1);
}

/// Fear: a caller that wants to stop waits for a service that does not answer.
#[test]
fn a_request_can_be_given_up() {
    let server = Server::start(|_| Reply::Hang);
    let asked = Arc::new(AtomicBool::new(false));
    let (asking, began) = (asked.clone(), Instant::now());
    let spawn = |work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().spawn(work).map(drop);
    let store = store(&server);
    let hosted = store.hosted(Host::watched(spawn, move || !asking.load(Ordering::SeqCst)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| hosted.get("k", 10));
        server.wait_for_requests(1);
        asked.store(true, Ordering::SeqCst);
        assert_eq!(waiting.join().unwrap(), Err(Error::Stopped));
    });
    assert!(began.elapsed() < Duration::from_secs(9), "it waited for the answer");
}

/// Fear: a listing of several pages ends after the first one; odd keys are misread.
#[test]
fn listings_go_on_to_their_end() {
    let page = |key: &str, token: &str| {
        let next = if token.is_empty() {
            String::new()
        } else {
            format!("<NextContinuationToken>{token}</NextContinuationToken>")
        };
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><Prefix>p</Prefix><KeyCount>1</KeyCount><MaxKeys>1</MaxKeys><EncodingType>url</EncodingType><IsTruncated>{}</IsTruncated>{next}<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag><Size>5</Size><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>",
            !token.is_empty()
        )
    };
    let server = Server::start(move |request| {
        let again = request.line.contains("continuation-token=t%2B1");
        http(200, &[], if again { page("p/b", "") } else { page("p/a%20%26%3C", "t+1") })
    });
    let found = store(&server).list("p/").unwrap();
    let keys: Vec<&str> = found.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["p/a &<", "p/b"]);
    assert_eq!(found[0].size, 5);
}
