//! Rate budgets: so many requests and tokens a minute, spread evenly. Pure numbers: the caller has
//! the clock.
//!
//! The algorithm is the generic cell rate algorithm (ITU-T I.371, annex A; "virtual scheduling"): a
//! meter knows the moment at which what was taken so far would have been earned at the allowed
//! rate, and something more may be taken while that moment is no further ahead than a small burst.

use std::time::Duration;

const MINUTE: f64 = 60.0;
/// This part of a minute's budget may go at once.
const BURST: f64 = 0.05;

/// What is allowed in a minute; None without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    pub requests: Option<u32>,
    pub tokens: Option<u32>,
}

impl Rates {
    pub fn is_unlimited(&self) -> bool {
        *self == Rates::default()
    }
}

/// One budget. Times are seconds since any moment, always the same one.
#[derive(Debug, Clone, Copy)]
struct Meter {
    /// Seconds that earn one unit.
    interval: f64,
    /// How far ahead `earned_at` may be, in seconds.
    tolerance: f64,
    earned_at: f64,
}

impl Meter {
    /// `unit` is what is taken at once at least: one request, or no token at all, because a request
    /// must go even where it is larger than the burst. The rate is lowered by the burst, so that no
    /// minute sees more than `per_minute`, apart from the last request's own tokens.
    fn new(per_minute: u32, unit: f64, now: f64) -> Meter {
        let per_minute = f64::from(per_minute.max(1));
        let burst = (per_minute * BURST).floor();
        let interval = MINUTE / (per_minute - burst).max(1.0);
        let tolerance = (burst + 1.0 - unit).max(0.0) * interval;
        // Nobody knows what was taken before: the burst is not there yet.
        Meter { interval, tolerance, earned_at: now + tolerance }
    }

    fn wait(&self, now: f64) -> f64 {
        (self.earned_at - self.tolerance - now).max(0.0)
    }

    fn take(&mut self, units: f64, now: f64) {
        self.earned_at = self.earned_at.max(now) + units * self.interval;
    }
}

/// The budgets of one vectorizer.
#[derive(Debug, Clone, Copy)]
pub struct Pacer {
    rates: Rates,
    requests: Option<Meter>,
    tokens: Option<Meter>,
}

impl Pacer {
    /// `now` is the time since any moment, the same one in every call.
    pub fn new(rates: Rates, now: Duration) -> Pacer {
        let now = now.as_secs_f64();
        Pacer {
            rates,
            requests: rates.requests.map(|n| Meter::new(n, 1.0, now)),
            tokens: rates.tokens.map(|n| Meter::new(n, 0.0, now)),
        }
    }

    pub fn rates(&self) -> Rates {
        self.rates
    }

    /// The time from one request to the next at the steady rate; zero without a limit of requests.
    pub fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.requests.map_or(0.0, |meter| meter.interval))
    }

    /// How long until another request may go; zero when it may go now.
    pub fn wait(&self, now: Duration) -> Duration {
        let now = now.as_secs_f64();
        let waits = [self.requests, self.tokens].into_iter().flatten().map(|meter| meter.wait(now));
        Duration::from_secs_f64(waits.fold(0.0, f64::max))
    }

    /// Takes a request of about `tokens` tokens, to be sent after the wait that is returned.
    pub fn take(&mut self, tokens: usize, now: Duration) -> Duration {
        let wait = self.wait(now);
        let sent = (now + wait).as_secs_f64();
        if let Some(meter) = &mut self.requests {
            meter.take(1.0, sent);
        }
        if let Some(meter) = &mut self.tokens {
            meter.take(tokens as f64, sent);
        }
        wait
    }

    /// Corrects an estimate once the provider has counted.
    pub fn correct(&mut self, estimated: usize, counted: usize) {
        if let Some(meter) = &mut self.tokens {
            meter.earned_at += (counted as f64 - estimated as f64) * meter.interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends `count` requests as fast as they may go, and returns the moments in seconds.
    fn sent(rates: Rates, tokens: usize, count: usize) -> Vec<f64> {
        let mut now = Duration::from_secs(1000);
        let mut pacer = Pacer::new(rates, now);
        let mut moments = Vec::new();
        for _ in 0..count {
            now += pacer.take(tokens, now);
            moments.push(now.as_secs_f64() - 1000.0);
        }
        moments
    }

    /// The most moments in any 60 seconds.
    fn densest_minute(moments: &[f64]) -> usize {
        let within =
            |from: f64| moments.iter().filter(|at| **at >= from && **at < from + 60.0 - 1e-6).count();
        moments.iter().map(|from| within(*from)).max().unwrap_or(0)
    }

    #[test]
    fn the_first_request_goes_at_once_and_the_others_are_spread() {
        let moments = sent(Rates { requests: Some(6), tokens: None }, 10, 4);
        assert_eq!(moments.iter().map(|at| at.round()).collect::<Vec<_>>(), [0.0, 10.0, 20.0, 30.0]);
    }

    #[test]
    fn tokens_are_paid_for_afterwards() {
        // 950 of 1,000 tokens a minute are the steady rate, 50 the burst.
        let moments = sent(Rates { requests: None, tokens: Some(1000) }, 500, 3);
        assert!(moments[0] < 0.001 && (moments[1] - 31.6).abs() < 0.1, "{moments:?}");
        assert!((moments[2] - moments[1] - 31.6).abs() < 0.1, "{moments:?}");
    }

    #[test]
    fn a_rest_earns_no_more_than_the_burst() {
        let rates = Rates { requests: Some(100), tokens: None };
        let mut pacer = Pacer::new(rates, Duration::ZERO);
        let later = Duration::from_secs(3600);
        let at_once = (0..20).take_while(|_| pacer.take(0, later).is_zero()).count();
        assert_eq!(at_once, 6, "5 % and the request itself");
    }

    #[test]
    fn a_corrected_estimate_counts() {
        let rates = Rates { requests: None, tokens: Some(1000) };
        let mut pacer = Pacer::new(rates, Duration::ZERO);
        pacer.take(900, Duration::ZERO);
        pacer.correct(900, 0);
        assert!(pacer.wait(Duration::ZERO).is_zero());
    }

    proptest! {
        #[test]
        fn no_minute_sees_more_requests_than_allowed(limit in 1_u32..400) {
            let moments = sent(Rates { requests: Some(limit), tokens: None }, 0, 3 * limit as usize);
            let densest = densest_minute(&moments);
            prop_assert!(densest <= limit as usize, "{densest} of {limit}");
            let total = moments.last().copied().unwrap_or(0.0);
            // And it is used: three minutes' worth takes little more than three minutes.
            prop_assert!(total <= 3.0 * 60.0 / 0.94, "{total} s");
        }

        #[test]
        fn no_minute_sees_more_tokens_than_allowed_and_one_request(limit in 1_000_u32..100_000, size in 1_usize..2_000) {
            let moments = sent(Rates { requests: None, tokens: Some(limit) }, size, 200);
            let densest = densest_minute(&moments) * size;
            prop_assert!(densest <= limit as usize + 2 * size, "{densest} of {limit}");
        }
    }
}
