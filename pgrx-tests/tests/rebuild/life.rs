//! A rebuild among everything else that happens: pauses, failing providers, crashes, dumps,
//! rights, and what hangs on the store.

use autovector_cluster_tests::{Rule, Scene, Sql, process, wait_until};

use crate::stage::{
    LONG, dimensions, embedded, embedded_with, model, rebuild_to, settings, wait_for_rebuild,
};

/// How often each text was sent to the new model; the old one has had each once before.
fn sent_twice(scene: &Scene) -> Vec<String> {
    let counts = autovector_cluster_tests::provider::count_inputs(&scene.provider.calls());
    counts.into_iter().filter(|(_, times)| *times > 1).map(|(text, _)| text).collect()
}

/// Fear: a pause leaves the rebuild running, or the rebuild begins anew after it.
#[test]
fn a_pause_pauses_the_rebuild_and_nothing_is_done_twice() {
    let mut scene = embedded_with(settings(), 300, |spec| spec.processing(20, 2));
    scene.provider.forget_calls();
    let gate = scene.provider.hold(Rule::when(|inputs| inputs.iter().any(|text| text == "docs text 150")));
    rebuild_to(&mut scene, 16, true);
    gate.wait_until_holding(1);
    assert_eq!(
        scene.db.one::<String>("select ai.pause_vectorizer('docs', 'night', wait => false)", &[]),
        "pausing"
    );
    gate.release();
    assert_eq!(scene.db.one::<String>("select ai.pause_vectorizer('docs')", &[]), "paused");
    assert_eq!(scene.count("select count(*) from ai._lease"), 0);
    assert_eq!(scene.status("docs", "rebuild || ': ' || rebuild_reason").as_deref(), Some("paused: night"));
    let calls = scene.provider.call_count();
    scene.db.batch("update docs set body = 'while paused' where id = 300");
    let error = scene.db.error_of("call ai.wait_for_rebuild('docs')");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert_eq!(scene.provider.call_count(), calls);
    scene.db.batch("select ai.resume_vectorizer('docs')");
    wait_for_rebuild(&mut scene);
    scene.settle("docs");
    assert_eq!(dimensions(&mut scene), [16]);
    let twice = sent_twice(&scene);
    assert!(twice.iter().all(|text| text == "while paused"), "sent twice: {twice:?}");
    scene.finish();
}

/// Fear: a provider that refuses the new model stops the old one, or half a store takes over.
#[test]
fn a_provider_that_fails_half_way_leaves_the_old_store_serving() {
    let mut scene = embedded_with(settings(), 60, |spec| spec.processing(10, 1));
    scene.cluster.expect_in_log("refused");
    // Input errors: rows that only the new model refuses must not vanish from searches.
    scene
        .provider
        .rule(Rule::when(|inputs| inputs.iter().any(|text| text == "docs text 33")).error(400, "refused"));
    rebuild_to(&mut scene, 16, true);
    let error = scene.db.error_of("call ai.wait_for_rebuild('docs')");
    assert!(error.message().contains("lacks 1 rows"), "{error:?}");
    assert_eq!(dimensions(&mut scene), [8]);
    let error = scene.db.error_of("select ai.finish_rebuild('docs')");
    assert!(error.hint().is_some_and(|hint| hint.contains("force")), "{error:?}");
    // Configuration errors halt the rebuild alone.
    scene.provider.rule(Rule::always().error(401, "refused").times(1));
    scene.db.batch("select ai.retry_failed('docs')");
    wait_until("the rebuild is halted", LONG, || {
        scene.status("docs", "rebuild").as_deref() == Some("halted")
    });
    assert_eq!(scene.status("docs", "state").as_deref(), Some("idle"));
    assert_eq!(scene.count("select count(*) from ai.search('docs', 'docs text 34', 3)"), 3);
    scene.provider.clear_rules();
    scene.db.batch("select ai.resume_vectorizer('docs'); select ai.retry_failed('docs')");
    wait_for_rebuild(&mut scene);
    assert_eq!(dimensions(&mut scene), [16]);
    assert_eq!(scene.count("select count(*) from docs_embedding"), 60);
    scene.settle("docs");
    scene.finish();
}

