//! Reading in processes of their own: whatever a document does, its reader alone pays.

use std::time::Duration;

use autovector_documents::process::{Readers, Trouble};
use autovector_documents::{How, Limits};

const MB: u64 = 1024 * 1024;

fn limits() -> Limits {
    Limits { size: 16 * MB, text: 4 * MB, memory: 128 * MB, time: Duration::from_secs(20) }
}

fn readers() -> Readers {
    // SAFETY: the other threads of a test hold no lock that reading needs.
    unsafe { Readers::start(2, || ()) }.unwrap()
}

/// Fear: texts are cut, mixed up between threads, or lost.
#[test]
fn threads_get_the_texts_of_their_documents() {
    let readers = readers();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let readers = &readers;
            scope.spawn(move || {
                for i in 0..10 {
                    let text = format!("{thread} {i} ").repeat(50_000);
                    assert_eq!(readers.read(text.as_bytes(), How::Auto, &limits()), Ok(text));
                }
            });
        }
    });
    assert_eq!(readers.read(b"", How::Auto, &limits()), Ok(String::new()));
    let page = b"<html><p>Text</p></html>";
    assert_eq!(readers.read(page, How::Auto, &limits()), Ok("Text".to_owned()));
    assert_eq!(readers.read(page, How::Text, &limits()), Ok("<html><p>Text</p></html>".to_owned()));
}

/// Fear: a document that is refused says nothing, or the next one fails too.
#[test]
fn refusals_come_with_their_reason() {
    let readers = readers();
    let refused = |bytes: &[u8], limits: &Limits| match readers.read(bytes, How::Auto, limits) {
        Err(Trouble::Unreadable(why)) => why.0,
        other => panic!("{other:?}"),
    };
    assert!(refused(b"\x89PNG\r\n", &limits()).contains("an image"));
    let small = Limits { size: 10, ..limits() };
    assert!(refused(b"12345678901", &small).contains("has 11 bytes"));
    let short = Limits { text: 10, ..limits() };
    assert!(refused(b"12345678901", &short).contains("more than 10 bytes of text"));
    let poor = Limits { memory: 4 * MB, ..limits() };
    let wide = format!("<html><table><tr>{}", "<td>x".repeat(1_000_000));
    assert!(refused(wide.as_bytes(), &poor).contains("more than 4 MB of memory"));
    let hurried = Limits { time: Duration::from_millis(1), ..limits() };
    assert!(refused(wide.as_bytes(), &hurried).contains("longer than 1ms"));
    assert_eq!(readers.read(b"still there", How::Auto, &limits()), Ok("still there".to_owned()));
}
