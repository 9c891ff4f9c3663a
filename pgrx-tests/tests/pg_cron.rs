//! The real pg_cron pauses and resumes, as `docs/operating.md` has it. It comes with PostgreSQL 15;
//! there is no package of it for 18, and then these tests say so and check what they can.

use std::{path::Path, time::Duration};

use autovector_cluster_tests::{Scene, Settings, Spec, Sql, paths, wait_until};

/// pg_cron begins its jobs at full minutes.
const A_JOB_COMES_WITHIN: Duration = Duration::from_secs(150);

/// A scene with pg_cron in it; None where there is none.
fn scene(backups: &Path) -> Option<Scene> {
    if !paths::extension_available("pg_cron") {
        eprintln!("there is no pg_cron for PostgreSQL {}: nothing is tested", paths::major_version());
        assert_ne!(paths::major_version(), 15, "the set-up brings pg_cron along with PostgreSQL 15");
        return None;
    }
    let settings = Settings::default()
        .set("autovector.backup_directory", &backups.display().to_string())
        .set("shared_preload_libraries", "autovector,pg_cron")
        .set("cron.database_name", "postgres")
        .set("cron.use_background_workers", "on");
    let mut scene = Scene::with(settings);
    scene.db.batch("create extension pg_cron");
    Some(scene)
}

/// The statements of the guide that schedule something.
fn of_the_guide() -> Vec<String> {
    let path = paths::workspace().join("docs/operating.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| line.starts_with("SELECT cron.schedule(")).map(str::to_owned).collect()
}

/// Fear: what the guide shows for pg_cron does not work, or checkpoints and backups need more than
/// a session of pg_cron has.
#[test]
fn jobs_of_pg_cron_pause_resume_keep_and_save() {
    let statements = of_the_guide();
    assert_eq!(statements.len(), 2, "{statements:?}");
    let backups = tempfile::tempdir().expect("a temporary directory");
    let Some(mut scene) = scene(backups.path()) else { return };
    for name in ["wiki", "other"] {
        scene.table(name, 20);
        scene.vectorize(&Spec::on(name));
        scene.settle(name);
    }
    // As written: two jobs, at ten in the evening and six in the morning.
    statements.iter().for_each(|statement| scene.db.batch(statement));
    let jobs: Vec<String> = scene.db.all("select jobname || ': ' || schedule from cron.job order by 1", &[]);
    assert_eq!(jobs, ["wiki by day: 0 6 * * *", "wiki by night: 0 22 * * *"]);
    // The same jobs at the next full minute: the day comes to one vectorizer, the night to another.
    scene.db.batch("select ai.pause_vectorizer('other', 'day'); insert into other values (21, 'by night')");
    scene.db.batch(
        "select cron.alter_job(jobid, schedule => '* * * * *', command => replace(command, '''wiki'')', '''other'')')) from cron.job",
    );
    scene.db.batch(
        "select cron.schedule('keep', '* * * * *', $$select ai.create_checkpoint('wiki', lifetime => '1 day')$$);
         select cron.schedule('save', '* * * * *', $$select ai.backup_vector_tables()$$)",
    );
    wait_until("all jobs have run", A_JOB_COMES_WITHIN, || {
        scene.status("wiki", "state || ' ' || state_reason").as_deref() == Some("paused day")
            && scene.status("other", "state").as_deref() == Some("idle")
            && scene.count("select count(*) from ai.checkpoints where target = 'wiki'") >= 1
            && scene.count("select count(*) from ai.list_backups() where complete") >= 1
    });
    scene.db.batch("select cron.unschedule(jobid) from cron.job");
    scene.settle("other");
    assert_eq!(scene.provider.times_sent("by night"), 1);
    let runs = |scene: &mut Scene, condition: &str| {
        scene.count(&format!("select count(*) from cron.job_run_details where {condition}"))
    };
    wait_until("pg_cron says that all succeeded", Duration::from_secs(30), || {
        runs(&mut scene, "status = 'succeeded'") >= 4
    });
    let kept =
        "select count(*) from ai.checkpoints c, ai.read_checkpoint(c.id, null::wiki_embedding_store) r";
    assert_eq!(scene.count(kept) % 20, 0, "each holds the whole store");
    assert!(scene.count(kept) >= 20);
    let sound: bool = scene
        .db
        .one("select bool_and((ai.verify_backup(backup)->>'valid')::bool) from ai.list_backups()", &[]);
    assert!(sound, "what was saved can be loaded");
    assert_eq!(runs(&mut scene, "status = 'failed'"), 0);
    scene.db.batch("select ai.resume_vectorizer('wiki')");
    scene.finish();
}
