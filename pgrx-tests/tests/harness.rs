//! The harness itself, on a server without the extension: a test that trusts a broken
//! harness proves nothing.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use autovector_cluster_tests::{
    Outcome, Provider, Rule, Settings, Sql, StopMode, expected_vector, process, provider::Shape, wait_until,
};
use serde_json::{Value, json};

fn plain() -> autovector_cluster_tests::Cluster {
    Settings::default().without_preload().start()
}

/// Sends one request on `stream`; the status and the body.
fn request(stream: &mut TcpStream, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if rest.len() >= length.parse().unwrap() {
                return (head[9..12].parse().unwrap(), serde_json::from_str(rest).unwrap_or(Value::Null));
            }
        }
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed in the middle of an answer");
        bytes.extend_from_slice(&buffer[..count]);
    }
}

fn client(provider: &Provider) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", provider.port())).unwrap();
    // Small writes would otherwise wait 40 ms for the other end's acknowledgement.
    stream.set_nodelay(true).unwrap();
    stream
}

/// Fear: a cluster that cannot be stopped, killed and started again tests no crash.
#[test]
fn a_cluster_survives_stop_kill_and_restart() {
    let mut cluster = plain();
    cluster.connect("postgres").batch("create table t (x int); insert into t values (1)");
    assert!(cluster.stop(StopMode::Fast) < Duration::from_secs(5));
    cluster.start_again();
    cluster.connect("postgres").batch("insert into t values (2)");
    let backends: Vec<i32> = cluster.connect("postgres").all("select pid from pg_stat_activity", &[]);
    cluster.kill_postmaster();
    wait_until("backends are gone", Duration::from_secs(10), || {
        !backends.iter().any(|pid| process::is_alive(*pid))
    });
    cluster.start_again();
    assert_eq!(cluster.connect("postgres").one::<i64>("select count(*) from t", &[]), 2);
    cluster.assert_healthy();
}

/// Fear: a crash goes unnoticed because nobody reads the log.
#[test]
#[should_panic(expected = "terminated by signal 9")]
fn a_killed_backend_is_a_complaint() {
    let mut cluster = plain();
    let pid: i32 = cluster.connect("postgres").one("select pg_backend_pid()", &[]);
    let mut victim = cluster.connect("postgres");
    let victim_pid: i32 = victim.one("select pg_backend_pid()", &[]);
    assert_ne!(pid, victim_pid);
    process::signal(victim_pid, libc::SIGKILL);
    wait_until("the crash is logged", Duration::from_secs(10), || {
        cluster.log().contains("terminated by signal")
    });
    cluster.wait_until_ready();
    cluster.assert_healthy();
}

