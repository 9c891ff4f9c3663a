//! Runs an encoder's graph out of an ONNX file with rten. Token numbers in, numbers out; it knows
//! neither text nor pooling.

use std::{path::Path, sync::Arc};

use autovector_domain::failure::Failure;
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};

use super::{
    architecture::{self, positions},
    encoder::failed,
    files::Json,
    problem,
};

/// Texts of one batch as the graph takes them.
pub struct Batch<'a> {
    pub texts: &'a [&'a [u32]],
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

/// A loaded graph.
pub struct Network {
    model: Model,
    inputs: Vec<(NodeId, Input)>,
    output: NodeId,
    form: Form,
    first_position: usize,
    padding: usize,
    /// Where a value depends on all texts of a batch (dynamic quantisation), a text goes alone.
    pub alone: bool,
    /// Length of one vector.
    pub hidden: usize,
}

/// The shape of the graph's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// [texts, width, hidden]
    Tokens,
    /// [texts, hidden]
    Texts,
}

/// What an input of the graph wants, [texts, width].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Tokens,
    Positions,
    /// 1 for a token, 0 for what fills up.
    Present,
    /// All 0.
    Kinds,
}

impl Network {
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
        Ok(Network { model, inputs, output, form, first_position, padding, alone, hidden })
    }

    /// Runs the graph on `pool`. Every text has 1 to `width` tokens.
    ///
    /// Fails with [`Failure::Input`]: the texts are the only thing that differs between calls.
    pub fn run(&self, batch: &Batch, pool: &Arc<ThreadPool>) -> Result<Answer, Failure> {
        let inputs = self.inputs.iter().map(|(id, input)| Ok((*id, self.input(*input, batch)?)));
        let inputs = inputs.collect::<Result<Vec<(NodeId, ValueOrView)>, Failure>>()?;
        let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
        let [answer] = self.model.run_n(inputs, [self.output], Some(options)).map_err(|e| failed(&e))?;
        let (texts, width, hidden) = (batch.texts.len(), batch.width, self.hidden);
        let (shape, values) = match self.form {
            Form::Texts => {
                let (shape, values) = answer.into_shape_vec::<f32, 2>().map_err(|e| failed(&e))?;
                (shape.to_vec(), values)
            }
            Form::Tokens => {
                let (shape, values) = answer.into_shape_vec::<f32, 3>().map_err(|e| failed(&e))?;
                (shape.to_vec(), values)
            }
        };
        let expected = match self.form {
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
        let mut values = Vec::with_capacity(texts * width);
        for (row, text) in batch.texts.iter().enumerate() {
            match input {
                Input::Tokens => values.extend(text.iter().map(|token| *token as i32)),
                Input::Positions => {
                    let places = positions(text, self.first_position, self.padding);
                    values.extend(places.into_iter().map(|place| place as i32));
                }
                Input::Present => values.extend(text.iter().map(|_| 1)),
                Input::Kinds => {}
            }
            let filler = match input {
                Input::Tokens => self.padding as i32,
                // RoBERTa's padding has the padding's position.
                Input::Positions if self.first_position > 0 => self.padding as i32,
                Input::Positions | Input::Present | Input::Kinds => 0,
            };
            values.resize((row + 1) * width, filler);
        }
        Value::from_shape(&[texts, width], values).map(ValueOrView::from).map_err(|e| failed(&e))
    }
}
