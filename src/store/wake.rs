//! Shared memory: who has to be woken when a transaction with changes commits. Nothing that
//! matters is kept here alone: a lost wake-up costs `autovector.naptime`, never a row.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};

use pgrx::{PGRXSharedMemory, PgAtomic, pg_guard, pg_shmem_init, pg_sys};

use super::load::Busy;

/// Databases that can be served at one time.
pub const MAX_DATABASES: usize = 128;
/// Worker processes per database that are woken directly.
const MAX_WORKERS: usize = 16;

/// One served database. Latches are addresses of `PGPROC.procLatch`, which stay valid for the
/// life of the cluster: setting one that has a new owner is a harmless extra wake-up.
struct Slot {
    database: AtomicU32,
    /// A commit has changed something since the launcher looked.
    changed: AtomicBool,
    /// The scheduler looked and found no extension.
    no_extension: AtomicBool,
    /// A worker ended because it had nothing to do.
    went_home: AtomicBool,
    /// The scheduler could not start a worker.
    short_of_places: AtomicBool,
    /// Since then (microseconds since 2000) the scheduler waits for the place of a worker; 0: it
    /// does not.
    waiting_since: AtomicI64,
    /// A commit has noted keys for deferred record status.
    status_noted: AtomicBool,
    /// Until then (microseconds since 2000) no process of ours may be in the database.
    withdrawn_until: AtomicI64,
    /// Workers give way until then, for the reason beside it (`load::Busy`).
    throttled_until: AtomicI64,
    throttled_by: AtomicU32,
    scheduler: AtomicUsize,
    workers: [AtomicUsize; MAX_WORKERS],
}

pub struct Shared {
    launcher: AtomicUsize,
    slots: [Slot; MAX_DATABASES],
}

// SAFETY: atomics only, no pointers into a process.
unsafe impl PGRXSharedMemory for Shared {}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            launcher: AtomicUsize::new(0),
            slots: std::array::from_fn(|_| Slot {
                database: AtomicU32::new(0),
                changed: AtomicBool::new(false),
                no_extension: AtomicBool::new(false),
                went_home: AtomicBool::new(false),
                short_of_places: AtomicBool::new(false),
                waiting_since: AtomicI64::new(0),
                status_noted: AtomicBool::new(false),
                withdrawn_until: AtomicI64::new(0),
                throttled_until: AtomicI64::new(0),
                throttled_by: AtomicU32::new(0),
                scheduler: AtomicUsize::new(0),
                workers: std::array::from_fn(|_| AtomicUsize::new(0)),
            }),
        }
    }
}

// SAFETY: the name is unique to this extension.
static SHARED: PgAtomic<Shared> = unsafe { PgAtomic::new(c"autovector") };
static PRELOADED: AtomicBool = AtomicBool::new(false);

/// Reserves the shared memory; called from `_PG_init` while preloading.
pub fn init() {
    pg_shmem_init!(SHARED);
    PRELOADED.store(true, Ordering::Relaxed);
}

/// True when the library was preloaded, so that there are workers at all.
pub fn preloaded() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

fn my_latch() -> usize {
    // SAFETY: MyProc is set in every process that gets here; only the address is taken.
    unsafe { &raw const (*pg_sys::MyProc).procLatch as usize }
}

fn set_latch(address: &AtomicUsize) -> bool {
    match address.load(Ordering::Acquire) {
        0 => false,
        latch => {
            // SAFETY: an address of a PGPROC's latch in shared memory, see `Slot`.
            unsafe { pg_sys::SetLatch(latch as *mut pg_sys::Latch) };
            true
        }
    }
}

fn slot(database: pg_sys::Oid) -> Option<&'static Slot> {
    let wanted = database.to_u32();
    SHARED.get().slots.iter().find(|slot| slot.database.load(Ordering::Acquire) == wanted)
}

/// The database's slot, taken if it has none; None when all are in use.
fn slot_for(database: pg_sys::Oid) -> Option<&'static Slot> {
    slot(database).or_else(|| {
        SHARED.get().slots.iter().find(|slot| {
            slot.database
                .compare_exchange(0, database.to_u32(), Ordering::AcqRel, Ordering::Acquire)
                .map_or_else(|held| held == database.to_u32(), |_| true)
        })
    })
}

