//! Reading versions: as rows, as a view.

use pgrx::{Uuid, pg_sys};

use super::manage::owned;
use crate::error::{Error, Kind, Result};
use crate::store::checkpoints::history;
use crate::store::checkpoints::named::{self, Checkpoint, Hold};
use crate::store::checkpoints::reading::{self, Version};
use crate::store::transaction::as_extension_owner;
use crate::store::{locks, roles};

pub fn version(id: Uuid, hold: Hold) -> Result<Version> {
    let checkpoint = owned(id, hold)?;
    version_of(&checkpoint)
}

/// The version of a checkpoint, whose history stays attached, or detached, to the end of the
/// transaction: who detaches it has the table to himself.
pub fn version_of(checkpoint: &Checkpoint) -> Result<Version> {
    as_extension_owner(|| {
        let (mut history, mut number) = checkpoint.main()?;
        if let Some(relation) = &history.relation {
            locks::read_table(relation.oid);
            (history, number) = checkpoint.main()?;
        }
        Version::new(history, number)
    })
}

/// The query that reads a version as rows of a type.
pub fn query(id: Uuid, row_type: pg_sys::Oid) -> Result<String> {
    let version = version(id, Hold::No)?;
    as_extension_owner(|| {
        // The rows will be those that the caller's query sees; what was found here may be newer.
        let attached = reading::attached_for_caller(version.history.id)?;
        if !reading::there_for_caller(id)? || attached != version.history.relation.is_some() {
            return Err(changed_meanwhile(id));
        }
        reading::as_row_type(&version, row_type)
    })
}

fn changed_meanwhile(id: Uuid) -> Error {
    Error::new(Kind::WrongState, format!("checkpoint {id} was made or detached while the statement ran"))
        .hint("Run the statement again.")
}

/// True as long as the checkpoint may be read; otherwise an error. For views.
pub fn readable(id: Uuid) -> Result<bool> {
    as_extension_owner(|| {
        named::live(id, Hold::No)?;
        if reading::there_for_caller(id)? { Ok(true) } else { Err(changed_meanwhile(id)) }
    })
}

/// True as long as a version is read from live rows too. For views.
pub fn attached(history: i32) -> Result<bool> {
    as_extension_owner(|| reading::attached_for_caller(history))
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

/// The name of a vectorizer that is given by its id.
pub fn target(vectorizer: i32) -> Result<String> {
    as_extension_owner(|| named::vectorizer(vectorizer)).map(|v| v.name)
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
