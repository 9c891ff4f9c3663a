//! Runs an encoder's graph with rten: built here over mapped weights, or read from an ONNX
//! file. Token numbers in, numbers out; it knows neither text nor pooling.

use std::{path::Path, sync::Arc};

use autovector_domain::failure::Failure;
use rten::{
    Model, ModelOptions, NodeId, OpRegistry, RunOptions, ThreadPool, Value, ValueOrView, op_registry,
};

use super::{
    architecture::{self, Architecture, Family},
    files::Json,
    graph,
    mapping::Mapping,
    problem,
    weights::Weights,
};

/// What is added to the score of a padding token: its share of attention becomes exactly 0.
const NEVER: f32 = f32::MIN;

/// Texts of one batch as the graph takes them.
pub struct Batch<'a> {
    pub texts: &'a [Vec<u32>],
    /// Every text is filled up to this many tokens.
    pub width: usize,
}

/// A graph's answer.
pub enum Answer {
    /// A vector per token: [texts, width, hidden].
    Tokens(Vec<f32>),
    /// A vector per text, pooled by the graph itself.
    Texts(Vec<f32>),
}

/// A loaded graph. The order of the fields matters: the model goes before what it points into.
pub struct Network {
    model: Model,
    inputs: Vec<(NodeId, Input)>,
    output: NodeId,
    form: Form,
    first_position: usize,
    padding: u32,
    /// Rows of the table of distances (MPNet).
    distances: usize,
    /// Where a value depends on all texts of a batch (dynamic quantisation), a text goes alone.
    pub alone: bool,
    /// Length of one vector.
    pub hidden: usize,
    _weights: Option<Arc<Mapping>>,
}

/// The shape of the graph's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// [texts * width, hidden]
    Flat,
    /// [texts, width, hidden]
    Tokens,
    /// [texts, hidden]
    Texts,
}

/// What an input of the graph wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Tokens,
    Positions,
    /// 0 or [`NEVER`], [texts, 1, 1, width].
    Mask,
    /// 1 or 0, [texts, width].
    Present,
    /// All 0, [texts, width].
    Kinds,
    Distances,
}

impl Network {
    /// Builds the graph for `architecture` over the weights at `path`.
    pub fn build(architecture: &Architecture, path: &Path, weights: &Weights) -> Result<Self, Failure> {
        let built = graph::build(architecture, path, weights)?;
        let mut options = ModelOptions::with_ops(own_operators());
        // SAFETY: `_weights` keeps the mapping until after `model`, declared before it, is
        // dropped; results are copied out of the model.
        options.external_data_static(graph::FILE, unsafe { weights.file.bytes_forever() });
        options.external_data(graph::CONVERTED, built.converted);
        let model =
            options.load(built.model).map_err(|e| problem(path, format!("cannot be run as a model: {e}")))?;
        let mut wanted = vec![
            (graph::TOKENS, Input::Tokens),
            (graph::POSITIONS, Input::Positions),
            (graph::MASK, Input::Mask),
        ];
        if architecture.family == Family::Mpnet {
            wanted.push((graph::DISTANCES, Input::Distances));
        }
        let unknown = |e| problem(path, format!("cannot be run as a model: {e}"));
        let inputs =
            wanted.into_iter().map(|(name, input)| Ok((model.node_id(name).map_err(unknown)?, input)));
        Ok(Network {
            inputs: inputs.collect::<Result<_, Failure>>()?,
            output: model.node_id(graph::OUTPUT).map_err(unknown)?,
            form: Form::Flat,
            first_position: architecture.first_position(),
            padding: architecture.padding as u32,
            distances: architecture.distances,
            alone: false,
            hidden: architecture.hidden,
            _weights: Some(weights.file.clone()),
            model,
        })
    }

    /// Reads the ONNX file at `path`; `config` is the model's config.json.
    pub fn open(path: &Path, config: &Json, hidden: usize) -> Result<Self, Failure> {
        let cannot = |e: &dyn std::fmt::Display| problem(path, format!("cannot be run as a model: {e}"));
        let bytes = std::fs::read(path).map_err(|e| cannot(&e))?;
        let alone = memchr::memmem::find(&bytes, b"DynamicQuantizeLinear").is_some();
        drop(bytes);
        let model = ModelOptions::with_all_ops().load_file(path).map_err(|e| cannot(&e))?;
        let name = |id: NodeId| model.node_info(id).and_then(|info| info.name().map(str::to_owned));
        let mut inputs = Vec::new();
        for &id in model.input_ids() {
            let input = match name(id).as_deref() {
                Some("input_ids") => Input::Tokens,
                Some("attention_mask") => Input::Present,
                Some("token_type_ids") => Input::Kinds,
                Some("position_ids") => Input::Positions,
                other => {
                    return Err(problem(
                        path,
                        format!("has an input \"{}\", which is unknown", other.unwrap_or("")),
                    ));
                }
            };
            inputs.push((id, input));
        }
        let preferred = ["last_hidden_state", "token_embeddings", "sentence_embedding"];
        let output = preferred.iter().find_map(|wanted| {
            model.output_ids().iter().copied().find(|id| name(*id).as_deref() == Some(*wanted))
        });
        let output =
            output.or(model.output_ids().first().copied()).ok_or_else(|| problem(path, "has no output"))?;
        let rank = model.node_info(output).and_then(|info| info.shape()).map(|shape| shape.len());
        let pooled =
            rank.unwrap_or(if name(output).as_deref() == Some("sentence_embedding") { 2 } else { 3 }) == 2;
        let form = if pooled { Form::Texts } else { Form::Tokens };
        let padding = architecture::padding(config);
        let first_position = if architecture::counts_from_padding(config) { padding + 1 } else { 0 };
        let padding = padding as u32;
        Ok(Network {
            model,
            inputs,
            output,
            form,
            first_position,
            padding,
            distances: 0,
            alone,
            hidden,
            _weights: None,
        })
    }

