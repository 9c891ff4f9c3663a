//! Cuts a text into chunks. At one separator and recursively: equal to `CharacterTextSplitter`
//! and `RecursiveCharacterTextSplitter` in langchain-text-splitters 0.3.11, which pgai uses; as
//! `tests/data/chunking.json` holds that library's answers. Lengths are in code points. By
//! tokens, at Markdown's headings and by sentences: the files below.
//!
//! One difference: a capturing group in a separator only groups. The other library would
//! repeat what the group caught.

mod dialect;
mod markdown;
mod merge;
mod sentence;
mod separator;

use crate::{
    config::{Chunking, ConfigError},
    failure::Failure,
    tokens::Encoding,
};
use merge::{Merger, Piece};
use separator::Separator;

/// A chunking with its separators compiled. Made once, used for every text, by any thread.
#[derive(Debug)]
pub struct Chunker {
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    Whole,
    Character {
        size: usize,
        overlap: usize,
        separator: Separator,
        /// What stands between two merged pieces.
        joiner: String,
    },
    Recursive {
        size: usize,
        overlap: usize,
        separators: Vec<Separator>,
    },
    Tokens {
        size: usize,
        overlap: usize,
        encoding: Encoding,
    },
    Markdown {
        size: usize,
        overlap: usize,
        separators: Vec<Separator>,
    },
    Sentences {
        size: usize,
        overlap: usize,
        separators: Vec<Separator>,
    },
}

/// Where the text of a section of Markdown is cut.
const IN_SECTIONS: [&str; 7] = ["\n\n", "\n", ". ", "? ", "! ", " ", ""];

/// Where a sentence is cut that is too long.
const IN_SENTENCES: [&str; 4] = ["\n", ", ", " ", ""];

fn literals(separators: &[&str]) -> Result<Vec<Separator>, ConfigError> {
    separators.iter().map(|separator| Separator::new(separator, false)).collect()
}

/// Takes one chunk after the other.
type Sink<'s> = &'s mut dyn FnMut(&str);

impl Chunker {
    /// Checks the sizes and compiles the separators. Errors: a size of 0, an overlap that is not smaller,
    /// a regular expression that does not compile.
    pub fn new(chunking: &Chunking) -> Result<Chunker, ConfigError> {
        // The fields are public: what came past the constructors is checked here.
        let chunking = Chunking::from_json(&chunking.to_json())?;
        let rule = match &chunking {
            Chunking::None => Rule::Whole,
            Chunking::Character(splitter) => Rule::Character {
                size: splitter.chunk_size as usize,
                overlap: splitter.chunk_overlap as usize,
                separator: Separator::new(&splitter.separator, splitter.is_separator_regex)?,
                joiner: joiner(&splitter.separator, splitter.is_separator_regex).to_owned(),
            },
            Chunking::Recursive(splitter) => Rule::Recursive {
                size: splitter.chunk_size as usize,
                overlap: splitter.chunk_overlap as usize,
                separators: splitter
                    .separators
                    .iter()
                    .map(|separator| Separator::new(separator, splitter.is_separator_regex))
                    .collect::<Result<_, _>>()?,
            },
            Chunking::Token(splitter) => Rule::Tokens {
                size: splitter.chunk_size as usize,
                overlap: splitter.chunk_overlap as usize,
                encoding: Encoding::by_name(&splitter.encoding).unwrap_or(Encoding::Cl100k),
            },
            Chunking::Markdown(sizes) => Rule::Markdown {
                size: sizes.chunk_size as usize,
                overlap: sizes.chunk_overlap as usize,
                separators: literals(&IN_SECTIONS)?,
            },
            Chunking::Sentence(sizes) => Rule::Sentences {
                size: sizes.chunk_size as usize,
                overlap: sizes.chunk_overlap as usize,
                separators: literals(&IN_SENTENCES)?,
            },
        };
        Ok(Chunker { rule })
    }

    /// The chunks of `text`, in order. `Failure::Input` where a regular expression takes too many steps
    /// on this text.
    pub fn chunk(&self, text: &str) -> Result<Vec<String>, Failure> {
        let mut chunks = Vec::new();
        self.for_each(text, &mut |chunk| chunks.push(chunk.to_owned()))?;
        Ok(chunks)
    }

    /// As `chunk`, without a copy of each chunk.
    pub fn for_each(&self, text: &str, sink: Sink<'_>) -> Result<(), Failure> {
        match &self.rule {
            Rule::Whole => {
                if !is_blank(text) {
                    sink(text);
                }
                Ok(())
            }
            Rule::Character { size, overlap, separator, joiner } => {
                let mut merger = Merger::new(text, joiner, *size, *overlap);
                separator.between(text, &mut |piece| merger.push(Piece::new(text, piece), sink))?;
                merger.finish(sink);
                Ok(())
            }
            Rule::Recursive { size, overlap, separators } => descend(text, separators, *size, *overlap, sink),
            Rule::Tokens { size, overlap, encoding } => {
                encoding.windows(text, *size, *overlap).into_iter().for_each(|window| sink(&text[window]));
                Ok(())
            }
            Rule::Markdown { size, overlap, separators } => {
                markdown::chunk(text, separators, *size, *overlap, sink)
            }
            Rule::Sentences { size, overlap, separators } => {
                sentence::chunk(text, separators, *size, *overlap, sink)
            }
        }
    }
}

/// What `CharacterTextSplitter` puts between merged pieces: the separator as it is written, or nothing
/// where that begins with a lookaround. A regular expression is therefore put there as written, too.
fn joiner(separator: &str, is_regex: bool) -> &str {
    let lookaround = ["(?=", "(?<!", "(?<=", "(?!"].iter().any(|prefix| separator.starts_with(prefix));
    if is_regex && lookaround { "" } else { separator }
}

/// Cuts `text` before each occurrence of the first separator that occurs at all, merges the short pieces
/// and descends with the remaining separators into the long ones.
fn descend(
    text: &str,
    separators: &[Separator],
    size: usize,
    overlap: usize,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let mut chosen = None;
    for (index, separator) in separators.iter().enumerate() {
        if separator.occurs(text)? {
            // Single characters cannot be cut any further, whatever follows in the list.
            let rest = if separator.is_characters() { &[][..] } else { &separators[index + 1..] };
            chosen = Some((separator, rest));
            break;
        }
    }
    let mut merger = Merger::new(text, "", size, overlap);
    let mut failure = Ok(());
    let mut take = |range: std::ops::Range<usize>| {
        let piece = Piece::new(text, range.clone());
        if piece.chars < size {
            merger.push(piece, sink);
            return;
        }
        merger.finish(sink);
        match chosen {
            // The same failure would only come again from the pieces that follow.
            _ if failure.is_err() => {}
            Some((_, rest)) if !rest.is_empty() => failure = descend(&text[range], rest, size, overlap, sink),
            _ => sink(&text[range]),
        }
    };
    match chosen {
        Some((separator, _)) => separator.before(text, &mut take)?,
        None if !text.is_empty() => take(0..text.len()),
        None => {}
    }
    failure?;
    merger.finish(sink);
    Ok(())
}

/// Whether nothing of the text would be left in a chunk.
pub(crate) fn is_blank(text: &str) -> bool {
    merge::strip(text).is_empty()
}
