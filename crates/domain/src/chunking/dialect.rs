//! Rewrites a regular expression of Python's `re` for the engine used here, where the two
//! give the same signs another meaning. What `re` would refuse is passed on as it is.
//!
//! | sign | Python | the engine |
//! | --- | --- | --- |
//! | `$` | before a final line feed, too | the very end |
//! | `\Z` | the very end | unknown |
//! | `\s` `\S` | with U+001C to U+001F | without |
//! | `\w` `\W` `\b` `\B` | letters, numbers, `_` | with marks and joiners |
//! | `\<` `\>` | the sign itself | word boundaries |
//! | `\0` `\012` | octal | backreference |
//! | `[` `&&` `--` `~~` in a class | the signs themselves | nesting, set operations |

const WORD: &str = r"\p{L}\p{N}_";
const SPACE: &str = r"\s\x1C-\x1F";

/// The expression for the engine.
pub(super) fn from_python(pattern: &str) -> String {
    let mut rewriter = Rewriter {
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        flags: vec![Flags::default()],
    };
    while let Some(c) = rewriter.next() {
        rewriter.outside(c);
    }
    rewriter.out
}

/// The flags that change how the expression itself is read.
#[derive(Clone, Copy, Default)]
struct Flags {
    multiline: bool,
    verbose: bool,
}

struct Rewriter<'p> {
    rest: &'p str,
    out: String,
    /// One entry for each open group, the innermost last.
    flags: Vec<Flags>,
}

/// A member of a class: one character, which may begin or end a range, or a set.
enum Member {
    One(String),
    Set(String),
}

impl Rewriter<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn accept(&mut self, prefix: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(prefix) else { return false };
        self.rest = rest;
        true
    }

    fn current(&self) -> Flags {
        self.flags.last().copied().unwrap_or_default()
    }

    fn outside(&mut self, c: char) {
        match c {
            '\\' => self.escape(),
            '[' => self.class(),
            '(' => self.group(),
            ')' => {
                if self.flags.len() > 1 {
                    self.flags.pop();
                }
                self.out.push(')');
            }
            '$' if !self.current().multiline => self.out.push_str(r"(?=\n?\z)"),
            '#' if self.current().verbose => self.skip_past('\n'),
            ']' => self.out.push_str(r"\]"),
            _ => self.out.push(c),
        }
    }

    fn skip_past(&mut self, end: char) {
        self.rest = self.rest.split_once(end).map_or("", |(_, after)| after);
    }

    /// An opening parenthesis and its flags.
    fn group(&mut self) {
        if self.accept("?#") {
            self.skip_past(')');
            return;
        }
        let mut flags = self.current();
        let mut for_all = false;
        if let Some(inner) = self.rest.strip_prefix('?') {
            let end = inner.find(|c: char| !(c.is_ascii_alphabetic() || c == '-')).unwrap_or(inner.len());
            let (letters, after) = inner.split_at(end);
            if !letters.is_empty() && (after.starts_with(')') || after.starts_with(':')) {
                let (on, off) = letters.split_once('-').unwrap_or((letters, ""));
                flags.multiline = (flags.multiline || on.contains('m')) && !off.contains('m');
                flags.verbose = (flags.verbose || on.contains('x')) && !off.contains('x');
                for_all = after.starts_with(')');
            }
        }
        if for_all && let Some(innermost) = self.flags.last_mut() {
            // `(?m)` holds for what follows, not for a group of its own.
            *innermost = flags;
        }
        self.flags.push(flags);
        self.out.push('(');
        // The name of a group or the sign of a lookaround holds nothing to rewrite.
        if self.accept("?") {
            self.out.push('?');
        }
    }

    /// What follows a backslash outside a class.
    fn escape(&mut self) {
        if let Some(octal) = self.octal() {
            self.out.push_str(&octal);
            return;
        }
        match self.next() {
            Some('Z') => self.out.push_str(r"\z"),
            Some('s') => self.out.push_str(&format!("[{SPACE}]")),
            Some('S') => self.out.push_str(&format!("[^{SPACE}]")),
            Some('w') => self.out.push_str(&format!("[{WORD}]")),
            Some('W') => self.out.push_str(&format!("[^{WORD}]")),
            Some('b') => {
                self.out.push_str(&format!("(?:(?<=[{WORD}])(?![{WORD}])|(?<![{WORD}])(?=[{WORD}]))"))
            }
            Some('B') => {
                self.out.push_str(&format!("(?:(?<=[{WORD}])(?=[{WORD}])|(?<![{WORD}])(?![{WORD}]))"))
            }
            Some(c) if c.is_ascii_alphanumeric() => self.out.extend(['\\', c]),
            Some(c) => self.out.push_str(&literal(c)),
            None => self.out.push('\\'),
        }
    }

    /// `\0` with up to two more octal digits, or three octal digits.
    fn octal(&mut self) -> Option<String> {
        let digits = self.rest.bytes().take(3).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
        if !(self.rest.starts_with('0') || digits == 3) {
            return None;
        }
        let value = u32::from_str_radix(&self.rest[..digits], 8).ok()?;
        self.rest = &self.rest[digits..];
        char::from_u32(value).map(literal)
    }

    fn class(&mut self) {
        self.out.push('[');
        if self.accept("^") {
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.accept("]") {
            first = false;
            let Some(member) = self.member() else {
                // Not closed: the engine says so.
                return;
            };
            let mut after = self.rest.chars();
            let range = after.next() == Some('-') && after.next().is_some_and(|c| c != ']');
            match member {
                Member::One(low) if range => {
                    self.accept("-");
                    let high = match self.member() {
                        Some(Member::One(high) | Member::Set(high)) => high,
                        None => return,
                    };
                    self.out.push_str(&format!("{low}-{high}"));
                }
                Member::One(one) => self.out.push_str(&one),
                Member::Set(set) => self.out.push_str(&set),
            }
        }
        self.out.push(']');
    }

    fn member(&mut self) -> Option<Member> {
        let c = self.next()?;
        if c != '\\' {
            return Some(Member::One(literal(c)));
        }
        if let Some(octal) = self.octal() {
            return Some(Member::One(octal));
        }
        Some(match self.next()? {
            's' => Member::Set(SPACE.to_owned()),
            'S' => Member::Set(format!("[^{SPACE}]")),
            'w' => Member::Set(WORD.to_owned()),
            'W' => Member::Set(format!("[^{WORD}]")),
            c @ ('d' | 'D') => Member::Set(format!("\\{c}")),
            'b' => Member::One(r"\x08".to_owned()),
            // The digits of \x41 follow as members of their own, which writes the same text.
            c if c.is_ascii_alphanumeric() => Member::One(format!("\\{c}")),
            c => Member::One(literal(c)),
        })
    }
}

/// A character that means itself, inside a class and outside, in verbose expressions too.
fn literal(c: char) -> String {
    if c.is_alphanumeric() || c == '_' { c.to_string() } else { format!("\\x{{{:x}}}", u32::from(c)) }
}
