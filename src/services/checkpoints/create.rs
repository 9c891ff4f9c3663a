//! Making checkpoints. Everything that a call pins is locked before anything is pinned, so that it is
//! one cut; all of it belongs to the caller's transaction.

use std::time::{Duration, Instant};

use pgrx::datum::Interval;
use pgrx::{Uuid, pg_sys};

use crate::error::{Error, Kind, Result};
use crate::services::waiting;
use crate::store::catalog::Relation;
use crate::store::checkpoints::named::{self, Hold, NewCheckpoint, Pin, Target};
use crate::store::checkpoints::{history, shape, versions};
use crate::store::transaction::as_extension_owner;
use crate::store::{capture, roles, transaction};

/// For so long a new checkpoint lets new writers pass while it waits for a gap between them.
const POLITE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(2);

pub struct Request<'a> {
    /// What was said, and the table that it names.
    pub targets: Vec<(&'a str, Option<pg_sys::Oid>)>,
    pub name: Option<&'a str>,
    pub lifetime: Option<Interval>,
    pub set: Option<Uuid>,
    pub kind: &'a str,
}

/// A target with its tables, the main one first.
pub struct Subject {
    pub shown: String,
    pub vectorizer: Option<i32>,
    pub tables: Vec<(&'static str, Relation)>,
}

impl Subject {
    /// The tables in the order in which they are locked: dirty set, failed rows, store, as by a
    /// TRUNCATE of the source.
    pub fn in_lock_order(&self) -> impl Iterator<Item = &Relation> {
        self.tables.iter().skip(1).chain(&self.tables[..1]).map(|(_, relation)| relation)
    }
}

/// What a text names. The caller must own the table.
pub fn subject(text: &str, table: Option<pg_sys::Oid>) -> Result<Subject> {
    match named::target(text, table)? {
        Target::Table(oid) => of_table(oid),
        Target::Vectorizer(id) => {
            let v = as_extension_owner(|| named::vectorizer(id))?;
            roles::require_ownership(&v.store)?;
            roles::require_ownership(&v.source)?;
            let (_, failed) = named::queue_tables(id)?;
            let queue = history::table(v.queue_oid)?;
            Ok(Subject {
                shown: v.name.clone(),
                vectorizer: Some(id),
                tables: vec![("table", v.store), ("queue", queue), ("failed", failed)],
            })
        }
    }
}

pub fn of_table(oid: pg_sys::Oid) -> Result<Subject> {
    let relation = history::table(oid)?;
    roles::require_ownership(&relation)?;
    Ok(Subject { shown: relation.ident.to_string(), vectorizer: None, tables: vec![("table", relation)] })
}

pub fn check_lifetime(lifetime: Option<&Interval>) -> Result<()> {
    match lifetime {
        Some(lifetime) if lifetime.as_micros() <= 0 => Err(Error::invalid("lifetime must be positive")
            .hint("Give an interval such as '7 days', or NULL for a checkpoint that never expires.")),
        _ => Ok(()),
    }
}

/// Lance's rule for tags: letters, digits, `.`, `_`, `-`; no `..`, no `.` at either end, not `*.lock`.
pub fn check_name(name: &str) -> Result<()> {
    let fine = !name.is_empty()
        && name.len() <= 63
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
        && !name.contains("..")
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.ends_with(".lock")
        && name != "now"
        && uuid::Uuid::parse_str(name).is_err();
    if fine {
        return Ok(());
    }
    Err(Error::invalid(format!("\"{name}\" is not a valid name for a checkpoint")).hint(
        "Use at most 63 letters, digits, dots, underscores and hyphens; no dot at either end, no two in a row, no .lock at the end, and not 'now'.",
    ))
}

/// Makes one checkpoint a target, all of them of one moment.
pub fn create(request: &Request<'_>) -> Result<Vec<(String, Uuid)>> {
    require_read_committed()?;
    check_lifetime(request.lifetime.as_ref())?;
    if let Some(name) = request.name {
        check_name(name)?;
    }
    if request.targets.is_empty() {
        return Err(Error::invalid("no target was given").hint("Name vectorizers or tables."));
    }
    let mut subjects: Vec<Subject> = Vec::new();
    for (text, table) in &request.targets {
        let subject = subject(text, *table)?;
        if subjects.iter().any(|other| other.tables[0].1.oid == subject.tables[0].1.oid) {
            return Err(Error::invalid(format!("target {} is given twice", subject.shown))
                .hint("Name each table once."));
        }
        subjects.push(subject);
    }
    pin(&subjects, request)
}

/// Makes checkpoints of tables that are known already.
pub fn create_of(subjects: &[Subject], request: &Request<'_>) -> Result<Vec<(String, Uuid)>> {
    require_read_committed()?;
    pin(subjects, request)
}

/// Refuses a transaction with one snapshot for all of its statements: it would read the live table as
/// it was before the checkpoint.
fn require_read_committed() -> Result<()> {
    if transaction::has_fixed_snapshot() {
        return Err(Error::new(
            Kind::WrongState,
            "a checkpoint cannot be made in a REPEATABLE READ or SERIALIZABLE transaction",
        )
        .hint("Make it in a READ COMMITTED transaction: its moment is that of the call."));
    }
    Ok(())
}

/// Locks all tables of all subjects, then makes their versions.
fn pin(subjects: &[Subject], request: &Request<'_>) -> Result<Vec<(String, Uuid)>> {
    for (_, relation) in subjects.iter().flat_map(|subject| &subject.tables) {
        shape::require_suitable(relation)?;
    }
    lock(subjects)?;
    let by = roles::current_name()?;
    let mut made = Vec::new();
    for subject in subjects {
        let mut pins: Vec<Pin> = Vec::new();
        let mut anchor = None;
        for (role, relation) in &subject.tables {
            let history = history::prepare(relation, anchor)?;
            anchor = anchor.or(Some(history.anchor));
            let number = as_extension_owner(|| versions::make(&history))?;
            pins.push(Pin { role: (*role).to_owned(), history: history.id, number });
        }
        let id = Uuid::from_bytes(*uuid::Uuid::new_v4().as_bytes());
        as_extension_owner(|| {
            if let Some(name) = request.name {
                named::take_name(pins[0].history, name)?;
            }
            let config = subject.vectorizer.map_or(Ok(None), named::vectorizer_state)?;
            named::insert(
                NewCheckpoint {
                    id,
                    name: request.name,
                    target: &subject.shown,
                    vectorizer: subject.vectorizer,
                    set: request.set,
                    source: None,
                    kind: request.kind,
                    config,
                    created_by: &by,
                    lifetime: request.lifetime,
                },
                &pins,
            )
        })?;
        made.push((subject.shown.clone(), id));
    }
    // A database without vectorizers may have no scheduler yet, and so nobody who would collect.
    capture::wake_scheduler_at_commit();
    Ok(made)
}

/// Keeps writers out of all tables. Those without a history are locked themselves; they have it
/// afterwards.
fn lock(subjects: &[Subject]) -> Result<()> {
    let mut ordered: Vec<&Subject> = subjects.iter().collect();
    ordered.sort_by_key(|subject| subject.tables[0].1.oid.to_u32());
    let mut anchors: Vec<i32> = Vec::new();
    for relation in ordered.iter().flat_map(|subject| subject.in_lock_order()) {
        if let Some(history) = as_extension_owner(|| history::attached_to(relation.oid))? {
            anchors.push(history.anchor);
            continue;
        }
        versions::lock_table(relation, "SHARE ROW EXCLUSIVE")?;
        // Somebody else may have been first.
        if let Some(history) = as_extension_owner(|| history::attached_to(relation.oid))? {
            anchors.push(history.anchor);
        }
    }
    anchors.sort_unstable();
    anchors.dedup();
    lock_anchors(&anchors);
    Ok(())
}

/// Takes all locks or none: whoever holds one and waits for another would deadlock with writers that
/// come to the tables in another order. First lets new writers pass and hopes for a gap between
/// them, then waits in the queue for the one that is missing.
pub fn lock_anchors(anchors: &[i32]) {
    let polite_until = Instant::now() + POLITE;
    let mut awaited: Option<i32> = None;
    loop {
        if let Some(anchor) = awaited {
            versions::wait_for_lock(anchor);
        }
        let others = anchors.iter().copied().filter(|anchor| Some(*anchor) != awaited);
        let mut held: Vec<i32> = awaited.into_iter().collect();
        let mut missing = None;
        for anchor in others {
            if !versions::try_lock(anchor) {
                missing = Some(anchor);
                break;
            }
            held.push(anchor);
        }
        let Some(missing) = missing else { return };
        held.into_iter().for_each(versions::unlock);
        if Instant::now() < polite_until {
            waiting::nap(POLL);
        } else {
            awaited = Some(missing);
        }
    }
}

/// One more checkpoint of the version that `source` holds.
pub fn from_source(
    (target, table): (&str, Option<pg_sys::Oid>),
    name: Option<&str>,
    lifetime: Option<Interval>,
    source: &str,
) -> Result<Uuid> {
    check_lifetime(lifetime.as_ref())?;
    if let Some(name) = name {
        check_name(name)?;
    }
    let subject = subject(target, table)?;
    let by = roles::current_name()?;
    let id = Uuid::from_bytes(*uuid::Uuid::new_v4().as_bytes());
    as_extension_owner(|| {
        let Some(source) = named::find(source)? else { return Err(named::unknown(source)?) };
        let source = named::live(source, Hold::Share)?;
        let (history, _) = source.main()?;
        let of_table = history.relation.as_ref().map(|relation| relation.oid);
        if of_table.is_some_and(|oid| oid != subject.tables[0].1.oid) || source.target != subject.shown {
            return Err(Error::invalid(format!(
                "checkpoint {} is one of {}, not of {}",
                source.id, source.target, subject.shown
            ))
            .hint("Name the same target as when the source was made."));
        }
        if let Some(name) = name {
            lock_anchors(&[history.anchor]);
            named::take_name(history.id, name)?;
        }
        let new = NewCheckpoint {
            id,
            name,
            target: &subject.shown,
            vectorizer: source.vectorizer,
            set: None,
            source: Some(source.id),
            kind: "manual",
            config: source.config.clone(),
            created_by: &by,
            lifetime,
        };
        named::insert(new, &source.pins)
    })?;
    Ok(id)
}
