//! Documents that lie in their rows.

use autovector_cluster_tests::samples::{self, samples};
use autovector_cluster_tests::{Scene, Spec, Sql};

use super::{chunk, create, failure, vectorize};

/// Fear: a kind of document is not read, or one bad document takes its batch along.
#[test]
fn every_kind_of_document_is_embedded() {
    let mut scene = Scene::new();
    scene.db.batch("create table docs (id bigint primary key, body bytea)");
    let samples = samples();
    for (id, sample) in samples.iter().enumerate() {
        scene.db.exec("insert into docs values ($1, $2)", &[&(id as i64), &sample.bytes]);
    }
    scene.db.batch("insert into docs values (100, null), (101, ''), (102, '\\x89504e470d0a1a0a00')");
    create(&mut scene, "ai.loading_column('body')", &[("parsing", "ai.parsing_docling()")]);
    // And some that come later, by the other way in.
    let late = &samples[0].bytes;
    scene.db.exec("insert into docs values (103, $1), (104, $2)", &[late, &&late[..late.len() / 2]]);
    scene.settle("docs");
    for (id, sample) in samples.iter().enumerate() {
        assert_eq!(chunk(&mut scene, id as i64).as_deref(), Some(sample.text), "{}", sample.kind);
    }
    assert_eq!(chunk(&mut scene, 100), None);
    assert_eq!(chunk(&mut scene, 101), None);
    assert_eq!(failure(&mut scene, 102), "parsing: the document is an image, which is not read");
    assert_eq!(chunk(&mut scene, 103).as_deref(), Some(samples[0].text));
    assert!(failure(&mut scene, 104).starts_with("parsing: the "), "{}", failure(&mut scene, 104));
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_failed_1"), 2);
    let logged = "select count(*) from ai.vectorizer_errors where message = 'parsing failed'
                    and details ->> 'failure_step' = 'parsing' and details ->> 'error_reason' like 'the document is an image%'";
    assert_eq!(scene.count(logged), 1);

    // A row that is mended is read again, and its old text goes with a bad one.
    scene.db.exec("update docs set body = $1 where id = 102", &[&"mended".as_bytes()]);
    scene.db.exec("update docs set body = $1 where id = 0", &[&&b"\x7fELF"[..]]);
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 102).as_deref(), Some("mended"));
    assert_eq!(chunk(&mut scene, 0), None);
    scene.cluster.assert_healthy();
}

/// Fear: ai.parsing_none looks at the bytes, or a domain over bytea is taken for text.
#[test]
fn without_parsing_bytes_are_text() {
    let mut scene = Scene::new();
    scene.db.batch("create domain document as bytea");
    vectorize(&mut scene, "body document", "ai.loading_column('body')", &[("parsing", "ai.parsing_none()")]);
    scene.db.batch("insert into docs values (1, convert_to('<html><p>as it is</p>', 'UTF8')), (2, '\\x4772fc6e'), (3, '\\x610062')");
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 1).as_deref(), Some("<html><p>as it is</p>"));
    assert_eq!(chunk(&mut scene, 2).as_deref(), Some("Grün"));
    assert!(failure(&mut scene, 3).starts_with("parsing: "));
    scene.cluster.assert_healthy();
}

/// Fear: configurations that cannot work are accepted, or JSON differs from pgai's.
#[test]
fn configurations_are_pgais_and_checked() {
    let mut scene = Scene::new();
    let json =
        |scene: &mut Scene, sql: &str| -> serde_json::Value { scene.db.one(&format!("select {sql}"), &[]) };
    assert_eq!(
        json(&mut scene, "ai.loading_uri('url', 3, 'arn:aws:iam::123:role/x')"),
        serde_json::json!({"implementation": "uri", "config_type": "loading", "column_name": "url", "retries": 3,
                           "aws_role_arn": "arn:aws:iam::123:role/x"})
    );
    assert_eq!(
        json(&mut scene, "ai.loading_uri('url')"),
        serde_json::json!({"implementation": "uri", "config_type": "loading", "column_name": "url", "retries": 6})
    );
    for parser in ["auto", "none", "pymupdf", "docling"] {
        assert_eq!(
            json(&mut scene, &format!("ai.parsing_{parser}()")),
            serde_json::json!({"implementation": parser, "config_type": "parsing"})
        );
    }
    scene.table("texts", 1);
    scene.db.batch("create table docs (id bigint primary key, body bytea, url text)");
    let mut refused = |spec: Spec, loading: &str| {
        let sql = spec.sql(&scene.provider).replace("ai.loading_column('body')", loading);
        let error = scene.db.error_of(&sql);
        assert!(error.hint().is_some());
        format!("{} {}", error.code().code(), error.message())
    };
    let docling = || Spec::on("texts").with("parsing", "ai.parsing_docling()");
    assert!(
        refused(docling(), "ai.loading_column('body')").starts_with("22023 the parsing is for documents")
    );
    assert!(
        refused(Spec::on("docs"), "ai.loading_uri('body')").starts_with("22023 column \"body\" is bytea")
    );
    assert!(refused(Spec::on("docs"), "ai.loading_uri('url', -1)").starts_with("22023"));
    assert!(refused(Spec::on("docs"), "ai.loading_uri('url', 1, 'arn:aws:s3:::x')").contains("must match"));
    assert!(
        refused(Spec::on("docs"), "ai.loading_uri('url', 1, 'arn:aws:iam::1:role/x')").starts_with("0A000")
    );
    scene.finish();
}

/// Fear: documents are searched, rebuilt and estimated as if they were texts.
#[test]
fn a_vectorizer_of_documents_is_like_any_other() {
    let mut scene = Scene::new();
    vectorize(&mut scene, "body bytea", "ai.loading_column('body')", &[]);
    let pages = samples::pdf(&[vec![(11.0, 700, "one")], vec![(11.0, 700, "two")]]);
    scene.db.exec("insert into docs values (1, $1)", &[&pages]);
    scene.settle("docs");
    assert_eq!(chunk(&mut scene, 1).as_deref(), Some("one\n\ntwo"));
    let sent = scene.provider.times_sent("one\n\ntwo");
    scene.db.batch("update docs set body = body");
    scene.settle("docs");
    assert_eq!(scene.provider.times_sent("one\n\ntwo"), sent, "the same document costs nothing");
    scene.db.batch("update docs set body = body || '\\x0a'");
    scene.settle("docs");
    assert_eq!(scene.provider.times_sent("one\n\ntwo"), sent, "the same text costs nothing");
    let estimated: String = scene.db.one("select note from ai.estimate('docs')", &[]);
    assert!(estimated.contains("documents are not read"), "{estimated}");
    scene
        .db
        .batch("select ai.alter_vectorizer('docs', chunking => ai.chunking_character_text_splitter(5, 0))");
    scene.wait_for_status("docs", "rebuild", |state| state == "swapped");
    assert_eq!(chunk(&mut scene, 1).as_deref(), Some("one|two"));
    scene.cluster.assert_healthy();
}
