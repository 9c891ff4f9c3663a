//! Runs an encoder (BERT and its kin) from its weights: token numbers in, one vector per token
//! out. The arithmetic is that of "Attention is all you need" as BERT uses it (post-norm). It
//! knows neither text nor pooling.
//!
//! The texts of a batch lie one behind another, without padding: the linear layers see one
//! matrix with a row per token, attention looks at one text and one head at a time, so that its
//! scores stay in the processor's cache. Matrix products and the functions between them are
//! rten's.

use std::path::Path;

use autovector_domain::failure::Failure;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_simd::{SimdOp, SimdUnaryOp};
use rten_tensor::{Matrix, NdTensorView};
use rten_vecmath::{ApproxGelu, Gelu, Softmax};

use super::{
    architecture::{Activation, Architecture, Family, Names, Part, positions},
    linear::{Linear, Norm},
    weights::{Floats, Header, Tensors, Weights},
};

/// Tokens that go through the layers at once, but for a text that is longer. More are not
/// faster, since what is between two layers then no longer fits the processor's cache.
const BATCH_TOKENS: usize = 256;

/// A loaded encoder.
pub struct Encoder {
    architecture: Architecture,
    words: Floats,
    places: Floats,
    /// The first token type; none where the family has no types.
    kind: Option<Floats>,
    /// MPNet's learnt bias by distance and head.
    distances: Option<Floats>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: Norm,
    widen: Linear,
    narrow: Linear,
    norm: Norm,
}

impl Encoder {
    /// Puts an encoder together over `weights`; `path` is for messages.
    ///
    /// Fails with [`Failure::Config`] where a tensor is missing or has another shape.
    pub fn build(architecture: &Architecture, path: &Path, weights: &Weights) -> Result<Self, Failure> {
        let names = architecture.names(path, &weights.header)?;
        Self::assemble(architecture, &names, &Tensors::of(path, weights))
    }

    /// Checks, from the header alone, that `weights` has every tensor in its right shape.
    pub fn check(architecture: &Architecture, path: &Path, header: &Header) -> Result<(), Failure> {
        let names = architecture.names(path, header)?;
        Self::assemble(architecture, &names, &Tensors::unread(path, header)).map(|_| ())
    }

    fn assemble(a: &Architecture, names: &Names, tensors: &Tensors) -> Result<Self, Failure> {
        let table = |name: &str, rows, columns| {
            tensors.find(&format!("{}.weight", names.outer(name)), &[rows, columns])
        };
        let linear =
            |layer, part, outputs, inputs| Linear::find(tensors, &names.layer(layer, part), outputs, inputs);
        let norm = |name: String| Norm::find(tensors, &name, a.hidden, a.epsilon);
        let layer = |at| {
            Ok(Layer {
                query: linear(at, Part::Query, a.hidden, a.hidden)?,
                key: linear(at, Part::Key, a.hidden, a.hidden)?,
                value: linear(at, Part::Value, a.hidden, a.hidden)?,
                attended: linear(at, Part::Attended, a.hidden, a.hidden)?,
                attended_norm: norm(names.layer(at, Part::AttendedNorm))?,
                widen: linear(at, Part::Widen, a.intermediate, a.hidden)?,
                narrow: linear(at, Part::Narrow, a.hidden, a.intermediate)?,
                norm: norm(names.layer(at, Part::LayerNorm))?,
            })
        };
        let kinds = "embeddings.token_type_embeddings";
        let kind = match a.family {
            Family::Bert | Family::Roberta => {
                let rows = tensors.rows(&format!("{}.weight", names.outer(kinds))).unwrap_or(1);
                Some(table(kinds, rows, a.hidden)?)
            }
            Family::DistilBert | Family::Mpnet => None,
        };
        let distances = match a.family {
            Family::Mpnet => Some(table("encoder.relative_attention_bias", a.distances, a.heads)?),
            _ => None,
        };
        Ok(Encoder {
            words: table("embeddings.word_embeddings", a.vocabulary, a.hidden)?,
            places: table("embeddings.position_embeddings", a.positions, a.hidden)?,
            kind,
            distances,
            norm: norm(names.outer("embeddings.LayerNorm"))?,
            layers: (0..a.layers).map(layer).collect::<Result<_, Failure>>()?,
            architecture: a.clone(),
        })
    }

    /// Length of one vector.
    pub fn hidden(&self) -> usize {
        self.architecture.hidden
    }

