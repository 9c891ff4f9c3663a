//! Waiting for a condition, with a deadline. The one place of this crate that
//! lets time pass.

use std::time::{Duration, Instant};

/// Asks `condition` every `pause` until it gives a value or `limit` has passed;
/// `None` means that the limit came first. The condition is asked at least once.
///
/// # Errors
/// The first error of `condition`.
pub fn wait_until<T, E>(
    limit: Duration,
    pause: Duration,
    mut condition: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(Some(value));
        }
        if started.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_ends_the_wait() {
        let mut asked = 0;
        let answer: Result<_, ()> = wait_until(Duration::from_secs(60), Duration::ZERO, || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(answer, Ok(Some(3)));
    }

    #[test]
    fn the_limit_and_the_first_error_end_it_too() {
        let never = wait_until(Duration::ZERO, Duration::ZERO, || Ok::<Option<()>, ()>(None));
        assert_eq!(never, Ok(None));
        let error = wait_until(Duration::from_secs(60), Duration::ZERO, || Err::<Option<()>, _>("no"));
        assert_eq!(error, Err("no"));
    }
}
