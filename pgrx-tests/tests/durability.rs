//! What must survive: dump and restore, promotion of a standby, small limits, long work.

use std::time::Duration;

use autovector_cluster_tests::{
    Scene, Settings, Spec, Sql, process, scene::settle, wait::holds_for, wait_until,
};

/// Fear: a restored database has lost its vectorizers, its pending changes or its failed rows,
/// or pays for everything again.
#[test]
fn a_dump_keeps_vectorizers_and_pending_changes() {
    let mut scene = Scene::new();
    scene.table("docs", 50);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch("select ai.pause_vectorizer('docs', 'for the dump')");
    scene.db.batch("update docs set body = 'pending' where id = 1; delete from docs where id = 2");
    let file = scene.cluster.directory().join("dump").display().to_string();
    scene.cluster.run_client("pg_dump", &["-Fc", "-f", &file, "postgres"]);
    let mut restored = scene.cluster.create_database("restored");
    scene.cluster.run_client("pg_restore", &["--exit-on-error", "-d", "restored", &file]);
    let state: String = restored.one("select state || ': ' || state_reason from ai.vectorizer_status", &[]);
    assert_eq!(state, "paused: for the dump");
    let calls = scene.provider.call_count();
    restored.batch("insert into docs values (51, 'after the restore'); select ai.resume_vectorizer('docs')");
    settle(&mut restored, "docs");
    assert_eq!(scene.provider.call_count(), calls + 1, "the pending and the new row, nothing else");
    autovector_cluster_tests::Check::new("docs").run(&mut restored);
    restored.batch("create table more (id int primary key, body text); insert into more values (1, 'more')");
    restored.batch(&Spec::on("more").sql(&scene.provider));
    settle(&mut restored, "more");
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a restore with several jobs, which loads tables in any order, meets a foreign key whose
/// other side has not come yet.
#[test]
fn the_catalog_can_be_restored_in_any_order() {
    let mut scene = Scene::new();
    for name in ["one", "two", "three"] {
        scene.table(name, 20);
        scene.vectorize(&Spec::on(name));
        scene.settle(name);
    }
    let checking: Vec<String> = scene.db.all(
        "select c.conname::text from pg_trigger t join pg_constraint c on c.oid = t.tgconstraint
          where c.connamespace = 'ai'::regnamespace and t.tgenabled <> 'D' and t.tgfoid::regproc::text like '%RI_FKey_check%'",
        &[],
    );
    assert_eq!(checking, Vec::<String>::new());
    let file = scene.cluster.directory().join("dump").display().to_string();
    scene.cluster.run_client("pg_dump", &["-Fc", "-f", &file, "postgres"]);
    let mut restored = scene.cluster.create_database("restored");
    scene.cluster.run_client("pg_restore", &["--exit-on-error", "-j", "4", "-d", "restored", &file]);
    let whole = "select count(*) from ai.vectorizer_status where state = 'idle' and rows_embedded = 20";
    assert_eq!(restored.one::<i64>(whole, &[]), 3);
    // What belongs to a vectorizer still goes with it.
    restored.batch("select ai.drop_vectorizer('one')");
    let left = "select count(*) from ai._vectorizer_control c where not exists (select from ai.vectorizer v where v.id = c.vectorizer_id)";
    assert_eq!(restored.one::<i64>(left, &[]), 0);
    scene.finish();
}

/// Fear: a standby tries to write, or stays idle after its promotion.
#[test]
fn a_promoted_standby_goes_on_where_the_primary_stood() {
    let mut scene = Scene::new();
    scene.table("docs", 50);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    let mut standby = scene.cluster.standby();
    scene.db.batch("select ai.pause_vectorizer('docs')");
    scene
        .db
        .batch("update docs set body = 'pending ' || id where id <= 10; select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.db.batch("select ai.pause_vectorizer('docs'); update docs set body = 'later ' || id where id <= 5");
    let mut db = standby.connect("postgres");
    wait_until("the standby has caught up", Duration::from_secs(30), || {
        db.one::<i64>("select count(*) from docs where body like 'later %'", &[]) == 5
    });
    assert!(db.one::<bool>("select pg_is_in_recovery()", &[]));
    holds_for("no worker on a standby", Duration::from_secs(1), || {
        standby.worker_pids("autovector worker").is_empty()
    });
    scene.cluster.stop(autovector_cluster_tests::StopMode::Fast);
    db.batch("select pg_promote()");
    let state: String = db.one("select state from ai.vectorizer_status where name = 'docs'", &[]);
    assert_eq!(state, "paused", "a pause outlives the promotion");
    db.batch("select ai.resume_vectorizer('docs'); insert into docs values (51, 'on the new primary')");
    settle(&mut db, "docs");
    autovector_cluster_tests::Check::new("docs").run(&mut db);
    standby.wait_until_ready();
    standby.assert_healthy();
}

/// Fear: rows that logical replication applies fire no triggers, and stay without vectors.
#[test]
fn rows_of_logical_replication_are_embedded_when_asked() {
    let mut publisher = Scene::with(Settings::default().set("wal_level", "logical"));
    publisher.table("docs", 30);
    publisher.table("others", 5);
    publisher.db.batch("create publication everything for table docs, others");
    let mut scene = Scene::new();
    scene.db.batch(
        "create table docs (id bigint primary key, body text, note text, status text);
         create table others (id bigint primary key, body text, note text)",
    );
    scene.vectorize(&Spec::on("docs").with("capture_replicated", "true").with("status_column", "'status'"));
    scene.vectorize(&Spec::on("others"));
    let from =
        format!("host={} port=5432 user=postgres dbname=postgres", publisher.cluster.directory().display());
    scene.db.batch(&format!("create subscription everything connection '{from}' publication everything"));
    let arrived = |scene: &mut Scene, sql: &str| {
        wait_until("the subscriber has caught up", Duration::from_secs(60), || scene.count(sql) == 1);
    };
    arrived(&mut scene, "select (count(*) = 2)::int::bigint from pg_subscription_rel where srsubstate = 'r'");
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 30, "the first copy");
    publisher.db.batch(
        "begin; update docs set body = 'changed ' || id where id <= 3; delete from docs where id = 4;
         update docs set id = 105 where id = 5; insert into docs values (31, 'streamed'); commit;
         insert into others values (6, 'not asked for')",
    );
    arrived(&mut scene, "select count(*) from others where id = 6");
    scene.settle("docs");
    let changed =
        "select count(*) from docs_embedding_store where chunk like 'changed %' or chunk = 'streamed'";
    assert_eq!(scene.count(changed), 4);
    assert_eq!(scene.count("select count(*) from docs_embedding_store where id in (4, 5)"), 0);
    assert_eq!(scene.count("select count(*) from docs_embedding_store where id = 105"), 1);
    wait_until("the status column follows", Duration::from_secs(60), || {
        scene.count("select count(*) from docs where status is distinct from 'embedded'") == 0
    });
    assert_eq!(scene.count("select count(*) from others_embedding_store where id = 6"), 0, "nobody asked");
    publisher.db.batch("truncate docs");
    arrived(&mut scene, "select (count(*) = 0)::int::bigint from docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 0);
    scene.db.batch("drop subscription everything");
    scene.db.batch("select ai.drop_vectorizer('others')");
    scene.finish();
    publisher.finish();
}

/// Fear: without free worker processes it forks in a loop, fills the log, or says nothing.
#[test]
fn exhausted_worker_processes_are_told_once() {
    // Launcher and logical replication's launcher take two.
    let mut scene =
        Scene::with(Settings::default().set("max_worker_processes", "3").set("autovector.naptime", "200ms"));
    scene.table("docs", 5);
    scene.vectorize(&Spec::on("docs"));
    let told = |scene: &Scene| scene.cluster.log().matches("max_worker_processes are taken").count();
    wait_until("the log tells", Duration::from_secs(20), || told(&scene) > 0);
    holds_for("it tells once", Duration::from_secs(3), || told(&scene) == 1);
    let findings: Vec<String> =
        scene.db.all("select finding || fix from ai.doctor() where severity <> 'ok'", &[]);
    assert!(findings.iter().any(|text| text.contains("max_worker_processes")), "{findings:?}");
    assert_eq!(scene.status("docs", "rows_pending").as_deref(), Some("5"));
}

/// Fear: a worker grows with the rows it has seen.
#[test]
fn a_busy_worker_does_not_grow() {
    let mut scene = Scene::new();
    scene.table("docs", 0);
    scene.vectorize(&Spec::on("docs").dimensions(256).processing(200, 4));
    let mut worker = None;
    let mut measured = Vec::new();
    for round in 0..6 {
        scene.db.batch(&format!("insert into docs select i, 'row ' || i from generate_series({round} * 4000, {round} * 4000 + 3999) i"));
        scene.settle("docs");
        let workers = scene.workers();
        assert_eq!(workers.len(), 1);
        assert_eq!(*worker.get_or_insert(workers[0]), workers[0], "the same worker all the time");
        let memory = process::private_memory_kb(workers[0]).expect("alive");
        let files = process::open_files(workers[0]).expect("alive");
        measured.push((memory, files));
    }
    eprintln!("memory in kB and open files: {measured:?}");
    let ((early, early_files), (late, late_files)) = (measured[2], measured[5]);
    assert!(late < early + 16 * 1024, "grew from {early} to {late} kB in 12,000 rows");
    assert!(late_files <= early_files + 4, "{early_files} open files became {late_files}");
    scene.finish();
}