    /// Calls `found` for each of `texts` that has tokens with its number and the vectors of its
    /// tokens, [tokens, hidden].
    ///
    /// Fails with [`Failure::Input`] where a token is not in the vocabulary or a text has more
    /// tokens than there are positions.
    pub fn run(
        &self,
        texts: &[Vec<u32>],
        mut found: impl FnMut(usize, &[f32]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let all: usize = texts.iter().map(Vec::len).sum();
        // A session that asks for one text, however long, is no worker.
        let mut pass = Pass::new(self, texts.len() > 1 && all >= BATCH_TOKENS);
        let (mut begin, mut tokens) = (0, 0);
        for (at, text) in texts.iter().enumerate() {
            tokens += text.len();
            let next = texts.get(at + 1).map_or(usize::MAX, Vec::len);
            if tokens.saturating_add(next) <= BATCH_TOKENS {
                continue;
            }
            let batch = &texts[begin..=at];
            let mut vectors = pass.run(batch)?;
            for (row, text) in batch.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
                let (own, rest) = vectors.split_at(text.len() * self.hidden());
                found(begin + row, own)?;
                vectors = rest;
            }
            (begin, tokens) = (at + 1, 0);
        }
        Ok(())
    }

    /// MPNet's (T5's) biases of attention for one head of a text of `tokens` tokens, by distance:
    /// element `tokens - 1 + d` for a key that stands `d` behind the query. Half of the buckets
    /// are for each direction, the near ones exact, the far ones by the logarithm up to 128.
    /// Source: "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
    /// Transformer", section 2.1, and MPNet's `relative_position_bucket`.
    fn distance_biases(&self, table: &[f32], head: usize, tokens: usize) -> Vec<f32> {
        let half = self.architecture.distances / 2;
        let exact = half / 2;
        let bucket = |distance: isize| {
            let side = if distance > 0 { half } else { 0 };
            let far = distance.unsigned_abs();
            if far < exact {
                return side + far;
            }
            let logarithm = (far as f32 / exact as f32).ln() / (128.0 / exact as f32).ln();
            side + (exact + (logarithm * (half - exact) as f32) as usize).min(half - 1)
        };
        let most = tokens as isize - 1;
        (-most..=most).map(|distance| table[bucket(distance) * self.architecture.heads + head]).collect()
    }
}

/// One way through the layers, with the memory that every batch uses again.
struct Pass<'a> {
    encoder: &'a Encoder,
    /// Whether so much is to be done that the matrices are worth keeping in the form in which
    /// they are multiplied.
    bulk: bool,
    products: GemmExecutor,
    x: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    wide: Vec<f32>,
    scores: Vec<f32>,
    mixed: Vec<f32>,
}

impl<'a> Pass<'a> {
    fn new(encoder: &'a Encoder, bulk: bool) -> Self {
        let empty = Vec::new;
        Pass {
            encoder,
            bulk,
            products: GemmExecutor::new(),
            x: empty(),
            query: empty(),
            key: empty(),
            value: empty(),
            wide: empty(),
            scores: empty(),
            mixed: empty(),
        }
    }

    /// The vectors of all tokens of `texts`.
    fn run(&mut self, texts: &[Vec<u32>]) -> Result<&[f32], Failure> {
        let Encoder { architecture: a, layers, .. } = self.encoder;
        let tokens: usize = texts.iter().map(Vec::len).sum();
        // A product with a single row is summed in another order, so that a text of one token
        // would have another vector alone than beside others.
        let rows = tokens.max(2);
        self.x.clear();
        self.x.resize(rows * a.hidden, 0.0);
        self.embed(texts)?;
        for layer in layers {
            for (linear, output) in [
                (&layer.query, &mut self.query),
                (&layer.key, &mut self.key),
                (&layer.value, &mut self.value),
            ] {
                linear.apply(&self.products, &self.x, output, self.bulk)?;
            }
            self.attend(texts)?;
            // The queries are used up: the room is that of what attention has found.
            layer.attended.apply(&self.products, &self.query, &mut self.key, self.bulk)?;
            layer.attended_norm.apply(&mut self.x, &self.key);
            layer.widen.apply(&self.products, &self.x, &mut self.wide, self.bulk)?;
            activate(a.activation, &mut self.wide);
            layer.narrow.apply(&self.products, &self.wide, &mut self.key, self.bulk)?;
            layer.norm.apply(&mut self.x, &self.key);
        }
        Ok(&self.x[..tokens * a.hidden])
    }

