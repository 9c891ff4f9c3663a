//! Sessions that change responses of the same records at the same time.

use std::sync::{
    Barrier,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use autovector_cluster_tests::{Sql, sql::describe, wait_until};
use postgres::Client;

use crate::stage::{Stage, assert_exact};

const LEVELS: [&str; 3] = ["read committed", "repeatable read", "serializable"];

/// True when a transaction has to be repeated: what an isolation level promises.
pub fn is_retry(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code() == "40001")
}

/// Runs a transaction until the isolation level lets it through.
fn until_done(db: &mut Client, level: &str, statement: &str) {
    loop {
        match db.batch_execute(&format!("begin isolation level {level}; {statement}; commit")) {
            Ok(()) => return,
            Err(error) if is_retry(&error) => db.batch("rollback"),
            Err(error) => panic!("{level}: {}\n{statement}", describe(&error)),
        }
    }
}

/// Fear: two sessions respond to one record, each counts without the other's response, and the
/// record stays pending for ever.
#[test]
fn two_responses_at_once_complete_the_record_at_every_isolation_level() {
    const RECORDS: i64 = 150;
    let mut stage = Stage::tracked(RECORDS * 3, "min_submitted => 2");
    for (number, level) in LEVELS.iter().enumerate() {
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            for user in [1, 2] {
                let (mut db, barrier) = (stage.connect(), &barrier);
                scope.spawn(move || {
                    for record in 1..=RECORDS {
                        let record = record + RECORDS * number as i64;
                        barrier.wait();
                        until_done(
                            &mut db,
                            level,
                            &format!("insert into responses (record_id, user_id, status) values ({record}, {user}, 'submitted')"),
                        );
                    }
                });
            }
        });
    }
    assert_eq!(stage.completed().len() as i64, RECORDS * 3);
    stage.finish(2);
}

/// Fear: an old snapshot counts old responses: the transaction began before the other's response.
#[test]
fn a_transaction_with_an_old_snapshot_counts_what_is_there_now() {
    for level in ["repeatable read", "serializable"] {
        let mut stage = Stage::tracked(3, "min_submitted => 2");
        let mut old = stage.connect();
        old.batch(&format!("begin isolation level {level}"));
        assert_eq!(old.one::<i64>("select count(*) from users", &[]), 20);
        stage.respond(1, &[1], "submitted");
        // The other's response changed no status, so nothing tells this transaction to repeat.
        let done = old.batch_execute(
            "insert into responses (record_id, user_id, status) values (1, 2, 'submitted'); commit",
        );
        match done {
            Ok(()) => assert_eq!(stage.completed(), [1]),
            Err(error) => assert!(is_retry(&error), "{}", describe(&error)),
        }
        stage.finish(2);
    }
}

/// Waits until somebody waits for `holder`.
fn wait_for_waiter(db: &mut Client, holder: i32) {
    wait_until("a session waits for another", Duration::from_secs(60), || {
        db.one(
            "select exists (select from pg_stat_activity where $1 = any (pg_blocking_pids(pid)))",
            &[&holder],
        )
    });
}

fn pid(db: &mut Client) -> i32 {
    db.one("select pg_backend_pid()", &[])
}

/// Fear: a session that had to wait for a record goes on with the count of before the wait.
#[test]
fn whoever_waits_counts_afterwards() {
    let mut stage = Stage::tracked(5, "min_submitted => 2");
    let (mut first, mut second) = (stage.connect(), stage.connect());
    first.batch("begin; insert into responses (record_id, user_id, status) values (1, 1, 'submitted'), (2, 1, 'submitted')");
    let holder = pid(&mut first);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            second.batch("insert into responses (record_id, user_id, status) values (2, 2, 'submitted'), (1, 2, 'submitted')");
        });
        wait_for_waiter(&mut stage.db, holder);
        first.batch("commit");
        waiting.join().expect("the second session goes on");
    });
    assert_eq!(stage.completed(), [1, 2]);
    // The same, with a rollback instead.
    first.batch("begin; delete from responses where user_id = 1");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            second.batch("insert into responses (record_id, user_id, status) values (2, 3, 'submitted')")
        });
        wait_for_waiter(&mut stage.db, holder);
        first.batch("rollback");
        waiting.join().expect("the second session goes on");
    });
    assert_eq!(stage.completed(), [1, 2]);
    stage.finish(2);
}

/// Fear: statements that name the same records in another order wait for each other for ever.
#[test]
fn statements_over_common_records_do_not_deadlock() {
    let mut stage = Stage::tracked(40, "min_submitted => 3");
    std::thread::scope(|scope| {
        for user in 1..=4 {
            let mut db = stage.connect();
            scope.spawn(move || {
                let order = if user % 2 == 0 { "asc" } else { "desc" };
                for round in 0..40 {
                    db.batch(&format!(
                        "insert into responses (record_id, user_id, status)
                           select i, {user}, 'submitted' from generate_series(1, 40) i order by (i * {}) % 41 {order};
                         update responses set status = 'draft' where user_id = {user} and record_id % 3 = {};
                         delete from responses where user_id = {user}",
                        round + 1,
                        round % 3
                    ));
                }
            });
        }
    });
    assert_eq!(stage.completed(), Vec::<i64>::new());
    stage.finish(3);
}

/// Fear: a submit that is under way when the minimum changes is counted by the old one.
#[test]
fn a_new_minimum_races_safely_with_submits() {
    let mut stage = Stage::tracked(60, "");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for user in 1..=3 {
            let (mut db, stop) = (stage.connect(), &stop);
            scope.spawn(move || {
                let mut round = 0_i64;
                while !stop.load(Ordering::SeqCst) {
                    round += 1;
                    let level = LEVELS[(round % 3) as usize];
                    let record = (round * 7 + i64::from(user) * 13) % 60 + 1;
                    until_done(&mut db, level, &format!(
                        "insert into responses (record_id, user_id, status) values ({record}, {user}, 'submitted')
                           on conflict (record_id, user_id) do update
                             set status = case responses.status when 'submitted' then 'draft' else 'submitted' end"
                    ));
                }
            });
        }
        let mut db = stage.connect();
        for round in 0..60_i64 {
            let minimum = (round % 3 + 1) as i32;
            db.exec("select ai.set_min_submitted('records', $1)", &[&minimum]);
            // Seen by a count of its own, while the others go on.
            let wrong: i64 = db.one(
                "select count(*) from (
                   select r.id from records r left join responses p on p.record_id = r.id and p.status = 'submitted'
                    group by r.id, r.status having (r.status = 'completed') <> (count(p.id) >= $1)) w",
                &[&i64::from(minimum)],
            );
            assert_eq!(wrong, 0, "after set_min_submitted({minimum}) in round {round}");
        }
        stop.store(true, Ordering::SeqCst);
    });
    let minimum: i32 = stage.db.one("select min_submitted from ai.record_status_rules", &[]);
    assert_exact(&mut stage.db, i64::from(minimum));
    stage.finish(i64::from(minimum));
}

/// Fear: a user's transaction that is held open by a record's row lock makes the proof wait.
#[test]
fn the_proof_waits_for_nobody_when_all_is_well() {
    let mut stage = Stage::tracked(5, "");
    let mut other = stage.connect();
    other.batch("begin; insert into responses (record_id, user_id, status) values (1, 1, 'submitted')");
    stage.db.batch("set statement_timeout = '20s'");
    assert_eq!(stage.db.one::<i64>("select ai.recompute_record_status('records')", &[]), 0);
    other.batch("commit");
    stage.finish(1);
}
