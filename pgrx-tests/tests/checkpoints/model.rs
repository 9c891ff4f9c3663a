//! A random history of writes, checkpoints, refreshes, deletions, restores, clones, collections and
//! crashes, held against a model in memory. `AUTOVECTOR_CHECKPOINT_STEPS=10000` makes it as long as
//! one likes; a failing history is repeated with `AUTOVECTOR_SEED=<seed>`.

use std::collections::BTreeMap;

use autovector_cluster_tests::{Random, Scene, Settings, Sql, StopMode, sql::describe};
use postgres::Client;
use uuid::Uuid;

const KEYS: u64 = 60;
const STEPS: usize = 300;

type Rows = BTreeMap<i64, String>;

/// A checkpoint as it should be.
#[derive(Clone)]
struct Pinned {
    id: Uuid,
    rows: Rows,
    expired: bool,
    /// Its history stands for itself: it can be read, not restored.
    detached: bool,
}

struct History {
    scene: Scene,
    random: Random,
    live: Rows,
    pinned: Vec<Pinned>,
    clones: Vec<(String, Rows)>,
    made: u64,
    columns: u64,
    done: BTreeMap<&'static str, usize>,
}

impl History {
    fn new(seed: u64) -> History {
        // The housekeeper collects by itself too; nothing that is live may go.
        let mut scene = Scene::with(Settings::default().set("autovector.naptime", "1s"));
        scene.db.batch("create table t (id int8 primary key, v text, filler text default repeat('x', 50))");
        History {
            scene,
            random: Random(seed),
            live: Rows::new(),
            pinned: Vec::new(),
            clones: Vec::new(),
            made: 0,
            columns: 0,
            done: BTreeMap::new(),
        }
    }

    fn key(&mut self) -> i64 {
        1 + self.random.below(KEYS) as i64
    }

    fn value(&mut self) -> String {
        self.made += 1;
        format!("v{}", self.made)
    }

    /// One change, as SQL; the model follows.
    fn change(&mut self) -> String {
        let (key, value) = (self.key(), self.value());
        match self.random.below(12) {
            0..=2 => {
                self.live.insert(key, value.clone());
                format!(
                    "insert into t (id, v) values ({key}, '{value}') on conflict (id) do update set v = excluded.v"
                )
            }
            3..=5 => {
                if let Some(row) = self.live.get_mut(&key) {
                    row.clone_from(&value);
                }
                format!("update t set v = '{value}' where id = {key}")
            }
            6 => {
                let keys: Vec<i64> = self.live.range(key..).map(|(key, _)| *key).take(20).collect();
                for key in &keys {
                    self.live.insert(*key, format!("{value}-{key}"));
                }
                format!(
                    "update t set v = '{value}-' || id where id in (select id from t where id >= {key} order by id limit 20)"
                )
            }
            7 => {
                self.live.remove(&key);
                format!("delete from t where id = {key}")
            }
            8 => {
                // The key moves, where its new place is free.
                let to = self.key();
                if !self.live.contains_key(&to)
                    && let Some(row) = self.live.remove(&key)
                {
                    self.live.insert(to, row);
                }
                format!(
                    "update t set id = {to} where id = {key} and not exists (select from t where id = {to})"
                )
            }
            9 => {
                self.live.insert(key, value.clone());
                format!("delete from t where id = {key}; insert into t (id, v) values ({key}, '{value}')")
            }
            10 => {
                // Many rows at once, with keys beyond the others.
                let from = 1000 + self.random.below(500) as i64;
                for i in from..from + 5 {
                    self.live.entry(i).or_insert_with(|| value.clone());
                }
                format!(
                    "insert into t (id, v) select i, '{value}' from generate_series({from}, {from} + 4) i on conflict do nothing"
                )
            }
            _ => {
                self.live.retain(|id, _| id % 7 != key % 7);
                format!("delete from t where id % 7 = {key} % 7")
            }
        }
    }

