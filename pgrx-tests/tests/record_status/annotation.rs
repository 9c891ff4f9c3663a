//! The rule as Argilla has it, case by case: what completes a record, what takes it back, what
//! bulk calls do, what progress says.

use autovector_cluster_tests::Sql;

use crate::stage::Stage;

/// Fear: one submitted response does not complete its record, or completes another one too.
#[test]
fn a_submitted_response_completes_its_record() {
    let mut stage = Stage::tracked(5, "");
    stage.respond(1, &[2], "submitted");
    assert_eq!(stage.completed(), [2]);
    stage.respond(1, &[3], "draft");
    stage.respond(1, &[4], "discarded");
    assert_eq!(stage.completed(), [2], "drafts and discarded responses do not count");
    stage.finish(1);
}

/// Fear: the minimum is not heeded, or counted wrong at its edge.
#[test]
fn the_minimum_decides() {
    let mut stage = Stage::tracked(5, "min_submitted => 2");
    stage.respond(1, &[1], "submitted");
    assert_eq!(stage.status(1), "pending", "one of two");
    stage.respond(2, &[1], "submitted");
    assert_eq!(stage.status(1), "completed", "two of two");
    stage.respond(3, &[1], "submitted");
    stage.db.batch("delete from responses where record_id = 1 and user_id = 1");
    assert_eq!(stage.status(1), "completed", "two of three are left");
    stage.db.batch("delete from responses where record_id = 1 and user_id = 2");
    assert_eq!(stage.status(1), "pending", "one is left");
    stage.finish(2);
}

/// Fear: only new responses are looked at.
#[test]
fn changes_of_a_response_count_in_both_directions() {
    let mut stage = Stage::tracked(5, "");
    stage.respond(1, &[1, 2], "draft");
    stage.db.batch("update responses set status = 'submitted' where record_id = 1");
    assert_eq!(stage.completed(), [1], "a draft is submitted");
    stage.db.batch("update responses set status = 'draft' where record_id = 1");
    assert_eq!(stage.completed(), Vec::<i64>::new(), "and taken back");
    stage.db.batch("update responses set status = 'submitted'; delete from responses where record_id = 2");
    assert_eq!(stage.completed(), [1], "the last response of 2 was deleted");
    stage.db.batch("update responses set answers = '{}' where record_id = 1");
    assert_eq!(stage.completed(), [1], "another column changes nothing");
    stage.finish(1);
}

/// Fear: one statement for many responses counts one of them, or an upsert counts twice.
#[test]
fn bulk_responses_complete_each_their_record() {
    let mut stage = Stage::tracked(5, "");
    stage.respond(1, &[1], "draft");
    stage.db.batch(
        "insert into responses (record_id, user_id, status)
         values (1, 1, 'submitted'), (2, 1, 'submitted'), (3, 1, 'draft')
         on conflict (record_id, user_id) do update set status = excluded.status",
    );
    assert_eq!(stage.completed(), [1, 2], "one created, one updated, one still a draft");
    // An item that is refused costs itself, as a savepoint around each item has it.
    stage.db.batch("begin; savepoint item; insert into responses (record_id, user_id, status) values (3, 2, 'submitted')");
    stage.db.batch("savepoint bad");
    let error =
        stage.db.error_of("insert into responses (record_id, user_id, status) values (999, 1, 'submitted')");
    assert_eq!(error.code().code(), "23503", "there is no such record");
    stage.db.batch("rollback to bad; insert into responses (record_id, user_id, status) values (4, 1, 'submitted'); commit");
    assert_eq!(stage.completed(), [1, 2, 3, 4]);
    stage.db.batch("insert into responses (record_id, user_id, status) select 1, 5, 'submitted' where false");
    assert_eq!(stage.completed(), [1, 2, 3, 4], "a statement without rows changes nothing");
    stage.finish(1);
}

