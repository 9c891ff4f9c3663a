//! Every kind of statement that changes responses, and those that change them by the way.

use std::io::Write;

use autovector_cluster_tests::Sql;

use crate::stage::{Stage, assert_exact, completed};

/// Fear: a response that moves leaves its old record completed, or does not complete the new one.
#[test]
fn a_response_that_moves_updates_both_records() {
    let mut stage = Stage::tracked(6, "min_submitted => 2");
    stage.respond(1, &[1, 2], "submitted");
    stage.respond(2, &[1], "submitted");
    assert_eq!(stage.completed(), [1]);
    stage.db.batch("update responses set record_id = 2 where record_id = 1 and user_id = 2");
    assert_eq!(stage.completed(), [2]);
    stage.db.batch("update responses set record_id = record_id + 3");
    assert_eq!(stage.completed(), [5], "all of them at once");
    stage.db.batch("update records set id = 50 where id = 5");
    assert_eq!(stage.completed(), [50], "the record itself moves, its responses by cascade");
    stage.finish(2);
}

/// Fear: a statement over many records writes one of them, or more than those that change.
#[test]
fn one_statement_for_many_records_writes_only_those_that_change() {
    let mut stage = Stage::tracked(1000, "");
    stage.db.batch(
        "create table written (id bigint, was text, now text);
        create function log_it() returns trigger language plpgsql as
          $$ begin insert into written values (new.id, old.status, new.status); return new; end $$;
        create trigger log_it before update on records for each row execute function log_it()",
    );
    stage.db.batch("insert into responses (record_id, user_id, status) select i, 1, 'submitted' from generate_series(1, 600) i");
    assert_eq!(stage.db.one::<i64>("select count(*) from written", &[]), 600);
    stage.db.batch("insert into responses (record_id, user_id, status) select i, 2, 'submitted' from generate_series(501, 700) i");
    assert_eq!(stage.db.one::<i64>("select count(*) from written", &[]), 700, "100 more, those before stay");
    stage.db.batch("delete from responses where user_id = 1");
    assert_eq!(completed(&mut stage.db), (501..=700).collect::<Vec<i64>>());
    stage.finish(1);
}

/// Fear: rows that come by COPY, MERGE or TRUNCATE pass by the triggers.
#[test]
fn copy_merge_and_truncate_count() {
    let mut stage = Stage::tracked(20, "");
    let mut copy =
        stage.db.copy_in("copy responses (record_id, user_id, status) from stdin").expect("COPY begins");
    for record in 1..=12 {
        writeln!(copy, "{record}\t1\tsubmitted").expect("COPY takes rows");
    }
    copy.finish().expect("COPY ends");
    assert_eq!(stage.completed(), (1..=12).collect::<Vec<i64>>());
    stage.db.batch(
        "merge into responses p using (values (1, 'draft'), (2, 'gone'), (15, 'submitted')) as n(record_id, status)
           on p.record_id = n.record_id and p.user_id = 1
         when matched and n.status = 'gone' then delete
         when matched then update set status = n.status
         when not matched then insert (record_id, user_id, status) values (n.record_id, 1, n.status)",
    );
    assert_eq!(stage.completed(), (3..=12).chain([15]).collect::<Vec<i64>>());
    stage.db.batch("begin; truncate responses; rollback");
    assert_eq!(stage.completed().len(), 11);
    stage.db.batch("truncate responses");
    assert_eq!(stage.completed(), Vec::<i64>::new());
    stage.respond(3, &[9], "submitted");
    stage.db.batch("truncate records cascade");
    assert_eq!(stage.db.one::<i64>("select count(*) from records", &[]), 0);
    stage.finish(1);
}

/// Fear: an upsert of a submitted response counts it twice, or one that only updates not at all.
#[test]
fn on_conflict_counts_each_response_once() {
    let mut stage = Stage::tracked(5, "min_submitted => 2");
    let upsert = |status: &str| {
        format!(
            "insert into responses (record_id, user_id, status) values (1, 1, '{status}'), (2, 1, '{status}')
                 on conflict (record_id, user_id) do update set status = excluded.status"
        )
    };
    stage.db.batch(&upsert("submitted"));
    stage.db.batch(&upsert("submitted"));
    assert_eq!(stage.completed(), Vec::<i64>::new(), "one user counts once");
    stage.respond(2, &[1], "submitted");
    assert_eq!(stage.completed(), [1]);
    stage.db.batch(&upsert("draft"));
    assert_eq!(stage.completed(), Vec::<i64>::new());
    stage.db.batch("insert into responses (record_id, user_id, status) values (1, 2, 'submitted') on conflict do nothing");
    stage.finish(2);
}