/// Fear: a crash in the middle of the swap leaves half of it, or the rebuild begins anew.
#[test]
fn whatever_is_killed_the_rebuild_goes_on() {
    let mut scene = embedded_with(settings(), 120, |spec| spec.processing(20, 2));
    scene.cluster.expect_in_log("signal 9");
    scene.cluster.expect_in_log("failpoint");
    let file = scene.cluster.data_directory().join("autovector.failpoints");
    let gate = scene.provider.hold(Rule::when(|inputs| inputs.iter().any(|text| text == "docs text 60")));
    rebuild_to(&mut scene, 16, true);
    gate.wait_until_holding(1);
    process::signal(scene.workers()[0], libc::SIGKILL);
    gate.release();
    scene.reconnect();
    for place in ["before_rebuild_is_ready", "before_swap_commits", "after_swap"] {
        std::fs::write(&file, format!("{place}=kill")).expect("the failpoint is set");
        wait_until("the failpoint was reached", LONG, || !file.exists());
        scene.reconnect();
        let swapped = place == "after_swap";
        let now = if swapped { vec![16] } else { vec![8] };
        // Between two failpoints the swap may not have been tried again.
        assert_eq!(dimensions(&mut scene), now, "after {place}");
    }
    wait_for_rebuild(&mut scene);
    scene.settle("docs");
    scene.cluster.kill_postmaster();
    scene.cluster.start_again();
    scene.reconnect();
    assert_eq!(scene.db.one::<String>("select ai.rollback_rebuild('docs')", &[]), "rolled back");
    scene.settle("docs");
    assert_eq!(dimensions(&mut scene), [8]);
    scene.finish();
}

