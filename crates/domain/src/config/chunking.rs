//! `chunking_*`: how a text is cut into chunks. The cutting itself is `crate::chunking`.

use serde_json::Value;

use super::{ConfigError, fields::Kind};
use crate::tokens::Encoding;

const KIND: Kind = Kind {
    config_type: "chunking",
    made_by: "ai.chunking_recursive_character_text_splitter(), ai.chunking_character_text_splitter(), \
              ai.chunking_token_text_splitter(), ai.chunking_markdown(), ai.chunking_sentence() or ai.chunking_none()",
};

/// Cutting descends one level a separator, so their number is bounded.
const MAX_SEPARATORS: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunking {
    /// The whole text is one chunk.
    None,
    Character(CharacterSplitter),
    Recursive(RecursiveSplitter),
    Token(TokenSplitter),
    Markdown(Sizes),
    Sentence(Sizes),
}

/// Cuts every so many tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSplitter {
    pub chunk_size: u32,
    pub chunk_overlap: u32,
    /// A name in `Encoding::NAMES`.
    pub encoding: String,
}

/// In characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub chunk_size: u32,
    pub chunk_overlap: u32,
}

/// Cuts at one separator and packs the pieces. Sizes are in characters (code points).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharacterSplitter {
    pub chunk_size: u32,
    pub chunk_overlap: u32,
    pub separator: String,
    pub is_separator_regex: bool,
}

/// Cuts at the first separator that occurs; pieces that are still too long at the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecursiveSplitter {
    pub chunk_size: u32,
    pub chunk_overlap: u32,
    pub separators: Vec<String>,
    pub is_separator_regex: bool,
}

impl Default for Chunking {
    fn default() -> Self {
        Chunking::Recursive(RecursiveSplitter {
            chunk_size: Chunking::DEFAULT_SIZE as u32,
            chunk_overlap: Chunking::DEFAULT_OVERLAP as u32,
            separators: Chunking::DEFAULT_SEPARATORS.iter().map(|&separator| separator.to_owned()).collect(),
            is_separator_regex: false,
        })
    }
}

