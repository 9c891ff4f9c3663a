//! What a backup says about itself: the JSON that the call returns, and its line in the log.

use std::time::Duration;

use autovector_backup::manifest::Manifest;
use autovector_backup::names;
use serde_json::{Map, Value, json};

/// What became of one table.
pub struct Saved {
    /// The name in the result: the table's, with its schema where that is not `public`.
    pub name: String,
    pub rows: u64,
    pub bytes: u64,
    pub files: Vec<String>,
    pub took: Duration,
}

pub struct Emptied {
    pub name: String,
    pub before: i64,
    pub after: i64,
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

pub fn result(
    manifest: &Manifest,
    directory: &str,
    saved: &[Saved],
    emptied: &[Emptied],
    took: Duration,
    now: u64,
) -> Value {
    let tables: Map<String, Value> = saved
        .iter()
        .map(|table| {
            let mut entry = json!({
                "success": true,
                "row_count": table.rows,
                "file_size": table.bytes,
                "backup_file": table.files.first(),
                "duration": seconds(table.took),
            });
            if table.files.len() > 1 {
                entry["backup_files"] = json!(table.files);
            }
            (table.name.clone(), entry)
        })
        .collect();
    let truncated: Map<String, Value> = emptied
        .iter()
        .map(|table| {
            let entry = json!({"success": true, "rows_before": table.before, "rows_after": table.after});
            (table.name.clone(), entry)
        })
        .collect();
    let mut response =
        format!("{} rows of {} tables are in backup {}", manifest.rows(), saved.len(), manifest.backup);
    if !emptied.is_empty() {
        response.push_str(&format!("; {} tables were emptied", emptied.len()));
    }
    json!({
        "backup": manifest.backup,
        "response": response,
        "backup_performed": true,
        "truncate_performed": !emptied.is_empty(),
        "backup_directory": directory,
        "tables_backed_up": tables,
        "truncate_results": truncated,
        "errors": [],
        "duration": seconds(took),
        "timestamp": names::timestamp(now),
    })
}

/// One line for `vector_backup_log.txt`.
pub fn line(manifest: &Manifest, truncates: usize, took: Duration, now: u64) -> String {
    let tables: Vec<String> = manifest
        .tables
        .iter()
        .map(|table| format!("{}={}", table.name.escape_default(), table.rows))
        .collect();
    let truncates = if truncates > 0 { format!(" truncating={truncates}") } else { String::new() };
    format!(
        "{} backup {} complete: {} bytes in {} s, rows: {}{truncates}",
        names::timestamp(now),
        manifest.backup,
        manifest.bytes(),
        seconds(took),
        tables.join(", ")
    )
}
