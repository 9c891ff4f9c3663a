//! Backups at regular hours: made as whoever asked for them, and deleted only where that is safe.

use std::{fs, time::Duration};

use autovector_cluster_tests::{Settings, Sql, wait_until};

use super::stage::{LANGCHAIN, Stage, fill, name};

const SOON: Duration = Duration::from_secs(60);

fn stage() -> Stage {
    let mut stage = Stage::with(Settings::default().set("autovector.naptime", "100ms"));
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 20);
    stage
}

/// Makes the policy due now and waits until it has run.
pub fn run_now(stage: &mut Stage) {
    let before: Option<std::time::SystemTime> = stage.db.one("select last_at from ai.backup_policy", &[]);
    stage.db.batch("update ai._backup_policy set next_at = now()");
    wait_until("the policy has run", SOON, || {
        let row = stage
            .db
            .query_one("select last_at, last_backup, last_error, next_at > now() from ai.backup_policy", &[]);
        let row = row.expect("a policy");
        let (at, moved): (Option<std::time::SystemTime>, bool) = (row.get(0), row.get(3));
        at != before
            && moved
            && (row.get::<_, Option<String>>(1).is_some() || row.get::<_, Option<String>>(2).is_some())
    });
}

pub fn backups(stage: &mut Stage) -> Vec<String> {
    stage.db.all("select backup from ai.list_backups() where by_policy", &[])
}

/// Fear: backups are made never, all at once, or without end; or the last one goes, or one that
/// somebody made by hand, or the only copy of rows that were emptied.
#[test]
fn backups_are_made_at_their_hours_and_old_ones_end() {
    let mut stage = stage();
    let by_hand = name(&stage.backup(""));
    let emptied = name(&stage.backup("truncate_vector_tables => true"));
    stage.db.batch("select ai.set_backup_policy('1 hour', keep_last => 2)");
    wait_until("the first is there", SOON, || backups(&mut stage).len() == 1);
    for _ in 0..4 {
        let newest = backups(&mut stage).pop().expect("one");
        run_now(&mut stage);
        wait_until("there is a newer one, and no third", SOON, || {
            let now = backups(&mut stage);
            now.last() != Some(&newest) && now.len() == 2
        });
    }
    let left: Vec<String> =
        stage.db.all("select backup from ai.list_backups() where complete and not by_policy", &[]);
    assert!(left.contains(&by_hand) && left.contains(&emptied), "{left:?}");
    // A damaged one is no backup: the last sound one stays beside it.
    let newest = backups(&mut stage).pop().expect("one");
    let file = stage.folder().join(format!("langchain_pg_embedding_{newest}.csv"));
    fs::write(file, b"").expect("written");
    stage.db.batch("select ai.set_backup_policy('1 hour', keep_last => 1)");
    wait_until("it has run", SOON, || {
        let complete: Vec<String> =
            stage.db.all("select backup from ai.list_backups() where by_policy and complete", &[]);
        complete.len() == 1 && complete[0] != newest
    });
    stage.db.batch("select ai.set_backup_policy(null)");
    assert_eq!(stage.count("select count(*) from ai.backup_policy"), 0);
    stage.cluster.assert_healthy();
}

/// Fear: a backup that cannot be made is silent, or tried again without rest.
#[test]
fn a_backup_that_fails_says_why() {
    let mut stage = stage();
    stage.cluster.expect_in_log("permission denied for table");
    stage.db.batch("create role app login; grant execute on function ai.set_backup_policy to app");
    let mut app = stage.cluster.connect_as("postgres", "app");
    for (arguments, state) in
        [("'1 second'", "22023"), ("'1 day', 0", "22023"), ("'1 day', 1, '-1 day'", "22023")]
    {
        let error = app.error_of(&format!("select ai.set_backup_policy({arguments})"));
        assert_eq!(error.code().code(), state, "{arguments}");
    }
    app.batch("select ai.set_backup_policy('1 hour')");
    wait_until("it has failed", SOON, || {
        let error: Option<Option<String>> =
            stage.db.all("select last_error from ai.backup_policy", &[]).pop();
        error.flatten().is_some_and(|error| error.contains("permission denied for table"))
    });
    assert_eq!(stage.files(), Vec::<String>::new());
    stage.db.batch("grant select on langchain_pg_collection, langchain_pg_embedding to app");
    run_now(&mut stage);
    wait_until("it succeeds", SOON, || backups(&mut stage).len() == 1);
    let error: Option<String> = stage.db.one("select last_error from ai.backup_policy", &[]);
    assert_eq!(error, None);
    assert_eq!(stage.db.one::<String>("select made_by from ai.list_backups()", &[]), "app");
}
