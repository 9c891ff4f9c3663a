//! A look at some rows of a source, without claiming them.

use pgrx::JsonB;
use pgrx::datum::DatumWithOid;

use super::catalog::Vectorizer;
use super::ident::Ident;
use super::sql;
use super::transaction::as_role;
use crate::error::Result;

/// So many rows are read, and so many bytes of text as they are stored.
const ROWS: i64 = 300;
const BYTES: i64 = 8 * 1024 * 1024;
/// A table of more rows is not read from its beginning but here and there.
const SPREAD_FROM: i64 = 3_000;

/// Text and template columns of a row.
pub struct SampledRow {
    pub text: Option<String>,
    pub columns: Vec<Option<String>>,
}

/// Some rows of the source, which has about `rows`. With the rights of its owner.
pub fn rows(v: &Vectorizer, template_columns: &[String], rows: i64) -> Result<Vec<SampledRow>> {
    if rows > SPREAD_FROM {
        // Twice as much as is needed: pages are full of rows or not.
        let percent = (200.0 * ROWS as f64 / rows as f64).min(100.0);
        let sampled = read(v, template_columns, &format!("TABLESAMPLE SYSTEM ({percent})"))?;
        if sampled.len() as i64 >= ROWS / 4 {
            return Ok(sampled);
        }
    }
    read(v, template_columns, "")
}

fn read(v: &Vectorizer, template_columns: &[String], sampling: &str) -> Result<Vec<SampledRow>> {
    let mut inner = format!("s.{} AS body", Ident::new(&v.config.loading.column_name));
    let mut outer = "r.body::text".to_owned();
    for (i, column) in template_columns.iter().enumerate() {
        inner.push_str(&format!(", s.{} AS c{i}", Ident::new(column)));
        outer.push_str(&format!(", r.c{i}::text"));
    }
    let statement = format!(
        "SELECT {outer} FROM
           (SELECT p.*, sum(coalesce(pg_column_size(p.body), 0)) OVER (ROWS UNBOUNDED PRECEDING)
                      - coalesce(pg_column_size(p.body), 0) AS before
              FROM (SELECT {inner} FROM {} s {sampling} LIMIT $1) p) r
          WHERE r.before < $2",
        v.source.scan(),
    );
    let args: [DatumWithOid; 2] = [ROWS.into(), BYTES.into()];
    as_role(v.source.owner, || {
        sql::query(&statement, &args, |row| {
            let columns = (0..template_columns.len()).map(|i| row.get(i + 2)).collect::<Result<_>>()?;
            Ok(SampledRow { text: row.get(1)?, columns })
        })
    })
}

/// Tokens in the busiest minute of the last day, of all vectorizers with this embedding; None where
/// there was none worth speaking of.
pub fn tokens_per_minute(v: &Vectorizer) -> Result<Option<i64>> {
    sql::query_one(
        "SELECT max(a.tokens) FROM ai._vectorizer_activity a JOIN ai.vectorizer o ON o.id = a.vectorizer_id
          WHERE o.config -> 'embedding' = (SELECT config -> 'embedding' FROM ai.vectorizer WHERE id = $1)
            AND a.tokens >= 10000 AND a.minute > clock_timestamp() - interval '1 day'",
        &[v.id.into()],
        |row| row.get(1),
    )
    .map(Option::flatten)
}

/// The first rows of the source by their key, with it. With the rights of the caller, whose
/// policies count.
pub fn first_rows(
    v: &Vectorizer,
    template_columns: &[String],
    rows: i32,
) -> Result<Vec<(JsonB, SampledRow)>> {
    let columns: String =
        template_columns.iter().map(|column| format!(", s.{}::text", Ident::new(column))).collect();
    let statement = format!(
        "SELECT {}, s.{}::text{columns} FROM {} s ORDER BY {} LIMIT $1",
        v.key.source_json("s"),
        Ident::new(&v.config.loading.column_name),
        v.source.scan(),
        v.key.source_list("s"),
    );
    sql::query(&statement, &[rows.into()], |row| {
        let columns = (0..template_columns.len()).map(|i| row.get(i + 3)).collect::<Result<_>>()?;
        Ok((row.value(1)?, SampledRow { text: row.get(2)?, columns }))
    })
}
