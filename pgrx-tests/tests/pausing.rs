//! Pausing and resuming: drained when it says so, transactional, durable, nothing done twice and
//! nothing forgotten, and everything that work takes is given back.

use std::time::{Duration, Instant};

use autovector_cluster_tests::{
    Check, Gate, Rule, Scene, Settings, Spec, Sql, StopMode, process, provider::count_inputs,
    wait::holds_for, wait_until,
};

/// A statement that waits for nothing is done within this time, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(3);

/// How long to wait for what comes at once.
const SOON: Duration = Duration::from_secs(60);

/// A backfill of `rows` rows whose requests wait at a gate.
fn held(rows: i64) -> (Scene, Gate) {
    let mut scene = Scene::new();
    scene.table("docs", rows);
    let gate = scene.provider.hold(Rule::always());
    scene.vectorize(&Spec::on("docs").processing(10, 2));
    gate.wait_until_holding(1);
    (scene, gate)
}

fn state(scene: &mut Scene, name: &str) -> String {
    scene.status(name, "state").expect("there is a state")
}

/// Names and states, as `ai.pause_all_vectorizers` and its sister return them.
fn pairs(scene: &mut Scene, sql: &str) -> Vec<String> {
    scene.db.all(&format!("select vectorizer || ' ' || state from {sql} order by 1"), &[])
}

/// Fear: `paused` is said while a request is out, or a batch is thrown away.
#[test]
fn paused_means_that_nothing_is_in_flight_and_the_batch_was_kept() {
    let (mut scene, gate) = held(100);
    let mut other = scene.cluster.connect("postgres");
    let waiting = std::thread::spawn(move || other.one::<String>("select ai.pause_vectorizer('docs')", &[]));
    holds_for("the pause waits for the batch", Duration::from_millis(300), || {
        scene.provider.in_flight() > 0 && !waiting.is_finished()
    });
    let held = gate.held_inputs();
    gate.release();
    assert_eq!(waiting.join().expect("the pause ends"), "paused");
    scene.provider.wait_until_at_rest();
    let calls = scene.provider.call_count();
    for text in &held {
        let stored: i64 = scene.db.one("select count(*) from docs_embedding_store where chunk = $1", &[text]);
        assert_eq!(stored, 1, "the result for {text} was kept");
    }
    holds_for("nothing is written and nobody asked", Duration::from_secs(1), || {
        scene.provider.call_count() == calls
            && scene.count("select count(*) from docs_embedding_store") == held.len() as i64
    });
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    assert!(count_inputs(&scene.provider.calls()).values().all(|times| *times == 1));
    scene.finish();
}

