//! Text to token numbers, by the model's own tokenizer.json. Truncation and padding written in
//! that file are replaced: the model's limit counts, and nothing is padded here.

use std::path::Path;

use autovector_domain::failure::Failure;
use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use super::{problem, threads::guarded};

/// The first piece of a long text that is looked at, in bytes for each token that can be used,
/// and how much more at each further try. A token has five bytes on average.
const BYTES_PER_TOKEN: usize = 64;
const GROWTH: usize = 8;

/// Beyond this many bytes a text is not looked at, whatever it holds: a row may hold a
/// gigabyte, and a tokenizer needs a hundred times the memory of its text.
const MOST_BYTES: usize = 4 << 20;

/// A tokenizer and the most tokens that it gives for one text.
pub struct Tokens {
    tokenizer: Tokenizer,
    unknown: Option<u32>,
    /// Including the special tokens, where they are added; `None`: no limit.
    limit: Option<usize>,
    /// Whether the special tokens (\[CLS\] and the like) are added.
    special: bool,
    lowercase: bool,
    /// Rows that the model has for tokens.
    vocabulary: usize,
}

/// How texts are to be cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub limit: Option<usize>,
    pub special: bool,
    pub lowercase: bool,
}

impl Tokens {
    /// Reads tokenizer.json at `path` for a model with `vocabulary` rows.
    ///
    /// Fails with [`Failure::Config`] where the file is missing, damaged, or for a larger
    /// vocabulary.
    pub fn open(path: &Path, vocabulary: usize, cut: Cut) -> Result<Self, Failure> {
        let text = std::fs::read(path).map_err(|e| problem(path, format!("cannot be read: {e}")))?;
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(&text))
            .map_err(|panic| problem(path, format!("is not a tokenizer: {panic}")))?
            .map_err(|e| problem(path, format!("is not a tokenizer: {e}")))?;
        let words = tokenizer.get_vocab_size(true);
        if words > vocabulary {
            return Err(problem(
                path,
                format!("belongs to another model: it knows {words} tokens, the weights {vocabulary}"),
            ));
        }
        tokenizer.with_padding(None);
        let truncation = cut.limit.map(|max_length| TruncationParams { max_length, ..Default::default() });
        // The special tokens must fit: the library subtracts without looking.
        if cut.limit.is_some_and(|limit| limit < 8) {
            return Err(problem(path, "belongs to a model whose longest text has fewer than 8 tokens"));
        }
        tokenizer.with_truncation(truncation).map_err(|e| problem(path, format!("cannot be used: {e}")))?;
        let unknown = if cut.special { None } else { unknown(&text, &tokenizer) };
        Ok(Tokens {
            tokenizer,
            unknown,
            limit: cut.limit,
            special: cut.special,
            lowercase: cut.lowercase,
            vocabulary,
        })
    }

    /// The most tokens that it gives for one text.
    pub fn limit(&self) -> Option<usize> {
        self.limit.filter(|limit| *limit < usize::MAX)
    }

    /// The token for words that the vocabulary lacks, where there is one. Known only where the
    /// special tokens are not added: nobody else asks.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The tokens of `text`, cut at the limit, and whether more than white space was cut off.
    ///
    /// Fails with [`Failure::Input`] where the tokenizer refuses the text, with
    /// [`Failure::Config`] where it gives a token that the model does not have.
    pub fn encode(&self, text: &str) -> Result<(Vec<u32>, bool), Failure> {
        let mut bytes = self.limit.unwrap_or(MOST_BYTES).saturating_mul(BYTES_PER_TOKEN);
        loop {
            bytes = bytes.min(MOST_BYTES);
            let piece = beginning(text, bytes);
            let (ids, cut) = self.encode_whole(piece)?;
            // A piece ends between two words, so the words before its end are those of the
            // whole text; once they fill the limit, the rest cannot matter.
            let enough = piece.len() == text.len() || bytes == MOST_BYTES;
            if enough || self.limit.is_some_and(|limit| ids.len() >= limit) {
                return Ok((ids, cut || !text[piece.len()..].trim_start().is_empty()));
            }
            bytes = bytes.saturating_mul(GROWTH);
        }
    }

    fn encode_whole(&self, text: &str) -> Result<(Vec<u32>, bool), Failure> {
        let lower;
        let text = if self.lowercase {
            lower = text.to_lowercase();
            lower.as_str()
        } else {
            text
        };
        let encoding = self
            .tokenizer
            .encode_fast(text, self.special)
            .map_err(|e| Failure::input(format!("the model's tokenizer refuses the text: {e}")))?;
        let ids = encoding.get_ids();
        match ids.iter().find(|id| **id as usize >= self.vocabulary) {
            None => Ok((ids.to_vec(), !encoding.get_overflowing().is_empty())),
            Some(id) => Err(Failure::config(
                format!(
                    "the model's tokenizer gives token {id}, but the model has {} tokens",
                    self.vocabulary
                ),
                "tokenizer.json and the weights belong to different models.",
            )),
        }
    }
}

/// Reads from tokenizer.json what the library keeps to itself for one of its models.
fn unknown(file: &[u8], tokenizer: &Tokenizer) -> Option<u32> {
    #[derive(Deserialize)]
    struct File {
        model: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        unk_token: Option<String>,
        unk_id: Option<u32>,
    }
    let File { model } = serde_json::from_slice(file).ok()?;
    model.unk_id.or_else(|| tokenizer.token_to_id(&model.unk_token?))
}

/// The beginning of `text` of at most `bytes` bytes, up to a white space where there is one.
fn beginning(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let piece = &text[..text.floor_char_boundary(bytes)];
    match piece.char_indices().rev().find(|(_, c)| c.is_whitespace()) {
        Some((at, _)) if at > 0 => &piece[..at],
        _ => piece,
    }
}

#[cfg(test)]
mod tests {
    use super::beginning;

    #[test]
    fn a_beginning_ends_between_words_and_never_inside_a_character() {
        assert_eq!(beginning("one two three", 100), "one two three");
        assert_eq!(beginning("one two three", 9), "one two");
        assert_eq!(beginning("ééééé", 5), "éé");
        assert_eq!(beginning(" abcdef", 4), " abc");
    }
}
