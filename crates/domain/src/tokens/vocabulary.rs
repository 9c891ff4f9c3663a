//! One encoding of tiktoken: a text is cut into pieces (words, numbers, signs, blanks) by a pattern,
//! each piece into tokens by merging the pair of the lowest rank again and again.
//!
//! The pieces are found here, not by tiktoken's own pattern: that one looks ahead, which takes an
//! engine that backtracks and gives up on long runs of blanks. Most pieces are a token as they stand.

use std::sync::LazyLock;

use regex_automata::{Anchored, Input, meta::Regex};
use rustc_hash::FxHashMap;
use tiktoken_rs::CoreBPE;

static CL100K: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_base"));
static O200K: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/o200k_base"));

/// tiktoken's patterns without their last rule but one, `\s+(?!\S)`: see `pieces`.
const CL100K_PIECES: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const O200K_PIECES: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+",
);

/// From this length in bytes on a piece is merged with a heap: without one the time grows with the
/// square. It is where tiktoken itself changes over.
const LONG_PIECE: usize = 100;

type Ranks = FxHashMap<Vec<u8>, u32>;

pub struct Vocabulary {
    tokens: Vec<&'static [u8]>,
    ranks: Ranks,
    pieces: Regex,
    /// Merges long pieces; few texts have one.
    long: LazyLock<CoreBPE, Box<dyn FnOnce() -> CoreBPE + Send>>,
}

impl Vocabulary {
    pub fn cl100k() -> Vocabulary {
        Vocabulary::new(CL100K, CL100K_PIECES)
    }

    pub fn o200k() -> Vocabulary {
        Vocabulary::new(O200K, O200K_PIECES)
    }

    fn new(packed: &'static [u8], pieces: &str) -> Vocabulary {
        let tokens = unpacked(packed);
        let ranks: Ranks = tokens.iter().zip(0_u32..).map(|(token, rank)| (token.to_vec(), rank)).collect();
        let for_long = ranks.clone();
        let long = move || {
            // The pattern leaves a piece whole.
            CoreBPE::new(for_long, FxHashMap::default(), "(?s:.+)").expect("the pattern is valid")
        };
        Vocabulary {
            tokens,
            ranks,
            pieces: Regex::new(pieces).expect("the pattern is valid"),
            long: LazyLock::new(Box::new(long)),
        }
    }

    pub fn token(&self, rank: u32) -> Option<&'static [u8]> {
        self.tokens.get(rank as usize).copied()
    }

    /// Calls `found` with the length in bytes of each token of `text`, in order.
    pub fn each_token(&self, text: &str, mut found: impl FnMut(usize)) {
        for piece in self.pieces(text) {
            if self.ranks.contains_key(piece.as_bytes()) {
                found(piece.len());
            } else if piece.len() < LONG_PIECE {
                let tokens = tiktoken_rs::byte_pair_split(piece.as_bytes(), &self.ranks);
                tokens.iter().for_each(|token| found(token.len()));
            } else {
                let tokens = self.long.encode_ordinary(piece);
                tokens.iter().for_each(|token| found(self.tokens[*token as usize].len()));
            }
        }
    }

    /// The pieces of `text`, which are all of it. Of blanks before a word the last one belongs to
    /// the word, where it is not a line's end: what `\s+(?!\S)|\s+` says at the end of tiktoken's
    /// patterns.
    fn pieces<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let rest = Input::new(text).span(start..text.len()).anchored(Anchored::Yes);
            let mut end = self.pieces.find(rest)?.end();
            let last = text[start..end].chars().next_back()?;
            let blanks = last.is_whitespace() && !matches!(last, '\r' | '\n');
            if blanks && end < text.len() && end - start > last.len_utf8() {
                end -= last.len_utf8();
            }
            let piece = &text[start..end];
            start = end;
            Some(piece)
        })
    }
}

fn unpacked(mut packed: &'static [u8]) -> Vec<&'static [u8]> {
    let mut tokens = Vec::new();
    while let Some((length, rest)) = packed.split_first() {
        let (token, rest) = rest.split_at(usize::from(*length));
        tokens.push(token);
        packed = rest;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn lengths(vocabulary: &Vocabulary, text: &str) -> Vec<usize> {
        let mut lengths = Vec::new();
        vocabulary.each_token(text, |length| lengths.push(length));
        lengths
    }

    fn of_tiktoken(encoding: &CoreBPE, text: &str) -> Vec<usize> {
        let length = |token: &u32| encoding.decode_bytes(&[*token]).map(|bytes| bytes.len());
        encoding.encode_ordinary(text).iter().map(|token| length(token).expect("known")).collect()
    }

    proptest! {
        /// Fear: our pieces are other pieces than tiktoken's.
        #[test]
        fn tokens_are_those_of_tiktoken(text in r"([a-zA-Z]{1,9}|[ \t\n\r\u{a0}\u{3000}]{1,4}|'(s|LL|x)|[0-9]{1,7}|[.,;/!<|>-]{1,5}|[äßΩЖ語あ🫠\u{301}]{1,6}|\PC){0,40}") {
            static OURS: LazyLock<[Vocabulary; 2]> =
                LazyLock::new(|| [Vocabulary::cl100k(), Vocabulary::o200k()]);
            let theirs = [tiktoken_rs::cl100k_base_singleton(), tiktoken_rs::o200k_base_singleton()];
            for (ours, theirs) in OURS.iter().zip(theirs) {
                prop_assert_eq!(lengths(ours, &text), of_tiktoken(theirs, &text));
            }
        }
    }

    /// Fear: a text without words takes a worker for hours.
    #[test]
    fn long_pieces_take_linear_time() {
        let vocabulary = Vocabulary::cl100k();
        let begun = Instant::now();
        for one in ["a", " ", "\n", "-", "語", "ab"] {
            let text = one.repeat(1_000_000 / one.len());
            assert_eq!(lengths(&vocabulary, &text).iter().sum::<usize>(), text.len());
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        // The long way round ends where the short one does.
        let theirs = tiktoken_rs::cl100k_base_singleton();
        for length in [99, 100, 101, 1_000] {
            let text = "antidisestablishmentarianism".repeat(40)[..length].to_owned();
            assert_eq!(lengths(&vocabulary, &text), of_tiktoken(theirs, &text));
        }
    }
}
