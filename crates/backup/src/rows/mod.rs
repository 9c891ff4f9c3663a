//! Rows in the formats of COPY, taken to pieces and put together in another one. What costs COPY
//! most with vectors is writing and reading their numbers as text; it is done here instead, on a
//! thread beside the server's, between CSV in the file and binary values at the server.

pub mod binary;
pub mod csv;
mod encode;
pub mod from_csv;
pub mod text;
pub mod to_csv;

/// What a stream of rows consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    Null,
    /// A value that came in one piece.
    Whole(&'a [u8]),
    /// A part of a value; `End` follows the last one.
    Part(&'a [u8]),
    End,
    /// The end of a row.
    Row,
}

/// Gathers the parts of a value: who needs all of it gets it as one.
#[derive(Debug, Default)]
struct Gathered(Vec<u8>);

impl Gathered {
    /// Hands `value` what a piece completes.
    fn take(&mut self, piece: Piece<'_>, value: impl FnOnce(&[u8])) {
        match piece {
            Piece::Whole(bytes) => value(bytes),
            Piece::Part(bytes) => self.0.extend_from_slice(bytes),
            Piece::End => {
                value(&self.0);
                self.0.clear();
            }
            Piece::Null | Piece::Row => {}
        }
    }
}