    fn transaction(&mut self) {
        let before = self.live.clone();
        let isolation = if self.random.percent(25) { "repeatable read" } else { "read committed" };
        let mut sql = format!("begin isolation level {isolation}");
        for _ in 0..1 + self.random.below(4) {
            if self.random.percent(25) {
                let saved = self.live.clone();
                sql.push_str("; savepoint s");
                for _ in 0..1 + self.random.below(3) {
                    sql = format!("{sql}; {}", self.change());
                }
                if self.random.percent(60) {
                    sql.push_str("; rollback to s");
                    self.live = saved;
                } else {
                    sql.push_str("; release s");
                }
            } else {
                sql = format!("{sql}; {}", self.change());
            }
        }
        if self.random.percent(10) {
            sql.push_str("; rollback");
            self.live = before;
        } else {
            sql.push_str("; commit");
        }
        self.scene.db.batch(&sql);
    }

    /// Writes, a checkpoint, more writes: all in one transaction, which may roll back.
    fn checkpoint_within(&mut self) {
        let before = self.live.clone();
        let mut sql = "begin".to_owned();
        for _ in 0..self.random.below(3) {
            sql = format!("{sql}; {}", self.change());
        }
        let aborted = self.random.percent(30);
        if aborted {
            sql.push_str("; savepoint s");
        }
        self.scene.db.batch(&sql);
        let id: Uuid = self.scene.db.one("select ai.create_checkpoint('public.t')", &[]);
        let pinned = self.live.clone();
        for _ in 0..1 + self.random.below(3) {
            let change = self.change();
            self.scene.db.batch(&change);
        }
        if aborted {
            self.scene.db.batch("rollback to s");
            self.live.clone_from(&pinned);
        }
        for _ in 0..self.random.below(3) {
            let change = self.change();
            self.scene.db.batch(&change);
        }
        if self.random.percent(20) {
            self.scene.db.batch("rollback");
            self.live = before;
        } else {
            self.scene.db.batch("commit");
            if !aborted {
                self.note(id, pinned);
            }
        }
    }

    fn note(&mut self, id: Uuid, rows: Rows) {
        self.pinned.push(Pinned { id, rows, expired: false, detached: false });
    }

    fn checkpoint(&mut self) {
        if self.random.percent(30) {
            return self.checkpoint_within();
        }
        if self.random.percent(20)
            && let Some(source) = self.usable()
        {
            if source.detached {
                return;
            }
            let sql = format!("select ai.create_checkpoint('public.t', source => '{}')", source.id);
            let id: Uuid = self.scene.db.one(&sql, &[]);
            return self.note(id, source.rows);
        }
        // A writer that took its snapshot before the checkpoint and writes after it.
        let mut stale = self.random.percent(30).then(|| {
            let mut other = self.scene.cluster.connect("postgres");
            other.batch("begin isolation level repeatable read; select count(*) from t");
            other
        });
        let id: Uuid = self.scene.db.one("select ai.create_checkpoint('public.t')", &[]);
        self.note(id, self.live.clone());
        if let Some(other) = &mut stale {
            let change = self.change();
            other.batch(&change);
            other.batch("commit");
        }
    }

    fn usable(&mut self) -> Option<Pinned> {
        let usable: Vec<Pinned> = self.pinned.iter().filter(|c| !c.expired).cloned().collect();
        self.random.one_of(&usable).cloned()
    }

    fn refresh(&mut self) {
        let Some(chosen) = self.random.one_of(&self.pinned).cloned() else { return };
        let lifetime = match self.random.below(3) {
            0 => "'1 microsecond'",
            1 => "'1 hour'",
            _ => "null",
        };
        let sql = format!("select ai.refresh_checkpoint('{}', {lifetime})", chosen.id);
        if chosen.expired {
            let code = self.scene.db.error_of(&sql).code().code().to_owned();
            // The housekeeper may have been there already.
            assert!(["55000", "42704"].contains(&code.as_str()), "{code}");
        } else {
            self.scene.db.batch(&sql);
            if lifetime.contains("micro") {
                let pinned = self.pinned.iter_mut().find(|c| c.id == chosen.id).expect("chosen from it");
                pinned.expired = true;
            }
        }
    }

    fn delete(&mut self) {
        let Some(chosen) = self.random.one_of(&self.pinned).cloned() else { return };
        let sql = format!("select ai.delete_checkpoint('{}')", chosen.id);
        let deleted: bool = self.scene.db.one(&sql, &[]);
        assert!(deleted || chosen.expired, "a live checkpoint is deleted once");
        assert!(!self.scene.db.one::<bool>(&sql, &[]), "and not twice");
        self.pinned.retain(|c| c.id != chosen.id);
    }

