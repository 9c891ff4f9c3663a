//! Every kind of document, as it should be read.

use autovector_documents::{How, read};

#[path = "../../../pgrx-tests/src/samples.rs"]
#[allow(dead_code)]
mod samples;

const MB: u64 = 1024 * 1024;

/// Fear: a kind is not recognized, or its text comes out wrong.
#[test]
fn each_kind_becomes_the_text_that_it_has() {
    for sample in samples::samples() {
        let text = read(&sample.bytes, How::Auto, MB).unwrap_or_else(|why| panic!("{}: {why}", sample.kind));
        assert_eq!(text, sample.text, "{}", sample.kind);
        assert!(!text.is_empty());
        assert!(read(&sample.bytes, How::Auto, 3).is_err(), "{} of more text than allowed", sample.kind);
    }
}

/// Fear: a document that is cut off, or of no kind that is read, becomes nonsense or a panic.
#[test]
fn what_cannot_be_read_is_refused_with_a_reason() {
    for sample in
        samples::samples().iter().filter(|sample| !matches!(sample.kind, "markdown" | "text" | "html"))
    {
        let why = read(&sample.bytes[..sample.bytes.len() / 2], How::Auto, MB).unwrap_err();
        assert!(!why.0.is_empty());
        assert!(
            read(&sample.bytes, How::Text, MB).is_err() || sample.kind == "pdf",
            "{} is no text",
            sample.kind
        );
    }
    let refused = |bytes: &[u8]| read(bytes, How::Auto, MB).unwrap_err().0;
    assert!(refused(&samples::zip(&[("hello.txt", b"hello")])).contains("neither DOCX"));
    assert!(refused(&samples::pdf(&[vec![]])).contains("has no text"));
    assert!(refused(b"{\\rtf1 text}").contains("RTF"));
}

/// Fear: a tracked deletion, a fallback for old programs or a nested table is read as text.
#[test]
fn a_word_document_says_what_its_readers_see() {
    let body = "<mc:AlternateContent><mc:Choice><w:p><w:r><w:t>new</w:t></w:r></w:p></mc:Choice>\
        <mc:Fallback><w:p><w:r><w:t>old</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent>\
        <w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p><w:tbl><w:tr><w:tc><w:p><w:r><w:t>in</w:t></w:r></w:p></w:tc></w:tr></w:tbl></w:tc>\
        <w:tc><w:p><w:r><w:t>b&#x41;|</w:t></w:r></w:p></w:tc></w:tr></w:tbl><w:p><w:r><w:t>z</w:t></w:r></w:p>";
    let text = read(&samples::docx_of(body, "<w:styles/>"), How::Auto, MB).unwrap();
    assert_eq!(text, "new\n\n| a in | bA\\| |\n| --- | --- |\n\nz");
}
