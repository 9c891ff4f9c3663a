//! The statements that read a version. Each is one query, so one snapshot: the live table and its
//! history agree in it, whoever writes meanwhile.

use super::history::History;
use super::shape::{Column, key_of};
use super::versions;
use crate::error::{Error, Result};
use crate::store::ident::Ident;
use crate::store::sql;

/// A version of a history, ready to be put into a query.
pub struct Version {
    pub history: History,
    pub number: i64,
    pub columns: Vec<Column>,
}

impl Version {
    pub fn new(history: History, number: i64) -> Result<Version> {
        let columns = versions::columns(&history, number)?;
        Ok(Version { history, number, columns })
    }

    fn live_list(&self) -> String {
        self.list(|column| format!("t.{} AS {}", column.ident(), column.h))
    }

    pub fn list(&self, each: impl Fn(&Column) -> String) -> String {
        self.columns.iter().map(each).collect::<Vec<_>>().join(", ")
    }

    /// The rows of the version, columns under the history's names.
    pub fn query(&self) -> String {
        self.query_where("")
    }

    /// `live` is one more condition for live rows.
    fn query_where(&self, live: &str) -> String {
        let history = &self.history.ident;
        let epoch = self.number;
        let kept = format!(
            "SELECT {} FROM {history} h WHERE h.epoch OPERATOR(pg_catalog.>=) {epoch} AND h.present
                AND NOT EXISTS (SELECT FROM {history} e WHERE {} AND e.epoch OPERATOR(pg_catalog.>=) {epoch} AND e.epoch OPERATOR(pg_catalog.<) h.epoch)",
            self.list(|column| format!("h.{0} AS {0}", column.h)),
            same_key(&self.history.key(), "e", "h"),
        );
        match &self.history.relation {
            None => kept,
            Some(relation) => format!(
                "SELECT {} FROM ONLY {} t
                  WHERE NOT EXISTS (SELECT FROM {history} h WHERE {} AND h.epoch OPERATOR(pg_catalog.>=) {epoch}) {live}
                 UNION ALL {kept}",
                self.live_list(),
                relation.ident,
                live_key(&self.history.key(), "h", "t"),
            ),
        }
    }
}

/// `left.a1 = right.a1 AND …`, both of histories.
pub fn same_key(key: &[&Column], left: &str, right: &str) -> String {
    joined(key, |c| format!("{left}.{h} {} {right}.{h}", equality(c), h = c.h))
}

/// `left.a1 = right."id" AND …`: a history's row and a live one.
pub fn live_key(key: &[&Column], left: &str, right: &str) -> String {
    joined(key, |c| format!("{left}.{} {} {right}.{}", c.h, equality(c), c.ident()))
}

fn joined(key: &[&Column], each: impl Fn(&Column) -> String) -> String {
    key.iter().map(|column| each(column)).collect::<Vec<_>>().join(" AND ")
}

fn equality(column: &Column) -> &str {
    column.eq.as_deref().unwrap_or("OPERATOR(pg_catalog.=)")
}

/// The version's rows in the columns of a composite type, by name; columns that the version does not
/// have are NULL.
pub fn as_row_type(version: &Version, row_type: pgrx::pg_sys::Oid) -> Result<String> {
    let wanted: Vec<(String, String)> = sql::query(
        "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod)
           FROM pg_catalog.pg_type y JOIN pg_catalog.pg_attribute a ON a.attrelid = y.typrelid
          WHERE y.oid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        &[row_type.into()],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )?;
    let key = key_of(&version.columns);
    if !key.iter().all(|key| wanted.iter().any(|(name, _)| *name == key.name)) {
        let names: Vec<&str> = key.iter().map(|key| key.name.as_str()).collect();
        return Err(Error::invalid(format!(
            "the row type does not have the key of {}: {}",
            version.history.table,
            names.join(", ")
        ))
        .hint(format!("Give the row type of the table: null::{}.", version.history.table)));
    }
    let list: Vec<String> = wanted
        .iter()
        .map(|(name, sql_type)| match version.columns.iter().find(|column| column.name == *name) {
            Some(column) => format!("q.{}::{sql_type}", column.h),
            None => format!("NULL::{sql_type}"),
        })
        .collect();
    Ok(format!("SELECT {} FROM ({}) q", list.join(", "), version.query()))
}

/// Makes a view over a version. It refuses to be read once the checkpoint is gone, and leaves the
/// live rows alone once the history stands for itself.
pub fn create_view(version: &Version, view: &Ident, id: pgrx::Uuid) -> Result<()> {
    let list = version.list(|column| format!("q.{} AS {}", column.h, column.ident()));
    let rows = version.query_where(&format!("AND ai._checkpoint_attached({})", version.history.id));
    sql::execute_once(&format!(
        "CREATE VIEW {view} AS SELECT {list} FROM ({rows}) q WHERE ai._checkpoint_readable('{id}'::uuid)"
    ))
}

/// True when the query that has called us sees the history as attached to its table.
pub fn attached_for_caller(history: i32) -> Result<bool> {
    sql::exists_for_caller(
        "SELECT FROM ai._checkpoint_history h WHERE h.id OPERATOR(pg_catalog.=) $1 AND NOT h.detached",
        &[history.into()],
    )
}

/// True when the query that has called us sees the checkpoint.
pub fn there_for_caller(id: pgrx::Uuid) -> Result<bool> {
    sql::exists_for_caller(
        "SELECT FROM ai._checkpoint c WHERE c.id OPERATOR(pg_catalog.=) $1 AND c.deleted_at IS NULL",
        &[id.into()],
    )
}

/// Rows and bytes that a history holds for a version and those after it.
pub fn kept(history: &History, number: i64) -> Result<(i64, i64)> {
    let rows = sql::query_one(
        &format!("SELECT count(*) FROM {} WHERE epoch >= $1", history.ident),
        &[number.into()],
        |row| row.value(1),
    )?;
    let bytes = sql::query_one(
        "SELECT pg_catalog.pg_total_relation_size($1::regclass)",
        &[history.oid.into()],
        |row| row.value(1),
    )?;
    Ok((rows.unwrap_or(0), bytes.unwrap_or(0)))
}
