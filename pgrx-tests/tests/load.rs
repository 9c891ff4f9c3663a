//! Giving way to a busy server, and what people watch: state, rate, time left, activity.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use autovector_cluster_tests::{
    Scene, Settings, Spec, Sql, paths, process, provider::count_inputs, wait::holds_for, wait_until,
};

/// Sessions that are active until they are dropped.
struct Crowd(Vec<Child>);

impl Crowd {
    fn of(scene: &mut Scene, count: usize) -> Crowd {
        let sessions = (0..count)
            .map(|_| {
                Command::new(paths::program("psql"))
                    .args([
                        "-qX",
                        "-h",
                        &scene.cluster.directory().display().to_string(),
                        "-U",
                        "postgres",
                        "-c",
                    ])
                    .arg("select pg_sleep(600)")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap_or_else(|error| panic!("psql: {error}"))
            })
            .collect();
        wait_until("the crowd is there", Duration::from_secs(30), || {
            scene.count("select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active' and pid <> pg_backend_pid()")
                == count as i64
        });
        Crowd(sessions)
    }

    fn leave(mut self, scene: &mut Scene) {
        scene.db.batch(
            "select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(600)'",
        );
        for session in &mut self.0 {
            session.wait().expect("psql ends");
        }
    }
}

/// Fear: workers take what a busy server needs, do not come back, or nobody sees why.
#[test]
fn workers_give_way_to_active_sessions_and_come_back() {
    let settings =
        Settings::default().set("autovector.throttle_active_sessions", "5").set("autovector.naptime", "1h");
    let mut scene = Scene::with(settings);
    scene.table("docs", 4000);
    scene.provider.set_latency(Duration::from_millis(40));
    scene.vectorize(&Spec::on("docs").processing(4, 2));
    wait_until("it works", Duration::from_secs(30), || scene.provider.call_count() > 5);
    assert_eq!(scene.status("docs", "throttled").as_deref(), Some("false"));
    let crowd = Crowd::of(&mut scene, 6);
    let came = Instant::now();
    scene.wait_for_status("docs", "state", |state| state == "throttled");
    wait_until("the calls have ended", Duration::from_secs(10), || scene.provider.in_flight() == 0);
    eprintln!("gave way within {:?}", came.elapsed());
    let calls = scene.provider.call_count();
    holds_for("nobody is asked", Duration::from_secs(2), || scene.provider.call_count() == calls);
    let shown = scene.status("docs", "state || ': ' || state_reason || ' ' || throttled");
    assert_eq!(shown.as_deref(), Some("throttled: 5 or more sessions are active true"));
    let findings: Vec<String> = scene.db.all("select finding from ai.doctor()", &[]);
    assert!(findings.iter().any(|f| f.starts_with("workers give way: 5 or more sessions")), "{findings:?}");
    // A pause is not held up by it.
    assert_eq!(scene.db.one::<String>("select ai.pause_vectorizer('docs')", &[]), "paused");
    scene.db.batch("select ai.resume_vectorizer('docs')");
    holds_for("nor does a resumption lift it", Duration::from_secs(1), || {
        scene.provider.call_count() == calls
    });
    let left = Instant::now();
    crowd.leave(&mut scene);
    wait_until("it works again", Duration::from_secs(30), || scene.provider.call_count() > calls);
    eprintln!("came back within {:?}", left.elapsed());
    scene.settle("docs");
    assert_eq!(scene.status("docs", "state || throttled").as_deref(), Some("idlefalse"));
    assert!(count_inputs(&scene.provider.calls()).values().all(|times| *times == 1));
    scene.finish();
}

/// Fear: a local model goes on computing through a batch that takes a minute, or a pause waits
/// for a brake that nobody lets go.
#[test]
fn a_local_model_stops_between_two_portions() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table docs (id int primary key, body text);
         insert into docs select i, repeat('word' || i || ' is followed by another sentence. ', 12) from generate_series(1, 80) i",
    );
    let crowd = Crowd::of(&mut scene, 2);
    scene.vectorize(&Spec::on("docs").processing(80, 1).embedding("ai.embedding_local()"));
    wait_until("the model computes", Duration::from_secs(60), || {
        scene.count("select count(*) from ai._lease") == 1
    });
    let worker = scene.workers()[0];
    let ticks = || process::cpu_ticks(worker).expect("the worker lives");
    scene.db.batch("alter system set autovector.throttle_active_sessions = 2");
    scene.db.batch("select pg_reload_conf()");
    scene.wait_for_status("docs", "state", |state| state == "throttled");
    let mut last = ticks();
    let mut quiet = 0;
    wait_until("the model rests", Duration::from_secs(30), || {
        let now = ticks();
        // Looking at the load costs a little every quarter of a second.
        quiet = if now <= last + 1 { quiet + 1 } else { 0 };
        last = now;
        quiet > 20
    });
    assert_eq!(scene.count("select count(*) from ai._lease"), 1, "the batch is still held");
    // Whoever pauses gets the batch completed: the brake is let go.
    let said: String = scene.db.one("select ai.pause_vectorizer('docs', timeout => '10 minutes')", &[]);
    assert_eq!(said, "paused");
    assert_eq!(scene.count("select count(distinct id) from docs_embedding_store"), 80);
    crowd.leave(&mut scene);
    scene.cluster.assert_healthy();
}

