//! What people and monitoring see: every reason why nothing happens is found, figures agree with
//! what is there, the log is not flooded.

use std::time::Duration;

use autovector_cluster_tests::{Rule, SECRET, Scene, Settings, Spec, Sql, wait_until};

/// What `ai.doctor()` says besides "ok", a line a finding.
fn findings(scene: &mut Scene) -> Vec<String> {
    scene.db.all(
        "select format('%s %s: %s | %s', severity, subject, finding, fix) from ai.doctor() where severity <> 'ok'",
        &[],
    )
}

/// Asserts that exactly one finding holds all of `words`, and that it says what to do.
#[track_caller]
fn assert_found(scene: &mut Scene, words: &[&str]) {
    let found = findings(scene);
    let matching: Vec<&String> =
        found.iter().filter(|line| words.iter().all(|word| line.contains(word))).collect();
    assert_eq!(matching.len(), 1, "{words:?} in {found:?}");
    assert!(!matching[0].ends_with("| "), "no advice: {}", matching[0]);
}

fn embedded() -> Scene {
    let mut scene = Scene::new();
    scene.table("docs", 20);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(findings(&mut scene), Vec::<String>::new(), "all is well");
    assert_eq!(scene.db.all::<String>("select severity from ai.doctor()", &[]), ["ok"]);
    scene
}

/// Fear: a vectorizer stands still because of somebody, and nothing says so.
#[test]
fn the_doctor_finds_what_people_did() {
    let mut scene = embedded();
    scene.db.batch("select ai.pause_vectorizer('docs', 'inventory')");
    assert_found(&mut scene, &["info docs", "paused", "inventory", "ai.resume_vectorizer('docs')"]);
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.db.batch("alter table docs disable trigger all");
    let disabled = findings(&mut scene);
    assert!(
        !disabled.is_empty() && disabled.iter().all(|line| line.contains("changes are not seen")),
        "{disabled:?}"
    );
    for line in &disabled {
        let fix = line.rsplit("| ").next().expect("rsplit has a first part").to_owned();
        scene.db.batch(&fix);
    }
    assert_eq!(findings(&mut scene), Vec::<String>::new(), "the advice helps");
    scene.db.batch("alter system set autovector.allowed_endpoints = 'https://api.openai.com'");
    scene.db.batch("select pg_reload_conf()");
    wait_until("the setting counts", Duration::from_secs(20), || !findings(&mut scene).is_empty());
    assert_found(&mut scene, &["error docs: requests to", "not allowed", "autovector.allowed_endpoints"]);
    scene.db.batch("alter system reset autovector.allowed_endpoints");
    scene.db.batch("select pg_reload_conf()");
    wait_until("the setting counts", Duration::from_secs(20), || {
        !findings(&mut scene).iter().any(|line| line.contains("error docs: requests to"))
    });
    scene.db.batch("select ai.resume_vectorizer('docs')");
    assert_eq!(findings(&mut scene), Vec::<String>::new());
    scene.db.batch("drop table docs_embedding_store cascade");
    assert_found(&mut scene, &["error", "store", "was dropped"]);
    scene.db.batch("select ai.drop_vectorizer('docs')");
    scene.finish();
}

/// Fear: a provider that refuses, fails or is silent, and nobody sees which of it.
#[test]
fn the_doctor_finds_what_providers_did() {
    let mut scene = embedded();
    scene.provider.rule(Rule::containing("poison").error(400, "this input is refused"));
    scene.db.batch("update docs set body = 'poison' where id = 1");
    scene.settle("docs");
    assert_found(&mut scene, &["warning docs", "1 row", "ai.retry_failed('docs')"]);
    scene.db.batch("delete from docs where id = 1");
    scene.settle("docs");
    scene.provider.clear_rules();
    scene.provider.rule(Rule::always().error(503, "overloaded"));
    scene.db.batch("update docs set body = 'again' where id = 2");
    scene.wait_for_status("docs", "state", |state| state == "backing off");
    assert_found(&mut scene, &["warning docs", "backing off", "overloaded"]);
    scene.provider.clear_rules();
    scene.provider.rule(Rule::always().error(401, "bad key"));
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.wait_for_status("docs", "state", |state| state == "halted");
    assert_found(&mut scene, &["error docs", "halted", "ai.resume_vectorizer('docs')"]);
    scene.provider.clear_rules();
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    assert_eq!(findings(&mut scene), Vec::<String>::new());
    scene.finish();
}

