//! The swap: nobody is disturbed, nothing is lost, and there is a way back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use autovector_cluster_tests::{Rule, Scene, Sql, wait_until};

use crate::stage::{LONG, dimensions, embedded, embedded_with, rebuild_to, settings, wait_for_rebuild};

/// Tells the threads of a test to end.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Fear: while the model changes, searches fail, come back empty, or mix old and new vectors; or
/// the swap holds everybody up.
#[test]
fn a_new_dimension_takes_over_while_everybody_reads_and_writes() {
    let mut scene = embedded(400);
    scene.provider.set_latency(Duration::from_millis(5));
    let stop = AtomicBool::new(false);
    let (slowest, reads, writes) = thread::scope(|threads| {
        let connect = || scene.cluster.connect("postgres");
        let mut reader = connect();
        let view_reader = threads.spawn({
            let stop = &stop;
            move || {
                let statement = reader
                    .prepare("select count(*), count(distinct vector_dims(embedding)), min(vector_dims(embedding)) from docs_embedding")
                    .expect("the view can be read");
                let whole = reader.prepare("select * from docs_embedding where id = 7").expect("prepared");
                let (mut slowest, mut reads) = (Duration::ZERO, 0);
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let row = reader.query_one(&statement, &[]).unwrap_or_else(|error| panic!("{error:?}"));
                    slowest = slowest.max(began.elapsed());
                    let (count, kinds): (i64, i64) = (row.get(0), row.get(1));
                    assert!(count >= 390, "only {count} rows");
                    assert_eq!(kinds, 1, "two dimensions at once");
                    let one = reader.query(&whole, &[]).unwrap_or_else(|error| panic!("{error:?}"));
                    assert_eq!(one.len(), 1);
                    reads += 1;
                }
                (slowest, reads)
            }
        });
        let mut searcher = connect();
        let search_reader = threads.spawn({
            let stop = &stop;
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let found = searcher
                        .query("select key, chunk from ai.search('docs', 'docs text 7', 5)", &[])
                        .unwrap_or_else(|error| panic!("{error:?}"));
                    assert_eq!(found.len(), 5);
                    assert_eq!(found[0].get::<_, &str>(1), "docs text 7");
                }
            }
        });
        let mut writer = connect();
        let writer = threads.spawn({
            let stop = &stop;
            move || {
                let mut writes = 0_i64;
                while !stop.load(Ordering::Relaxed) {
                    let id = 100 + writes % 200;
                    writer.batch(&format!(
                        "begin; update docs set body = 'written {writes}' where id = {id};
                         insert into docs values ({n}, 'added {n}'); commit;
                         delete from docs where id = {n} - 3 and id > 400; select pg_sleep(0.005)",
                        n = 1000 + writes
                    ));
                    writes += 1;
                }
                writes
            }
        });
        {
            // Also when the wait fails: the threads end, and the failure is seen.
            let _end = End(&stop);
            rebuild_to(&mut scene, 16, true);
            wait_for_rebuild(&mut scene);
        }
        search_reader.join().expect("every search finds what it should");
        let (slowest, reads) = view_reader.join().expect("the view is whole at any moment");
        (slowest, reads, writer.join().expect("every write succeeds"))
    });
    assert!(reads > 20 && writes > 20, "{reads} reads, {writes} writes");
    let held: f64 = scene.db.one("select swap_ms from ai._rebuild", &[]);
    eprintln!("{reads} reads, the slowest {slowest:?}; {writes} writes; locks held for {held:.1} ms");
    // A machine that is busy with other tests gets five times what the swap may take.
    assert!(held < 500.0, "the swap held locks for {held} ms");
    scene.settle("docs");
    assert_eq!(dimensions(&mut scene), [16]);
    assert_eq!(scene.status("docs", "rebuild").as_deref(), Some("swapped"));
    scene.finish();
}

