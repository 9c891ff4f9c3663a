//! The status column of a vectorizer: checked and made after the vectorizer itself, in the same
//! transaction.

use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Vectorizer};
use crate::store::record_status::{self as store, Column, embedding};
use crate::store::roles;
use crate::store::transaction::as_extension_owner;

use super::vectorizers::relevant_columns;

/// Has the vectorizer keep `pending`, `embedded` or `failed` in `column` of its source. One that
/// does so already (`if_not_exists`) is left as it is.
pub fn keep(vectorizer: i32, column: &str) -> Result<()> {
    let v = as_extension_owner(|| catalog::vectorizer(vectorizer))?;
    roles::require_ownership(&v.source)?;
    if as_extension_owner(|| embedding::exists(v.id))? {
        return Ok(());
    }
    let columns = store::describe(v.source.oid)?;
    let mut relevant: Vec<String> = v.key.columns.iter().map(|c| c.source_name.clone()).collect();
    for column in relevant_columns(&v.config)? {
        if !relevant.contains(&column) {
            relevant.push(column);
        }
    }
    if relevant.iter().any(|name| name == column) || v.column.as_deref() == Some(column) {
        return Err(Error::invalid(format!(
            "status column \"{column}\" of {} is part of what is embedded",
            v.source.ident
        ))
        .hint("Give another status_column; one that does not exist is added."));
    }
    if let Some(made) = columns.iter().find(|c| c.generated && relevant.contains(&c.name) && !c.identity) {
        return Err(Error::new(
            Kind::Unsupported,
            format!(
                "column \"{}\" of {} is generated, so its changes cannot be seen in time",
                made.name, v.source.ident
            ),
        )
        .hint("Leave status_column out and use ai.vectorizer_records."));
    }
    let status = match columns.into_iter().find(|c| c.name == column) {
        Some(status) => status,
        None => add(&v, column)?,
    };
    check(&v, &status)?;
    embedding::create(&v, &status, &relevant)
}

fn add(v: &Vectorizer, column: &str) -> Result<Column> {
    store::add_column(&v.source, column, "pg_catalog.text", embedding::STATES[0])?;
    let added = store::describe(v.source.oid)?.into_iter().find(|c| c.name == column);
    added.ok_or_else(|| Error::new(Kind::Internal, "the status column was not added"))
}

fn check(v: &Vectorizer, status: &Column) -> Result<()> {
    let labels = store::labels(status.sql_type)?;
    let missing = embedding::STATES.iter().find(|state| !labels.iter().any(|label| label == *state));
    let fits = if labels.is_empty() { store::is_text(status.sql_type)? } else { missing.is_none() };
    let short = store::length_limit(v.source.oid, status.attnum)?.is_some_and(|limit| limit < 8);
    if fits && !short && !status.generated {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "status column \"{}\" of {} ({}) cannot hold {}",
        status.name,
        v.source.ident,
        status.shown_type,
        embedding::STATES.join(", ")
    ))
    .hint("Use text, or an enum with these values; a column that does not exist is added."))
}