/// Says that `database` has changes: wakes its workers; without any its scheduler, without that
/// the launcher. One of them is enough, and each signal costs the committing session. A worker
/// that is just ending wakes the scheduler by its end. Called after a commit, so it must not
/// fail and does not.
pub fn changed(database: pg_sys::Oid) {
    if !preloaded() {
        return;
    }
    let shared = SHARED.get();
    let Some(slot) = slot_for(database) else {
        set_latch(&shared.launcher);
        return;
    };
    slot.changed.store(true, Ordering::Release);
    // Every worker is told, not only the first.
    let told = slot.workers.iter().fold(false, |told, worker| set_latch(worker) | told);
    if !told && !set_latch(&slot.scheduler) {
        set_latch(&shared.launcher);
    }
}

/// True once for each time that changes were announced.
pub fn take_changed(database: pg_sys::Oid) -> bool {
    slot(database).is_some_and(|slot| slot.changed.swap(false, Ordering::AcqRel))
}

/// Says that keys were noted for deferred record status: wakes the scheduler alone. Called after a
/// commit, so it must not fail and does not.
pub fn status_noted(database: pg_sys::Oid) {
    if !preloaded() {
        return;
    }
    let shared = SHARED.get();
    match slot_for(database) {
        Some(slot) => {
            slot.status_noted.store(true, Ordering::Release);
            if !set_latch(&slot.scheduler) {
                slot.changed.store(true, Ordering::Release);
                set_latch(&shared.launcher);
            }
        }
        None => drop(set_latch(&shared.launcher)),
    }
}

/// True once for each time that keys were noted.
pub fn take_status_noted(database: pg_sys::Oid) -> bool {
    slot(database).is_some_and(|slot| slot.status_noted.swap(false, Ordering::AcqRel))
}

