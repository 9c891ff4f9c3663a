//! Generations as a fence: what was committed before a moment, and whether it is done.

use super::catalog::Vectorizer;
use super::sql;
use crate::error::Result;

/// The newest generation handed out so far.
pub fn last() -> Result<i64> {
    let value = sql::query_one(
        "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM ai._generation_seq",
        &[],
        |row| row.value(1),
    )?;
    Ok(value.unwrap_or(0))
}

/// True when no key of generation `fence` or older is dirty and the first pass is over.
pub fn is_done(v: &Vectorizer, fence: i64) -> Result<bool> {
    let done = sql::query_one(
        &format!(
            "SELECT coalesce((SELECT scanned FROM ai._vectorizer_cursor WHERE vectorizer_id = $1), true)
                AND NOT EXISTS (SELECT FROM ai._lease WHERE vectorizer_id = $1 AND kind = 'backfill')
                AND NOT EXISTS (SELECT FROM {} WHERE gen <= $2)",
            v.queue
        ),
        &[v.id.into(), fence.into()],
        |row| row.value(1),
    )?;
    Ok(done.unwrap_or(false))
}