/// Fear: nobody can see what a pause waits for, or get out of it; or a wait that was cancelled has
/// paused all the same, or keeps others from pausing.
#[test]
fn a_waiting_pause_shows_as_a_lock_and_can_be_cancelled() {
    let (mut scene, gate) = held(100);
    const WAITING: &str = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
        where not l.granted and l.locktype = 'advisory' and a.query like '%ai.pause_vectorizer(%'
          and a.wait_event_type = 'Lock' and a.pid <> pg_backend_pid()";
    let mut other = scene.cluster.connect("postgres");
    let token = other.cancel_token();
    let waiting = std::thread::spawn(move || {
        let error = other.error_of("select ai.pause_vectorizer('docs', timeout => '10 minutes')");
        (other, error)
    });
    wait_until("the pause waits for a lock", SOON, || scene.count(WAITING) == 1);
    token.cancel_query(postgres::NoTls).expect("the request to cancel was sent");
    let (mut other, error) = waiting.join().expect("the pause ends");
    assert_eq!(error.code().code(), "57014", "{error}");
    assert_eq!(state(&mut scene, "docs"), "backfilling");
    // In a transaction whose lock_timeout is shorter than the pause's own patience.
    other.batch("set lock_timeout = '50ms'");
    assert_eq!(other.one::<String>("select ai.pause_vectorizer('docs')", &[]), "pausing");
    assert_eq!(other.one::<String>("show lock_timeout", &[]), "50ms");
    gate.release();
    scene.wait_for_status("docs", "state", |state| state == "paused");
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a pause without waiting waits, or one with a timeout waits for ever.
#[test]
fn a_pause_can_be_had_at_once_and_the_batch_is_still_completed() {
    let (mut scene, gate) = held(100);
    scene.db.timed(AT_ONCE, "begin; select ai.pause_vectorizer('docs', wait => false); commit");
    assert_eq!(state(&mut scene, "docs"), "pausing");
    let second: String =
        scene.db.one("select ai.pause_vectorizer('docs', timeout => '50 milliseconds')", &[]);
    assert_eq!(second, "pausing");
    let held = gate.held_inputs().len() as i64;
    gate.release();
    scene.wait_for_status("docs", "state", |state| state == "paused");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), held);
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a pause adds to the wait for a slow provider.
#[test]
fn a_pause_returns_as_soon_as_the_slow_call_has_ended() {
    let mut scene = Scene::new();
    scene.table("docs", 20);
    scene.provider.rule(Rule::always().after(Duration::from_secs(5)));
    scene.vectorize(&Spec::on("docs").processing(10, 1));
    wait_until("the call is out", Duration::from_secs(30), || scene.provider.in_flight() > 0);
    let begun = scene.provider.calls()[0].at;
    let said: String = scene.db.one("select ai.pause_vectorizer('docs')", &[]);
    let over = begun.elapsed().checked_sub(Duration::from_secs(5)).expect("not before the call has ended");
    eprintln!("pause returned {over:?} after the end of the call");
    assert_eq!(said, "paused");
    // The promise is 200 ms on a quiet machine.
    assert!(over < Duration::from_secs(2), "{over:?} after the end of the call");
    assert_eq!(scene.provider.call_count(), 1);
    scene.provider.clear_rules();
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a cancelled or rolled back pause leaves the vectorizer standing.
#[test]
fn a_pause_that_is_undone_leaves_it_running() {
    let (mut scene, gate) = held(60);
    scene.db.batch("begin; select ai.pause_vectorizer('docs', wait => false); rollback");
    scene.db.batch(
        "begin; savepoint a; select ai.pause_vectorizer('docs', wait => false); rollback to a; commit",
    );
    scene.db.batch("set statement_timeout = '300ms'");
    let error = scene.db.error_of("select ai.pause_vectorizer('docs')");
    assert_eq!(error.code().code(), "57014");
    scene.db.batch("reset statement_timeout");
    assert_eq!(state(&mut scene, "docs"), "backfilling");
    gate.release();
    scene.settle("docs");
    // The resumption of one that is undone, too.
    scene.db.batch("select ai.pause_vectorizer('docs', 'stays')");
    scene.db.batch("begin; select ai.resume_vectorizer('docs'); rollback");
    assert_eq!(state(&mut scene, "docs"), "paused");
    scene.db.batch("insert into docs values (100, 'waits')");
    holds_for("it stays paused", Duration::from_millis(500), || scene.provider.times_sent("waits") == 0);
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: calls that change nothing fail, or forget who paused and why.
#[test]
fn pausing_twice_and_resuming_what_runs_are_harmless() {
    let mut scene = Scene::new();
    scene.table("docs", 5);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(scene.db.one::<String>("select ai.resume_vectorizer('docs')", &[]), "running");
    scene.db.batch("create role olga superuser login");
    let mut olga = scene.cluster.connect_as("postgres", "olga");
    assert_eq!(olga.one::<String>("select ai.pause_vectorizer('docs', 'too loud')", &[]), "paused");
    assert_eq!(scene.db.one::<String>("select ai.pause_vectorizer('docs')", &[]), "paused");
    let who: String = scene.db.one(
        "select paused_by || ': ' || state_reason from ai.vectorizer_status where paused_at < clock_timestamp()",
        &[],
    );
    assert_eq!(who, "olga: too loud");
    scene.db.batch("select ai.pause_vectorizer('docs', 'very much too loud')");
    assert_eq!(scene.status("docs", "state_reason").as_deref(), Some("very much too loud"));
    assert_eq!(scene.db.one::<String>("select ai.resume_vectorizer('docs')", &[]), "running");
    assert_eq!(scene.db.one::<String>("select ai.resume_vectorizer('docs')", &[]), "running");
    assert_eq!(scene.status("docs", "paused_by"), None);
    scene.finish();
}

/// Fear: anybody stops anybody's work, or an error names nothing to do.
#[test]
fn unknown_names_and_missing_rights_are_refused() {
    let mut scene = Scene::new();
    scene.table("docs", 1);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch("create role mallory login");
    for call in [
        "pause_vectorizer('dosc')",
        "resume_vectorizer('dosc')",
        "run_vectorizer('dosc')",
        "set_priority('dosc', 1)",
    ] {
        let error = scene.db.error_of(&format!("select ai.{call}"));
        assert_eq!((error.code().code(), error.hint()), ("42704", Some("Did you mean docs?")), "{call}");
    }
    let mut mallory = scene.cluster.connect_as("postgres", "mallory");
    for call in [
        "pause_vectorizer('docs')",
        "resume_vectorizer('docs')",
        "run_vectorizer('docs')",
        "set_priority('docs', 1)",
        "set_budget('docs', 5)",
        "set_scheduling('docs')",
        "pause_all_vectorizers()",
        "resume_all_vectorizers()",
    ] {
        let error = mallory.error_of(&format!("select ai.{call}"));
        assert_eq!(error.code().code(), "42501", "{call}: {}", error.message());
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{call}");
    }
    assert_eq!(state(&mut scene, "docs"), "idle");
    for (sql, code) in [
        ("select ai.pause_vectorizer('docs', timeout => '-1 second')", "22023"),
        ("select ai.run_vectorizer('docs', '0 seconds')", "22023"),
        ("select ai.run_vectorizer('docs', max_rows => 0)", "22023"),
        ("select ai.set_budget('docs', 0)", "22023"),
        ("select ai.set_budget('docs', 10, '1 microsecond')", "22023"),
        ("select ai.set_budget('docs', 10, '1 day', 'infinity')", "22023"),
    ] {
        let error = scene.db.error_of(sql);
        assert_eq!(error.code().code(), code, "{sql}: {}", error.message());
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{sql}");
    }
    scene.db.batch("select ai.pause_vectorizer('docs')");
    let error = scene.db.error_of("select ai.run_vectorizer('docs')");
    assert_eq!(error.code().code(), "55000");
    assert!(error.hint().is_some_and(|hint| hint.contains("ai.resume_vectorizer('docs')")));
    scene.finish();
}

/// Fear: a wait for what no worker can see yet takes an hour.
#[test]
fn a_wait_for_a_resumption_that_is_not_committed_is_refused() {
    let (mut scene, gate) = held(3);
    gate.release();
    scene.settle("docs");
    scene.db.batch("select ai.pause_vectorizer('docs'); insert into docs values (50, 'late', '')");
    scene.db.batch("begin; select ai.resume_vectorizer('docs')");
    let error = scene.db.error_of("select ai.wait_for_vectorizer('docs')");
    assert_eq!((error.code().code(), error.hint()), ("55000", Some("COMMIT first.")), "{error}");
    scene.db.batch("rollback; begin; select ai.resume_vectorizer('docs'); commit");
    assert!(scene.db.one::<bool>("select ai.wait_for_vectorizer('docs')", &[]));
    scene.finish();
}

/// Fear: resuming all wakes what somebody paused on purpose, or forgets one.
#[test]
fn resume_all_resumes_only_what_pause_all_paused() {
    let mut scene = Scene::new();
    for name in ["a", "b", "c", "d"] {
        scene.table(name, 5);
        scene.vectorize(&Spec::on(name));
        scene.settle(name);
    }
    scene.db.batch("select ai.pause_vectorizer('b', 'on purpose')");
    assert_eq!(pairs(&mut scene, "ai.pause_all_vectorizers('fire')"), ["a paused", "c paused", "d paused"]);
    assert_eq!(pairs(&mut scene, "ai.pause_all_vectorizers()"), ["a paused", "c paused", "d paused"]);
    let reasons: Vec<String> =
        scene.db.all("select name || ' ' || state_reason from ai.vectorizer_status order by name", &[]);
    assert_eq!(reasons, ["a fire", "b on purpose", "c fire", "d fire"]);
    // One resumed by hand stays resumed; one paused by hand meanwhile stays paused.
    scene.db.batch("select ai.resume_vectorizer('c'); select ai.pause_vectorizer('d', 'me too')");
    scene.db.batch("begin; select ai.resume_all_vectorizers(); rollback");
    assert_eq!(state(&mut scene, "a"), "paused");
    assert_eq!(pairs(&mut scene, "ai.resume_all_vectorizers()"), ["a running"]);
    assert_eq!(pairs(&mut scene, "ai.resume_all_vectorizers()"), Vec::<String>::new());
    let states: Vec<String> =
        scene.db.all("select name || ' ' || state from ai.vectorizer_status order by name", &[]);
    assert_eq!(states, ["a idle", "b paused", "c idle", "d paused"]);
    // An ordinary role pauses its own.
    scene.db.batch("create role olga login; alter table a owner to olga; insert into a values (6, 'hers')");
    wait_until("the worker follows the owner", Duration::from_secs(30), || {
        scene.count("select count(*) from a_embedding_store where chunk = 'hers'") == 1
    });
    let mut olga = scene.cluster.connect_as("postgres", "olga");
    let hers: Vec<String> = olga.all("select vectorizer from ai.pause_all_vectorizers()", &[]);
    assert_eq!(hers, ["a"]);
    assert_eq!(pairs(&mut scene, "ai.resume_all_vectorizers()"), ["a running"]);
    scene.finish();
}

/// Fear: two urgent stops at one time deadlock.
#[test]
fn pausing_everything_from_two_sessions_at_once_works() {
    let mut scene = Scene::new();
    for name in ["a", "b", "c"] {
        scene.table(name, 400);
        scene.vectorize(&Spec::on(name).processing(5, 2));
    }
    let sessions: Vec<_> = (0..4)
        .map(|n| {
            let mut db = scene.cluster.connect("postgres");
            std::thread::spawn(move || {
                for _ in 0..15 {
                    if n % 2 == 0 {
                        db.batch("select ai.pause_all_vectorizers()");
                        db.batch("select ai.resume_all_vectorizers()");
                    } else {
                        db.batch("select ai.pause_vectorizer('c')");
                        db.batch("select ai.resume_vectorizer('c')");
                    }
                }
            })
        })
        .collect();
    sessions.into_iter().for_each(|session| session.join().expect("no deadlock"));
    scene.db.batch("select ai.resume_vectorizer(name) from ai.vectorizer");
    for name in ["a", "b", "c"] {
        scene.settle(name);
    }
    assert!(count_inputs(&scene.provider.calls()).values().all(|times| *times == 1));
    scene.finish();
}

/// Fear: a pause is forgotten by a restart or a crash, and the expensive work goes on.
#[test]
fn a_pause_outlives_restarts_and_crashes() {
    let mut scene = Scene::with(Settings::default().with_fsync());
    scene.table("docs", 300);
    scene.provider.set_latency(Duration::from_millis(20));
    scene.vectorize(&Spec::on("docs").processing(10, 2));
    wait_until("some are embedded", Duration::from_secs(30), || scene.provider.call_count() > 3);
    scene.db.batch("select ai.pause_vectorizer('docs', 'for the night')");
    let done = scene.count("select count(*) from docs_embedding_store");
    let calls = scene.provider.call_count();
    scene.cluster.restart();
    scene.reconnect();
    scene.cluster.stop(StopMode::Immediate);
    scene.cluster.start_again();
    scene.reconnect();
    assert_eq!(
        scene.status("docs", "state || ': ' || state_reason").as_deref(),
        Some("paused: for the night")
    );
    scene.db.batch("insert into docs values (1000, 'meanwhile')");
    holds_for("nothing happens", Duration::from_secs(1), || scene.provider.call_count() == calls);
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), done);
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    assert!(count_inputs(&scene.provider.calls()).values().all(|times| *times == 1));
    scene.finish();
}

