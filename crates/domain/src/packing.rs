//! Packs inputs into requests under a provider's limits. Sends nothing.

use std::ops::Range;

/// The tokens that a request is charged with for `text`: a quarter of its UTF-8 bytes, rounded up, at
/// least 1. This is the estimate by which OpenAI itself admits a request of many inputs (300,000), not
/// what a tokenizer counts.
pub fn estimate_tokens(text: &str) -> usize {
    text.len().div_ceil(4).max(1)
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
