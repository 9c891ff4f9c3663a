//! Checkpoints of vectorizers: vectors, configuration and pending work are one cut while workers run,
//! and a restore pays for nothing that was there.

use std::{collections::BTreeSet, time::Duration};

use autovector_cluster_tests::{Rule, Scene, Settings, Spec, Sql, wait_until};

use crate::stage::{PATIENCE, Stop};

fn create(scene: &mut Scene, name: &str) {
    scene.db.batch(&format!("select ai.create_checkpoint('docs', '{name}')"));
}

/// What the store had in a version: key and text of each chunk.
fn chunks(scene: &mut Scene, name: &str) -> Vec<String> {
    scene.db.all(
        &format!("select id || ': ' || chunk from ai.read_checkpoint('{name}', null::docs_embedding_store) order by 1"),
        &[],
    )
}

/// Fear: vectors of one moment, pending work of another: a row that has an old vector and is not
/// pending, or none and is not pending, in a version made while workers write.
#[test]
fn vectors_and_pending_work_are_one_cut_while_workers_run() {
    let mut scene = Scene::new();
    scene.table("docs", 300);
    scene.provider.set_latency(Duration::from_millis(5));
    scene.vectorize(&Spec::on("docs").processing(10, 4));
    let stop = Stop::new();
    let mut cuts = 0;
    std::thread::scope(|scope| {
        let mut writer = scene.cluster.connect("postgres");
        let stop = &stop;
        let stopper = stop.say();
        let thread = scope.spawn(move || {
            let mut turn = 0;
            while !stop.said() {
                turn += 1;
                writer.batch(&format!(
                    "update docs set body = 'turn {turn} of ' || id where id % 40 = {turn} % 40;
                     insert into docs values (1000 + {turn}, 'new {turn}'); delete from docs where id = 1000 + {turn} - 20"
                ));
            }
        });
        while cuts < 15 {
            // The source is in the cut too, so that one knows what its text was.
            let row = scene
                .db
                .query("select checkpoint from ai.create_checkpoint_set(array['public.docs', 'docs'])", &[])
                .expect("a set is made");
            let (source, store): (uuid::Uuid, uuid::Uuid) = (row[0].get(0), row[1].get(0));
            let wrong: Vec<String> = scene.db.all(
                &format!(
                    "with state as (select s.id, s.body, c.config, c.config ->> 'scanned' = 'true' as scanned,
                                           (c.config -> 'backfill' ->> 0)::int8 as done
                                      from ai.read_checkpoint('{source}'::uuid, null::docs) s, ai._checkpoint c where c.id = '{store}'),
                          pending as (select (key ->> 'id')::int8 as id from ai.checkpoint_pending('{store}'::uuid))
                     select s.id || ' ' || coalesce(s.body, '-') || ' / ' || coalesce(e.chunk, '-') from state s
                       left join ai.read_checkpoint('{store}'::uuid, null::docs_embedding_store) e on e.id = s.id
                      where e.chunk is distinct from s.body and not exists (select from pending p where p.id = s.id)
                        and (s.scanned or s.id <= coalesce(s.done, 0))"
                ),
                &[],
            );
            assert!(wrong.is_empty(), "cut {cuts}: neither embedded nor pending: {wrong:?}");
            cuts += 1;
        }
        drop(stopper);
        thread.join().expect("the writer met no error");
    });
    let model: String = scene.db.one("select config #>> '{config,embedding,model}' from ai._checkpoint where vectorizer is not null limit 1", &[]);
    assert_eq!(model, "test-model", "the configuration is in the cut");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a restore is paid for again, forgets what changed in the source since, or brings back what