    /// Runs the graph on `pool`. Every text has 1 to `width` tokens.
    ///
    /// Fails with [`Failure::Input`]: the texts are the only thing that differs between calls.
    pub fn run(&self, batch: &Batch, pool: &Arc<ThreadPool>) -> Result<Answer, Failure> {
        let inputs = self.inputs.iter().map(|(id, input)| Ok((*id, self.input(*input, batch)?)));
        let inputs = inputs.collect::<Result<Vec<(NodeId, ValueOrView)>, Failure>>()?;
        let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
        let failed = |e: &dyn std::fmt::Display| Failure::input(format!("the local model failed: {e}"));
        let [answer] = self.model.run_n(inputs, [self.output], Some(options)).map_err(|e| failed(&e))?;
        let (texts, width, hidden) = (batch.texts.len(), batch.width, self.hidden);
        let (shape, values) = match self.form {
            Form::Flat | Form::Texts => {
                let (shape, values) = answer.into_shape_vec::<f32, 2>().map_err(|e| failed(&e))?;
                (shape.to_vec(), values)
            }
            Form::Tokens => {
                let (shape, values) = answer.into_shape_vec::<f32, 3>().map_err(|e| failed(&e))?;
                (shape.to_vec(), values)
            }
        };
        let expected = match self.form {
            Form::Flat => vec![texts * width, hidden],
            Form::Texts => vec![texts, hidden],
            Form::Tokens => vec![texts, width, hidden],
        };
        if shape != expected {
            return Err(failed(&format_args!("its result has the shape {shape:?}, expected {expected:?}")));
        }
        Ok(if self.form == Form::Texts { Answer::Texts(values) } else { Answer::Tokens(values) })
    }

    fn input(&self, input: Input, batch: &Batch) -> Result<ValueOrView<'static>, Failure> {
        let (texts, width) = (batch.texts.len(), batch.width);
        let each = |present: &dyn Fn(usize, u32) -> i32, absent: i32| -> Vec<i32> {
            let row = |text: &Vec<u32>| {
                let tokens: Vec<i32> = text.iter().enumerate().map(|(at, id)| present(at, *id)).collect();
                let padding = width - tokens.len();
                tokens.into_iter().chain(std::iter::repeat_n(absent, padding))
            };
            batch.texts.iter().flat_map(row).collect()
        };
        let misfit = |e: &dyn std::fmt::Display| Failure::input(format!("the local model failed: {e}"));
        let whole = |values: Vec<i32>, shape: &[usize]| {
            Value::from_shape(shape, values).map(ValueOrView::from).map_err(|e| misfit(&e))
        };
        match input {
            Input::Tokens => whole(each(&|_, id| id as i32, self.padding as i32), &[texts, width]),
            // RoBERTa gives a padding token that a text holds literally the padding's position.
            Input::Positions if self.first_position > 0 => {
                let padding = self.padding as i32;
                let mut rows = Vec::with_capacity(texts * width);
                for text in batch.texts {
                    let mut next = self.first_position as i32;
                    let start = rows.len();
                    for id in text {
                        rows.push(if *id == self.padding { padding } else { next });
                        next += i32::from(*id != self.padding);
                    }
                    rows.resize(start + width, padding);
                }
                whole(rows, &[texts, width])
            }
            Input::Positions => whole(each(&|at, _| at as i32, 0), &[texts, width]),
            Input::Present => whole(each(&|_, _| 1, 0), &[texts, width]),
            Input::Kinds => whole(vec![0; texts * width], &[texts, width]),
            Input::Distances => whole(self.distance_rows(width), &[width, width]),
            Input::Mask => {
                let mask = each(&|_, _| 0, 1).into_iter().map(|absent| if absent == 1 { NEVER } else { 0.0 });
                let value = Value::from_shape([texts, 1, 1, width], mask.collect::<Vec<f32>>());
                value.map(ValueOrView::from).map_err(|e| misfit(&e))
            }
        }
    }

    /// MPNet's (T5's) buckets of distances: half for each direction, the near ones exact, the
    /// far ones by the logarithm up to 128. Source: "Exploring the Limits of Transfer Learning
    /// with a Unified Text-to-Text Transformer", section 2.1, and MPNet's `relative_position_bucket`.
    fn distance_rows(&self, width: usize) -> Vec<i32> {
        let half = (self.distances / 2) as i32;
        let exact = half / 2;
        let bucket = |distance: i32| {
            // `distance` is key minus query; behind the query is the first half.
            let side = if distance > 0 { half } else { 0 };
            let far = distance.abs();
            if far < exact {
                return side + far;
            }
            let logarithm = (far as f32 / exact as f32).ln() / (128.0 / exact as f32).ln();
            side + (exact + (logarithm * (half - exact) as f32) as i32).min(half - 1)
        };
        let rows = 0..width as i32;
        rows.flat_map(|query| (0..width as i32).map(move |key| bucket(key - query))).collect()
    }
}

/// The operators of the graphs that are built here.
fn own_operators() -> OpRegistry {
    op_registry!(
        Add,
        Concat,
        Gather,
        Gelu,
        Gemm,
        Identity,
        LayerNormalization,
        MatMul,
        Mul,
        Relu,
        Reshape,
        Shape,
        Softmax,
        Transpose
    )
}
