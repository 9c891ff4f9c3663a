//! What a Hugging Face `config.json` says about an encoder: its family, sizes and the names of
//! its tensors. It reads no weights and builds nothing.

use std::path::Path;

use autovector_domain::failure::Failure;
use serde_json::Value;

use super::{files::Json, problem, weights::Header};

/// The families of encoders that can be built from `config.json` and weights alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Bert,
    /// RoBERTa and its kin: positions are counted from behind the padding token's number.
    Roberta,
    /// No token types, other names.
    DistilBert,
    /// As RoBERTa, and a learnt bias for each distance between two tokens.
    Mpnet,
}

/// `model_type` values that are understood, for messages.
pub const SUPPORTED: &str = "bert, camembert, distilbert, mpnet, roberta, xlm-roberta";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Gelu,
    GeluTanh,
    Relu,
}

/// The sizes of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    pub family: Family,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub vocabulary: usize,
    /// Rows of the table of positions.
    pub positions: usize,
    pub epsilon: f32,
    pub activation: Activation,
    /// The padding token.
    pub padding: usize,
    /// Rows of MPNet's table of distances; 0 elsewhere.
    pub distances: usize,
}

impl Architecture {
    /// Reads the configuration at `path`, already parsed into `config`.
    ///
    /// Fails with [`Failure::Config`] where the architecture is not one of [`SUPPORTED`], or
    /// uses a variant that would be computed wrongly.
    pub fn read(path: &Path, config: &Json) -> Result<Self, Failure> {
        let model_type = config.text("model_type").unwrap_or_default();
        let family = match model_type {
            "bert" => Family::Bert,
            "roberta" | "xlm-roberta" | "camembert" => Family::Roberta,
            "distilbert" => Family::DistilBert,
            "mpnet" => Family::Mpnet,
            other => {
                return Err(Failure::config(
                    format!("the model's architecture \"{other}\" is not supported ({})", path.display()),
                    format!(
                        "Supported are {SUPPORTED}, model2vec, and any encoder exported as onnx/model.onnx in \
                         the model's directory."
                    ),
                ));
            }
        };
        let refuse = |what: &str| {
            Failure::config(
                format!("the model uses {what}, which is not supported ({})", path.display()),
                "Export the model as onnx/model.onnx into its directory, or choose another.",
            )
        };
        if config.text("position_embedding_type").is_some_and(|t| t != "absolute") {
            return Err(refuse("relative positions"));
        }
        if config.get("is_decoder").and_then(Value::as_bool) == Some(true) {
            return Err(refuse("attention that looks only backwards"));
        }
        let distil = family == Family::DistilBert;
        let name = |usual: &'static str, distilled: &'static str| if distil { distilled } else { usual };
        let activation = match config.text(name("hidden_act", "activation")).unwrap_or("gelu") {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            other => return Err(refuse(&format!("the activation \"{other}\""))),
        };
        let architecture = Architecture {
            family,
            hidden: config.size(path, name("hidden_size", "dim"))?,
            layers: config.size(path, name("num_hidden_layers", "n_layers"))?,
            heads: config.size(path, name("num_attention_heads", "n_heads"))?,
            intermediate: config.size(path, name("intermediate_size", "hidden_dim"))?,
            vocabulary: config.size(path, "vocab_size")?,
            positions: config.size(path, "max_position_embeddings")?,
            epsilon: config.get("layer_norm_eps").and_then(Value::as_f64).unwrap_or(1e-12) as f32,
            activation,
            padding: padding(config),
            distances: match family {
                Family::Mpnet if config.get("relative_attention_num_buckets").is_none() => 32,
                Family::Mpnet => config.size(path, "relative_attention_num_buckets")?,
                _ => 0,
            },
        };
        architecture.check(path)?;
        Ok(architecture)
    }

