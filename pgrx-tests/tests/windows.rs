//! When vectorizers work and in which order: windows, runs by hand, priorities, budgets. The
//! calendar itself is tested with an injected clock in `crates/domain/src/windows/tests.rs`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use autovector_cluster_tests::{
    Call, Rule, Scene, Settings, Spec, Sql, provider::count_inputs, wait::holds_for, wait_until,
};

/// A window, in UTC, from `from` to `to` seconds from now.
fn window(scene: &mut Scene, from: i64, to: i64) -> String {
    scene.db.one(
        "select format('ai.scheduling_window(%L, %L, timezone => ''UTC'')',
                       to_char(n + $1 * interval '1 second', 'HH24:MI:SS'),
                       to_char(n + $2 * interval '1 second', 'HH24:MI:SS'))
           from (select clock_timestamp() at time zone 'UTC' as n) now",
        &[&(from as f64), &(to as f64)],
    )
}

/// A window that opens in three hours.
fn closed(scene: &mut Scene) -> String {
    window(scene, 3 * 3600, 4 * 3600)
}

/// Which table each call was for, by the first word of its first input.
fn tables(calls: &[Call]) -> Vec<String> {
    calls.iter().map(|call| call.inputs[0].split(' ').next().expect("a word").to_owned()).collect()
}

/// Fear: work is done outside the window, or not inside, or nobody knows when it goes on.
#[test]
fn work_is_done_inside_the_window_alone() {
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "1h"));
    scene.table("docs", 20);
    let scheduling = window(&mut scene, 6, 3600);
    scene.vectorize(&Spec::on("docs").with("scheduling", &scheduling));
    assert_eq!(scene.status("docs", "state").as_deref(), Some("waiting for window"));
    let opens: f64 = scene.db.one(
        "select extract(epoch from next_window - clock_timestamp())::float8 from ai.vectorizer_status",
        &[],
    );
    assert!((-1.0..=6.0).contains(&opens), "opens in {opens} s");
    let reason = scene.status("docs", "state_reason").expect("a reason");
    assert!(reason.contains("the next window opens at"), "{reason}");
    let findings: Vec<String> = scene.db.all("select finding || ' ' || fix from ai.doctor()", &[]);
    assert!(
        findings.iter().any(|f| f.contains("waiting for its window") && f.contains("ai.run_vectorizer")),
        "{findings:?}"
    );
    scene.db.batch("insert into docs values (21, 'captured meanwhile')");
    assert_eq!(scene.provider.call_count(), 0, "nothing before the window opens");
    let opening = Instant::now();
    scene.settle("docs");
    assert!(opening.elapsed() < Duration::from_secs(30));
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 21);
    let first: f64 = scene.db.one("select extract(epoch from min(embedded_at) - $1::text::timestamptz)::float8 from docs_embedding_store",
        &[&reason.rsplit("at ").next().expect("a moment").to_owned()]);
    assert!(first >= 0.0, "the first row was embedded {first} s after the window opened");
    scene.finish();
}

/// Fear: a window that closes throws the batch in hand away, or lets another one begin.
#[test]
fn a_batch_begun_inside_the_window_is_completed() {
    let mut scene = Scene::new();
    scene.table("docs", 100);
    let gate = scene.provider.hold(Rule::always());
    let scheduling = window(&mut scene, -60, 4);
    scene.vectorize(&Spec::on("docs").processing(10, 1).with("scheduling", &scheduling));
    gate.wait_until_holding(1);
    scene.wait_for_status("docs", "state", |state| state == "waiting for window");
    let held = gate.held_inputs().len() as i64;
    gate.release();
    wait_until("the batch is written", Duration::from_secs(30), || {
        scene.count("select count(*) from docs_embedding_store") == held
    });
    holds_for("no further batch begins", Duration::from_secs(1), || {
        scene.count("select count(*) from docs_embedding_store") == held && scene.provider.call_count() == 1
    });
    wait_until("the worker has left", Duration::from_secs(30), || scene.workers().is_empty());
    // Another window, and it goes on at once.
    let open = window(&mut scene, -60, 3600);
    scene.db.batch(&format!("select ai.set_scheduling('docs', ai.scheduling_windows({open}, ai.scheduling_window('00:00', '00:01')))"));
    scene.settle("docs");
    assert!(count_inputs(&scene.provider.calls()).values().all(|times| *times == 1));
    scene.finish();
}

