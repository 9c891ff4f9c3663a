//! How long to wait after a failed request, and how many requests to have in flight.
//! Pure numbers: the caller has the clock and the dice.

use std::time::Duration;

/// The wait after the first error.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait that errors alone lead to.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// The longest wait that a provider can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(15 * 60);

/// The wait before the next request, after `consecutive_errors` request errors in a row (0: none).
/// It doubles from 1 s to 5 min; `jitter`, a random number from 0 to 1, takes off up to half of it, so
/// that workers stopped by one outage come back one after the other. `retry_after` is the provider's
/// `Retry-After`: the wait is never shorter, but a provider cannot ask for more than 15 min.
pub fn delay(consecutive_errors: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let asked = retry_after.unwrap_or_default().min(LONGEST_ASKED);
    let Some(doublings) = consecutive_errors.checked_sub(1) else { return asked };
    // 2^9 s is above the longest wait already.
    let full = (FIRST * 2_u32.pow(doublings.min(9))).min(LONGEST);
    let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
    full.mul_f64(1.0 - jitter / 2.0).max(asked)
}

/// How many requests may be in flight: one more after each success, half as many after a request
/// error (additive increase, multiplicative decrease, as TCP does it), always from 1 to `max`. It
/// begins with 1, so that a wrong key costs one request, and goes on with `PROVEN` once that one
/// was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    size: usize,
    max: usize,
    /// A request was answered, or failed.
    tried: bool,
}

/// TCP's initial window (RFC 3390): small enough for any provider, and small jobs are done in two
/// round trips.
const PROVEN: usize = 4;

impl Window {
    /// A `max` of 0 counts as 1.
    pub fn new(max: usize) -> Window {
        Window { size: 1, max: max.max(1), tried: false }
    }

    /// The requests that may be in flight now.
    pub fn size(&self) -> usize {
        self.size
    }

    /// After an answered request.
    pub fn success(&mut self) {
        let grown = if self.tried { self.size + 1 } else { PROVEN };
        self.tried = true;
        self.size = grown.min(self.max);
    }

    /// After a `Failure::Request`; other failures say nothing about the provider's load.
    pub fn error(&mut self) {
        self.tried = true;
        self.size = (self.size / 2).max(1);
    }

    /// Another limit, as after a change of the configuration.
    pub fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
        self.size = self.size.min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wait_doubles_up_to_five_minutes() {
        let seconds: Vec<u64> = (0..12).map(|errors| delay(errors, None, 0.0).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(u32::MAX, None, 0.0), LONGEST);
    }

    #[test]
    fn jitter_takes_off_up_to_half() {
        assert_eq!(delay(4, None, 1.0), Duration::from_secs(4));
        assert_eq!(delay(4, None, 0.5), Duration::from_secs(6));
        for odd in [f64::NAN, -1.0, f64::NEG_INFINITY] {
            assert_eq!(delay(4, None, odd), Duration::from_secs(8));
        }
        assert_eq!(delay(4, None, f64::INFINITY), Duration::from_secs(4));
    }

    #[test]
    fn the_provider_is_heard_within_reason() {
        let after = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(delay(1, after(30), 0.0), Duration::from_secs(30));
        assert_eq!(delay(1, after(0), 0.0), Duration::from_secs(1));
        assert_eq!(delay(10, after(30), 0.0), LONGEST);
        assert_eq!(delay(1, after(86_400), 0.0), LONGEST_ASKED);
        assert_eq!(delay(0, after(5), 0.0), Duration::from_secs(5));
        assert_eq!(delay(1, Some(Duration::MAX), 0.9), LONGEST_ASKED);
    }

    #[test]
    fn the_window_grows_by_one_and_halves() {
        let mut window = Window::new(8);
        let mut sizes = vec![window.size()];
        for _ in 0..9 {
            window.success();
            sizes.push(window.size());
        }
        assert_eq!(sizes, [1, 4, 5, 6, 7, 8, 8, 8, 8, 8]);
        let sizes: Vec<usize> = (0..5)
            .map(|_| {
                window.error();
                window.size()
            })
            .collect();
        assert_eq!(sizes, [4, 2, 1, 1, 1]);
        window.set_max(0);
        window.success();
        assert_eq!(window.size(), 1);
        let mut refused = Window::new(8);
        refused.error();
        refused.success();
        assert_eq!(refused.size(), 2, "nothing is proven by a success after an error");
        let mut narrow = Window::new(3);
        narrow.success();
        assert_eq!(narrow.size(), 3);
    }

    proptest! {
        #[test]
        fn the_wait_is_bounded_and_grows_with_the_errors(
            errors in 1..u32::MAX, asked in prop::option::of(0..10_000_u64), jitter in 0.0..1.0f64
        ) {
            let asked = asked.map(Duration::from_secs);
            let wait = delay(errors, asked, jitter);
            prop_assert!(wait >= FIRST / 2);
            prop_assert!(wait <= LONGEST.max(asked.unwrap_or_default().min(LONGEST_ASKED)));
            prop_assert!(wait >= asked.unwrap_or_default().min(LONGEST_ASKED));
            prop_assert!(wait >= delay(errors - 1, asked, jitter));
            prop_assert_eq!(wait, delay(errors, asked, jitter));
        }

        #[test]
        fn the_window_stays_within_its_bounds(max in 0..100_usize, steps in prop::collection::vec(any::<bool>(), 0..300)) {
            let mut window = Window::new(max);
            for success in steps {
                let before = window.size();
                if success { window.success() } else { window.error() }
                prop_assert!((1..=max.max(1)).contains(&window.size()));
                let (smaller, larger) = if success { (before, window.size()) } else { (window.size(), before) };
                prop_assert!(smaller <= larger);
            }
        }
    }
}
