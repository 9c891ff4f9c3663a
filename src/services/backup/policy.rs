//! Backups at regular hours, and the end of old ones. Deleted is only what the policy itself made
//! and what is complete; the newest stays, and so does every backup whose tables were emptied.

use std::time::Duration;

use autovector_backup::names::BackupName;
use pgrx::datum::Interval;

use super::catalog::{self, Listed};
use super::directory;
use super::make::{self, Request};
use crate::error::{Error, Result};
use crate::store::backup::pins::Pins;
use crate::store::backup::policy::{self, Policy};
use crate::store::transaction::{as_role, transaction};
use crate::store::{capture, roles};

/// Sets the policy of this database; without `every` there is none any more.
pub fn set(every: Option<Interval>, keep_last: Option<i32>, keep_for: Option<Interval>) -> Result<()> {
    let Some(every) = every else { return policy::unset() };
    if !policy::is_at_least(every, "1 minute")? {
        return Err(Error::invalid("every is shorter than a minute").hint("Give '1 day', for example."));
    }
    if keep_last.is_some_and(|count| count < 1) {
        return Err(Error::invalid("keep_last is less than 1").hint("The newest backup is always kept."));
    }
    if let Some(time) = keep_for
        && !policy::is_at_least(time, "1 second")?
    {
        return Err(Error::invalid("keep_for is not positive").hint("Give '30 days', for example."));
    }
    // What it needs is better missed now than at night.
    directory::root()?;
    policy::set(every, keep_last, keep_for)?;
    capture::wake_at_commit();
    Ok(())
}

pub fn due() -> Result<Option<Duration>> {
    policy::due()
}

/// Makes the backup that is due, then deletes what may go.
pub fn run() -> Result<()> {
    let Some(policy) = transaction(policy::take)? else { return Ok(()) };
    match transaction(|| backup(&policy)) {
        Ok(name) => {
            transaction(|| policy::note(Some(&name), None))?;
            transaction(|| expire(&policy))
        }
        Err(error) => {
            let message = match &error.hint {
                Some(hint) => format!("{error} ({hint})"),
                None => error.to_string(),
            };
            transaction(|| policy::note(None, Some(&message)))?;
            Err(error)
        }
    }
}

fn backup(policy: &Policy) -> Result<String> {
    let role = roles::oid_of(&policy.made_by)?;
    let request = Request {
        task: None,
        connection: None,
        truncate: false,
        backup: true,
        tables: None,
        format: "csv".to_owned(),
        compression: "none".to_owned(),
        parallel: 1,
        by_policy: true,
    };
    let report = as_role(role, || {
        // Behind the pinned search_path of `as_role`: names mean what they meant to the maker.
        let _pins = Pins::unattended(&policy.search_path);
        make::make(&request)
    })?;
    Ok(report["backup"].as_str().unwrap_or_default().to_owned())
}

fn expire(policy: &Policy) -> Result<()> {
    let now = directory::now();
    let mut mine: Vec<Listed> = catalog::list()?
        .into_iter()
        .filter(|listed| listed.by_policy && listed.complete && !listed.truncated)
        .collect();
    // Names may be used again within a second; ids grow.
    mine.sort_by_key(|listed| std::cmp::Reverse(listed.manifest.as_ref().map(|m| (m.started, m.id.clone()))));
    for (age, listed) in mine.iter().enumerate() {
        if may_go(policy, age, seconds_since(listed, now)) {
            let name = BackupName::parse(&listed.name)?;
            let folder = directory::root()?.folder(name.task.as_deref(), false)?;
            catalog::remove(&folder, &name)?;
        }
    }
    Ok(())
}

/// A backup stays while either rule keeps it; without a rule all stay. `newer` backups have been
/// made since.
fn may_go(policy: &Policy, newer: usize, seconds: f64) -> bool {
    let counts = policy.keep_last.map(|count| newer >= count.max(1) as usize);
    let ages = policy.keep_for.map(|longest| seconds > longest);
    newer > 0 && (counts.is_some() || ages.is_some()) && counts.unwrap_or(true) && ages.unwrap_or(true)
}

fn seconds_since(listed: &Listed, now: u64) -> f64 {
    let made = listed.manifest.as_ref().map_or(now, |manifest| manifest.started);
    now.saturating_sub(made) as f64
}
