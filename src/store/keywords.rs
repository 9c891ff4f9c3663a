//! Full-text queries over the chunks of a store, served by a GIN index on their words.

use pgrx::datum::DatumWithOid;
use pgrx::spi::quote_literal;

use super::catalog::Vectorizer;
use super::filter::Condition;
use super::ident::Ident;
use super::nearest::{Found, Shape};
use super::sql;
use super::transaction::with_settings;
use crate::error::Result;

/// Which chunks a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// Those that have them all; quotes, `or` and `-` as in web searches.
    All,
    /// Those that have any of them.
    Any,
}

/// What was decided for a vectorizer.
pub struct Chosen {
    /// Qualified by its schema where it is not PostgreSQL's own.
    pub configuration: String,
    /// Whether the words get an index.
    pub indexed: bool,
}

pub fn chosen(v: &Vectorizer) -> Result<Option<Chosen>> {
    sql::query_one(
        "SELECT configuration, indexed FROM ai._text_search WHERE vectorizer_id = $1",
        &[v.id.into()],
        |row| Ok(Chosen { configuration: row.value(1)?, indexed: row.value(2)? }),
    )
}

/// The text-search configuration of `v`: what was decided, else the session's default.
pub fn configuration(v: &Vectorizer) -> Result<String> {
    if let Some(chosen) = chosen(v)? {
        return Ok(chosen.configuration);
    }
    let current = sql::query_one("SELECT pg_catalog.get_current_ts_config()::text", &[], |row| row.value(1))?;
    Ok(current.expect("a SELECT without FROM returns a row"))
}

/// The full name of a text-search configuration; an unknown one is an error.
pub fn resolve(name: &str) -> Result<String> {
    let found =
        sql::query_one("SELECT ($1::text)::pg_catalog.regconfig::text", &[name.into()], |row| row.value(1))?;
    Ok(found.expect("a SELECT without FROM returns a row"))
}

/// Decides on a configuration where nobody has yet: from now on every session searches with it.
pub fn settle(vectorizer: i32, configuration: &str) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._text_search (vectorizer_id, configuration) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[vectorizer.into(), configuration.into()],
    )?;
    Ok(())
}

/// Decides on a configuration and on whether the words get an index.
pub fn choose(vectorizer: i32, configuration: &str, indexed: bool) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._text_search (vectorizer_id, configuration, indexed) VALUES ($1, $2, $3)
         ON CONFLICT (vectorizer_id) DO UPDATE SET configuration = excluded.configuration, indexed = excluded.indexed",
        &[vectorizer.into(), configuration.into(), indexed.into()],
    )?;
    Ok(())
}

/// The words of a chunk, as the index has them; `alias` names the table where one is needed.
pub fn document(v: &Vectorizer, configuration: &str, alias: Option<&str>) -> String {
    let prefix = alias.map_or(String::new(), |alias| format!("{alias}."));
    let text = match &v.column {
        None => format!("{prefix}chunk"),
        Some(_) => format!("({prefix}{})::text", Ident::new(&v.config.loading.column_name)),
    };
    format!("pg_catalog.to_tsvector({}::pg_catalog.regconfig, {text})", quote_literal(configuration))
}

/// The statement that finds the best `k` chunks among the first `candidates` that match; `$1` is
/// the query, the filter's parameters follow.
pub fn statement(
    v: &Vectorizer,
    configuration: &str,
    words: Words,
    filter: &Condition,
    k: i32,
    candidates: i32,
) -> String {
    let shape = Shape::new(v, filter);
    let regconfig = format!("{}::pg_catalog.regconfig", quote_literal(configuration));
    let query = match words {
        Words::All => format!("pg_catalog.websearch_to_tsquery({regconfig}, $1)"),
        // In the text of a query words stand in quotes and without blanks: only operators change.
        Words::Any => format!(
            "pg_catalog.replace(pg_catalog.plainto_tsquery({regconfig}, $1)::text, ' & ', ' | ')::pg_catalog.tsquery"
        ),
    };
    let document = document(v, configuration, Some("t"));
    format!(
        "SELECT f.key, f.seq, f.chunk,
                pg_catalog.ts_rank(pg_catalog.to_tsvector({regconfig}, f.chunk), {query}, 1)::float8 AS score
           FROM (SELECT {} AS key, {} AS seq, {} AS chunk FROM {}
                  WHERE {document} OPERATOR(pg_catalog.@@) {query}{} LIMIT {candidates}) f
          ORDER BY score DESC, f.key, f.seq LIMIT {k}",
        shape.key, shape.seq, shape.chunk, shape.from, shape.condition,
    )
}

/// The best `k` chunks for the words of `query`, with the rights of the caller, best first.
pub fn find(
    v: &Vectorizer,
    configuration: &str,
    (query, words): (&str, Words),
    filter: &Condition,
    k: i32,
    candidates: i32,
) -> Result<Vec<Found>> {
    let statement = statement(v, configuration, words, filter, k, candidates);
    let mut args: Vec<DatumWithOid> = vec![query.into()];
    args.extend(filter.args());
    // The planner prices an unknown query by a guess that favours the index; with a filter it has
    // to know the values.
    let plan = if filter.is_empty() { "auto" } else { "force_custom_plan" };
    // And it takes making words for cheap, which is dearer than any index.
    let settings = [("plan_cache_mode", plan.to_owned()), ("enable_seqscan", "off".to_owned())];
    with_settings(&settings, || {
        sql::query(&statement, &args, |row| {
            Ok(Found {
                key: row.value(1)?,
                chunk_seq: row.value(2)?,
                chunk: row.get(3)?,
                score: row.value(4)?,
            })
        })
    })
}