/// Fear: the new model turns out worse, and the way back costs another rebuild, or brings old texts.
#[test]
fn a_rollback_embeds_only_what_changed_since() {
    let mut scene = embedded(50);
    rebuild_to(&mut scene, 16, false);
    wait_for_rebuild(&mut scene);
    assert_eq!(dimensions(&mut scene), [8], "nothing is swapped without a word");
    assert_eq!(scene.db.one::<String>("select ai.finish_rebuild('docs')", &[]), "swapped");
    assert_eq!(dimensions(&mut scene), [16]);
    scene.db.batch(
        "update docs set body = 'changed' where id = 7; delete from docs where id = 8; insert into docs values (51, 'new')",
    );
    scene.settle("docs");
    scene.provider.forget_calls();
    assert_eq!(scene.db.one::<String>("select ai.rollback_rebuild('docs')", &[]), "rolled back");
    assert_eq!(dimensions(&mut scene), [8]);
    scene.settle("docs");
    let sent: Vec<String> = scene.provider.calls().iter().flat_map(|call| call.inputs.to_vec()).collect();
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(scene.count("select count(*) from docs_embedding"), 50);
    // And forward again, to what is there already.
    scene.db.batch("select ai.rollback_rebuild('docs')");
    scene.settle("docs");
    assert_eq!(dimensions(&mut scene), [16]);
    assert_eq!(scene.provider.calls().iter().map(|call| call.inputs.len()).sum::<usize>(), 2);
    assert_eq!(scene.db.one::<String>("select ai.drop_previous_store('docs')", &[]), "dropped");
    assert_eq!(scene.count("select count(*) from ai.vectorizer"), 1);
    assert_eq!(
        scene.count(
            "select count(*) from pg_class where relkind = 'r' and relname like '\\_vectorizer\\_store%'"
        ),
        0
    );
    scene.finish();
}

/// Fear: whoever waits in a transaction for long is run over, or holds everybody up.
#[test]
fn a_long_transaction_delays_the_swap_and_nobody_else() {
    let mut scene = embedded(20);
    let gate = scene.provider.hold(Rule::always());
    rebuild_to(&mut scene, 16, true);
    gate.wait_until_holding(1);
    let mut holder = scene.cluster.connect("postgres");
    holder.batch("begin; update docs set note = 'held' where id = 1");
    gate.release();
    wait_until("the swap is tried", LONG, || {
        scene.status("docs", "rebuild_reason").is_some_and(|reason| reason.contains("lock timeout"))
    });
    assert_eq!(dimensions(&mut scene), [8]);
    scene.db.timed(Duration::from_secs(20), "update docs set body = 'meanwhile' where id = 2");
    holder.batch("commit");
    wait_until("the swap is done", LONG, || scene.status("docs", "rebuild").as_deref() == Some("swapped"));
    scene.settle("docs");
    scene.finish();
}

/// Fear: the swap comes before the new store has its index, or the status of rows follows the wrong
/// store, before, during or after the rebuild.
#[test]
fn status_and_index_are_there_when_the_new_store_takes_over() {
    let mut scene = embedded_with(settings(), 40, |spec| spec.with("status_column", "'state'"));
    scene.db.batch("select ai.alter_vectorizer('docs', indexing => ai.indexing_hnsw(min_rows => 10))");
    let states = |scene: &mut Scene| -> Vec<String> {
        scene.db.all("select state || ' ' || count(*) from docs group by state order by 1", &[])
    };
    let wait_for_states = |scene: &mut Scene, wanted: &[&str]| {
        let mut last = Vec::new();
        wait_until(&format!("states are {wanted:?}"), LONG, || {
            last = states(scene);
            last == wanted
        });
    };
    wait_for_states(&mut scene, &["embedded 40"]);
    rebuild_to(&mut scene, 16, false);
    wait_for_rebuild(&mut scene);
    scene.provider.rule(Rule::containing("refused").error(400, "no such text"));
    scene
        .db
        .batch("update docs set body = 'refused' where id = 3; update docs set body = 'other' where id = 4");
    scene.settle("docs");
    wait_for_states(&mut scene, &["embedded 39", "failed 1"]);
    // The new store has no vector for that row either: as many rows are missing as before.
    wait_until("the new store has heard of it", LONG, || {
        scene.count("select count(*) from ai._vectorizer_q_2") == 0
            && scene.count("select count(*) from ai._vectorizer_q_failed_2") == 1
    });
    scene.db.batch("select ai.finish_rebuild('docs')");
    let index: String = scene.db.one(
        "select indexdef from pg_indexes where tablename = 'docs_embedding_store' and indexname = '_vectorizer_hnsw_1'",
        &[],
    );
    assert!(index.contains("USING hnsw"), "{index}");
    assert_eq!(dimensions(&mut scene), [16]);
    wait_for_states(&mut scene, &["embedded 39", "failed 1"]);
    scene.provider.clear_rules();
    scene.db.batch("update docs set body = 'good again' where id = 3");
    scene.settle("docs");
    wait_for_states(&mut scene, &["embedded 40"]);
    scene.finish();
}
