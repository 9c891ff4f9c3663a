//! Leases as such: renewing them, and finding those whose worker is gone.

use std::time::Duration;

use super::catalog::Vectorizer;
use super::queue::{Kind, Lease};
use super::sql;
use crate::error::Result;

#[derive(Debug)]
pub struct DeadLease {
    pub lease: Lease,
    pub keys: Vec<String>,
    /// The worker still runs, but gave no sign of life for the length of its lease.
    pub owner_alive: bool,
}

/// Leases that have expired, or whose worker no longer exists.
pub fn dead() -> Result<Vec<DeadLease>> {
    sql::query(
        "SELECT l.id, l.vectorizer_id, l.kind, l.token, l.keys, a.pid IS NOT NULL
           FROM ai._lease l
           LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) a
                  ON a.pid = l.worker_pid AND a.backend_start = l.worker_start
          WHERE a.pid IS NULL OR l.expires_at < clock_timestamp()
          ORDER BY l.id",
        &[],
        |row| {
            let kind: String = row.value(3)?;
            Ok(DeadLease {
                lease: Lease {
                    id: row.value(1)?,
                    vectorizer: row.value(2)?,
                    kind: if kind == Kind::Backfill.as_str() { Kind::Backfill } else { Kind::Dirty },
                    token: row.value(4)?,
                },
                keys: row.value(5)?,
                owner_alive: row.value(6)?,
            })
        },
    )
}

/// Renews the leases of the batches in flight. Those that an open transaction is ending are left
/// alone, and so are those that have expired: somebody may be taking them back.
pub fn renew(leases: Vec<i64>, duration: Duration) -> Result<()> {
    sql::execute(
        "UPDATE ai._lease SET expires_at = clock_timestamp() + $2 * interval '1 millisecond'
          WHERE id IN (SELECT id FROM ai._lease WHERE id = ANY ($1) AND expires_at > clock_timestamp()
                          FOR UPDATE SKIP LOCKED)",
        &[leases.into(), (duration.as_millis() as i64).into()],
    )?;
    Ok(())
}

/// Removes a lease whose vectorizer cannot be read any more.
pub fn drop_lease(lease: &Lease) -> Result<()> {
    sql::execute(
        "DELETE FROM ai._lease WHERE id = $1 AND token = $2",
        &[lease.id.into(), lease.token.into()],
    )?;
    Ok(())
}

/// Moves failed rows whose error is LIKE `error_like` (all of them when None) back into the
/// dirty set. Runs with the rights of the queue's owner. Returns how many.
pub fn requeue_failed(v: &Vectorizer, error_like: Option<&str>) -> Result<usize> {
    let names = v.key.stored_names();
    sql::execute(
        &format!(
            "WITH gone AS (DELETE FROM {failed} f WHERE $1::text IS NULL OR f.error LIKE $1 RETURNING {list}),
                  again AS (INSERT INTO {queue} ({names}, gen)
                            SELECT {gone}, nextval('ai._generation_seq') FROM gone g ON CONFLICT DO NOTHING)
             SELECT FROM gone",
            failed = v.failed,
            queue = v.queue,
            list = v.key.stored_list("f"),
            gone = v.key.stored_list("g"),
        ),
        &[error_like.into()],
    )
}