/// Fear: a standby falls behind for ever because workers write on.
#[test]
fn workers_give_way_to_a_standby_that_is_behind() {
    let settings = Settings::default()
        .set("autovector.throttle_replication_lag", "500ms")
        .set("wal_receiver_status_interval", "1s");
    let mut scene = Scene::with(settings);
    scene.table("docs", 200);
    let standby = scene.cluster.standby();
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    wait_until("the standby has replayed", Duration::from_secs(60), || {
        scene.count("select count(*) from pg_stat_replication where replay_lsn = pg_current_wal_lsn()") == 1
    });
    standby.connect("postgres").batch("select pg_wal_replay_pause()");
    wait_until("the standby is behind", Duration::from_secs(60), || {
        scene.db.batch("create table if not exists noise (i int); insert into noise values (1)");
        scene.count("select count(*) from pg_stat_replication where replay_lag > interval '1 second'") == 1
    });
    let calls = scene.provider.call_count();
    scene.db.batch("update docs set body = 'later ' || id");
    scene.wait_for_status("docs", "state", |state| state == "throttled");
    assert_eq!(scene.status("docs", "state_reason").as_deref(), Some("a standby is more than 500 ms behind"));
    assert_eq!(scene.provider.call_count(), calls);
    standby.connect("postgres").batch("select pg_wal_replay_resume()");
    scene.settle("docs");
    scene.finish();
}

/// Fear: the time left is a fairy tale.
#[test]
fn the_time_left_is_right_from_a_tenth_of_the_work_on() {
    let mut scene = Scene::new();
    scene.table("docs", 1200);
    scene.provider.set_latency(Duration::from_millis(100));
    scene.vectorize(&Spec::on("docs").processing(5, 2));
    // Compiling the view takes seconds: its estimate has to stay below the costs at which that is done.
    // Compiling a view takes seconds: its estimate has to stay below the cost at which that is done.
    for view in ["status", "progress"] {
        let plan: Vec<String> = scene.db.all(&format!("explain select * from ai.vectorizer_{view}"), &[]);
        let cost = plan[0].split("..").nth(1).and_then(|rest| rest.split(' ').next()).expect("a cost");
        assert!(cost.parse::<f64>().expect("a number") < 100_000.0, "{}", plan.join("\n"));
    }
    let begun = Instant::now();
    let mut said: Vec<(f64, f64, f64)> = Vec::new();
    let mut next = 10.0;
    wait_until("it is done", Duration::from_secs(120), || {
        let row = scene
            .db
            .query_one("select 100.0::float8 * rows_embedded / rows_total, extract(epoch from eta)::float8 from ai.vectorizer_status", &[])
            .expect("a row");
        let (percent, eta): (f64, Option<f64>) = (row.get(0), row.get(1));
        if let Some(eta) = eta
            && percent >= next
            && percent < 100.0
        {
            said.push((percent, begun.elapsed().as_secs_f64(), eta));
            next = percent + 5.0;
        }
        percent >= 100.0
    });
    let took = begun.elapsed().as_secs_f64();
    assert!(said.len() >= 5, "{said:?}");
    for (percent, at, eta) in said {
        let left = took - at;
        eprintln!("at {percent} % after {at:.1} s: {eta:.1} s said, {left:.1} s were left");
        // A fifth, and half a second of slack near the end.
        assert!((eta - left).abs() <= 0.2 * left + 0.5, "at {percent} %: {eta} s said, {left} s were left");
    }
    let line: String = scene.db.one(
        "select name || ' ' || state || ' ' || progress || ' ' || percent from ai.vectorizer_progress",
        &[],
    );
    assert_eq!(line, "docs idle [####################] 100.0");
    scene.finish();
}

/// Fear: the history is wrong, grows without end, or is shown to everybody.
#[test]
fn the_activity_of_a_day_is_kept_by_the_minute_and_no_more() {
    let mut scene = Scene::new();
    scene.table("docs", 250);
    let id = scene.vectorize(&Spec::on("docs").processing(50, 2));
    scene.settle("docs");
    let sums = |scene: &mut Scene| -> String {
        scene.db.one("select sum(rows) || ' ' || sum(chunks) || ' ' || sum(requests) || ' ' || sum(tokens) from ai.vectorizer_activity where name = 'docs'", &[])
    };
    // Three words a text, fifty texts a request.
    assert_eq!(sums(&mut scene), "250 250 5 750");
    assert_eq!(scene.count("select count(*) from ai.vectorizer_activity where minute > now()"), 0);
    // Yesterday's entries stand where today's will: they are not shown, and taken over, not added to.
    scene.db.batch(&format!(
        "update ai._vectorizer_activity set minute = minute - interval '1 day';
         insert into ai._vectorizer_activity
         select {id}, s, date_trunc('minute', now()) - interval '3 days', 1, 1, 1, 1 from generate_series(0, 1439) s
             on conflict do nothing"
    ));
    assert_eq!(scene.count("select count(*) from ai.vectorizer_activity"), 0);
    scene.db.batch("insert into docs values (251, 'another text here')");
    scene.settle("docs");
    assert_eq!(sums(&mut scene), "1 1 1 3");
    assert_eq!(scene.count("select count(*) from ai._vectorizer_activity"), 1440);
    scene.db.batch("create role mallory login");
    let mut mallory = scene.cluster.connect_as("postgres", "mallory");
    assert_eq!(mallory.one::<i64>("select count(*) from ai.vectorizer_activity", &[]), 0);
    scene.db.batch("grant select on docs to mallory");
    assert_eq!(mallory.one::<i64>("select count(*) from ai.vectorizer_activity", &[]), 1);
    scene.finish();
}
