//! Reads Markdown as far as the documentation uses it: SQL blocks, the statements in them with
//! the rows that they promise, and what tables and sentences name in code. Runs nothing.

pub mod names;
pub mod statements;

/// What a block of code may be marked with. SQL that is not run has no mark of its own.
const LANGUAGES: [&str; 4] = ["sql", "sh", "ini", "text"];

/// A place in a document that is wrong, as `file:line: what`.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub what: String,
}

impl Fault {
    pub fn new(line: usize, what: impl Into<String>) -> Fault {
        Fault { line, what: what.into() }
    }

    /// The fault with the name of its document.
    pub fn in_document(&self, name: &str) -> String {
        format!("{name}:{}: {}", self.line, self.what)
    }
}

/// Text of a document and the line, from 1, on which it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    pub line: usize,
    pub text: String,
}

/// A document taken apart.
#[derive(Debug, Default)]
pub struct Document {
    /// Contents of the blocks marked `sql`, in order.
    pub sql: Vec<Piece>,
    /// Code spans in rows of tables.
    pub in_tables: Vec<Piece>,
    /// Code spans anywhere outside blocks.
    pub spans: Vec<Piece>,
}

impl Document {
    /// Takes `markdown` apart. Errors: a block without an end, or with a mark that is not
    /// known: it might hold SQL that nobody runs.
    pub fn read(markdown: &str) -> Result<Document, Fault> {
        let mut document = Document::default();
        let mut lines = markdown.lines().enumerate().map(|(index, line)| (index + 1, line));
        while let Some((number, line)) = lines.next() {
            if let Some(mark) = line.trim_start().strip_prefix("```") {
                if !LANGUAGES.contains(&mark) {
                    return Err(Fault::new(
                        number,
                        format!("a block is marked {mark:?}, not one of {LANGUAGES:?}"),
                    ));
                }
                let text = block(&mut lines).ok_or_else(|| Fault::new(number, "a block without an end"))?;
                if mark == "sql" {
                    document.sql.push(Piece { line: number + 1, text });
                }
                continue;
            }
            for span in code_spans(line) {
                if line.trim_start().starts_with('|') {
                    document.in_tables.push(Piece { line: number, text: span.to_owned() });
                }
                document.spans.push(Piece { line: number, text: span.to_owned() });
            }
        }
        Ok(document)
    }
}

/// The lines up to the end of the block; None where it has none.
fn block<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Option<String> {
    let mut text = String::new();
    for (_, line) in lines {
        if line.trim() == "```" {
            return Some(text);
        }
        text.push_str(line);
        text.push('\n');
    }
    None
}

/// What stands between pairs of backticks on one line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Cells of the rows of tables whose first cell is `first` and a code span, with the line.
pub fn rows_about(markdown: &str, first: impl Fn(&str) -> bool) -> Vec<(usize, Vec<String>)> {
    let rows = markdown.lines().enumerate().filter_map(|(index, line)| {
        let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<String> =
            inner.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
        Some((index + 1, cells))
    });
    rows.filter(|(_, cells)| first(&cells[0])).collect()
}

#[test]
fn a_document_is_taken_apart() {
    let text = "# A\n`x`\n```sql\nSELECT 1;\n```\n| a `b` | `c` |\n```sh\nls `pwd`\n```\n";
    let document = Document::read(text).expect("well formed");
    assert_eq!(document.sql, [Piece { line: 4, text: "SELECT 1;\n".to_owned() }]);
    let texts = |pieces: &[Piece]| pieces.iter().map(|piece| piece.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&document.in_tables), ["b", "c"]);
    assert_eq!(texts(&document.spans), ["x", "b", "c"]);
}

#[test]
fn blocks_that_would_not_be_run_are_faults() {
    for (text, line) in
        [("a\n```sql no_run\nSELECT 1;\n```", 2), ("```\nSELECT 1;\n```", 1), ("\n\n```sql\nx", 3)]
    {
        assert_eq!(Document::read(text).expect_err(text).line, line, "{text}");
    }
}
