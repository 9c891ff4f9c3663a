//! Is there work, and may it be done now? What a scheduler asks before it starts a worker, and a
//! worker before it claims.

use std::time::Duration;

use autovector_domain::config::Scheduling;
use autovector_domain::readiness::{Readiness, Signs};
use autovector_domain::states::VectorizerState;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::{JsonB, pg_sys};

use super::ident::Ident;
use super::{control, newest, sql};
use crate::error::Result;

/// Microseconds from 1970 to 2000, where PostgreSQL's time begins.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

#[derive(Debug, Default, Clone, Copy)]
pub struct Work {
    /// Some vectorizer has something to do now.
    pub any: bool,
    /// Until the next vectorizer that waits may go on.
    pub next_due: Option<Duration>,
}

/// How a vectorizer stands: whether it may claim, and with what limits.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    pub id: i32,
    /// Lower numbers work first.
    pub priority: i32,
    pub readiness: Readiness,
    /// A run outside the windows is on.
    pub run: bool,
    /// The window is closed: the run's limit counts.
    outside: bool,
    run_rows: Option<i64>,
    /// What is left of the budget.
    pub tokens_left: Option<i64>,
    /// It fills the new store of a rebuild, which nobody searches yet.
    pub hidden: bool,
}

impl Standing {
    pub fn is_ready(&self) -> bool {
        self.readiness == Readiness::Ready
    }

    /// The rows that a run outside the windows may still do; None without a limit.
    pub fn rows_left(&self) -> Option<usize> {
        self.run_rows.filter(|_| self.outside).map(|rows| rows.max(0) as usize)
    }
}

/// Microseconds since 1970.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }.saturating_add(POSTGRES_EPOCH)
}

pub fn from_timestamp(at: TimestampWithTimeZone) -> i64 {
    at.into_inner().saturating_add(POSTGRES_EPOCH)
}

/// None for moments that PostgreSQL's type cannot hold.
pub fn to_timestamp(micros: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(micros.checked_sub(POSTGRES_EPOCH)?).ok()
}

const STANDINGS: &str = "
    SELECT c.vectorizer_id, c.priority, c.state,
           CASE WHEN c.retry_at > clock_timestamp()
                THEN (extract(epoch FROM c.retry_at - clock_timestamp()) * 1000000)::int8 END,
           v.config -> 'scheduling',
           coalesce(c.run_until > clock_timestamp() AND c.run_rows IS DISTINCT FROM 0, false), c.run_rows,
           CASE WHEN b.period_end > clock_timestamp() THEN b.tokens - b.used ELSE b.tokens END,
           (extract(epoch FROM b.period_end - clock_timestamp()) * 1000000)::int8,
           r.other IS NOT NULL
      FROM ai._vectorizer_control c
      JOIN ai.vectorizer v ON v.id = c.vectorizer_id
      -- A rebuild spends what its vectorizer may spend.
      LEFT JOIN ai._rebuild r ON r.other = c.vectorizer_id
      LEFT JOIN ai._vectorizer_budget b ON b.vectorizer_id = coalesce(r.vectorizer_id, c.vectorizer_id)";

fn read(row: &sql::Row<'_>) -> Result<Standing> {
    let now = now();
    let state: String = row.value(3)?;
    // A configuration that cannot be read halts its vectorizer at the next claim.
    let scheduling = match row.get::<JsonB>(5)? {
        Some(JsonB(json)) => Scheduling::from_json(&json).unwrap_or_default(),
        None => Scheduling::Default,
    };
    let window = scheduling.state(now);
    let run: bool = row.value(6)?;
    let tokens_left: Option<i64> = row.get(8)?;
    let spent = tokens_left.is_some_and(|left| left <= 0);
    let turns_in: Option<i64> = row.get(9)?;
    let signs = Signs {
        now,
        state: VectorizerState::parse(&state).unwrap_or(VectorizerState::Halted),
        retry_at: row.get::<i64>(4)?.map(|left| now.saturating_add(left)),
        window,
        run,
        budget_until: turns_in.filter(|_| spent).map(|left| now.saturating_add(left)),
    };
    Ok(Standing {
        id: row.value(1)?,
        priority: row.value(2)?,
        readiness: Readiness::of(signs),
        run,
        outside: window.is_some_and(|window| !window.open),
        run_rows: row.get(7)?,
        tokens_left,
        hidden: row.value(10)?,
    })
}

