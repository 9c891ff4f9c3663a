//! Binary rows of the server's into CSV. All values but vectors come as the text that their
//! types write; a vector comes as its numbers.

use memchr::memchr;

use super::binary::Pieces;
use super::{Gathered, Piece, csv};

/// What the binary value of a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Text,
    /// As pgvector's `vector_send` writes it: the number of dimensions and a zero (`int2` each), then
    /// as many `float4`, in network order.
    Vector,
}

#[derive(Debug)]
pub struct ToCsv {
    pieces: Pieces,
    row: Row,
}

#[derive(Debug)]
struct Row {
    columns: Vec<Sent>,
    /// Number of the column that comes.
    column: usize,
    /// Within a text that comes in parts.
    open: bool,
    vector: Gathered,
    bad: bool,
}

impl ToCsv {
    /// For rows of these columns; appends the line of their names to `out`.
    pub fn new(columns: &[(String, Sent)], out: &mut Vec<u8>) -> ToCsv {
        for (number, (name, _)) in columns.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            if name.contains([',', '"', '\n', '\r']) {
                out.push(b'"');
                quoted(name.as_bytes(), out);
                out.push(b'"');
            } else {
                out.extend_from_slice(name.as_bytes());
            }
        }
        out.push(b'\n');
        let columns = columns.iter().map(|(_, sent)| *sent).collect();
        let row = Row { columns, column: 0, open: false, vector: Gathered::default(), bad: false };
        ToCsv { pieces: Pieces::default(), row }
    }

    /// Appends the rows to `out`; they may be cut anywhere.
    pub fn feed(&mut self, binary: &[u8], out: &mut Vec<u8>) {
        let ToCsv { pieces, row } = self;
        pieces.feed(binary, &mut |piece| row.see(piece, out));
    }

    /// The number of rows. Errors: the stream was not what it should have been.
    pub fn rows(&self) -> Result<u64, &'static str> {
        if self.row.bad { Err("has a value of the wrong type") } else { self.pieces.rows() }
    }
}

impl Row {
    fn see(&mut self, piece: Piece<'_>, out: &mut Vec<u8>) {
        if piece == Piece::Row {
            out.push(b'\n');
            self.bad |= self.column != self.columns.len();
            self.column = 0;
            return;
        }
        let Some(sent) = self.columns.get(self.column) else {
            self.bad = true;
            return;
        };
        if !self.open && self.column > 0 {
            out.push(b',');
        }
        match (sent, piece) {
            (_, Piece::Null) => out.extend_from_slice(csv::NULL),
            (Sent::Vector, piece) => self.vector.take(piece, |value| self.bad |= !vector(value, out)),
            (Sent::Text, Piece::Whole(text)) => {
                out.push(b'"');
                quoted(text, out);
                out.push(b'"');
            }
            (Sent::Text, Piece::Part(text)) => {
                if !self.open {
                    out.push(b'"');
                }
                quoted(text, out);
            }
            (Sent::Text, _) => out.push(b'"'),
        }
        self.open = matches!(piece, Piece::Part(_));
        if !self.open {
            self.column += 1;
        }
    }
}

