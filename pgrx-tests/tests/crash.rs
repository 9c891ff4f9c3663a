//! Whatever is killed, nothing is lost, nothing is wrong, and only what was in flight is
//! paid for twice.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use autovector_cluster_tests::{
    Rule, Scene, Settings, Spec, Sql, StopMode, process, provider::count_inputs, wait_until,
};

const STORED: &str = "select count(*) from docs_embedding_store";

/// A backfill of `rows` rows that has come half way and waits at a gate. Returns the texts
/// whose vectors are committed.
fn half_way(settings: Settings, rows: i64) -> (Scene, autovector_cluster_tests::Gate, HashSet<String>) {
    let mut scene = Scene::with(settings);
    scene.table("docs", rows);
    // Keys are scanned in order: once row rows/2 is asked for, every further request waits.
    let half = rows / 2;
    let gate = scene.provider.hold(Rule::when(move |inputs| {
        inputs
            .iter()
            .any(|text| text.rsplit(' ').next().and_then(|n| n.parse().ok()).is_some_and(|n: i64| n > half))
    }));
    scene.vectorize(&Spec::on("docs").processing(100, 4));
    gate.wait_until_holding(1);
    wait_until("what was answered is committed", Duration::from_secs(30), || {
        let answered = scene
            .provider
            .calls()
            .iter()
            .filter(|call| call.was_answered())
            .map(|call| call.inputs.len())
            .sum::<usize>();
        scene.provider.in_flight() == gate.holding() && scene.count(STORED) == answered as i64
    });
    let stored = scene.db.all::<String>("select chunk from docs_embedding_store", &[]).into_iter().collect();
    (scene, gate, stored)
}

/// Asserts that no text of `paid` was sent again, and that at most `in_flight` others were.
fn assert_paid_once(scene: &Scene, paid: &HashSet<String>, in_flight: usize) {
    let sent = count_inputs(&scene.provider.calls());
    let again: Vec<&String> = sent.iter().filter(|(_, times)| **times > 1).map(|(text, _)| text).collect();
    let paid_again: Vec<&&String> = again.iter().filter(|text| paid.contains(**text)).collect();
    assert!(
        paid_again.is_empty(),
        "{} finished texts were sent again: {:?}",
        paid_again.len(),
        &paid_again[..1]
    );
    assert!(again.len() <= in_flight, "{} texts were sent again, {in_flight} were in flight", again.len());
}

/// Fear: a killed worker loses rows, or everything begins anew.
#[test]
fn a_killed_worker_repeats_only_what_was_in_flight() {
    let (mut scene, gate, paid) = half_way(Settings::default(), 5000);
    let in_flight = gate.held_inputs().len();
    assert!(paid.len() >= 2000, "half of the rows are embedded: {}", paid.len());
    scene.cluster.expect_in_log("terminated by signal 9");
    process::signal(scene.workers()[0], libc::SIGKILL);
    gate.release();
    wait_until("the crash is logged", Duration::from_secs(10), || {
        scene.cluster.log().contains("terminated by signal 9")
    });
    scene.reconnect();
    scene.settle("docs");
    assert_eq!(scene.count(STORED), 5000);
    // Claimed but not yet sent is in flight too: at most the batches of all requests.
    assert_paid_once(&scene, &paid, in_flight.max(4 * 100));
    scene.finish();
}

/// Fear: workers outlive the postmaster and hold its port, socket or memory; the restart
/// begins anew.
#[test]
fn a_killed_postmaster_takes_its_workers_along_and_resumes() {
    let (mut scene, gate, paid) = half_way(Settings::default(), 2000);
    let processes: Vec<i32> =
        scene.db.all("select pid from pg_stat_activity where backend_type like 'autovector%'", &[]);
    assert!(processes.len() >= 3, "launcher, scheduler, worker: {processes:?}");
    scene.cluster.kill_postmaster();
    wait_until("no process is left behind", Duration::from_secs(5), || {
        !processes.iter().any(|pid| process::is_alive(*pid))
    });
    gate.release();
    scene.cluster.start_again();
    scene.reconnect();
    scene.settle("docs");
    assert_eq!(scene.count(STORED), 2000);
    assert_paid_once(&scene, &paid, 400);
    scene.finish();
}

/// Fear: a power cut loses committed changes that were not embedded yet.
#[test]
fn an_immediate_stop_forgets_no_pending_change() {
    let settings = Settings::default().with_fsync();
    let mut scene = Scene::with(settings);
    scene.table("docs", 20);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    let gate = scene.provider.hold(Rule::containing("new "));
    scene.db.batch("update docs set body = 'new ' || id where id <= 10; delete from docs where id = 11");
    gate.wait_until_holding(1);
    scene.cluster.stop(StopMode::Immediate);
    gate.release();
    scene.cluster.start_again();
    scene.reconnect();
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where chunk like 'new %'"), 10);
    scene.finish();
}

