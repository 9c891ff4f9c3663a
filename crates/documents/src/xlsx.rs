//! Excel: one heading and one table a sheet. Cells are taken as they stream by: a sheet whose only
//! cell is its last one is small.

use std::io::Cursor;

use calamine::{DataRef, ExcelDateTime, Reader, Xlsx};

use crate::archive::Archive;
use crate::markdown::{Gap, Markdown};
use crate::{Result, Unreadable};

pub fn read(bytes: &[u8], most: usize) -> Result<String> {
    // Counts the members and refuses what is no archive.
    Archive::open(bytes)?;
    let damaged = |error: calamine::XlsxError| Unreadable::new(format!("the workbook is damaged: {error}"));
    let mut book = Xlsx::new(Cursor::new(bytes)).map_err(damaged)?;
    let mut out = Markdown::new(most);
    for name in book.sheet_names() {
        // Charts and macros have no cells.
        let Ok(mut cells) = book.worksheet_cells_reader(&name) else { continue };
        out.heading(2);
        out.text(&name)?;
        out.end_line(Gap::Block);
        out.begin_table();
        let mut first_column = None;
        let mut at: Option<(u32, u32)> = None;
        while let Some(cell) = cells.next_cell().map_err(damaged)? {
            let (row, column) = cell.get_position();
            let text = show(cell.get_value());
            if text.is_empty() {
                continue;
            }
            let left = *first_column.get_or_insert(column);
            let begin = match at {
                Some((current, last)) if current == row => last + 1,
                Some(_) => {
                    out.end_row()?;
                    left
                }
                None => left,
            };
            for _ in begin..column {
                out.begin_cell();
            }
            out.begin_cell();
            out.text(&text)?;
            at = Some((row, column));
        }
        out.end_table()?;
    }
    out.finish()
}

fn show(value: &DataRef<'_>) -> String {
    match value {
        DataRef::Int(n) => n.to_string(),
        DataRef::Float(n) => n.to_string(),
        DataRef::String(text) => text.clone(),
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
        DataRef::DateTime(value) => show_date(*value),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => text.clone(),
        DataRef::Error(error) => error.to_string(),
        DataRef::Empty => String::new(),
    }
}

fn show_date(value: ExcelDateTime) -> String {
    if value.is_duration() {
        let seconds = (value.as_f64() * 86_400.0).round() as i64;
        return format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    }
    let (year, month, day, hour, minute, second, _) = value.to_ymd_hms_milli();
    let date = format!("{year:04}-{month:02}-{day:02}");
    match (hour, minute, second) {
        (0, 0, 0) => date,
        _ if value.as_f64() < 1.0 => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{date} {hour:02}:{minute:02}:{second:02}"),
    }
}
