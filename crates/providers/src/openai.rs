//! OpenAI's `/embeddings`, every server that speaks the same, and Azure's deployments of it.
//! Knows the wire format and what OpenAI's error codes mean; the transport is `http`, the
//! answer's checks are `answer`.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use autovector_domain::{
    config::{AzureOpenAi, Embedding, OpenAi, Oversize},
    failure::Failure,
    models, packing,
    secret::Secret,
    tokens::Encoding,
};
use serde::Serialize;

use crate::{
    Embedder, Embeddings, Limits, Purpose, Surroundings,
    answer::{self, Expected, List},
    endpoint::Endpoint,
    http::{Client, Credential, HttpError, Refusal},
    remote::{self, Key},
};

const DEFAULT_URL: &str = "https://api.openai.com/v1";
const DEFAULT_HOST: &str = "api.openai.com";

/// The one model that knows no `dimensions`.
const FIXED_DIMENSIONS: &str = "text-embedding-ada-002";

/// What OpenAI takes in one request. The tokens are the estimate that OpenAI itself goes
/// by, a quarter of the bytes.
const LIMITS: Limits = Limits { inputs: 2048, tokens: 300_000 };

struct Provider {
    client: Client,
    /// A deployment of Azure's, where `has_deployment`.
    model: String,
    has_deployment: bool,
    /// 0 where any number will do.
    dimensions: usize,
    user: Option<String>,
    key: Key,
    /// The most tokens that the model reads of a text, where they can be counted.
    longest: Option<(usize, Encoding)>,
    oversize: Oversize,
    /// The server is OpenAI's own, whose errors and abilities are known.
    is_original: bool,
    /// Servers with a model of one size refuse the parameter even where it asks for that
    /// size; after the first refusal it is left out.
    sends_dimensions: AtomicBool,
    /// Base64 is a third of the bytes, and numbers as text cost this process most of its time.
    /// Servers that do not know it send numbers all the same, which are read too, or refuse;
    /// those are asked for numbers from then on.
    wants_base64: AtomicBool,
    /// A request for base64 has been answered: refusals have other causes.
    base64_answered: AtomicBool,
    /// Requests that were refused in either form, before any was answered.
    refused_twice: AtomicU32,
}

/// So many requests are tried in both forms. After that numbers are asked for, which every
/// server knows.
const MAX_DOUBTS: u32 = 2;

/// The parameters that not every server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    dimensions: bool,
    base64: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    input: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    encoding_format: &'static str,
}

/// Opens the provider; sends nothing yet.
///
/// Errors: `Failure::Config` where the URL is not allowed, or where OpenAI's own server is
/// asked for without a key. Other servers may need none.
pub(crate) fn open(config: &OpenAi, surroundings: &Surroundings) -> Result<impl Embedder + use<>, Failure> {
    let embedding = Embedding::OpenAi(config.clone());
    let base = config.base_url.as_deref();
    let endpoint = remote::endpoint(base, DEFAULT_URL, &["embeddings"], surroundings)?;
    let is_original = endpoint.host() == DEFAULT_HOST;
    // A server of one's own may do without a key, but not without one that was asked for by name.
    let (secret, key) = remote::find_key(&embedding, surroundings, is_original || embedding.needs_key())?;
    let provider = Provider::new(endpoint, secret.map(Credential::bearer), key, surroundings);
    Ok(Provider {
        model: config.model.clone(),
        dimensions: config.dimensions as usize,
        user: config.user.clone(),
        longest: models::longest("openai", &config.model),
        oversize: config.oversize,
        is_original,
        sends_dimensions: AtomicBool::new(config.dimensions > 0 && config.model != FIXED_DIMENSIONS),
        ..provider
    })
}

/// Opens a deployment of Azure's; sends nothing yet. Errors as `open`.
pub(crate) fn open_azure(
    config: &AzureOpenAi,
    surroundings: &Surroundings,
) -> Result<impl Embedder + use<>, Failure> {
    let embedding = Embedding::AzureOpenAi(config.clone());
    let segments = ["openai", "deployments", &config.deployment, "embeddings"];
    let endpoint = remote::endpoint(Some(&config.base_url), "", &segments, surroundings)?;
    let endpoint = endpoint.with_query("api-version", &config.api_version);
    let (secret, key) = remote::find_key(&embedding, surroundings, true)?;
    let credential = secret.map(|secret: Secret| Credential::header("api-key", secret));
    let model = config.model.as_deref().unwrap_or(&config.deployment);
    let provider = Provider::new(endpoint, credential, key, surroundings);
    Ok(Provider {
        model: config.deployment.clone(),
        has_deployment: true,
        dimensions: config.dimensions as usize,
        user: config.user.clone(),
        longest: models::longest("openai", model),
        oversize: config.oversize,
        sends_dimensions: AtomicBool::new(config.dimensions > 0 && model != FIXED_DIMENSIONS),
        ..provider
    })
}

