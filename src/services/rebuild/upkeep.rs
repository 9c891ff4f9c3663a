//! How a rebuild goes on by itself, as a chore of the housekeeper: filled, indexed, compared,
//! swapped. Each step is a transaction of its own, so whatever is killed, the next look finds the
//! state that was reached.

use std::time::Duration;

use autovector_domain::states::RebuildState;

use super::swap;
use crate::error::{Error, Kind, Result};
use crate::services::chores::Chore;
use crate::services::indexing;
use crate::store::catalog::{self, Vectorizer};
use crate::store::rebuilds::{self, Rebuild, belongings, overlap, swapping};
use crate::store::transaction::{as_extension_owner, current_role, transaction};
use crate::store::{control, failpoint, generations, indexes, session, status};

pub const CHORE: Chore = Chore { name: "rebuilds", due, run };

/// Between two looks at a rebuild that is not through with a step.
const LOOK: Duration = Duration::from_secs(1);
/// For so long a swap is tried before the next chore's turn comes.
const SWAP_PATIENCE: Duration = Duration::from_secs(5);

fn due() -> Result<Option<Duration>> {
    let mut next = None;
    for rebuild in rebuilds::going_on()? {
        match step(&rebuild) {
            // What is broken is noted by `run`.
            Ok(Step::Wait) => next = next.or(Some(LOOK)),
            Ok(Step::Rest) => {}
            Ok(_) | Err(_) => return Ok(Some(Duration::ZERO)),
        }
    }
    Ok(next)
}

/// What a rebuild needs next.
enum Step {
    /// The workers or the indexer are not through.
    Wait,
    /// Only somebody's word makes it go on.
    Rest,
    Fence,
    Index,
    BuildIndexes(Vec<[String; 2]>),
    Compare,
    Swap,
}

fn step(rebuild: &Rebuild) -> Result<Step> {
    let (main, other) = swapping::pair(rebuild.vectorizer, rebuild.other)?;
    let reached = |fence: Option<i64>| match fence {
        Some(fence) => generations::is_done(&other, fence),
        None => Ok(false),
    };
    Ok(match rebuild.state {
        RebuildState::Filling if rebuild.fence.is_none() => {
            if rebuilds::is_filled(other.id)? {
                Step::Fence
            } else {
                Step::Wait
            }
        }
        RebuildState::Filling => {
            if reached(rebuild.fence)? {
                Step::Index
            } else {
                Step::Wait
            }
        }
        RebuildState::Indexing => {
            let missing = belongings::missing_indexes(&main.store, &other)?;
            if !missing.is_empty() {
                Step::BuildIndexes(missing)
            } else if indexing::is_missing(&other)? {
                refuse_broken_index(&other)?;
                Step::Wait
            } else {
                Step::Compare
            }
        }
        RebuildState::Ready if !rebuild.auto_swap => Step::Rest,
        RebuildState::Ready => {
            if reached(rebuild.fence)? {
                Step::Swap
            } else {
                Step::Wait
            }
        }
        RebuildState::Swapped => Step::Rest,
    })
}

fn refuse_broken_index(v: &Vectorizer) -> Result<()> {
    if !indexes::has_failed_recently(v, "index build failed")? {
        return Ok(());
    }
    Err(Error::new(
        Kind::WrongState,
        format!(
            "the index of the new store could not be built; see ai.vectorizer_errors, name \"{}\"",
            v.name
        ),
    ))
}

fn run() -> Result<()> {
    for rebuild in transaction(rebuilds::going_on)? {
        let Err(error) = advance(rebuild.vectorizer) else { continue };
        let note = if swap::is_in_the_way(&error) {
            format!("{}{error}", rebuilds::WAITING)
        } else {
            pgrx::log!("autovector housekeeper: rebuild of vectorizer {}: {error}", rebuild.vectorizer);
            error.message
        };
        transaction(|| rebuilds::set_note(rebuild.vectorizer, Some(&note)))?;
    }
    Ok(())
}

/// Takes every step that can be taken now.
fn advance(id: i32) -> Result<()> {
    loop {
        let look = || {
            let Some(rebuild) = rebuilds::of(id)?.filter(Rebuild::is_running) else { return Ok(None) };
            let step = step(&rebuild)?;
            Ok(Some((rebuild, step)))
        };
        let Some((rebuild, step)) = transaction(look)? else { return Ok(()) };
        match step {
            Step::Wait | Step::Rest => return Ok(()),
            Step::Fence => {
                transaction(|| rebuilds::set_state(id, RebuildState::Filling, Some(generations::last()?)))?
            }
            Step::Index => transaction(|| rebuilds::set_state(id, RebuildState::Indexing, None))?,
            Step::BuildIndexes(statements) => build(&statements)?,
            Step::Compare => {
                failpoint::reach("before_rebuild_is_ready")?;
                transaction(|| compare(&rebuild))?;
            }
            Step::Swap => {
                transaction(|| swap::refuse_losses(&rebuild))?;
                transaction(|| swap::patiently(&rebuild, SWAP_PATIENCE))?;
                failpoint::reach("after_swap")?;
                pgrx::log!("autovector housekeeper: vectorizer {id} was swapped to its new store");
            }
        }
    }
}

fn build(statements: &[[String; 2]]) -> Result<()> {
    session::unlimited_locks();
    let built = statements.iter().flatten().try_for_each(|statement| indexes::run_top_level(statement));
    session::limited_locks();
    built
}

fn compare(rebuild: &Rebuild) -> Result<()> {
    let (main, other) = swapping::pair(rebuild.vectorizer, rebuild.other)?;
    let (share, sampled) = overlap::measure(&main, &other, &catalog::pgvector()?)?;
    rebuilds::set_ready(rebuild.vectorizer, generations::last()?, share, sampled)
}

/// True when a rebuild has swapped, or is ready to be swapped by hand; an error when it stands
/// still. Whoever waits asks again and again in new transactions: the indexes of the new store,
/// and the swap, wait for old snapshots.
pub fn is_over(id: i32) -> Result<bool> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    let role = current_role();
    if !as_extension_owner(|| Ok(status::may_see(&v, role)))? {
        return Err(Error::new(
            Kind::InsufficientPrivilege,
            format!("permission denied for source table {}", v.source.ident),
        )
        .hint("Only those who may SELECT from it may wait for its vectorizer."));
    }
    let Some(rebuild) = as_extension_owner(|| rebuilds::of(id))?.filter(Rebuild::is_running) else {
        return Ok(true);
    };
    if rebuild.state == RebuildState::Ready && !rebuild.auto_swap {
        return Ok(true);
    }
    let stopped = as_extension_owner(|| control::read(rebuild.other))?.filter(|c| c.state != "running");
    let stopped = stopped.map(|c| format!("{}: {}", c.state, c.reason.unwrap_or_default()));
    let note = rebuild.note.filter(|note| !note.starts_with(rebuilds::WAITING));
    match stopped.or(note) {
        None => Ok(false),
        Some(reason) => Err(Error::new(
            Kind::WrongState,
            format!("the rebuild of vectorizer \"{}\" stands still, {reason}", v.name),
        )
        .hint(format!("Mend that, then SELECT ai.resume_vectorizer('{}');", v.name))),
    }
}