impl Chunking {
    pub const DEFAULT_SIZE: i32 = 800;
    pub const DEFAULT_OVERLAP: i32 = 400;
    /// Of the chunkings by tokens, and by headings and sentences.
    pub const DEFAULT_TOKENS: (i32, i32) = (256, 32);
    pub const DEFAULT_SIZES: (i32, i32) = (800, 100);
    pub const DEFAULT_ENCODING: &'static str = "cl100k_base";
    /// Least characters of a chunk of Markdown: a path of headings has to fit beside the text.
    const LEAST_MARKDOWN: u32 = 20;
    pub const DEFAULT_SEPARATOR: &'static str = "\n\n";
    pub const DEFAULT_SEPARATORS: [&'static str; 7] = ["\n\n", "\n", ".", "?", "!", " ", ""];

    /// `ai.chunking_character_text_splitter`. Refuses a size below 1 and an overlap outside 0 to size - 1.
    /// A regular expression is looked at when the `Chunker` is made.
    pub fn character(
        chunk_size: i32,
        chunk_overlap: i32,
        separator: &str,
        is_separator_regex: bool,
    ) -> Result<Chunking, ConfigError> {
        let (chunk_size, chunk_overlap) = sizes(chunk_size, chunk_overlap)?;
        let separator = separator.to_owned();
        Ok(Chunking::Character(CharacterSplitter {
            chunk_size,
            chunk_overlap,
            separator,
            is_separator_regex,
        }))
    }

    /// `ai.chunking_recursive_character_text_splitter`. As `character`, and at least one separator.
    pub fn recursive<S: AsRef<str>>(
        chunk_size: i32,
        chunk_overlap: i32,
        separators: &[S],
        is_separator_regex: bool,
    ) -> Result<Chunking, ConfigError> {
        let (chunk_size, chunk_overlap) = sizes(chunk_size, chunk_overlap)?;
        let separators: Vec<String> =
            separators.iter().map(|separator| separator.as_ref().to_owned()).collect();
        if separators.is_empty() {
            return Err(ConfigError::new(
                "separators is empty",
                "Leave separators out for the default, or give at least one; '' cuts between any two characters.",
            ));
        }
        if separators.len() > MAX_SEPARATORS {
            return Err(ConfigError::new(
                format!("there are {} separators, more than {MAX_SEPARATORS}", separators.len()),
                "Join some of them into one regular expression and set is_separator_regex => true.",
            ));
        }
        Ok(Chunking::Recursive(RecursiveSplitter {
            chunk_size,
            chunk_overlap,
            separators,
            is_separator_regex,
        }))
    }

    /// `ai.chunking_token_text_splitter`. As `character`, and an encoding that is known.
    pub fn token(chunk_size: i32, chunk_overlap: i32, encoding: &str) -> Result<Chunking, ConfigError> {
        let (chunk_size, chunk_overlap) = sizes(chunk_size, chunk_overlap)?;
        if Encoding::by_name(encoding).is_none() {
            let known: Vec<String> = Encoding::NAMES.iter().map(|(name, _)| format!("'{name}'")).collect();
            return Err(ConfigError::new(
                format!("the encoding '{encoding}' is not known"),
                format!("Use {}.", known.join(" or ")),
            ));
        }
        Ok(Chunking::Token(TokenSplitter { chunk_size, chunk_overlap, encoding: encoding.to_owned() }))
    }

    /// `ai.chunking_markdown`.
    pub fn markdown(chunk_size: i32, chunk_overlap: i32) -> Result<Chunking, ConfigError> {
        let (chunk_size, chunk_overlap) = sizes(chunk_size, chunk_overlap)?;
        if chunk_size < Chunking::LEAST_MARKDOWN {
            return Err(ConfigError::new(
                format!(
                    "chunk_size must be at least {} for Markdown, not {chunk_size}",
                    Chunking::LEAST_MARKDOWN
                ),
                "Each chunk holds its headings beside the text: give a size such as chunk_size => 800.",
            ));
        }
        Ok(Chunking::Markdown(Sizes { chunk_size, chunk_overlap }))
    }

    /// `ai.chunking_sentence`.
    pub fn sentence(chunk_size: i32, chunk_overlap: i32) -> Result<Chunking, ConfigError> {
        let (chunk_size, chunk_overlap) = sizes(chunk_size, chunk_overlap)?;
        Ok(Chunking::Sentence(Sizes { chunk_size, chunk_overlap }))
    }

    /// Reads the JSON that `to_json` writes; absent fields take their defaults.
    pub fn from_json(value: &Value) -> Result<Chunking, ConfigError> {
        let fields = KIND.read(value)?;
        if fields.implementation == "none" {
            return Ok(Chunking::None);
        }
        let (usual_size, usual_overlap) = match fields.implementation {
            "token_text_splitter" => Chunking::DEFAULT_TOKENS,
            "markdown" | "sentence" => Chunking::DEFAULT_SIZES,
            _ => (Chunking::DEFAULT_SIZE, Chunking::DEFAULT_OVERLAP),
        };
        let size = fields.int("chunk_size")?.unwrap_or(usual_size);
        let overlap = fields.int("chunk_overlap")?.unwrap_or(usual_overlap);
        let regex = fields.flag("is_separator_regex")?.unwrap_or(false);
        match fields.implementation {
            "character_text_splitter" => {
                let separator = fields.text("separator")?.unwrap_or(Chunking::DEFAULT_SEPARATOR);
                Chunking::character(size, overlap, separator, regex)
            }
            "recursive_character_text_splitter" => match fields.texts("separators")? {
                Some(separators) => Chunking::recursive(size, overlap, &separators, regex),
                None => Chunking::recursive(size, overlap, &Chunking::DEFAULT_SEPARATORS, regex),
            },
            "token_text_splitter" => {
                Chunking::token(size, overlap, fields.text("encoding")?.unwrap_or(Chunking::DEFAULT_ENCODING))
            }
            "markdown" => Chunking::markdown(size, overlap),
            "sentence" => Chunking::sentence(size, overlap),
            other => Err(KIND.unknown(other)),
        }
    }

    /// The JSON that the catalog stores.
    pub fn to_json(&self) -> Value {
        match self {
            Chunking::None => KIND.write("none", []),
            Chunking::Token(splitter) => KIND.write(
                "token_text_splitter",
                [
                    ("chunk_size", splitter.chunk_size.into()),
                    ("chunk_overlap", splitter.chunk_overlap.into()),
                    ("encoding", splitter.encoding.clone().into()),
                ],
            ),
            Chunking::Markdown(sizes) => sizes.write("markdown"),
            Chunking::Sentence(sizes) => sizes.write("sentence"),
            Chunking::Character(splitter) => KIND.write(
                "character_text_splitter",
                [
                    ("chunk_size", splitter.chunk_size.into()),
                    ("chunk_overlap", splitter.chunk_overlap.into()),
                    ("separator", splitter.separator.clone().into()),
                    ("is_separator_regex", splitter.is_separator_regex.into()),
                ],
            ),
            Chunking::Recursive(splitter) => KIND.write(
                "recursive_character_text_splitter",
                [
                    ("chunk_size", splitter.chunk_size.into()),
                    ("chunk_overlap", splitter.chunk_overlap.into()),
                    ("separators", splitter.separators.clone().into()),
                    ("is_separator_regex", splitter.is_separator_regex.into()),
                ],
            ),
        }
    }
}

impl Sizes {
    fn write(self, implementation: &str) -> Value {
        let (size, overlap) = (self.chunk_size.into(), self.chunk_overlap.into());
        KIND.write(implementation, [("chunk_size", size), ("chunk_overlap", overlap)])
    }
}

/// Checks a size and an overlap.
fn sizes(chunk_size: i32, chunk_overlap: i32) -> Result<(u32, u32), ConfigError> {
    let size = u32::try_from(chunk_size).ok().filter(|&size| size > 0).ok_or_else(|| {
        ConfigError::new(
            format!("chunk_size must be at least 1, not {chunk_size}"),
            "Give the most characters that a chunk may have, such as chunk_size => 800.",
        )
    })?;
    let overlap = u32::try_from(chunk_overlap).map_err(|_| {
        ConfigError::new(
            format!("chunk_overlap must not be negative, and is {chunk_overlap}"),
            "Give chunk_overlap => 0 for chunks that share no text.",
        )
    })?;
    if overlap >= size {
        return Err(ConfigError::new(
            format!("chunk_overlap ({overlap}) must be smaller than chunk_size ({size})"),
            format!(
                "Give an overlap that fits the size, such as chunk_overlap => {}; left out, it is {}.",
                size / 2,
                Chunking::DEFAULT_OVERLAP
            ),
        ));
    }
    Ok((size, overlap))
}
