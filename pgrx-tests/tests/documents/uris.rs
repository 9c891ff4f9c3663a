//! Documents that lie elsewhere: files below the directory that is allowed, and the web.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use autovector_cluster_tests::scene::SETTLES_WITHIN;
use autovector_cluster_tests::{Scene, Settings, Sql, samples, wait_until};

use super::{chunk, failure, vectorize};

const LOADING: &str = "ai.loading_uri('uri', retries => 2)";

fn insert(scene: &mut Scene, rows: &[(i64, &str)]) {
    for (id, uri) in rows {
        scene.db.exec("insert into docs values ($1, $2)", &[id, uri]);
    }
}

/// Fear: a file outside the directory is read, by any spelling; or one inside is not.
#[test]
fn files_are_read_below_their_directory_alone() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("docs");
    fs::create_dir_all(directory.join("deeper")).unwrap();
    fs::write(outer.path().join("secret.txt"), "secret").unwrap();
    fs::write(directory.join("plain.txt"), "plain text").unwrap();
    fs::write(directory.join("deeper/with space.pdf"), samples::pdf(&[vec![(11.0, 700, "a page")]])).unwrap();
    symlink(outer.path().join("secret.txt"), directory.join("link.txt")).unwrap();
    symlink(outer.path(), directory.join("up")).unwrap();
    let fifo = std::ffi::CString::new(directory.join("fifo").to_str().unwrap()).unwrap();
    assert_eq!(make_fifo(&fifo), 0);
    let shown = directory.to_str().unwrap();
    let mut scene = Scene::with(Settings::default().set("autovector.document_directory", shown));
    vectorize(&mut scene, "uri text", LOADING, &[]);
    insert(
        &mut scene,
        &[
            (1, "plain.txt"),
            (2, &format!("file://{shown}/deeper/with%20space.pdf")),
            (3, &format!("{shown}/plain.txt")),
            (4, ""),
            (10, "../secret.txt"),
            (11, &format!("file://{shown}/../secret.txt")),
            (12, "link.txt"),
            (13, "up/secret.txt"),
            (14, "fifo"),
            (15, "/etc/passwd"),
            (16, "file:///etc/passwd"),
            (17, "deeper"),
            (18, "missing.txt"),
            (19, &format!("file://{shown}/%2e%2e/secret.txt")),
            (20, &format!("{shown}x/plain.txt")),
            (21, "s3://bucket/key"),
            (22, "gopher://host/x"),
            (23, "file://otherhost/etc/passwd"),
            (24, "./plain.txt"),
        ],
    );
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 1).as_deref(), Some("plain text"));
    assert_eq!(chunk(&mut scene, 2).as_deref(), Some("a page"));
    assert_eq!(chunk(&mut scene, 3).as_deref(), Some("plain text"));
    assert_eq!(chunk(&mut scene, 4), None);
    for id in 10..=24 {
        assert!(failure(&mut scene, id).starts_with("loading: "), "{id}: {}", failure(&mut scene, id));
        assert_eq!(chunk(&mut scene, id), None, "{id}");
    }
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_failed_1"), 15);
    assert!(failure(&mut scene, 18).contains("does not exist"));
    let stored: Vec<String> =
        scene.db.all("select chunk from docs_embedding_store where chunk like '%secret%'", &[]);
    assert_eq!(stored, [""; 0]);

    // What is behind an URI is not watched; the column is.
    fs::write(directory.join("plain.txt"), "new text").unwrap();
    scene.db.batch("update docs set uri = 'plain.txt' where id in (1, 18)");
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 1).as_deref(), Some("plain text"));
    assert_eq!(chunk(&mut scene, 18).as_deref(), Some("new text"));
    scene.cluster.assert_healthy();
}

fn make_fifo(path: &std::ffi::CStr) -> i32 {
    let made = std::process::Command::new("mkfifo").arg(path.to_str().unwrap()).status().unwrap();
    made.code().unwrap_or(1)
}

/// What is answered, by path.
type Answers = Vec<(String, Vec<u8>)>;

/// Answers GET requests by path; each path may change its answer.
struct Web {
    port: u16,
    answers: Arc<Mutex<Answers>>,
}

impl Web {
    fn start() -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: Arc<Mutex<Answers>> = Arc::default();
        let shared = answers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = shared.clone();
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut first = String::new();
                    reader.read_line(&mut first).unwrap_or(0);
                    let mut line = String::from("-");
                    while !line.trim().is_empty() {
                        line.clear();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            break;
                        }
                    }
                    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                    let answer = answers
                        .lock()
                        .unwrap()
                        .iter()
                        .find(|(known, _)| *known == path)
                        .map(|(_, a)| a.clone());
                    let answer = answer.unwrap_or_else(|| {
                        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()
                    });
                    // The client may have had enough.
                    let _ = { stream }.write_all(&answer);
                });
            }
        });
        Web { port, answers }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn answer(&self, path: &str, head: &str, body: &[u8]) {
        let mut answer = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").into_bytes();
        answer.extend(body);
        let mut answers = self.answers.lock().unwrap();
        answers.retain(|(known, _)| known != path);
        answers.push((path.to_owned(), answer));
    }

    fn ok(&self, path: &str, body: &[u8]) {
        self.answer(path, &format!("200 OK\r\ncontent-length: {}", body.len()), body);
    }
}