/// Fear: a window opens what somebody paused, or a resumption ignores the window.
#[test]
fn a_pause_wins_over_the_window_and_the_window_over_a_resumption() {
    let mut scene = Scene::new();
    scene.table("docs", 5);
    let scheduling = closed(&mut scene);
    scene.vectorize(&Spec::on("docs").with("scheduling", &scheduling));
    scene.db.batch("select ai.pause_vectorizer('docs', 'both')");
    assert_eq!(scene.status("docs", "state || ' ' || state_reason").as_deref(), Some("paused both"));
    let open = window(&mut scene, -60, 3600);
    scene.db.batch(&format!("select ai.set_scheduling('docs', {open})"));
    holds_for("the pause holds", Duration::from_millis(500), || scene.provider.call_count() == 0);
    scene.db.batch(&format!("select ai.set_scheduling('docs', {scheduling})"));
    assert_eq!(scene.db.one::<String>("select ai.resume_vectorizer('docs')", &[]), "waiting for window");
    holds_for("the window holds", Duration::from_millis(500), || scene.provider.call_count() == 0);
    let none: String = scene.db.one("select ai.set_scheduling('docs')::text", &[]);
    assert_eq!(none, r#"{"config_type": "scheduling", "implementation": "default"}"#);
    scene.settle("docs");
    assert_eq!(scene.status("docs", "next_window"), None);
    scene.finish();
}

/// Fear: a window that cannot work is taken and never opens.
#[test]
fn windows_that_cannot_work_are_refused() {
    let mut scene = Scene::new();
    for (call, message) in [
        ("ai.scheduling_window('22:00', '22:00')", "has no length"),
        ("ai.scheduling_window('00:00', '00:00')", "has no length"),
        ("ai.scheduling_window('24:00', '06:00')", "cannot go from 24:00:00"),
        (
            "ai.scheduling_window('22:00', '06:00', timezone => 'Asia/Shanghai2')",
            "time zone \"Asia/Shanghai2\" is not known",
        ),
        ("ai.scheduling_window('22:00', '06:00', timezone => '')", "is not known"),
        ("ai.scheduling_window('22:00', '06:00', ARRAY['someday'])", "\"someday\" is no day of the week"),
        ("ai.scheduling_window('22:00', '06:00', ARRAY[]::text[])", "never open"),
        ("ai.scheduling_window('22:00', '06:00', ARRAY[NULL])", "no day of the week"),
        ("ai.scheduling_window(NULL, '06:00')", "start is null"),
        ("ai.scheduling_window('22:00', NULL)", "stop is null"),
        ("ai.scheduling_window('22:00:00.5', '06:00')", "whole second"),
        ("ai.scheduling_windows()", ""),
        ("ai.scheduling_windows(ai.scheduling_none())", "takes windows alone"),
        ("ai.scheduling_windows(ai.chunking_none())", "scheduling"),
        ("ai.scheduling_windows(NULL::jsonb)", "JSON object"),
    ] {
        let error = scene.db.error_of(&format!("select {call}"));
        if !message.is_empty() {
            assert_eq!(error.code().code(), "22023", "{call}: {}", error.message());
            assert!(error.message().contains(message), "{call}: {}", error.message());
            assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{call}");
        }
    }
    scene.finish();
}

/// Fear: the windows that SQL makes are not the ones that were meant.
#[test]
fn windows_have_the_zone_and_the_days_that_were_given() {
    let mut scene = Scene::new();
    scene.db.batch("set timezone = 'Asia/Shanghai'");
    let json =
        |scene: &mut Scene, call: &str| -> serde_json::Value { scene.db.one(&format!("select {call}"), &[]) };
    assert_eq!(
        json(&mut scene, "ai.scheduling_window('22:00', '6:00')"),
        serde_json::json!({"implementation": "windows", "config_type": "scheduling",
            "windows": [{"start": "22:00:00", "stop": "06:00:00", "timezone": "Asia/Shanghai"}]})
    );
    assert_eq!(
        json(&mut scene, "ai.scheduling_windows(ai.scheduling_window('22:00', '24:00', ARRAY['Sunday', 'fri'], 'europe/berlin'),
                                                ai.scheduling_window('0:00:30', '6:00', timezone => 'UTC'))"),
        serde_json::json!({"implementation": "windows", "config_type": "scheduling",
            "windows": [{"start": "22:00:00", "stop": "24:00:00", "days": ["fri", "sun"], "timezone": "Europe/Berlin"},
                        {"start": "00:00:30", "stop": "06:00:00", "timezone": "UTC"}]})
    );
    let at = |scene: &mut Scene, moment: &str| -> String {
        scene.db.one(
            "select open || ' ' || (next_window at time zone 'UTC')
               from ai._window(ai.scheduling_window('22:00', '06:00', timezone => 'Asia/Shanghai'), $1::text::timestamptz)",
            &[&moment],
        )
    };
    assert_eq!(at(&mut scene, "2026-07-01 13:59:59+00"), "false 2026-07-01 14:00:00");
    assert_eq!(at(&mut scene, "2026-07-01 14:00:00+00"), "true 2026-07-02 14:00:00");
    scene.finish();
}

/// Fear: a run by hand does nothing outside the window, or never ends.
#[test]
fn a_run_works_outside_the_window_up_to_its_limit() {
    let mut scene = Scene::new();
    scene.table("docs", 100);
    let scheduling = closed(&mut scene);
    scene.vectorize(&Spec::on("docs").processing(10, 3).with("scheduling", &scheduling));
    // So many rows.
    assert_eq!(scene.db.one::<String>("select ai.run_vectorizer('docs', max_rows => 25)", &[]), "running");
    scene.wait_for_status("docs", "rows_embedded", |rows| rows == "25");
    holds_for("it stops there", Duration::from_millis(700), || {
        scene.count("select count(*) from docs_embedding_store") == 25
    });
    assert_eq!(scene.status("docs", "state").as_deref(), Some("waiting for window"));
    // All that there is, and no more.
    scene.db.batch("select ai.run_vectorizer('docs')");
    scene.settle("docs");
    scene.wait_for_status("docs", "state", |state| state == "waiting for window");
    scene.db.batch("insert into docs values (101, 'after the run')");
    holds_for("the run is over", Duration::from_millis(700), || {
        scene.provider.times_sent("after the run") == 0
    });
    // So long; what changes meanwhile is done too.
    scene.db.batch("select ai.run_vectorizer('docs', '3 seconds')");
    scene.settle("docs");
    scene.db.batch("insert into docs values (102, 'during the run')");
    scene.settle("docs");
    scene.wait_for_status("docs", "state", |state| state == "waiting for window");
    assert_eq!(scene.status("docs", "run_until"), None);
    scene.db.batch("insert into docs values (103, 'too late')");
    holds_for("the time is over", Duration::from_millis(700), || scene.provider.times_sent("too late") == 0);
    assert_eq!(scene.status("docs", "rows_pending").as_deref(), Some("1"));
    // Nothing to do: nothing is left behind that would let later changes through.
    scene.db.batch("delete from docs where id = 103");
    assert_eq!(scene.db.one::<String>("select ai.run_vectorizer('docs')", &[]), "idle");
    assert!(count_inputs(&scene.provider.calls()).values().all(|times| *times == 1));
    scene.finish();
}

/// Fear: the order of work is left to chance.
#[test]
fn lower_numbers_of_priority_work_first() {
    let mut scene = Scene::new();
    for (name, priority) in [("slow", 100), ("fast", 1)] {
        scene.table(name, 200);
        scene.vectorize(&Spec::on(name).processing(10, 2).with("priority", &priority.to_string()));
        scene.db.batch(&format!("select ai.pause_vectorizer('{name}')"));
    }
    assert_eq!(scene.status("fast", "priority").as_deref(), Some("1"));
    scene.wait_for_status("slow", "state", |state| state == "paused");
    let before = scene.provider.call_count();
    scene.provider.set_latency(Duration::from_millis(10));
    scene.db.batch("begin; select ai.resume_vectorizer('slow'); select ai.resume_vectorizer('fast'); commit");
    scene.settle("slow");
    scene.settle("fast");
    let order = tables(&scene.provider.calls()[before..]);
    let last_fast = order.iter().rposition(|name| name == "fast").expect("fast was embedded");
    let slow_before = order[..last_fast].iter().filter(|name| *name == "slow").count();
    eprintln!("{slow_before} of {} calls of the slow one before the last of the fast one", order.len());
    assert!(slow_before <= 2, "{order:?}");
    // A change of the priority counts for the next batch.
    scene.db.batch("select ai.set_priority('slow', 0)");
    assert_eq!(scene.status("slow", "priority").as_deref(), Some("0"));
    scene.finish();
}

/// Fear: of two equal ones, one gets everything.
#[test]
fn equal_priorities_share() {
    let mut scene = Scene::new();
    for name in ["one", "two"] {
        scene.table(name, 400);
        scene.vectorize(&Spec::on(name).processing(5, 2));
        scene.db.batch(&format!("select ai.pause_vectorizer('{name}')"));
    }
    let before = scene.provider.call_count();
    scene.provider.set_latency(Duration::from_millis(10));
    scene.db.batch("select ai.resume_vectorizer(name) from ai.vectorizer");
    scene.settle("one");
    scene.settle("two");
    let order = tables(&scene.provider.calls()[before..]);
    let half = order.len() / 2;
    let ones = order[..half].iter().filter(|name| *name == "one").count();
    assert!((half * 3 / 10..=half * 7 / 10).contains(&ones), "{ones} of the first {half} calls are for one");
    scene.finish();
}

/// Fear: a backfill of days holds up the rows that change today, also those of others.
#[test]
fn fresh_changes_come_before_a_backfill() {
    let mut scene = Scene::new();
    scene.table("big", 600);
    scene.table("daily", 5);
    scene.vectorize(&Spec::on("daily").with("priority", "500"));
    scene.settle("daily");
    scene.provider.set_latency(Duration::from_millis(20));
    scene.vectorize(&Spec::on("big").processing(5, 2).with("priority", "1"));
    wait_until("the backfill goes on", Duration::from_secs(30), || scene.provider.call_count() > 5);
    let at = scene.provider.call_count();
    scene.db.batch("update big set body = 'big fresh' where id = 600; update daily set body = 'daily fresh' where id = 1");
    wait_until("both are embedded", Duration::from_secs(30), || {
        scene.provider.times_answered("big fresh") == 1 && scene.provider.times_answered("daily fresh") == 1
    });
    let calls = scene.provider.calls();
    let place = |text: &str| {
        calls.iter().position(|call| call.inputs.iter().any(|input| input == text)).expect("it was sent")
    };
    eprintln!("calls between: {} and {}", place("big fresh") - at, place("daily fresh") - at);
    assert!(place("big fresh") - at < 20, "{}", place("big fresh") - at);
    assert!(place("daily fresh") - at < 20, "{}", place("daily fresh") - at);
    assert!(scene.count("select count(*) from big_embedding_store") < 600, "the backfill still goes on");
    scene.settle("big");
    scene.finish();
}

/// Fear: one with a higher priority whose provider hangs stops all the others.
#[test]
fn a_hanging_provider_does_not_hold_back_lower_priorities_for_long() {
    let mut scene = Scene::new();
    let silent = autovector_cluster_tests::Provider::start();
    silent.rule(Rule::always().never_answers());
    scene.table("bad", 500);
    scene.table("good", 100);
    let embedding = format!("ai.embedding_openai('test-model', 8, base_url => '{}')", silent.openai_url());
    scene.vectorize(&Spec::on("bad").embedding(&embedding).with("priority", "1"));
    wait_until("the bad one hangs", Duration::from_secs(30), || silent.in_flight() > 0);
    scene.vectorize(&Spec::on("good"));
    scene.settle("good");
    assert!(silent.in_flight() > 0, "it still hangs");
    scene.cluster.assert_healthy();
}

/// Fear: a budget is no limit, or a vectorizer that used it up stays silent for ever.
#[test]
fn a_budget_pauses_by_itself_and_goes_on_when_the_period_turns() {
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "1h"));
    // Three words a text: the provider counts 3 tokens.
    scene.table("docs", 100);
    scene.vectorize(&Spec::on("docs").processing(10, 4));
    scene.settle("docs");
    scene.db.batch("select ai.pause_vectorizer('docs')");
    scene.db.batch("update docs set body = 'docs again ' || id");
    scene.db.batch("select ai.set_budget('docs', 90, '8 seconds')");
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.wait_for_status("docs", "state", |state| state == "paused");
    let (used, reason): (i64, String) = {
        let row = scene
            .db
            .query_one("select budget_used, state_reason from ai.vectorizer_status", &[])
            .expect("a row");
        (row.get(0), row.get(1))
    };
    assert!((90..=120).contains(&used), "{used} tokens of 90 used: at most a batch more");
    assert!(reason.contains("the budget of 90 tokens is used up until"), "{reason}");
    let findings: Vec<String> = scene.db.all("select finding from ai.doctor()", &[]);
    assert!(findings.iter().any(|f| f.contains("the budget of 90 tokens is used up")), "{findings:?}");
    let error = scene.db.error_of("select ai.run_vectorizer('docs')");
    assert_eq!(error.code().code(), "55000");
    wait_until("the worker has left", Duration::from_secs(30), || scene.workers().is_empty());
    let calls = scene.provider.call_count();
    wait_until("it goes on with the next period", Duration::from_secs(40), || {
        scene.provider.call_count() > calls
    });
    // More money, and the rest is done at once.
    scene.db.batch("select ai.set_budget('docs', 100000, '8 seconds')");
    scene.settle("docs");
    scene.db.batch("select ai.set_budget('docs', NULL)");
    assert_eq!(scene.status("docs", "budget_tokens"), None);
    let twice: HashMap<_, _> =
        count_inputs(&scene.provider.calls()).into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    scene.finish();
}

