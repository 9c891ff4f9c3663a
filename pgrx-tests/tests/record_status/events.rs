//! Events: a notification for each record that a committed transaction completed.

use std::collections::BTreeSet;
use std::time::Duration;

use autovector_cluster_tests::Sql;
use postgres::{Client, fallible_iterator::FallibleIterator};

use crate::stage::Stage;

/// The records of all notifications so far, in order; sends a last one to know the end.
fn heard(listener: &mut Client, db: &mut Client) -> Vec<i64> {
    db.batch("notify completions, 'end'");
    let mut records = Vec::new();
    let mut notifications = listener.notifications();
    let mut waiting = notifications.timeout_iter(Duration::from_secs(60));
    while let Some(notification) = waiting.next().expect("the connection is alive") {
        if notification.payload() == "end" {
            return records;
        }
        assert!(notification.payload().len() < 8000);
        let payload: serde_json::Value =
            serde_json::from_str(notification.payload()).expect("the payload is JSON");
        assert_eq!(payload["records"], "public.records");
        let completed = payload["completed"].as_array().expect("a list").clone();
        records.extend(completed.iter().map(|record| record["id"].as_i64().expect("a number")));
    }
    panic!("the notification 'end' never came");
}

/// Fear: a listener hears of a record twice, too early, or of one that is not completed.
#[test]
fn each_completion_is_told_once_when_it_is_committed() {
    let mut stage = Stage::tracked(3000, "min_submitted => 2, notify_channel => 'completions'");
    let mut listener = stage.connect();
    listener.batch("listen completions");
    stage.respond(1, &[1, 2, 3, 4, 5], "submitted");
    assert_eq!(heard(&mut listener, &mut stage.db), Vec::<i64>::new(), "one of two");
    stage.respond(2, &[1, 2], "submitted");
    stage.respond(3, &[1, 2], "submitted");
    stage.db.batch("update responses set answers = '{}'");
    assert_eq!(heard(&mut listener, &mut stage.db), [1, 2], "later responses tell nothing new");
    stage.db.batch(
        "begin; insert into responses (record_id, user_id, status) values (3, 2, 'submitted'); rollback;
         begin;
         insert into responses (record_id, user_id, status) values (4, 2, 'submitted');
         savepoint s; insert into responses (record_id, user_id, status) values (5, 2, 'submitted'); rollback to s;
         delete from responses where record_id = 4 and user_id = 2;
         insert into responses (record_id, user_id, status) values (4, 3, 'submitted');
         insert into responses (record_id, user_id, status) values (3, 3, 'submitted');
         delete from responses where record_id = 3;
         delete from responses where record_id = 1; insert into responses (record_id, user_id, status) values (1, 8, 'submitted'), (1, 9, 'submitted');
         commit",
    );
    assert_eq!(heard(&mut listener, &mut stage.db), [4], "rolled back, withdrawn, or completed before");
    stage.db.batch("delete from responses where record_id = 2");
    stage.db.batch(
        "insert into responses (record_id, user_id, status) values (2, 8, 'submitted'), (2, 9, 'submitted')",
    );
    assert_eq!(heard(&mut listener, &mut stage.db), [2], "completed anew");
    stage.db.batch("insert into responses (record_id, user_id, status) select i, u, 'submitted' from generate_series(10, 2900) i, generate_series(1, 2) u");
    let many = heard(&mut listener, &mut stage.db);
    assert_eq!(many.len(), 2891);
    assert_eq!(many.into_iter().collect::<BTreeSet<_>>(), (10..=2900).collect());
    stage.db.batch("select ai.set_min_submitted('records', 1)");
    assert_eq!(heard(&mut listener, &mut stage.db), [5], "by a new minimum");
    stage.finish(1);
}

/// Fear: deferred rules tell nothing.
#[test]
fn deferred_rules_tell_when_they_write() {
    let mut stage = Stage::tracked(10, "mode => 'deferred', notify_channel => 'completions'");
    let mut listener = stage.connect();
    listener.batch("listen completions");
    stage.respond(1, &[3, 4], "submitted");
    autovector_cluster_tests::wait_until("the notes are applied", Duration::from_secs(60), || {
        crate::stage::completed(&mut stage.db) == [3, 4]
    });
    let told: BTreeSet<i64> = heard(&mut listener, &mut stage.db).into_iter().collect();
    assert_eq!(told, BTreeSet::from([3, 4]));
    stage.finish(1);
}
