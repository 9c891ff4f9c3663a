//! Disks that are full or read-only, and the order in which a backup uses a good one.

use std::{fs, path::Path, thread, time::Duration};

use autovector_cluster_tests::{Settings, Sql, cluster::mounts_are_possible, process, wait_until};
use tempfile::TempDir;

use super::stage::{Stage, name};

const SOON: Duration = Duration::from_secs(60);
const CALL: &str = "select ai.backup_vector_tables(tables => '{one, two}', truncate_vector_tables => true)";

/// A stage with two tables, whose backup directory is a file system of its own; None where this
/// machine forbids that.
fn on_disk(options: &str) -> Option<Stage> {
    if !mounts_are_possible() {
        eprintln!("not tested: this machine forbids mounts in user name spaces");
        return None;
    }
    let directory: TempDir = tempfile::tempdir().expect("a directory");
    let place = directory.path().display().to_string();
    let settings = Settings::default().mounted(directory.path(), options);
    let mut stage = Stage::at(&place, settings, directory);
    stage.db.batch(
        "create table one (id int, embedding vector(2)); insert into one select i, '[1,2]' from generate_series(1, 300) i;
         create table two (id int, embedding vector(2)); insert into two select i, '[3,4]' from generate_series(1, 300) i",
    );
    Some(stage)
}

/// Names below the backup directory, as the server sees them.
fn seen(stage: &mut Stage, folder: &str) -> Vec<String> {
    let path = stage.directory.path().join(folder).display().to_string();
    stage.db.all(
        "select f from pg_ls_dir($1, true, false) f where f <> 'vector_backup_log.txt' order by f",
        &[&path],
    )
}

/// Fear: a disk that is full at one of the files leaves a backup that is none, or costs rows; or
/// nobody understands the error.
#[test]
fn a_full_disk_costs_nothing_whichever_file_it_hits() {
    let Some(mut stage) = on_disk("size=256k,mode=0700") else { return };
    let fill = stage.directory.path().join("fill").display().to_string();
    let mut refused = 0;
    // Each time a page less is taken by somebody else.
    for pages in (40..=62).rev() {
        stage.db.batch(&format!("copy (select repeat('x', {pages} * 4096 - 1)) to '{fill}'"));
        let Some(error) = stage.db.batch_execute(CALL).err() else { break };
        let error = error.as_db_error().expect("an error of the server").clone();
        assert_eq!(error.code().code(), "53100", "{}", error.message());
        assert!(error.hint().is_some_and(|hint| hint.contains("Make room")), "{:?}", error.hint());
        assert!(error.detail().is_some_and(|detail| detail.contains("\"can_retry\":true")));
        assert_eq!(seen(&mut stage, "vector_bak"), Vec::<String>::new(), "{pages} pages taken");
        for table in ["one", "two"] {
            assert_eq!(stage.count(&format!("select count(*) from {table}")), 300);
        }
        refused += 1;
    }
    assert!(refused >= 3, "both tables' files and the manifest had to meet the end of the disk: {refused}");
    assert_eq!(seen(&mut stage, "vector_bak").len(), 3, "the last one had room");
    assert_eq!(stage.count("select count(*) from one"), 0);
    let backup: String =
        stage.db.one("select backup from ai.list_backups() where complete and truncated", &[]);
    stage.restore(&backup, "refuse");
    assert_eq!(stage.count("select count(*) from one join two using (id)"), 300);
}

/// Fear: the same for large tables, helpers and compression, where the disk is full in the middle.
#[test]
fn a_disk_that_fills_up_in_the_middle_costs_nothing() {
    let Some(mut stage) = on_disk("size=1m,mode=0700") else { return };
    stage.db.batch(
        "insert into one select i, array[random(), random()]::float4[]::vector from generate_series(301, 150000) i",
    );
    for arguments in ["", ", parallel => 2", ", format => 'binary', compression => 'zstd'"] {
        let call = CALL.replace(", truncate", &format!("{arguments}, truncate"));
        let error = stage.db.error_of(&call);
        // A helper says it in its own words.
        let said = error.code().code() == "53100" || error.message().contains("No space left");
        assert!(said, "{arguments}: {} {}", error.code().code(), error.message());
        assert_eq!(seen(&mut stage, "vector_bak"), Vec::<String>::new(), "{arguments}");
        assert_eq!(stage.count("select count(*) from one"), 150_000);
    }
}

