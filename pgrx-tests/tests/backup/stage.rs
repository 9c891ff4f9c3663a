//! The stage of these tests: a cluster with a backup directory, LangChain's tables, and short
//! forms for calls.

use std::{
    fs,
    path::{Path, PathBuf},
};

use autovector_cluster_tests::{Cluster, Settings, Sql};
use postgres::Client;
use serde_json::Value;
use tempfile::TempDir;

pub struct Stage {
    // Dropped in this order: the server goes before its directory.
    pub db: Client,
    pub cluster: Cluster,
    pub directory: TempDir,
}

impl Stage {
    pub fn new() -> Stage {
        Stage::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Stage {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().display().to_string();
        Stage::at(&place, settings, directory)
    }

    /// Backups go to `place`; the directory only has to outlive the server.
    pub fn at(place: &str, settings: Settings, directory: TempDir) -> Stage {
        let cluster = settings.set("autovector.backup_directory", place).start();
        let mut db = cluster.connect("postgres");
        db.batch("set client_min_messages = warning; create extension autovector cascade");
        Stage { db, cluster, directory }
    }

    pub fn folder(&self) -> PathBuf {
        self.directory.path().join("vector_bak")
    }

    /// The names of files in `vector_bak`, without the log.
    pub fn files(&self) -> Vec<String> {
        files(&self.folder())
    }

    /// Calls the function with these arguments; returns its report.
    pub fn backup(&mut self, arguments: &str) -> Value {
        self.db.one(&format!("select ai.backup_vector_tables({arguments})"), &[])
    }

    pub fn restore(&mut self, backup: &str, mode: &str) -> Value {
        self.db.one("select ai.restore_vector_tables($1, $2)", &[&backup, &mode])
    }

    pub fn faults(&mut self, backup: &str) -> Vec<String> {
        let verdict: Value = self.db.one("select ai.verify_backup($1)", &[&backup]);
        let faults = verdict["faults"].as_array().expect("a list");
        assert_eq!(verdict["valid"], faults.is_empty());
        faults.iter().map(|f| format!("{}: {}", f["file"], f["fault"])).collect()
    }

    /// All rows of a table, as text, in a fixed order.
    pub fn rows(&mut self, table: &str) -> Vec<String> {
        self.db.all(&format!("select t::text from {table} t order by t::text collate \"C\""), &[])
    }

    pub fn count(&mut self, sql: &str) -> i64 {
        self.db.one(sql, &[])
    }
}

pub fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "vector_backup_log.txt");
    names.sort();
    names
}

/// The name of the backup that a report is about.
pub fn name(report: &Value) -> String {
    report["backup"].as_str().expect("a name").to_owned()
}

/// LangChain's tables as its newer versions make them.
pub const LANGCHAIN: &str = "
    create table langchain_pg_collection (uuid uuid not null primary key, name varchar not null unique, cmetadata json);
    create table langchain_pg_embedding (id varchar not null primary key,
      collection_id uuid references langchain_pg_collection (uuid) on delete cascade,
      embedding vector, document varchar, cmetadata jsonb);
    create index ix_cmetadata_gin on langchain_pg_embedding using gin (cmetadata jsonb_path_ops);";

/// As its older versions did.
pub const OLD_LANGCHAIN: &str = "
    create table langchain_pg_collection (name varchar, cmetadata json, uuid uuid not null primary key);
    create table langchain_pg_embedding (
      collection_id uuid references langchain_pg_collection (uuid) on delete cascade,
      embedding vector, document varchar, cmetadata json, custom_id varchar, uuid uuid not null primary key);";

/// `rows` rows in one collection.
pub fn fill(db: &mut Client, rows: i64) {
    db.batch(&format!(
        "insert into langchain_pg_collection (uuid, name, cmetadata)
           values ('00000000-0000-0000-0000-000000000001', 'c', '{{\"a\": true, \"n\": null}}')
           on conflict do nothing;
         insert into langchain_pg_embedding
           select 'id ' || i, '00000000-0000-0000-0000-000000000001', array[i, 0.1, -i]::float4[]::vector, 'text ' || i,
                  jsonb_build_object('n', i, 'none', null)
             from generate_series(1, {rows}) i"
    ));
}
