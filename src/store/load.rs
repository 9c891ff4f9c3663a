//! How busy the server is: what workers look at before they claim, so that they give way.

use std::time::Duration;

use super::sql;
use crate::error::Result;

/// What keeps workers from claiming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    Sessions = 1,
    ReplicationLag = 2,
}

impl Busy {
    /// The value whose discriminant is `code`.
    pub fn from_code(code: u32) -> Option<Busy> {
        [Busy::Sessions, Busy::ReplicationLag].into_iter().find(|busy| *busy as u32 == code)
    }
}

/// Compares the server with the limits; None where no limit is set or reached. Sessions that only
/// wait for autovector itself do not count.
pub fn busy(sessions: Option<i64>, lag: Option<Duration>) -> Result<Option<Busy>> {
    if let Some(limit) = sessions {
        let active = sql::query_one(
            "SELECT count(*) FROM pg_catalog.pg_stat_get_activity(NULL) a
              WHERE a.state = 'active' AND a.backend_type = 'client backend'
                AND a.wait_event_type IS DISTINCT FROM 'Extension'",
            &[],
            |row| row.value::<i64>(1),
        )?;
        if active.unwrap_or(0) >= limit {
            return Ok(Some(Busy::Sessions));
        }
    }
    if let Some(limit) = lag {
        let behind = sql::query_one(
            "SELECT coalesce(max(replay_lag) > $1 * interval '1 millisecond', false)
               FROM pg_catalog.pg_stat_get_wal_senders()",
            &[(limit.as_millis() as i64).into()],
            |row| row.value::<bool>(1),
        )?;
        if behind == Some(true) {
            return Ok(Some(Busy::ReplicationLag));
        }
    }
    Ok(None)
}
