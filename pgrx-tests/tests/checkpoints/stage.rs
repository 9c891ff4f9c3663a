//! The stage of these tests: a table with a key, a text and a vector, and short forms for what is read
//! from it and from its versions.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use autovector_cluster_tests::{Scene, Settings, Sql};
use postgres::Client;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Tells writers to stop, also when the test fails: they would run for ever.
pub struct Stop(AtomicBool);

impl Stop {
    pub fn new() -> Stop {
        Stop(AtomicBool::new(false))
    }

    pub fn said(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub fn say(&self) -> StopAtEnd<'_> {
        StopAtEnd(self)
    }
}

pub struct StopAtEnd<'a>(&'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// A cluster whose housekeeper does nothing by itself.
pub fn quiet() -> Settings {
    Settings::default().set("autovector.naptime", "1h")
}

/// The table with some rows, and a checkpoint of it called `one`.
pub fn scene() -> Scene {
    let mut scene = Scene::with(quiet());
    table(&mut scene.db);
    scene.db.batch("select ai.create_checkpoint('public.t', 'one')");
    scene
}

pub fn table(db: &mut Client) {
    db.batch(
        "create table t (id int primary key, v text, embedding vector(3));
         insert into t select i, 'v' || i, array[i, 1, 2]::vector from generate_series(1, 100) i",
    );
}

/// Everything of a set of rows that can be compared.
pub fn rows(db: &mut Client, from: &str) -> Vec<String> {
    db.all(&format!("select r::text from {from} r order by id"), &[])
}

pub fn version(db: &mut Client, name: &str) -> Vec<String> {
    rows(db, &format!("ai.read_checkpoint('{name}', null::t)"))
}

pub fn create(db: &mut Client, name: &str) {
    db.batch(&format!("select ai.create_checkpoint('public.t', '{name}')"));
}
