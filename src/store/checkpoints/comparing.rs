//! Differences between two versions, and checksums.

use pgrx::JsonB;

use super::reading::{Version, live_key, same_key};
use super::shape::{Column, key_of};
use crate::error::{Error, Kind, Result};
use crate::store::sql;

/// One key that two versions do not have alike.
pub struct Difference {
    pub key: JsonB,
    pub change: String,
}

/// The keys in which `a` and `b` differ; `b` None: the live table. Where both stand in one history,
/// only keys that changed between them are looked at.
pub fn differences(a: &Version, b: Option<&Version>) -> Result<Vec<Difference>> {
    let statement = match b {
        Some(b) if b.history.id != a.history.id => wholly(a, b)?,
        Some(b) if b.number < a.number => return differences(b, Some(a)).map(reversed),
        b => within(a, b)?,
    };
    sql::query(&statement, &[], |row| Ok(Difference { key: row.value(1)?, change: row.value(2)? }))
}

fn reversed(differences: Vec<Difference>) -> Vec<Difference> {
    let opposite = |change: String| match change.as_str() {
        "added" => "removed".to_owned(),
        "removed" => "added".to_owned(),
        _ => change,
    };
    differences.into_iter().map(|d| Difference { key: d.key, change: opposite(d.change) }).collect()
}

/// `a` is the older one. A key that has no entry between the two versions is the same in both.
fn within(a: &Version, b: Option<&Version>) -> Result<String> {
    let history = &a.history.ident;
    let key = a.history.key();
    let keys: Vec<&str> = key.iter().map(|column| column.h.as_str()).collect();
    let keys = keys.join(", ");
    let upto = b.map_or(String::new(), |b| format!("AND h.epoch < {}", b.number));
    // Columns that only the younger one has are not compared.
    let entry = |number: Option<i64>| match number {
        Some(number) => format!(
            "(SELECT h.* FROM {history} h WHERE {} AND h.epoch >= {number} ORDER BY h.epoch LIMIT 1)",
            same_key(&key, "h", "k")
        ),
        None => format!("(SELECT h.* FROM {history} h WHERE false)"),
    };
    let row = |alias: &str, of: fn(&Column) -> String| a.list(|column| format!("{alias}.{}", of(column)));
    let kept = |column: &Column| column.h.clone();
    let live = |column: &Column| format!("{}::{}", column.ident(), column.type_sql);
    let (join, live_row, is_live) = match &a.history.relation {
        Some(relation) => (
            format!("LEFT JOIN ONLY {} t ON {}", relation.ident, live_key(&key, "k", "t")),
            row("t", live),
            format!("t.{} IS NOT NULL", key[0].ident()),
        ),
        None => (String::new(), "NULL".to_owned(), "false".to_owned()),
    };
    if b.is_none() {
        a.history.live()?;
    }
    let shown = |alias: &str| {
        let pairs: Vec<String> = key
            .iter()
            .map(|column| format!("{}, {alias}.{}", pgrx::spi::quote_literal(&column.name), column.h))
            .collect();
        format!("jsonb_build_object({})", pairs.join(", "))
    };
    let state = |alias: &str| {
        format!(
            "CASE WHEN {alias}.epoch IS NOT NULL THEN {alias}.present ELSE {is_live} END AS {alias}_present,
             CASE WHEN {alias}.epoch IS NOT NULL THEN ROW({}) ELSE ROW({live_row}) END AS {alias}_row",
            row(alias, kept)
        )
    };
    Ok(format!(
        "SELECT d.key, CASE WHEN NOT d.a_present THEN 'added' WHEN NOT d.b_present THEN 'removed' ELSE 'changed' END
           FROM (SELECT {} AS key, {}, {}
                   FROM (SELECT DISTINCT {keys} FROM {history} h WHERE h.epoch >= {} {upto}) k
                   LEFT JOIN LATERAL {} a ON true LEFT JOIN LATERAL {} b ON true {join}) d
          WHERE d.a_present <> d.b_present OR d.a_present AND d.a_row *<> d.b_row
          ORDER BY 1",
        shown("k"),
        state("a"),
        state("b"),
        a.number,
        entry(Some(a.number)),
        entry(b.map(|b| b.number)),
    ))
}

