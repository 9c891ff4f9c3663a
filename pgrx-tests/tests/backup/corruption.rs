//! Damaged backups are named as such and refused, and what they would have replaced stays.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use autovector_cluster_tests::Sql;

use super::stage::{LANGCHAIN, Stage, fill, name};

/// What somebody does to a backup: `manifest` and the file of the embeddings, by path.
struct Mutation {
    what: &'static str,
    /// A word of the fault.
    fault: &'static str,
    change: fn(manifest: &Path, file: &Path),
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).expect("opened").write_all(bytes).expect("written");
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("read");
    assert!(text.contains(from), "{from} in {text}");
    fs::write(path, text.replacen(from, to, 1)).expect("written");
}

/// The scenarios of pg_verifybackup's own tests, and more.
const MUTATIONS: &[Mutation] = &[
    Mutation {
        what: "an extra file",
        fault: "not in the manifest",
        change: |_, file| {
            fs::copy(file, file.with_file_name(format!("extra_{}", stamped(file)))).expect("copied");
        },
    },
    Mutation {
        what: "a missing file",
        fault: "does not exist",
        change: |_, file| fs::remove_file(file).expect("removed"),
    },
    Mutation { what: "an appended byte", fault: "bytes", change: |_, file| append(file, b"\n") },
    Mutation {
        what: "an emptied file",
        fault: "bytes",
        change: |_, file| fs::write(file, b"").expect("written"),
    },
    Mutation {
        what: "a cut last row",
        fault: "bytes",
        change: |_, file| {
            let bytes = fs::read(file).expect("read");
            fs::write(file, &bytes[..bytes.len() - 7]).expect("written");
        },
    },
    Mutation {
        what: "other contents of the same length",
        fault: "checksum",
        change: |_, file| {
            let mut bytes = fs::read(file).expect("read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).expect("written");
        },
    },
    Mutation {
        what: "a newline behind the manifest",
        fault: "checksum",
        change: |manifest, _| append(manifest, b"\n"),
    },
    Mutation {
        what: "a manifest of another server",
        fault: "checksum",
        change: |manifest, _| edit(manifest, "\"system_identifier\": \"", "\"system_identifier\": \"1"),
    },
    Mutation {
        what: "fewer rows in the manifest",
        fault: "checksum",
        change: |manifest, _| edit(manifest, "\"rows\": 40", "\"rows\": 39"),
    },
    Mutation {
        what: "a file that cannot be read",
        fault: "ermission denied",
        change: |_, file| fs::set_permissions(file, Permissions::from_mode(0o000)).expect("changed"),
    },
    Mutation {
        what: "a link in place of the file",
        fault: "open file",
        change: |_, file| {
            let moved = file.with_file_name("moved");
            fs::rename(file, &moved).expect("renamed");
            symlink(moved, file).expect("linked");
        },
    },
    Mutation {
        what: "swapped files",
        fault: "bytes",
        change: |_, file| {
            let other = file.with_file_name(format!("langchain_pg_collection_{}", stamped(file)));
            let between = file.with_file_name("between");
            fs::rename(file, &between).expect("renamed");
            fs::rename(&other, file).expect("renamed");
            fs::rename(&between, &other).expect("renamed");
        },
    },
    Mutation {
        what: "no manifest",
        fault: "",
        change: |manifest, _| fs::remove_file(manifest).expect("removed"),
    },
];

/// `<stamp>.csv` of a data file.
fn stamped(file: &Path) -> String {
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    name.trim_start_matches("langchain_pg_embedding_").to_owned()
}

/// Fear: a damaged backup loads, in part or whole, or is called sound.
#[test]
fn every_kind_of_damage_is_named_and_refused() {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 40);
    for mutation in MUTATIONS {
        let report = stage.backup("");
        let backup = name(&report);
        let file =
            report["tables_backed_up"]["langchain_pg_embedding"]["backup_file"].as_str().expect("a path");
        let manifest = stage.folder().join(format!("manifest_{backup}.json"));
        let before = (stage.rows("langchain_pg_collection"), stage.rows("langchain_pg_embedding"));
        (mutation.change)(&manifest, file.as_ref());
        let restore = format!("select ai.restore_vector_tables('{backup}', 'replace')");
        if mutation.fault.is_empty() {
            let error = stage.db.error_of(&restore);
            assert_eq!(error.code().code(), "58P01", "{}", mutation.what);
        } else {
            let faults = stage.faults(&backup).join("; ");
            assert!(faults.contains(mutation.fault), "{}: {faults:?}", mutation.what);
            let error = stage.db.error_of(&restore);
            assert_eq!(error.code().code(), "XX001", "{}: {}", mutation.what, error.message());
            assert!(error.detail().is_some_and(|d| d.contains("\"faults\"") && d.contains("DATABASE_ERROR")));
        }
        let after = (stage.rows("langchain_pg_collection"), stage.rows("langchain_pg_embedding"));
        assert_eq!(after, before, "{}", mutation.what);
    }
    stage.cluster.assert_healthy();
}

/// Fear: the manifest of an older backup, with its files of then, passes for a newer one.
#[test]
fn an_older_manifest_is_refused() {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 40);
    let (older, newer) = (name(&stage.backup("")), name(&stage.backup("")));
    let manifest = |name: &str| stage.folder().join(format!("manifest_{name}.json"));
    fs::copy(manifest(&older), manifest(&newer)).expect("copied");
    assert_eq!(stage.faults(&newer).len(), 1);
    assert_eq!(
        stage.db.error_of(&format!("select ai.restore_vector_tables('{newer}')")).code().code(),
        "XX001"
    );
    assert_eq!(stage.faults(&older), Vec::<String>::new());
}

/// Fear: a damaged backup cannot be got rid of, or a sound one is listed as damaged.
#[test]
fn backups_are_listed_as_they_are_and_can_be_deleted() {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 40);
    let (sound, damaged) = (name(&stage.backup("")), name(&stage.backup("")));
    append(&stage.folder().join(format!("manifest_{damaged}.json")), b"x");
    let listed = |stage: &mut Stage, complete: bool| {
        stage.db.all::<String>("select backup from ai.list_backups() where complete = $1", &[&complete])
    };
    assert_eq!(listed(&mut stage, true), [sound.as_str()]);
    assert_eq!(listed(&mut stage, false), [damaged.as_str()]);
    let row = stage.db.query_one(
        "select tables, row_count, bytes > 0, format, database, made_by, made_at > now() - interval '1 hour'
           from ai.list_backups() where complete",
        &[],
    );
    let row = row.expect("one row");
    assert_eq!(
        row.get::<_, Vec<String>>(0),
        ["public.langchain_pg_collection", "public.langchain_pg_embedding"]
    );
    assert_eq!((row.get::<_, i64>(1), row.get::<_, bool>(2), row.get::<_, bool>(6)), (41, true, true));
    for name in [&damaged, &sound] {
        stage.db.exec("select ai.delete_backup($1)", &[name]);
    }
    assert_eq!(stage.files(), Vec::<String>::new());
    let error = stage.db.error_of(&format!("select ai.delete_backup('{sound}')"));
    assert_eq!(error.code().code(), "58P01");
    assert_eq!(stage.count("select count(*) from ai._backup"), 1, "only the damaged one's row is left");
}
