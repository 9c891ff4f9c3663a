//! What must hold while a provider is slow, wrong or down: users never wait, nothing is
//! pinned, stale results never win, and nobody but the guilty row pays.

use std::time::Duration;

use autovector_cluster_tests::{
    Gate, Rule, Scene, Settings, Spec, Sql, process, wait::holds_for, wait_until,
};

/// Longer than any user statement may take while the provider holds a request for ever.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Table `docs` with `rows` embedded rows.
fn embedded(settings: Settings, rows: i64) -> Scene {
    let mut scene = Scene::with(settings);
    scene.table("docs", rows);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene
}

/// A scene in which the requests for rows 1 to 10, changed to `old <id>`, wait at a gate.
fn held() -> (Scene, Gate) {
    let mut scene = embedded(Settings::default(), 20);
    let gate = scene.provider.hold(Rule::containing("old "));
    scene.db.batch("update docs set body = 'old ' || id where id <= 10");
    gate.wait_until_holding(1);
    (scene, gate)
}

/// Fear: a row that changes while its request is out keeps the older vector.
#[test]
fn a_row_updated_during_its_request_ends_with_the_new_text() {
    let (mut scene, gate) = held();
    scene.db.timed(AT_ONCE, "update docs set body = 'new ' || id where id = 1");
    gate.release();
    scene.settle("docs");
    let chunk: String = scene.db.one("select chunk from docs_embedding_store where id = 1", &[]);
    assert_eq!(chunk, "new 1");
    scene.finish();
}

/// Fear: a row that is deleted while its request is out gets a vector afterwards.
#[test]
fn a_row_deleted_during_its_request_gets_no_vector() {
    let (mut scene, gate) = held();
    scene.db.timed(AT_ONCE, "delete from docs where id in (2, 3)");
    scene.db.timed(AT_ONCE, "update docs set id = 99 where id = 4");
    gate.release();
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where id in (2, 3, 4)"), 0);
    assert_eq!(scene.count("select count(*) from docs_embedding_store where id = 99"), 1);
    scene.finish();
}

/// Fear: the same in the first pass, whose rows have no dirty key that could tell.
#[test]
fn rows_changed_during_the_backfill_end_right() {
    let mut scene = Scene::new();
    scene.table("docs", 300);
    let gate = scene.provider.hold(Rule::always());
    scene.vectorize(&Spec::on("docs"));
    gate.wait_until_holding(1);
    scene.db.timed(AT_ONCE, "update docs set body = 'new ' || id where id % 10 = 1");
    scene.db.timed(AT_ONCE, "delete from docs where id % 10 = 2");
    scene.db.timed(AT_ONCE, "update docs set id = id + 1000 where id % 10 = 3");
    scene.db.timed(AT_ONCE, "insert into docs select i, 'again ' || i from generate_series(2, 100, 20) i");
    gate.release();
    scene.settle("docs");
    scene.finish();
}

/// Fear: a row of a slow batch of the first pass changes; the change is embedded first and has
/// nothing dirty left, and then the slow batch brings the old text back.
#[test]
fn a_slow_first_pass_does_not_overwrite_a_quick_change() {
    let mut scene = Scene::new();
    scene.table("docs", 100);
    // The first batches go through, so that several may be in flight.
    let gate = scene.provider.hold(Rule::containing("docs text 60").times(1));
    scene.vectorize(&Spec::on("docs").processing(20, 4));
    gate.wait_until_holding(1);
    wait_until("the others are embedded", Duration::from_secs(30), || {
        scene.count("select count(*) from docs_embedding_store") == 80
    });
    scene.db.batch("update docs set body = 'new ' || id where id in (1, 60)");
    wait_until("changes are embedded", Duration::from_secs(30), || {
        scene.count("select count(*) from docs_embedding_store where chunk = 'new 1'") == 1
    });
    gate.release();
    scene.settle("docs");
    assert_eq!(
        scene.db.all::<String>("select chunk from docs_embedding_store where id = 60", &[]),
        ["new 60"]
    );
    scene.finish();
}

/// Fear: TRUNCATE waits for the provider, or what is in flight fills the empty table.
#[test]
fn a_truncate_during_a_request_is_fast_and_final() {
    let (mut scene, gate) = held();
    scene.db.timed(AT_ONCE, "truncate docs");
    scene.db.timed(AT_ONCE, "insert into docs values (1, 'after'), (50, 'after too')");
    gate.release();
    scene.settle("docs");
    let stored: Vec<String> = scene.db.all("select chunk from docs_embedding_store order by id", &[]);
    assert_eq!(stored, ["after", "after too"]);
    scene.finish();
}

