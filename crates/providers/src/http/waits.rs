//! How long a provider asks to wait: in headers, each in its own way, or in the body of the
//! refusal. Nonsense is ignored, and nobody waits longer than an hour.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use ureq::http::HeaderMap;

use super::LONGEST_WAIT;

/// Seconds; who asks for more than a day means something else.
const LONGEST_SENSIBLE: f64 = 86_400.0;

/// Reads `retry-after-ms` and `Retry-After` (seconds or an HTTP date); where there is neither,
/// the time at which a used-up limit begins anew (OpenAI, Azure, Mistral), then the delay that
/// Google puts into the body.
pub(super) fn wait(headers: &HeaderMap, body: &[u8], now: SystemTime) -> Option<Duration> {
    retry_after(headers, now).or_else(|| used_up(headers)).or_else(|| retry_info(body))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn sensible(seconds: f64) -> Option<Duration> {
    let sensible = (0.0..=LONGEST_SENSIBLE).contains(&seconds);
    sensible.then(|| Duration::from_secs_f64(seconds.min(LONGEST_WAIT.as_secs_f64())))
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let seconds = |text: &str, unit: f64| sensible(text.parse::<f64>().ok()? * unit);
    let date = |text: &str| {
        let at = httpdate::parse_http_date(text).ok()?;
        Some(at.duration_since(now).unwrap_or_default().min(LONGEST_WAIT))
    };
    let exact = text(headers, "retry-after-ms").and_then(|t| seconds(t, 0.001));
    exact.or_else(|| text(headers, "retry-after").and_then(|t| seconds(t, 1.0).or_else(|| date(t))))
}

/// The longest wait for one of the limits of which nothing remains.
fn used_up(headers: &HeaderMap) -> Option<Duration> {
    const LIMITS: [(&str, &str); 3] = [
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        ("ratelimitbysize-remaining", "ratelimitbysize-reset"),
    ];
    let waits = LIMITS.iter().filter_map(|(remaining, reset)| {
        let nothing_left = text(headers, remaining)?.parse::<f64>().ok()? <= 0.0;
        nothing_left.then(|| span(text(headers, reset)?)).flatten()
    });
    waits.max()
}

/// `6m0s`, `1.5s`, `20ms`, or seconds as they are.
fn span(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return sensible(seconds);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    sensible(seconds)
}

/// `error.details[]` with a `retryDelay`, as Google's APIs have it.
fn retry_info(body: &[u8]) -> Option<Duration> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let details = body.get("error")?.get("details")?.as_array()?;
    details.iter().find_map(|detail| span(detail.get("retryDelay")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &str)], body: &str) -> Option<Duration> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        // 1994-11-06 08:49:37 UTC, the date of RFC 9110's example.
        wait(&map, body.as_bytes(), SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    #[test]
    fn retry_after_in_every_form() {
        let s = Duration::from_secs;
        for (value, expected) in [
            ("0", Some(s(0))),
            ("7", Some(s(7))),
            (" 7 ", Some(s(7))),
            ("1.5", Some(Duration::from_millis(1500))),
            ("3600", Some(s(3600))),
            ("1000000000", None),
            ("86400", Some(s(3600))),
            ("inf", None),
            ("-1", None),
            ("NaN", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(s(60))),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(s(60))),
            ("Sun Nov  6 08:50:37 1994", Some(s(60))),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(s(0))),
            ("Mon, 06 Nov 1995 08:49:37 GMT", Some(s(3600))),
            ("Sun, 99 Nov 1994 08:50:37 GMT", None),
        ] {
            assert_eq!(asked(&[("retry-after", value)], ""), expected, "{value:?}");
        }
        assert_eq!(asked(&[("retry-after-ms", "250")], ""), Some(Duration::from_millis(250)));
    }

    #[test]
    fn limits_that_are_used_up_say_when_they_begin_anew() {
        let requests = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0.5s")];
        assert_eq!(asked(&requests, ""), Some(Duration::from_millis(360_500)));
        // What is left over does not have to be waited for.
        let left = [("x-ratelimit-remaining-requests", "3"), ("x-ratelimit-reset-requests", "6m0s")];
        assert_eq!(asked(&left, ""), None);
        let tokens = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "20ms")];
        assert_eq!(asked(&[requests.as_slice(), &tokens].concat(), ""), Some(Duration::from_millis(360_500)));
        let mistral = [("ratelimitbysize-remaining", "0"), ("ratelimitbysize-reset", "17")];
        assert_eq!(asked(&mistral, ""), Some(Duration::from_secs(17)));
        for nonsense in ["", "m", "5x", "1h2", "-3s", "99999h", "é"] {
            let headers = [("x-ratelimit-remaining-tokens", "0")];
            let mut map = HeaderMap::new();
            map.insert(headers[0].0, "0".parse().unwrap());
            map.insert(
                "x-ratelimit-reset-tokens",
                ureq::http::HeaderValue::from_bytes(nonsense.as_bytes()).unwrap(),
            );
            assert_eq!(wait(&map, b"", SystemTime::UNIX_EPOCH), None, "{nonsense}");
        }
        // Retry-After has the last word.
        assert_eq!(
            asked(&[requests.as_slice(), &[("retry-after", "2")]].concat(), ""),
            Some(Duration::from_secs(2))
        );
    }

    #[test]
    fn google_says_it_in_the_body() {
        let body = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}"#;
        assert_eq!(asked(&[], body), Some(Duration::from_millis(34_500)));
        for other in ["", "{}", r#"{"error":"x"}"#, r#"{"error":{"details":[{"retryDelay":7}]}}"#] {
            assert_eq!(asked(&[], other), None, "{other}");
        }
    }
}
