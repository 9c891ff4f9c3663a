//! Packs whole sentences (Unicode's, UAX #29) into chunks. A sentence that is too long by itself
//! is cut between words.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::{
    Sink, descend,
    merge::{Merger, Piece},
    separator::Separator,
};
use crate::failure::Failure;

/// Words whose full stop ends no sentence.
const ABBREVIATIONS: [&str; 24] = [
    "Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "St.", "Jr.", "Sr.", "No.", "Fig.", "Eq.", "vs.", "cf.", "e.g.",
    "i.e.", "z.B.", "bzw.", "Nr.", "Hr.", "Fr.", "M.", "Mme.", "Sra.", "approx.",
];

pub(super) fn chunk(
    text: &str,
    separators: &[Separator],
    size: usize,
    overlap: usize,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let mut merger = Merger::new(text, "", size, overlap);
    let mut failure = Ok(());
    sentences(text, &mut |range| {
        let piece = Piece::new(text, range.clone());
        if piece.chars <= size {
            merger.push(piece, sink);
            return;
        }
        merger.finish(sink);
        if failure.is_ok() {
            failure = descend(&text[range], separators, size, overlap, sink);
        }
    });
    failure?;
    merger.finish(sink);
    Ok(())
}

/// Each sentence with the blanks behind it.
fn sentences(text: &str, take: &mut dyn FnMut(Range<usize>)) {
    let mut start = 0;
    for (at, sentence) in text.split_sentence_bound_indices() {
        let end = at + sentence.len();
        if !goes_on(&text[start..end], sentence) {
            take(start..end);
            start = end;
        }
    }
    if start < text.len() {
        take(start..text.len());
    }
}

/// Whether the stop at the end belongs to an abbreviation, or to the initial of a name.
fn goes_on(whole: &str, sentence: &str) -> bool {
    let trimmed = sentence.trim_end();
    // What is long enough is a sentence whatever it ends in: nothing is looked at twice.
    if !trimmed.ends_with('.') || sentence.ends_with(['\n', '\r']) || whole.len() > 4096 {
        return false;
    }
    let word = trimmed.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let mut letters = word.chars();
    let initial = letters.next().is_some_and(char::is_uppercase) && letters.as_str() == ".";
    initial || ABBREVIATIONS.contains(&word)
}
