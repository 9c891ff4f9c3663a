//! Opening the provider of a vectorizer with what the settings say of its surroundings.

use std::sync::Arc;

use autovector_domain::config::Embedding;
use autovector_domain::failure::Failure;
use autovector_providers::endpoint::DEFAULT_ALLOWED;
use autovector_providers::local::{self, ModelInfo};
use autovector_providers::{Embedder, Surroundings, secrets};

use crate::settings::Settings;

/// Opens the provider. Where the key may not be used, a provider that needs none is called
/// without it.
pub fn open(
    embedding: &Embedding,
    may_use_key: bool,
    settings: &Settings,
) -> Result<Arc<dyn Embedder>, Failure> {
    let mut surroundings = surroundings(settings);
    require_no_key_unless(embedding, may_use_key)?;
    if !may_use_key {
        surroundings.secrets = Arc::new(|_| None);
    }
    autovector_providers::open(embedding, &surroundings)
}

/// Refuses a provider that needs a key which may not be used.
pub fn require_no_key_unless(embedding: &Embedding, may_use_key: bool) -> Result<(), Failure> {
    match embedding.api_key_name() {
        Some(name) if embedding.needs_key() && !may_use_key => Err(Failure::config(
            format!("the owner of the source may not use the API key {name}"),
            format!("A superuser grants it: SELECT ai.grant_secret('{name}', '<role>');"),
        )),
        _ => Ok(()),
    }
}

pub fn surroundings(settings: &Settings) -> Surroundings {
    let directory = settings.secrets_directory.clone();
    Surroundings {
        local_model_directory: settings.local_model_directory.clone(),
        local_threads: settings.local_threads,
        connect_timeout: settings.connect_timeout,
        request_timeout: settings.request_timeout,
        allowed_endpoints: if settings.allowed_endpoints.is_empty() {
            DEFAULT_ALLOWED.map(str::to_owned).to_vec()
        } else {
            settings.allowed_endpoints.clone()
        },
        secrets: Arc::new(move |name| secrets::lookup(name, directory.as_deref())),
    }
}

/// Checks what can be checked without calling the provider, and without loading a model.
pub fn check(embedding: &Embedding, may_use_key: bool, settings: &Settings) -> Result<(), Failure> {
    match embedding {
        Embedding::Local(local) => describe(&local.model, settings).map(|_| ()),
        other => open(other, may_use_key, settings).map(|_| ()),
    }
}

/// What the directory of a local model says of it.
pub fn describe(model: &str, settings: &Settings) -> Result<ModelInfo, Failure> {
    match &settings.local_model_directory {
        Some(directory) => local::describe(directory, model),
        None => Err(Failure::config(
            format!("there is no directory to find the local model \"{model}\" in"),
            "Set autovector.local_model_directory in postgresql.conf to the directory that holds the models.",
        )),
    }
}
