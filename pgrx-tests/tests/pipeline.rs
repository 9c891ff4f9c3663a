//! From a row to its vector: every kind of change of a source ends in the store, and nothing
//! that did not change is embedded again.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use autovector_cluster_tests::{Scene, Settings, Spec, Sql, expected_vector, wait_until};

/// A scene with table `docs` of `rows` rows, vectorized and quiet.
fn embedded(rows: i64) -> Scene {
    let mut scene = Scene::new();
    scene.table("docs", rows);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene
}

/// Chunks of the store of `docs` for one id.
fn chunks(scene: &mut Scene, id: i64) -> Vec<String> {
    scene.db.all("select chunk from docs_embedding_store where id = $1 order by chunk_seq", &[&id])
}

/// Fear: rows that were there before the vectorizer are forgotten, or embedded twice.
#[test]
fn existing_rows_are_embedded_once() {
    let mut scene = embedded(250);
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 250);
    let calls = scene.provider.calls();
    assert_eq!(calls.iter().map(|call| call.inputs.len()).sum::<usize>(), 250);
    let vector: Vec<f32> =
        scene.db.one("select embedding::real[] from docs_embedding_store where id = 7", &[]);
    assert_eq!(vector, expected_vector("docs text 7", 8));
    scene.finish();
}

/// Fear: without existing rows the backfill waits, or `enqueue_existing => false` is ignored.
#[test]
fn existing_rows_can_be_left_out() {
    let mut scene = Scene::new();
    scene.table("docs", 10);
    scene.vectorize(&Spec::on("docs").with("enqueue_existing", "false"));
    scene.db.batch("insert into docs values (11, 'new')");
    scene.settle("docs");
    assert_eq!(scene.db.all::<String>("select chunk from docs_embedding_store", &[]), ["new"]);
    assert_eq!(scene.provider.times_sent("docs text 1"), 0);
    scene.cluster.assert_healthy();
}

/// Fear: an insert is noticed only at the next poll.
#[test]
fn a_commit_wakes_the_workers_at_once() {
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "1h"));
    scene.table("docs", 1);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    for id in 2..5 {
        scene.db.batch(&format!("insert into docs values ({id}, 'wake {id}')"));
        let committed = Instant::now();
        let text = format!("wake {id}");
        wait_until("the provider is asked", Duration::from_secs(5), || scene.provider.times_sent(&text) == 1);
        let took = committed.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?} from commit to request");
    }
    scene.settle("docs");
    scene.finish();
}

/// Fear: the old vector of a changed text stays findable.
#[test]
fn an_update_replaces_the_vector() {
    let mut scene = embedded(3);
    scene.db.batch("update docs set body = 'changed' where id = 2");
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 2), ["changed"]);
    assert_eq!(scene.provider.times_sent("changed"), 1);
    scene.finish();
}

/// Fear: somebody pays for every update of an unrelated column.
#[test]
fn an_update_of_other_columns_costs_nothing() {
    let mut scene = embedded(20);
    let calls = scene.provider.call_count();
    scene.db.batch("update docs set note = 'x'; update docs set body = body; update docs set id = id");
    assert_eq!(scene.status("docs", "pending_items").as_deref(), Some("0"));
    scene.db.batch("insert into docs values (21, 'fence')");
    scene.settle("docs");
    assert_eq!(scene.provider.call_count(), calls + 1, "only the new row is embedded");
    scene.finish();
}

/// Fear: there and back again is paid twice.
#[test]
fn a_text_that_is_restored_before_it_is_embedded_is_not_embedded_again() {
    let mut scene = embedded(2);
    scene.db.batch("begin; update docs set body = 'other' where id = 1; update docs set body = 'docs text 1' where id = 1; commit");
    scene.settle("docs");
    assert_eq!((scene.provider.times_sent("docs text 1"), scene.provider.times_sent("other")), (1, 0));
    scene.finish();
}

/// Fear: vectors of deleted rows are found by searches for ever.
#[test]
fn a_delete_removes_the_vectors() {
    let mut scene = embedded(10);
    scene.db.batch("delete from docs where id in (3, 4)");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where id in (3, 4)"), 0);
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 8);
    scene.finish();
}

