//! PostgreSQL's binary COPY format: `header, (fields, (length, bytes)*)*, -1`. Source: "COPY",
//! File Formats, Binary Format, in PostgreSQL's documentation.

use super::Piece;

/// The first bytes; flags and the length of an extension follow.
pub const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
const HEADER: usize = 19;

/// What a stream without an extension begins with.
pub fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0; HEADER - SIGNATURE.len()]);
}

/// What stands where another row would.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1_i16).to_be_bytes());
}

/// Takes a stream to pieces, wherever it is cut.
#[derive(Debug, Default)]
pub struct Pieces {
    pending: Vec<u8>,
    state: State,
    /// Bytes of the value, or of the header's extension, that are still to come.
    left: usize,
    fields: u16,
    rows: u64,
    bad: Option<&'static str>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Header,
    Extension,
    Tuple,
    Field,
    /// Before the first byte of a value.
    Value,
    /// Within a value that comes in parts.
    Rest,
    End,
}

impl Pieces {
    pub fn feed(&mut self, mut bytes: &[u8], see: &mut impl FnMut(Piece<'_>)) {
        while !bytes.is_empty() && self.bad.is_none() {
            let wanted = match self.state {
                State::Header => HEADER,
                State::Tuple => 2,
                State::Field => 4,
                State::Extension | State::Value | State::Rest => {
                    let step = self.left.min(bytes.len());
                    self.left -= step;
                    self.part(&bytes[..step], see);
                    bytes = &bytes[step..];
                    continue;
                }
                State::End => {
                    self.bad = Some("goes on after its end");
                    return;
                }
            };
            if self.pending.is_empty() && bytes.len() >= wanted {
                let (head, rest) = bytes.split_at(wanted);
                self.step(head, see);
                bytes = rest;
                continue;
            }
            let take = (wanted - self.pending.len()).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.pending.len() == wanted {
                let head = std::mem::take(&mut self.pending);
                self.step(&head, see);
            }
        }
    }

    fn part(&mut self, bytes: &[u8], see: &mut impl FnMut(Piece<'_>)) {
        let over = self.left == 0;
        match (self.state, over) {
            (State::Extension, true) => self.state = State::Tuple,
            (State::Extension, false) => {}
            (State::Value, true) => {
                see(Piece::Whole(bytes));
                self.end_of_field(see);
            }
            (_, true) => {
                see(Piece::Part(bytes));
                see(Piece::End);
                self.end_of_field(see);
            }
            (_, false) => {
                see(Piece::Part(bytes));
                self.state = State::Rest;
            }
        }
    }

    fn step(&mut self, head: &[u8], see: &mut impl FnMut(Piece<'_>)) {
        match self.state {
            State::Header if !head.starts_with(SIGNATURE) => self.bad = Some("is not in binary format"),
            State::Header => {
                self.left = u32::from_be_bytes([head[15], head[16], head[17], head[18]]) as usize;
                self.state = if self.left > 0 { State::Extension } else { State::Tuple };
            }
            State::Tuple => match i16::from_be_bytes([head[0], head[1]]) {
                -1 => self.state = State::End,
                0.. => {
                    self.fields = u16::from_be_bytes([head[0], head[1]]) + 1;
                    self.end_of_field(see);
                }
                _ => self.bad = Some("has a row with no sensible number of fields"),
            },
            State::Field => match i32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
                -1 => {
                    see(Piece::Null);
                    self.end_of_field(see);
                }
                0 => {
                    see(Piece::Whole(&[]));
                    self.end_of_field(see);
                }
                length @ 1.. => {
                    self.left = length as usize;
                    self.state = State::Value;
                }
                _ => self.bad = Some("has a field with no sensible length"),
            },
            State::Extension | State::Value | State::Rest | State::End => {}
        }
    }

    fn end_of_field(&mut self, see: &mut impl FnMut(Piece<'_>)) {
        self.fields -= 1;
        if self.fields == 0 {
            self.rows += 1;
            self.state = State::Tuple;
            see(Piece::Row);
        } else {
            self.state = State::Field;
        }
    }

    /// The rows of a stream that is over. Errors: what is wrong with it.
    pub fn rows(&self) -> Result<u64, &'static str> {
        match self.bad {
            Some(bad) => Err(bad),
            None if self.state != State::End || !self.pending.is_empty() => {
                Err("ends in the middle of a row")
            }
            None => Ok(self.rows),
        }
    }
}