/// Fear: settings or the environment do not reach the server, or the test's own do.
#[test]
fn settings_and_environment_reach_the_server() {
    let cluster = Settings::default().without_preload().set("work_mem", "7MB").env("SOME_KEY", "abc").start();
    let mut db = cluster.connect("postgres");
    assert_eq!(db.one::<String>("show work_mem", &[]), "7MB");
    let environment = std::fs::read(format!("/proc/{}/environ", cluster.postmaster_pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.contains("SOME_KEY=abc"));
    assert!(!environment.contains("RUST_BACKTRACE") && !environment.contains("CARGO_"));
    let error = db.error_of("select 1/0");
    assert_eq!(error.code().code(), "22012");
}

/// Fear: vectors are paired with the wrong texts by the stub itself.
#[test]
fn the_provider_speaks_both_formats_and_logs_calls() {
    let provider = Provider::start();
    let mut stream = client(&provider);
    let (status, answer) =
        request(&mut stream, "/v1/embeddings", &json!({"input": ["a", "b"], "model": "m", "dimensions": 3}));
    assert_eq!(status, 200);
    let vector: Vec<f32> = serde_json::from_value(answer["data"][1]["embedding"].clone()).unwrap();
    assert_eq!(vector, expected_vector("b", 3));
    let (_, answer) = request(&mut stream, "/api/embed", &json!({"input": "c", "model": "m"}));
    let vector: Vec<f32> = serde_json::from_value(answer["embeddings"][0].clone()).unwrap();
    assert_eq!(vector, expected_vector("c", 8));
    let calls = provider.calls();
    assert_eq!(calls.len(), 2, "one connection, two calls");
    assert_eq!(*calls[0].inputs, ["a", "b"]);
    assert!(calls.iter().all(|call| call.was_answered()));
    assert_eq!((provider.times_sent("a"), provider.times_sent("x")), (1, 0));
}

/// Fear: a script that does not do what it says makes a test of failures pass for nothing.
#[test]
fn rules_apply_newest_first_and_run_out() {
    let provider = Provider::start();
    let mut stream = client(&provider);
    let ask =
        |stream: &mut TcpStream, text: &str| request(stream, "/v1/embeddings", &json!({"input": [text]}));
    provider.rule(Rule::containing("bad").error(400, "no"));
    provider.rule(Rule::always().status(429, "{}").header("Retry-After", "1").times(1));
    assert_eq!(ask(&mut stream, "bad").0, 429);
    assert_eq!(ask(&mut stream, "bad").0, 400);
    assert_eq!(ask(&mut stream, "good").0, 200);
    provider.rule(Rule::always().shape(Shape::OneShort).times(1));
    assert_eq!(ask(&mut stream, "good").1["data"], json!([]));
    provider.rule(Rule::always().resets().times(1));
    write!(stream, "POST /v1/embeddings HTTP/1.1\r\ncontent-length: 13\r\n\r\n{{\"input\":\"r\"}}").unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(provider.calls().last().unwrap().outcome, Outcome::Lost);
}

/// Fear: a gate counts clients that are long gone, or holds nobody.
#[test]
fn a_gate_holds_until_released_and_forgets_who_hung_up() {
    let provider = Provider::start();
    let gate = provider.hold(Rule::containing("wait"));
    let mut quitter = client(&provider);
    let body = json!({"input": ["wait 1"]}).to_string();
    write!(quitter, "POST /v1/embeddings HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    gate.wait_until_holding(1);
    assert_eq!(gate.held_inputs(), ["wait 1"]);
    drop(quitter);
    wait_until("the gate forgets", Duration::from_secs(5), || gate.holding() == 0);
    let mut stream = client(&provider);
    let waiter =
        std::thread::spawn(move || request(&mut stream, "/v1/embeddings", &json!({"input": ["wait 2"]})).0);
    gate.wait_until_holding(1);
    assert!(!waiter.is_finished());
    gate.release();
    assert_eq!(waiter.join().unwrap(), 200);
    assert_eq!((provider.times_answered("wait 1"), provider.times_answered("wait 2")), (0, 1));
}

/// Fear: the stub is slower than the extension and every speed test measures the stub.
#[test]
fn the_provider_serves_thousands_of_wide_rows_a_second() {
    let provider = Provider::start();
    for format in ["float", "base64"] {
        // The best of several: what a busy machine takes away is not the stub's.
        let rate = (0..5).map(|_| rows_per_second(&provider, format)).fold(0.0, f64::max);
        eprintln!("{format}: {rate:.0} rows/s on one connection");
        assert!(rate > 3000.0, "{format}: {rate:.0} rows/s");
    }
}

/// Asks for 3,000 vectors of 1,536 components and reads them without parsing.
fn rows_per_second(provider: &Provider, format: &str) -> f64 {
    let texts: Vec<String> = (0..100).map(|i| format!("text {i}")).collect();
    let body = json!({"input": texts, "dimensions": 1536, "encoding_format": format}).to_string();
    let request = format!("POST /v1/embeddings HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut reader = BufReader::with_capacity(1 << 20, client(provider));
    let started = Instant::now();
    for _ in 0..30 {
        reader.get_mut().write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(digits) = line.strip_prefix("content-length: ") {
                length = digits.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        assert!(length > 100 * 1536 * 4, "the answer is {length} bytes long");
        reader.read_exact(&mut vec![0; length]).unwrap();
    }
    3000.0 / started.elapsed().as_secs_f64()
}
