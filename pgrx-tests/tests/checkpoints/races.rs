//! Writers and checkpoints at the same moment: every order of their steps, and one cut across
//! databases.

use std::sync::mpsc::{Receiver, Sender, channel};

use autovector_cluster_tests::{Cluster, Scene, Sql, wait_until};
use postgres::Client;

use crate::stage::{PATIENCE, Stop, quiet};

/// A session that runs what it is told, one after the other, and says when each is done.
struct Session {
    orders: Sender<String>,
    done: Receiver<()>,
    pid: i32,
    /// Steps that were ordered and have not been seen to be done.
    open: usize,
}

impl Session {
    fn new(cluster: &Cluster) -> Session {
        let mut db = cluster.connect("postgres");
        let pid = db.one("select pg_backend_pid()", &[]);
        let (orders, todo) = channel::<String>();
        let (say, done) = channel();
        std::thread::spawn(move || {
            for sql in todo {
                db.batch(&sql);
                if say.send(()).is_err() {
                    return;
                }
            }
        });
        Session { orders, done, pid, open: 0 }
    }

    /// Waits for all steps before, then begins this one.
    fn begin(&mut self, watch: &mut Client, sql: &str) {
        self.finish();
        self.orders.send(sql.to_owned()).expect("the session is there");
        self.open += 1;
        // It has reached the server: it runs, or is over already.
        wait_until("the step has begun", PATIENCE, || {
            watch.one("select query = $2 from pg_stat_activity where pid = $1", &[&self.pid, &sql])
        });
    }

    /// Runs a step that has nobody to wait for.
    fn run(&mut self, sql: &str) {
        self.finish();
        self.orders.send(sql.to_owned()).expect("the session is there");
        self.open += 1;
        self.finish();
    }

    fn finish(&mut self) {
        while self.open > 0 {
            self.done.recv_timeout(PATIENCE).expect("the step is done");
            self.open -= 1;
        }
    }
}

/// All orders of `a` steps of one and `b` of the other: true stands for the first.
fn orders(a: usize, b: usize) -> Vec<Vec<bool>> {
    let mut all = Vec::new();
    if a + b == 0 {
        return vec![Vec::new()];
    }
    for (first, a, b) in [(true, a.wrapping_sub(1), b), (false, a, b.wrapping_sub(1))] {
        if a != usize::MAX && b != usize::MAX {
            all.extend(orders(a, b).into_iter().map(|rest| [vec![first], rest].concat()));
        }
    }
    all
}