/// Fear: rows that go by a foreign key's cascade leave their vectors.
#[test]
fn a_cascade_removes_the_vectors() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table authors (id int primary key);
         create table docs (id bigint primary key, body text, author int references authors on delete cascade);
         insert into authors values (1), (2);
         insert into docs select i, 'text ' || i, 1 + i % 2 from generate_series(1, 10) i",
    );
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch("delete from authors where id = 1");
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 5);
    scene.finish();
}

/// Fear: TRUNCATE fires no row trigger, so its vectors stay.
#[test]
fn truncate_empties_the_store_and_the_queue() {
    let mut scene = embedded(10);
    scene.db.batch("truncate docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 0);
    assert_eq!(scene.status("docs", "pending_items").as_deref(), Some("0"));
    scene.db.batch("insert into docs values (1, 'after')");
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 1), ["after"]);
    scene.db.batch("begin; truncate docs; rollback");
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 1), ["after"]);
    scene.finish();
}

/// Fear: a row whose key changes keeps a vector under the old key.
#[test]
fn a_key_change_moves_the_vector() {
    let mut scene = embedded(3);
    scene
        .db
        .batch("update docs set id = 100 where id = 1; update docs set id = 101, body = 'both' where id = 2");
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 1), Vec::<String>::new());
    assert_eq!(chunks(&mut scene, 100), ["docs text 1"]);
    assert_eq!(chunks(&mut scene, 101), ["both"]);
    scene.finish();
}

/// Fear: keys that are swapped in one statement exchange their vectors, or lose them.
#[test]
fn keys_that_change_places_keep_their_texts() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table docs (id bigint primary key deferrable initially deferred, body text);
         insert into docs values (1, 'one'), (2, 'two')",
    );
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch("update docs set id = 3 - id");
    scene.settle("docs");
    assert_eq!(
        (chunks(&mut scene, 1), chunks(&mut scene, 2)),
        (vec!["two".to_owned()], vec!["one".to_owned()])
    );
    scene.finish();
}

/// Fear: a change that was rolled back is embedded, or forgets what was there.
#[test]
fn a_rollback_leaves_no_trace() {
    let mut scene = embedded(3);
    let calls = scene.provider.call_count();
    scene.db.batch("begin; insert into docs values (9, 'ghost'); update docs set body = 'ghost' where id = 1; delete from docs where id = 2; rollback");
    assert_eq!(scene.status("docs", "pending_items").as_deref(), Some("0"));
    scene.db.batch("insert into docs values (4, 'fence')");
    scene.settle("docs");
    assert_eq!(scene.provider.call_count(), calls + 1);
    assert_eq!(scene.provider.times_sent("ghost"), 0);
    scene.finish();
}

/// Fear: keys noted in a savepoint survive its rollback, or take others with them.
#[test]
fn a_savepoint_rollback_forgets_only_its_own_changes() {
    let mut scene = embedded(3);
    scene.db.batch(
        "begin;
         insert into docs values (10, 'outer');
         savepoint a; insert into docs values (11, 'inner a'); update docs set body = 'inner a' where id = 1;
           savepoint b; insert into docs values (12, 'inner b'); release b;
         rollback to a;
         savepoint c; insert into docs values (13, 'kept'); delete from docs where id = 3; release c;
         savepoint d; delete from docs where id = 2; rollback to d;
         commit",
    );
    scene.settle("docs");
    let stored: Vec<String> = scene.db.all("select chunk from docs_embedding_store order by id", &[]);
    assert_eq!(stored, ["docs text 1", "docs text 2", "outer", "kept"]);
    for ghost in ["inner a", "inner b"] {
        assert_eq!(scene.provider.times_sent(ghost), 0, "{ghost}");
    }
    scene.finish();
}

