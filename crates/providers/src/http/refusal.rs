//! Answers that are not 2xx: which failure a status means, how long the provider asks to
//! wait, and what of its message may be shown. Does no I/O.

use std::time::{Duration, SystemTime};

use autovector_domain::{failure::Failure, secret::Secret};
use serde_json::Value;
use ureq::http::HeaderMap;

use super::waits;

/// A provider that asks for more is asked again after this all the same.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Characters of a provider's message that are shown.
const SHOWN: usize = 300;

/// Shorter secrets protect nothing, and hiding them would only garble messages.
const SHORTEST_SECRET: usize = 4;

/// An answer with a status other than 2xx.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub status: u16,
    /// `error.code` and `error.type`, as OpenAI and its likes send them.
    pub code: Option<String>,
    pub kind: Option<String>,
    /// The provider's own words, safe to show; may be empty.
    pub message: String,
    pub retry_after: Option<Duration>,
    pub origin: String,
}

impl Refusal {
    pub(super) fn new(
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
        origin: String,
        secret: Option<&Secret>,
    ) -> Self {
        let said = Said::read(body);
        let tidy = |text: String| tidy(&text, secret);
        Refusal {
            status,
            code: said.code.map(tidy),
            kind: said.kind.map(tidy),
            message: tidy(said.message),
            retry_after: waits::wait(headers, body, SystemTime::now()),
            origin,
        }
    }

    /// The whole sentence: who answered what.
    pub fn describe(&self) -> String {
        let Refusal { status, origin, message, .. } = self;
        let reason = ureq::http::StatusCode::from_u16(*status).ok().and_then(|s| s.canonical_reason());
        let reason = reason.map(|r| format!(" {r}")).unwrap_or_default();
        match message.as_str() {
            "" => format!("{origin} answered {status}{reason}"),
            message => format!("{origin} answered {status}{reason}: {message}"),
        }
    }

    pub fn as_request(&self) -> Failure {
        Failure::Request { message: self.describe(), retry_after: self.retry_after }
    }

    pub fn as_config(&self, hint: impl Into<String>) -> Failure {
        Failure::config(self.describe(), hint)
    }

    pub fn as_input(&self) -> Failure {
        Failure::input(self.describe())
    }

    /// What the status alone means, whatever the provider.
    pub fn failure(&self) -> Failure {
        match self.status {
            408 | 409 | 425 | 429 | 500.. => self.as_request(),
            300..400 => self.as_config("Give the URL it redirects to; redirects are not followed."),
            401 => self.as_config("Check the API key."),
            402 => self.as_config("Check the account's plan and its balance."),
            403 => self.as_config("Check what the API key may do, and the model's name."),
            407 => self.as_config("A proxy stands between; give the provider's own URL."),
            404 | 405 | 410 => self.as_config("Check the model's name and the URL."),
            400..500 => self.as_input(),
            // 1xx never gets here; an odd status is nobody's fault.
            _ => self.as_request(),
        }
    }
}

/// The parts of an error body.
#[derive(Default)]
struct Said {
    message: String,
    code: Option<String>,
    kind: Option<String>,
}

impl Said {
    fn read(body: &[u8]) -> Said {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => Said::from_json(&value),
            Err(_) => {
                let text = String::from_utf8_lossy(body);
                // A page of HTML says nothing that fits into a line.
                let is_page = text.trim_start().starts_with('<');
                Said { message: if is_page { String::new() } else { text.into_owned() }, ..Said::default() }
            }
        }
    }

    /// `{"error": {"message", "code", "type"}}`, `{"error": "…"}`, `{"message": "…"}` and
    /// `{"detail": "…" | [{"msg": "…"}]}`.
    fn from_json(value: &Value) -> Said {
        let inner = match value.get("error") {
            Some(error) if error.is_object() => error,
            _ => value,
        };
        let text = |key: &str| match inner.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let detail = || {
            // Mistral has the list in `message`.
            let list = inner.get("detail").or_else(|| inner.get("message")?.get("detail"))?;
            list.get(0)?.get("msg").and_then(Value::as_str).map(str::to_owned)
        };
        let message = text("message").or_else(|| text("error")).or_else(|| text("detail")).or_else(detail);
        let message = message.or_else(|| value.as_str().map(str::to_owned)).unwrap_or_default();
        Said { message, code: text("code"), kind: text("type").or_else(|| text("error_type")) }
    }
}