/// Fear: a worker that waits for the source holds the queue, which TRUNCATE of the source wants
/// next; should the worker be slow to give up, the user's statement ends in a deadlock.
#[test]
fn a_worker_that_waits_for_the_source_holds_nothing_else() {
    let mut scene = embedded(Settings::default(), 20);
    scene.db.batch("select ai.pause_vectorizer('docs')");
    scene.db.batch("update docs set body = 'new'");
    scene.db.batch("begin; lock table docs in access exclusive mode");
    let mut watcher = scene.cluster.connect("postgres");
    watcher.batch("select ai.resume_vectorizer('docs')");
    let waiting = "select w.pid from pg_locks w join pg_stat_activity a using (pid)
                    where a.backend_type = 'autovector worker'
                      and w.relation = 'docs'::regclass and not w.granted";
    let held = format!(
        "select h.relation::regclass::text from pg_locks h
          where h.pid in ({waiting}) and h.granted
            and h.relation in ('docs_embedding_store'::regclass, 'ai._vectorizer_q_1'::regclass,
                               'ai._vectorizer_q_failed_1'::regclass)"
    );
    let both = format!("select (select count(*) from ({waiting}) w), array({held})");
    let mut seen = Vec::new();
    wait_until("a worker waits for the source", Duration::from_secs(30), || {
        let row = watcher.query_one(&both, &[]).expect("the locks can be read");
        seen = row.get::<_, Vec<String>>(1);
        row.get::<_, i64>(0) > 0
    });
    assert_eq!(seen, Vec::<String>::new(), "relations that the waiting worker holds");
    scene.db.batch("commit");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a transaction with an old snapshot does not see the vector that a worker wrote since,
/// and leaves it behind when it deletes the row.
#[test]
fn a_delete_with_an_old_snapshot_removes_new_vectors() {
    for level in ["repeatable read", "serializable"] {
        let (mut scene, gate) = held();
        let mut user = scene.cluster.connect("postgres");
        user.batch(&format!("begin isolation level {level}; select count(*) from docs_embedding_store"));
        gate.release();
        scene.settle("docs");
        user.batch("delete from docs where id in (1, 2); update docs set id = 77 where id = 3; commit");
        scene.settle("docs");
        assert_eq!(
            scene.count("select count(*) from docs_embedding_store where id in (1, 2, 3)"),
            0,
            "{level}"
        );
        scene.finish();
    }
}

/// Fear: while an old snapshot is held, nothing that batches leave behind is cleaned up, and each
/// batch reads past what all batches before it left.
#[test]
fn an_old_snapshot_does_not_make_later_batches_dearer() {
    const BATCHES: i64 = 1_000;
    let mut scene = Scene::new();
    scene.table("docs", BATCHES);
    let mut old = scene.cluster.connect("postgres");
    old.batch("begin isolation level repeatable read; select count(*) from docs");
    scene.vectorize(&Spec::on("docs").processing(1, 4));
    scene.settle("docs");
    assert_eq!(scene.count("select rows_done from ai._vectorizer_counters"), BATCHES);
    // Statistics come when a worker has time for them: it ended a lease for each batch.
    wait_until("the worker's statistics have come", Duration::from_secs(60), || {
        scene.count("select n_tup_del from pg_stat_all_tables where relid = 'ai._lease'::regclass") >= BATCHES
    });
    // A lease is found to be ended; if all earlier ones were passed over, it would be half a million.
    let entries = scene
        .count("select sum(idx_tup_read)::int8 from pg_stat_all_indexes where relid = 'ai._lease'::regclass");
    assert!(entries < 20 * BATCHES, "{entries} index entries read for {BATCHES} batches");
    // The row is found where it was, not by its key through all its versions.
    let lookups = scene.count(
        "select sum(idx_scan)::int8 from pg_stat_all_indexes where relid = 'ai._vectorizer_counters'::regclass",
    );
    assert!(lookups < BATCHES / 10, "{lookups} times looked up by key in {BATCHES} batches");
    old.batch("commit");
    scene.finish();
}

/// Fear: schema changes wait for the provider.
#[test]
fn schema_changes_during_a_request_are_fast() {
    let (mut scene, gate) = held();
    for statement in [
        "alter table docs add column extra int default 7",
        "alter table docs alter column extra set default 8",
        "create index on docs (note)",
        "vacuum full docs",
        "alter table docs rename column note to remark",
        "begin; lock table docs, docs_embedding_store in access exclusive mode; commit",
    ] {
        let took = scene.db.timed(AT_ONCE, statement);
        eprintln!("{took:?} for {statement}");
    }
    gate.release();
    scene.settle("docs");
    scene.finish();
}

/// Fear: a request pins the vacuum horizon or a lock for as long as the provider likes.
#[test]
fn nothing_is_held_while_a_request_is_out() {
    let (mut scene, gate) = held();
    let pinned = "select count(*) from pg_stat_activity a
        where a.backend_type = 'autovector worker'
          and (a.backend_xmin is not null or a.backend_xid is not null or a.xact_start is not null)";
    wait_until("the worker is outside any transaction", Duration::from_secs(5), || scene.count(pinned) == 0);
    // It may look after its leases in the meantime, but never for long.
    holds_for("no worker's transaction is older than half a second", Duration::from_secs(2), || {
        scene.count(
            "select count(*) from pg_stat_activity where backend_type like 'autovector%'
                and clock_timestamp() - xact_start > interval '500 ms'",
        ) == 0
    });
    let locks = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
        join pg_class c on c.oid = l.relation join pg_namespace n on n.oid = c.relnamespace
        where a.backend_type like 'autovector%' and l.locktype = 'relation' and n.nspname = 'public'";
    wait_until("no lock on a user's table", Duration::from_secs(5), || scene.count(locks) == 0);
    assert!(gate.holding() >= 1, "the request is still out");
    gate.release();
    scene.settle("docs");
    scene.finish();
}

/// Fear: a user's open transaction on one row stops the others, or the worker waits for it.
#[test]
fn an_open_transaction_on_a_row_delays_only_that_row() {
    let mut scene = embedded(Settings::default(), 50);
    let mut user = scene.cluster.connect("postgres");
    let mut open = user.transaction().expect("begins");
    open.batch_execute("update docs set body = 'open' where id = 7").expect("updates");
    scene.db.batch("update docs set body = 'committed ' || id where id <> 7");
    wait_until("all other rows are embedded", Duration::from_secs(30), || {
        scene.count("select count(*) from docs_embedding_store where chunk like 'committed%'") == 49
    });
    open.commit().expect("commits");
    scene.settle("docs");
    assert_eq!(scene.provider.times_sent("docs text 7"), 1);
    scene.finish();
}

/// Fear: a change that is prepared, and so holds its dirty key locked for as long as it likes,
/// delays the whole batch that its row is in.
#[test]
fn a_prepared_transaction_delays_only_its_row() {
    let mut scene = embedded(Settings::default().set("max_prepared_transactions", "5"), 20);
    let gate = scene.provider.hold(Rule::containing("old "));
    scene.db.batch("update docs set body = 'old ' || id where id <= 10");
    gate.wait_until_holding(1);
    scene.db.batch("begin; update docs set body = 'prepared' where id = 1; prepare transaction 'p'");
    gate.release();
    wait_until("the other rows of the batch are embedded", Duration::from_secs(30), || {
        scene.count("select count(*) from docs_embedding_store where chunk like 'old %' and id > 1") == 9
    });
    scene.db.batch("commit prepared 'p'");
    scene.settle("docs");
    assert_eq!(
        scene.db.all::<String>("select chunk from docs_embedding_store where id = 1", &[]),
        ["prepared"]
    );
    scene.finish();
}

/// Fear: a worker that was stopped past its lease writes over what another one did since.
#[test]
fn a_stopped_worker_that_wakes_up_late_writes_nothing() {
    let settings =
        Settings::default().set("autovector.lease_duration", "2s").set("autovector.naptime", "200ms");
    let mut scene = embedded(settings, 20);
    let gate = scene.provider.hold(Rule::containing("old ").times(1));
    scene.db.batch("update docs set body = 'old ' || id where id <= 10");
    gate.wait_until_holding(1);
    let stopped = scene.stop_worker();
    scene.db.batch("update docs set body = 'new ' || id where id <= 5; delete from docs where id = 6");
    gate.release();
    wait_until("another worker has taken over", Duration::from_secs(60), || {
        scene.status("docs", "rows_pending").as_deref() == Some("0")
    });
    assert!(scene.workers().iter().any(|pid| *pid != stopped));
    scene.db.batch("update docs set body = 'newest' where id = 1");
    wait_until("the newest is embedded", Duration::from_secs(30), || {
        scene.count("select count(*) from docs_embedding_store where chunk = 'newest'") == 1
    });
    process::signal(stopped, libc::SIGCONT);
    scene.db.batch("insert into docs values (21, 'fence')");
    scene.settle("docs");
    wait_until_too_late(&scene);
    let old = "select count(*) from docs_embedding_store where id <= 6 and chunk like 'old %'";
    assert_eq!(scene.count(old), 0, "no old vector comes back");
    scene.finish();
}

/// The late worker has come to itself and found its lease gone.
fn wait_until_too_late(scene: &Scene) {
    wait_until("the late worker finds its lease gone", Duration::from_secs(60), || {
        scene.cluster.log().contains("came too late")
    });
}

/// Fear: of the first pass there is no generation that could stop a late worker; it overwrites
/// changes, and brings deleted rows back.
#[test]
fn a_stopped_worker_of_the_first_pass_writes_nothing_late() {
    let settings =
        Settings::default().set("autovector.lease_duration", "2s").set("autovector.naptime", "200ms");
    let mut scene = Scene::with(settings);
    scene.table("docs", 10);
    let gate = scene.provider.hold(Rule::containing("docs text").times(1));
    scene.vectorize(&Spec::on("docs"));
    gate.wait_until_holding(1);
    let stopped = scene.stop_worker();
    gate.release();
    wait_until("another worker has taken over", Duration::from_secs(60), || {
        scene.status("docs", "rows_embedded").as_deref() == Some("10")
    });
    scene.db.batch("update docs set body = 'newer ' || id where id <= 5; delete from docs where id = 6");
    scene.settle("docs");
    process::signal(stopped, libc::SIGCONT);
    wait_until_too_late(&scene);
    scene.settle("docs");
    let stored: Vec<String> =
        scene.db.all("select chunk from docs_embedding_store where id <= 6 order by id", &[]);
    assert_eq!(stored, ["newer 1", "newer 2", "newer 3", "newer 4", "newer 5"]);
    scene.finish();
}

/// Fear: a slow first result overwrites the result of a later change.
#[test]
fn results_that_overtake_each_other_end_with_the_newest() {
    let mut scene = embedded(Settings::default(), 1);
    let gate = scene.provider.hold(Rule::containing("version 1"));
    scene.db.batch("update docs set body = 'version 1'");
    gate.wait_until_holding(1);
    for version in 2..6 {
        scene.db.batch(&format!("update docs set body = 'version {version}'"));
    }
    gate.release();
    scene.settle("docs");
    assert_eq!(scene.db.all::<String>("select chunk from docs_embedding_store", &[]), ["version 5"]);
    scene.finish();
}

/// Fear: a row that changes all the time is never embedded, or blocks the rest.
#[test]
fn a_row_that_never_rests_does_not_starve() {
    let mut scene = embedded(Settings::default(), 5);
    scene.provider.set_latency(Duration::from_millis(30));
    for round in 0..60 {
        scene.db.batch(&format!("update docs set body = 'round {round}' where id = 1"));
        wait_until("the provider is busy or has seen it", Duration::from_secs(10), || {
            scene.provider.in_flight() > 0 || scene.provider.times_sent(&format!("round {round}")) > 0
        });
    }
    scene.db.batch("update docs set body = 'other' where id = 2");
    scene.settle("docs");
    scene.finish();
}

/// Fear: one broken vectorizer delays another.
#[test]
fn a_vectorizer_whose_provider_hangs_does_not_delay_another() {
    let mut scene = Scene::with(Settings::default().set("autovector.max_workers", "2"));
    let silent = autovector_cluster_tests::Provider::start();
    silent.rule(Rule::always().never_answers());
    scene.table("bad", 500);
    scene.table("good", 500);
    let embedding = format!("ai.embedding_openai('test-model', 8, base_url => '{}')", silent.openai_url());
    scene.vectorize(&Spec::on("bad").embedding(&embedding));
    wait_until("the bad one hangs", Duration::from_secs(30), || silent.in_flight() > 0);
    scene.vectorize(&Spec::on("good"));
    scene.settle("good");
    assert_eq!(scene.count("select count(*) from good_embedding_store"), 500);
    scene.cluster.assert_healthy();
}
