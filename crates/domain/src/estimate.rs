//! What a first pass will take, from a sample: chunks, tokens, requests, and the list price where
//! one is known.

use crate::config::Embedding;

/// What was read of a few rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    pub rows: u64,
    pub chunks: u64,
    pub tokens: u64,
}

/// How a provider takes its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// Rows in a batch, and inputs and tokens in a request.
    pub batch: u64,
    pub inputs: u64,
    pub tokens: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    pub rows: u64,
    pub chunks: u64,
    pub tokens: u64,
    pub requests: u64,
}

/// What `rows` rows take that are like those of the sample; exact where the sample has them all.
pub fn estimate(rows: u64, sample: Sample, requests: Requests) -> Estimate {
    if rows == 0 || sample.rows == 0 || sample.chunks == 0 {
        return Estimate { rows, ..Estimate::default() };
    }
    let scale = |part: u64| (part as f64 * rows as f64 / sample.rows as f64).ceil() as u64;
    let (chunks, tokens) = (scale(sample.chunks), scale(sample.tokens));
    let batch = requests.batch.clamp(1, rows);
    let share = batch as f64 / rows as f64;
    let by_inputs = (chunks as f64 * share / requests.inputs.max(1) as f64).ceil();
    let by_tokens = (tokens as f64 * share / requests.tokens.max(1) as f64).ceil();
    let each = by_inputs.max(by_tokens).max(1.0) as u64;
    Estimate { rows, chunks, tokens, requests: rows.div_ceil(batch) * each }
}

/// US dollars for a million tokens by the provider's own list (OpenAI's of January 2024, still its
/// list in 2025); nothing for models of one's own, None where nobody knows.
pub fn price_per_million(embedding: &Embedding) -> Option<f64> {
    match embedding.resolved() {
        Embedding::Local(_) | Embedding::Ollama(_) | Embedding::Tei(_) => Some(0.0),
        Embedding::OpenAi(openai) if openai.base_url.is_none() => match openai.model.as_str() {
            "text-embedding-3-small" => Some(0.02),
            "text-embedding-3-large" => Some(0.13),
            "text-embedding-ada-002" => Some(0.10),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENAI: Requests = Requests { batch: 512, inputs: 2048, tokens: 300_000 };

    #[test]
    fn a_sample_of_everything_is_exact() {
        let all = estimate(100, Sample { rows: 100, chunks: 250, tokens: 9_000 }, OPENAI);
        assert_eq!(all, Estimate { rows: 100, chunks: 250, tokens: 9_000, requests: 1 });
    }

    #[test]
    fn a_part_is_scaled() {
        let part = estimate(1_200_000, Sample { rows: 300, chunks: 600, tokens: 77_500 }, OPENAI);
        assert_eq!((part.chunks, part.tokens), (2_400_000, 310_000_000));
        // 512 rows have 1,024 chunks and 132,267 tokens: one request a batch.
        assert_eq!(part.requests, 2_344);
        let small = Requests { inputs: 100, ..OPENAI };
        assert_eq!(
            estimate(1_200_000, Sample { rows: 300, chunks: 600, tokens: 1 }, small).requests,
            2_344 * 11
        );
    }

    #[test]
    fn nothing_costs_nothing() {
        assert_eq!(estimate(0, Sample { rows: 5, chunks: 5, tokens: 5 }, OPENAI), Estimate::default());
        assert_eq!(estimate(7, Sample::default(), OPENAI), Estimate { rows: 7, ..Estimate::default() });
        assert_eq!(estimate(7, Sample { rows: 3, ..Sample::default() }, OPENAI).requests, 0);
    }
}
