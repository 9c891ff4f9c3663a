//! Counts the rows of a stream while it passes, and notices where it stops in the middle of one.

use memchr::memchr2;

use crate::names::Format;
use crate::rows::binary;

#[derive(Debug)]
pub enum Counter {
    Csv(Csv),
    Binary(binary::Pieces),
}

impl Counter {
    pub fn new(format: Format) -> Counter {
        match format {
            Format::Csv => Counter::Csv(Csv::default()),
            Format::Binary => Counter::Binary(binary::Pieces::default()),
        }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        match self {
            Counter::Csv(csv) => csv.feed(bytes),
            Counter::Binary(binary) => binary.feed(bytes, &mut |_| {}),
        }
    }

    /// The rows, without the line of column names. Errors: what is wrong with the stream.
    pub fn rows(&self) -> Result<u64, &'static str> {
        match self {
            Counter::Csv(csv) if csv.quoted || csv.begun => Err("ends in the middle of a row"),
            Counter::Csv(csv) => csv.lines.checked_sub(1).ok_or("has no line of column names"),
            Counter::Binary(binary) => binary.rows(),
        }
    }

    /// A line that is `\.` alone inside a quoted value: until version 17 PostgreSQL takes it for
    /// the end of the data.
    pub fn has_end_marker(&self) -> bool {
        matches!(self, Counter::Csv(csv) if csv.end_marker)
    }
}

#[derive(Debug, Default)]
pub struct Csv {
    lines: u64,
    quoted: bool,
    /// There are bytes after the last end of a row.
    begun: bool,
    /// How much of `\.` has been seen since the beginning of a line in a quoted value.
    marker: u8,
    end_marker: bool,
}

impl Csv {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.marker > 0 {
                self.follow_marker(bytes[0]);
            }
            let Some(at) = memchr2(b'"', b'\n', bytes) else {
                self.begun = true;
                self.look_behind(bytes);
                return;
            };
            self.look_behind(&bytes[..=at]);
            if bytes[at] == b'"' {
                self.quoted = !self.quoted;
                self.begun = true;
            } else if self.quoted {
                self.marker = 1;
            } else {
                self.lines += 1;
                self.begun = false;
            }
            bytes = &bytes[at + 1..];
        }
    }

    /// The byte that follows a line break in a quoted value: the marker goes on, or is over. The
    /// rest of a started marker is found by `look_behind`.
    fn follow_marker(&mut self, byte: u8) {
        self.marker = match (self.marker, byte) {
            (1, b'\\') => 2,
            (2, b'.') => 3,
            _ => 0,
        };
    }

    /// What of `bytes` lies behind the first one can only carry on a marker that began there.
    fn look_behind(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().skip(1) {
            match self.marker {
                0 => return,
                3 => {
                    self.end_marker = true;
                    self.marker = 0;
                }
                _ => self.follow_marker(byte),
            }
        }
        if self.marker == 3 {
            // What follows does not matter: a line that begins like the marker is suspicious.
            self.end_marker = true;
            self.marker = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(format: Format, bytes: &[u8], step: usize) -> (Result<u64, &'static str>, bool) {
        let mut counter = Counter::new(format);
        bytes.chunks(step).for_each(|chunk| counter.feed(chunk));
        (counter.rows(), counter.has_end_marker())
    }

    /// Fear: line breaks in values count as rows, or the count depends on how the file is read.
    #[test]
    fn rows_of_csv_are_counted_however_the_stream_is_cut() {
        for (text, rows, marker) in [
            ("id\n", Ok(0), false),
            ("id,b\n\"1\",\"a\nb\"\n\"2\",\\N\n", Ok(2), false),
            ("id\n\"\"\"\n\"\"\"\n", Ok(1), false),
            ("id\n\"a\n\\.\nb\"\n", Ok(1), true),
            ("id\n\"\\.\"\n", Ok(1), false),
            ("id\n\"a\n\\\nb\"\n", Ok(1), false),
            ("id\n\"1\"", Err("ends in the middle of a row"), false),
            ("id\n\"1\n", Err("ends in the middle of a row"), false),
            ("", Err("has no line of column names"), false),
        ] {
            for step in 1..=text.len().max(1) {
                assert_eq!(count(Format::Csv, text.as_bytes(), step), (rows, marker), "{text:?} by {step}");
            }
        }
    }

    /// Fear: a binary file that was cut off loads as a shorter one.
    #[test]
    fn rows_of_binary_are_counted_and_cuts_noticed() {
        let mut bytes = Vec::new();
        binary::begin(&mut bytes);
        for value in [Some("ab"), None] {
            bytes.extend(2_i16.to_be_bytes());
            bytes.extend(1_i32.to_be_bytes());
            bytes.push(b'x');
            bytes.extend(value.map_or(-1, |v| v.len() as i32).to_be_bytes());
            bytes.extend(value.unwrap_or_default().as_bytes());
        }
        let complete = bytes.len() + 2;
        binary::end(&mut bytes);
        for step in 1..=bytes.len() {
            assert_eq!(count(Format::Binary, &bytes, step).0, Ok(2), "by {step}");
        }
        for length in 0..complete {
            assert!(count(Format::Binary, &bytes[..length], 5).0.is_err(), "{length}");
        }
        bytes.push(0);
        assert!(count(Format::Binary, &bytes, 7).0.is_err());
        assert!(count(Format::Binary, b"id,body\n1,2\n3,4\n5,6,7\n", 7).0.is_err());
    }
}