/// was deleted.
#[test]
fn a_restore_embeds_only_what_changed_in_the_source() {
    let mut scene = Scene::new();
    scene.table("docs", 100);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    create(&mut scene, "good");
    let good = chunks(&mut scene, "good");
    // An accident in the store itself, and honest changes of the source.
    scene.db.batch("update docs set body = 'changed ' || id where id <= 5; delete from docs where id in (6, 7); insert into docs values (200, 'new')");
    scene.settle("docs");
    scene.db.batch("update docs_embedding_store set embedding = '[0,0,0,0,0,0,0,1]' where id between 50 and 60; delete from docs_embedding_store where id between 61 and 70");
    let calls = scene.provider.calls().len();
    let result: serde_json::Value = scene.db.one("select ai.restore_checkpoint('good')", &[]);
    assert_eq!(result["not_resurrected"], 2, "{result}");
    assert_eq!(result["dirty"], 5 + 1 + 11 + 10, "{result}");
    scene.settle("docs");
    let sent: BTreeSet<String> =
        scene.provider.calls()[calls..].iter().flat_map(|call| call.inputs.iter().cloned()).collect();
    let expected: BTreeSet<String> =
        (1..=5).map(|i| format!("changed {i}")).chain(["new".to_owned()]).collect();
    assert_eq!(sent, expected, "texts that are as they were cost nothing");
    assert_eq!(chunks(&mut scene, "good"), good, "the version itself did not move");
    // Told to, it brings the vectors of deleted rows back.
    let result: serde_json::Value =
        scene.db.one("select ai.restore_checkpoint('good', resurrect => true)", &[]);
    assert_eq!(result["not_resurrected"], 0, "{result}");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where id in (6, 7)"), 2);
    scene.db.batch("delete from docs_embedding_store where id in (6, 7)");
    scene.settle("docs");
    scene.finish();
}

/// Fear: a batch that was in flight during the restore overwrites it, or its rows are lost.
#[test]
fn a_batch_in_flight_does_not_undo_a_restore() {
    let mut scene = Scene::new();
    scene.table("docs", 40);
    scene.vectorize(&Spec::on("docs").processing(10, 2));
    scene.settle("docs");
    create(&mut scene, "good");
    let gate = scene.provider.hold(Rule::containing("slow"));
    scene.db.batch("update docs set body = 'slow ' || id where id <= 10");
    gate.wait_until_holding(1);
    scene.db.batch("update docs_embedding_store set chunk = 'accident' where id <= 20; select ai.restore_checkpoint('good')");
    gate.release();
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where chunk = 'accident'"), 0);
    scene.finish();
}

/// Fear: dropping the vectorizer takes its checkpoints along, or is refused without a way out.
#[test]
fn checkpoints_outlive_their_vectorizer() {
    let mut scene = Scene::new();
    scene.table("docs", 20);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch("select ai.pause_vectorizer('docs'); update docs set body = 'pending' where id = 3");
    create(&mut scene, "one");
    let one = chunks(&mut scene, "one");
    let error = scene.db.error_of("select ai.drop_vectorizer('docs', drop_all => true)");
    assert_eq!(error.code().code(), "55000", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("detach_checkpoints")), "{error:?}");
    scene
        .db
        .batch("select ai.detach_checkpoints('docs'); select ai.drop_vectorizer('docs', drop_all => true)");
    let pending: Vec<String> = scene.db.all("select key::text from ai.checkpoint_pending('one')", &[]);
    assert_eq!(pending, [r#"{"id": 3}"#]);
    scene.db.batch("select ai.clone_checkpoint('one', 'rescued')");
    let rescued: Vec<String> = scene.db.all("select id || ': ' || chunk from rescued order by 1", &[]);
    assert_eq!(rescued, one);
    // Without drop_all the store stays, and the versions with it.
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    create(&mut scene, "two");
    let two = chunks(&mut scene, "two");
    scene.db.batch("select ai.drop_vectorizer('docs'); delete from docs_embedding_store where id < 10");
    assert_eq!(chunks(&mut scene, "two"), two);
    scene.db.batch("select ai.restore_checkpoint('two')");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 20);
    scene.finish();
}

