//! May a vectorizer claim a batch now? Everything that can keep it from it, in one place, so that
//! scheduler, worker and claim agree. Pure: moments are microseconds since 1970.

use std::time::Duration;

use crate::states::VectorizerState;
use crate::windows::State;

/// What is known of one vectorizer at the moment `now`.
#[derive(Debug, Clone, Copy)]
pub struct Signs {
    pub now: i64,
    pub state: VectorizerState,
    /// The end of the wait after an error.
    pub retry_at: Option<i64>,
    /// None without windows.
    pub window: Option<State>,
    /// Somebody asked for a run outside the windows, and its limit is not reached.
    pub run: bool,
    /// The budget is used up until then.
    pub budget_until: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// After an error, for so long.
    BackingOff(Duration),
    /// Nothing may be claimed for so long; what it holds is better given back.
    Resting(Duration),
    /// Until somebody says otherwise.
    Stopped,
}

impl Readiness {
    pub fn of(signs: Signs) -> Readiness {
        let until = |moment: i64| Duration::from_micros(moment.saturating_sub(signs.now).max(0) as u64);
        if signs.state != VectorizerState::Running {
            return Readiness::Stopped;
        }
        if let Some(end) = signs.budget_until.filter(|end| *end > signs.now) {
            return Readiness::Resting(until(end));
        }
        if let Some(State { open: false, opens_at, .. }) = signs.window.filter(|_| !signs.run) {
            return opens_at.map_or(Readiness::Stopped, |opens| Readiness::Resting(until(opens)));
        }
        match signs.retry_at.filter(|retry| *retry > signs.now) {
            Some(retry) => Readiness::BackingOff(until(retry)),
            None => Readiness::Ready,
        }
    }

    /// How long to wait before it is worth looking again; zero when it is ready.
    pub fn wait(self) -> Option<Duration> {
        match self {
            Readiness::Ready => Some(Duration::ZERO),
            Readiness::BackingOff(time) | Readiness::Resting(time) => Some(time),
            Readiness::Stopped => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: Signs = Signs {
        now: 1_000_000,
        state: VectorizerState::Running,
        retry_at: None,
        window: None,
        run: false,
        budget_until: None,
    };
    const CLOSED: Option<State> = Some(State { open: false, opens_at: Some(5_000_000), closes_at: None });
    const OPEN: Option<State> =
        Some(State { open: true, opens_at: Some(9_000_000), closes_at: Some(4_000_000) });

    #[test]
    fn a_closed_window_holds_back_unless_a_run_was_asked_for() {
        let four = Readiness::Resting(Duration::from_secs(4));
        assert_eq!(Readiness::of(RUNNING), Readiness::Ready);
        assert_eq!(Readiness::of(Signs { window: OPEN, ..RUNNING }), Readiness::Ready);
        assert_eq!(Readiness::of(Signs { window: CLOSED, ..RUNNING }), four);
        assert_eq!(Readiness::of(Signs { window: CLOSED, run: true, ..RUNNING }), Readiness::Ready);
    }

    #[test]
    fn a_pause_wins_over_windows_and_runs() {
        for state in [VectorizerState::Paused, VectorizerState::Halted] {
            for window in [None, OPEN, CLOSED] {
                let signs = Signs { state, window, run: true, ..RUNNING };
                assert_eq!(Readiness::of(signs), Readiness::Stopped);
            }
        }
    }

    #[test]
    fn a_budget_wins_over_a_run_and_an_error_only_delays() {
        let spent = Signs { budget_until: Some(3_000_000), run: true, window: CLOSED, ..RUNNING };
        assert_eq!(Readiness::of(spent), Readiness::Resting(Duration::from_secs(2)));
        let turned = Signs { budget_until: Some(1_000_000), ..RUNNING };
        assert_eq!(Readiness::of(turned), Readiness::Ready);
        let failed = Signs { retry_at: Some(2_000_000), ..RUNNING };
        assert_eq!(Readiness::of(failed), Readiness::BackingOff(Duration::from_secs(1)));
        assert_eq!(Readiness::of(Signs { retry_at: Some(999_999), ..RUNNING }), Readiness::Ready);
    }
}
