//! One separator: where it occurs in a text, and the pieces that it leaves. The rules of
//! Python's `re.split`, empty matches included.

use std::ops::Range;

use fancy_regex::{Regex, RegexBuilder};
use memchr::memmem::Finder;

use super::dialect;
use crate::{config::ConfigError, failure::Failure};

/// Steps back that one search may take; past that the text counts as one that cannot be cut. Only
/// expressions with lookaround, backreferences or empty matches take any: the others are searched in
/// linear time. A search takes at least one step for each character that it passes, so this also bounds
/// the distance between two matches.
const STEPS: usize = 20_000_000;

#[derive(Debug)]
pub(super) enum Separator {
    /// The empty separator: between any two characters.
    Characters,
    Literal(Box<Finder<'static>>),
    Pattern(Box<Pattern>),
}

#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// The same, but it does not match the empty text where the search begins.
    further: Regex,
    source: String,
}

/// Takes one piece of the text after the other.
type Pieces<'s> = &'s mut dyn FnMut(Range<usize>);

impl Separator {
    pub fn new(separator: &str, is_regex: bool) -> Result<Separator, ConfigError> {
        if separator.is_empty() {
            return Ok(Separator::Characters);
        }
        if !is_regex {
            return Ok(Separator::Literal(Box::new(Finder::new(separator).into_owned())));
        }
        let expression = dialect::from_python(separator);
        let compile = |expression: &str| {
            RegexBuilder::new(expression).backtrack_limit(STEPS).build().map_err(|error| {
                ConfigError::new(
                    format!("the separator \"{separator}\" is not a valid regular expression: {error}"),
                    "Correct the expression, or leave is_separator_regex out to cut at the text as it stands.",
                )
            })
        };
        Ok(Separator::Pattern(Box::new(Pattern {
            regex: compile(&expression)?,
            further: compile(&format!("(?:{expression})(?!\\G)"))?,
            source: separator.to_owned(),
        })))
    }

    pub fn is_characters(&self) -> bool {
        matches!(self, Separator::Characters)
    }

    /// Whether cutting at this separator is worth a try.
    pub fn occurs(&self, text: &str) -> Result<bool, Failure> {
        match self {
            Separator::Characters => Ok(true),
            Separator::Literal(finder) => Ok(finder.find(text.as_bytes()).is_some()),
            Separator::Pattern(pattern) => Ok(pattern.find(&pattern.regex, text, 0)?.is_some()),
        }
    }

    /// The pieces between the separators, which are dropped. No piece is empty.
    pub fn between(&self, text: &str, pieces: Pieces<'_>) -> Result<(), Failure> {
        if self.is_characters() {
            each_character(text, pieces);
            return Ok(());
        }
        let mut start = 0;
        self.each_match(text, &mut |found| {
            if found.start > start {
                pieces(start..found.start);
            }
            start = found.end;
        })?;
        if start < text.len() {
            pieces(start..text.len());
        }
        Ok(())
    }

    /// The pieces that begin at each separator and keep it. No piece is empty.
    pub fn before(&self, text: &str, pieces: Pieces<'_>) -> Result<(), Failure> {
        if self.is_characters() {
            each_character(text, pieces);
            return Ok(());
        }
        let mut start = 0;
        self.each_match(text, &mut |found| {
            if found.start > start {
                pieces(start..found.start);
                start = found.start;
            }
        })?;
        if start < text.len() {
            pieces(start..text.len());
        }
        Ok(())
    }

    fn each_match(&self, text: &str, take: Pieces<'_>) -> Result<(), Failure> {
        match self {
            Separator::Characters => {}
            Separator::Literal(finder) => {
                let length = finder.needle().len();
                for at in finder.find_iter(text.as_bytes()) {
                    take(at..at + length);
                }
            }
            Separator::Pattern(pattern) => {
                let mut next = pattern.find(&pattern.regex, text, 0)?;
                while let Some(found) = next {
                    take(found.clone());
                    // After an empty match the search goes on at the same place, for anything but that.
                    let regex = if found.is_empty() { &pattern.further } else { &pattern.regex };
                    next = pattern.find(regex, text, found.end)?;
                }
            }
        }
        Ok(())
    }
}

impl Pattern {
    fn find(&self, regex: &Regex, text: &str, from: usize) -> Result<Option<Range<usize>>, Failure> {
        match regex.find_from_pos(text, from) {
            Ok(found) => Ok(found.map(|found| found.range())),
            Err(_) => Err(Failure::input(format!(
                "cutting the text at the regular expression \"{}\" takes too many steps",
                self.source
            ))),
        }
    }
}

fn each_character(text: &str, pieces: Pieces<'_>) {
    for (at, character) in text.char_indices() {
        pieces(at..at + character.len_utf8());
    }
}