/// Fear: a worker that is told to go waits for the provider; another one comes late, and the
/// row waits for the old lease.
#[test]
fn a_terminated_worker_is_replaced_at_once() {
    let mut scene = Scene::new();
    scene.table("docs", 10);
    let gate = scene.provider.hold(Rule::always().times(1));
    scene.vectorize(&Spec::on("docs"));
    gate.wait_until_holding(1);
    let old = scene.workers()[0];
    let told = Instant::now();
    assert!(scene.db.one::<bool>("select pg_terminate_backend($1)", &[&old]));
    wait_until("the old worker is gone", Duration::from_secs(10), || !process::is_alive(old));
    let gone = told.elapsed();
    scene.settle("docs");
    let done = told.elapsed();
    eprintln!("gone after {gone:?}, done after {done:?}");
    assert!(gone < Duration::from_secs(2), "the old worker took {gone:?} to go");
    assert!(done < Duration::from_secs(5), "the rows were embedded after {done:?}");
    assert_eq!(scene.count(STORED), 10);
    scene.finish();
}

/// Fear: `pg_cancel_backend` ends the worker, or its batch is lost or blamed.
#[test]
fn a_cancelled_worker_lives_and_goes_on() {
    let mut scene = Scene::new();
    scene.table("docs", 10);
    let gate = scene.provider.hold(Rule::always());
    scene.vectorize(&Spec::on("docs"));
    gate.wait_until_holding(1);
    let worker = scene.workers()[0];
    scene.cluster.expect_in_log("canceling statement due to user request");
    for _ in 0..5 {
        assert!(scene.db.one::<bool>("select pg_cancel_backend($1)", &[&worker]));
    }
    gate.release();
    scene.settle("docs");
    assert_eq!(scene.status("docs", "rows_failed").as_deref(), Some("0"));
    scene.finish();
}

/// Fear: the server cannot be stopped while a provider does not answer.
#[test]
fn a_fast_stop_does_not_wait_for_the_provider() {
    let mut scene = Scene::new();
    scene.table("docs", 1000);
    scene.provider.rule(Rule::always().never_answers());
    scene.vectorize(&Spec::on("docs").processing(100, 4));
    wait_until("requests hang", Duration::from_secs(30), || scene.provider.in_flight() >= 1);
    let took = scene.cluster.stop(StopMode::Fast);
    assert!(took < Duration::from_secs(5), "the stop took {took:?}");
    scene.provider.clear_rules();
    scene.cluster.start_again();
    scene.reconnect();
    scene.settle("docs");
    assert_eq!(scene.count(STORED), 1000);
    scene.finish();
}

/// Fear: a crash at some moment that nobody thought of.
#[test]
fn workers_killed_at_random_moments_lose_nothing() {
    let mut scene = Scene::new();
    scene.table("docs", 3000);
    scene.provider.set_latency(Duration::from_millis(10));
    scene.cluster.expect_in_log("terminated by signal 9");
    scene.vectorize(&Spec::on("docs").processing(50, 4));
    for round in 0..6_usize {
        // The moment is given by how much has been done: another step of the cycle each time.
        let threshold = scene.provider.call_count() + 2 + 5 * round;
        wait_until("work goes on", Duration::from_secs(60), || {
            scene.provider.call_count() >= threshold || scene.count(STORED) == 3000
        });
        scene.db.batch(&format!("update docs set body = 'round {round} ' || id where id % 7 = {round}"));
        if let Some(worker) = scene.workers().first() {
            process::signal(*worker, libc::SIGKILL);
            scene.reconnect();
        }
    }
    scene.settle("docs");
    assert_eq!(scene.count(STORED), 3000);
    scene.finish();
}