/// Fear: a read-only disk is not recognised, or emptied tables are the price.
#[test]
fn a_read_only_disk_is_said() {
    let Some(mut stage) = on_disk("ro") else { return };
    let error = stage.db.error_of(CALL);
    assert_eq!(error.code().code(), "58030", "{}", error.message());
    assert!(error.message().contains("Read-only file system"), "{}", error.message());
    assert!(error.hint().is_some());
    assert_eq!(stage.count("select count(*) from one"), 300);
}

/// The lines of the record, and its end.
fn recorded(record: &Path) -> Vec<String> {
    let text = fs::read_to_string(record).expect("the record");
    fs::write(record, "").expect("emptied");
    text.lines().map(str::to_owned).collect()
}

/// Fear: a name is durable before the rows behind it, a table is emptied before the backup is
/// durable, or the ledger says so before it was.
#[test]
fn rows_names_manifest_truncate_and_commit_come_in_this_order() {
    let mut stage = Stage::new();
    stage.db.batch("create table docs (id int, embedding vector(2)); insert into docs values (1, '[1,2]')");
    let record = stage.cluster.data_directory().join("autovector.journal");
    fs::write(&record, "").expect("made");
    let report = stage.backup("tables => '{docs}', truncate_vector_tables => true");
    let stamp = name(&report);
    let expected = [
        "backup_locked",
        "sync file",
        "backup_copied",
        "backup_read_back",
        "sync manifest",
        &format!("rename to docs_{stamp}.csv"),
        "sync directory",
        "backup_named",
        &format!("rename to manifest_{stamp}.json"),
        "sync directory",
        "backup_published",
        "truncate",
        "backup_emptied",
        "backup_recorded",
    ];
    assert_eq!(recorded(&record), expected);
    stage.db.exec("select ai.delete_backup($1)", &[&stamp]);
    let expected = [
        &format!("rename to manifest_{stamp}.json.tmp"),
        "sync directory",
        &format!("remove docs_{stamp}.csv"),
        &format!("remove manifest_{stamp}.json.tmp"),
        "sync directory",
    ];
    assert_eq!(recorded(&record), expected);
}

/// Fear: a disk that does not keep what was written to it is believed, and the table is emptied.
#[test]
fn what_the_disk_does_not_keep_is_noticed_before_anything_is_emptied() {
    let mut stage = Stage::new();
    stage.db.batch("create table docs (id int, embedding vector(2)); insert into docs values (1, '[1,2]')");
    let mut session = stage.cluster.connect("postgres");
    let pid: i32 = session.one("select pg_backend_pid()", &[]);
    fs::write(stage.cluster.data_directory().join("autovector.failpoints"), "backup_copied=stop")
        .expect("armed");
    let running = thread::spawn(move || {
        session.batch_execute(
            "select ai.backup_vector_tables(tables => '{docs}', truncate_vector_tables => true)",
        )
    });
    wait_until("the rows are written", SOON, || process::is_stopped(pid));
    let file = stage.files().into_iter().find(|file| file.ends_with(".csv.tmp")).expect("a file");
    let path = stage.folder().join(file);
    let mut bytes = fs::read(&path).expect("the rows");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&path, bytes).expect("spoiled");
    process::signal(pid, libc::SIGCONT);
    let error = running.join().expect("the session").expect_err("the file is not what was written");
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(error.code().code(), "58030", "{}", error.message());
    assert!(error.message().contains("was just written"), "{}", error.message());
    assert_eq!(stage.count("select count(*) from docs"), 1);
    assert_eq!(stage.files(), Vec::<String>::new());
}
