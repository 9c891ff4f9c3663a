//! Vectorizers, extensions, databases and tables come, pause and go at any moment, also
//! while a request is out, and nobody waits for a provider.

use std::time::Duration;

use autovector_cluster_tests::{
    Gate, Provider, Rule, Scene, Settings, Spec, Sql, process, scene::settle, wait::holds_for, wait_until,
};
use postgres::Client;

const AT_ONCE: Duration = Duration::from_secs(3);

/// A backfill of 300 rows whose requests wait at a gate.
fn held(settings: Settings) -> (Scene, Gate) {
    let mut scene = Scene::with(settings);
    scene.table("docs", 300);
    let gate = scene.provider.hold(Rule::always());
    scene.vectorize(&Spec::on("docs").processing(50, 2));
    gate.wait_until_holding(1);
    (scene, gate)
}

/// Everything of autovector that a database holds: a vectorizer must leave it as it was.
fn objects(scene: &mut Scene) -> Vec<String> {
    scene.db.all(
        "select 'relation ' || oid::regclass::text || ' ' || relkind::text from pg_class
          where relnamespace in ('public'::regnamespace, 'ai'::regnamespace) and relkind in ('r', 'v', 'p')
         union all select 'trigger ' || tgname || ' on ' || tgrelid::regclass::text from pg_trigger where not tgisinternal
         union all select 'vectorizer ' || name::text from ai.vectorizer order by 1",
        &[],
    )
}

/// Fear: `drop_vectorizer` waits for the provider, deadlocks with the worker, or leaves tables.
#[test]
fn dropping_a_vectorizer_is_fast_and_complete() {
    let mut scene = Scene::new();
    scene.table("docs", 300);
    let before = objects(&mut scene);
    let gate = scene.provider.hold(Rule::always());
    scene.vectorize(&Spec::on("docs").processing(50, 2));
    gate.wait_until_holding(1);
    scene.db.timed(AT_ONCE, "select ai.drop_vectorizer('docs', true)");
    assert_eq!(objects(&mut scene), before);
    gate.release();
    wait_until("no request is in flight", Duration::from_secs(10), || scene.provider.in_flight() == 0);
    // The same again, without an old worker's result in the new store.
    scene.db.batch("update docs set body = 'second ' || id");
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where chunk like 'second %'"), 300);
    scene.finish();
}

/// Fear: without `drop_all` the vectors go too.
#[test]
fn dropping_a_vectorizer_keeps_its_store_unless_told() {
    let mut scene = Scene::new();
    scene.table("docs", 10);
    let id = scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.exec("select ai.drop_vectorizer($1::int)", &[&id]);
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 10);
    assert_eq!(scene.count("select count(*) from docs_embedding"), 10);
    assert_eq!(scene.count("select count(*) from pg_trigger where not tgisinternal"), 0);
    scene.db.batch("insert into docs values (11, 'nobody cares')");
    scene.finish();
}

/// Fear: a dropped source leaves a vectorizer that fails for ever, or stops the others.
#[test]
fn dropping_the_source_during_a_request_harms_nobody() {
    let (mut scene, gate) = held(Settings::default());
    scene.table("others", 20);
    scene.db.timed(AT_ONCE, "drop table docs cascade");
    gate.release();
    scene.vectorize(&Spec::on("others"));
    scene.settle("others");
    assert_eq!(scene.count("select count(*) from ai.vectorizer where name = 'docs'"), 0);
    scene.db.batch("drop table docs_embedding_store");
    scene.table("docs", 5);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.finish();
}

/// Fear: a dropped store is an error that comes back at every poll.
#[test]
fn dropping_the_store_halts_with_a_reason() {
    let (mut scene, gate) = held(Settings::default());
    scene.db.timed(AT_ONCE, "drop table docs_embedding_store cascade");
    gate.release();
    scene.db.timed(AT_ONCE, "insert into docs values (1001, 'later')");
    scene
        .wait_for_status("docs", "coalesce(state_reason, last_error, '')", |reason| reason.contains("store"));
    scene.db.batch("select ai.drop_vectorizer('docs', true)");
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.finish();
}