/// Doubles the quotes.
fn quoted(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr(b'"', text) {
        out.extend_from_slice(&text[..=at]);
        out.push(b'"');
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

/// Writes the shortest numbers that are read as the same ones. False: it is no vector.
fn vector(value: &[u8], out: &mut Vec<u8>) -> bool {
    let Some((head, numbers)) = value.split_first_chunk::<4>() else { return false };
    let (numbers, rest) = numbers.as_chunks::<4>();
    if usize::from(u16::from_be_bytes([head[0], head[1]])) != numbers.len() || !rest.is_empty() {
        return false;
    }
    // Ten bytes are what a number of a normalized vector takes, at most.
    out.reserve(numbers.len() * 12 + 4);
    out.extend_from_slice(b"\"[");
    let mut buffer = zmij::Buffer::new();
    for (at, number) in numbers.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let text = buffer.format(f32::from_be_bytes(*number)).as_bytes();
        // Byte by byte: comparing with ".0" by a call took a tenth of all the time.
        let whole = matches!(text, [.., b'.', b'0']);
        out.extend_from_slice(if whole { &text[..text.len() - 2] } else { text });
    }
    out.extend_from_slice(b"]\"");
    true
}

#[cfg(test)]
mod tests {
    use super::super::binary;
    use super::*;

    fn value(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
        out.extend(bytes.map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
        out.extend(bytes.unwrap_or_default());
    }

    fn sent(numbers: &[f32]) -> Vec<u8> {
        let mut sent = [(numbers.len() as u16).to_be_bytes(), [0, 0]].concat();
        numbers.iter().for_each(|number| sent.extend(number.to_be_bytes()));
        sent
    }

    /// Fear: what a value holds, or where the stream is cut, changes the file.
    #[test]
    fn rows_are_written_however_the_stream_is_cut() {
        let columns = [("a".to_owned(), Sent::Text), ("b \"x\",".to_owned(), Sent::Vector)];
        let mut stream = Vec::new();
        binary::begin(&mut stream);
        let rows = [
            (Some("q\"q,\n\\."), Some(sent(&[1.0, -0.5, 1e-5, -0.0, f32::MAX, f32::MIN_POSITIVE]))),
            (Some(""), None),
            (None, Some(sent(&[0.1]))),
            (Some("\\N"), Some(sent(&[16_777_216.0]))),
        ];
        for (text, vector) in &rows {
            stream.extend(2_i16.to_be_bytes());
            value(text.map(str::as_bytes), &mut stream);
            value(vector.as_deref(), &mut stream);
        }
        binary::end(&mut stream);
        let mut whole = String::new();
        for step in (1..=stream.len()).rev() {
            let mut out = Vec::new();
            let mut rows = ToCsv::new(&columns, &mut out);
            stream.chunks(step).for_each(|chunk| rows.feed(chunk, &mut out));
            assert_eq!(rows.rows(), Ok(4), "by {step}");
            let out = String::from_utf8(out).unwrap();
            if whole.is_empty() {
                whole = out;
                let lines: Vec<&str> = whole.split('\n').collect();
                assert_eq!(lines[0], r#"a,"b ""x"",""#);
                assert_eq!(lines[1], r#""q""q,"#);
                assert!(lines[2].starts_with(r#"\.","[1,-0.5,0.00001,-0,"#), "{}", lines[2]);
                assert_eq!(lines[3], r#""",\N"#);
                assert_eq!(lines[4], r#"\N,"[0.1]""#);
                let numbers = lines[2].split_once('[').unwrap().1.trim_end_matches("]\"");
                let read: Vec<f32> = numbers.split(',').map(|number| number.parse().unwrap()).collect();
                let bits = |numbers: &[f32]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
                let expected = [1.0, -0.5, 1e-5, -0.0, f32::MAX, f32::MIN_POSITIVE];
                assert_eq!(bits(&read), bits(&expected));
            } else {
                assert_eq!(out, whole, "by {step}");
            }
        }
    }

    /// Fear: a stream that is cut off, or of another shape, passes for a shorter table.
    #[test]
    fn what_is_no_vector_is_noticed() {
        for (columns, bytes) in [(1_i16, &[0, 2, 0, 0, 0, 0, 0, 0][..]), (1, &[0]), (2, &[0, 0, 0, 0])] {
            let mut stream = Vec::new();
            binary::begin(&mut stream);
            stream.extend(columns.to_be_bytes());
            (0..columns).for_each(|_| value(Some(bytes), &mut stream));
            binary::end(&mut stream);
            let mut out = Vec::new();
            let mut rows = ToCsv::new(&[("v".to_owned(), Sent::Vector)], &mut out);
            rows.feed(&stream, &mut out);
            assert!(rows.rows().is_err(), "{bytes:?}");
        }
    }
}
