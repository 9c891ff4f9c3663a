//! Deferred rules: statements note keys, a process applies them within a second.

use std::time::Duration;

use autovector_cluster_tests::{Settings, Sql, StopMode, wait_until};

use crate::stage::{Stage, completed, schema};

const SOON: Duration = Duration::from_secs(60);

fn deferred(records: i64, arguments: &str) -> Stage {
    // The look of the clock must not be what finds the notes.
    let mut stage = Stage::with(Settings::default().set("autovector.naptime", "1h"));
    stage.db.batch(&schema(records));
    stage.track(&format!("mode => 'deferred'{arguments}"));
    stage
}

fn wait_for(stage: &mut Stage, what: &str, expected: &[i64]) {
    wait_until(what, SOON, || completed(&mut stage.db) == expected);
}

fn notes(stage: &mut Stage) -> i64 {
    let queue: String = stage.db.one("select '_record_status_q_' || id from ai.record_status_rules", &[]);
    stage.db.one(&format!("select count(*) from ai.{queue}"), &[])
}

/// Fear: notes lie until the next look of the clock, or what changes later is not seen.
#[test]
fn notes_are_applied_soon_after_the_commit() {
    let mut stage = deferred(5000, "");
    stage.respond(1, &[1, 2], "submitted");
    wait_for(&mut stage, "inserted", &[1, 2]);
    stage.db.batch("update responses set record_id = 3 where record_id = 1");
    wait_for(&mut stage, "moved", &[2, 3]);
    stage.db.batch(
        "begin; insert into responses (record_id, user_id, status) values (4, 1, 'submitted'); rollback",
    );
    stage.db.batch("delete from users where id = 1");
    wait_for(&mut stage, "deleted by cascade", &[]);
    stage.db.batch("insert into responses (record_id, user_id, status) select i, 2, 'submitted' from generate_series(1, 4500) i");
    wait_for(&mut stage, "many", &(1..=4500).collect::<Vec<_>>());
    stage.db.batch("truncate responses");
    wait_for(&mut stage, "truncated", &[]);
    wait_until("no note is left", SOON, || notes(&mut stage) == 0);
    stage.finish(1);
}

/// Fear: notes are lost when the server crashes, or applied while their record is gone.
#[test]
fn a_crash_loses_no_note() {
    let mut stage = deferred(20, "");
    let mut holder = stage.connect();
    // Nobody can apply the notes of records that somebody holds.
    holder.batch("begin; select 1 from records where id <= 10 for no key update");
    stage.respond(1, &(1..=20).collect::<Vec<_>>(), "submitted");
    wait_for(&mut stage, "those that nobody holds", &(11..=20).collect::<Vec<_>>());
    assert_eq!(notes(&mut stage), 10);
    stage.cluster.stop(StopMode::Immediate);
    drop(holder);
    stage.cluster.start_again();
    stage.db = stage.cluster.connect("postgres");
    wait_for(&mut stage, "the others, after the crash", &(1..=20).collect::<Vec<_>>());
    stage.db.batch("delete from records where id = 7");
    wait_until("no note is left", SOON, || notes(&mut stage) == 0);
    stage.finish(1);
}

/// Fear: one record that cannot be written stops all others.
#[test]
fn one_bad_record_costs_itself_and_says_why() {
    let mut stage = deferred(300, "");
    stage.cluster.expect_in_log("record 42 is special");
    stage.db.batch(
        "create function refuse() returns trigger language plpgsql as
           $$ begin if new.id = 42 then raise exception 'record 42 is special'; end if; return new; end $$;
         create trigger refuse before update on records for each row execute function refuse()",
    );
    stage.respond(1, &(1..=300).collect::<Vec<_>>(), "submitted");
    let others: Vec<i64> = (1..=300).filter(|id| *id != 42).collect();
    wait_for(&mut stage, "the other records", &others);
    wait_until("the error is recorded", SOON, || {
        stage.db.one(
            "select count(*) = 1 from ai.record_status_errors where key = '{42}' and error like '%special%'",
            &[],
        )
    });
    let errors: i64 = stage.db.one("select errors from ai.record_status_rules", &[]);
    assert_eq!(errors, 1);
    stage.db.batch("drop trigger refuse on records");
    assert_eq!(
        stage.db.one::<i64>("select ai.recompute_record_status('records')", &[]),
        1,
        "it is mended by hand"
    );
    assert_eq!(
        stage.db.one::<i64>("select errors from ai.record_status_rules", &[]),
        0,
        "and its error is gone"
    );
    stage.finish(1);
}

/// Fear: a change of the minimum, or the proof, passes over notes that are not applied yet.
#[test]
fn recompute_and_a_new_minimum_include_what_is_noted() {
    let mut stage = Stage::with(Settings::default().without_preload());
    stage.db.batch(&schema(10));
    stage.track("mode => 'deferred'");
    stage.respond(1, &[1, 2, 3], "submitted");
    stage.respond(2, &[1], "submitted");
    assert_eq!(stage.completed(), Vec::<i64>::new(), "nobody applies notes here");
    assert_eq!(
        stage.db.one::<i64>("select ai.recompute_record_status('records')", &[]),
        0,
        "noted is not wrong"
    );
    assert_eq!(stage.completed(), [1, 2, 3]);
    assert_eq!(notes(&mut stage), 0);
    stage.respond(2, &[2], "submitted");
    stage.db.batch("select ai.set_min_submitted('records', 2)");
    assert_eq!(stage.completed(), [1, 2]);
    stage.finish(2);
}