/// Fear: after a crash of somebody else's backend the workers stay away.
#[test]
fn workers_come_back_after_a_crash_of_another_backend() {
    let mut scene = Scene::new();
    scene.table("docs", 10);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.cluster.expect_in_log("terminated by signal");
    let victim: i32 = scene.db.one("select pg_backend_pid()", &[]);
    process::signal(victim, libc::SIGSEGV);
    wait_until("the crash is logged", Duration::from_secs(10), || {
        scene.cluster.log().contains("terminated by signal")
    });
    scene.reconnect();
    scene.db.batch("insert into docs values (11, 'after the crash')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: the launcher or the scheduler dies and nobody notices.
#[test]
fn launcher_and_scheduler_come_back_when_terminated() {
    let mut scene = Scene::new();
    scene.table("docs", 10);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    for kind in ["autovector scheduler", "autovector launcher"] {
        let pids = scene.cluster.worker_pids(kind);
        assert_eq!(pids.len(), 1, "one {kind}: {pids:?}");
        assert!(scene.db.one::<bool>("select pg_terminate_backend($1)", &[&pids[0]]));
        wait_until(&format!("another {kind}"), Duration::from_secs(20), || {
            let now = scene.cluster.worker_pids(kind);
            now.len() == 1 && now != pids
        });
        scene.db.exec("insert into docs select max(id) + 1, 'after ' || $1::text from docs", &[&kind]);
        scene.settle("docs");
    }
    scene.finish();
}

/// Fear: deadlocks, timeouts and cancellations that a role or database prescribes stop the
/// worker, or users are cancelled because of it.
#[test]
fn timeouts_and_lock_conflicts_of_the_database_are_survived() {
    let mut scene = Scene::new();
    scene.table("docs", 200);
    scene.db.batch(
        "alter database postgres set statement_timeout = '300ms';
         alter database postgres set lock_timeout = '100ms';
         alter database postgres set idle_in_transaction_session_timeout = '200ms';
         alter database postgres set default_transaction_isolation = 'serializable'",
    );
    scene.vectorize(&Spec::on("docs").processing(20, 4));
    let mut users: Vec<_> = (0..2).map(|_| scene.cluster.connect("postgres")).collect();
    for user in &mut users {
        user.batch("set statement_timeout = '20s'; set lock_timeout = 0; set default_transaction_isolation = 'read committed'");
    }
    std::thread::scope(|scope| {
        for (number, user) in users.iter_mut().enumerate() {
            scope.spawn(move || {
                for round in 0..40 {
                    let order = if number == 0 { "asc" } else { "desc" };
                    user.batch(&format!(
                        "update docs set body = 'u{number} r{round} ' || id where id in
                           (select id from docs where id % 2 = {number} order by id {order} for update)"
                    ));
                }
            });
        }
    });
    scene.db.batch("set statement_timeout = '90s'; set default_transaction_isolation = 'read committed'");
    scene.settle("docs");
    assert!(!scene.cluster.log().contains("deadlock detected"), "nobody deadlocks");
    scene.finish();
}

/// Arms a failpoint of the server (src/store/failpoint.rs): the first process there does `action`.
fn arm(scene: &Scene, place: &str, action: &str) -> std::path::PathBuf {
    let file = scene.cluster.data_directory().join("autovector.failpoints");
    std::fs::write(&file, format!("{place}={action}")).expect("the data directory can be written");
    file
}

/// Fear: there is one moment at which a process may not end or fail.
#[test]
fn a_process_may_end_or_fail_anywhere() {
    let mut scene = Scene::new();
    scene.table("docs", 300);
    scene.cluster.expect_in_log("terminated by signal");
    scene.cluster.expect_in_log("failpoint");
    scene.vectorize(&Spec::on("docs").processing(50, 4));
    scene.settle("docs");
    let places = [
        "before_claim_commits",
        "after_claim",
        "before_completion",
        "before_completion_commits",
        "after_completion",
    ];
    let mut round = 0;
    for place in places {
        for action in ["error", "exit", "kill", "abort"] {
            // After the commit nothing can fail any more, a process can only end.
            if action == "error" && place == "after_completion" {
                continue;
            }
            round += 1;
            let file = arm(&scene, place, action);
            let update =
                format!("update docs set body = '{place} {action} ' || id where id % 3 = {}", round % 3);
            let updated = scene.db.batch_execute(&update);
            // The worker may end before the session has said that it committed, and takes it along.
            assert!(updated.is_ok() || matches!(action, "kill" | "abort"), "{update}: {updated:?}");
            wait_until(&format!("{action} at {place}"), Duration::from_secs(60), || !file.exists());
            if matches!(action, "kill" | "abort") {
                scene.reconnect();
            }
            // An error that blames nobody is waited out; resuming ends the wait.
            scene.db.batch("select ai.resume_vectorizer('docs')");
            scene.settle("docs");
            assert_eq!(scene.count(STORED), 300, "{action} at {place}");
            assert_eq!(
                scene.count("select count(*) from ai._vectorizer_q_failed_1"),
                0,
                "{action} at {place}"
            );
        }
    }
    scene.finish();
}
