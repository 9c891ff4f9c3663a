//! Packs inputs into requests under a provider's limits. Sends nothing.

use std::ops::Range;

/// The tokens that a request is charged with for `text`: a quarter of its UTF-8 bytes, rounded up, at
/// least 1. This is the estimate by which OpenAI itself admits a request of many inputs (300,000), not
/// what a tokenizer counts.
pub fn estimate_tokens(text: &str) -> usize {
    text.len().div_ceil(4).max(1)
}

/// More tokens than a tokenizer is likely to count, for providers whose own is not known here: two
/// letters a token, and every other visible sign of ASCII and every byte of other characters for
/// itself. Single blanks belong to the word that they stand before.
pub fn upper_tokens(text: &str) -> usize {
    let mut counter = UpperCounter::default();
    text.chars().for_each(|c| counter.add(c));
    counter.tokens.max(1)
}

/// Where the part of `text` ends that is certainly not longer than `most` tokens of whatever kind:
/// no token is shorter than a byte, and text of words is counted as `upper_tokens` does. None
/// where all of it is.
pub fn certain_beginning(text: &str, most: usize) -> Option<usize> {
    let mut counter = UpperCounter::default();
    for (at, c) in text.char_indices() {
        counter.add(c);
        if counter.tokens > most {
            return Some(at);
        }
    }
    None
}

#[derive(Default)]
struct UpperCounter {
    tokens: usize,
    /// Letters, or blanks, in a row.
    letters: usize,
    blanks: usize,
}

impl UpperCounter {
    fn add(&mut self, c: char) {
        match c {
            'a'..='z' | 'A'..='Z' => {
                self.tokens += usize::from(self.letters.is_multiple_of(2));
                self.letters += 1;
                self.blanks = 0;
                return;
            }
            ' ' => {
                self.tokens += usize::from(self.blanks == 1);
                self.blanks += 1;
            }
            c if c.is_ascii() => {
                self.tokens += 1;
                self.blanks = 0;
            }
            other => {
                self.tokens += other.len_utf8();
                self.blanks = 0;
            }
        }
        self.letters = 0;
    }
}

/// Cuts the inputs, given by their estimated tokens, into requests of at most `max_inputs` inputs and
/// `max_tokens` tokens each. The ranges follow each other and cover all inputs. An input that is above
/// `max_tokens` by itself gets a request of its own: the estimate may be wrong, and the provider has
/// the last word. A limit of 0 counts as 1.
pub fn pack(estimates: &[usize], max_inputs: usize, max_tokens: usize) -> Vec<Range<usize>> {
    let max_inputs = max_inputs.max(1);
    let mut requests = Vec::new();
    let (mut start, mut tokens) = (0, 0_usize);
    for (index, &estimate) in estimates.iter().enumerate() {
        let full = index - start >= max_inputs || tokens.saturating_add(estimate) > max_tokens;
        if full && index > start {
            requests.push(start..index);
            (start, tokens) = (index, 0);
        }
        tokens = tokens.saturating_add(estimate);
    }
    if start < estimates.len() {
        requests.push(start..estimates.len());
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_are_a_quarter_of_the_bytes() {
        for (text, tokens) in
            [("", 1), ("a", 1), ("abcd", 1), ("abcde", 2), ("文", 1), ("文字", 2), ("🙂🙂", 2)]
        {
            assert_eq!(estimate_tokens(text), tokens, "{text}");
        }
        assert_eq!(estimate_tokens(&"x".repeat(1_200_000)), 300_000);
    }

    #[test]
    fn the_upper_estimate_is_above_what_a_tokenizer_counts() {
        use crate::tokens::Encoding;
        for text in [
            "The quick brown fox jumps over the lazy dog, again and again.",
            "Donaudampfschifffahrtsgesellschaftskapitän und Rindfleischetikettierungsüberwachungsgesetz",
            "if (a[i] != 0x7f) { return -1; } // 12345678901234567890",
            "東京は日本の首都です。人口は約1400万人。",
            "{\"id\": \"9f86d081-884c-7d65\", \"n\": 3.14159265358979}",
            "\n\n\t\t   \n  x   y",
            "🫠🫠🇩🇪 naïve façade",
        ] {
            for encoding in [Encoding::Cl100k, Encoding::O200k] {
                let counted = encoding.count(text);
                assert!(upper_tokens(text) >= counted, "{text}: {} < {counted}", upper_tokens(text));
            }
        }
        assert_eq!(certain_beginning("abcd efgh", 2), Some(5));
        assert_eq!(certain_beginning("abcd efgh", 4), None);
    }

    #[test]
    fn limits_are_used_to_the_full() {
        assert_eq!(pack(&[], 10, 10), Vec::<Range<usize>>::new());
        assert_eq!(pack(&[1, 1, 1, 1, 1], 2, 100), [0..2, 2..4, 4..5]);
        assert_eq!(pack(&[5, 5, 5], 100, 10), [0..2, 2..3]);
        assert_eq!(pack(&[5, 6, 4], 100, 10), [0..1, 1..3]);
    }

    #[test]
    fn a_giant_goes_alone() {
        assert_eq!(pack(&[50, 1, 1], 100, 10), [0..1, 1..3]);
        assert_eq!(pack(&[1, 50, 1], 100, 10), [0..1, 1..2, 2..3]);
        assert_eq!(pack(&[50, 50], 100, 10), [0..1, 1..2]);
        // Where there is no limit, nothing overflows.
        assert_eq!(pack(&[usize::MAX, usize::MAX], 100, usize::MAX).len(), 1);
    }

    #[test]
    fn limits_of_zero_still_send() {
        assert_eq!(pack(&[1, 2], 0, 0), [0..1, 1..2]);
    }

    proptest! {
        #[test]
        fn every_input_once_in_order_and_within_the_limits(
            estimates in prop::collection::vec(1..40_usize, 0..200), inputs in 1..20_usize, tokens in 1..100_usize
        ) {
            let requests = pack(&estimates, inputs, tokens);
            let order: Vec<usize> = requests.iter().cloned().flatten().collect();
            prop_assert_eq!(order, (0..estimates.len()).collect::<Vec<_>>());
            let sum = |range: &Range<usize>| estimates[range.clone()].iter().sum::<usize>();
            for range in &requests {
                prop_assert!(range.len() <= inputs);
                prop_assert!(range.len() == 1 || sum(range) <= tokens);
            }
            // No request stays smaller than it could be.
            for pair in requests.windows(2) {
                prop_assert!(pair[0].len() == inputs || sum(&pair[0]) + estimates[pair[1].start] > tokens);
            }
        }
    }
}