/// Fear: DROP EXTENSION waits for a request, or the worker fails for ever afterwards.
#[test]
fn the_extension_can_be_dropped_during_a_request_and_created_again() {
    let (mut scene, gate) = held(Settings::default());
    scene.db.timed(AT_ONCE, "drop extension autovector cascade");
    scene.db.batch("insert into docs values (1001, 'without the extension'); delete from docs where id = 1");
    gate.release();
    wait_until("workers have left", Duration::from_secs(20), || scene.workers().is_empty());
    scene.db.batch("drop view if exists docs_embedding; drop table if exists docs_embedding_store; create extension autovector");
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 300);
    scene.finish();
}

/// Fear: without preloading nothing happens and nobody says why.
#[test]
fn without_preload_everything_but_the_work_works() {
    let mut scene = Scene::with(Settings::default().without_preload());
    let (sender, notices) = std::sync::mpsc::channel();
    let mut config = scene.cluster.config("postgres");
    config.notice_callback(move |notice| {
        // The receiver lives as long as the test; a late notice is of no interest.
        drop(sender.send((
            notice.severity().to_owned(),
            format!("{} {}", notice.message(), notice.hint().unwrap_or("")),
        )));
    });
    let mut db = config.connect(postgres::NoTls).expect("connects");
    scene.table("docs", 3);
    db.batch_execute(&Spec::on("docs").sql(&scene.provider)).expect("the vectorizer is created");
    let warned = notices
        .try_iter()
        .any(|(severity, text)| severity == "WARNING" && text.contains("shared_preload_libraries"));
    assert!(warned, "create_vectorizer warns");
    let findings: Vec<String> = scene.db.all("select fix from ai.doctor() where severity <> 'ok'", &[]);
    assert!(findings.iter().any(|fix| fix.contains("shared_preload_libraries")), "{findings:?}");
    scene.db.batch("insert into docs values (4, 'captured all the same'); delete from docs where id = 1");
    assert_eq!(scene.workers(), Vec::<i32>::new());
    assert_eq!(scene.provider.call_count(), 0);
    // Preloaded from the next start on: everything is made up for.
    scene.cluster.set("shared_preload_libraries", "autovector");
    scene.cluster.restart();
    scene.reconnect();
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 3);
    scene.finish();
}

/// Fear: `pause` returns while requests are out, or throws away what they bring.
#[test]
fn pause_waits_for_the_batch_in_hand_and_keeps_it() {
    let (mut scene, gate) = held(Settings::default());
    let mut other = scene.cluster.connect("postgres");
    let pausing =
        std::thread::spawn(move || other.one::<String>("select ai.pause_vectorizer('docs', 'by test')", &[]));
    wait_until("the pause is asked for", Duration::from_secs(10), || {
        scene.count("select count(*) from pg_stat_activity where query like '%pause_vectorizer%' and pid <> pg_backend_pid() and state = 'active'") == 1
    });
    holds_for("pause waits for the request", Duration::from_millis(500), || !pausing.is_finished());
    let in_hand = gate.held_inputs();
    gate.release();
    assert_eq!(pausing.join().expect("pause returns"), "paused");
    scene.provider.wait_until_at_rest();
    let stored = scene.count("select count(*) from docs_embedding_store");
    for text in &in_hand {
        let kept: i64 = scene.db.one("select count(*) from docs_embedding_store where chunk = $1", &[text]);
        assert_eq!(kept, 1, "{text} was in hand and is kept");
    }
    let calls = scene.provider.call_count();
    scene.db.batch("insert into docs values (1001, 'while paused')");
    holds_for("nothing happens while paused", Duration::from_secs(1), || {
        scene.provider.call_count() == calls
    });
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), stored);
    assert_eq!(scene.status("docs", "state").as_deref(), Some("paused"));
    assert_eq!(scene.status("docs", "state_reason").as_deref(), Some("by test"));

    // Resume goes on exactly where it stood.
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 301);
    let sent = autovector_cluster_tests::provider::count_inputs(&scene.provider.calls());
    assert!(sent.values().all(|times| *times == 1), "nothing is sent twice");
    scene.finish();
}

