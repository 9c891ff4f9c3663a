//! Advisory locks in a number space of our own, so that they never meet a user's.
//!
//! A batch holds `Batch` in share mode, as a session lock, from claim to completion: it pins no
//! snapshot. A claim holds `Gate` in share mode for its short transaction. Whoever has to wait
//! for quiet (pause, drop) takes `Gate` first, which stops new claims, then `Batch`.

use std::time::Duration;

use pgrx::{PgSqlErrorCode, pg_sys};

use super::transaction::{attempt, with_lock_timeout};
use crate::error::{Kind, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Held by a claim for its transaction.
    Gate = 1,
    /// Held by a worker from claim to completion.
    Batch = 2,
    /// Serializes the claims of one vectorizer.
    Claim = 3,
    /// Of a record status rule: shared by sessions that change responses, for their transaction;
    /// alone for whoever changes the rule.
    Status = 4,
    /// Held in share mode by whoever makes or loads a backup, for no vectorizer (0): it says so to
    /// who watches.
    Backup = 9,
    /// Writers of a table with checkpoints hold it in share mode from their first write to their
    /// end; who makes a checkpoint takes it exclusively. The number is the table's oid.
    Checkpoint = 20,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Share,
    Exclusive,
}

impl Mode {
    fn lockmode(self) -> pg_sys::LOCKMODE {
        match self {
            Mode::Share => pg_sys::ShareLock as pg_sys::LOCKMODE,
            Mode::Exclusive => pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
        }
    }
}

/// PostgreSQL's own advisory functions use 1 and 2 here (`lockfuncs.c`); `pg_locks` shows it
/// as `objsubid`.
const NUMBER_SPACE: u16 = 0xA7;

fn tag(vectorizer: i32, lock: Lock) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: a plain global, set for the life of the backend.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: lock as u32,
        locktag_field3: vectorizer as u32,
        locktag_field4: NUMBER_SPACE,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Takes the lock until the end of the transaction if nobody is in the way.
pub fn try_for_transaction(vectorizer: i32, lock: Lock, mode: Mode) -> bool {
    acquire(vectorizer, lock, mode, false, true)
}

/// Takes the lock until the end of the transaction, waiting for it.
pub fn wait_for_transaction(vectorizer: i32, lock: Lock, mode: Mode) {
    acquire(vectorizer, lock, mode, false, false);
}

/// Takes the lock until the end of the transaction, waiting for it as long as `patience`, or as
/// `lock_timeout` where that is shorter. False when the time was over first.
pub fn wait_at_most(vectorizer: i32, lock: Lock, mode: Mode, patience: Duration) -> Result<bool> {
    // SAFETY: a plain global, 0 without a limit.
    let usual = u64::try_from(unsafe { pg_sys::LockTimeout }).unwrap_or(0);
    let most = if usual > 0 { usual } else { i32::MAX as u64 };
    let patience = patience.clamp(Duration::from_millis(1), Duration::from_millis(most));
    let taken = attempt(|| {
        with_lock_timeout(patience, || {
            wait_for_transaction(vectorizer, lock, mode);
            Ok(())
        })
    });
    match taken {
        Ok(()) => Ok(true),
        Err(error) if error.kind == Kind::Database(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the lock until `release_session` if nobody is in the way.
pub fn try_for_session(vectorizer: i32, lock: Lock, mode: Mode) -> bool {
    acquire(vectorizer, lock, mode, true, true)
}

/// Takes the lock until the end of the transaction, waiting for it. True unless this
/// transaction had it already.
pub fn newly_for_transaction(number: i32, lock: Lock, mode: Mode) -> bool {
    // SAFETY: as in `acquire`.
    let result = unsafe { pg_sys::LockAcquire(&tag(number, lock), mode.lockmode(), false, false) };
    result == pg_sys::LockAcquireResult::LOCKACQUIRE_OK
}

fn acquire(vectorizer: i32, lock: Lock, mode: Mode, session: bool, dont_wait: bool) -> bool {
    // SAFETY: the tag lives through the call; called in a transaction on the main thread.
    let result = unsafe { pg_sys::LockAcquire(&tag(vectorizer, lock), mode.lockmode(), session, dont_wait) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// The mode of who reads.
pub const ACCESS_SHARE: u32 = pg_sys::AccessShareLock;

/// The mode of who makes triggers: nobody writes meanwhile.
pub const SHARE_ROW_EXCLUSIVE: u32 = pg_sys::ShareRowExclusiveLock;

/// The mode of who writes.
pub const ROW_EXCLUSIVE: u32 = pg_sys::RowExclusiveLock;

/// Locks a relation until the end of the transaction, waiting for it. LOCK TABLE would lock
/// everything that a view reads too.
pub fn lock_relation(relation: pg_sys::Oid, mode: u32) {
    // SAFETY: called in a transaction on the main thread; a relation that is gone is locked all the same.
    unsafe { pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE) };
}

/// Gives one hold of a transaction's lock back before its end.
pub fn release_in_transaction(number: i32, lock: Lock, mode: Mode) {
    // SAFETY: as in `acquire`.
    unsafe { pg_sys::LockRelease(&tag(number, lock), mode.lockmode(), false) };
}

/// Gives one hold of a session lock back.
pub fn release_session(vectorizer: i32, lock: Lock, mode: Mode) {
    // SAFETY: as above; releasing a lock that is not held only raises a WARNING.
    unsafe { pg_sys::LockRelease(&tag(vectorizer, lock), mode.lockmode(), true) };
}

/// Locks a table against everybody to the end of the transaction, if nobody uses it.
pub fn try_table(relation: pg_sys::Oid) -> bool {
    // SAFETY: called in a transaction on the main thread.
    unsafe { pg_sys::ConditionalLockRelationOid(relation, pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE) }
}

/// Keeps a table as it is defined, to the end of the transaction; writers are not held up.
pub fn read_table(relation: pg_sys::Oid) {
    // SAFETY: as above.
    unsafe { pg_sys::LockRelationOid(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE) };
}