/// Fear: a paused vectorizer holds a process, a model or a connection.
#[test]
fn a_pause_gives_process_and_connections_back() {
    let mut scene = Scene::with(Settings::default().set("autovector.idle_timeout", "1h"));
    scene.table("docs", 50);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(scene.workers().len(), 1, "an idle worker stays for an hour");
    scene.db.batch("select ai.pause_vectorizer('docs')");
    wait_until("the worker has left", Duration::from_secs(30), || scene.workers().is_empty());
    scene.db.batch("select ai.resume_vectorizer('docs'); insert into docs values (51, 'back')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: the worker goes on for another vectorizer and keeps the paused one's model in memory.
#[test]
fn a_pause_gives_the_model_back_while_the_worker_serves_others() {
    let mut scene = Scene::with(Settings::default().set("autovector.idle_timeout", "1h"));
    scene.table("docs", 5);
    scene.table("other", 5);
    scene.vectorize(&Spec::on("other"));
    scene.settle("other");
    let worker = scene.workers()[0];
    let before = process::private_memory_kb(worker).expect("it lives");
    scene.vectorize(&Spec::on("docs").embedding("ai.embedding_local()"));
    scene.settle("docs");
    assert_eq!(scene.workers(), [worker]);
    assert!(maps_model(worker), "the model is in the worker's memory");
    scene.db.batch("select ai.pause_vectorizer('docs')");
    wait_until("the model has left", Duration::from_secs(30), || !maps_model(worker));
    let after = process::private_memory_kb(worker).expect("it lives");
    eprintln!("private memory of the worker: {before} kB before, {after} kB after");
    scene.db.batch("insert into other values (6, 'goes on')");
    scene.settle("other");
    assert_eq!(scene.workers(), [worker]);
    scene.db.batch("select ai.resume_vectorizer('docs')");
    Check::new("docs").unscripted().run(&mut scene.db);
    scene.cluster.assert_healthy();
}

/// Whether a process has a model's weights mapped.
fn maps_model(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains("model.safetensors"))
}

/// Fear: after a resumption minutes pass before the first request.
#[test]
fn a_resumption_is_followed_by_a_request_at_once() {
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "1h"));
    scene.table("docs", 1);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    let mut taken = Vec::new();
    for round in 0..7 {
        scene.db.batch("select ai.pause_vectorizer('docs')");
        wait_until("the worker has left", Duration::from_secs(30), || scene.workers().is_empty());
        let text = format!("resumed {round}");
        scene.db.batch(&format!("insert into docs values ({}, '{text}')", 100 + round));
        let resumed = Instant::now();
        scene.db.batch("select ai.resume_vectorizer('docs')");
        wait_until("the provider is asked", Duration::from_secs(10), || {
            scene.provider.times_sent(&text) == 1
        });
        taken.push(resumed.elapsed());
        scene.settle("docs");
    }
    taken.sort();
    eprintln!("from resumption to request: {taken:?}");
    assert!(taken[0] < Duration::from_millis(200), "{taken:?}");
    scene.finish();
}