/// Fear: there is an order of the steps of a writer and of a checkpoint in which the writer does not
/// know of the checkpoint, and the version has none or half of what was written.
#[test]
fn no_order_of_steps_tears_a_version() {
    let mut scene = Scene::with(quiet());
    scene.db.batch(
        "create table t (id int primary key, n int); insert into t select i, 0 from generate_series(1, 3) i",
    );
    let (mut writer, mut creator) = (Session::new(&scene.cluster), Session::new(&scene.cluster));
    let mut watch = scene.cluster.connect("postgres");
    let mut round = 0;
    // The very first checkpoint, one beside a live one, and one after all others are gone.
    for before in
        ["", "select ai.create_checkpoint('public.t')", "select ai.delete_checkpoint(id) from ai.checkpoints"]
    {
        for isolation in ["read committed", "repeatable read"] {
            for order in orders(3, 2) {
                round += 1;
                if before.is_empty() {
                    scene.db.batch("select ai.detach_checkpoints('public.t')");
                } else {
                    scene.db.batch(before);
                }
                writer
                    .begin(&mut watch, &format!("begin isolation level {isolation}; select count(*) from t"));
                let steps = [
                    format!("update t set n = {round} where id = 1"),
                    format!(
                        "update t set n = {round} where id = 2; insert into t values (100 + {round}, {round})"
                    ),
                    "commit".to_owned(),
                ];
                let make = format!("begin; select ai.create_checkpoint('public.t', 'round-{round}')");
                // The steps of a session that waits for the other are taken when that has ended.
                let (mut written, mut made, mut postponed) = (0, 0, false);
                let mut includes = false;
                for is_writer in &order {
                    match (*is_writer, made) {
                        (true, _) if written == steps.len() || postponed => {}
                        (true, 1) if !includes => {
                            writer.begin(&mut watch, &steps[0]);
                            postponed = true;
                        }
                        (true, _) => {
                            writer.run(&steps[written]);
                            written += 1;
                        }
                        (false, 0) => {
                            includes = written > 0;
                            made = 1;
                            if includes && written < steps.len() {
                                creator.begin(&mut watch, &make);
                            } else {
                                creator.run(&make);
                            }
                        }
                        (false, _) => {
                            if includes {
                                // It waits for the writer; its own end comes after the writer's.
                                steps[written..].iter().for_each(|step| writer.run(step));
                                written = steps.len();
                            }
                            creator.run("commit");
                            made = 2;
                            if postponed {
                                // The first step goes on now.
                                steps[1..].iter().for_each(|step| writer.run(step));
                                written = steps.len();
                            }
                        }
                    }
                }
                let seen: String = scene.db.one(
                    &format!(
                        "select string_agg((n = {round})::text, ' ' order by id) from ai.read_checkpoint('round-{round}', null::t)
                          where id in (1, 2, 100 + {round})"
                    ),
                    &[],
                );
                let expected = if includes { "true true true" } else { "false false" };
                assert_eq!(seen, expected, "{isolation}, order {order:?} (true: writer), after {before:?}");
                let live: i64 = scene.count(&format!("select count(*) from t where n = {round}"));
                assert_eq!(live, 3, "{isolation}, order {order:?}: nothing written was lost");
                if scene.count("select count(*) from ai.checkpoints") > 5 {
                    scene.db.batch("select ai.delete_checkpoint(id) from ai.checkpoints; select * from ai.gc_checkpoints()");
                }
            }
        }
    }
    assert_eq!(round, 60);
    scene.finish();
}

/// Fear: what is documented as one cut across databases is of two moments.
#[test]
fn two_phase_commit_makes_one_cut_across_databases() {
    let mut scene = Scene::with(quiet().set("max_prepared_transactions", "10"));
    let mut other = scene.cluster.create_database("other");
    other.batch("set client_min_messages = warning; create extension autovector cascade");
    for db in [&mut scene.db, &mut other] {
        db.batch("create table t (id int primary key, n int); insert into t values (1, 0); select ai.create_checkpoint('public.t')");
    }
    let stop = Stop::new();
    std::thread::scope(|scope| {
        let stopper = stop.say();
        let mut here = scene.cluster.connect("postgres");
        let mut there = scene.cluster.connect("other");
        let stop = &stop;
        let writer = scope.spawn(move || {
            let mut turn = 0;
            while !stop.said() {
                turn += 1;
                for (db, name) in [(&mut here, "here"), (&mut there, "there")] {
                    db.batch(&format!("begin; update t set n = {turn}; prepare transaction 'writer {name}'"));
                }
                here.batch("commit prepared 'writer here'");
                there.batch("commit prepared 'writer there'");
            }
            turn
        });
        for round in 0..10 {
            let made = format!("select ai.create_checkpoint('public.t', 'cut-{round}')");
            scene.db.batch(&format!("begin; {made}"));
            other.batch(&format!("begin; {made}"));
            scene.db.batch("prepare transaction 'cut here'");
            other.batch("prepare transaction 'cut there'");
            scene.db.batch("commit prepared 'cut here'");
            other.batch("commit prepared 'cut there'");
            let n = format!("select n from ai.read_checkpoint('cut-{round}', null::t)");
            assert_eq!(scene.db.one::<i32>(&n, &[]), other.one::<i32>(&n, &[]), "round {round}");
        }
        drop(stopper);
        assert!(writer.join().expect("the writer met no error") > 10, "there was something to cut");
    });
    scene.finish();
}
