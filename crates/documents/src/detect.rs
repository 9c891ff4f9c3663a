//! What kind of document some bytes are. Names are not asked: they lie.

use crate::archive::Archive;
use crate::{Result, Unreadable};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pdf,
    Docx,
    Pptx,
    Xlsx,
    Epub,
    Html,
    /// Markdown too.
    Text,
}

/// Readers of PDF accept some bytes before the header.
const PDF_HEADER_WITHIN: usize = 1024;

/// Kinds that are known and not read, by how they begin.
const OTHERS: [(&[u8], &str); 16] = [
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document of the old binary format, or an encrypted one"),
    (b"{\\rtf", "RTF"),
    (b"%!PS", "PostScript"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"II*\0", "an image"),
    (b"MM\0*", "an image"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
];

pub fn kind(bytes: &[u8]) -> Result<Kind> {
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(Unreadable::new(format!("the document is {name}, which is not read")));
    }
    let head = &bytes[..bytes.len().min(PDF_HEADER_WITHIN)];
    if head.windows(5).any(|window| window == b"%PDF-") {
        return Ok(Kind::Pdf);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return archive_kind(bytes);
    }
    Ok(if is_html(head) { Kind::Html } else { Kind::Text })
}

fn archive_kind(bytes: &[u8]) -> Result<Kind> {
    let archive = Archive::open(bytes)?;
    let members = [
        ("META-INF/container.xml", Kind::Epub),
        ("word/document.xml", Kind::Docx),
        ("ppt/presentation.xml", Kind::Pptx),
        ("xl/workbook.xml", Kind::Xlsx),
    ];
    let found = members.iter().find(|(member, _)| archive.has(member));
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        Unreadable::new("the document is a ZIP archive, but neither DOCX, PPTX, XLSX nor EPUB")
    })
}

/// Begins with markup that only a page has, behind white space, comments and declarations.
fn is_html(head: &[u8]) -> bool {
    // Also where every other byte is NUL (UTF-16).
    let plain: Vec<u8> = head.iter().filter(|b| **b != 0).map(u8::to_ascii_lowercase).collect();
    let text = String::from_utf8_lossy(&plain);
    let mut rest = text.trim_start_matches(|c: char| c == '\u{feff}' || c == '\u{fffd}' || c.is_whitespace());
    loop {
        let after = match rest {
            _ if rest.starts_with("<!--") => rest.split_once("-->"),
            _ if rest.starts_with("<?xml") => rest.split_once("?>"),
            _ => None,
        };
        match after {
            Some((_, after)) => rest = after.trim_start(),
            None => break,
        }
    }
    const BEGINNINGS: [&str; 18] = [
        "!doctype html",
        "html",
        "head",
        "body",
        "title",
        "meta",
        "script",
        "style",
        "div",
        "p",
        "h1",
        "h2",
        "h3",
        "table",
        "article",
        "section",
        "ul",
        "main",
    ];
    let Some(tag) = rest.strip_prefix('<') else { return false };
    BEGINNINGS.iter().any(|name| {
        tag.strip_prefix(name).is_some_and(|after| after.starts_with(|c: char| c == '>' || c.is_whitespace()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        let table: [(&[u8], Kind); 9] = [
            (b"%PDF-1.7\n", Kind::Pdf),
            (b"some bytes before\n%PDF-1.4", Kind::Pdf),
            (b"<!DOCTYPE HTML>\n<p>x", Kind::Html),
            (b"\xef\xbb\xbf <!-- c --> <html lang='en'>", Kind::Html),
            (b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'>", Kind::Html),
            (b"\xff\xfe<\0h\0t\0m\0l\0>\0", Kind::Html),
            (b"# Markdown\n\n<div>inside</div>", Kind::Text),
            (b"<invoice><total>1</total></invoice>", Kind::Text),
            (b"", Kind::Text),
        ];
        for (bytes, kind) in table {
            assert_eq!(super::kind(bytes), Ok(kind), "{:?}", String::from_utf8_lossy(bytes));
        }
        assert!(super::kind(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest").unwrap_err().0.contains("old binary"));
        assert!(super::kind(b"PK\x03\x04 but no archive").is_err());
    }
}
