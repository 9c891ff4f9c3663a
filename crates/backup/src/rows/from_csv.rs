//! CSV, as it is written here, into binary rows for the server.

use super::csv::Pieces;
use super::{Gathered, Piece, binary};

pub use super::encode::Type;

#[derive(Debug)]
pub struct FromCsv {
    pieces: Pieces,
    row: Row,
}

#[derive(Debug)]
struct Row {
    columns: Vec<Type>,
    /// Number of the column that comes.
    column: usize,
    value: Gathered,
    rows: u64,
    /// The first thing that could not be taken.
    bad: Option<String>,
}

impl FromCsv {
    /// For rows of these columns; appends the head of the stream to `out`.
    pub fn new(columns: Vec<Type>, out: &mut Vec<u8>) -> FromCsv {
        binary::begin(out);
        let row = Row { columns, column: 0, value: Gathered::default(), rows: 0, bad: None };
        FromCsv { pieces: Pieces::default(), row }
    }

    /// Appends the rows to `out`; they may be cut anywhere. Errors: a value is none of its type.
    pub fn feed(&mut self, csv: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let FromCsv { pieces, row } = self;
        pieces.feed(csv, &mut |piece| row.see(piece, out));
        self.row.bad.take().map_or(Ok(()), Err)
    }

    /// Appends the end of the stream.
    pub fn finish(self, out: &mut Vec<u8>) {
        binary::end(out);
    }
}

impl Row {
    fn see(&mut self, piece: Piece<'_>, out: &mut Vec<u8>) {
        if self.bad.is_some() {
            return;
        }
        let (count, row) = (self.columns.len(), self.rows + 1);
        if piece == Piece::Row {
            if self.column != count {
                self.bad = Some(format!("has {} columns in row {row}, not {count}", self.column));
            }
            (self.column, self.rows) = (0, row);
            return;
        }
        let Some(r#type) = self.columns.get(self.column) else {
            self.bad = Some(format!("has more than {count} columns in row {row}"));
            return;
        };
        if let Piece::Part(_) = piece {
            return self.value.take(piece, |_| {});
        }
        if self.column == 0 {
            out.extend_from_slice(&(count as i16).to_be_bytes());
        }
        self.column += 1;
        if piece == Piece::Null {
            return out.extend_from_slice(&(-1_i32).to_be_bytes());
        }
        let (column, bad) = (self.column, &mut self.bad);
        self.value.take(piece, |value| {
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            match r#type.encode(value, out).and_then(|()| i32::try_from(out.len() - at - 4).ok()) {
                Some(length) => out[at..at + 4].copy_from_slice(&length.to_be_bytes()),
                None => *bad = Some(format!("has no {:?} in row {row}, column {column}", r#type)),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::to_csv::{Sent, ToCsv};
    use super::*;

    fn binary(types: &[Type], csv: &[u8], step: usize) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut rows = FromCsv::new(types.to_vec(), &mut out);
        for chunk in csv.chunks(step) {
            rows.feed(chunk, &mut out)?;
        }
        rows.finish(&mut out);
        Ok(out)
    }

    /// Fear: what goes into a file comes out of it as something else.
    #[test]
    fn what_was_written_is_read_again_however_it_is_cut() {
        let csv = b"a,v\n\"q\"\"q,\n\\.\",\"[1,-0.25,3e-9]\"\n\"\",\\N\n\\N,\"[-0]\"\n\"\\N\",\"[]\"\n";
        let mut whole = Vec::new();
        for step in (1..=csv.len()).rev() {
            let out = binary(&[Type::Text, Type::Vector], csv, step).unwrap();
            if whole.is_empty() {
                whole = out.clone();
                let columns = [("a".to_owned(), Sent::Text), ("v".to_owned(), Sent::Vector)];
                let mut again = Vec::new();
                let mut rows = ToCsv::new(&columns, &mut again);
                rows.feed(&out, &mut again);
                assert_eq!(rows.rows(), Ok(4));
                assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(csv));
            }
            assert_eq!(out, whole, "by {step}");
        }
    }

    /// Fear: a row that lost a column shifts the others.
    #[test]
    fn rows_of_another_shape_are_refused() {
        for (csv, expected) in [
            ("a,b\n\"x\"\n", "has 1 columns in row 1, not 2"),
            ("a,b\n\"x\",\"1\"\n\"x\",\"1\",\"y\"\n", "has more than 2 columns in row 2"),
            ("a,b\n\"x\",\"1x\"\n", "has no Int4 in row 1, column 2"),
        ] {
            let found = binary(&[Type::Text, Type::Int4], csv.as_bytes(), 1000).unwrap_err();
            assert_eq!(found, expected);
        }
    }
}
