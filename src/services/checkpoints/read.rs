//! Reading versions: as rows, as a view.

use pgrx::{Uuid, pg_sys};

use super::manage::owned;
use crate::error::Result;
use crate::store::checkpoints::history;
use crate::store::checkpoints::named::{self, Hold};
use crate::store::checkpoints::reading::{self, Version};
use crate::store::roles;
use crate::store::transaction::as_extension_owner;

pub fn version(id: Uuid, hold: Hold) -> Result<Version> {
    let checkpoint = owned(id, hold)?;
    as_extension_owner(|| {
        let (history, number) = checkpoint.main()?;
        Version::new(history, number)
    })
}

/// The query that reads a version as rows of a type.
pub fn query(id: Uuid, row_type: pg_sys::Oid) -> Result<String> {
    let version = version(id, Hold::No)?;
    as_extension_owner(|| reading::as_row_type(&version, row_type))
}

/// True as long as the checkpoint may be read; otherwise an error. For views.
pub fn readable(id: Uuid) -> Result<bool> {
    as_extension_owner(|| named::live(id, Hold::No)).map(|_| true)
}

/// Makes a view over the version.
pub fn checkout(id: Uuid, view: &str, schema: Option<&str>) -> Result<String> {
    let version = version(id, Hold::Share)?;
    let view = roles::new_relation(view, schema)?;
    reading::create_view(&version, &view, id)?;
    Ok(view.to_string())
}

/// Rows and bytes kept for the version; None for a history that is gone.
pub fn kept(history: i32, number: i64) -> Result<Option<(i64, i64)>> {
    as_extension_owner(|| match history::load(history)? {
        Some(history) => reading::kept(&history, number).map(Some),
        None => Ok(None),
    })
}

/// The table that a target's text names; None for a table that is gone and has checkpoints still.
pub fn relation(text: &str, table: Option<pg_sys::Oid>) -> Result<Option<pg_sys::Oid>> {
    as_extension_owner(|| match named::target(text, table) {
        Ok(named::Target::Table(oid)) => Ok(Some(oid)),
        Ok(named::Target::Vectorizer(id)) => Ok(Some(named::vectorizer(id)?.store.oid)),
        Err(_) if named::is_known_target(text)? => Ok(None),
        Err(error) => Err(error),
    })
}

/// The checkpoint of a text; an error when there is none.
pub fn id_of(text: &str) -> Result<Uuid> {
    as_extension_owner(|| match named::find(text)? {
        Some(id) => Ok(id),
        None => Err(named::unknown(&format!("\"{text}\""))?),
    })
}

/// As `id_of`, but None when there is none.
pub fn find(text: &str) -> Result<Option<Uuid>> {
    as_extension_owner(|| named::find(text))
}