/// Versions of two histories, of one table before and after it was detached: all rows are compared.
fn wholly(a: &Version, b: &Version) -> Result<String> {
    let (key_a, key_b) = (key_of(&a.columns), key_of(&b.columns));
    let same = key_a.len() == key_b.len()
        && key_a.iter().zip(&key_b).all(|(a, b)| a.name == b.name && a.type_sql == b.type_sql);
    if !same || a.history.table != b.history.table {
        return Err(Error::new(
            Kind::WrongState,
            format!("{} and {} have not the same key", a.history.table, b.history.table),
        )
        .hint("Compare checkpoints of one table."));
    }
    let pairs: Vec<(&Column, &Column)> = a
        .columns
        .iter()
        .filter_map(|x| Some((x, b.columns.iter().find(|y| y.name == x.name && y.type_sql == x.type_sql)?)))
        .collect();
    let list = |alias: &str, of: fn(&(&Column, &Column)) -> String| {
        pairs.iter().map(|pair| format!("{alias}.{}", of(pair))).collect::<Vec<_>>().join(", ")
    };
    let on: Vec<String> = key_a
        .iter()
        .zip(&key_b)
        .map(|(x, y)| format!("a.{} {} b.{}", x.h, x.eq.as_deref().unwrap_or("OPERATOR(pg_catalog.=)"), y.h))
        .collect();
    let shown: Vec<String> = key_a
        .iter()
        .zip(&key_b)
        .map(|(x, y)| format!("{}, coalesce(a.{}, b.{})", pgrx::spi::quote_literal(&x.name), x.h, y.h))
        .collect();
    Ok(format!(
        "SELECT jsonb_build_object({}), CASE WHEN a.{first_a} IS NULL THEN 'added' WHEN b.{first_b} IS NULL THEN 'removed' ELSE 'changed' END
           FROM ({}) a FULL JOIN ({}) b ON {}
          WHERE a.{first_a} IS NULL OR b.{first_b} IS NULL OR ROW({})::record *<> ROW({})::record
          ORDER BY 1",
        shown.join(", "),
        a.query(),
        b.query(),
        on.join(" AND "),
        list("a", |pair| pair.0.h.clone()),
        list("b", |pair| pair.1.h.clone()),
        first_a = key_a[0].h,
        first_b = key_b[0].h,
    ))
}

/// The number of rows and a checksum that does not depend on their order: the sum of half a sha256
/// of each row. Values are taken in their binary form, so no setting of the session counts.
pub fn checksum(version: &Version) -> Result<(i64, String)> {
    let values: Vec<String> = version
        .columns
        .iter()
        .map(|column| {
            Ok(format!("coalesce(int4send(octet_length(x.{h})) || x.{h}, '\\xffffffff')", h = column.h))
        })
        .collect::<Result<_>>()?;
    let sent: Vec<String> = version
        .columns
        .iter()
        .map(|column| Ok(format!("{} AS {}", binary(column)?, column.h)))
        .collect::<Result<_>>()?;
    sql::query_one(
        &format!(
            "SELECT count(*), coalesce(sum(('x' || encode(substr(sha256({}), 1, 8), 'hex'))::bit(64)::int8::numeric), 0)::text
               FROM (SELECT {} FROM ({}) q) x",
            values.join(" || "),
            sent.join(", "),
            version.query()
        ),
        &[],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )?
    .ok_or_else(|| Error::new(Kind::Internal, "an aggregate returned no row"))
}

/// A column's value as bytes: by the send function of its type, where there is one.
fn binary(column: &Column) -> Result<String> {
    let send = sql::query_one(
        "SELECT format('%I.%I', n.nspname, p.proname) FROM pg_catalog.pg_type t
           JOIN pg_catalog.pg_proc p ON p.oid = t.typsend JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
          WHERE t.oid = to_regtype($1)::oid",
        &[column.type_sql.as_str().into()],
        |row| row.value::<String>(1),
    )?;
    Ok(match send {
        Some(send) => format!("{send}(q.{})", column.h),
        None => format!("convert_to(q.{}::text, 'UTF8')", column.h),
    })
}
