//! SQL blocks cut into statements, as psql cuts them, each with the rows that the document says
//! it returns: comments `-- → a | b` behind the statement, one a row. Runs nothing.

use super::{Fault, Piece};

/// How a promised row begins.
const PROMISE: &str = "-- →";

/// One statement, without its semicolon.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    pub line: usize,
    pub sql: String,
    /// The rows that it must return, columns joined by ` | `; None where nothing is promised.
    pub promised: Option<Vec<String>>,
}

/// The statements of a block. Errors: the last one has no semicolon, or a promised row has no
/// statement.
pub fn read(block: &Piece) -> Result<Vec<Statement>, Fault> {
    let text = block.text.as_str();
    let line_at = |at: usize| block.line + text[..at].matches('\n').count();
    let mut found: Vec<Statement> = Vec::new();
    let mut begin: Option<usize> = None;
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let end = at + token(rest, text[..at].chars().next_back());
        if let Some(row) = rest.strip_prefix(PROMISE) {
            let last = found.last_mut().filter(|_| begin.is_none());
            let statement =
                last.ok_or_else(|| Fault::new(line_at(at), "a promised row without a statement"))?;
            let row = row.lines().next().unwrap_or_default().trim();
            statement.promised.get_or_insert_default().push(row.to_owned());
        } else if first == ';' {
            let start = begin.take().ok_or_else(|| Fault::new(line_at(at), "an empty statement"))?;
            found.push(Statement { line: line_at(start), sql: text[start..at].to_owned(), promised: None });
        } else if begin.is_none()
            && !first.is_whitespace()
            && !rest.starts_with("--")
            && !rest.starts_with("/*")
        {
            begin = Some(at);
        }
        at = end;
    }
    match begin {
        Some(start) => Err(Fault::new(line_at(start), "a statement without a semicolon")),
        None => Ok(found),
    }
}

/// The length of what `rest` begins with: a comment, a literal, a quoted name, or one
/// character. `before` is the character in front of it.
fn token(rest: &str, before: Option<char>) -> usize {
    let after =
        |start: usize, end: &str| rest[start..].find(end).map_or(rest.len(), |at| start + at + end.len());
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest.as_bytes() {
        [b'-', b'-', ..] => after(0, "\n"),
        [b'/', b'*', ..] => after(2, "*/"),
        // A doubled quote ends one literal and begins the next, which cuts alike.
        [b'\'', ..] if matches!(before, Some('E' | 'e')) => escape_string(rest),
        [b'\'', ..] => after(1, "'"),
        [b'"', ..] => after(1, "\""),
        [b'$', ..] if !in_word => match dollar_tag(rest) {
            Some(tag) => after(tag.len(), tag),
            None => 1,
        },
        _ => rest.chars().next().map_or(0, char::len_utf8),
    }
}

/// `E'…'`, where a backslash takes the next character with it.
fn escape_string(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        let taken = match c {
            '\\' => true,
            '\'' if characters.peek().is_some_and(|(_, next)| *next == '\'') => true,
            '\'' => return at + 1,
            _ => false,
        };
        if taken {
            characters.next();
        }
    }
    rest.len()
}

/// `$$` or `$name$` at the start of `rest`; `$1` is a parameter.
fn dollar_tag(rest: &str) -> Option<&str> {
    let end = rest[1..].find('$')? + 2;
    let name = &rest[1..end - 1];
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    plain.then(|| &rest[..end])
}

#[cfg(test)]
fn cut(text: &str) -> Result<Vec<(usize, String, Vec<String>)>, Fault> {
    let statements = read(&Piece { line: 1, text: text.to_owned() })?;
    Ok(statements.into_iter().map(|s| (s.line, s.sql, s.promised.unwrap_or_default())).collect())
}

#[test]
fn statements_end_where_psql_ends_them() {
    for sql in [
        "SELECT ';', ';''', E'\\';', E'''\\';' || 'x'",
        "SELECT \"a;\"\"b\" FROM t",
        "SELECT $$;$$ || $a$ ; $$ ; $a$, $1",
        "SELECT 1 -- one; two\n, 2",
        "SELECT /* ; */ 1",
        "SELECT name$a, '→;' FROM ü$b",
    ] {
        let text = format!("{sql};\n\nSELECT 2;");
        let found = cut(&text).expect(sql);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].0, found[0].1.as_str()), (1, sql));
        assert_eq!((found[1].0, found[1].1.as_str()), (3 + sql.matches('\n').count(), "SELECT 2"));
    }
}

#[test]
fn promised_rows_belong_to_the_statement_before_them() {
    let text = "-- first\nSELECT 1, 2;\n-- → 1 | 2\n-- → 3 | 4\n-- a remark\nSELECT 5; -- → 5\nSELECT 6;";
    let promised: Vec<Vec<String>> = cut(text).expect("well formed").into_iter().map(|s| s.2).collect();
    assert_eq!(promised, [vec!["1 | 2", "3 | 4"], vec!["5"], vec![]]);
}

#[test]
fn what_is_left_over_is_a_fault() {
    for (text, line) in
        [("SELECT 1;\nSELECT\n2", 2), ("\n-- → 1\nSELECT 1;", 2), ("SELECT 1\n-- → 1\n;", 2), (";", 1)]
    {
        assert_eq!(cut(text).expect_err(text).line, line, "{text}");
    }
}