/// Fear: rights, comments, views or indexes are lost with the old store, or rights are won.
#[test]
fn what_hangs_on_store_and_view_survives() {
    let mut scene = embedded(30);
    scene.db.batch(
        "create role reader; create role other; create role columns;
         grant select on docs_embedding_store, docs_embedding to reader;
         grant select (id, chunk) on docs_embedding_store to columns;
         alter default privileges grant select on tables to other;
         comment on table docs_embedding_store is 'the store''s comment';
         comment on column docs_embedding_store.chunk is 'a chunk';
         alter table docs_embedding_store set (fillfactor = 90);
         create index on docs_embedding_store (length(chunk));
         create view upon as select id, embedding from docs_embedding where id < 5;
         create view strict with (security_barrier) as select id, chunk from docs_embedding_store where id < 5;
         select ai.create_checkpoint('docs', name => 'before');
         create table shape (embedding_uuid uuid, id bigint, chunk text, embedding vector)",
    );
    const READ: &str = "select md5(string_agg(c.id || c.chunk || c.embedding::text, ',' order by c.id))
        from ai.read_checkpoint('before', null::shape) c";
    let verified = |scene: &mut Scene| {
        let report: serde_json::Value = scene.db.one("select ai.verify_checkpoint('before')", &[]);
        assert_eq!(report["ok"], true, "{report}");
    };
    verified(&mut scene);
    let version: String = scene.db.one(READ, &[]);
    for (make, word, undo) in [
        (
            "create view narrow as select id, embedding from docs_embedding_store",
            "narrow",
            "drop view narrow",
        ),
        (
            "create materialized view kept as select id from docs_embedding_store",
            "kept",
            "drop materialized view kept",
        ),
        (
            "alter table docs_embedding_store add mine int",
            "mine",
            "alter table docs_embedding_store drop mine",
        ),
        (
            "alter table docs_embedding_store enable row level security",
            "policy",
            "alter table docs_embedding_store disable row level security",
        ),
        (
            "create table notes (chunk uuid references docs_embedding_store)",
            "foreign key",
            "drop table notes",
        ),
    ] {
        scene.db.batch(make);
        let error = scene.db.error_of(&format!(
            "select ai.alter_vectorizer('docs', embedding => {})",
            model(&scene, "new-model", 16)
        ));
        assert!(error.code().code() == "55000" && error.message().contains(word), "{make}: {error:?}");
        scene.db.batch(undo);
    }
    rebuild_to(&mut scene, 16, true);
    wait_for_rebuild(&mut scene);
    scene.settle("docs");
    assert_eq!(
        scene.db.one::<String>(
            "select concat_ws(' ', has_table_privilege('reader', 'docs_embedding_store', 'select'),
                    has_table_privilege('reader', 'docs_embedding', 'select'),
                    has_table_privilege('other', 'docs_embedding_store', 'select'),
                    has_column_privilege('columns', 'docs_embedding_store', 'chunk', 'select'),
                    has_column_privilege('columns', 'docs_embedding_store', 'embedding', 'select'),
                    obj_description('docs_embedding_store'::regclass), col_description('docs_embedding_store'::regclass, 4),
                    c.reloptions) from pg_class c where c.oid = 'docs_embedding_store'::regclass",
            &[]
        ),
        "t t f t f the store's comment a chunk {fillfactor=90}"
    );
    assert_eq!(
        scene.db.all::<i32>("select distinct vector_dims(embedding) from upon", &[]),
        [16],
        "a view upon the view shows the new vectors"
    );
    assert_eq!(
        scene.db.all::<String>(
            "select pg_get_viewdef('strict'::regclass) || (select reloptions::text from pg_class where oid = 'strict'::regclass)", &[]
        ).into_iter().filter(|text| text.contains("docs_embedding_store") && text.contains("security_barrier=true")).count(), 1
    );
    assert_eq!(scene.count("select count(*) from pg_indexes where tablename = 'docs_embedding_store' and indexdef like '%length%'"), 1);
    // The checkpoint is of the old store, with the old model's vectors, and outlives it.
    assert_eq!(scene.db.one::<String>(READ, &[]), version, "the version after the swap");
    scene.db.batch("select ai.drop_previous_store('docs')");
    assert_eq!(scene.db.one::<String>(READ, &[]), version, "the version without its table");
    verified(&mut scene);
    scene.finish();
}

/// Fear: triggers that were dropped while a rebuild runs come back for the columns of one configuration
/// alone, and after the swap changes of the other's are missed.
#[test]
fn triggers_that_are_made_anew_watch_the_columns_of_both() {
    let mut scene = embedded(10);
    scene.db.batch(
        "select ai.alter_vectorizer('docs', formatting => ai.formatting_python_template('$note: $chunk'), auto_swap => false);
         select ai.pause_vectorizer('docs');
         drop trigger _vectorizer_src_trg_1_update on docs;
         update docs set note = 'unseen', body = 'unseen' where id = 1;
         select ai.resume_vectorizer('docs')",
    );
    wait_for_rebuild(&mut scene);
    scene.db.batch("select ai.finish_rebuild('docs')");
    scene.db.batch("update docs set note = 'seen' where id = 2");
    scene.settle("docs");
    let chunks =
        "select count(*) from docs_embedding_store where chunk = 'unseen: unseen' or chunk like 'seen: %'";
    assert_eq!(scene.count(chunks), 2);
    scene.finish();
}

