//! What sentence-transformers' files say happens around the encoder: pooling, normalisation,
//! the longest text, prompts. It reads configuration only.

use std::path::{Component, Path, PathBuf};

use autovector_domain::failure::Failure;
use serde_json::Value;

use super::{files::Json, problem};
use crate::Purpose;

/// How a text's vector is made of its tokens' vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    Mean,
    /// The first token's vector.
    First,
    Max,
    /// The sum over the root of the number of tokens.
    MeanRoot,
    /// The last token's vector.
    Last,
}

/// The steps around an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Modules {
    /// Where config.json, tokenizer.json and the weights lie.
    pub encoder: PathBuf,
    pub pooling: Pooling,
    pub normalize: bool,
    pub max_tokens: Option<usize>,
    pub lowercase: bool,
    query: Option<String>,
    document: Option<String>,
}

impl Modules {
    /// Reads modules.json, the pooling's config.json, sentence_bert_config.json and
    /// config_sentence_transformers.json where they are there. Without them: the mean of all
    /// tokens, normalised.
    ///
    /// Fails with [`Failure::Config`] for a step that would be left out wrongly.
    pub fn read(directory: &Path) -> Result<Self, Failure> {
        let list = directory.join("modules.json");
        let mut modules = Modules {
            encoder: directory.to_owned(),
            pooling: Pooling::Mean,
            normalize: true,
            max_tokens: None,
            lowercase: false,
            query: None,
            document: None,
        };
        let mut pooling = directory.join("1_Pooling");
        if let Some(Json(steps)) = Json::read(&list)? {
            modules.normalize = false;
            let steps = steps.as_array().ok_or_else(|| problem(&list, "is not a list of modules"))?;
            for step in steps {
                let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
                let place = inside(directory, text("path"))
                    .ok_or_else(|| problem(&list, "names a path outside the model's directory"))?;
                match text("type").rsplit('.').next().unwrap_or_default() {
                    "Transformer" => modules.encoder = place,
                    "Pooling" => pooling = place,
                    "Normalize" => modules.normalize = true,
                    other => {
                        return Err(Failure::config(
                            format!(
                                "the model has a step \"{other}\", which is not supported ({})",
                                list.display()
                            ),
                            "Supported are Transformer, Pooling and Normalize.",
                        ));
                    }
                }
            }
        }
        modules.read_pooling(&pooling.join("config.json"))?;
        modules.read_lengths(directory)?;
        modules.read_prompts(&directory.join("config_sentence_transformers.json"))?;
        Ok(modules)
    }

    /// What stands before each text.
    pub fn prompt(&self, purpose: Purpose) -> &str {
        match purpose {
            Purpose::Query => self.query.as_deref(),
            Purpose::Document => self.document.as_deref(),
        }
        .unwrap_or_default()
    }

    fn read_pooling(&mut self, path: &Path) -> Result<(), Failure> {
        let Some(config) = Json::read(path)? else { return Ok(()) };
        let on = |key: &str| config.get(key).and_then(Value::as_bool) == Some(true);
        let known = [
            ("pooling_mode_cls_token", "cls", Pooling::First),
            ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
            ("pooling_mode_max_tokens", "max", Pooling::Max),
            ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanRoot),
            ("pooling_mode_lasttoken", "lasttoken", Pooling::Last),
        ];
        let chosen: Vec<Pooling> = known
            .iter()
            .filter(|(key, name, _)| on(key) || config.text("pooling_mode") == Some(name))
            .map(|(_, _, pooling)| *pooling)
            .collect();
        let &[one] = chosen.as_slice() else {
            return Err(Failure::config(
                format!("the model's pooling is not supported ({})", path.display()),
                "Supported is exactly one of mean, cls, max, mean_sqrt_len and lasttoken.",
            ));
        };
        self.pooling = one;
        Ok(())
    }

    fn read_lengths(&mut self, directory: &Path) -> Result<(), Failure> {
        for place in [&self.encoder, directory] {
            let path = place.join("sentence_bert_config.json");
            if let Some(config) = Json::read(&path)? {
                self.max_tokens = config.get("max_seq_length").and_then(Value::as_u64).map(|n| n as usize);
                self.lowercase = config.get("do_lower_case").and_then(Value::as_bool) == Some(true);
                return Ok(());
            }
        }
        Ok(())
    }

    /// A prompt is chosen by the names that sentence-transformers uses for each purpose.
    fn read_prompts(&mut self, path: &Path) -> Result<(), Failure> {
        let Some(config) = Json::read(path)? else { return Ok(()) };
        let prompts = config.get("prompts");
        let named = |name: &str| {
            let prompt = prompts?.get(name)?.as_str()?;
            Some(prompt.to_owned())
        };
        let usual = config.text("default_prompt_name").and_then(named);
        self.query = named("query").or_else(|| usual.clone());
        self.document = ["document", "passage", "corpus"].iter().find_map(|name| named(name)).or(usual);
        Ok(())
    }
}

/// `path` under `directory`, where it stays there.
fn inside(directory: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    plain.then(|| directory.join(path))
}
