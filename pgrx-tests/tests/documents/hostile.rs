//! Documents that are made to harm: each is one failed row, and the worker goes on.

use autovector_cluster_tests::{Scene, Settings, Sql, samples};

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
    autovector_cluster_tests::process::signal(nursery[0], libc::SIGKILL);
    scene.db.batch("insert into docs values (2, 'two')");
    // It is noticed, nobody is blamed, and the next worker reads.
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 2).as_deref(), Some("two"));
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_failed_1"), 0);
    let nursery = children_of(scene.workers()[0]);
    scene.cluster.stop(autovector_cluster_tests::StopMode::Fast);
    autovector_cluster_tests::wait_until(
        "the readers have gone with the server",
        std::time::Duration::from_secs(60),
        || nursery.iter().all(|pid| !autovector_cluster_tests::process::is_alive(*pid)),
    );
}

fn children_of(pid: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}