/// Fear: TRUNCATE of the source, or a vector column in the source itself, goes past the versions.
#[test]
fn truncates_and_column_vectors_are_kept() {
    let mut scene = Scene::new();
    scene.table("docs", 20);
    scene.table("notes", 20);
    scene.vectorize(&Spec::on("docs"));
    scene.vectorize(&Spec::on("notes").with("destination", "ai.destination_column('embedding')"));
    scene.settle("docs");
    scene.settle("notes");
    create(&mut scene, "one");
    scene.db.batch("select ai.create_checkpoint('notes', 'column')");
    let one = chunks(&mut scene, "one");
    let column =
        "select string_agg(r::text, ',' order by id) from ai.read_checkpoint('column', null::notes) r";
    let before: String = scene.db.one(column, &[]);
    scene.db.batch("truncate docs; insert into docs values (1, 'again'); update notes set body = 'x'");
    scene.settle("docs");
    scene.settle("notes");
    assert_eq!(chunks(&mut scene, "one"), one);
    assert_eq!(scene.db.one::<String>(column, &[]), before);
    scene.db.batch("select ai.restore_checkpoint('column')");
    scene.settle("notes");
    assert_eq!(
        scene.db.one::<String>("select string_agg(r::text, ',' order by id) from notes r", &[]),
        before
    );
    scene.db.batch("select ai.drop_vectorizer('notes')");
    scene.finish();
}

/// Fear: checkpoints by policy come too often, never, or pile up; expired ones are never collected.
#[test]
fn policies_make_and_remove_checkpoints_by_themselves() {
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "100ms"));
    scene.db.batch("create table t (id int primary key, v text); create table u (id int primary key)");
    scene.db.batch("select ai.set_checkpoint_policy('t', every => '300 milliseconds', keep_last => 2)");
    scene.db.batch("select ai.set_checkpoint_policy('u', every_changes => 100, keep_for => '1 hour')");
    wait_until("five checkpoints were made", PATIENCE, || {
        scene.count("select coalesce(max(number), 0) from ai._checkpoint_version v join ai._checkpoint_history h on h.id = v.history
                      where h.relation = 't'::regclass") >= 5
    });
    wait_until("two are left", PATIENCE, || {
        scene.count("select count(*) from ai._checkpoint where target = 'public.t'") <= 3
    });
    assert_eq!(scene.count("select count(*) from ai.list_checkpoints('public.t') where kind <> 'policy'"), 0);
    assert_eq!(
        scene.count("select count(*) from ai.list_checkpoints('public.u')"),
        0,
        "nothing has changed in u"
    );
    scene.db.batch("insert into u select generate_series(1, 150)");
    wait_until("enough has changed", PATIENCE, || {
        scene.count("select count(*) from ai.list_checkpoints('public.u') where expires_at > now()") == 1
    });
    scene.db.batch("select ai.set_checkpoint_policy('t'); select ai.set_checkpoint_policy('u')");
    assert_eq!(scene.count("select count(*) from ai.checkpoint_policies"), 0);
    scene.db.batch("select ai.refresh_checkpoint(id, '1 microsecond') from ai.checkpoints");
    wait_until("what has expired is collected", PATIENCE, || {
        scene.count("select count(*) from ai._checkpoint") == 0
            && scene.count("select count(*) from ai._checkpoint_version") == 0
    });
    // A table that is gone does not stop the others.
    scene.db.batch("select ai.set_checkpoint_policy('t', every => '200 milliseconds'); select ai.set_checkpoint_policy('u', every => '200 milliseconds')");
    scene.db.batch("drop table t");
    wait_until("the other goes on", PATIENCE, || {
        scene.count("select count(*) from ai.list_checkpoints('public.u')") > 0
    });
    scene.db.batch("select ai.set_checkpoint_policy('u')");
    scene.finish();
}

/// Fear: the id of a vectorizer is taken for something else than its name.
#[test]
fn a_vectorizer_is_named_by_its_id_too() {
    let mut scene = Scene::new();
    scene.table("docs", 5);
    let id = scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch(&format!("select ai.create_checkpoint({id}, 'by-id', '1 day')"));
    let target: String = scene.db.one("select target from ai.checkpoints where name = 'by-id'", &[]);
    assert_eq!(target, "docs");
    assert_eq!(scene.count(&format!("select count(*) from ai.list_checkpoints({id}, 'by-id')")), 1);
    scene.db.batch(&format!("select ai.create_checkpoint({id}, 'again', source => 'by-id')"));
    scene.db.batch(&format!("select ai.set_checkpoint_policy({id}, every => '1 day')"));
    assert_eq!(scene.db.one::<String>("select target from ai.checkpoint_policies", &[]), "docs");
    assert_eq!(scene.db.one::<i64>(&format!("select ai.detach_checkpoints({id})"), &[]), 5);
    scene.finish();
}
