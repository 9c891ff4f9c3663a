//! Tokens as models count them. The encodings are tiktoken's; text is ordinary text, also where it
//! looks like a special token (`<|endoftext|>`). Time is linear in the text, whatever the text.

mod vocabulary;

use std::{ops::Range, sync::LazyLock};

use vocabulary::Vocabulary;

/// A way to cut a text into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Cl100k,
    O200k,
}

/// Loaded at the first use and kept.
static CL100K: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::cl100k);
static O200K: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::o200k);

impl Encoding {
    /// The encodings by the names that users give, the default first.
    pub const NAMES: [(&'static str, Encoding); 2] =
        [("cl100k_base", Encoding::Cl100k), ("o200k_base", Encoding::O200k)];

    pub fn by_name(name: &str) -> Option<Encoding> {
        Encoding::NAMES.iter().find(|(other, _)| *other == name).map(|(_, encoding)| *encoding)
    }

    fn vocabulary(self) -> &'static Vocabulary {
        match self {
            Encoding::Cl100k => &CL100K,
            Encoding::O200k => &O200K,
        }
    }

    /// The text that `tokens` stand for, where they stand for one.
    pub fn decode(self, tokens: &[u32]) -> Option<String> {
        let mut bytes = Vec::with_capacity(tokens.len() * 4);
        for token in tokens {
            bytes.extend_from_slice(self.vocabulary().token(*token)?);
        }
        String::from_utf8(bytes).ok()
    }

    /// The number of tokens.
    pub fn count(self, text: &str) -> usize {
        let mut count = 0;
        self.vocabulary().each_token(text, |_| count += 1);
        count
    }

    /// Where the first `most` tokens of `text` end, at a character; None where it has no more.
    pub fn beginning(self, text: &str, most: usize) -> Option<usize> {
        // No token is shorter than a byte.
        if text.len() <= most {
            return None;
        }
        let ends = self.ends(text);
        if ends.len() <= most {
            return None;
        }
        let end = if most == 0 { 0 } else { ends[most - 1] };
        Some((0..=end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0))
    }

    /// The place, in bytes, at which each token ends.
    pub(crate) fn ends(self, text: &str) -> Vec<usize> {
        let mut ends = Vec::with_capacity(text.len() / 3);
        let mut end = 0;
        self.vocabulary().each_token(text, |length| {
            end += length;
            ends.push(end);
        });
        ends
    }

    /// Windows of at most `size` tokens, each beginning `size - overlap` tokens after the one
    /// before it. Their ends are moved to characters: a character may take several tokens.
    pub(crate) fn windows(self, text: &str, size: usize, overlap: usize) -> Vec<Range<usize>> {
        let ends = self.ends(text);
        let start_of = |token: usize| if token == 0 { 0 } else { ends[token - 1] };
        let mut windows = Vec::new();
        let mut first = 0;
        while first < ends.len() {
            let mut last = (first + size).min(ends.len());
            // Back to where a character ends; forward where a single one is larger than the window.
            while last > first && !text.is_char_boundary(ends[last - 1]) {
                last -= 1;
            }
            if last == first {
                last = first + 1;
                while last < ends.len() && !text.is_char_boundary(ends[last - 1]) {
                    last += 1;
                }
            }
            windows.push(start_of(first)..ends[last - 1]);
            if last == ends.len() {
                break;
            }
            let mut next = last.saturating_sub(overlap).max(first + 1);
            while next < last && !text.is_char_boundary(start_of(next)) {
                next += 1;
            }
            first = next;
        }
        windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_tiktoken() {
        // From tiktoken's documentation and its published examples.
        assert_eq!(Encoding::Cl100k.count("tiktoken is great!"), 6);
        assert_eq!(Encoding::Cl100k.count("antidisestablishmentarianism"), 6);
        assert_eq!(Encoding::Cl100k.count("2 + 2 = 4"), 7);
        assert_eq!(Encoding::Cl100k.count("お誕生日おめでとう"), 9);
        assert_eq!(Encoding::Cl100k.count(""), 0);
        assert!(Encoding::O200k.count("お誕生日おめでとう") <= 9);
        // As the words that it is made of, not as the special token.
        assert!(Encoding::Cl100k.count("<|endoftext|>") > 1);
    }

    #[test]
    fn a_beginning_ends_at_a_character() {
        let text = "word ".repeat(100);
        assert_eq!(Encoding::Cl100k.beginning(&text, 200), None);
        let end = Encoding::Cl100k.beginning(&text, 50).expect("longer");
        assert_eq!(&text[..end], "word ".repeat(50).trim_end());
        let emoji = "🫠".repeat(20);
        let end = Encoding::Cl100k.beginning(&emoji, 4).expect("longer");
        assert!(emoji.is_char_boundary(end) && end < emoji.len());
        assert_eq!(Encoding::Cl100k.beginning("ab cd ef", 0), Some(0));
    }
}
