//! Documents that are made to harm: each is one failed row, and the worker goes on.

use autovector_cluster_tests::scene::SETTLES_WITHIN;
use autovector_cluster_tests::{Scene, Settings, Spec, Sql, process, samples, wait_until};

use super::{chunk, create, failure};

fn settings() -> Settings {
    Settings::default()
        .set("autovector.document_max_size", "4MB")
        .set("autovector.document_memory", "64MB")
        .set("autovector.document_timeout", "1s")
}

/// Fear: a bomb takes the server's memory, a deep document its stack, an endless one its time; the
/// postmaster restarts everything, or good rows wait for ever.
#[test]
fn hostile_documents_cost_a_failed_row_each() {
    let mut scene = Scene::with(settings());
    scene.db.batch("create table docs (id bigint primary key, body bytea)");
    let (spaces, length) = samples::deflated_spaces(100);
    let deep_pdf = {
        let mut objects: Vec<Vec<u8>> = vec![b"<< /Type /Catalog /Pages 2 0 R >>".to_vec()];
        objects.push([b"[".repeat(500_000), b"]".repeat(500_000)].concat());
        samples::pdf_of_objects(&objects)
    };
    let looping_pdf = samples::pdf_of_objects(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 /Parent 2 0 R >>".to_vec(),
    ]);
    // Each form draws the next one twice.
    let endless: Vec<Vec<usize>> =
        (0..60).map(|i| if i < 59 { vec![i + 1, i + 1] } else { vec![] }).collect();
    let flood = samples::pdf(&[vec![(11.0, 700, "x")]; 1]);
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("a bomb", samples::zip_with_deflated(&[], "word/document.xml", &spaces, 0, length)),
        ("a bomb that lies", samples::zip_with_deflated(&[], "word/document.xml", &spaces, 0, 1000)),
        ("a deep PDF", deep_pdf),
        ("a PDF that is its own page", looping_pdf),
        ("a PDF that draws itself", samples::pdf_of_forms(&[vec![0]])),
        ("a PDF that draws for ever", samples::pdf_of_forms(&endless)),
        ("too large", vec![b'a'; 5 << 20]),
        ("a PDF that is cut off", flood[..flood.len() / 2].to_vec()),
    ];
    for (id, (_, bytes)) in hostile.iter().enumerate() {
        scene.db.exec("insert into docs values ($1, $2)", &[&(id as i64), bytes]);
    }
    for id in 100..120i64 {
        scene.db.exec("insert into docs values ($1, convert_to('good ' || $1::bigint, 'UTF8'))", &[&id]);
    }
    create(&mut scene, "ai.loading_column('body')", &[]);
    scene.settle("docs");
    let failures: Vec<String> = (0..hostile.len()).map(|id| failure(&mut scene, id as i64)).collect();
    for ((name, _), failed) in hostile.iter().zip(&failures) {
        eprintln!("{name}: {failed}");
    }
    assert!(failures[0].contains("memory"), "{}", failures[0]);
    assert!(failures[4].contains("nested too deep"), "{}", failures[4]);
    assert!(failures[5].contains("longer than 1s"), "{}", failures[5]);
    assert!(failures[6].starts_with("loading: the document has 5242880 bytes"));
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 20);
    assert_eq!(chunk(&mut scene, 119).as_deref(), Some("good 119"));
    // The postmaster is the same, and nothing crashed.
    scene.cluster.assert_healthy();
}

/// Fear: killing what reads documents ends the worker, or leaves it unable to read for ever.
#[test]
fn a_worker_survives_its_readers() {
    let mut scene = Scene::with(settings().set("autovector.naptime", "200ms"));
    scene.db.batch("create table docs (id bigint primary key, body bytea)");
    create(&mut scene, "ai.loading_column('body')", &[]);
    scene.db.batch("insert into docs values (1, 'one')");
    scene.settle("docs");
    let worker = scene.workers()[0];
    let nursery = children_of(worker);
    assert_eq!(nursery.len(), 1, "one process beside the worker");
    process::signal(nursery[0], libc::SIGKILL);
    scene.db.batch("insert into docs values (2, 'two')");
    // It is noticed, nobody is blamed, and the next worker reads.
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 2).as_deref(), Some("two"));
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_failed_1"), 0);
    let nursery = children_of(scene.workers()[0]);
    scene.cluster.stop(autovector_cluster_tests::StopMode::Fast);
    wait_until("the readers have gone with the server", std::time::Duration::from_secs(60), || {
        nursery.iter().all(|pid| !process::is_alive(*pid))
    });
}

/// Fear: a document of 200 MB takes the worker's memory, though it is refused; or one that is allowed to be
/// so large takes it for good.
#[test]
fn two_hundred_megabytes_cost_a_failed_row() {
    const SIZE: usize = 200_000_000;
    let documents = tempfile::tempdir().unwrap();
    std::fs::write(documents.path().join("huge.txt"), b"a word ".repeat(SIZE / 7)).unwrap();
    std::fs::write(documents.path().join("small.txt"), "small").unwrap();
    let directory = documents.path().display().to_string();
    let mut scene = Scene::with(Settings::default().set("autovector.document_directory", &directory));
    scene.db.batch(
        "create table docs (id bigint primary key, uri text);
         insert into docs values (1, 'huge.txt'), (2, 'small.txt');
         create table blobs (id bigint primary key, body bytea);
         alter table blobs alter body set storage external;
         insert into blobs values (1, convert_to(repeat('a word ', 200000000 / 7), 'UTF8')), (2, 'small')",
    );
    create(&mut scene, "ai.loading_uri('uri')", &[]);
    scene.vectorize(&Spec::on("blobs"));
    scene.settle("docs");
    scene.settle("blobs");
    assert_eq!(chunk(&mut scene, 2).as_deref(), Some("small"));
    assert!(
        failure(&mut scene, 1).starts_with("loading: the document has 19999999"),
        "{}",
        failure(&mut scene, 1)
    );
    let failed = "select error from ai._vectorizer_q_failed_2";
    assert!(scene.db.one::<String>(failed, &[]).starts_with("the document has 19999999"));
    let worker = scene.workers()[0];
    let memory = || process::private_memory_kb(worker).expect("the same worker") / 1024;
    assert!(memory() < 64, "{} MB for documents that were not read", memory());

    // Read whole where that is allowed, it is too much text.
    scene.db.batch("alter system set autovector.document_max_size = '300MB'");
    scene.db.batch("select pg_reload_conf()");
    wait_until("the setting counts", SETTLES_WITHIN, || {
        scene.db.one::<String>("show autovector.document_max_size", &[]) == "300MB"
    });
    scene.db.batch("select ai.retry_failed('docs'), ai.retry_failed('blobs')");
    scene.settle("docs");
    scene.settle("blobs");
    assert!(failure(&mut scene, 1).contains("bytes of text"), "{}", failure(&mut scene, 1));
    assert!(memory() < 64, "{} MB are kept", memory());
    scene.db.batch("insert into docs values (3, 'small.txt')");
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 3).as_deref(), Some("small"));
    scene.cluster.assert_healthy();
}

fn children_of(pid: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}
