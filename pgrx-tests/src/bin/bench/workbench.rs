//! What every case needs: a cluster that writes to disk for real, vectorizers with default
//! settings, and waiting until they have nothing to do.

use std::time::Duration;

use autovector_cluster_tests::{Scene, Settings, Sql, scene::literal, wait_until};
use postgres::Client;

use crate::options::Options;

/// No case works that long; one that does has hung.
const PATIENCE: Duration = Duration::from_secs(900);

/// Settings of a cluster whose times mean something: data reach the disk, and no checkpoint
/// begins in the middle of one of two things that are compared.
pub fn settings() -> Settings {
    Settings::default()
        .with_fsync()
        .set("shared_buffers", "256MB")
        .set("max_wal_size", "4GB")
        .set("checkpoint_timeout", "1h")
}

/// A cluster with these settings and a provider that answers at once and keeps no texts.
pub fn scene(settings: Settings) -> Scene {
    let scene = Scene::with(settings);
    scene.provider.forget_inputs();
    scene
}

/// Creates `table (id bigint primary key, body text not null, note text)` with `rows` rows; `body`
/// is SQL for a text, in which `i` is the row's number.
pub fn table(db: &mut Client, table: &str, rows: usize, body: &str) {
    db.batch(&format!(
        "create table {table} (id bigint primary key, body text not null, note text);
         insert into {table} select i, {body}, 'note' from generate_series(1, {rows}) i"
    ));
    each(db, &[&format!("vacuum analyze {table}"), "checkpoint"]);
}

/// SQL of an embedding configuration for the scripted provider.
pub fn scripted(scene: &Scene, dimensions: usize) -> String {
    format!(
        "ai.embedding_openai('test-model', {dimensions}, base_url => {})",
        literal(&scene.provider.openai_url())
    )
}

/// Creates a vectorizer of `source`, of the same name, that has defaults for all but `embedding`
/// and `more`, which is empty or begins with a comma.
pub fn vectorize(db: &mut Client, source: &str, embedding: &str, more: &str) {
    let _id: i32 = db.one(
        &format!(
            "select ai.create_vectorizer({source}::regclass, name => {source},
                loading => ai.loading_column('body'), embedding => {embedding}{more})",
            source = literal(source),
        ),
        &[],
    );
}

/// Waits until what was committed before is embedded. Panics when it takes for ever or any row
/// has failed: time without the work is no figure.
pub fn wait(db: &mut Client, vectorizer: &str) {
    let patience = format!("{} s", PATIENCE.as_secs());
    let done: bool =
        db.one("select ai.wait_for_vectorizer($1::text, $2::text::interval)", &[&vectorizer, &patience]);
    assert!(done, "{vectorizer} is not done after {patience}");
}

/// Panics unless `table` has `rows` rows.
pub fn expect_rows(db: &mut Client, table: &str, rows: usize) {
    let found: i64 = db.one(&format!("select count(*) from {table}"), &[]);
    assert_eq!(found, rows as i64, "rows of {table}");
}

/// Lets a paused vectorizer do what there is and pauses it again.
pub fn catch_up(db: &mut Client, vectorizer: &str) {
    db.exec("select ai.resume_vectorizer($1::text)", &[&vectorizer]);
    wait(db, vectorizer);
    pause(db, vectorizer);
}

/// Pauses the vectorizer, and waits until nothing is in flight.
pub fn pause(db: &mut Client, vectorizer: &str) {
    let state: String = db.one("select ai.pause_vectorizer($1::text)", &[&vectorizer]);
    assert_eq!(state, "paused");
}

/// Runs statements one by one: VACUUM wants to be alone.
pub fn each(db: &mut Client, statements: &[&str]) {
    for statement in statements {
        db.batch(statement);
    }
}

/// Creates an empty table `name` of the same shape as `table`: columns, storage, constraints,
/// indexes, and what LIKE leaves out, the table's storage parameters.
pub fn twin(db: &mut Client, table: &str, name: &str) {
    db.batch(&format!("create table {name} (like {table} including all)"));
    let parameters: Option<String> = db.one(
        "select array_to_string(reloptions, ', ') from pg_class where oid = $1::text::regclass",
        &[&table],
    );
    if let Some(parameters) = parameters {
        db.batch(&format!("alter table {name} set ({parameters})"));
    }
}

/// Changes a setting of the running server, `value` in the unit that the setting is kept in, and
/// waits until this session has it too.
pub fn alter_system(db: &mut Client, name: &str, value: &str) {
    each(db, &[&format!("alter system set {name} = {}", literal(value)), "select pg_reload_conf()"]);
    wait_until(&format!("{name} is {value}"), Duration::from_secs(30), || {
        db.one::<String>("select setting from pg_settings where name = $1", &[&name]) == value
    });
}

/// What a case gets.
pub struct Order<'a> {
    pub name: &'static str,
    pub options: &'a Options,
}

impl Order<'_> {
    /// `full` rows or repetitions, scaled; at least `least`.
    pub fn scaled(&self, full: usize, least: usize) -> usize {
        self.options.scaled(full, least)
    }

    /// Says on standard error how far the case is.
    pub fn say(&self, text: &str) {
        eprintln!("[{}] {text}", self.name);
    }
}
