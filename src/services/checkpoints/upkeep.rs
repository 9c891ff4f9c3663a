//! What happens to checkpoints by itself: policies, expiry, collection. A chore of the housekeeper.

use std::time::Duration;

use pgrx::datum::Interval;
use pgrx::pg_sys;

use super::create::{self, Request};
use crate::error::{Error, Result};
use crate::services::chores::Chore;
use crate::store::checkpoints::collecting::{self, Freed};
use crate::store::checkpoints::{history, named, policies};
use crate::store::transaction::{as_extension_owner, transaction};
use crate::store::{failpoint, roles};

pub const CHORE: Chore = Chore { name: "checkpoints", due, run };

pub struct Policy {
    pub every: Option<Interval>,
    pub every_changes: Option<i64>,
    pub keep_last: Option<i32>,
    pub keep_for: Option<Interval>,
}

/// Sets a target's policy; one that never makes a checkpoint ends it.
pub fn set_policy(target: &str, table: Option<pg_sys::Oid>, policy: Policy) -> Result<()> {
    let subject = create::subject(target, table)?;
    let relation = &subject.tables[0].1;
    crate::store::checkpoints::shape::require_suitable(relation)?;
    crate::store::checkpoints::shape::columns_of(relation)?;
    for (what, negative) in [
        ("every", policy.every.as_ref().is_some_and(|interval| interval.as_micros() <= 0)),
        ("every_changes", policy.every_changes.is_some_and(|changes| changes <= 0)),
        ("keep_last", policy.keep_last.is_some_and(|keep| keep <= 0)),
        ("keep_for", policy.keep_for.as_ref().is_some_and(|interval| interval.as_micros() <= 0)),
    ] {
        if negative {
            return Err(Error::invalid(format!("{what} must be positive"))
                .hint("Leave it out, or give every => NULL and every_changes => NULL to end the policy."));
        }
    }
    let by = roles::current_name()?;
    as_extension_owner(|| {
        if policy.every.is_none() && policy.every_changes.is_none() {
            return policies::remove(relation.oid).map(|_| ());
        }
        policies::set(
            relation.oid,
            &subject.shown,
            policy.every,
            policy.every_changes,
            policy.keep_last,
            policy.keep_for,
            &by,
        )
    })?;
    crate::store::capture::wake_at_commit();
    Ok(())
}

/// Collects what is over for longer than `min_age`, of tables that the caller owns.
pub fn collect(dry_run: bool, min_age: Interval) -> Result<Vec<Freed>> {
    if min_age.as_micros() < 0 {
        return Err(Error::invalid("min_age is negative").hint("Give an interval such as '1 day'."));
    }
    let mut mine = Vec::new();
    for (id, checkpoints) in as_extension_owner(|| collecting::candidates(min_age))? {
        let Some(history) = as_extension_owner(|| collecting::hold(id))? else { continue };
        if roles::require_membership(history.owner, &history.table).is_ok() {
            mine.push((history, checkpoints));
        }
    }
    as_extension_owner(|| {
        if dry_run {
            return mine.iter().map(|(h, count)| collecting::estimate(h, *count, min_age)).collect();
        }
        let ids: Vec<i32> = mine.iter().map(|(history, _)| history.id).collect();
        collecting::remove_checkpoints(min_age, &ids)?;
        let mut freed = Vec::new();
        for (history, checkpoints) in &mine {
            let (rows, bytes) = collecting::sweep(history)?;
            freed.push(Freed { target: history.table.to_string(), checkpoints: *checkpoints, rows, bytes });
        }
        Ok(freed)
    })
}

fn due() -> Result<Option<Duration>> {
    let seconds = [policies::due()?, collecting::due()?].into_iter().flatten().reduce(f64::min);
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

fn run() -> Result<()> {
    transaction(policies::forget_dropped)?;
    for relation in transaction(policies::all_due)? {
        if let Err(error) = transaction(|| follow_policy(relation)) {
            pgrx::log!("autovector housekeeper: a checkpoint by policy: {error}");
            transaction(|| policies::failed(relation, &error.to_string()))?;
        }
    }
    let none = Interval::new(0, 0, 0).map_err(|error| Error::invalid(error.to_string()))?;
    let over = transaction(|| collecting::candidates(none))?;
    let ids: Vec<i32> = over.iter().map(|(id, _)| *id).collect();
    transaction(|| collecting::remove_checkpoints(none, &ids))?;
    for id in ids {
        failpoint::reach("checkpoint_sweep")?;
        // One transaction each: what is done stays done.
        transaction(|| match collecting::hold(id)? {
            Some(history) => {
                collecting::sweep(&history)?;
                failpoint::reach("checkpoint_sweep_commits")
            }
            None => Ok(()),
        })?;
    }
    Ok(())
}

fn follow_policy(relation: pg_sys::Oid) -> Result<()> {
    let Some(policy) = policies::read(relation)? else { return Ok(()) };
    let request = Request {
        targets: vec![(policy.target.as_str(), Some(policy.relation))],
        name: None,
        lifetime: policy.keep_for,
        set: None,
        kind: "policy",
    };
    let made = create::create(&request)?;
    let (history, _) = named::live(made[0].1, named::Hold::No)?.main()?;
    if let Some(keep) = policy.keep_last {
        for id in policies::surplus(history.id, keep)? {
            named::delete(id)?;
        }
        history::invalidate(history.oid);
    }
    policies::succeeded(relation)
}
