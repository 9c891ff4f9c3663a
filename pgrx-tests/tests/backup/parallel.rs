//! Several processes, one snapshot, one backup.

use std::time::Duration;

use autovector_cluster_tests::{Settings, Sql, process, wait_until};

use super::stage::{Stage, files, name};

/// A table of some 3,000 pages, and one that is not worth dividing.
fn large(stage: &mut Stage) {
    stage.db.batch(
        "create table small (id int, embedding vector(2)); insert into small values (1, '[1,2]');
         create table docs (id int, body text, embedding vector(2));
         insert into docs select i, repeat(md5(i::text), 25), array[i, 1]::float4[]::vector from generate_series(1, 30000) i",
    );
}

fn checksum(stage: &mut Stage) -> String {
    stage.db.one("select md5(string_agg(t::text, ',' order by id)) from docs t", &[])
}

/// Fear: rows of a divided table are copied twice or never, or the parts see different moments.
#[test]
fn a_divided_table_comes_back_whole() {
    let mut stage = Stage::new();
    large(&mut stage);
    let before = checksum(&mut stage);
    for (format, processes) in [("csv", 2), ("binary", 3)] {
        let report = stage.backup(&format!(
            "tables => '{{docs, small}}', format => '{format}', parallel => {processes}, truncate_vector_tables => true"
        ));
        let docs = &report["tables_backed_up"]["docs"];
        let parts = docs["backup_files"].as_array().expect("several files").len();
        assert_eq!((parts, &docs["row_count"]), (processes * 2, &30_000.into()), "{report}");
        assert_eq!(stage.faults(&name(&report)), Vec::<String>::new());
        let left: Vec<String> = stage.files().into_iter().filter(|file| file.ends_with(".tmp")).collect();
        assert_eq!(left, Vec::<String>::new());
        assert_eq!(stage.count("select count(*) from docs"), 0);
        stage.restore(&name(&report), "refuse");
        assert_eq!(checksum(&mut stage), before);
    }
    stage.cluster.assert_healthy();
}

/// Fear: without a place for helpers the backup fails, or waits for ever.
#[test]
fn without_helpers_one_process_does_it_all() {
    let mut stage = Stage::with(Settings::default().set("max_worker_processes", "1"));
    large(&mut stage);
    let report = stage.backup("tables => '{docs}', parallel => 4");
    assert_eq!(report["tables_backed_up"]["docs"]["row_count"], 30_000);
    assert_eq!(stage.faults(&name(&report)), Vec::<String>::new());
}

/// Fear: a helper that dies takes its rows along unnoticed, or what it wrote stays behind.
#[test]
fn a_helper_that_dies_fails_the_backup() {
    let mut stage = Stage::new();
    large(&mut stage);
    let mut watcher = stage.cluster.connect("postgres");
    let folder = stage.folder();
    // A helper may have nothing to do any more when it is ended: then the backup is sound.
    let failed = (0..50).any(|_| {
        let mut session = stage.cluster.connect("postgres");
        let call = "select ai.backup_vector_tables(tables => '{docs}', compression => 'zstd', parallel => 2)";
        let running = std::thread::spawn(move || session.batch_execute(call).map_err(|error| error.code().cloned()));
        let mut helper: Option<i32> = None;
        wait_until("a helper works, or all is over", Duration::from_secs(60), || {
            helper = watcher
                .all("select pid from pg_stat_activity where backend_type = 'autovector backup' and backend_xmin is not null", &[])
                .first()
                .copied();
            helper.is_some() || running.is_finished()
        });
        if let Some(helper) = helper
            && process::is_alive(helper)
        {
            watcher.exec("select pg_terminate_backend($1)", &[&helper]);
        }
        match running.join().expect("the session") {
            Ok(()) => false,
            Err(code) => {
                assert_eq!(code.map(|code| code.code().to_owned()).as_deref(), Some("58030"));
                true
            }
        }
    });
    assert!(failed, "no helper was ended in time");
    let left: Vec<String> = files(&folder).into_iter().filter(|file| file.ends_with(".tmp")).collect();
    assert_eq!(left, Vec::<String>::new());
    let names: Vec<String> = stage.db.all("select backup from ai.list_backups()", &[]);
    for name in names {
        assert_eq!(stage.faults(&name), Vec::<String>::new());
    }
}

/// Fear: nobody can see how far a backup is.
#[test]
fn progress_is_shown_while_a_backup_runs() {
    let mut stage = Stage::new();
    large(&mut stage);
    assert_eq!(stage.count("select count(*) from ai.backup_progress"), 0);
    let mut reader = stage.cluster.connect("postgres");
    reader.batch("begin; select count(*) from docs");
    let mut session = stage.cluster.connect("postgres");
    let pid: i32 = session.one("select pg_backend_pid()", &[]);
    let running = std::thread::spawn(move || {
        session
            .batch_execute(
                "select ai.backup_vector_tables(tables => '{docs}', truncate_vector_tables => true)",
            )
            .is_ok()
    });
    wait_until("the backup is seen", Duration::from_secs(60), || {
        stage.db.all::<i32>("select pid from ai.backup_progress where phase is not null", &[]) == [pid]
    });
    drop(reader);
    assert!(running.join().expect("the session"));
    assert_eq!(stage.count("select count(*) from ai.backup_progress"), 0);
}
