//! Is there work? What a scheduler asks before it starts a worker, and a worker before it claims.

use std::time::Duration;

use super::ident::Ident;
use super::sql;
use crate::error::Result;

#[derive(Debug, Default, Clone, Copy)]
pub struct Work {
    /// Some vectorizer has something to do now.
    pub any: bool,
    /// Until the next vectorizer that backs off may go on.
    pub next_due: Option<Duration>,
}

/// Vectorizers that run and do not back off, in order.
pub fn runnable() -> Result<Vec<i32>> {
    sql::query(
        "SELECT vectorizer_id FROM ai._vectorizer_control
          WHERE state = 'running' AND (retry_at IS NULL OR retry_at <= clock_timestamp()) ORDER BY vectorizer_id",
        &[],
        |row| row.value(1),
    )
}

/// Whether anything is to be done now, and when something may be next.
pub fn find() -> Result<Work> {
    let vectorizers = sql::query(
        "SELECT v.queue_schema::text, v.queue_table::text, coalesce(NOT s.scanned, false),
                extract(epoch FROM c.retry_at - clock_timestamp())::float8
           FROM ai.vectorizer v
           JOIN ai._vectorizer_control c ON c.vectorizer_id = v.id
           LEFT JOIN ai._vectorizer_cursor s ON s.vectorizer_id = v.id
          WHERE c.state = 'running'",
        &[],
        |row| {
            let queue = Ident::qualified(&row.value::<String>(1)?, &row.value::<String>(2)?);
            Ok((queue, row.value::<bool>(3)?, row.get::<f64>(4)?))
        },
    )?;
    let mut work = Work::default();
    for (queue, backfill, rest) in vectorizers {
        let pending = backfill || is_dirty(&queue)?;
        match rest {
            _ if !pending => {}
            Some(rest) if rest > 0.0 => {
                let rest = Duration::from_secs_f64(rest);
                work.next_due = Some(work.next_due.map_or(rest, |due| due.min(rest)));
            }
            _ => work.any = true,
        }
    }
    Ok(work)
}

fn is_dirty(queue: &Ident) -> Result<bool> {
    let exists = sql::query_one("SELECT to_regclass($1) IS NOT NULL", &[queue.to_string().into()], |row| {
        row.value::<bool>(1)
    })?;
    if exists != Some(true) {
        return Ok(false);
    }
    let dirty =
        sql::query_one(&format!("SELECT EXISTS (SELECT FROM {queue})"), &[], |row| row.value::<bool>(1))?;
    Ok(dirty == Some(true))
}