/// All vectorizers that are not stopped by anybody, by priority.
pub fn standings() -> Result<Vec<Standing>> {
    let statement = format!("{STANDINGS} WHERE c.state = 'running' ORDER BY c.priority, c.vectorizer_id");
    sql::query(&statement, &[], read)
}

/// One vectorizer, None when it is gone.
pub fn standing(id: i32) -> Result<Option<Standing>> {
    sql::query_one(&format!("{STANDINGS} WHERE c.vectorizer_id = $1"), &[id.into()], read)
}

/// Whether anything is to be done now, and when something may be next.
pub fn find() -> Result<Work> {
    let mut work = Work::default();
    for standing in standings()? {
        let Some(wait) = standing.readiness.wait() else { continue };
        let Some(due) = pending_from(standing.id)? else {
            if standing.run {
                control::end_run(standing.id)?;
            }
            continue;
        };
        let wait = wait.max(due);
        if wait.is_zero() {
            work.any = true;
        } else {
            work.next_due = Some(work.next_due.map_or(wait, |due| due.min(wait)));
        }
    }
    Ok(work)
}

/// Whether something of the first pass or of the dirty set is left.
pub fn is_pending(id: i32) -> Result<bool> {
    Ok(pending_from(id)?.is_some())
}

/// How long until something of the first pass or of the dirty set may be done; None when nothing is
/// left.
fn pending_from(id: i32) -> Result<Option<Duration>> {
    let found = sql::query_one(
        "SELECT v.queue_schema::text, v.queue_table::text, v.config #>> '{loading,implementation}' = 'uri'
           FROM ai.vectorizer v WHERE v.id = $1",
        &[id.into()],
        |row| {
            let queue = Ident::qualified(&row.value::<String>(1)?, &row.value::<String>(2)?);
            Ok((queue, row.get::<bool>(3)?.unwrap_or(false)))
        },
    )?;
    let Some((queue, uri)) = found else { return Ok(None) };
    if !is_scanned(id)? {
        return Ok(Some(Duration::ZERO));
    }
    match is_dirty(&queue)? {
        true if uri => first_due(&queue),
        true => Ok(Some(Duration::ZERO)),
        false => Ok(None),
    }
}

/// Whether the first pass has come to its end, though batches of it may be in flight.
fn is_scanned(id: i32) -> Result<bool> {
    let scanned = newest::row(
        newest::CURSORS,
        id,
        |found| format!("SELECT scanned, ctid::text FROM ai._vectorizer_cursor WHERE {found}"),
        || vec![id.into()],
        2,
        |row| row.value(1),
    )?;
    Ok(scanned.unwrap_or(true))
}

/// A dirty key `q` whose document may be fetched now.
pub const IS_DUE: &str = "q.loading_retry_after IS NULL OR q.loading_retry_after <= clock_timestamp()";

/// Until the first document of the queue may be fetched.
fn first_due(queue: &Ident) -> Result<Option<Duration>> {
    let now = sql::query_one(&format!("SELECT EXISTS (SELECT FROM {queue} q WHERE {IS_DUE})"), &[], |row| {
        row.value::<bool>(1)
    })?;
    if now == Some(true) {
        return Ok(Some(Duration::ZERO));
    }
    let left = sql::query_one(
        &format!(
            "SELECT (extract(epoch FROM min(loading_retry_after) - clock_timestamp()) * 1000)::int8 FROM {queue}"
        ),
        &[],
        |row| row.get::<i64>(1),
    )?;
    Ok(left.flatten().map(|millis| Duration::from_millis(millis.max(1) as u64)))
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