    /// The sum of the embeddings of word, position and (BERT, RoBERTa) the first token type.
    fn embed(&mut self, texts: &[Vec<u32>]) -> Result<(), Failure> {
        let Encoder { architecture: a, words, places, kind, norm, .. } = self.encoder;
        let row = |table: &'a Floats, at: u32| {
            let start = at as usize * a.hidden;
            let misfit = || Failure::input(format!("the local model has no token or position number {at}"));
            table.get().get(start..start + a.hidden).ok_or_else(misfit)
        };
        let kind = kind.as_ref().map(|kind| row(kind, 0)).transpose()?;
        let mut rows = self.x.chunks_exact_mut(a.hidden);
        for text in texts {
            let places = positions(text, a.first_position(), a.padding).into_iter().map(|at| row(places, at));
            for ((token, place), x) in text.iter().zip(places).zip(&mut rows) {
                let (word, place) = (row(words, *token)?, place?);
                for (at, x) in x.iter_mut().enumerate() {
                    *x = word[at] + place[at] + kind.map_or(0.0, |kind| kind[at]);
                }
            }
        }
        norm.normalize(&mut self.x);
        Ok(())
    }

    /// Replaces the queries by what attention finds for them in the values.
    fn attend(&mut self, texts: &[Vec<u32>]) -> Result<(), Failure> {
        let Encoder { architecture: a, distances, .. } = self.encoder;
        let products = &self.products;
        let width = a.hidden / a.heads;
        let mut start = 0;
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let tokens = text.len();
            let rows = start..start + tokens * a.hidden;
            start = rows.end;
            self.scores.resize(tokens * tokens, 0.0);
            self.mixed.resize(tokens * width, 0.0);
            for head in 0..a.heads {
                let part = rows.start + head * width..rows.end;
                let query = head_of(&self.query[part.clone()], tokens, width, a.hidden)?;
                let key = head_of(&self.key[part.clone()], tokens, width, a.hidden)?;
                let value = head_of(&self.value[part.clone()], tokens, width, a.hidden)?;
                let alpha = 1.0 / (width as f32).sqrt();
                multiply(products, query, key.transposed(), alpha, &mut self.scores)?;
                if let Some(table) = distances {
                    let biases = self.encoder.distance_biases(table.get(), head, tokens);
                    for (at, row) in self.scores.chunks_exact_mut(tokens).enumerate() {
                        let biases = &biases[tokens - 1 - at..];
                        row.iter_mut().zip(biases).for_each(|(score, bias)| *score += bias);
                    }
                }
                for row in self.scores.chunks_exact_mut(tokens) {
                    Softmax::new_mut(row).dispatch();
                }
                let scores = NdTensorView::from_data([tokens, tokens], &self.scores[..]);
                multiply(products, scores, value, 1.0, &mut self.mixed)?;
                let places = self.query[part].chunks_mut(a.hidden);
                for (mixed, place) in self.mixed.chunks_exact(width).zip(places) {
                    place[..width].copy_from_slice(mixed);
                }
            }
        }
        Ok(())
    }
}

/// The columns of one head, out of rows of `stride` numbers.
fn head_of(values: &[f32], tokens: usize, width: usize, stride: usize) -> Result<Matrix<'_, f32>, Failure> {
    NdTensorView::from_data_with_strides([tokens, width], values, [stride, 1]).map_err(|e| failed(&e))
}

/// `output = alpha * left * right`
fn multiply(
    products: &GemmExecutor,
    left: Matrix<f32>,
    right: Matrix<f32>,
    alpha: f32,
    output: &mut [f32],
) -> Result<(), Failure> {
    let options = GemmOptions { alpha, ..GemmOptions::default() };
    products
        .gemm(output, GemmInputA::Unpacked(left), GemmInputB::Unpacked(right), options)
        .map_err(|e| failed(&e))
}

fn activate(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Gelu => Gelu {}.map_mut(values),
        Activation::GeluTanh => ApproxGelu {}.map_mut(values),
        Activation::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
    }
}

/// A failure of the engine: the texts are the only thing that differs between calls.
pub fn failed(what: &dyn std::fmt::Display) -> Failure {
    Failure::input(format!("the local model failed: {what}"))
}