/// Makes a provider's text fit for a log line: no control characters, no secret, one line,
/// at most 300 characters.
pub(crate) fn tidy(text: &str, secret: Option<&Secret>) -> String {
    // Control characters go first: they could hide the secret from the search.
    let steers = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let plain: String = text
        .chars()
        .filter(|c| !(steers(*c) || c.is_control() && !c.is_whitespace()))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let hidden = match secret {
        Some(secret) => hide(&plain, secret.expose()),
        None => plain,
    };
    let line = hidden.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

/// Puts `***` in place of the secret, and of words that begin with its first characters:
/// providers quote keys shortened (`sk-abcd…wxyz`), and a text can end in the middle of one.
fn hide(text: &str, secret: &str) -> String {
    if secret.chars().count() < SHORTEST_SECRET {
        return text.to_owned();
    }
    let mut hidden = text.replace(secret, "***");
    let beginning = match secret.char_indices().nth(8) {
        Some((end, _)) => &secret[..end],
        None => return hidden,
    };
    while let Some(start) = hidden.find(beginning) {
        let rest = &hidden[start..];
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '}' | ')'));
        hidden.replace_range(start..start + end.unwrap_or(rest.len()), "***");
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever is sent, however the key is mixed in: nothing panics, the key stays hidden, the
        /// line is short, the wait is bounded.
        #[test]
        fn hostile_refusals_are_tamed(
            status in 100_u16..1000,
            before in "\\PC{0,20}|[\\x00-\\x7f]{0,30}|\\{\"error\":\\{\"message\":\"[^\"]{0,20}",
            inside in 0_usize..20,
            invisible in "[\u{200b}\u{202e}\u{feff}\u{0}\u{7}]{0,3}",
            after in "\\PC{0,400}|\"\\}\\}|[\"{}\\[\\]\\\\:,0-9a-z]{0,60}",
            header in "[ -~]{0,30}|[0-9.e+-]{1,12}",
        ) {
            let key = "sk-live-0123456789abcdef";
            let mixed = format!("{}{invisible}{}", &key[..inside], &key[inside..]);
            let body = format!("{before}{mixed}{after}");
            let mut headers = HeaderMap::new();
            for name in ["retry-after", "retry-after-ms"] {
                headers.insert(name, header.parse().expect("printable ASCII"));
            }
            let secret = Secret::new(key);
            let refusal = Refusal::new(status, &headers, body.as_bytes(), "https://h.test".to_owned(), Some(&secret));
            proptest::prop_assert!(refusal.retry_after.is_none_or(|wait| wait <= LONGEST_WAIT));
            let shown = [Some(refusal.message.clone()), refusal.code.clone(), refusal.kind.clone()];
            for text in shown.into_iter().flatten() {
                proptest::prop_assert!(!text.contains(key), "{text}");
                proptest::prop_assert!(!text.chars().any(char::is_control), "{text:?}");
                proptest::prop_assert!(text.chars().count() <= SHOWN + 1, "{text}");
            }
            let _ = refusal.failure();
        }
    }

    #[test]
    fn every_status_has_its_class() {
        let class = |status: u16| {
            let headers = HeaderMap::new();
            match Refusal::new(status, &headers, b"", "https://h.test".into(), None).failure() {
                Failure::Request { .. } => 'R',
                Failure::Config { hint, .. } => {
                    assert!(!hint.unwrap().is_empty());
                    'C'
                }
                Failure::Input { .. } => 'I',
            }
        };
        for (statuses, expected) in [
            (&[408, 409, 425, 429, 500, 501, 502, 503, 504, 520, 529, 599, 999][..], 'R'),
            (&[300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405, 407, 410][..], 'C'),
            (&[400, 406, 411, 413, 414, 415, 418, 422, 431, 451, 499][..], 'I'),
        ] {
            for status in statuses {
                assert_eq!(class(*status), expected, "{status}");
            }
        }
    }

    #[test]
    fn the_message_is_found_in_every_shape() {
        for (body, message) in [
            (r#"{"error":{"message":"too long","type":"invalid_request_error","code":"x"}}"#, "too long"),
            (
                r#"{"error":"model \"m\" not found, try pulling it first"}"#,
                r#"model "m" not found, try pulling it first"#,
            ),
            (r#"{"object":"error","message":"no matryoshka","code":400}"#, "no matryoshka"),
            (r#"{"detail":"Not authenticated"}"#, "Not authenticated"),
            (
                r#"{"detail":[{"loc":["body"],"msg":"field required","input":"secret row"}]}"#,
                "field required",
            ),
            (r#"{"error":{"code":503}}"#, ""),
            (r#"{"error":null}"#, ""),
            (r#""just text""#, "just text"),
            ("plain text\n", "plain text"),
            ("<html><body>Bad gateway</body></html>", ""),
            ("", ""),
            ("[[[[", "[[[["),
        ] {
            assert_eq!(Said::read(body.as_bytes()).message.trim(), message, "{body}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(tidy(&Said::read(deep.as_bytes()).message, None).chars().count(), 301);
    }

    #[test]
    fn numeric_codes_are_read_too() {
        let said = Said::read(br#"{"error":{"message":"m","type":"t","code":400}}"#);
        assert_eq!((said.code.as_deref(), said.kind.as_deref()), (Some("400"), Some("t")));
    }

    #[test]
    fn tidy_leaves_one_short_line() {
        assert_eq!(tidy("a\r\n\tb\u{0}\u{1b}[31m\u{202e}c\u{9f}", None), "a b[31mc");
        let long = tidy(&"ä".repeat(1000), None);
        assert_eq!((long.chars().count(), long.ends_with('…')), (301, true));
    }

    #[test]
    fn the_secret_is_hidden_in_every_disguise() {
        let key = Secret::new("sk-proj-0123456789abcdef");
        for text in [
            "bad key sk-proj-0123456789abcdef!",
            "bad key 'sk-proj-*********cdef'.",
            "twice sk-proj-0123456789abcdefsk-proj-0123456789abcdef",
            "sk-\u{0}proj-01\u{200b}23456789abcdef",
            "sk-proj-0123456789abcde",
            "cut sk-proj-0",
        ] {
            let shown = tidy(text, Some(&key));
            assert!(!shown.contains("sk-proj"), "{shown}");
            assert!(!shown.contains("0123456789"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
        }
        assert_eq!(tidy("x marks the spot", Some(&Secret::new("x"))), "x marks the spot");
        assert_eq!(tidy("key EMPTY is bad", Some(&Secret::new("EMPTY"))), "key *** is bad");
    }
}