/// Fear: a key that is not there is found out by the bill that does not come.
#[test]
fn the_doctor_finds_a_missing_key() {
    let mut scene = Scene::without_key(Settings::default());
    scene.table("docs", 2);
    let url = scene.provider.openai_url();
    scene.vectorize(&Spec::on("docs").embedding(&format!(
        "ai.embedding_openai('test-model', 8, base_url => '{url}', api_key_name => 'NO_SUCH_KEY')"
    )));
    scene.wait_for_status("docs", "state", |state| state == "halted");
    assert_found(&mut scene, &["error docs: no API key named NO_SUCH_KEY"]);
    scene.db.batch("select ai.drop_vectorizer('docs')");
    scene.finish();
}

/// One figure of `ai.metrics`.
fn metric(scene: &mut Scene, name: &str, labels: &str) -> Option<f64> {
    scene
        .db
        .query_opt(
            "select value from ai.metrics where name = $1 and labels = $2::text::jsonb",
            &[&name, &labels],
        )
        .expect("ai.metrics can be read")
        .map(|row| row.get(0))
}

/// Fear: figures for monitoring are missing, stale, or different from the status.
#[test]
fn metrics_agree_with_what_is_there() {
    let mut scene = embedded();
    scene.provider.rule(Rule::containing("poison").error(400, "this input is refused"));
    scene.db.batch("update docs set body = 'poison' where id = 1");
    scene.settle("docs");
    scene.db.batch(
        "select ai.pause_vectorizer('docs'); update docs set body = 'later ' || id where id in (2, 3)",
    );
    let rows = |state: &str| format!(r#"{{"vectorizer": "docs", "state": "{state}"}}"#);
    assert_eq!(metric(&mut scene, "autovector_rows", &rows("embedded")), Some(17.0));
    assert_eq!(metric(&mut scene, "autovector_rows", &rows("pending")), Some(2.0));
    assert_eq!(metric(&mut scene, "autovector_rows", &rows("failed")), Some(1.0));
    let of = r#"{"vectorizer": "docs"}"#;
    assert!(
        metric(&mut scene, "autovector_oldest_pending_seconds", of)
            .is_some_and(|age| (0.0..60.0).contains(&age))
    );
    assert_eq!(metric(&mut scene, "autovector_state", &rows("paused")), Some(1.0));
    assert_eq!(metric(&mut scene, "autovector_batches_in_flight", of), Some(0.0));
    let requests = scene.provider.call_count() as f64;
    assert_eq!(metric(&mut scene, "autovector_requests_total", of), Some(requests));
    assert_eq!(metric(&mut scene, "autovector_chunks_embedded_total", of), Some(20.0));
    assert_eq!(metric(&mut scene, "autovector_processes", r#"{"type": "launcher"}"#), Some(1.0));
    assert_eq!(metric(&mut scene, "autovector_processes", r#"{"type": "scheduler"}"#), Some(1.0));

    // Somebody without rights on the source sees that it is there, not how much of it.
    scene.db.batch("create role stranger login");
    let mut stranger = scene.cluster.connect_as("postgres", "stranger");
    assert_eq!(stranger.one::<i64>("select count(*) from ai.metrics where name = 'autovector_rows'", &[]), 0);
    assert_eq!(
        stranger.one::<i64>("select count(*) from ai.metrics where name = 'autovector_state'", &[]),
        1
    );
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a provider that is down for a week fills the disk with log lines and error rows.
#[test]
fn a_provider_that_is_down_floods_nothing() {
    let mut scene = embedded();
    scene.provider.rule(Rule::always().error(503, "overloaded"));
    scene.db.batch("update docs set body = 'changed ' || id");
    scene.wait_for_status("docs", "(select consecutive_errors from ai._vectorizer_control)", |errors| {
        errors.parse::<i32>().is_ok_and(|errors| errors >= 3)
    });
    // A line an error at most, and none with the key.
    let lines = scene.cluster.log().lines().filter(|line| line.contains("overloaded")).count();
    let errors = scene.count("select count(*) from ai.vectorizer_errors") as usize;
    assert!(lines <= errors + 1, "{lines} lines for {errors} errors");
    assert!(!scene.cluster.log().contains(SECRET));
    // The log of errors is bounded: old entries go with new ones.
    scene.db.batch(
        "insert into ai._vectorizer_errors select id, 'old', '{}', now() - i * interval '1 second'
           from ai.vectorizer, generate_series(1, 1500) i",
    );
    scene.db.batch("select ai.resume_vectorizer('docs')");
    wait_until("old errors go", Duration::from_secs(60), || {
        scene.count("select count(*) from ai.vectorizer_errors") <= 1000
    });
    scene.provider.clear_rules();
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}
