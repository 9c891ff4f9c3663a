//! The quality check before a swap: do both stores name the same neighbours? Rows that both have
//! are the questions, each store asked with its own vector of the row, so no provider is called.

use std::collections::HashSet;

use autovector_domain::config::Metric;

use crate::error::Result;
use crate::store::catalog::{Pgvector, Vectorizer};
use crate::store::ident::Ident;
use crate::store::key::{Key, columns_of};
use crate::store::sql;
use crate::store::transaction::as_role;

/// Neighbours that are compared, and rows that are asked for.
pub const NEIGHBOURS: usize = 10;
const SAMPLE: i64 = 20;
/// A row may have many chunks, and a neighbour counts once.
const CHUNKS_A_NEIGHBOUR: usize = 4;

/// The share of neighbours that both stores name, and how many rows were asked for.
pub fn measure(old: &Vectorizer, new: &Vectorizer, pgvector: &Pgvector) -> Result<(Option<f64>, i32)> {
    as_role(new.store.owner, || {
        let (mut shares, mut asked) = (0.0, 0);
        for key in sample(old, new)? {
            let a = neighbours(old, pgvector, &key)?;
            let b = neighbours(new, pgvector, &key)?;
            let most = a.len().max(b.len());
            if most > 0 {
                shares += a.intersection(&b).count() as f64 / most as f64;
                asked += 1;
            }
        }
        Ok(((asked > 0).then(|| shares / f64::from(asked)), asked))
    })
}

/// Keys of rows that both stores have, from all over the old one.
fn sample(old: &Vectorizer, new: &Vectorizer) -> Result<Vec<Key>> {
    let width = old.key.width();
    let pairs: Vec<String> = old
        .key
        .columns
        .iter()
        .zip(&new.key.columns)
        .map(|(a, b)| format!("n.{} = o.{}", Ident::new(&b.stored_name), Ident::new(&a.stored_name)))
        .collect();
    sql::query(
        &format!(
            "SELECT {} FROM {} o TABLESAMPLE BERNOULLI ($2)
              WHERE o.chunk_seq = 0 AND EXISTS (SELECT FROM {} n WHERE n.chunk_seq = 0 AND {}) LIMIT $1",
            old.key.stored_texts("o"),
            old.store.ident,
            new.store.ident,
            pairs.join(" AND "),
        ),
        &[SAMPLE.into(), percent(old)?.into()],
        |row| (1..=width).map(|i| row.value::<String>(i)).collect(),
    )
}

/// How many of a hundred rows give a sample with some to spare.
fn percent(v: &Vectorizer) -> Result<f64> {
    let rows: f64 = sql::query_one(
        "SELECT greatest(pg_catalog.pg_relation_size($1::oid) / 8192.0,
                         (SELECT reltuples FROM pg_catalog.pg_class WHERE oid = $1))::float8",
        &[v.store.oid.into()],
        |row| row.value(1),
    )?
    .unwrap_or(0.0);
    Ok((100.0 * 10.0 * SAMPLE as f64 / rows.max(1.0)).clamp(0.001, 100.0))
}

/// The rows nearest to row `key`, without itself.
fn neighbours(v: &Vectorizer, pgvector: &Pgvector, key: &Key) -> Result<HashSet<Key>> {
    let width = v.key.width();
    let operator = match v.config.indexing.metric() {
        Metric::Cosine => "<=>",
        Metric::Ip => "<#>",
        Metric::L1 => "<+>",
        Metric::L2 => "<->",
    };
    let statement = format!(
        "SELECT {} FROM {store} t ORDER BY t.embedding OPERATOR({}.{operator})
           (SELECT q.embedding FROM {store} q JOIN {} u ON {} WHERE q.chunk_seq = 0)
          LIMIT {}",
        v.key.stored_texts("t"),
        pgvector.schema,
        v.key.unnest(1, &[]),
        v.key.stored_matches_unnested("q", "u"),
        (NEIGHBOURS + 1) * CHUNKS_A_NEIGHBOUR,
        store = v.store.ident,
    );
    let args: Vec<_> = columns_of(width, std::iter::once(key)).into_iter().map(Into::into).collect();
    let mut found: Vec<Key> = Vec::new();
    for near in sql::query(&statement, &args, |row| {
        (1..=width).map(|i| row.value::<String>(i)).collect::<Result<Key>>()
    })? {
        if near != *key && !found.contains(&near) {
            found.push(near);
        }
    }
    found.truncate(NEIGHBOURS);
    Ok(found.into_iter().collect())
}
