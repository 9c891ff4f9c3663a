//! Local models: a directory in Hugging Face's format, run inside this process. It opens
//! nothing but that directory, sends nothing anywhere and starts no thread that a signal could
//! reach.

mod architecture;
mod encoder;
mod files;
mod linear;
mod mapping;
mod modules;
mod network;
mod static_model;
mod threads;
mod tokens;
mod transformer;
mod weights;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use autovector_domain::{config::Local, failure::Failure};
use rten::ThreadPool;
use serde_json::Value;

use crate::{Embedder, Embeddings, Limits, Purpose, Surroundings};
use architecture::Architecture;
use encoder::Encoder;
use files::{Json, State};
use modules::Modules;
use network::Network;
use static_model::StaticModel;
use threads::Threads;
use tokens::{Cut, Tokens};
use transformer::{Engine, Transformer};
use weights::{Header, Weights};

/// What a model's directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    /// An encoder that is computed here from `model.safetensors`.
    Transformer,
    /// An encoder with its graph in an ONNX file.
    Onnx,
    /// A vector per token (model2vec).
    Static,
}

/// What is known of a model without loading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    pub dimensions: u32,
    /// Longer texts are cut; `usize::MAX` where nothing is.
    pub max_tokens: usize,
    pub kind: ModelKind,
}

/// Looks into the directory of `model` under `directory`: configuration and headers only, a
/// few milliseconds.
///
/// Fails with [`Failure::Config`] where there is no such model or it cannot be used.
pub fn describe(directory: &Path, model: &str) -> Result<ModelInfo, Failure> {
    Plan::make(&files::find(directory, model)?).map(|plan| plan.info)
}

/// Opens the model that `config` names; several calls for one model share one loaded copy,
/// which is freed when the last is dropped.
///
/// Fails with [`Failure::Config`] where the model is missing, damaged or not supported, or has
/// other dimensions than `config` says.
pub fn open(config: &Local, surroundings: &Surroundings) -> Result<Arc<dyn Embedder>, Failure> {
    let Some(directory) = &surroundings.local_model_directory else {
        return Err(files::unset(&config.model));
    };
    let path = files::find(directory, &config.model)?;
    let loaded = load_once(path)?;
    if let Some(wanted) = config.dimensions
        && wanted as usize != loaded.model.dimensions()
    {
        return Err(Failure::config(
            format!(
                "the local model \"{}\" has {} dimensions, the vectorizer {wanted}",
                config.model,
                loaded.model.dimensions()
            ),
            "The model's files were replaced by another model's: put them back, or create the vectorizer again.",
        ));
    }
    Ok(Arc::new(Opened { loaded, threads: surroundings.local_threads.max(1) }))
}

/// The failure that a file of a model is to blame for: "<file> <what>".
fn problem(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::config(
        format!("the local model's file {} {what}", path.display()),
        format!("Put a whole copy of the model under {}.", files::SETTING),
    )
}

/// What has to be read to load a model.
struct Plan {
    info: ModelInfo,
    source: Source,
}

enum Source {
    Transformer { modules: Modules, architecture: Architecture, weights: PathBuf },
    Onnx { modules: Modules, config: Json, graph: PathBuf },
    Static { directory: PathBuf },
}

impl Plan {
    /// Decides what the directory holds: a static model says so or has only a table of
    /// vectors; an ONNX file is used where there is no safetensors file.
    fn make(directory: &Path) -> Result<Self, Failure> {
        if let Some(plan) = Self::for_static(directory)? {
            return Ok(plan);
        }
        let modules = Modules::read(directory)?;
        let encoder = &modules.encoder;
        let config_path = encoder.join("config.json");
        let config = Json::read(&config_path)?.ok_or_else(|| problem(&config_path, "is missing"))?;
        let weights = encoder.join("model.safetensors");
        let graph = ["onnx/model.onnx", "model.onnx"]
            .map(|name| encoder.join(name))
            .into_iter()
            .find(|p| p.is_file());
        let built = if weights.is_file() {
            Self::for_weights(&modules, &config, &config_path, weights)
        } else {
            Err(problem(&weights, "is missing, and so is onnx/model.onnx"))
        };
        match (built, graph) {
            (Ok(plan), _) => Ok(plan),
            (Err(_), Some(graph)) => Self::for_graph(modules, config, &config_path, graph),
            (Err(failure), None) => Err(failure),
        }
    }

    fn for_static(directory: &Path) -> Result<Option<Self>, Failure> {
        let config = Json::read(&directory.join("config.json"))?;
        let home = static_model::home(directory);
        let says_so = config.as_ref().and_then(|c| c.text("model_type")) == Some("model2vec");
        let weights = home.join("model.safetensors");
        if !says_so && !weights.is_file() {
            return Ok(None);
        }
        let header = match Header::read(&weights) {
            Err(_) if !says_so => return Ok(None),
            header => header?,
        };
        let Some(table) = static_model::table(&header) else {
            return if says_so { Err(problem(&weights, "holds no table of vectors")) } else { Ok(None) };
        };
        let info = ModelInfo {
            dimensions: dimensions(&weights, table.shape[1])?,
            max_tokens: static_model::limit(config.as_ref()).unwrap_or(usize::MAX),
            kind: ModelKind::Static,
        };
        Ok(Some(Plan { info, source: Source::Static { directory: directory.to_owned() } }))
    }