/// Fear: `wait => false` waits, or a pause that gives up forgets that it was asked for.
#[test]
fn pause_without_waiting_returns_at_once() {
    let (mut scene, gate) = held(Settings::default());
    scene.db.timed(AT_ONCE, "select ai.pause_vectorizer('docs', wait => false)");
    let said: String = scene.db.one("select ai.pause_vectorizer('docs', timeout => interval '200 ms')", &[]);
    assert_eq!(said, "pausing");
    let calls = scene.provider.call_count();
    gate.release();
    let said: String = scene.db.one("select ai.pause_vectorizer('docs')", &[]);
    assert_eq!(said, "paused");
    assert_eq!(scene.provider.call_count(), calls, "nothing new is begun after the pause");
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: `wait_for_vectorizer` returns while work is left, hangs, or cannot be interrupted.
#[test]
fn waiting_ends_with_the_work_and_not_before() {
    let mut scene = Scene::new();
    scene.table("docs", 300);
    let gate = scene.provider.hold(Rule::always());
    // The first batch comes back unfinished: its rows are no less awaited for that.
    scene.provider.rule(Rule::always().error(503, "try again").times(1));
    scene.vectorize(&Spec::on("docs").processing(100, 3));
    assert!(!scene.db.one::<bool>("select ai.wait_for_vectorizer('docs', interval '300 ms')", &[]));
    gate.wait_until_holding(1);
    assert!(!scene.db.one::<bool>("select ai.wait_for_vectorizer('docs', interval '3 s')", &[]));
    scene.db.batch("set statement_timeout = '300ms'");
    assert_eq!(scene.db.error_of("select ai.wait_for_vectorizer('docs')").code().code(), "57014");
    scene.db.batch("reset statement_timeout");
    gate.release();
    scene.settle("docs");
    assert!(scene.db.one::<bool>("select ai.wait_for_vectorizer('docs', interval '0')", &[]));
    scene.finish();
}

/// Fear: a pause that is rolled back pauses.
#[test]
fn a_pause_that_is_rolled_back_leaves_it_running() {
    let mut scene = Scene::new();
    scene.table("docs", 10);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch(
        "begin; select ai.pause_vectorizer('docs'); insert into docs values (11, 'gone too'); rollback",
    );
    scene.db.batch("insert into docs values (12, 'goes on')");
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 11);
    assert_ne!(scene.status("docs", "state").as_deref(), Some("paused"));
    scene.finish();
}