/// Fear: periods of months drift, or end in the past.
#[test]
fn periods_of_a_budget_follow_the_calendar() {
    let mut scene = Scene::new();
    for (anchor, per, at, end) in [
        ("2026-01-01", "1 month", "2026-01-01", "2026-02-01"),
        ("2026-01-01", "1 month", "2033-03-01 00:00", "2033-04-01"),
        ("2026-01-31", "1 month", "2026-02-28 12:00", "2026-03-31"),
        ("2026-01-01", "1 day", "2026-06-01 12:00", "2026-06-02"),
        ("2026-01-01", "1 year", "2126-06-01 12:00", "2127-01-01"),
        ("2026-01-01", "7 days", "2026-01-08", "2026-01-15"),
        ("2030-01-01", "1 month", "2026-03-15", "2026-04-01"),
        ("2026-03-16", "1 day", "2026-03-15 12:00", "2026-03-16"),
    ] {
        let found: String = scene.db.one(
            "select (ai._period_end($1::text::timestamptz, $2::text::interval, $3::text::timestamptz) at time zone 'UTC')::text",
            &[&anchor, &per, &at],
        );
        assert_eq!(found, format!("{end} 00:00:00"), "{anchor} + {per} at {at}");
    }
    let second: bool = scene.db.one("select ai._period_end('2000-01-01', '1 second', now()) between now() and now() + interval '1 second'", &[]);
    assert!(second);
    scene.finish();
}
