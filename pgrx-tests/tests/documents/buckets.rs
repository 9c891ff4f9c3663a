//! Documents in object storage.

use std::fs;

use autovector_cluster_tests::bucket::{Bucket, KEY_ID, NAME, SECRET_KEY};
use autovector_cluster_tests::scene::SETTLES_WITHIN;
use autovector_cluster_tests::{Scene, Settings, Sql, samples, wait_until};

use super::{chunk, failure, vectorize};

fn put(bucket: &Bucket, key: &str, bytes: &[u8]) {
    let path = bucket.file(key);
    fs::create_dir_all(path.parent().expect("in the bucket")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// Fear: another bucket than the listed one is read, or the server's keys get into a message; or an
/// object of the listed one is not read.
#[test]
fn objects_are_read_from_listed_buckets_alone() {
    let bucket = Bucket::start();
    let secrets = tempfile::tempdir().unwrap();
    put(&bucket, "deeper/with space.pdf", &samples::pdf(&[vec![(11.0, 700, "a page")]]));
    put(&bucket, "plain.txt", b"plain text");
    put(&bucket, "large.txt", &[b'x'; 150_000]);
    put(&bucket, "empty.txt", b"");
    let mut scene = Scene::with(
        Settings::default()
            .set("autovector.document_endpoints", &format!("https://docs.example, s3://{NAME}"))
            .set("autovector.s3_endpoint", &bucket.endpoint())
            .set("autovector.secrets_directory", secrets.path().to_str().unwrap())
            .set("autovector.document_max_size", "100kB")
            .set("autovector.naptime", "200ms"),
    );
    vectorize(&mut scene, "uri text", "ai.loading_uri('uri', retries => 1)", &[]);
    // What keeps all documents away is said before the first of them.
    let finding = "select finding from ai.doctor() where subject = 'docs' and severity = 'error'";
    let said: String = scene.db.one(finding, &[]);
    assert_eq!(said, "secret \"AWS_ACCESS_KEY_ID\" is not there");
    let at = |key: &str| format!("s3://{NAME}/{key}");
    // Keys that are wrong fail the row, and are replaced while the worker runs.
    fs::write(secrets.path().join("AWS_ACCESS_KEY_ID"), KEY_ID).unwrap();
    fs::write(secrets.path().join("AWS_SECRET_ACCESS_KEY"), "wrong").unwrap();
    assert_eq!(scene.db.all::<String>(finding, &[]), [""; 0]);
    scene.db.exec("insert into docs values (20, $1)", &[&at("plain.txt")]);
    scene.settle("docs");
    assert!(failure(&mut scene, 20).starts_with("loading: "), "{}", failure(&mut scene, 20));
    let worker = scene.workers();
    fs::write(secrets.path().join("AWS_SECRET_ACCESS_KEY"), SECRET_KEY).unwrap();

    let uris = [
        (1, at("deeper/with space.pdf")),
        (2, at("plain.txt")),
        (3, at("empty.txt")),
        (10, at("missing.txt")),
        (11, at("large.txt")),
        (12, at("")),
        (13, "s3://elsewhere/plain.txt".to_owned()),
        (14, at("deeper/with%20space.pdf")),
        (15, format!("s3://key:secret@{NAME}/plain.txt")),
        (16, at("../../etc/passwd")),
    ];
    for (id, uri) in &uris {
        scene.db.exec("insert into docs values ($1, $2)", &[&i64::from(*id), uri]);
    }
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 1).as_deref(), Some("a page"));
    assert_eq!(chunk(&mut scene, 2).as_deref(), Some("plain text"));
    assert_eq!(chunk(&mut scene, 3), None);
    assert_eq!(scene.workers(), worker, "another worker reads the keys anew anyway");
    let mut because = |id| failure(&mut scene, id);
    assert_eq!(because(10), "loading: \"missing.txt\" does not exist in the bucket");
    assert!(because(11).contains("150000"), "{}", because(11));
    assert!(because(12).contains("not a document"));
    assert!(because(13).contains("can list s3://elsewhere in autovector.document_endpoints"));
    assert!(because(14).contains("does not exist"));
    assert!(because(15).contains("no address"));
    for id in 10..=16 {
        assert!(because(id).starts_with("loading: ") && !because(id).contains(SECRET_KEY), "{}", because(id));
    }

    // A service that is down is asked again later.
    drop(bucket);
    scene.db.exec("insert into docs values (21, $1)", &[&at("plain.txt")]);
    let resting = "select count(*) from ai._vectorizer_q_1 where id = 21 and loading_retry_after > now()";
    wait_until("it is tried again later", SETTLES_WITHIN, || scene.count(resting) == 1);
    scene.cluster.assert_healthy();
}