/// Fear: records that come together with their responses, or before more of them, are forgotten.
#[test]
fn records_that_are_created_or_replaced_in_bulk_follow() {
    let mut stage = Stage::tracked(4, "min_submitted => 2");
    // Records of the first call, each with its old responses; then those of a second call.
    for (record, old, new) in
        [(1, "submitted", "submitted"), (2, "submitted", "draft"), (3, "draft", "draft")]
    {
        stage.respond(1, &[record], old);
        stage.respond(2, &[record], new);
    }
    assert_eq!(stage.completed(), [1], "a: two submitted; b: one; c and d: none");
    stage.db.batch(
        "begin;
         insert into records (id, body) values (11, 'a'), (12, 'b'), (13, 'c'), (14, 'd'), (1, 'again')
           on conflict (id) do update set body = excluded.body;
         insert into responses (record_id, user_id, status) values
           (11, 1, 'submitted'), (11, 2, 'submitted'), (12, 1, 'submitted'), (12, 2, 'draft'), (13, 1, 'draft'), (13, 2, 'draft');
         commit",
    );
    assert_eq!(stage.completed(), [1, 11]);
    stage.db.batch("insert into records values (15, 'says that it is done', 'completed')");
    assert_eq!(stage.status(15), "pending", "a record does not say by itself that it is completed");
    stage.finish(2);
}

/// Fear: another minimum leaves records as they were.
#[test]
fn a_new_minimum_recomputes_every_record() {
    let mut stage = Stage::tracked(6, "");
    stage.respond(1, &[1, 2, 3], "submitted");
    stage.respond(2, &[1, 2], "submitted");
    stage.respond(3, &[1], "submitted");
    assert_eq!(stage.completed(), [1, 2, 3]);
    for (minimum, changed, completed) in
        [(2, 1, vec![1, 2]), (3, 1, vec![1]), (4, 1, vec![]), (1, 3, vec![1, 2, 3]), (1, 0, vec![1, 2, 3])]
    {
        let written: i64 = stage.db.one("select ai.set_min_submitted('records', $1)", &[&minimum]);
        assert_eq!((written, stage.completed()), (changed, completed), "with {minimum}");
    }
    stage.db.batch("begin; select ai.set_min_submitted('records', 3); rollback");
    stage.respond(1, &[6], "submitted");
    assert_eq!(stage.status(6), "completed", "the change was rolled back");
    stage.finish(1);
}

/// Fear: existing responses are not looked at when the rule is made, or progress counts wrong.
#[test]
fn a_rule_begins_with_what_is_there_and_progress_counts_it() {
    let mut stage = Stage::bare();
    stage.db.batch(&crate::stage::schema(8));
    stage.respond(1, &[1, 2, 3], "submitted");
    stage.track("");
    assert_eq!(stage.completed(), [1, 2, 3]);
    let progress: Vec<String> = stage.db.all("select p::text from ai.record_progress('records') p", &[]);
    assert_eq!(progress, ["(8,3,5,37.5,\"{\"\"pending\"\": 5, \"\"completed\"\": 3}\")"]);
    stage.db.batch("delete from records");
    let empty: Vec<String> = stage.db.all("select p::text from ai.record_progress('records') p", &[]);
    assert_eq!(empty, ["(0,0,0,0,{})"]);
    stage.finish(1);
}

/// Fear: a wrong status stays for ever, or the proof says yes to anything.
#[test]
fn recompute_finds_and_corrects_what_somebody_wrote_by_hand() {
    let mut stage = Stage::tracked(10, "");
    stage.respond(1, &[1, 2], "submitted");
    assert_eq!(stage.db.one::<i64>("select ai.recompute_record_status('records')", &[]), 0);
    stage.db.batch("update records set status = 'pending' where id = 1; update records set status = 'completed' where id = 7");
    assert_eq!(stage.db.one::<i64>("select ai.recompute_record_status('records')", &[]), 2);
    assert_eq!(stage.completed(), [1, 2]);
    stage.db.batch("select ai.untrack_record_status('records')");
    stage.respond(1, &[5], "submitted");
    assert_eq!(stage.completed(), [1, 2], "the rule has ended");
    stage.track("");
    assert_eq!(stage.completed(), [1, 2, 5]);
    stage.finish(1);
}
