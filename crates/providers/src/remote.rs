//! What the providers behind HTTP share: finding the key, sending, reading, and what the usual
//! refusals mean. A wire format says what a request holds and where the vectors stand.

use autovector_domain::{
    config::{Embedding, Step},
    failure::Failure,
    models::{self, RequestLimits},
    packing,
    secret::Secret,
    tokens::Encoding,
};

use crate::{
    Embedder, Embeddings, Limits, Purpose, Surroundings,
    answer::{self, Expected, List},
    endpoint::{Endpoint, Policy},
    http::{Client, Credential, HttpError, Refusal},
};

/// Where an answer has its vectors.
pub(crate) enum Shape {
    /// `data[].embedding` with `index`, as OpenAI has it.
    Indexed,
    /// At the end of a path, in the order of the inputs.
    At { vectors: Vec<Step>, tokens: Vec<Step> },
}

impl Shape {
    /// By paths that are known to be sound; an empty one for tokens means that none are told.
    pub fn at(vectors: &str, tokens: &str) -> Shape {
        let steps = |path: &str| Step::parse(path).expect("a path of this program");
        Shape::At { vectors: steps(vectors), tokens: steps(tokens) }
    }
}

/// One wire format with one configuration.
pub(crate) trait WireFormat: Send + Sync {
    /// The body of a request.
    fn body(&self, inputs: &[&str], purpose: Purpose) -> Result<Vec<u8>, serde_json::Error>;

    /// Where a text that was refused alone may be cut so that it is certainly short enough; None
    /// where its length is not to blame, or it may not be cut.
    fn shorter(&self, _input: &str, _: &Refusal) -> Option<usize> {
        None
    }

    /// The tokens that a text is cut to, where that is done here.
    fn longest(&self) -> Option<usize> {
        None
    }

    /// What a refusal means; None where the status says it.
    fn explain(&self, _: &Refusal) -> Option<Failure> {
        None
    }
}

/// The key of a provider: its name, and whether it was found.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub name: Option<String>,
    pub found: bool,
}

impl Key {
    /// What a refusal for want of a right key means.
    pub fn refused(&self, refusal: &Refusal) -> Failure {
        refusal.as_config(match (&self.name, self.found) {
            (Some(name), true) => format!("Check the key named {name}."),
            (Some(name), false) => format!("No key named {name} was found. {}", how_to_give_a_key(name)),
            (None, _) => "Give the provider's api_key_name: it asks for a key.".to_owned(),
        })
    }
}

pub(crate) fn how_to_give_a_key(name: &str) -> String {
    format!(
        "Set {name} in the environment of the server, or write it to a file {name} in autovector.secrets_directory."
    )
}

/// Finds the key that `embedding` names.
///
/// Errors: `Failure::Config` where it is needed and not there, or cannot be a key.
pub(crate) fn find_key(
    embedding: &Embedding,
    surroundings: &Surroundings,
    required: bool,
) -> Result<(Option<Secret>, Key), Failure> {
    let Some(name) = embedding.api_key_name() else { return Ok((None, Key { name: None, found: false })) };
    let secret = (surroundings.secrets)(name);
    if secret.is_none() && required {
        return Err(Failure::config(format!("no API key named {name} was found"), how_to_give_a_key(name)));
    }
    if secret
        .as_ref()
        .is_some_and(|s| s.expose().is_empty() || s.expose().contains(|c: char| !c.is_ascii_graphic()))
    {
        return Err(Failure::config(
            format!("the API key named {name} is empty or holds characters that no key has"),
            "Store the key alone, without quotes, spaces or line breaks.",
        ));
    }
    let found = secret.is_some();
    Ok((secret, Key { name: Some(name.to_owned()), found }))
}

/// The place that requests go to, if the operator allows it.
pub(crate) fn endpoint(
    base_url: Option<&str>,
    default: &str,
    segments: &[&str],
    surroundings: &Surroundings,
) -> Result<Endpoint, Failure> {
    let policy = Policy::new(&surroundings.allowed_endpoints)?;
    let base = policy.check(base_url.unwrap_or(default))?;
    Ok(if segments.is_empty() { base } else { base.join(segments) })
}