/// Fear: a bulk load that is captured in portions forgets a portion, or keeps one that was
/// rolled back.
#[test]
fn bulk_changes_are_captured_whole() {
    let mut scene = embedded(1);
    scene.db.batch("select ai.pause_vectorizer('docs')");
    scene.db.batch(
        "begin;
         insert into docs select i, 'bulk ' || i from generate_series(1001, 121000) i;
         savepoint s; insert into docs select i, 'ghost ' || i from generate_series(200001, 320000) i; rollback to s;
         delete from docs where id > 120990;
         commit",
    );
    assert_eq!(scene.count("select rows_pending from ai.vectorizer_status"), 119_990);
    let mismatch = "select count(*) from docs d full join ai._vectorizer_q_1 q using (id)
                    where coalesce(d.id, q.id) > 1 and (d.id is null or q.id is null)";
    assert_eq!(scene.count(mismatch), 0, "the dirty set is exactly the new rows");
    scene.db.batch("truncate docs; select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    scene.finish();
}

/// Fear: bulk changes that meet keys which are dirty already, or deleted before in the same
/// transaction, fail, lose a key, or keep an old generation.
#[test]
fn bulk_changes_meet_dirty_keys() {
    let mut scene = embedded(500);
    scene.db.batch(
        "select ai.pause_vectorizer('docs'); update docs set body = 'late ' || id where id % 100 = 99",
    );
    let before: i64 = scene.db.one("select max(gen) from ai._vectorizer_q_1", &[]);
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_1"), 5);
    scene.db.batch(
        "begin;
         delete from docs where id <= 20;
         insert into docs select i, 'again ' || i from generate_series(1, 10) i;
         update docs set body = 'changed ' || id where id > 10;
         commit",
    );
    let kept = "select count(*) from docs d join ai._vectorizer_q_1 q using (id)";
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_1"), 490);
    assert_eq!(scene.count(kept), 490);
    assert_eq!(scene.count(&format!("select count(*) from ai._vectorizer_q_1 where gen <= {before}")), 0);
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 490);
    scene.finish();
}

/// Fear: upserts and MERGE take another path through the triggers.
#[test]
fn upserts_and_merge_are_captured() {
    let mut scene = embedded(3);
    scene.db.batch(
        "insert into docs values (1, 'upserted'), (4, 'fresh') on conflict (id) do update set body = excluded.body;
         insert into docs values (2, 'ignored') on conflict do nothing;
         merge into docs d using (values (3, 'merged'), (5, 'added'), (4, null)) m(id, body) on d.id = m.id
           when matched and m.body is null then delete
           when matched then update set body = m.body
           when not matched then insert values (m.id, m.body)",
    );
    scene.settle("docs");
    let stored: Vec<String> = scene.db.all("select chunk from docs_embedding_store order by id", &[]);
    assert_eq!(stored, ["upserted", "docs text 2", "merged", "added"]);
    assert_eq!(scene.provider.times_sent("ignored"), 0);
    scene.finish();
}

/// Fear: COPY bypasses the capture.
#[test]
fn copied_rows_are_embedded() {
    let mut scene = embedded(0);
    let mut writer = scene.db.copy_in("copy docs (id, body) from stdin").expect("copy begins");
    for id in 1..=3000 {
        writeln!(writer, "{id}\tcopied {id}").expect("copy takes a row");
    }
    assert_eq!(writer.finish().expect("copy ends"), 3000);
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 3000);
    scene.finish();
}

/// Fear: a row deleted and inserted again in one transaction ends with its old vector, or none.
#[test]
fn a_key_that_is_used_again_in_one_transaction_gets_the_new_text() {
    let mut scene = embedded(3);
    scene.db.batch(
        "begin; delete from docs where id = 1; insert into docs values (1, 'second life'); commit;
         begin; insert into docs values (7, 'short life'); delete from docs where id = 7; commit",
    );
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 1), ["second life"]);
    assert_eq!(chunks(&mut scene, 7), Vec::<String>::new());
    assert_eq!(scene.provider.times_sent("short life"), 0);
    scene.finish();
}

/// Fear: a prepared transaction's changes are lost between PREPARE and COMMIT PREPARED.
#[test]
fn two_phase_commit_keeps_the_changes() {
    let mut scene = Scene::with(
        Settings::default().set("max_prepared_transactions", "5").set("autovector.naptime", "200ms"),
    );
    scene.table("docs", 1);
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch("begin; insert into docs values (2, 'prepared'); prepare transaction 'one'");
    scene.db.batch("begin; insert into docs values (3, 'undone'); prepare transaction 'two'");
    scene.db.batch("rollback prepared 'two'");
    scene.db.batch("commit prepared 'one'");
    scene.settle("docs");
    assert_eq!(chunks(&mut scene, 2), ["prepared"]);
    assert_eq!(scene.provider.times_sent("undone"), 0);
    scene.finish();
}
