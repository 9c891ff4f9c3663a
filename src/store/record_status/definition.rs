//! The rows that make rules: written when a rule is created, deleted when it ends; and what
//! the catalogs say of the tables before there is one.

use pgrx::{JsonB, pg_sys};
use serde_json::{Value, json};

use super::super::catalog::Relation;
use super::super::sql;
use super::column::Column;
use crate::error::Result;

/// The columns that a rule stands on.
pub struct Columns<'a> {
    pub records: &'a Relation,
    pub responses: &'a Relation,
    /// Pairs: of the records, of the responses.
    pub key: &'a [(Column, Column)],
    pub status: &'a Column,
    pub response_status: Option<&'a Column>,
    /// The responses' table by name, and its columns: what an expression may name.
    pub alias: &'a str,
    pub expression: &'a [Column],
}

impl Columns<'_> {
    fn to_json(&self) -> Value {
        json!({
            "records": self.records.oid.to_u32(),
            "responses": self.responses.oid.to_u32(),
            "key": self.key.iter()
                .map(|(record, response)| json!({"record": record.to_json(), "response": response.to_json()}))
                .collect::<Vec<_>>(),
            "status": self.status.to_json(),
            "response_status": self.response_status.map(Column::to_json),
            "alias": self.alias,
            "expression": self.expression.iter().map(Column::to_json).collect::<Vec<_>>(),
        })
    }
}

pub struct Definition<'a> {
    pub id: i32,
    pub columns: Columns<'a>,
    pub submitted_value: &'a str,
    pub completed_value: &'a str,
    pub pending_value: &'a str,
    pub min_submitted: i32,
    pub mode: &'a str,
    pub status_expression: Option<&'a str>,
    pub search_path: &'a str,
    pub notify_channel: Option<&'a str>,
    pub created_by: &'a str,
}

pub fn next_id() -> Result<i32> {
    let id =
        sql::query_one("SELECT nextval('ai._record_status_rule_id_seq')::int4", &[], |row| row.value(1))?;
    Ok(id.expect("a sequence has a next value"))
}

pub fn insert(new: &Definition<'_>) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._record_status_rule
           (id, records, responses, columns, submitted_value, completed_value, pending_value, min_submitted, mode,
            status_expression, search_path, notify_channel, created_by)
         VALUES ($1, $2::regclass, $3::regclass, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::name)",
        &[
            new.id.into(),
            new.columns.records.oid.into(),
            new.columns.responses.oid.into(),
            JsonB(new.columns.to_json()).into(),
            new.submitted_value.into(),
            new.completed_value.into(),
            new.pending_value.into(),
            new.min_submitted.into(),
            new.mode.into(),
            new.status_expression.into(),
            new.search_path.into(),
            new.notify_channel.into(),
            new.created_by.into(),
        ],
    )?;
    Ok(())
}

pub fn delete(id: i32) -> Result<()> {
    sql::execute("DELETE FROM ai._record_status_rule WHERE id = $1", &[id.into()])?;
    Ok(())
}

/// Every record is as it should be: nothing is left to complain about.
pub fn clear_errors(id: i32) -> Result<()> {
    sql::execute("DELETE FROM ai._record_status_error WHERE rule_id = $1", &[id.into()])?;
    Ok(())
}

/// Ids of all rules, in order.
pub fn ids() -> Result<Vec<i32>> {
    sql::query("SELECT id FROM ai._record_status_rule ORDER BY id", &[], |row| row.value(1))
}

/// The rule of a table of records.
pub fn id_of(records: pg_sys::Oid) -> Result<Option<i32>> {
    sql::query_one(
        "SELECT id FROM ai._record_status_rule WHERE records = $1::regclass",
        &[records.into()],
        |row| row.value(1),
    )
}

pub fn set_min_submitted(id: i32, min_submitted: i32) -> Result<()> {
    sql::execute_latest(
        "UPDATE ai._record_status_rule SET min_submitted = $2 WHERE id = $1",
        &[id.into(), min_submitted.into()],
    )
}

/// A foreign key of the responses to the records: pairs of column numbers, and whether it is
/// always in force.
pub struct ForeignKey {
    pub responses: Vec<i16>,
    pub records: Vec<i16>,
    pub guards: bool,
}

/// The foreign keys from `responses` to `records` that have the column `attnum`, one for each
/// set of columns, those first that are always in force.
pub fn foreign_keys(responses: pg_sys::Oid, records: pg_sys::Oid, attnum: i16) -> Result<Vec<ForeignKey>> {
    sql::query(
        "SELECT DISTINCT ON (conkey, confkey) conkey, confkey, NOT condeferrable AND convalidated
           FROM pg_catalog.pg_constraint
          WHERE contype = 'f' AND conrelid = $1 AND confrelid = $2 AND $3 = ANY (conkey)
          ORDER BY conkey, confkey, (NOT condeferrable AND convalidated) DESC",
        &[responses.into(), records.into(), attnum.into()],
        |row| Ok(ForeignKey { responses: row.value(1)?, records: row.value(2)?, guards: row.value(3)? }),
    )
}

/// The labels of an enum, in order; none for other types. Domains count as what they are over.
pub fn labels(sql_type: pg_sys::Oid) -> Result<Vec<String>> {
    // SAFETY: a look-up in the type cache.
    let base = unsafe { pg_sys::getBaseType(sql_type) };
    sql::query(
        "SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = $1 ORDER BY enumsortorder",
        &[base.into()],
        |row| row.value(1),
    )
}

/// True for types of PostgreSQL's string category: text, varchar, citext and their like.
pub fn is_text(sql_type: pg_sys::Oid) -> Result<bool> {
    Ok(sql::query_one(
        "SELECT typcategory = 'S' FROM pg_catalog.pg_type WHERE oid = $1",
        &[sql_type.into()],
        |row| row.value::<bool>(1),
    )?
    .unwrap_or(false))
}

/// The characters that a column of text may hold; None without a limit.
pub fn length_limit(relation: pg_sys::Oid, attnum: i16) -> Result<Option<i32>> {
    sql::query_one(
        "SELECT nullif(atttypmod, -1) - 4 FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attnum = $2 AND atttypid IN ('varchar'::regtype, 'bpchar'::regtype)",
        &[relation.into(), attnum.into()],
        |row| row.get::<i32>(1),
    )
    .map(Option::flatten)
}

/// The type as SQL text and as people write it, None when there is none.
pub fn type_names(sql_type: pg_sys::Oid) -> Result<Option<(String, String)>> {
    sql::query_one(
        "SELECT pg_catalog.format('%I.%I', n.nspname, t.typname), pg_catalog.format_type(t.oid, NULL)
           FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = $1",
        &[sql_type.into()],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )
}

/// True where an index can find the responses of one record: its first columns are the key's.
pub fn has_index(responses: pg_sys::Oid, key: &[i16]) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (
           SELECT FROM pg_catalog.pg_index i
            WHERE i.indrelid = $1 AND i.indisvalid
              AND (SELECT array_agg(k.a) FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(a, n)
                    WHERE k.n <= cardinality($2::int2[])) @> $2::int2[])",
        &[responses.into(), key.to_vec().into()],
        |row| row.value::<bool>(1),
    )?;
    Ok(found.unwrap_or(false))
}

pub fn is_partition(relation: pg_sys::Oid) -> Result<bool> {
    // SAFETY: a look-up in the relation cache.
    Ok(unsafe { pg_sys::get_rel_relispartition(relation) })
}