/// Fear: a redirect leads where requests may not go, a body is not bounded by its announced length,
/// or a server that is down fails rows at once, or never.
#[test]
fn the_web_is_fetched_within_its_bounds() {
    let web = Web::start();
    let other = Web::start();
    let mut scene = Scene::with(
        Settings::default()
            .set("autovector.document_endpoints", &web.url(""))
            .set("autovector.document_max_size", "100kB")
            .set("autovector.naptime", "200ms"),
    );
    web.ok("/page", b"<!doctype html><h1>Title</h1><p>Text");
    web.answer("/moved", "302 Found\r\nlocation: /page\r\ncontent-length: 0", b"");
    web.answer("/away", &format!("302 Found\r\nlocation: {}\r\ncontent-length: 0", other.url("/x")), b"");
    web.answer("/metadata", "301 Moved\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0", b"");
    web.answer("/file", "302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0", b"");
    web.answer("/circle", "302 Found\r\nlocation: /circle\r\ncontent-length: 0", b"");
    web.answer("/announced", "200 OK\r\ncontent-length: 1000000000", b"x");
    web.answer("/endless", "200 OK", &[b'x'; 200_000]);
    web.answer("/short", "200 OK\r\ncontent-length: 50000", b"only this");
    web.answer("/busy", "503 Busy\r\ncontent-length: 0", b"");
    other.ok("/x", b"other");
    vectorize(&mut scene, "uri text", LOADING, &[]);
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let urls = [
        (1, web.url("/page")),
        (2, web.url("/moved")),
        (10, web.url("/away")),
        (11, web.url("/metadata")),
        (12, web.url("/file")),
        (13, web.url("/circle")),
        (14, web.url("/announced")),
        (15, web.url("/endless")),
        (16, web.url("/gone")),
        (17, format!("http://127.0.0.1:{down}/")),
        (18, other.url("/x")),
        (19, format!("http://user:password@127.0.0.1:{}/page", web.port)),
        (20, "http://2130706433/".to_owned()),
        (30, web.url("/busy")),
        (31, web.url("/short")),
    ];
    let rows: Vec<(i64, &str)> = urls.iter().map(|(id, url)| (*id, url.as_str())).collect();
    insert(&mut scene, &rows);
    // Two rest, everything else is decided.
    scene.wait_for_status("docs", "rows_pending", |pending| pending == "2");
    assert_eq!(chunk(&mut scene, 1).as_deref(), Some("# Title\n\nText"));
    assert_eq!(chunk(&mut scene, 2).as_deref(), Some("# Title\n\nText"));
    for id in 10..=20 {
        assert!(failure(&mut scene, id).starts_with("loading: "), "{id}: {}", failure(&mut scene, id));
    }
    assert!(failure(&mut scene, 10).contains("autovector.document_endpoints"));
    assert!(!failure(&mut scene, 19).contains("password@"));
    let resting = "select loading_retries::int8 from ai._vectorizer_q_1 where id = $1
                     and loading_retry_after between now() + interval '1 minute' and now() + interval '3 minutes'";
    assert_eq!(scene.db.all::<i64>(resting, &[&30i64]), [1]);
    assert_eq!(scene.db.all::<i64>(resting, &[&31i64]), [1]);
    let logged = "select count(*) from ai.vectorizer_errors where message = 'loading failed' and (details -> 'is_retryable')::bool";
    assert_eq!(scene.count(logged), 2);

    // The second try, and the third and last; the server has mended one of them by then.
    for tries in [2, 3] {
        if tries == 3 {
            web.ok("/short", b"all of it");
        }
        scene.db.batch("update ai._vectorizer_q_1 set loading_retry_after = now()");
        let waiting = format!("select count(*) from ai._vectorizer_q_1 where loading_retries < {tries}");
        wait_until("they were tried again", SETTLES_WITHIN, || scene.count(&waiting) == 0);
    }
    scene.settle("docs");
    assert!(failure(&mut scene, 30).contains("status 503"), "{}", failure(&mut scene, 30));
    assert_eq!(chunk(&mut scene, 31).as_deref(), Some("all of it"));

    // A change is tried at once, whatever rests.
    insert(&mut scene, &[(40, &web.url("/busy"))]);
    scene.wait_for_status("docs", "rows_pending", |pending| pending == "1");
    scene.db.exec("update docs set uri = $1 where id = 40", &[&web.url("/page")]);
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 40).as_deref(), Some("# Title\n\nText"));
    scene.cluster.assert_healthy();
}

/// Fear: a vectorizer whose documents cannot be had is made without a word, or stands still without
/// one.
#[test]
fn a_missing_directory_is_said_when_it_is_made_and_by_the_doctor() {
    let outer = tempfile::tempdir().unwrap();
    let missing = outer.path().join("missing");
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "200ms"));
    vectorize(&mut scene, "uri text", LOADING, &[]);
    insert(&mut scene, &[(1, "a.txt"), (2, "http://127.0.0.1/")]);
    scene.settle("docs");
    assert_eq!(
        failure(&mut scene, 1),
        "loading: files are not read: autovector.document_directory is not set"
    );
    assert!(failure(&mut scene, 2).contains("are not allowed"));
    let finding = "select finding from ai.doctor() where subject = 'docs' and severity = 'error'";
    let said: String = scene.db.one(finding, &[]);
    assert!(said.starts_with("no document can be loaded"), "{said}");
    scene.db.batch(&format!("alter system set autovector.document_directory = '{}'", missing.display()));
    scene.db.batch("select pg_reload_conf()");
    wait_until("the setting counts", SETTLES_WITHIN, || {
        let said: String = scene.db.one(finding, &[]);
        said.starts_with("autovector.document_directory cannot be read") && said.contains("does not exist")
    });
    fs::create_dir(&missing).unwrap();
    fs::write(missing.join("a.txt"), "there").unwrap();
    assert_eq!(scene.count(&finding.replace("select finding", "select count(*)")), 0);
    scene.db.batch("select ai.retry_failed('docs', '%not set')");
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 1).as_deref(), Some("there"));
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_failed_1"), 1);
    scene.cluster.assert_healthy();
}