/// Fear: a pause does not survive a restart, or a crash resumes it.
#[test]
fn a_pause_survives_restarts() {
    let mut scene = Scene::new();
    scene.table("docs", 10);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch(
        "select ai.pause_vectorizer('docs', 'for the night'); update docs set body = 'changed ' || id",
    );
    let calls = scene.provider.call_count();
    scene.cluster.restart();
    scene.reconnect();
    scene.db.batch("insert into docs values (11, 'x')");
    holds_for("it stays paused", Duration::from_secs(2), || scene.provider.call_count() == calls);
    assert_eq!(scene.status("docs", "state_reason").as_deref(), Some("for the night"));
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: idle workers keep their process and their connections.
#[test]
fn an_idle_vectorizer_costs_nothing() {
    let mut scene = Scene::with(Settings::default().set("autovector.idle_timeout", "500ms"));
    scene.table("docs", 100);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    wait_until("the worker has left", Duration::from_secs(20), || scene.workers().is_empty());
    let others: Vec<i32> =
        scene.db.all("select pid from pg_stat_activity where backend_type like 'autovector%'", &[]);
    let used = || others.iter().filter_map(|pid| process::cpu_ticks(*pid)).sum::<u64>();
    let before = used();
    holds_for("launcher and scheduler stay", Duration::from_secs(3), || {
        others.iter().all(|pid| process::is_alive(*pid))
    });
    let ticks = used() - before;
    assert!(ticks <= 10, "launcher and scheduler used {ticks} ticks in 3 s of idleness");
    scene.db.batch("insert into docs values (101, 'awake')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: only the first database is served; one without the extension is bothered.
#[test]
fn every_database_with_the_extension_is_served() {
    let mut scene = Scene::new();
    let _bare = scene.cluster.create_database("bare");
    let mut others: Vec<_> = (1..=3).map(|i| scene.cluster.create_database(&format!("db{i}"))).collect();
    for db in &mut others {
        db.batch("create extension autovector cascade; create table docs (id int primary key, body text); insert into docs select i, 'row ' || i from generate_series(1, 50) i");
        db.batch(&Spec::on("docs").sql(&scene.provider));
    }
    for db in &mut others {
        settle(db, "docs");
        assert_eq!(db.one::<i64>("select count(*) from docs_embedding_store", &[]), 50);
    }
    assert_eq!(
        scene.count(
            "select count(*) from pg_stat_activity where datname = 'bare' and backend_type like 'autovector%'"
        ),
        0
    );
    scene.finish();
}

/// Fear: the database that is served first keeps the workers for itself, be it busy or idle.
#[test]
fn databases_share_the_places_of_workers() {
    let mut scene = Scene::with(Settings::default().set("autovector.max_workers", "1"));
    scene.table("docs", 10);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(scene.workers().len(), 1, "an idle worker has the only place, for a minute");
    scene.provider.set_latency(Duration::from_millis(100));
    // Eight seconds of work each, more than a turn.
    let mut others: Vec<_> = (1..=2).map(|i| scene.cluster.create_database(&format!("db{i}"))).collect();
    for db in &mut others {
        db.batch("create extension autovector cascade; create table docs (id int primary key, body text); insert into docs select i, 'row ' || i from generate_series(1, 80) i");
        db.batch(&Spec::on("docs").processing(1, 1).sql(&scene.provider));
    }
    let stored = |db: &mut Client| db.one::<i64>("select count(*) from docs_embedding_store", &[]);
    wait_until("one database is done", Duration::from_secs(90), || {
        others.iter_mut().any(|db| stored(db) == 80)
    });
    assert!(others.iter_mut().all(|db| stored(db) > 0), "both had their turns before one was done");
    for db in &mut others {
        settle(db, "docs");
    }
    scene.db.batch("insert into docs values (11, 'later')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a connected worker forbids DROP, RENAME and TEMPLATE.
#[test]
fn databases_can_be_dropped_renamed_and_copied() {
    let mut scene = Scene::new();
    let provider = Provider::start();
    let gate = provider.hold(Rule::containing("held"));
    for name in ["dropped", "renamed", "copied"] {
        let mut db = scene.cluster.create_database(name);
        db.batch("create extension autovector cascade; create table docs (id int primary key, body text); insert into docs values (1, 'held')");
        db.batch(&Spec::on("docs").sql(&provider));
    }
    gate.wait_until_holding(3);
    scene.db.timed(Duration::from_secs(15), "drop database dropped");
    scene.db.timed(Duration::from_secs(15), "alter database renamed rename to another");
    scene.db.timed(Duration::from_secs(15), "create database copy template copied");
    gate.release();
    for name in ["another", "copied", "copy"] {
        let mut db = scene.cluster.connect(name);
        settle(&mut db, "docs");
        assert_eq!(db.one::<i64>("select count(*) from docs_embedding_store", &[]), 1, "{name}");
    }
    scene.finish();
}
