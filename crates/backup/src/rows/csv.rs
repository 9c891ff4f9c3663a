//! CSV as backups have it: every value quoted, `\N` for NULL, a line of column names first.

use memchr::memchr;

use super::Piece;

/// How NULL stands in a row, without quotes.
pub const NULL: &[u8] = b"\\N";

/// Takes a stream to pieces, wherever it is cut. The line of column names is passed over.
#[derive(Debug, Default)]
pub struct Pieces {
    state: State,
    /// A value without quotes, which came in parts.
    bare: Vec<u8>,
    /// The line of column names has passed.
    headed: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    /// Before the first byte of a value.
    #[default]
    Start,
    Bare,
    /// In a quoted value of which nothing was handed out.
    Opened,
    /// In a quoted value that is handed out in parts.
    Quoted,
    /// After a quote in a quoted value: its end, or half of a doubled one.
    Quote,
}

impl Pieces {
    pub fn feed(&mut self, mut csv: &[u8], see: &mut impl FnMut(Piece<'_>)) {
        while let Some(&byte) = csv.first() {
            match self.state {
                State::Opened => {
                    // Most values end in the same block, and have no quote in them.
                    if let Some(end) = memchr(b'"', csv)
                        && matches!(csv.get(end + 1), Some(b',' | b'\n'))
                    {
                        self.see(Piece::Whole(&csv[..end]), see);
                        self.over(csv[end + 1], see);
                        csv = &csv[end + 2..];
                    } else {
                        self.state = State::Quoted;
                    }
                    continue;
                }
                State::Quoted => {
                    let end = memchr(b'"', csv);
                    self.see(Piece::Part(&csv[..end.unwrap_or(csv.len())]), see);
                    csv = end.map_or(&[], |end| &csv[end + 1..]);
                    if end.is_some() {
                        self.state = State::Quote;
                    }
                    continue;
                }
                State::Quote if byte == b'"' => {
                    self.see(Piece::Part(b"\""), see);
                    self.state = State::Quoted;
                }
                State::Start if byte == b'"' => self.state = State::Opened,
                _ if byte == b',' || byte == b'\n' => {
                    match self.state {
                        State::Quote => self.see(Piece::End, see),
                        _ => self.bare(see),
                    }
                    self.over(byte, see);
                }
                _ => {
                    self.bare.push(byte);
                    self.state = State::Bare;
                }
            }
            csv = &csv[1..];
        }
    }

    fn see(&self, piece: Piece<'_>, see: &mut impl FnMut(Piece<'_>)) {
        if self.headed {
            see(piece);
        }
    }

    fn bare(&mut self, see: &mut impl FnMut(Piece<'_>)) {
        let value = std::mem::take(&mut self.bare);
        self.see(if value == NULL { Piece::Null } else { Piece::Whole(&value) }, see);
    }

    /// A value is over, at this byte.
    fn over(&mut self, byte: u8, see: &mut impl FnMut(Piece<'_>)) {
        self.state = State::Start;
        if byte == b'\n' {
            self.see(Piece::Row, see);
            self.headed = true;
        }
    }
}
