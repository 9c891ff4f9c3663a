//! Writes Markdown-like text: blocks, lines, headings, lists, tables; never more than it may.

use crate::{Result, Unreadable};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    None,
    Space,
    Line,
    Block,
}

pub struct Markdown {
    out: String,
    most: usize,
    /// What stands between the text so far and the next.
    gap: Gap,
    /// What begins the next line, such as `## ` or `- `.
    prefix: String,
    table: Option<Table>,
}

#[derive(Default)]
struct Table {
    /// Cells of the row that is being read.
    row: Vec<String>,
    cell: String,
    in_cell: bool,
    cell_gap: bool,
    /// Columns of the rows so far; 0 before the first.
    columns: usize,
    /// Bytes of the row, so that cells are bounded too.
    bytes: usize,
}

/// Deeper lists are not set in further.
const DEEPEST_LIST: usize = 6;

impl Markdown {
    pub fn new(most: usize) -> Self {
        Markdown { out: String::new(), most, gap: Gap::None, prefix: String::new(), table: None }
    }

    /// At least this much stands before what comes next.
    pub fn gap(&mut self, gap: Gap) {
        match &mut self.table {
            Some(table) if table.in_cell => table.cell_gap = true,
            _ => self.gap = self.gap.max(gap),
        }
    }

    /// The next text is a heading.
    pub fn heading(&mut self, level: usize) {
        self.gap(Gap::Block);
        self.prefix = format!("{} ", "#".repeat(level.clamp(1, 6)));
    }

    /// The next text is an item of a list, `depth` from 0.
    pub fn item(&mut self, depth: usize, number: Option<usize>) {
        self.gap(Gap::Line);
        let indent = "  ".repeat(depth.min(DEEPEST_LIST));
        self.prefix = match number {
            Some(number) => format!("{indent}{number}. "),
            None => format!("{indent}- "),
        };
    }

    /// The heading or item is over, also where it had no text.
    pub fn end_line(&mut self, gap: Gap) {
        self.prefix.clear();
        self.gap(gap);
    }

    /// Text whose white space means nothing but a space.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let mut space = text.starts_with(is_space);
        for word in text.split(is_space).filter(|word| !word.is_empty()) {
            if space {
                self.gap(Gap::Space);
            }
            self.verbatim(word)?;
            space = true;
        }
        if text.ends_with(is_space) {
            self.gap(Gap::Space);
        }
        Ok(())
    }

    /// Text as it is.
    pub fn verbatim(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if let Some(table) = self.table.as_mut().filter(|table| table.in_cell) {
            if std::mem::take(&mut table.cell_gap) && !table.cell.is_empty() {
                table.cell.push(' ');
            }
            table.bytes += text.len() + 1;
            if self.out.len() + table.bytes > self.most {
                return Err(too_long(self.most));
            }
            push_clean(&mut table.cell, text);
            return Ok(());
        }
        let gap = match std::mem::replace(&mut self.gap, Gap::None) {
            _ if self.out.is_empty() => "",
            Gap::None => "",
            Gap::Space => " ",
            Gap::Line => "\n",
            Gap::Block => "\n\n",
        };
        if self.out.len() + gap.len() + self.prefix.len() + text.len() > self.most {
            return Err(too_long(self.most));
        }
        self.out.push_str(gap);
        self.out.push_str(&std::mem::take(&mut self.prefix));
        push_clean(&mut self.out, text);
        Ok(())
    }

    // --- tables: cells of one line each; a table within a cell becomes text of the cell --------

    pub fn begin_table(&mut self) {
        self.gap(Gap::Block);
        self.prefix.clear();
        self.table = Some(Table::default());
    }

    pub fn begin_cell(&mut self) {
        self.end_cell();
        if let Some(table) = &mut self.table {
            table.in_cell = true;
            table.cell_gap = false;
        }
    }

    pub fn end_cell(&mut self) {
        if let Some(table) = self.table.as_mut().filter(|table| table.in_cell) {
            table.in_cell = false;
            let cell = std::mem::take(&mut table.cell);
            table.row.push(cell.replace('|', "\\|"));
        }
    }

    /// A row of one cell is a paragraph: pages are laid out by such tables.
    pub fn end_row(&mut self) -> Result<()> {
        self.end_cell();
        let Some(table) = &mut self.table else { return Ok(()) };
        let row = std::mem::take(&mut table.row);
        table.bytes = 0;
        if row.iter().all(String::is_empty) {
            return Ok(());
        }
        if row.len() == 1 && table.columns == 0 {
            self.gap(Gap::Block);
            self.verbatim(&row[0].replace("\\|", "|"))?;
            self.gap(Gap::Block);
            return Ok(());
        }
        let first = table.columns == 0;
        table.columns = table.columns.max(row.len());
        self.gap(if first { Gap::Block } else { Gap::Line });
        self.verbatim(&format!("| {} |", row.join(" | ")))?;
        if first {
            self.gap(Gap::Line);
            self.verbatim(&format!("|{}", " --- |".repeat(row.len())))?;
        }
        Ok(())
    }

    pub fn end_table(&mut self) -> Result<()> {
        self.end_row()?;
        self.table = None;
        self.gap(Gap::Block);
        Ok(())
    }

    pub fn in_table(&self) -> bool {
        self.table.is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    pub fn finish(mut self) -> Result<String> {
        if self.table.is_some() {
            self.end_table()?;
        }
        Ok(self.out)
    }
}

pub fn too_long(most: usize) -> Unreadable {
    Unreadable::new(format!("the document has more than {most} bytes of text"))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c' | '\u{a0}')
}

/// PostgreSQL's text holds no NUL, and nobody wants the other control characters.
fn push_clean(out: &mut String, text: &str) {
    if text.bytes().all(|b| b >= b' ' || matches!(b, b'\n' | b'\t')) {
        out.push_str(text);
    } else {
        out.extend(text.chars().filter(|c| *c >= ' ' || matches!(c, '\n' | '\t')));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lists_and_tables_look_like_markdown() {
        let mut out = Markdown::new(1000);
        out.heading(2);
        out.text("  A \n heading ").unwrap();
        out.end_line(Gap::Block);
        out.text("one").unwrap();
        out.text(" two").unwrap();
        out.gap(Gap::Block);
        out.item(0, None);
        out.text("first").unwrap();
        out.end_line(Gap::Line);
        out.item(1, Some(3));
        out.text("inner").unwrap();
        out.end_line(Gap::Block);
        out.begin_table();
        for row in [["a", "b|c"], ["1", ""]] {
            for cell in row {
                out.begin_cell();
                out.text(cell).unwrap();
            }
            out.end_row().unwrap();
        }
        out.end_table().unwrap();
        out.text("end\0").unwrap();
        assert_eq!(
            out.finish().unwrap(),
            "## A heading\n\none two\n\n- first\n  3. inner\n\n| a | b\\|c |\n| --- | --- |\n| 1 |  |\n\nend"
        );
    }

    #[test]
    fn no_more_text_than_allowed() {
        let mut out = Markdown::new(10);
        out.text("123456789").unwrap();
        assert!(out.text(" 1").is_err());
        let mut out = Markdown::new(10);
        out.begin_table();
        out.begin_cell();
        assert!(out.text("a b c d e f").is_err(), "a cell is text too");
    }
}
