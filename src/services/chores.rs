//! What a database has done for it at certain hours besides embedding: policies, retention,
//! deferred work. Each feature adds its chore to `ALL`; the housekeeper (`worker/housekeeper.rs`)
//! runs those that are due, one after the other.

use std::time::Duration;

use super::{backup, rebuild};
use crate::error::Result;

/// One kind of regular work.
pub struct Chore {
    /// For the log and the process title.
    pub name: &'static str,
    /// Time until it has to run again, zero when it is due; None when nothing is planned.
    /// Called in a transaction, every `autovector.naptime` at least: it must be cheap.
    pub due: fn() -> Result<Option<Duration>>,
    /// Does what is due, in transactions of its own. It has to move its own next hour also when
    /// it fails, or it is tried again after `autovector.naptime`.
    pub run: fn() -> Result<()>,
}

/// Every chore, in the order in which they run.
pub const ALL: &[Chore] = &[
    // Waits for nobody for long, and somebody waits for it.
    rebuild::upkeep::CHORE,
    super::checkpoints::upkeep::CHORE,
    super::cached::CHORE,
    Chore { name: "backup", due: backup::policy::due, run: backup::policy::run },
];

/// Time until the first chore has to run; None when none is planned.
pub fn next_due() -> Result<Option<Duration>> {
    let mut next: Option<Duration> = None;
    for chore in ALL {
        if let Some(due) = (chore.due)()? {
            next = Some(next.map_or(due, |next| next.min(due)));
        }
    }
    Ok(next)
}