/// Gives the slot of a dropped database back.
pub fn forget(database: pg_sys::Oid) {
    if let Some(slot) = slot(database) {
        slot.withdrawn_until.store(0, Ordering::Release);
        slot.waiting_since.store(0, Ordering::Release);
        slot.database.store(0, Ordering::Release);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Launcher,
    Scheduler,
    Worker,
}

/// Registers this process to be woken; `unregister` undoes it. False when there is no room: the
/// process then lives by its timer.
pub fn register(role: Role, database: pg_sys::Oid) -> bool {
    let latch = my_latch();
    match role {
        Role::Launcher => {
            SHARED.get().launcher.store(latch, Ordering::Release);
            true
        }
        Role::Scheduler => {
            slot_for(database).map(|slot| slot.scheduler.store(latch, Ordering::Release)).is_some()
        }
        Role::Worker => slot_for(database).is_some_and(|slot| {
            slot.workers
                .iter()
                .any(|place| place.compare_exchange(0, latch, Ordering::AcqRel, Ordering::Acquire).is_ok())
        }),
    }
}

/// Takes this process off the list; run at exit however the process ends.
pub fn unregister(database: pg_sys::Oid) {
    let latch = my_latch();
    let clear = |place: &AtomicUsize| {
        // Losing this race means that the place has a new owner already.
        place.compare_exchange(latch, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    };
    clear(&SHARED.get().launcher);
    if let Some(slot) = slot(database) {
        if clear(&slot.scheduler) {
            slot.waiting_since.store(0, Ordering::Release);
        }
        for worker in &slot.workers {
            clear(worker);
        }
    }
}

/// True while a scheduler serves `database`.
pub fn has_scheduler(database: pg_sys::Oid) -> bool {
    preloaded() && slot(database).is_some_and(|slot| slot.scheduler.load(Ordering::Acquire) != 0)
}

/// Wakes the workers of `database`.
pub fn wake_workers(database: pg_sys::Oid) {
    for worker in slot(database).iter().flat_map(|slot| &slot.workers) {
        set_latch(worker);
    }
}

/// Workers in the whole cluster.
pub fn workers() -> usize {
    let taken =
        |slot: &Slot| slot.workers.iter().filter(|worker| worker.load(Ordering::Acquire) != 0).count();
    SHARED.get().slots.iter().map(taken).sum()
}

/// The scheduler of `database` has work and no worker, because others have all the places.
pub fn wait_for_place(database: pg_sys::Oid) {
    if let Some(slot) = slot(database) {
        // The first moment counts: who waits longest comes first.
        let first = slot.waiting_since.compare_exchange(0, now(), Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            // A worker that has nothing to do gives its place away at once.
            for worker in SHARED.get().slots.iter().flat_map(|slot| &slot.workers) {
                set_latch(worker);
            }
        }
    }
}

pub fn stop_waiting(database: pg_sys::Oid) {
    if let Some(slot) = slot(database) {
        slot.waiting_since.store(0, Ordering::Release);
    }
}

/// Since when the other databases wait that wait for the place of a worker.
fn waiting_others(database: pg_sys::Oid) -> impl Iterator<Item = i64> {
    let others = SHARED.get().slots.iter().filter(move |slot| {
        let owner = slot.database.load(Ordering::Acquire);
        owner != 0 && owner != database.to_u32()
    });
    others.map(|slot| slot.waiting_since.load(Ordering::Acquire)).filter(|since| *since != 0)
}

/// True while another database waits for the place of a worker.
pub fn others_wait(database: pg_sys::Oid) -> bool {
    waiting_others(database).next().is_some()
}

/// True while another database has waited longer than `database`, which may not wait at all.
pub fn others_wait_longer(database: pg_sys::Oid) -> bool {
    let mine = slot(database).map_or(0, |slot| slot.waiting_since.load(Ordering::Acquire));
    waiting_others(database).any(|since| mine == 0 || since < mine)
}

/// A scheduler tells the launcher that its database has no extension.
pub fn set_no_extension(database: pg_sys::Oid) {
    if let Some(slot) = slot_for(database) {
        slot.no_extension.store(true, Ordering::Release);
    }
}

pub fn take_no_extension(database: pg_sys::Oid) -> bool {
    slot(database).is_some_and(|slot| slot.no_extension.swap(false, Ordering::AcqRel))
}

/// How long a withdrawal lasts if nobody ends it: DROP DATABASE waits five seconds for others.
const WITHDRAWAL: i64 = 8_000_000;

fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Sends the processes in `database` away, because it is about to be dropped, renamed or copied.
/// Ends by itself, so a statement that fails leaves nothing behind.
pub fn withdraw(database: pg_sys::Oid) {
    if let Some(slot) = slot(database) {
        slot.withdrawn_until.store(now() + WITHDRAWAL, Ordering::Release);
        set_latch(&slot.scheduler);
        wake_workers(database);
    }
}

/// Lets processes into `database` again.
pub fn readmit(database: pg_sys::Oid) {
    if let Some(slot) = slot(database) {
        slot.withdrawn_until.store(0, Ordering::Release);
        slot.changed.store(true, Ordering::Release);
        set_latch(&SHARED.get().launcher);
    }
}

/// True while no process of ours may be in `database`.
pub fn is_withdrawn(database: pg_sys::Oid) -> bool {
    slot(database).is_some_and(|slot| slot.withdrawn_until.load(Ordering::Acquire) > now())
}

/// Notes whether the scheduler of `database` found a place for the last worker it wanted.
pub fn set_short_of_places(database: pg_sys::Oid, short: bool) {
    if let Some(slot) = slot(database) {
        slot.short_of_places.store(short, Ordering::Release);
    }
}

pub fn is_short_of_places(database: pg_sys::Oid) -> bool {
    slot(database).is_some_and(|slot| slot.short_of_places.load(Ordering::Acquire))
}

/// A worker of `database` ends because it has nothing to do, not because it failed.
pub fn set_went_home(database: pg_sys::Oid) {
    if let Some(slot) = slot(database) {
        slot.went_home.store(true, Ordering::Release);
    }
}

/// True once after workers that ended for want of work.
pub fn take_went_home(database: pg_sys::Oid) -> bool {
    slot(database).is_some_and(|slot| slot.went_home.swap(false, Ordering::AcqRel))
}

/// How long a look at the server's load counts: several times the time between two looks.
const THROTTLE_LASTS: i64 = 2_000_000;

/// Says whether workers of `database` give way, and to what.
pub fn set_throttled(database: pg_sys::Oid, busy: Option<Busy>) {
    if let Some(slot) = slot(database) {
        slot.throttled_by.store(busy.map_or(0, |busy| busy as u32), Ordering::Release);
        slot.throttled_until.store(busy.map_or(0, |_| now() + THROTTLE_LASTS), Ordering::Release);
    }
}

/// What the workers of `database` give way to.
pub fn throttled(database: pg_sys::Oid) -> Option<Busy> {
    if !preloaded() {
        return None;
    }
    let slot = slot(database).filter(|slot| slot.throttled_until.load(Ordering::Acquire) > now())?;
    Busy::from_code(slot.throttled_by.load(Ordering::Acquire))
}