/// Fear: who may not manage a vectorizer changes its model.
#[test]
fn only_who_manages_it_may_change_it() {
    let mut scene = embedded(5);
    scene.db.batch("create role stranger login; grant select on docs to stranger");
    let mut stranger = scene.cluster.connect_as("postgres", "stranger");
    let alter =
        format!("select ai.alter_vectorizer('docs', embedding => {})", model(&scene, "new-model", 16));
    for sql in [alter.as_str(), "select ai.alter_vectorizer('docs', priority => 1)"] {
        assert_eq!(stranger.error_of(sql).code().code(), "42501", "{sql}");
    }
    rebuild_to(&mut scene, 16, false);
    wait_for_rebuild(&mut scene);
    for function in ["finish_rebuild", "cancel_rebuild", "rollback_rebuild", "drop_previous_store"] {
        assert_eq!(
            stranger.error_of(&format!("select ai.{function}('docs')")).code().code(),
            "42501",
            "{function}"
        );
    }
    // And the owner may, without being a superuser.
    scene.db.batch(
        "create role owner login; grant create on schema public to owner; alter table docs owner to owner;
         alter table docs_embedding_store owner to owner; alter view docs_embedding owner to owner;
         alter table _vectorizer_store_2 owner to owner",
    );
    let mut owner = scene.cluster.connect_as("postgres", "owner");
    assert_eq!(owner.one::<String>("select ai.finish_rebuild('docs')", &[]), "swapped");
    assert_eq!(owner.one::<String>("select ai.rollback_rebuild('docs')", &[]), "rolled back");
    assert_eq!(owner.one::<String>("select ai.drop_previous_store('docs')", &[]), "dropped");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a dump taken in the middle of a rebuild cannot be restored, or goes on wrongly.
#[test]
fn a_dump_takes_a_running_rebuild_along() {
    let mut scene = embedded(40);
    rebuild_to(&mut scene, 16, false);
    wait_for_rebuild(&mut scene);
    scene.db.batch("select ai.pause_vectorizer('docs'); update docs set body = 'changed' where id = 3");
    let dump = dump(&scene);
    let mut restored = scene.cluster.create_database("restored");
    restored.batch("set client_min_messages = error");
    load(&scene, "restored", &dump);
    restored.batch("select ai.resume_vectorizer('docs')");
    autovector_cluster_tests::scene::settle(&mut restored, "docs");
    assert_eq!(restored.one::<String>("select ai.finish_rebuild('docs')", &[]), "swapped");
    autovector_cluster_tests::scene::settle(&mut restored, "docs");
    assert_eq!(restored.all::<i32>("select distinct vector_dims(embedding) from docs_embedding", &[]), [16]);
    assert_eq!(restored.all::<String>("select chunk from docs_embedding where id = 3", &[]), ["changed"]);
    scene.db.batch("select ai.cancel_rebuild('docs'); select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

fn dump(scene: &Scene) -> Vec<u8> {
    let output = program(scene, "pg_dump").args(["-d", "postgres"]).output().expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn load(scene: &Scene, database: &str, dump: &[u8]) {
    let file = scene.cluster.directory().join("dump.sql");
    std::fs::write(&file, dump).expect("the dump is written");
    let output = program(scene, "psql")
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f"])
        .arg(&file)
        .output()
        .expect("psql runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn program(scene: &Scene, name: &str) -> std::process::Command {
    let mut command = std::process::Command::new(autovector_cluster_tests::paths::program(name));
    command
        .arg("-h")
        .arg(scene.cluster.directory())
        .args(["-U", autovector_cluster_tests::cluster::SUPERUSER]);
    command
}

/// Fear: a new owner of the source leaves everything between two owners until somebody works.
#[test]
fn a_new_owner_of_the_source_owns_what_belongs_to_it_at_once() {
    let mut scene = embedded(5);
    rebuild_to(&mut scene, 16, false);
    wait_for_rebuild(&mut scene);
    scene.db.batch("select ai.pause_vectorizer('docs'); create role heir; alter table docs owner to heir");
    assert_eq!(scene.status("docs", "rows_total").as_deref(), Some("5"));
    assert_eq!(
        scene.count(
            "select count(*) from pg_class where relkind = 'r' and relowner = 'heir'::regrole
                and (relname ~ '^_vectorizer_(q|store)_' or relname = 'docs_embedding_store')"
        ),
        6
    );
    scene.db.batch("select ai.resume_vectorizer('docs'); drop table docs cascade");
    // The store that was to come is gone with the source, the other one stays.
    assert_eq!(
        scene.count(
            "select count(*) from pg_class where relkind = 'r' and relname ~ '^_vectorizer_(q|store)_'"
        ),
        0
    );
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 5);
    scene.finish();
}
