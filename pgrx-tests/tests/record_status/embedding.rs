//! Embedding status: a vectorizer's column in its source says which rows are embedded.

use std::time::Duration;

use autovector_cluster_tests::{Rule, Scene, Spec, Sql, wait_until};

fn states(scene: &mut Scene) -> Vec<String> {
    scene.db.all("select id || ' ' || embedding_status from docs order by id", &[])
}

fn wait_for(scene: &mut Scene, what: &str, expected: &[&str]) {
    let mut last = Vec::new();
    wait_until(what, Duration::from_secs(60), || {
        let now = states(scene);
        if now != last {
            eprintln!("{what}: {now:?}");
            last.clone_from(&now);
        }
        now == expected
    });
}

/// Fear: the column lags behind for ever, or writing it makes the row dirty again.
#[test]
fn the_column_follows_every_row_and_costs_no_request() {
    let mut scene = Scene::new();
    scene.table("docs", 3);
    scene.db.batch("insert into docs values (4, ''), (5, null), (6, 'poison')");
    scene.provider.rule(Rule::containing("poison").error(400, "refused"));
    scene.vectorize(&Spec::on("docs").with("status_column", "'embedding_status'"));
    scene.settle("docs");
    wait_for(
        &mut scene,
        "the first pass",
        &["1 embedded", "2 embedded", "3 embedded", "4 embedded", "5 embedded", "6 failed"],
    );
    let calls = scene.provider.call_count();
    scene.db.batch("update docs set note = 'other'");
    scene.settle("docs");
    assert_eq!(scene.provider.call_count(), calls, "neither the status nor another column is embedded");
    assert_eq!(scene.count("select count(*) from ai._vectorizer_q_1"), 0);

    scene.db.batch("select ai.pause_vectorizer('docs')");
    scene.db.batch(
        "insert into docs values (7, 'new', '', 'embedded'); update docs set body = 'changed' where id = 1;
         update docs set id = 20 where id = 2; delete from docs where id = 3",
    );
    assert_eq!(
        states(&mut scene),
        ["1 pending", "4 embedded", "5 embedded", "6 failed", "7 pending", "20 pending"],
        "in the statement itself"
    );
    scene.db.batch("begin; update docs set body = 'never' where id = 4; rollback");
    scene.provider.clear_rules();
    scene.db.batch("select ai.retry_failed('docs')");
    wait_for(
        &mut scene,
        "a failed row is tried again",
        &["1 pending", "4 embedded", "5 embedded", "6 pending", "7 pending", "20 pending"],
    );
    // Somebody holds a row while it is finished: the others do not wait for it, nor does it for ever.
    let mut holder = scene.cluster.connect("postgres");
    holder.batch("begin; select from docs where id = 7 for no key update");
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    wait_for(
        &mut scene,
        "all but the one that is held",
        &["1 embedded", "4 embedded", "5 embedded", "6 embedded", "7 pending", "20 embedded"],
    );
    holder.batch("commit");
    wait_for(
        &mut scene,
        "the last one",
        &["1 embedded", "4 embedded", "5 embedded", "6 embedded", "7 embedded", "20 embedded"],
    );
    scene.db.batch("alter table docs rename column embedding_status to s; insert into docs values (30, 'late', null, 'x')");
    scene.db.batch("alter table docs rename column s to embedding_status");
    scene.settle("docs");
    wait_until("the row of the renamed column", Duration::from_secs(60), || {
        scene.db.one("select embedding_status = 'embedded' from docs where id = 30", &[])
    });
    scene.finish();
}

/// Fear: what belongs to the column stays behind, or a column that cannot work is accepted.
#[test]
fn the_column_is_checked_and_goes_with_the_vectorizer() {
    let mut scene = Scene::new();
    scene.table("docs", 2);
    scene.db.batch("create type few as enum ('pending', 'embedded'); alter table docs add column few few, add column number int");
    for (column, word) in [("body", "embedded"), ("id", "embedded"), ("few", "few"), ("number", "integer")] {
        let sql = Spec::on("docs").with("status_column", &format!("'{column}'")).sql(&scene.provider);
        let error = scene.db.error_of(&sql);
        assert_eq!(error.code().code(), "22023", "{error:?}");
        assert!(error.message().contains(word) && error.hint().is_some(), "{error:?}");
    }
    assert_eq!(scene.count("select count(*) from ai.vectorizer"), 0);
    scene.db.batch("alter type few add value 'failed'");
    scene.vectorize(&Spec::on("docs").with("status_column", "'few'"));
    scene.settle("docs");
    wait_until("both rows are embedded", Duration::from_secs(60), || {
        scene.count("select count(*) from docs where few = 'embedded'") == 2
    });
    scene.db.batch("select ai.drop_vectorizer('docs', drop_all => true)");
    let left: Vec<String> = scene.db.all(
        "select relname::text from pg_class where relname like '\\_vectorizer\\_q%'
         union all select tgname::text from pg_trigger where tgrelid = 'docs'::regclass
         union all select vectorizer_id::text from ai._embedding_status",
        &[],
    );
    assert_eq!(left, Vec::<String>::new());
    scene.db.batch("update docs set body = 'free'; insert into docs values (9, 'free')");
    scene.finish();
}

/// Fear: the status of an annotation makes its record dirty, and its text is embedded again.
#[test]
fn annotations_do_not_make_records_dirty() {
    let mut scene = Scene::new();
    scene.table("docs", 20);
    scene.db.batch(
        "create table responses (record_id bigint not null references docs on delete cascade, user_id int, status text);
         create index on responses (record_id);
         select ai.track_record_status('docs', 'responses')",
    );
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    let calls = scene.provider.call_count();
    let generation = scene.count("select last_value from ai._generation_seq");
    scene.db.batch(
        "insert into responses select i, 1, 'submitted' from generate_series(1, 20) i;
         delete from responses where record_id > 10; select ai.set_min_submitted('docs', 2)",
    );
    assert_eq!(scene.count("select count(*) from docs where status = 'completed'"), 0);
    assert_eq!(scene.count("select last_value from ai._generation_seq"), generation, "nothing was captured");
    assert_eq!(scene.provider.call_count(), calls);
    scene.db.batch("delete from docs where id <= 5");
    scene.settle("docs");
    assert_eq!(scene.count("select ai.recompute_record_status('docs')"), 0);
    scene.finish();
}
