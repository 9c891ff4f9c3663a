//! Whose fault is it? A bad row costs one row; a provider that is down or busy costs nobody
//! anything but time; a wrong configuration stops with a reason.

use std::time::Duration;

use autovector_cluster_tests::{
    Provider, Rule, Scene, Settings, Spec, Sql,
    provider::{Shape, count_inputs},
    wait_until,
};

/// Fails fast, so that the retries of a scenario fit into a test.
fn impatient() -> Settings {
    Settings::default().set("autovector.request_timeout", "1s")
}

/// Rows in the failed table of `docs`, with their errors.
fn failed(scene: &mut Scene) -> Vec<(i64, String)> {
    let rows = scene.db.query("select id, error from ai._vectorizer_q_failed_1 order by 1", &[]);
    rows.expect("the failed table").iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Embeds `rows` rows, of which those in `poison` are refused; returns the number of calls.
fn isolate(rows: i64, batch: u32, poison: &[i64]) -> (Scene, usize) {
    let mut scene = Scene::new();
    scene.table("docs", rows);
    scene.db.exec("update docs set body = 'poison ' || id where id = any($1)", &[&poison]);
    scene.provider.rule(Rule::containing("poison").error(400, "this input is refused"));
    scene.vectorize(&Spec::on("docs").processing(batch, 1));
    scene.settle("docs");
    let ids: Vec<i64> = failed(&mut scene).iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, poison, "exactly the poisonous rows failed");
    assert!(failed(&mut scene).iter().all(|(_, error)| error.contains("this input is refused")));
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), rows - poison.len() as i64);
    let answered = count_inputs(scene.provider.calls().iter().filter(|call| call.was_answered()));
    assert!(answered.values().all(|times| *times == 1), "no good row is paid for twice");
    let calls = scene.provider.call_count();
    (scene, calls)
}

/// Requests that may go to finding out that it is not the form of the vectors which is refused.
const DOUBTS: usize = 2;

/// Fear: one refused row stops its batch, or each of its neighbours is sent alone.
#[test]
fn one_poison_row_costs_one_row() {
    let (scene, calls) = isolate(256, 256, &[77]);
    assert!(calls <= 1 + 2 * 8 + DOUBTS, "{calls} calls for 1 of 256");
    scene.finish();
}

/// Fear: several poison rows multiply.
#[test]
fn three_poison_rows_cost_three_rows() {
    let (scene, calls) = isolate(256, 256, &[1, 128, 256]);
    assert!(calls <= 1 + 3 * 2 * 8 + DOUBTS, "{calls} calls for 3 of 256");
    scene.finish();
}

/// Fear: many poison rows cost more than sending every row alone, twice.
#[test]
fn fifty_poison_rows_cost_fifty_rows() {
    let poison: Vec<i64> = (1..=50).map(|i| i * 5).collect();
    let (scene, calls) = isolate(256, 256, &poison);
    assert!(calls <= 2 * 256, "{calls} calls for 50 of 256");
    scene.finish();
}

/// Fear: an edited row stays failed; a failed row shows its old vector.
#[test]
fn editing_a_failed_row_tries_it_again() {
    let (mut scene, _) = isolate(20, 20, &[5]);
    scene.db.batch("update docs set body = 'mended' where id = 5");
    scene.settle("docs");
    assert_eq!(failed(&mut scene), []);
    assert_eq!(
        scene.db.all::<String>("select chunk from docs_embedding_store where id = 5", &[]),
        ["mended"]
    );
    scene.db.batch("update docs set body = 'poison again' where id = 6; delete from docs where id = 5");
    scene.settle("docs");
    assert_eq!(failed(&mut scene).iter().map(|(id, _)| *id).collect::<Vec<_>>(), [6]);
    assert_eq!(scene.count("select count(*) from docs_embedding_store where id = 6"), 0);
    scene.finish();
}

/// Fear: `retry_failed` retries other rows than asked, or nothing.
#[test]
fn retry_failed_retries_what_was_named() {
    let (mut scene, _) = isolate(20, 20, &[5, 9]);
    assert_eq!(scene.db.one::<i64>("select ai.retry_failed('docs', '%another error%')", &[]), 0);
    scene.provider.clear_rules();
    assert_eq!(scene.db.one::<i64>("select ai.retry_failed('docs', '%is refused%')", &[]), 2);
    scene.settle("docs");
    assert_eq!(failed(&mut scene), []);
    scene.finish();
}

