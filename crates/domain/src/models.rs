//! What is known of the providers' own models, from their documentation: dimensions, the longest
//! text, tokens and texts in a request. A model that is not listed is taken at the user's word.

use crate::{
    config::{ConfigError, Embedding},
    tokens::Encoding,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dimensions {
    Only(u32),
    OneOf(&'static [u32]),
    /// Both included.
    Between(u32, u32),
}

impl Dimensions {
    fn admit(self, dimensions: u32) -> bool {
        match self {
            Dimensions::Only(only) => only == dimensions,
            Dimensions::OneOf(list) => list.contains(&dimensions),
            Dimensions::Between(least, most) => (least..=most).contains(&dimensions),
        }
    }

    fn describe(self) -> String {
        match self {
            Dimensions::Only(only) => only.to_string(),
            Dimensions::OneOf(list) => list.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
            Dimensions::Between(least, most) => format!("{least} to {most}"),
        }
    }
}

const VOYAGE: Dimensions = Dimensions::OneOf(&[256, 512, 1024, 2048]);
const COHERE_4: Dimensions = Dimensions::OneOf(&[256, 512, 1024, 1536]);

fn dimensions(provider: &str, model: &str) -> Option<Dimensions> {
    use Dimensions::{Between, Only};
    Some(match (provider, model.strip_prefix("models/").unwrap_or(model)) {
        ("openai", "text-embedding-3-small") => Between(1, 1536),
        ("openai", "text-embedding-3-large") => Between(1, 3072),
        ("openai", "text-embedding-ada-002") => Only(1536),
        (
            "voyageai",
            "voyage-4-large" | "voyage-4" | "voyage-4-lite" | "voyage-3-large" | "voyage-3.5"
            | "voyage-3.5-lite" | "voyage-code-3",
        ) => VOYAGE,
        ("voyageai", "voyage-3" | "voyage-finance-2" | "voyage-law-2" | "voyage-multilingual-2") => {
            Only(1024)
        }
        ("voyageai", "voyage-2" | "voyage-large-2-instruct") => Only(1024),
        ("voyageai", "voyage-3-lite") => Only(512),
        ("voyageai", "voyage-code-2" | "voyage-large-2") => Only(1536),
        ("cohere", "embed-v4.0") => COHERE_4,
        ("cohere", "embed-english-v3.0" | "embed-multilingual-v3.0") => Only(1024),
        ("cohere", "embed-english-light-v3.0" | "embed-multilingual-light-v3.0") => Only(384),
        ("cohere", "embed-english-v2.0") => Only(4096),
        ("cohere", "embed-english-light-v2.0") => Only(1024),
        ("cohere", "embed-multilingual-v2.0") => Only(768),
        ("mistral", "mistral-embed") => Only(1024),
        ("mistral", "codestral-embed" | "codestral-embed-2505") => Between(1, 3072),
        ("gemini", "gemini-embedding-001") => Between(1, 3072),
        ("gemini", "text-embedding-004") => Between(1, 768),
        ("gemini", "embedding-001") => Only(768),
        _ => return None,
    })
}

/// Refuses dimensions that a known model does not have, before anything is paid for.
pub fn check_dimensions(provider: &str, model: &str, asked: u32) -> Result<(), ConfigError> {
    match dimensions(provider, model) {
        Some(known) if !known.admit(asked) => {
            let found = known.describe();
            Err(ConfigError::new(
                format!("the model '{model}' cannot return {asked} dimensions"),
                format!("Its vectors have {found} dimensions; give dimensions => {}.", nearest(known, asked)),
            ))
        }
        _ => Ok(()),
    }
}

fn nearest(known: Dimensions, asked: u32) -> u32 {
    match known {
        Dimensions::Only(only) => only,
        Dimensions::Between(least, most) => asked.clamp(least, most),
        Dimensions::OneOf(list) => {
            list.iter().copied().min_by_key(|one| one.abs_diff(asked)).unwrap_or(asked)
        }
    }
}

/// Whether a request may say how many dimensions it wants: None where the model is not known.
pub fn has_several_dimensions(provider: &str, model: &str) -> Option<bool> {
    dimensions(provider, model).map(|known| !matches!(known, Dimensions::Only(_)))
}

/// The most tokens that the model reads of one text, and how they are counted.
pub fn longest(provider: &str, model: &str) -> Option<(usize, Encoding)> {
    match (provider, model) {
        ("openai", "text-embedding-3-small" | "text-embedding-3-large" | "text-embedding-ada-002") => {
            Some((8191, Encoding::Cl100k))
        }
        _ => None,
    }
}

/// The encoding of a model's texts, where it is known.
pub fn encoding(provider: &str, model: &str) -> Option<Encoding> {
    longest(provider, model).map(|(_, encoding)| encoding)
}

/// The most that one request may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    pub inputs: usize,
    pub tokens: usize,
}

const UNLIMITED: usize = usize::MAX;

/// What the provider takes in one request.
pub fn request_limits(embedding: &Embedding) -> RequestLimits {
    let (inputs, tokens) = match embedding.resolved() {
        Embedding::Local(_) => (32, 2_048),
        // The tokens are OpenAI's own estimate, a quarter of the bytes.
        Embedding::OpenAi(_) | Embedding::AzureOpenAi(_) => (2_048, 300_000),
        Embedding::Ollama(_) => (2_048, UNLIMITED),
        Embedding::VoyageAi(voyage) => (
            128,
            match voyage.model.as_str() {
                "voyage-3.5-lite" | "voyage-3-lite" | "voyage-4-lite" => 1_000_000,
                "voyage-3.5" | "voyage-3" | "voyage-2" | "voyage-4" => 320_000,
                _ => 120_000,
            },
        ),
        Embedding::Cohere(_) => (96, UNLIMITED),
        Embedding::Mistral(_) => (128, 16_000),
        Embedding::Gemini(_) => (100, UNLIMITED),
        Embedding::Tei(tei) => (tei.max_inputs as usize, UNLIMITED),
        Embedding::Http(http) => {
            (http.max_inputs as usize, http.max_tokens.map_or(UNLIMITED, |tokens| tokens as usize))
        }
        Embedding::LiteLlm(_) => unreachable!("resolved"),
    };
    RequestLimits { inputs, tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_refuse_what_they_cannot_return() {
        let refused =
            |provider, model, asked| check_dimensions(provider, model, asked).expect_err(model).hint;
        assert!(refused("openai", "text-embedding-3-small", 3072).ends_with("dimensions => 1536."));
        assert!(refused("openai", "text-embedding-ada-002", 768).contains("1536"));
        assert!(refused("voyageai", "voyage-3.5", 1000).contains("256, 512, 1024, 2048"));
        assert!(refused("voyageai", "voyage-3.5", 1000).ends_with("dimensions => 1024."));
        assert!(refused("gemini", "models/gemini-embedding-001", 4096).contains("3072"));
        for (provider, model, asked) in [
            ("openai", "text-embedding-3-small", 768),
            ("openai", "text-embedding-9", 9),
            ("voyageai", "voyage-3-lite", 512),
            ("cohere", "embed-english-v3.0", 1024),
            ("elsewhere", "text-embedding-ada-002", 7),
        ] {
            assert_eq!(check_dimensions(provider, model, asked), Ok(()), "{model}");
        }
    }
}
