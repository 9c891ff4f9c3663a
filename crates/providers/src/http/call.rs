//! What is known of the request that the current thread is making: its deadlines, how far
//! it has come, and what arrived. The HTTP library runs a call on the thread that asked for
//! it, so the sockets find this here. It holds no socket and does no I/O.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

/// How far a call has come; errors are worded by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Resolve,
    Connect,
    Handshake,
    /// The request is being sent or the answer is awaited.
    Exchange,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    deadline: Instant,
    connect_timeout: Duration,
    connect_by: Option<Instant>,
    pub(super) phase: Phase,
    /// A connection was opened for this call; otherwise it came from the pool.
    pub(super) fresh: bool,
    /// Bytes of the answer, after TLS.
    pub(super) received: u64,
    /// Take no connection from the pool.
    pub(super) avoid_pool: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// The call of this thread, until dropped.
pub(super) struct Call(());

impl Call {
    /// Begins a call that has to end at `deadline`; opening a connection (looking up the
    /// name, TCP and TLS together) may take `connect_timeout` of that.
    pub(super) fn begin(deadline: Instant, connect_timeout: Duration, avoid_pool: bool) -> Call {
        let state = State {
            deadline,
            connect_timeout,
            connect_by: None,
            phase: Phase::Exchange,
            fresh: false,
            received: 0,
            avoid_pool,
        };
        CURRENT.with_borrow_mut(|current| *current = Some(state));
        Call(())
    }

    pub(super) fn state(&self) -> State {
        read().expect("a call holds its state until it is dropped")
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| *current = None);
    }
}

fn read() -> Option<State> {
    CURRENT.with_borrow(|current| *current)
}

fn change(f: impl FnOnce(&mut State)) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(state) = current {
            f(state);
        }
    });
}

/// A new connection is being opened: from here its own, shorter deadline counts.
pub(super) fn opening() {
    change(|state| {
        state.connect_by = Some(Instant::now() + state.connect_timeout);
        state.fresh = true;
    });
}

pub(super) fn enter(phase: Phase) {
    change(|state| {
        state.phase = phase;
        if phase == Phase::Exchange {
            state.connect_by = None;
        }
    });
}

pub(super) fn count_received(bytes: usize) {
    change(|state| state.received += bytes as u64);
}

pub(super) fn avoids_pool() -> bool {
    read().is_some_and(|state| state.avoid_pool)
}

/// The time that is left; None when it is up, or when no call is running.
pub(super) fn time_left() -> Option<Duration> {
    let state = read()?;
    let until = state.connect_by.map_or(state.deadline, |by| by.min(state.deadline));
    until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}