/// Fear: a local model that has to be loaded anew makes a resumption slow.
#[test]
fn a_local_model_is_back_soon_after_a_resumption() {
    let mut scene = Scene::new();
    scene.table("docs", 1);
    scene.vectorize(&Spec::on("docs").embedding("ai.embedding_local()"));
    scene.settle("docs");
    let mut taken = Vec::new();
    for round in 0..5 {
        scene.db.batch("select ai.pause_vectorizer('docs')");
        wait_until("the worker has left", Duration::from_secs(30), || scene.workers().is_empty());
        scene.db.batch(&format!("insert into docs values ({}, 'resumed {round}')", 100 + round));
        let resumed = Instant::now();
        scene.db.batch("select ai.resume_vectorizer('docs')");
        scene.settle("docs");
        taken.push(resumed.elapsed());
    }
    taken.sort();
    eprintln!("from resumption to vector: {taken:?}");
    // The promise, a second to the first request, holds on a quiet machine; this one may be busy.
    assert!(taken[0] < Duration::from_secs(3), "{taken:?}");
    scene.cluster.assert_healthy();
}

/// Fear: cycles of pausing and resuming at random moments embed a row twice, or lose one.
#[test]
fn cycles_at_random_moments_embed_every_row_once() {
    let number = |name: &str, default: i64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    // The full form: AUTOVECTOR_CYCLES=1000 AUTOVECTOR_ROWS=20000.
    let (cycles, rows) = (number("AUTOVECTOR_CYCLES", 60), number("AUTOVECTOR_ROWS", 3000));
    let mut scene = Scene::new();
    scene.table("docs", rows);
    scene.provider.set_latency(Duration::from_millis(3));
    scene.vectorize(&Spec::on("docs").processing(5, 3));
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut last = -1;
    let mut cycled = 0;
    for cycle in 0..cycles {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // At a random moment: after so many further calls, or in the middle of one.
        let calls = scene.provider.call_count() + (random % 3) as usize;
        wait_until("the work goes on", Duration::from_secs(60), || {
            scene.provider.call_count() >= calls
                || scene.status("docs", "rows_pending").as_deref() == Some("0")
        });
        match random % 5 {
            0 => {
                scene.db.batch("select ai.pause_vectorizer('docs', wait => false)");
                scene.db.batch("select ai.resume_vectorizer('docs')");
            }
            1 => {
                scene.db.batch("select ai.pause_all_vectorizers()");
                scene.db.batch("select ai.resume_all_vectorizers()");
            }
            _ => {
                let said: String =
                    scene.db.one("select ai.pause_vectorizer('docs', $1)", &[&format!("cycle {cycle}")]);
                assert_eq!(said, "paused");
                // The provider takes a moment to see that its last answer has arrived. Whatever it
                // answered stands in the store: nothing was out when the pause returned.
                scene.provider.wait_until_at_rest();
                let stored = scene.count("select count(*) from docs_embedding_store");
                let calls = scene.provider.calls();
                let answered: usize =
                    calls.iter().filter(|call| call.was_answered()).map(|call| call.inputs.len()).sum();
                assert_eq!(stored, answered as i64, "cycle {cycle}");
                assert!(stored >= last, "cycle {cycle}: {last} vectors became {stored}");
                last = stored;
                scene.db.batch("select ai.resume_vectorizer('docs')");
            }
        }
        cycled += usize::from(last < rows);
    }
    eprintln!("{cycled} of {cycles} cycles before the end");
    scene.settle("docs");
    let sent = count_inputs(&scene.provider.calls());
    assert_eq!(sent.len() as i64, rows);
    let twice: Vec<_> = sent.iter().filter(|(_, times)| **times != 1).take(10).collect();
    assert!(twice.is_empty(), "embedded more than once: {twice:?}");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), rows);
    scene.finish();
}

/// Fear: pausing while the store is being restored is refused, forgotten, or leaves half of either.
#[test]
fn a_pause_during_a_restore_comes_after_it() {
    let mut scene = Scene::new();
    scene.table("docs", 50);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch("select ai.create_checkpoint('docs', 'before'); update docs set body = 'changed ' || id where id <= 10");
    scene.settle("docs");
    let mut restoring = scene.cluster.connect("postgres");
    restoring.batch("begin; select ai.restore_checkpoint('before')");
    let mut other = scene.cluster.connect("postgres");
    let pausing = std::thread::spawn(move || other.one::<String>("select ai.pause_vectorizer('docs')", &[]));
    holds_for("nothing is half done", Duration::from_millis(300), || {
        scene.count("select count(*) from docs_embedding_store where chunk like 'changed %'") == 10
    });
    restoring.batch("commit");
    assert_eq!(pausing.join().expect("the pause returns"), "paused");
    assert_eq!(state(&mut scene, "docs"), "paused");
    // Restored rows whose source says something else are dirty, and wait for the resume.
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_1"), 10);
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where chunk like 'changed %'"), 10);
    scene.finish();
}
