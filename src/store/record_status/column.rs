//! Columns as a rule stands on them, and the operators that compare their values.

use pgrx::pg_sys;
use serde_json::{Value, json};

use super::super::sql;
use crate::error::Result;

/// A column of a table, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub attnum: i16,
    pub name: String,
    pub sql_type: pg_sys::Oid,
    /// The type as SQL text, always qualified by its schema, without a length.
    pub type_sql: String,
    /// The type as people write it.
    pub shown_type: String,
    /// Its value cannot be written: generated, or an identity.
    pub generated: bool,
    pub identity: bool,
}

impl Column {
    /// How a rule remembers the column.
    pub fn to_json(&self) -> Value {
        json!({ "attnum": self.attnum, "name": self.name })
    }
}

/// Every column of a relation.
pub fn describe(relation: pg_sys::Oid) -> Result<Vec<Column>> {
    sql::query(
        "SELECT a.attnum, a.attname::text, a.atttypid, pg_catalog.format('%I.%I', n.nspname, t.typname),
                pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> '' OR a.attidentity <> '', a.attidentity <> ''
           FROM pg_catalog.pg_attribute a
           JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
           JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        &[relation.into()],
        |row| {
            Ok(Column {
                attnum: row.value(1)?,
                name: row.value(2)?,
                sql_type: row.value(3)?,
                type_sql: row.value(4)?,
                shown_type: row.value(5)?,
                generated: row.value(6)?,
                identity: row.value(7)?,
            })
        },
    )
}

/// Finds a remembered column. `same` says that the table is the one that the rule was made for:
/// then the number counts, which survives a renaming. After a restore the name does.
pub fn find(columns: &[Column], remembered: &Value, same: bool) -> Option<Column> {
    let attnum = remembered.get("attnum")?.as_i64()?;
    let name = remembered.get("name")?.as_str()?;
    let by_name = || columns.iter().find(|c| c.name == name);
    let by_number = || columns.iter().find(|c| i64::from(c.attnum) == attnum);
    let found = if same { by_number() } else { by_name() };
    found.cloned()
}

/// The operator, as SQL text, under which a unique index on `left` compares its values with
/// those of `right`. None where the types cannot be compared.
pub fn equality(left: pg_sys::Oid, right: pg_sys::Oid) -> Result<Option<String>> {
    let Some(operator) = equality_operator(left, right) else { return Ok(None) };
    sql::query_one(
        "SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
           FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid = $1",
        &[operator.into()],
        |row| row.value(1),
    )
}

/// `BTEqualStrategyNumber` of access/stratnum.h.
const EQUAL: i16 = 3;

fn equality_operator(left: pg_sys::Oid, right: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let valid = |oid: pg_sys::Oid| (oid != pg_sys::Oid::INVALID).then_some(oid);
    // SAFETY: look-ups in system caches, by oids of types that columns have.
    unsafe {
        let btree = pg_sys::BTREE_AM_OID;
        let (left, right) = (pg_sys::getBaseType(left), pg_sys::getBaseType(right));
        let class = valid(pg_sys::GetDefaultOpClass(left, btree))?;
        let family = pg_sys::get_opclass_family(class);
        let input = pg_sys::get_opclass_input_type(class);
        if left == right {
            return valid(pg_sys::get_opfamily_member(family, input, input, EQUAL));
        }
        let other = valid(pg_sys::GetDefaultOpClass(right, btree))?;
        let other_input = pg_sys::get_opclass_input_type(other);
        if input == other_input && is_polymorphic(input) {
            return None;
        }
        valid(pg_sys::get_opfamily_member(family, input, other_input, EQUAL))
    }
}

/// Operators of `anyarray` and its like compare values of one type only.
fn is_polymorphic(sql_type: pg_sys::Oid) -> bool {
    [pg_sys::ANYARRAYOID, pg_sys::ANYENUMOID, pg_sys::ANYRANGEOID, pg_sys::RECORDOID].contains(&sql_type)
}

/// True where values of the two columns can be compared.
pub fn comparable(left: &Column, right: &Column) -> Result<bool> {
    Ok(equality(left.sql_type, right.sql_type)?.is_some())
}