/// For each fault a vectorizer of 100 rows with a provider of its own, to whose next calls the rule
/// applies; all at once, because they wait most of the time. Each must recover by itself without
/// blaming a row.
fn recover_from(faults: Vec<(&str, Rule)>) {
    let mut scene = Scene::with(impatient());
    let mut providers = Vec::new();
    for (i, (name, rule)) in faults.into_iter().enumerate() {
        let table = format!("docs{i}");
        scene.table(&table, 100);
        let provider = Provider::start();
        provider.rule(rule);
        let create = Spec::on(&table).processing(50, 2).sql(&provider);
        scene.db.batch(&create);
        providers.push((name, table, provider));
    }
    for (name, table, provider) in &providers {
        scene.settle(table);
        assert_eq!(scene.count(&format!("select count(*) from {table}_embedding_store")), 100, "{name}");
        assert_eq!(scene.status(table, "rows_failed").as_deref(), Some("0"), "{name}");
        let calls = provider.call_count();
        assert!((3..=30).contains(&calls), "{name}: {calls} calls for two good ones and at least one bad");
    }
    scene.finish();
}

/// Fear: a busy provider is hammered, or its rows are blamed.
#[test]
fn too_many_requests_are_waited_out() {
    let busy = || Rule::always().error(429, "slow down");
    recover_from(vec![
        ("429 with Retry-After", busy().header("Retry-After", "1").times(3)),
        ("429 without", busy().times(2)),
    ]);
}

/// Fear: nonsense in Retry-After stops the vectorizer for ever, or crashes it.
#[test]
fn a_senseless_retry_after_is_no_sentence() {
    let values = ["0", "-5", "garbage", "", "NaN", "Wed, 21 Oct 2015 07:28:00 GMT"];
    let rule = |value| Rule::always().error(429, "slow down").header("Retry-After", value).times(1);
    recover_from(values.into_iter().map(|value| (value, rule(value))).collect());
}

/// Fear: `Retry-After` is ignored.
#[test]
fn retry_after_is_honoured() {
    let mut scene = Scene::with(impatient());
    scene.table("docs", 10);
    scene.provider.rule(Rule::always().error(429, "slow down").header("Retry-After", "3").times(1));
    scene.vectorize(&Spec::on("docs").processing(100, 1));
    scene.settle("docs");
    let calls = scene.provider.calls();
    let waited = calls[1].at - calls[0].at;
    assert!(waited >= Duration::from_millis(2900), "asked again after {waited:?}");
    // Not only at the next look, which is `autovector.naptime` (10 s) away.
    assert!(waited < Duration::from_secs(8), "asked again after {waited:?}");
    scene.finish();
}

/// Fear: a rate budget is overrun, or makes the work stand still.
#[test]
fn a_rate_budget_spreads_the_requests() {
    let mut scene = Scene::with(impatient());
    scene.table("docs", 40);
    // One request a second, ten rows each, eight at once if they were let.
    let create = Spec::on("docs").processing(10, 8).sql(&scene.provider);
    scene.db.batch(&create.replace("concurrency => 8", "concurrency => 8, requests_per_minute => 60"));
    scene.settle("docs");
    let calls = scene.provider.calls();
    assert_eq!(calls.len(), 4);
    // 57 a minute and a burst of three; the first call comes without one.
    let took = calls[3].at - calls[0].at;
    assert!(took > Duration::from_millis(3 * 60_000 / 57 - 100), "4 requests in {took:?}");
    assert!(took < Duration::from_secs(20), "4 requests in {took:?}");
    scene.finish();
}

/// Fear: a server error is taken for a verdict on the rows.
#[test]
fn server_errors_are_waited_out() {
    let rule = |code| Rule::always().status(code, "<html>oops</html>").times(2);
    recover_from(vec![("500", rule(500)), ("502", rule(502)), ("503", rule(503))]);
}

/// Fear: a request that is never answered holds a worker for ever.
#[test]
fn silence_and_drips_end_at_the_deadline() {
    recover_from(vec![
        ("silence", Rule::always().never_answers().times(2)),
        ("drips", Rule::always().drips(Duration::from_millis(300)).times(2)),
    ]);
}

/// Fear: a connection that breaks loses rows.
#[test]
fn resets_are_waited_out() {
    recover_from(vec![("reset", Rule::always().resets().times(3))]);
}