/// Fear: rows that a foreign key deletes are missed, or the deleted record is in the way.
#[test]
fn cascades_from_users_and_records_count() {
    let mut stage = Stage::tracked(10, "");
    stage.respond(1, &[1, 2, 3, 4], "submitted");
    stage.respond(2, &[3, 4, 5], "submitted");
    stage.db.batch("delete from users where id = 1");
    assert_eq!(stage.completed(), [3, 4, 5], "the user's responses are gone");
    stage.db.batch("delete from records where id in (3, 5)");
    assert_eq!(stage.completed(), [4]);
    stage.db.batch("delete from users");
    assert_eq!(stage.completed(), Vec::<i64>::new());
    stage.finish(1);
}

/// Fear: what is rolled back leaves its mark on the status.
#[test]
fn rollbacks_and_savepoints_take_the_status_along() {
    let mut stage = Stage::tracked(5, "");
    stage.db.batch(
        "begin; insert into responses (record_id, user_id, status) values (1, 1, 'submitted'); rollback",
    );
    assert_eq!(stage.completed(), Vec::<i64>::new());
    stage.db.batch(
        "begin;
         insert into responses (record_id, user_id, status) values (1, 1, 'submitted');
         savepoint one; insert into responses (record_id, user_id, status) values (2, 1, 'submitted');
         savepoint two; delete from responses where record_id = 1; rollback to two;
         insert into responses (record_id, user_id, status) values (3, 1, 'submitted');
         rollback to one; insert into responses (record_id, user_id, status) values (4, 1, 'submitted');
         commit",
    );
    assert_eq!(stage.completed(), [1, 4]);
    // Within the transaction the status is there at once.
    stage.db.batch("begin; delete from responses");
    assert_eq!(stage.completed(), Vec::<i64>::new());
    stage.db.batch("rollback");
    assert_eq!(stage.completed(), [1, 4]);
    // So is it inside a function that catches its error.
    stage.db.batch(
        "do $$ begin
           begin
             insert into responses (record_id, user_id, status) values (5, 1, 'submitted');
             raise exception 'no';
           exception when others then null;
           end;
           insert into responses (record_id, user_id, status) values (2, 3, 'submitted');
         end $$",
    );
    assert_eq!(stage.completed(), [1, 2, 4]);
    stage.finish(1);
}

/// Fear: a session that applies changes of elsewhere (`session_replication_role = replica`)
/// switches the rule off.
#[test]
fn a_replica_role_does_not_switch_the_rule_off() {
    let mut stage = Stage::tracked(5, "");
    stage.db.batch("set session_replication_role = replica");
    stage.respond(1, &[1, 2], "submitted");
    stage.db.batch("update responses set status = 'draft' where record_id = 2; insert into records values (9, '', 'completed')");
    assert_eq!(stage.completed(), [1]);
    stage.db.batch("truncate responses; reset session_replication_role");
    assert_eq!(stage.completed(), Vec::<i64>::new());
    stage.finish(1);
}

/// Fear: the status update fires itself, or users' triggers on either table are in the way.
#[test]
fn triggers_of_users_that_write_responses_do_not_recurse() {
    let mut stage = Stage::tracked(6, "min_submitted => 2");
    // A second opinion is asked for when a record is completed, and withdrawn when it is not.
    stage.db.batch(
        "create function opinion() returns trigger language plpgsql as $$
         begin
           insert into responses (record_id, user_id, status) values (new.id, 20, 'submitted') on conflict do nothing;
           return null;
         end $$;
         create trigger opinion after update of status on records for each row when (new.status = 'completed') execute function opinion()",
    );
    stage.respond(1, &[1, 2], "submitted");
    stage.respond(2, &[2, 1], "submitted");
    assert_eq!(stage.completed(), [1, 2]);
    assert_eq!(stage.db.one::<i64>("select count(*) from responses", &[]), 6);
    assert_exact(&mut stage.db, 2);
    stage.finish(2);
}
