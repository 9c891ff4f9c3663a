//! The manifest: what a backup holds and what its files hash to. Its last act is to vouch for
//! itself: `{"sha256":"…","manifest":{…}}`, byte for byte.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::names::{Compression, Format};
use crate::{Error, Result};

/// Grows when an older program could misread a backup.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    pub backup: String,
    /// Different for every backup ever made.
    pub id: String,
    pub made_by: String,
    pub server: Server,
    /// Seconds since 1970.
    pub started: u64,
    pub started_at: String,
    pub finished_at: String,
    /// Transactions that the backup sees, as `pg_current_snapshot()` writes them.
    pub snapshot: String,
    /// The server's write-ahead log position when the backup began; none on other servers.
    pub lsn: Option<String>,
    pub format: Format,
    pub compression: Compression,
    /// In the order in which they can be loaded: referenced tables first.
    pub tables: Vec<Table>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    pub version: String,
    pub system_identifier: String,
    pub database: String,
    /// The encoding of the files.
    pub encoding: String,
    /// The version of pgvector.
    pub pgvector: Option<String>,
    /// True where `db_connection` led to it.
    pub remote: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    pub rows: u64,
    /// The vectorizer whose store it is.
    pub vectorizer: Option<String>,
    pub files: Vec<DataFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// As `format_type` writes it, with the type modifier.
    pub r#type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
    pub rows: u64,
}

#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    sha256: &'a str,
    #[serde(borrow)]
    manifest: &'a RawValue,
}

impl Manifest {
    /// The contents of the manifest's file.
    pub fn seal(&self) -> Vec<u8> {
        let inner = serde_json::to_string_pretty(self).expect("plain data");
        render(&inner).into_bytes()
    }

    /// Reads a manifest. Errors: it is not exactly what `seal` wrote, or of a later version.
    pub fn open(bytes: &[u8]) -> Result<Manifest> {
        let damaged = |why: &str| Error::Damaged(format!("the manifest {why}"));
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is not text"))?;
        let sealed: Sealed<'_> =
            serde_json::from_str(text).map_err(|error| damaged(&format!("cannot be read: {error}")))?;
        let inner = sealed.manifest.get();
        if hash(inner.as_bytes()) != sealed.sha256 || render(inner) != text {
            return Err(damaged("does not match its own checksum"));
        }
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let found: Versioned =
            serde_json::from_str(inner).map_err(|error| damaged(&format!("has no version: {error}")))?;
        if found.version != VERSION {
            return Err(damaged(&format!("has version {}, not {VERSION}", found.version)));
        }
        serde_json::from_str(inner).map_err(|error| damaged(&format!("cannot be read: {error}")))
    }

    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }

    pub fn files(&self) -> impl Iterator<Item = &DataFile> {
        self.tables.iter().flat_map(|table| &table.files)
    }
}

fn render(inner: &str) -> String {
    format!("{{\"sha256\":\"{}\",\n\"manifest\":{inner}}}\n", hash(inner.as_bytes()))
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn sample(backup: &str, files: Vec<DataFile>) -> Manifest {
        Manifest {
            version: VERSION,
            backup: backup.to_owned(),
            id: "00000000-0000-0000-0000-000000000001".to_owned(),
            made_by: "autovector 0.1.0".to_owned(),
            server: Server {
                version: "15.1".to_owned(),
                system_identifier: "7".to_owned(),
                database: "db".to_owned(),
                encoding: "UTF8".to_owned(),
                pgvector: Some("0.8.0".to_owned()),
                remote: false,
            },
            started: 1_767_323_045,
            started_at: "2026-01-02T03:04:05Z".to_owned(),
            finished_at: "2026-01-02T03:04:06Z".to_owned(),
            snapshot: "1:1:".to_owned(),
            lsn: Some("0/1".to_owned()),
            format: Format::Csv,
            compression: Compression::None,
            tables: vec![Table {
                schema: "public".to_owned(),
                name: "a \"b\"\n".to_owned(),
                columns: vec![Column { name: "id".to_owned(), r#type: "bigint".to_owned() }],
                rows: files.iter().map(|file| file.rows).sum(),
                vectorizer: None,
                files,
            }],
        }
    }

    /// Fear: a manifest that somebody edited, cut or appended to is believed.
    #[test]
    fn every_change_of_a_byte_is_noticed() {
        let manifest = sample("20260102_030405", Vec::new());
        let sealed = manifest.seal();
        assert_eq!(Manifest::open(&sealed).unwrap(), manifest);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(Manifest::open(&changed).is_err(), "byte {at}");
            assert!(Manifest::open(&sealed[..at]).is_err(), "cut at {at}");
        }
        for appended in ["\n", " ", "{}"] {
            assert!(Manifest::open(&[&sealed, appended.as_bytes()].concat()).is_err(), "{appended:?}");
        }
    }

    #[test]
    fn other_versions_are_refused() {
        let mut manifest = sample("20260102_030405", Vec::new());
        manifest.version = VERSION + 1;
        let error = Manifest::open(&manifest.seal()).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }
}