    fn for_weights(
        modules: &Modules,
        config: &Json,
        config_path: &Path,
        weights: PathBuf,
    ) -> Result<Self, Failure> {
        let architecture = Architecture::read(config_path, config)?;
        Encoder::check(&architecture, &weights, &Header::read(&weights)?)?;
        let info = ModelInfo {
            dimensions: dimensions(config_path, architecture.hidden)?,
            max_tokens: modules.max_tokens.unwrap_or(usize::MAX).min(architecture.longest()),
            kind: ModelKind::Transformer,
        };
        Ok(Plan { info, source: Source::Transformer { modules: modules.clone(), architecture, weights } })
    }

    fn for_graph(
        modules: Modules,
        config: Json,
        config_path: &Path,
        graph: PathBuf,
    ) -> Result<Self, Failure> {
        let key = if config.get("hidden_size").is_some() { "hidden_size" } else { "dim" };
        let first =
            if architecture::counts_from_padding(&config) { architecture::padding(&config) + 1 } else { 0 };
        let positions = config.get("max_position_embeddings").and_then(Value::as_u64).map(|n| n as usize);
        let positions = positions.map_or(512, |n| n.saturating_sub(first));
        let info = ModelInfo {
            dimensions: dimensions(config_path, config.size(config_path, key)?)?,
            max_tokens: modules.max_tokens.unwrap_or(positions).min(positions),
            kind: ModelKind::Onnx,
        };
        Ok(Plan { info, source: Source::Onnx { modules, config, graph } })
    }

    fn load(self, pool: &Arc<ThreadPool>) -> Result<Model, Failure> {
        let max_tokens = self.info.max_tokens;
        let (engine, modules, vocabulary) = match self.source {
            Source::Static { directory } => {
                return Ok(Model::Static(Box::new(StaticModel::open(&directory)?)));
            }
            Source::Transformer { modules, architecture, weights } => {
                let mapped = Weights::open(&weights)?;
                (
                    Engine::Encoder(Encoder::build(&architecture, &weights, &mapped)?),
                    modules,
                    architecture.vocabulary,
                )
            }
            Source::Onnx { modules, config, graph } => {
                let vocabulary = config.size(&modules.encoder.join("config.json"), "vocab_size")?;
                (
                    Engine::Graph(Network::open(&graph, &config, self.info.dimensions as usize)?),
                    modules,
                    vocabulary,
                )
            }
        };
        let cut = Cut { limit: Some(max_tokens), special: true, lowercase: modules.lowercase };
        let tokens = Tokens::open(&modules.encoder.join("tokenizer.json"), vocabulary, cut)?;
        Transformer::new(engine, tokens, modules, max_tokens, pool)
            .map(|model| Model::Transformer(Box::new(model)))
    }
}

fn dimensions(path: &Path, found: usize) -> Result<u32, Failure> {
    let most = autovector_domain::config::MAX_DIMENSIONS;
    u32::try_from(found).ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| {
        problem(path, format!("has {found} dimensions; PostgreSQL's vectors have 1 to {most}"))
    })
}

enum Model {
    Transformer(Box<Transformer>),
    Static(Box<StaticModel>),
}

impl Model {
    fn dimensions(&self) -> usize {
        match self {
            Model::Transformer(model) => model.dimensions(),
            Model::Static(model) => model.dimensions(),
        }
    }
}

/// A model in memory, with the threads that it runs on.
struct Loaded {
    model: Model,
    threads: Arc<Threads>,
}

/// The models of this process, by directory and state of the files.
type Models = HashMap<(PathBuf, State), Weak<Loaded>>;

static MODELS: Mutex<Option<Models>> = Mutex::new(None);

fn load_once(path: PathBuf) -> Result<Arc<Loaded>, Failure> {
    // Held while loading, so that two threads that want one model load it once.
    let mut models = MODELS.lock().unwrap_or_else(PoisonError::into_inner);
    let models = models.get_or_insert_default();
    models.retain(|_, model| model.strong_count() > 0);
    let state = State::of(&path);
    let key = (path, state);
    if let Some(loaded) = models.get(&key).and_then(Weak::upgrade) {
        return Ok(loaded);
    }
    let plan = Plan::make(&key.0)?;
    let threads = Threads::shared();
    let broken = |message| problem(&key.0, format!("cannot be loaded: {message}"));
    let model = threads.run(usize::MAX, |pool| plan.load(pool), broken)?;
    let loaded = Arc::new(Loaded { model, threads });
    models.insert(key, Arc::downgrade(&loaded));
    Ok(loaded)
}

/// An opened model with the settings of whoever opened it.
struct Opened {
    loaded: Arc<Loaded>,
    threads: usize,
}

impl Embedder for Opened {
    fn embed(&self, inputs: &[&str], purpose: Purpose) -> Result<Embeddings, Failure> {
        let work = |pool: &Arc<ThreadPool>| match &self.loaded.model {
            Model::Transformer(model) => model.embed(inputs, purpose, pool),
            Model::Static(model) => model.embed(inputs),
        };
        self.loaded
            .threads
            .run(self.threads, work, |panic| Failure::input(format!("the local model failed: {panic}")))
    }

    fn limits(&self) -> Limits {
        match self.loaded.model {
            // A quarter to half a second on one processor with a model of 20 million parameters.
            Model::Transformer(_) => Limits { inputs: 32, tokens: 1024 },
            Model::Static(_) => Limits { inputs: 4096, tokens: 400_000 },
        }
    }

    fn longest(&self) -> Option<usize> {
        match &self.loaded.model {
            Model::Transformer(model) => model.longest(),
            Model::Static(model) => model.longest(),
        }
    }

    fn dimensions(&self) -> Option<usize> {
        Some(self.loaded.model.dimensions())
    }

    fn default_concurrency(&self) -> usize {
        self.threads
    }
}
