//! What is booked with every batch: the minute's activity, and the tokens against the budget.

use std::time::Duration;

use pgrx::datum::{Interval, TimestampWithTimeZone};

use super::completion::Usage;
use super::sql;
use crate::error::Result;

/// Books a finished batch. The slot of a minute is taken over by the same minute of the next day.
pub fn enter(id: i32, rows: usize, usage: Usage) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._vectorizer_activity AS a (vectorizer_id, slot, minute, rows, chunks, requests, tokens)
         SELECT $1, (extract(epoch FROM m.minute)::int8 / 60 % 1440)::int2, m.minute, $2, $3, $4, $5
           FROM (SELECT date_trunc('minute', clock_timestamp()) AS minute) m
         ON CONFLICT (vectorizer_id, slot) DO UPDATE
            SET minute = excluded.minute,
                rows = excluded.rows + CASE WHEN a.minute = excluded.minute THEN a.rows ELSE 0 END,
                chunks = excluded.chunks + CASE WHEN a.minute = excluded.minute THEN a.chunks ELSE 0 END,
                requests = excluded.requests + CASE WHEN a.minute = excluded.minute THEN a.requests ELSE 0 END,
                tokens = excluded.tokens + CASE WHEN a.minute = excluded.minute THEN a.tokens ELSE 0 END",
        &[
            id.into(),
            (rows as i64).into(),
            (usage.chunks_embedded as i64).into(),
            (usage.requests as i64).into(),
            (usage.tokens as i64).into(),
        ],
    )?;
    sql::execute(
        "UPDATE ai._vectorizer_budget
            SET used = $2 + CASE WHEN period_end > clock_timestamp() THEN used ELSE 0 END,
                period_end = ai._period_end(period_end, per, clock_timestamp())
          WHERE vectorizer_id = coalesce((SELECT r.vectorizer_id FROM ai._rebuild r WHERE r.other = $1), $1)",
        &[id.into(), (usage.tokens as i64).into()],
    )?;
    Ok(())
}

/// Sets a budget, or changes it: what was used in a period that goes on still counts.
pub fn set_budget(
    id: i32,
    tokens: i64,
    per: Interval,
    starting: Option<TimestampWithTimeZone>,
) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._vectorizer_budget AS b (vectorizer_id, tokens, per, period_end)
         VALUES ($1, $2, $3, ai._period_end(coalesce($4, clock_timestamp()), $3, clock_timestamp()))
         ON CONFLICT (vectorizer_id) DO UPDATE
            SET tokens = excluded.tokens, per = excluded.per,
                used = CASE WHEN b.period_end > clock_timestamp() THEN b.used ELSE 0 END,
                period_end = CASE WHEN $4 IS NULL AND b.per = excluded.per
                                  THEN ai._period_end(b.period_end, b.per, clock_timestamp())
                                  ELSE excluded.period_end END",
        &[id.into(), tokens.into(), per.into(), starting.into()],
    )?;
    Ok(())
}

pub fn drop_budget(id: i32) -> Result<()> {
    sql::execute("DELETE FROM ai._vectorizer_budget WHERE vectorizer_id = $1", &[id.into()])?;
    Ok(())
}

/// A budget that is used up: its tokens, and the time until its period turns.
pub fn spent(id: i32) -> Result<Option<(i64, Duration)>> {
    sql::query_one(
        "SELECT tokens, (extract(epoch FROM period_end - clock_timestamp()) * 1000000)::int8
           FROM ai._vectorizer_budget
          WHERE vectorizer_id = $1 AND used >= tokens AND period_end > clock_timestamp()",
        &[id.into()],
        |row| Ok((row.value(1)?, Duration::from_micros(row.value::<i64>(2)?.max(0) as u64))),
    )
}
