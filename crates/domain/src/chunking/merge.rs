//! Packs pieces into chunks up to a size, with an overlap. Knows nothing about separators
//! but their length.

use std::{collections::VecDeque, ops::Range};

/// A part of the text, with its length in code points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    start: usize,
    end: usize,
    pub chars: usize,
}

impl Piece {
    pub fn new(text: &str, range: Range<usize>) -> Piece {
        let chars = text[range.clone()].chars().count();
        Piece { start: range.start, end: range.end, chars }
    }
}

/// A sliding window over the pieces: it grows to the size, is handed out as one chunk, and shrinks
/// from the left to the overlap. Every piece enters and leaves once.
pub(super) struct Merger<'a> {
    text: &'a str,
    joiner: &'a str,
    joiner_chars: usize,
    size: usize,
    overlap: usize,
    window: VecDeque<Piece>,
    /// Code points in the window, joiners included.
    total: usize,
    /// Bytes in the window, joiners excluded.
    bytes: usize,
    joined: String,
}

impl<'a> Merger<'a> {
    pub fn new(text: &'a str, joiner: &'a str, size: usize, overlap: usize) -> Merger<'a> {
        Merger {
            text,
            joiner,
            joiner_chars: joiner.chars().count(),
            size,
            overlap,
            window: VecDeque::new(),
            total: 0,
            bytes: 0,
            joined: String::new(),
        }
    }

    /// Adds a piece (never an empty one) and hands out the chunk that it does not fit into.
    pub fn push(&mut self, piece: Piece, sink: &mut dyn FnMut(&str)) {
        if self.would_be(piece) > self.size && !self.window.is_empty() {
            self.hand_out(sink);
            while self.total > self.overlap || (self.total > 0 && self.would_be(piece) > self.size) {
                self.drop_first();
            }
        }
        self.total = self.would_be(piece);
        self.bytes += piece.end - piece.start;
        self.window.push_back(piece);
    }

    /// Hands out what is left. The merger is as new afterwards.
    pub fn finish(&mut self, sink: &mut dyn FnMut(&str)) {
        if !self.window.is_empty() {
            self.hand_out(sink);
        }
        self.window.clear();
        self.total = 0;
        self.bytes = 0;
    }

    /// The window's length with `piece` in it.
    fn would_be(&self, piece: Piece) -> usize {
        self.total + piece.chars + if self.window.is_empty() { 0 } else { self.joiner_chars }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.window.pop_front() {
            self.total -= first.chars + if self.window.is_empty() { 0 } else { self.joiner_chars };
            self.bytes -= first.end - first.start;
        }
    }

    fn hand_out(&mut self, sink: &mut dyn FnMut(&str)) {
        let (Some(first), Some(last)) = (self.window.front(), self.window.back()) else { return };
        let gapless = last.end - first.start == self.bytes;
        let chunk = if gapless && (self.joiner.is_empty() || self.window.len() == 1) {
            strip(&self.text[first.start..last.end])
        } else {
            self.join()
        };
        if !chunk.is_empty() {
            sink(chunk);
        }
    }

    fn join(&mut self) -> &str {
        self.joined.clear();
        for (index, piece) in self.window.iter().enumerate() {
            if index > 0 {
                self.joined.push_str(self.joiner);
            }
            self.joined.push_str(&self.text[piece.start..piece.end]);
        }
        strip(&self.joined)
    }
}

/// Python's `str.strip()`: besides Unicode's white space it takes the four separator controls.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}
