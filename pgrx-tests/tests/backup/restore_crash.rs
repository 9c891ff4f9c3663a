//! Restores that end in the middle: the target is what it was, or what the backup says, never
//! anything between.

use std::{thread, time::Duration};

use autovector_cluster_tests::{Sql, process, wait_until};

use super::stage::{Stage, name};

const SOON: Duration = Duration::from_secs(60);
const ROWS: i64 = 40_000;

fn checksum(stage: &mut Stage) -> (i64, Option<String>) {
    let query = "select count(*), md5(string_agg(t::text, ',' order by id)) from docs t";
    let row = stage.db.query_one(query, &[]).expect("the table is there");
    (row.get(0), row.get(1))
}

/// Fear: a server that dies while rows are loaded keeps some of them, or has lost the old ones or
/// an index; or the next restore stumbles over what is left.
#[test]
fn a_restore_that_is_killed_leaves_the_table_as_it_was() {
    let mut stage = Stage::new();
    stage.cluster.expect_in_log("terminated by signal");
    stage.db.batch(&format!(
        "create table docs (id int primary key, body text, embedding vector(3));
         create index by_body on docs (body);
         insert into docs select i, repeat(md5(i::text), 4), array[i, 0.1, -i]::float4[]::vector from generate_series(1, {ROWS}) i"
    ));
    let backup = name(&stage.backup("tables => '{docs}'"));
    let saved = checksum(&mut stage);
    stage.db.batch("delete from docs where id > 100; update docs set body = 'newer' where id < 50");
    let newer = checksum(&mut stage);
    let indexes = "select indexrelid::regclass::text from pg_index where indrelid = 'docs'::regclass and indisvalid order by 1";
    let before: Vec<String> = stage.db.all(indexes, &[]);
    for percent in [10, 50, 90] {
        let mut session = stage.cluster.connect("postgres");
        let pid: i32 = session.one("select pg_backend_pid()", &[]);
        let call = format!("select ai.restore_vector_tables('{backup}', 'replace')");
        // Nothing of it may come to the client's ears: the last commit is never reached.
        let running = thread::spawn(move || {
            session.batch_execute("begin")?;
            session.batch_execute(&call)?;
            session.batch_execute("select pg_sleep(600)")
        });
        let mut watcher = stage.cluster.connect("postgres");
        wait_until(&format!("{percent} % are loaded"), SOON, || {
            let loaded = watcher
                .all::<i64>("select tuples_processed from pg_stat_progress_copy where pid = $1", &[&pid]);
            let sleeps = "select count(*) from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'";
            loaded.first().is_some_and(|rows| *rows >= ROWS * percent / 100)
                || watcher.one::<i64>(sleeps, &[&pid]) > 0
        });
        process::signal(pid, libc::SIGKILL);
        assert!(running.join().expect("the session's thread").is_err());
        stage.cluster.wait_until_ready();
        stage.db = stage.cluster.connect("postgres");
        assert_eq!(checksum(&mut stage), newer, "killed at {percent} %");
        assert_eq!(stage.db.all::<String>(indexes, &[]), before);
    }
    stage.restore(&backup, "replace");
    assert_eq!(checksum(&mut stage), saved);
    assert_eq!(stage.db.all::<String>(indexes, &[]), before);
    stage.cluster.assert_healthy();
}
