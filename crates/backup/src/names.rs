//! Names of backups and of their files. Names of tables are a user's: what is not harmless in a
//! file name is written as `%XX`, and the manifest has the real one.

use crate::{Error, Result};

/// Below the backup directory, and below a task's.
pub const FOLDER: &str = "vector_bak";
pub const LOG: &str = "vector_backup_log.txt";
/// What ends the name of a file that is being written or deleted.
pub const TEMPORARY: &str = ".tmp";

/// The part of a file name that a table's name may take.
const LONGEST_BASE: usize = 150;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Csv,
    Binary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Zstd,
}

impl Format {
    pub fn parse(text: &str) -> Option<Format> {
        match text {
            "csv" => Some(Format::Csv),
            "binary" => Some(Format::Binary),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Binary => "binary",
        }
    }
}

impl Compression {
    pub fn parse(text: &str) -> Option<Compression> {
        match text {
            "none" => Some(Compression::None),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Zstd => "zstd",
        }
    }
}

/// The ending of a data file.
fn extension(format: Format, compression: Compression) -> &'static str {
    match (format, compression) {
        (Format::Csv, Compression::None) => "csv",
        (Format::Csv, Compression::Zstd) => "csv.zst",
        (Format::Binary, Compression::None) => "bin",
        (Format::Binary, Compression::Zstd) => "bin.zst",
    }
}

/// Letters, digits and underscores: the name of a directory that somebody has made.
pub fn check_task(task: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !task.is_empty() && task.len() <= 128 && task.bytes().all(allowed) && task != FOLDER {
        return Ok(());
    }
    Err(Error::Name(format!("\"{}\" is not a valid task id", shown(task))))
}

fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_default).collect()
}

/// A backup's name: `<stamp>`, or `<task>/<stamp>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupName {
    pub task: Option<String>,
    pub stamp: String,
}

impl BackupName {
    pub fn parse(name: &str) -> Result<BackupName> {
        let (task, stamp) = match name.split_once('/') {
            Some((task, stamp)) => (Some(task.to_owned()), stamp),
            None => (None, name),
        };
        let sound = task.as_deref().is_none_or(|task| check_task(task).is_ok()) && is_stamp(stamp);
        if !sound {
            return Err(Error::Name(format!("\"{}\" is not the name of a backup", shown(name))));
        }
        Ok(BackupName { task, stamp: stamp.to_owned() })
    }
}

impl std::fmt::Display for BackupName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.task {
            Some(task) => write!(f, "{task}/{}", self.stamp),
            None => f.write_str(&self.stamp),
        }
    }
}