    fn check(&self, path: &Path) -> Result<(), Failure> {
        // Far beyond any encoder; keeps a damaged file from asking for all memory.
        let sane = self.hidden <= 16_384
            && self.layers <= 256
            && self.intermediate <= 131_072
            && self.positions <= 1 << 20
            && self.vocabulary <= 1 << 24
            && self.hidden.is_multiple_of(self.heads)
            && self.padding < self.vocabulary
            && (self.distances == 0 || (4..=1 << 16).contains(&self.distances))
            && self.first_position() < self.positions;
        if sane { Ok(()) } else { Err(problem(path, "holds sizes that do not fit together")) }
    }

    /// The position of a text's first token.
    pub fn first_position(&self) -> usize {
        match self.family {
            Family::Bert | Family::DistilBert => 0,
            Family::Roberta | Family::Mpnet => self.padding + 1,
        }
    }

    /// The most tokens that a text may have.
    pub fn longest(&self) -> usize {
        self.positions - self.first_position()
    }

    /// The names of the tensors in `weights`, after the prefix that the checkpoint uses.
    pub fn names(&self, path: &Path, weights: &Header) -> Result<Names, Failure> {
        let words = "embeddings.word_embeddings.weight";
        let prefix =
            weights.prefix_of(words).ok_or_else(|| problem(path, format!("has no tensor \"{words}\"")))?;
        Ok(Names { family: self.family, prefix })
    }
}

/// The number of the padding token.
pub fn padding(config: &Json) -> usize {
    let usual = usize::from(counts_from_padding(config));
    config.get("pad_token_id").and_then(Value::as_u64).map_or(usual, |n| n as usize)
}

/// Whether the family numbers positions from behind the padding token's number.
pub fn counts_from_padding(config: &Json) -> bool {
    matches!(config.text("model_type"), Some("roberta" | "xlm-roberta" | "camembert" | "mpnet"))
}

/// The positions of a text's tokens, counted from `first`. Where the family does not begin at 0
/// (RoBERTa), a padding token that a text holds literally has the padding's position and is not
/// counted.
pub fn positions(text: &[u32], first: usize, padding: usize) -> Vec<u32> {
    let mut next = first as u32;
    let position = |token: &u32| {
        if first > 0 && *token == padding as u32 {
            return padding as u32;
        }
        next += 1;
        next - 1
    };
    text.iter().map(position).collect()
}

/// Names of tensors, without the endings `.weight` and `.bias`.
#[derive(Debug, Clone)]
pub struct Names {
    family: Family,
    prefix: String,
}

impl Names {
    /// A tensor outside the layers.
    pub fn outer(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A tensor of layer `layer`, by the part it plays.
    pub fn layer(&self, layer: usize, part: Part) -> String {
        let prefix = &self.prefix;
        let bert = |name: &str| format!("{prefix}encoder.layer.{layer}.{name}");
        if self.family == Family::DistilBert {
            let name = match part {
                Part::Query => "attention.q_lin",
                Part::Key => "attention.k_lin",
                Part::Value => "attention.v_lin",
                Part::Attended => "attention.out_lin",
                Part::AttendedNorm => "sa_layer_norm",
                Part::Widen => "ffn.lin1",
                Part::Narrow => "ffn.lin2",
                Part::LayerNorm => "output_layer_norm",
            };
            return format!("{prefix}transformer.layer.{layer}.{name}");
        }
        let mpnet = self.family == Family::Mpnet;
        bert(match part {
            Part::Query if mpnet => "attention.attn.q",
            Part::Key if mpnet => "attention.attn.k",
            Part::Value if mpnet => "attention.attn.v",
            Part::Attended if mpnet => "attention.attn.o",
            Part::AttendedNorm if mpnet => "attention.LayerNorm",
            Part::Query => "attention.self.query",
            Part::Key => "attention.self.key",
            Part::Value => "attention.self.value",
            Part::Attended => "attention.output.dense",
            Part::AttendedNorm => "attention.output.LayerNorm",
            Part::Widen => "intermediate.dense",
            Part::Narrow => "output.dense",
            Part::LayerNorm => "output.LayerNorm",
        })
    }
}

/// The parts of one layer, in the order in which they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Query,
    Key,
    Value,
    Attended,
    AttendedNorm,
    Widen,
    Narrow,
    LayerNorm,
}