impl Embedder for Provider {
    fn embed(&self, inputs: &[&str], _: Purpose) -> Result<Embeddings, Failure> {
        if inputs.is_empty() {
            return Ok(answer::nothing(self.dimensions));
        }
        let (inputs, cut) = self.fit(inputs)?;
        let mut form = self.form();
        let answer = loop {
            match self.post(&inputs, form) {
                Err(HttpError::Refused(refusal)) => match self.plainer(form, &refusal) {
                    Some(plainer) => form = plainer,
                    None => {
                        self.doubt(form);
                        break Err(HttpError::Refused(refusal));
                    }
                },
                Ok(json) => {
                    self.learn(form);
                    break Ok(json);
                }
                failed => break failed,
            }
        };
        let json = answer.map_err(|error| match error {
            HttpError::Refused(refusal) => self.explain(&refusal),
            HttpError::Failed(failure) => failure,
        })?;
        let origin = self.client.endpoint().origin();
        let (count, dimensions) = (inputs.len(), self.dimensions);
        let read = answer::read(&json, Expected { list: List::Indexed, count, dimensions, origin: &origin })?;
        Ok(Embeddings { cut, ..read })
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    /// OpenAI admits a request by its own estimate; what a tokenizer counts is more for some scripts.
    fn count_tokens(&self, text: &str) -> usize {
        let estimate = packing::estimate_tokens(text);
        self.longest.map_or(estimate, |(_, encoding)| encoding.count(text).max(estimate))
    }

    fn longest(&self) -> Option<usize> {
        self.longest.map(|(longest, _)| longest)
    }

    fn dimensions(&self) -> Option<usize> {
        Some(self.dimensions).filter(|dimensions| *dimensions > 0)
    }

    fn default_concurrency(&self) -> usize {
        8
    }

    fn abort(&self) {
        self.client.shut_down();
    }
}

impl Provider {
    fn new(
        endpoint: Endpoint,
        credential: Option<Credential>,
        key: Key,
        surroundings: &Surroundings,
    ) -> Provider {
        Provider {
            client: Client::new(endpoint, credential, surroundings.into()),
            model: String::new(),
            has_deployment: false,
            dimensions: 0,
            user: None,
            key,
            longest: None,
            oversize: Oversize::Truncate,
            is_original: false,
            sends_dimensions: AtomicBool::new(false),
            wants_base64: AtomicBool::new(true),
            base64_answered: AtomicBool::new(false),
            refused_twice: AtomicU32::new(0),
        }
    }

