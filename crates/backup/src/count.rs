//! Counts the rows of a stream while it passes, and notices where it stops in the middle of one.

use memchr::{memchr, memchr2};

use crate::names::Format;

/// The first bytes of PostgreSQL's binary format; flags and the length of an extension follow.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
const HEADER: usize = 19;

#[derive(Debug)]
pub enum Counter {
    Csv(Csv),
    Binary(Binary),
}

impl Counter {
    pub fn new(format: Format) -> Counter {
        match format {
            Format::Csv => Counter::Csv(Csv::default()),
            Format::Binary => Counter::Binary(Binary::default()),
        }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        match self {
            Counter::Csv(csv) => csv.feed(bytes),
            Counter::Binary(binary) => binary.feed(bytes),
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

/// The state of a walk over `header, (fields, (length, bytes)*)*, -1`.
#[derive(Debug, Default)]
pub struct Binary {
    pending: Vec<u8>,
    state: State,
    skip: u64,
    fields: u16,
    rows: u64,
    bad: Option<&'static str>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Header,
    Tuple,
    Field,
    End,
}

impl Binary {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.bad.is_none() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len() as u64);
                self.skip -= step;
                bytes = &bytes[step as usize..];
                continue;
            }
            let wanted = match self.state {
                State::Header => HEADER,
                State::Tuple => 2,
                State::Field => 4,
                State::End => {
                    self.bad = Some("goes on after its end");
                    return;
                }
            };
            let take = (wanted - self.pending.len()).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.pending.len() == wanted {
                let head = std::mem::take(&mut self.pending);
                self.step(&head);
            }
        }
    }

    fn step(&mut self, head: &[u8]) {
        match self.state {
            State::Header if !head.starts_with(SIGNATURE) => self.bad = Some("is not in binary format"),
            State::Header => {
                self.skip = u64::from(u32::from_be_bytes([head[15], head[16], head[17], head[18]]));
                self.state = State::Tuple;
            }
            State::Tuple => match i16::from_be_bytes([head[0], head[1]]) {
                -1 => self.state = State::End,
                fields if fields < 0 => self.bad = Some("has a row with no sensible number of fields"),
                fields => {
                    self.fields = fields as u16;
                    self.end_of_field();
                }
            },
            State::Field => {
                let length = i32::from_be_bytes([head[0], head[1], head[2], head[3]]);
                match length {
                    -1.. => self.skip = length.max(0) as u64,
                    _ => self.bad = Some("has a field with no sensible length"),
                }
                self.fields -= 1;
                self.end_of_field();
            }
            State::End => {}
        }
    }

    fn end_of_field(&mut self) {
        if self.fields == 0 {
            self.rows += 1;
            self.state = State::Tuple;
        } else {
            self.state = State::Field;
        }
    }

    fn rows(&self) -> Result<u64, &'static str> {
        match self.bad {
            Some(bad) => Err(bad),
            None if self.state != State::End || !self.pending.is_empty() => {
                Err("ends in the middle of a row")
            }
            None => Ok(self.rows),
        }
    }
}

/// True where `text` holds no byte that the text format of COPY has to escape.
pub(crate) fn is_plain(text: &[u8]) -> bool {
    memchr2(b'\\', b'\t', text).is_none() && memchr(b'\n', text).is_none() && memchr(b'\r', text).is_none()
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
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 8]);
        for value in [Some("ab"), None] {
            bytes.extend(2_i16.to_be_bytes());
            bytes.extend(1_i32.to_be_bytes());
            bytes.push(b'x');
            bytes.extend(value.map_or(-1, |v| v.len() as i32).to_be_bytes());
            bytes.extend(value.unwrap_or_default().as_bytes());
        }
        let complete = bytes.len() + 2;
        bytes.extend((-1_i16).to_be_bytes());
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