    fn restore(&mut self) {
        let Some(chosen) = self.usable() else { return };
        let sql = format!("select ai.restore_checkpoint('{}')", chosen.id);
        if chosen.detached {
            assert_eq!(self.scene.db.error_of(&sql).code().code(), "55000");
            return;
        }
        if self.columns_differ(chosen.id) {
            assert_eq!(self.scene.db.error_of(&sql).code().code(), "55000");
            return;
        }
        let before: String = self.scene.db.one(&format!("{sql} ->> 'before'"), &[]);
        let before = before.parse().expect("an id");
        let was = std::mem::replace(&mut self.live, chosen.rows);
        self.note(before, was);
    }

    /// The table has got a column since: such a checkpoint is not restored.
    fn columns_differ(&mut self, id: Uuid) -> bool {
        let sql = format!(
            "select cardinality(v.columns) <> (select count(*) from pg_attribute where attrelid = 't'::regclass
                                                  and attnum > 0 and not attisdropped)
               from ai._checkpoint_pin p join ai._checkpoint_version v using (history, number) where p.checkpoint = '{id}'"
        );
        self.scene.db.one(&sql, &[])
    }

    fn clone(&mut self) {
        let Some(chosen) = self.usable() else { return };
        self.made += 1;
        let name = format!("clone_{}", self.made);
        self.scene.db.batch(&format!("select ai.clone_checkpoint('{}', '{name}')", chosen.id));
        self.clones.push((name, chosen.rows));
        if self.clones.len() > 3 {
            let (name, rows) = self.clones.remove(0);
            assert_eq!(rows_of(&mut self.scene.db, &name), rows, "a clone is independent");
            self.scene.db.batch(&format!("drop table {name}"));
        }
    }

    fn collect(&mut self) {
        self.scene
            .db
            .batch("select * from ai.gc_checkpoints(dry_run => true); select * from ai.gc_checkpoints()");
        self.pinned.retain(|c| !c.expired);
    }

    fn crash(&mut self) {
        if self.random.percent(50) {
            // In the middle of an uncommitted change and an uncommitted checkpoint.
            let mut other = self.scene.cluster.connect("postgres");
            other.batch(
                "begin; update t set v = 'lost'; select ai.create_checkpoint('public.t'); delete from t",
            );
            self.scene.cluster.stop(StopMode::Immediate);
        } else {
            self.scene.cluster.stop(StopMode::Immediate);
        }
        self.scene.cluster.start_again();
        self.scene.db = self.scene.cluster.connect("postgres");
    }

    fn redefine(&mut self) {
        match self.random.below(5) {
            0 if self.columns < 20 => {
                self.columns += 1;
                // One that rewrites the table gives every row a new header.
                self.scene
                    .db
                    .batch(&format!("alter table t add column c{} float8 default random()", self.columns));
            }
            1 => {
                self.scene.db.batch("select ai.detach_checkpoints('public.t')");
                self.pinned.iter_mut().for_each(|c| c.detached = true);
            }
            2 => self.scene.db.batch("vacuum full t"),
            3 => self.scene.db.batch("vacuum freeze t"),
            _ => {
                self.scene.db.batch("truncate t");
                self.live.clear();
            }
        }
    }

    fn step(&mut self) {
        let (name, action): (&'static str, fn(&mut History)) = match self.random.below(100) {
            0..=54 => ("transaction", History::transaction),
            55..=66 => ("checkpoint", History::checkpoint),
            67..=71 => ("refresh", History::refresh),
            72..=77 => ("delete", History::delete),
            78..=83 => ("restore", History::restore),
            84..=86 => ("clone", History::clone),
            87..=91 => ("collect", History::collect),
            92..=94 => ("redefine", History::redefine),
            95 if self.random.percent(30) => ("crash", History::crash),
            _ => ("diff", History::diff),
        };
        *self.done.entry(name).or_default() += 1;
        action(self);
        if self.pinned.len() > 12 {
            self.delete();
        }
    }

    fn diff(&mut self) {
        let (Some(a), Some(b)) = (self.usable(), self.usable()) else { return };
        let sql = format!(
            "select coalesce(string_agg(change || (key ->> 'id'), ' ' order by (key ->> 'id')::int8), '')
               from ai.diff_checkpoints('{}'::text, '{}')",
            a.id, b.id
        );
        let found: String = self.scene.db.one(&sql, &[]);
        let mut expected = Vec::new();
        let keys: std::collections::BTreeSet<&i64> = a.rows.keys().chain(b.rows.keys()).collect();
        for key in keys {
            match (a.rows.get(key), b.rows.get(key)) {
                (None, Some(_)) => expected.push(format!("added{key}")),
                (Some(_), None) => expected.push(format!("removed{key}")),
                (Some(x), Some(y)) if x != y => expected.push(format!("changed{key}")),
                _ => {}
            }
        }
        assert_eq!(found, expected.join(" "));
    }

    /// What is there is what should be there: the live table, and a quarter of the checkpoints or all.
    fn check(&mut self, all: bool) {
        let mut sql = "select null::uuid, id, v from t".to_owned();
        let mut expected = BTreeMap::from([(None, self.live.clone())]);
        for checkpoint in self.pinned.clone() {
            if !all && !self.random.percent(25) {
                continue;
            }
            if checkpoint.expired {
                let sql = format!("select * from ai.read_checkpoint('{}', null::t)", checkpoint.id);
                let code = self.scene.db.error_of(&sql).code().code().to_owned();
                assert!(["55000", "42704"].contains(&code.as_str()), "{code}");
                continue;
            }
            let id = checkpoint.id;
            sql.push_str(&format!(
                " union all select '{id}', id, v from ai.read_checkpoint('{id}'::uuid, null::t)"
            ));
            expected.insert(Some(id), checkpoint.rows);
            if all {
                let sql = format!("select (ai.verify_checkpoint('{id}') ->> 'ok')::bool");
                assert!(self.scene.db.one::<bool>(&sql, &[]), "checkpoint {id}");
            }
        }
        let rows =
            self.scene.db.query(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
        let mut found: BTreeMap<Option<Uuid>, Rows> = expected.keys().map(|id| (*id, Rows::new())).collect();
        for row in rows {
            found.entry(row.get(0)).or_default().insert(row.get(1), row.get(2));
        }
        for (id, rows) in expected {
            assert_eq!(found[&id], rows, "checkpoint {id:?}, none: the live table");
        }
    }
}