/// A provider that speaks `F`.
pub(crate) struct Remote<F> {
    format: F,
    client: Client,
    shape: Shape,
    key: Key,
    dimensions: usize,
    limits: RequestLimits,
    encoding: Option<Encoding>,
    concurrency: usize,
}

impl<F: WireFormat> Remote<F> {
    /// `credential` makes the header of the key.
    pub fn open(
        embedding: &Embedding,
        format: F,
        shape: Shape,
        endpoint: Endpoint,
        credential: fn(Secret) -> Credential,
        surroundings: &Surroundings,
    ) -> Result<Remote<F>, Failure> {
        let (secret, key) = find_key(embedding, surroundings, embedding.needs_key())?;
        Ok(Remote {
            client: Client::new(endpoint, secret.map(credential), surroundings.into()),
            dimensions: embedding.dimensions().unwrap_or(0) as usize,
            limits: models::request_limits(embedding),
            encoding: models::encoding(embedding.implementation(), embedding.model()),
            concurrency: 8,
            format,
            shape,
            key,
        })
    }

    /// Requests worth having in flight: fewer than usual for a server of one's own.
    pub fn concurrency(self, concurrency: usize) -> Remote<F> {
        Remote { concurrency, ..self }
    }

    fn post(&self, inputs: &[&str], purpose: Purpose) -> Result<Vec<u8>, HttpError> {
        let body = self.format.body(inputs, purpose);
        let body = body.map_err(|e| HttpError::Failed(Failure::input(e.to_string())))?;
        self.client.post_json(&body, answer::size_cap(inputs.len(), self.dimensions))
    }

    /// The beginning of a single text that was refused for its length.
    fn cut<'i>(&self, inputs: &[&'i str], refusal: &Refusal) -> Option<&'i str> {
        let [input] = inputs else { return None };
        let end = self.format.shorter(input, refusal)?;
        (0 < end && end < input.len()).then(|| &input[..end])
    }

    fn explain(&self, refusal: &Refusal) -> Failure {
        match self.format.explain(refusal) {
            Some(failure) => failure,
            None if refusal.status == 401 => self.key.refused(refusal),
            None => refusal.failure(),
        }
    }
}

impl<F: WireFormat> Embedder for Remote<F> {
    fn embed(&self, inputs: &[&str], purpose: Purpose) -> Result<Embeddings, Failure> {
        let (count, dimensions) = (inputs.len(), self.dimensions);
        if inputs.is_empty() {
            return Ok(answer::nothing(dimensions));
        }
        let mut cut = Vec::new();
        let json = match self.post(inputs, purpose) {
            Err(HttpError::Refused(refusal)) => match self.cut(inputs, &refusal) {
                Some(beginning) => {
                    cut.push(0);
                    self.post(&[beginning], purpose)
                }
                None => Err(HttpError::Refused(refusal)),
            },
            answered => answered,
        };
        let json = json.map_err(|error| match error {
            HttpError::Refused(refusal) => self.explain(&refusal),
            HttpError::Failed(failure) => failure,
        })?;
        let origin = self.client.endpoint().origin();
        let list = match &self.shape {
            Shape::Indexed => List::Indexed,
            Shape::At { vectors, tokens } => List::At { vectors, tokens },
        };
        let read = answer::read(&json, Expected { list, count, dimensions, origin: &origin })?;
        Ok(Embeddings { cut, ..read })
    }

    fn limits(&self) -> Limits {
        Limits { inputs: self.limits.inputs, tokens: self.limits.tokens }
    }

    fn count_tokens(&self, text: &str) -> usize {
        match self.encoding {
            Some(encoding) => encoding.count(text),
            None => packing::upper_tokens(text),
        }
    }

    fn longest(&self) -> Option<usize> {
        self.format.longest()
    }

    fn dimensions(&self) -> Option<usize> {
        Some(self.dimensions).filter(|dimensions| *dimensions > 0)
    }

    fn default_concurrency(&self) -> usize {
        self.concurrency
    }

    fn abort(&self) {
        self.client.shut_down();
    }
}
