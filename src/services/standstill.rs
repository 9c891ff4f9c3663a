//! Why a vectorizer that nobody stopped does not work now, in words.

use std::time::Duration;

use super::doctor::{Finding, finding};
use crate::error::Result;
use crate::settings::Settings;
use crate::store::catalog::Vectorizer;
use crate::store::load::Busy;
use crate::store::{diagnosis, ledger, wake, work};

/// Why workers of this database give way now.
pub fn throttle() -> Option<String> {
    let settings = Settings::now();
    Some(match wake::throttled(diagnosis::current_database())? {
        Busy::Sessions => {
            format!("{} or more sessions are active", settings.throttle_active_sessions.unwrap_or(0))
        }
        Busy::ReplicationLag => format!(
            "a standby is more than {} ms behind",
            settings.throttle_replication_lag.unwrap_or_default().as_millis()
        ),
    })
}

/// Closed windows and budgets that are used up.
pub fn findings(v: &Vectorizer) -> Result<Vec<Finding>> {
    if let Some((tokens, rest)) = ledger::spent(v.id)? {
        return Ok(vec![finding(
            "info",
            &v.name,
            format!("the budget of {tokens} tokens is used up for another {}", shown(rest)),
            format!("Wait, or SELECT ai.set_budget('{}', tokens => …);", v.name),
        )]);
    }
    let window = v.config.scheduling.state(work::now()).filter(|window| !window.open);
    let run = work::standing(v.id)?.is_some_and(|standing| standing.run);
    if let Some(window) = window.filter(|_| !run) {
        let rest = window.opens_at.map(|opens| opens.saturating_sub(work::now()).max(0) as u64);
        return Ok(vec![finding(
            "info",
            &v.name,
            match rest {
                Some(micros) => {
                    format!("waiting for its window, which opens in {}", shown(Duration::from_micros(micros)))
                }
                None => "waiting for its window".to_owned(),
            },
            format!("Wait, or SELECT ai.run_vectorizer('{}');", v.name),
        )]);
    }
    Ok(Vec::new())
}

/// Workers that give way.
pub fn server_findings() -> Vec<Finding> {
    let found = throttle().map(|reason| {
        finding(
            "info",
            "server",
            format!("workers give way: {reason}"),
            "Nothing: they go on by themselves; the limits are autovector.throttle_active_sessions and autovector.throttle_replication_lag.",
        )
    });
    found.into_iter().collect()
}

/// A time as people say it.
fn shown(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