/// `YYYYMMDD_HHMMSS` in UTC of a number of seconds since 1970.
pub fn stamp(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    format!("{year:04}{month:02}{day:02}_{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// `YYYY-MM-DDTHH:MM:SSZ` of a number of seconds since 1970.
pub fn timestamp(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a number of days since 1970 (Hinnant's days-to-civil).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let month_of_year = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month_of_year <= 2);
    (year, month_of_year, day_of_year - (153 * month + 2) / 5 + 1)
}

/// Eight digits, six digits, and a number where two backups began within a second.
fn is_stamp(text: &str) -> bool {
    let digits = |part: &str, length: std::ops::RangeInclusive<usize>| {
        length.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    match text.split('_').collect::<Vec<_>>().as_slice() {
        [day, time] => digits(day, 8..=8) && digits(time, 6..=6),
        [day, time, number] => digits(day, 8..=8) && digits(time, 6..=6) && digits(number, 1..=5),
        _ => false,
    }
}

pub fn manifest(stamp: &str) -> String {
    format!("manifest_{stamp}.json")
}

/// The stamp of a manifest's final name.
pub fn stamp_of_manifest(file: &str) -> Option<&str> {
    file.strip_prefix("manifest_")?.strip_suffix(".json").filter(|stamp| is_stamp(stamp))
}

/// A table's file: `<base>_<stamp>.csv`, or `<base>_<stamp>.p<part>.csv` for one of several.
pub fn data_file(
    base: &str,
    stamp: &str,
    part: Option<usize>,
    format: Format,
    compression: Compression,
) -> String {
    let part = part.map_or(String::new(), |part| format!(".p{part}"));
    format!("{base}_{stamp}{part}.{}", extension(format, compression))
}

/// What stands for tables in file names, each different from the others: the table's name where
/// one schema has it, else `schema.table`.
pub fn bases(tables: &[(&str, &str)]) -> Vec<String> {
    let mut bases: Vec<String> = Vec::with_capacity(tables.len());
    for (schema, table) in tables {
        let alone = tables.iter().filter(|(_, other)| other == table).count() == 1;
        let mut base = if alone { escaped(table) } else { format!("{}.{}", escaped(schema), escaped(table)) };
        if base.len() > LONGEST_BASE {
            base.truncate(LONGEST_BASE);
        }
        let mut unique = base.clone();
        let mut number = 1;
        while bases.iter().any(|other| other.eq_ignore_ascii_case(&unique)) {
            number += 1;
            unique = format!("{base}~{number}");
        }
        bases.push(unique);
    }
    bases
}

fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(byte as char),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The stamp that a file of a backup has in its name, `.tmp` or not; None for any other file.
pub fn stamp_of(file: &str) -> Option<&str> {
    let file = file.strip_suffix(TEMPORARY).unwrap_or(file);
    let file = file.strip_suffix(".zst").unwrap_or(file);
    let stem = file
        .strip_suffix(".csv")
        .or_else(|| file.strip_suffix(".bin"))
        .or_else(|| file.strip_suffix(".json"))?;
    let stem = match stem.rsplit_once(".p") {
        Some((stem, part)) if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => stem,
    };
    // The short form first: what comes before it may end like a stamp too.
    let underscores: Vec<usize> = stem.match_indices('_').map(|(at, _)| at).collect();
    [2, 3].into_iter().find_map(|parts| {
        let at = underscores.len().checked_sub(parts).map(|index| underscores[index])?;
        Some(&stem[at + 1..]).filter(|stamp| is_stamp(stamp))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a name leads out of the directory, or two tables share a file.
    #[test]
    fn names_of_tables_become_harmless_and_stay_different() {
        let tables = [
            ("public", "docs"),
            ("a", "t"),
            ("b", "t"),
            ("public", "../../etc/passwd"),
            ("public", "a\nb\"ü"),
            ("public", "DOCS"),
        ];
        let bases = bases(&tables);
        assert_eq!(bases[..3], ["docs", "a.t", "b.t"]);
        assert_eq!(bases[3], "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd");
        assert_eq!(bases[4], "a%0Ab%22%C3%BC");
        assert_eq!(bases[5], "DOCS~2");
        for base in bases {
            assert!(!base.contains('/') && !base.starts_with('.'));
        }
    }

    #[test]
    fn tasks_are_letters_digits_and_underscores() {
        for sound in ["a", "Task_1", "_", "0"] {
            assert!(check_task(sound).is_ok(), "{sound}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", "-", "vector_bak", &"a".repeat(129)] {
            assert!(check_task(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn stamps_follow_the_calendar() {
        assert_eq!(stamp(0), "19700101_000000");
        assert_eq!(stamp(951_782_400), "20000229_000000");
        assert_eq!(stamp(4_107_542_399), "21000228_235959");
        assert_eq!(timestamp(1_700_000_000), "2023-11-14T22:13:20Z");
    }

    /// Fear: a file is taken for one of another backup, and swept away with it.
    #[test]
    fn the_stamp_is_found_in_every_file_name() {
        let stamp = "20260102_030405";
        for base in ["docs", "x_20250102_030405", "a.t", "p_1", "x_20250102_030405_7"] {
            for part in [None, Some(12)] {
                let name = data_file(base, stamp, part, Format::Binary, Compression::Zstd);
                assert_eq!(stamp_of(&name), Some(stamp), "{name}");
                assert_eq!(stamp_of(&format!("{name}.tmp")), Some(stamp), "{name}");
                let name = data_file(base, "20260102_030405_2", part, Format::Csv, Compression::None);
                assert_eq!(stamp_of(&name), Some("20260102_030405_2"), "{name}");
            }
        }
        assert_eq!(stamp_of(&manifest(stamp)), Some(stamp));
        for other in ["vector_backup_log.txt", "docs.csv", "notes_20260102.csv", "20260102_030405.csv"] {
            assert_eq!(stamp_of(other), None, "{other}");
        }
    }

    #[test]
    fn names_of_backups_come_back() {
        for name in ["20260102_030405", "task_1/20260102_030405_2"] {
            assert_eq!(BackupName::parse(name).unwrap().to_string(), name);
        }
        for bad in
            ["", "x", "../20260102_030405", "a/b/20260102_030405", "/20260102_030405", "20260102_03040"]
        {
            assert!(BackupName::parse(bad).is_err(), "{bad}");
        }
    }
}