    /// The texts, each at most as long as the model reads, and which of them were cut for that.
    /// `Failure::Input` where one is longer and may not be cut.
    fn fit<'i>(&self, inputs: &'i [&'i str]) -> Result<(Cow<'i, [&'i str]>, Vec<usize>), Failure> {
        let (mut fitting, mut cut) = (Cow::Borrowed(inputs), Vec::new());
        let Some((longest, encoding)) = self.longest else { return Ok((fitting, cut)) };
        for (index, input) in inputs.iter().enumerate() {
            let Some(end) = encoding.beginning(input, longest) else { continue };
            if self.oversize == Oversize::Refuse {
                let model = &self.model;
                return Err(Failure::input(format!(
                    "the text is longer than the {longest} tokens that the model '{model}' reads"
                )));
            }
            fitting.to_mut()[index] = &input[..end];
            cut.push(index);
        }
        Ok((fitting, cut))
    }

    fn post(&self, inputs: &[&str], form: Form) -> Result<Vec<u8>, HttpError> {
        let request = Request {
            input: inputs,
            // A deployment is named in the URL.
            model: (!self.has_deployment).then_some(&*self.model),
            dimensions: form.dimensions.then_some(self.dimensions),
            user: self.user.as_deref(),
            encoding_format: if form.base64 { "base64" } else { "float" },
        };
        let body =
            serde_json::to_vec(&request).map_err(|e| HttpError::Failed(Failure::input(e.to_string())))?;
        self.client.post_json(&body, answer::size_cap(inputs.len(), self.dimensions))
    }

    fn form(&self) -> Form {
        Form {
            dimensions: self.sends_dimensions.load(Ordering::Relaxed),
            base64: self.wants_base64.load(Ordering::Relaxed),
        }
    }

    /// The form to try after `refusal`; None when the form is not to blame.
    fn plainer(&self, form: Form, refusal: &Refusal) -> Option<Form> {
        if form.dimensions && self.dislikes_dimensions(refusal) {
            return Some(Form { dimensions: false, ..form });
        }
        let maybe_base64 = !self.is_original && !self.base64_answered.load(Ordering::Relaxed);
        let unsure = form.base64 && maybe_base64 && matches!(refusal.status, 400 | 415 | 422 | 501);
        unsure.then_some(Form { base64: false, ..form })
    }

    /// Takes note of a request that was refused in `form` for good.
    fn doubt(&self, form: Form) {
        let asked_for_both = !form.base64 && self.wants_base64.load(Ordering::Relaxed);
        if asked_for_both && self.refused_twice.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_DOUBTS {
            self.wants_base64.store(false, Ordering::Relaxed);
        }
    }

    /// Keeps to a form that was answered.
    fn learn(&self, form: Form) {
        if !form.dimensions {
            self.sends_dimensions.store(false, Ordering::Relaxed);
        }
        if form.base64 {
            self.base64_answered.store(true, Ordering::Relaxed);
        } else {
            self.wants_base64.store(false, Ordering::Relaxed);
        }
    }

    fn dislikes_dimensions(&self, refusal: &Refusal) -> bool {
        let message = refusal.message.to_ascii_lowercase();
        !self.is_original
            && matches!(refusal.status, 400 | 422)
            && (message.contains("dimensions") || message.contains("matryoshka"))
    }

    /// What a refusal means: OpenAI's codes first, the status where they say nothing.
    fn explain(&self, refusal: &Refusal) -> Failure {
        let has = |word: &str| [&refusal.code, &refusal.kind].into_iter().flatten().any(|c| c == word);
        let Provider { model, dimensions, .. } = self;
        if has("DeploymentNotFound") {
            return refusal.as_config(format!("Check the name of the deployment ('{model}') and base_url."));
        }
        if has("model_not_found") {
            return refusal
                .as_config(format!("Check the model's name ('{model}') and whether the key may use it."));
        }
        if has("insufficient_quota") {
            return refusal
                .as_config("Check the plan and the balance of the account that the key belongs to.");
        }
        if has("invalid_api_key") || refusal.status == 401 {
            return self.key.refused(refusal);
        }
        if has("rate_limit_exceeded") {
            return refusal.as_request();
        }
        // OpenAI gives no code for this one. It does not quote inputs, so the word is its own.
        if self.is_original && refusal.status == 400 && refusal.message.contains("dimensions") {
            return refusal.as_config(format!("The model '{model}' cannot return {dimensions} dimensions."));
        }
        refusal.failure()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::endpoint::DEFAULT_ALLOWED;

    /// OpenAI's own server: opened, but never called.
    fn original() -> Provider {
        let surroundings = Surroundings {
            local_model_directory: None,
            local_threads: 1,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(1),
            allowed_endpoints: DEFAULT_ALLOWED.map(str::to_owned).to_vec(),
            secrets: Arc::new(|_| None),
        };
        let endpoint = remote::endpoint(None, DEFAULT_URL, &["embeddings"], &surroundings).unwrap();
        let key = Key { name: Some("OPENAI_API_KEY".into()), found: true };
        let credential = Some(Credential::bearer(Secret::new("k")));
        Provider {
            model: "text-embedding-3-small".into(),
            dimensions: 5000,
            is_original: true,
            sends_dimensions: AtomicBool::new(true),
            ..Provider::new(endpoint, credential, key, &surroundings)
        }
    }

    fn refusal(status: u16, message: &str) -> Refusal {
        let (code, kind) = (None, Some("invalid_request_error".to_owned()));
        let origin = "https://api.openai.com".to_owned();
        Refusal { status, code, kind, message: message.to_owned(), retry_after: None, origin }
    }

    #[test]
    fn dimensions_that_openai_does_not_take_are_a_matter_of_configuration() {
        let provider = original();
        let words = "Invalid value for 'dimensions' = 5000. Must be less than or equal to 1536.";
        assert!(!provider.dislikes_dimensions(&refusal(400, words)), "they are not silently left out");
        assert!(matches!(provider.explain(&refusal(400, words)), Failure::Config { .. }));
        let long = "This model's maximum context length is 8192 tokens.";
        assert!(matches!(provider.explain(&refusal(400, long)), Failure::Input { .. }));
        let many = "Requested 350000 tokens, max 300000 tokens per request";
        assert!(matches!(provider.explain(&refusal(400, many)), Failure::Input { .. }));
    }

    #[test]
    fn numbers_are_asked_for_only_where_base64_may_be_what_is_refused() {
        let form = Form { dimensions: true, base64: true };
        let words = refusal(400, "encoding_format: unexpected value");
        assert_eq!(original().plainer(form, &words), None, "openai itself knows base64");
        let other = Provider { is_original: false, ..original() };
        assert_eq!(other.plainer(form, &words), Some(Form { dimensions: true, base64: false }));
        assert_eq!(other.plainer(form, &refusal(401, "no")), None);
        other.learn(form);
        assert_eq!(other.plainer(form, &words), None, "it has been answered before");
    }
}