fn rows_of(db: &mut Client, from: &str) -> Rows {
    let sql = format!("select id, v from {from}");
    let rows = db.query(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn run(seed: u64, steps: usize) {
    eprintln!("seed {seed}, {steps} steps");
    let mut history = History::new(seed);
    for step in 1..=steps {
        history.step();
        history.check(step % 50 == 0);
        if step % 500 == 0 {
            eprintln!("step {step}: {} live checkpoints, {:?}", history.pinned.len(), history.done);
        }
    }
    history.check(true);
    // When everything is deleted nothing is left.
    history
        .scene
        .db
        .batch("select ai.delete_checkpoint(id) from ai.checkpoints; select * from ai.gc_checkpoints(); select * from ai.gc_checkpoints();");
    let sql = "select count(*) from pg_class where relname ~ '^_checkpoint_history_[0-9]+$' and relkind = 'r'
                  and oid <> (select coalesce(max(to_regclass('ai._checkpoint_history_' || id)::oid), 0::oid)
                                from ai._checkpoint_history where not detached)";
    assert_eq!(history.scene.count(sql), 0, "histories of tables that were changed are gone");
    assert_eq!(history.scene.count("select count(*) from ai._checkpoint_version"), 0);
    let attached: Option<String> = history.scene.db.one(
        "select max('ai._checkpoint_history_' || id) from ai._checkpoint_history where not detached",
        &[],
    );
    if let Some(attached) = attached {
        assert_eq!(
            history.scene.count(&format!("select count(*) from {attached}")),
            0,
            "{attached} is empty"
        );
    }
}

/// Fear: a combination that nobody thought of.
#[test]
fn random_histories_agree_with_the_model() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let steps = number("AUTOVECTOR_CHECKPOINT_STEPS").map_or(STEPS, |steps| steps as usize);
    run(number("AUTOVECTOR_SEED").unwrap_or(7), steps);
}
