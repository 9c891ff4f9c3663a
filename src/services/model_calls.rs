//! Calling a model without a vectorizer, with the rights of the caller: what leads to which key,
//! and which texts go into which request.

use std::sync::Arc;

use autovector_domain::config::Embedding;
use autovector_domain::packing;
use autovector_domain::secret::Secret;
use autovector_providers::Purpose;
use serde_json::Value;

use super::{provider, waiting};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::store::transaction::{as_extension_owner, current_role};
use crate::store::{secret_grants, session_setting};

pub struct Call<'a> {
    /// An embedding configuration; without `dimensions` any number will do.
    pub config: Value,
    /// The key itself, as pgai's functions take it.
    pub api_key: Option<&'a str>,
    pub purpose: Purpose,
}

/// A vector for each input that is not NULL.
pub fn embed(call: Call<'_>, inputs: Vec<Option<String>>) -> Result<Vec<Option<Vec<f32>>>> {
    let embedding = read(call.config)?;
    let settings = Settings::now();
    let mut surroundings = provider::surroundings(&settings);
    let mut may_use_key = true;
    if let Some(name) = embedding.api_key_name() {
        let given = match call.api_key {
            Some(key) => Some(key.to_owned()),
            // pgai's: a setting of the session, `ai.openai_api_key` for OPENAI_API_KEY.
            None => session_setting::of(&format!("ai.{}", name.to_ascii_lowercase()))?,
        };
        match given {
            Some(key) => surroundings.secrets = Arc::new(move |_| Some(Secret::new(&*key))),
            None => {
                let role = current_role();
                may_use_key = as_extension_owner(|| secret_grants::may_use(role, name))?;
            }
        }
    }
    provider::require_no_key_unless(&embedding, may_use_key)
        .map_err(|failure| Error { kind: crate::error::Kind::InsufficientPrivilege, ..failure.into() })?;
    if !may_use_key {
        surroundings.secrets = Arc::new(|_| None);
    }
    let texts: Vec<String> = inputs.iter().flatten().cloned().collect();
    let purpose = call.purpose;
    let vectors = waiting::on_thread(move || {
        let embedder = autovector_providers::open(&embedding, &surroundings)?;
        let limits = embedder.limits();
        let tokens: Vec<usize> = texts.iter().map(|text| embedder.count_tokens(text)).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        for range in packing::pack(&tokens, limits.inputs, limits.tokens) {
            let inputs: Vec<&str> = texts[range].iter().map(String::as_str).collect();
            let answer = embedder.embed(&inputs, purpose)?;
            vectors.extend((0..answer.count()).map(|index| answer.vector(index).to_vec()));
        }
        Ok::<_, autovector_domain::failure::Failure>(vectors)
    })??;
    let mut vectors = vectors.into_iter();
    Ok(inputs.into_iter().map(|input| input.and_then(|_| vectors.next())).collect())
}

fn read(mut config: Value) -> Result<Embedding> {
    let any = config.get("dimensions").is_none_or(Value::is_null);
    if any && let Value::Object(members) = &mut config {
        members.insert("dimensions".to_owned(), 1.into());
    }
    let embedding = Embedding::from_json(&config)?;
    if any {
        return Ok(embedding.with_any_dimensions());
    }
    embedding.check_model()?;
    Ok(embedding)
}
