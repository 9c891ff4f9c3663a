//! CSV, as it is written here, into COPY's text format. Needed where a value holds a line `\.`,
//! which PostgreSQL up to version 17 takes for the end of CSV data, quoted or not.

use crate::count::is_plain;

#[derive(Debug, Default)]
pub struct Converter {
    state: State,
    /// The line of column names has passed.
    headed: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    /// Before the first byte of a value.
    #[default]
    Start,
    Bare,
    Quoted,
    /// After a quote in a quoted value: its end, or half of a doubled one.
    Quote,
}

impl Converter {
    /// Appends the text format of `csv` to `out`; values and rows may be cut anywhere.
    pub fn feed(&mut self, csv: &[u8], out: &mut Vec<u8>) {
        let mut rest = csv;
        while let Some(&byte) = rest.first() {
            if self.state == State::Quoted {
                let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
                self.escaped(&rest[..end], out);
                if end < rest.len() {
                    self.state = State::Quote;
                }
                rest = &rest[(end + 1).min(rest.len())..];
                continue;
            }
            rest = &rest[1..];
            match (self.state, byte) {
                (State::Start, b'"') => self.state = State::Quoted,
                (State::Quote, b'"') => {
                    self.escaped(b"\"", out);
                    self.state = State::Quoted;
                }
                (_, b',') => {
                    self.raw(b'\t', out);
                    self.state = State::Start;
                }
                (_, b'\n') => {
                    self.raw(b'\n', out);
                    self.headed = true;
                    self.state = State::Start;
                }
                // Only NULL stands bare, as `\N` in both formats.
                (_, byte) => {
                    self.raw(byte, out);
                    self.state = State::Bare;
                }
            }
        }
    }

    fn raw(&self, byte: u8, out: &mut Vec<u8>) {
        if self.headed {
            out.push(byte);
        }
    }

    fn escaped(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if !self.headed {
            return;
        }
        if is_plain(bytes) {
            return out.extend_from_slice(bytes);
        }
        for &byte in bytes {
            match byte {
                b'\\' => out.extend(b"\\\\"),
                b'\t' => out.extend(b"\\t"),
                b'\n' => out.extend(b"\\n"),
                b'\r' => out.extend(b"\\r"),
                byte => out.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_in_both_formats() {
        let csv = b"a,b\n\"x\",\\N\n\"\",\"\\N\"\n\"q\"\"q\",\"l\n\\.\nl\tt\\\r\"\n";
        let text = b"x\t\\N\n\t\\\\N\nq\"q\tl\\n\\\\.\\nl\\tt\\\\\\r\n";
        for step in 1..=csv.len() {
            let (mut converter, mut out) = (Converter::default(), Vec::new());
            csv.chunks(step).for_each(|chunk| converter.feed(chunk, &mut out));
            assert_eq!(out, text, "by {step}");
        }
    }
}
