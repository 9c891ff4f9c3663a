//! Vectors that vectorizers of one owner share, by the hash of what they depend on. No text is kept
//! here, and nobody but the owner of the extension may read it: a hash also holds who pays and
//! where the vector comes from, so that nobody is served by what another put in, nor learns from
//! his own savings what others have embedded.

use std::collections::HashMap;

use autovector_domain::pipeline::{ContentHash, scoped};

use super::catalog::Vectorizer;
use super::{roles, sql};
use crate::error::Result;

/// So many go at a time when there are too many.
const EVICTED_AT_ONCE: i64 = 20_000;

/// Whose vectors, and from where: the part of the configuration that the content hash leaves out.
fn scope(v: &Vectorizer) -> Result<String> {
    let place = v.config.embedding.to_json();
    let place = place.get("base_url").and_then(|url| url.as_str()).unwrap_or_default().to_owned();
    Ok(format!("{} {place}", roles::name_by_oid(v.source.owner)?))
}

/// The vectors that are known of these hashes.
pub fn recall(v: &Vectorizer, hashes: &[ContentHash]) -> Result<HashMap<ContentHash, Vec<f32>>> {
    let scope = scope(v)?;
    let by_key: HashMap<ContentHash, ContentHash> =
        hashes.iter().map(|hash| (scoped(hash, &scope), *hash)).collect();
    let keys: Vec<Vec<u8>> = by_key.keys().map(|key| key.to_vec()).collect();
    let dimensions = v.config.embedding.dimensions().unwrap_or_default() as usize;
    let found = sql::query(
        "SELECT key, embedding FROM ai._embedding_cache WHERE key = ANY ($1)",
        &[keys.clone().into()],
        |row| Ok((row.value::<Vec<u8>>(1)?, row.value::<Vec<f32>>(2)?)),
    )?;
    sql::execute(
        "UPDATE ai._embedding_cache SET used_at = now()
          WHERE key = ANY ($1) AND used_at < now() - interval '1 hour'",
        &[keys.into()],
    )?;
    let known =
        found.into_iter().filter(|(_, vector)| vector.len() == dimensions).filter_map(|(key, vector)| {
            let key = ContentHash::try_from(key.as_slice()).ok()?;
            Some((*by_key.get(&key)?, vector))
        });
    Ok(known.collect())
}

/// Keeps vectors for others. In order of their keys: two workers with the same texts must not wait
/// for each other in a circle.
pub fn keep<'a>(v: &Vectorizer, vectors: impl Iterator<Item = (&'a ContentHash, &'a [f32])>) -> Result<()> {
    let scope = scope(v)?;
    let mut rows: Vec<(ContentHash, &[f32])> =
        vectors.map(|(hash, vector)| (scoped(hash, &scope), vector)).collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    rows.dedup_by_key(|(key, _)| *key);
    let mut added = 0;
    for (key, vector) in rows {
        added += sql::execute(
            "INSERT INTO ai._embedding_cache (key, embedding) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[key.to_vec().into(), vector.to_vec().into()],
        )?;
    }
    if added > 0 {
        sql::execute(
            "INSERT INTO ai._embedding_cache_size AS s (one, rows) VALUES (true, $1)
             ON CONFLICT (one) DO UPDATE SET rows = s.rows + excluded.rows",
            &[(added as i64).into()],
        )?;
    }
    Ok(())
}

/// About how many vectors there are.
pub fn rows() -> Result<i64> {
    let rows = sql::query_one("SELECT rows FROM ai._embedding_cache_size", &[], |row| row.value(1))?;
    Ok(rows.unwrap_or(0))
}

/// Counts anew, and deletes those that were not used for the longest time until `most` are left
/// or a good number is gone. Returns how many are left.
pub fn evict(most: i64) -> Result<i64> {
    let rows: i64 =
        sql::query_one("SELECT count(*) FROM ai._embedding_cache", &[], |row| row.value(1))?.unwrap_or(0);
    let gone = sql::execute(
        "DELETE FROM ai._embedding_cache WHERE key IN
           (SELECT key FROM ai._embedding_cache ORDER BY used_at, key LIMIT $1)",
        &[(rows - most).clamp(0, EVICTED_AT_ONCE).into()],
    )?;
    let left = rows - gone as i64;
    sql::execute("UPDATE ai._embedding_cache_size SET rows = $1", &[left.into()])?;
    Ok(left)
}
