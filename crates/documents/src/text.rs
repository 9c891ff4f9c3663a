//! Bytes that are text. The encoding is that of a byte order mark, else UTF-8 where the bytes are
//! valid UTF-8, else Windows-1252, which includes Latin-1. Bytes that no text would have are
//! refused, not guessed at.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use crate::markdown::too_long;
use crate::{Result, Unreadable};

/// The text, with its line ends as `\n`.
pub fn decode(bytes: &[u8], most: usize) -> Result<String> {
    decode_as(bytes, None, most)
}

/// As `decode`, but a page may name its own encoding.
pub fn decode_html(bytes: &[u8], most: usize) -> Result<String> {
    // The markup is not text: it may be longer than what is left of it.
    decode_as(bytes, declared(bytes), most.saturating_mul(8))
}

fn decode_as(bytes: &[u8], declared: Option<&'static Encoding>, most: usize) -> Result<String> {
    let (encoding, mark) = match Encoding::for_bom(bytes) {
        Some(found) => found,
        None if std::str::from_utf8(bytes).is_ok() => (UTF_8, 0),
        None => (declared.filter(|e| *e != UTF_8).unwrap_or(WINDOWS_1252), 0),
    };
    let (text, malformed) = encoding.decode_without_bom_handling(&bytes[mark..]);
    if malformed && mark > 0 {
        return Err(Unreadable::new(format!("the document says it is {}, and is not", encoding.name())));
    }
    if looks_binary(&text) {
        return Err(Unreadable::new("the document is neither text nor of a kind that can be read"));
    }
    if text.len() > most {
        return Err(too_long(most));
    }
    Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text.into_owned() })
}

/// Control characters that text has no use for. A NUL is enough; of the others, more than one in
/// a hundred characters.
fn looks_binary(text: &str) -> bool {
    let odd = |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b')) || c == '\u{7f}';
    let controls = text.chars().filter(|c| odd(*c)).count();
    text.contains('\0') || controls * 100 > text.len()
}

/// `charset=…` near the beginning.
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes[..bytes.len().min(1024)].to_ascii_lowercase();
    let at = head.windows(8).position(|window| window == b"charset=")? + 8;
    let label = head[at..].strip_prefix(b"\"").or(head[at..].strip_prefix(b"'")).unwrap_or(&head[at..]);
    let end = label.iter().position(|b| !(b.is_ascii_alphanumeric() || b"-_:".contains(b)));
    Encoding::for_label(&label[..end.unwrap_or(label.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_apart() {
        let text = |bytes: &[u8]| decode(bytes, 1000);
        assert_eq!(text("Grüße\r\nzwei\rdrei".as_bytes()).unwrap(), "Grüße\nzwei\ndrei");
        assert_eq!(text(b"\xef\xbb\xbfmark").unwrap(), "mark");
        assert_eq!(text(b"\xff\xfeG\0r\0\xfc\0").unwrap(), "Grü");
        assert_eq!(text(b"\xfe\xff\0G\0r\0\xfc").unwrap(), "Grü");
        assert_eq!(text(b"Gr\xfc\xdfe \x80").unwrap(), "Grüße €", "Latin-1 as browsers read it");
        assert_eq!(text(b"").unwrap(), "");
        for binary in [&b"a\0b"[..], b"\x89PNG\r\n\x1a\n\0\0", b"\x01\x02\x03\x04text"] {
            assert!(text(binary).is_err(), "{binary:?}");
        }
        assert!(text(b"\xff\xfeG\0\x00\xd8").is_err(), "half a surrogate pair");
        assert!(decode(b"12345", 4).is_err());
    }

    #[test]
    fn a_page_names_its_encoding() {
        let page = b"<html><meta charset=\"koi8-r\">\xf0\xd2\xc9\xd7\xc5\xd4";
        assert!(decode_html(page, 1000).unwrap().ends_with("Привет"));
        let page = "<html><meta charset=latin1>ü".as_bytes();
        assert!(decode_html(page, 1000).unwrap().ends_with('ü'), "valid UTF-8 counts more than what is said");
    }
}