/// Fear: nonsense with status 200 is stored, crashes the worker, or blames rows.
#[test]
fn nonsense_is_never_stored() {
    let garbage: [(&str, Vec<u8>); 7] = [
        ("empty body", Vec::new()),
        ("HTML", b"<html><body>captive portal</body></html>".to_vec()),
        ("cut JSON", br#"{"data":[{"index":0,"embedding":[0.1,"#.to_vec()),
        ("another object", br#"{"message":"ok"}"#.to_vec()),
        ("no UTF-8", b"{\"data\":\"\xff\xfe\"}".to_vec()),
        ("deep nesting", [vec![b'['; 200_000], vec![b']'; 200_000]].concat()),
        ("strings for numbers", br#"{"data":[{"index":0,"embedding":["a","b"]}]}"#.to_vec()),
    ];
    let mut faults: Vec<(&str, Rule)> =
        garbage.into_iter().map(|(name, bytes)| (name, Rule::always().garbage(bytes).times(1))).collect();
    faults.push(("short answer", Rule::always().shape(Shape::OneShort).times(1)));
    faults.push(("no number", Rule::always().shape(Shape::NotANumber).times(1)));
    recover_from(faults);
}

/// Fear: vectors are paired with texts by position although the answer numbers them.
#[test]
fn answers_in_another_order_are_paired_by_index() {
    let mut scene = Scene::new();
    scene.table("docs", 100);
    scene.provider.rule(Rule::always().shape(Shape::Reversed));
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 100);
    scene.finish();
}

/// Fear: a body without end fills the memory.
#[test]
fn an_endless_answer_is_cut_off() {
    let mut scene = Scene::with(Settings::default().set("autovector.request_timeout", "5s"));
    scene.table("docs", 10);
    scene.provider.rule(Rule::always().floods().times(1));
    scene.vectorize(&Spec::on("docs"));
    let mut most = 0;
    wait_until("the rows are embedded", Duration::from_secs(60), || {
        let used = scene
            .workers()
            .iter()
            .filter_map(|pid| autovector_cluster_tests::process::private_memory_kb(*pid))
            .max();
        most = most.max(used.unwrap_or(0));
        scene.count("select count(*) from docs_embedding_store") == 10
    });
    assert!(most > 0 && most < 700 << 10, "a worker took {most} kB");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a wrong key is tried for ever, or rows are blamed for it, or nobody is told.
#[test]
fn refused_credentials_halt_with_a_reason_and_resume_goes_on() {
    for code in [401, 403, 404] {
        let mut scene = Scene::new();
        scene.table("docs", 300);
        scene.provider.rule(Rule::always().error(code, "wrong key or model"));
        scene.vectorize(&Spec::on("docs").processing(50, 4));
        scene.wait_for_status("docs", "state", |state| state == "halted");
        let reason = scene.status("docs", "state_reason").expect("a reason");
        assert!(reason.contains(&code.to_string()) && reason.contains("wrong key or model"), "{reason}");
        assert_eq!(scene.status("docs", "rows_failed").as_deref(), Some("0"));
        wait_until("no call is in flight", Duration::from_secs(10), || scene.provider.in_flight() == 0);
        let calls = scene.provider.call_count();
        assert!(calls <= 16, "{calls} calls with a wrong key");
        scene.db.batch("insert into docs values (301, 'while halted')");
        autovector_cluster_tests::wait::holds_for(
            "nothing is called while halted",
            Duration::from_secs(1),
            || scene.provider.call_count() == calls,
        );
        scene.provider.clear_rules();
        scene.db.batch("select ai.resume_vectorizer('docs')");
        scene.settle("docs");
        assert_eq!(scene.count("select count(*) from docs_embedding_store"), 301);
        scene.finish();
    }
}

/// Fear: vectors of a wrong dimension are stored, or every row is marked failed.
#[test]
fn a_wrong_dimension_for_all_halts() {
    let mut scene = Scene::new();
    scene.table("docs", 20);
    scene.provider.rule(Rule::always().shape(Shape::OneComponentMore));
    scene.vectorize(&Spec::on("docs"));
    scene.wait_for_status("docs", "state", |state| state == "halted");
    let reason = scene.status("docs", "state_reason").expect("a reason");
    assert!(reason.contains('9') && reason.contains('8'), "names both dimensions: {reason}");
    assert_eq!(scene.status("docs", "rows_failed").as_deref(), Some("0"));
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 0);
    scene.provider.clear_rules();
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: an absurd `Retry-After` silences a vectorizer for years, and nobody can end it.
#[test]
fn a_huge_retry_after_is_capped_and_resume_ends_it() {
    let mut scene = Scene::with(impatient());
    scene.table("docs", 10);
    scene.provider.rule(Rule::always().error(429, "slow down").header("Retry-After", "1000000000").times(1));
    scene.vectorize(&Spec::on("docs"));
    scene.wait_for_status("docs", "state", |state| state == "backing off");
    let wait = "select max((details->>'retry_after_ms')::bigint) from ai.vectorizer_errors";
    assert!(scene.count(wait) <= 15 * 60 * 1000, "waits {} ms", scene.count(wait));
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a key that is missing from the server is found out by nobody, or sent as nothing.
#[test]
fn a_missing_key_halts_and_names_it() {
    let mut scene = Scene::without_key(Settings::default());
    scene.table("docs", 5);
    let url = scene.provider.openai_url();
    for (name, embedding, key) in [
        ("original", "ai.embedding_openai('test-model', 8)".to_owned(), "OPENAI_API_KEY"),
        (
            "named",
            format!("ai.embedding_openai('m', 8, api_key_name => 'NO_SUCH_KEY', base_url => '{url}')"),
            "NO_SUCH_KEY",
        ),
    ] {
        let destination = format!("ai.destination_table('{name}_vectors')");
        scene.vectorize(&Spec::on("docs").name(name).embedding(&embedding).with("destination", &destination));
        scene.wait_for_status(name, "state", |state| state == "halted");
        let reason = scene.status(name, "state_reason").expect("a reason");
        assert!(reason.contains(key), "{reason}");
        assert_eq!(scene.status(name, "rows_failed").as_deref(), Some("0"));
    }
    assert_eq!(scene.provider.call_count(), 0);
    scene.cluster.assert_healthy();
}

/// Fear: a server of one's own that asks for no key cannot be used without one.
#[test]
fn a_server_of_ones_own_needs_no_key() {
    let mut scene = Scene::without_key(Settings::default());
    scene.table("docs", 5);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert!(scene.provider.calls().iter().all(|call| call.authorization.is_none()));
    scene.finish();
}

/// Fear: a key that was put in later is not seen before a restart.
#[test]
fn a_key_file_that_comes_later_is_used_after_resume() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let path = directory.path().display().to_string();
    let mut scene = Scene::without_key(Settings::default().set("autovector.secrets_directory", &path));
    scene.table("docs", 5);
    let embedding = format!(
        "ai.embedding_openai('m', 8, api_key_name => 'LATE_KEY', base_url => '{}')",
        scene.provider.openai_url()
    );
    scene.vectorize(&Spec::on("docs").embedding(&embedding));
    scene.wait_for_status("docs", "state", |state| state == "halted");
    std::fs::write(directory.path().join("LATE_KEY"), "sk-late-key\n").expect("the key is written");
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    let calls = scene.provider.calls();
    assert!(
        calls.iter().all(|call| call.authorization.as_deref() == Some("Bearer sk-late-key")),
        "{calls:?}"
    );
    assert!(!scene.cluster.log().contains("sk-late-key"));
    scene.finish();
}

/// Fear: nobody listens at the address, and nobody comes back when somebody does.
#[test]
fn a_refused_connection_is_waited_out() {
    let mut scene = Scene::with(impatient());
    scene.table("docs", 10);
    let absent = Provider::start();
    let (port, url) = (absent.port(), absent.openai_url());
    drop(absent);
    let embedding = format!("ai.embedding_openai('test-model', 8, base_url => '{url}')");
    scene.vectorize(&Spec::on("docs").embedding(&embedding));
    wait_until("the failure is shown", Duration::from_secs(30), || {
        scene.status("docs", "last_error").is_some()
    });
    assert_eq!(scene.status("docs", "rows_failed").as_deref(), Some("0"));
    let late = Provider::start_on(port);
    scene.settle("docs");
    assert_eq!(late.calls().iter().filter(|call| call.was_answered()).count(), 1);
    scene.finish();
}

/// Fear: a changing number of requests in flight exceeds what was configured.
#[test]
fn concurrency_stays_within_its_bound() {
    let mut scene = Scene::new();
    scene.table("docs", 2000);
    scene.provider.set_latency(Duration::from_millis(20));
    scene.vectorize(&Spec::on("docs").processing(50, 3));
    scene.settle("docs");
    let most = scene.provider.most_in_flight();
    assert!((2..=3).contains(&most), "{most} requests at once, 3 allowed");
    scene.finish();
}

/// Fear: the key reaches the provider in another header, or not at all.
#[test]
fn the_key_is_sent_as_bearer_token_and_never_shown() {
    let mut scene = Scene::with(
        Settings::default()
            .set("log_statement", "all")
            .set("log_min_duration_statement", "0")
            .set("log_min_messages", "debug1"),
    );
    scene.table("docs", 5);
    scene
        .provider
        .rule(Rule::always().error(500, &format!("echo {}", autovector_cluster_tests::SECRET)).times(1));
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    let bearer = format!("Bearer {}", autovector_cluster_tests::SECRET);
    assert!(scene.provider.calls().iter().all(|call| call.authorization.as_deref() == Some(bearer.as_str())));
    scene.finish();
}
