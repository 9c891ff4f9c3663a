//! CSV, as it is written here, into COPY's text format. Needed where a value holds a line `\.`,
//! which PostgreSQL up to version 17 takes for the end of CSV data, quoted or not.

use memchr::{memchr, memchr3};

use super::Piece;
use super::csv::{self, Pieces};

#[derive(Debug, Default)]
pub struct Converter {
    pieces: Pieces,
    /// A value of the row has been written.
    begun: bool,
    /// Within a value that comes in parts.
    open: bool,
}

impl Converter {
    /// Appends the text format of `csv` to `out`; values and rows may be cut anywhere.
    pub fn feed(&mut self, csv: &[u8], out: &mut Vec<u8>) {
        let Converter { pieces, begun, open } = self;
        pieces.feed(csv, &mut |piece| {
            if !*open && piece != Piece::Row {
                if *begun {
                    out.push(b'\t');
                }
                *begun = true;
            }
            *open = matches!(piece, Piece::Part(_));
            match piece {
                Piece::Null => out.extend_from_slice(csv::NULL),
                Piece::Whole(bytes) | Piece::Part(bytes) => escaped(bytes, out),
                Piece::End => {}
                Piece::Row => {
                    out.push(b'\n');
                    *begun = false;
                }
            }
        });
    }
}

fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    if memchr3(b'\\', b'\t', b'\n', bytes).is_none() && memchr(b'\r', bytes).is_none() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_in_both_formats() {
        let csv = b"a,b\n\"x\",\\N\n\"\",\"\\N\"\n\"q\"\"q\",\"l\n\\.\nl\tt\\\r\"\n\"\"\"\",\"\"\"a\"\n";
        let text = b"x\t\\N\n\t\\\\N\nq\"q\tl\\n\\\\.\\nl\\tt\\\\\\r\n\"\t\"a\n";
        for step in 1..=csv.len() {
            let (mut converter, mut out) = (Converter::default(), Vec::new());
            csv.chunks(step).for_each(|chunk| converter.feed(chunk, &mut out));
            assert_eq!(out, text, "by {step}");
        }
    }
}
