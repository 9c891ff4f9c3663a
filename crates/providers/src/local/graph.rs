//! Builds the graph of an encoder (BERT and its kin) as ONNX over weights that stay in their
//! file: token numbers in, one vector per token out. Pooling is done outside. The arithmetic is
//! that of "Attention is all you need" as BERT uses it (post-norm), the linear layers `Gemm`
//! with a transposed matrix so that the weights are used as they lie in the file.

use std::path::Path;

use autovector_domain::failure::Failure;

use super::{
    architecture::{Activation, Architecture, Family, Names, Part},
    onnx::{Attribute, Dimension, Element, External, Graph},
    problem,
    weights::{Header, Kind, Weights},
};

/// The version of ONNX's operator set in which `Gelu` is an operator.
const OPERATOR_SET: u64 = 20;

/// The buffer with the file's own bytes. The engine accepts only names that end so.
pub const FILE: &str = "file.data";
/// The buffer with the tensors that had to be converted to f32.
pub const CONVERTED: &str = "converted.data";

/// The inputs of the graph: numbers of tokens and of positions, [texts, tokens]; what is added
/// to each score of attention, [texts, 1, 1, tokens].
pub const TOKENS: &str = "tokens";
pub const POSITIONS: &str = "positions";
pub const MASK: &str = "mask";
/// MPNet only: the row of the table of distances for each pair of tokens, [tokens, tokens].
pub const DISTANCES: &str = "distances";
/// The result, [texts * tokens, hidden].
pub const OUTPUT: &str = "vectors";

/// A graph and the tensors that could not be used as they lie in the file.
pub struct Built {
    pub model: Vec<u8>,
    pub converted: Vec<u8>,
}

/// Builds the graph for `architecture` over `weights` (`path` is for messages).
///
/// Fails with [`Failure::Config`] where a tensor is missing or has another shape.
pub fn build(architecture: &Architecture, path: &Path, weights: &Weights) -> Result<Built, Failure> {
    let names = architecture.names(path, &weights.header)?;
    let builder = Builder {
        architecture,
        names,
        tensors: Tensors { path, header: &weights.header, weights: Some(weights), converted: Vec::new() },
        graph: Graph::default(),
    };
    builder.build()
}

/// Checks, from the header alone, that `weights` has every tensor in its right shape.
pub fn check(architecture: &Architecture, path: &Path, header: &Header) -> Result<(), Failure> {
    let names = architecture.names(path, header)?;
    let tensors = Tensors { path, header, weights: None, converted: Vec::new() };
    Builder { architecture, names, tensors, graph: Graph::default() }.build().map(|_| ())
}

/// Finds tensors and says where their bytes lie.
struct Tensors<'a> {
    path: &'a Path,
    header: &'a Header,
    /// None where only the header is being checked.
    weights: Option<&'a Weights>,
    converted: Vec<u8>,
}

impl Tensors<'_> {
    fn find(&mut self, name: &str, shape: &[usize]) -> Result<External, Failure> {
        // Checkpoints converted from TensorFlow call a norm's weight gamma and its bias beta.
        let old = match name.strip_suffix("weight") {
            Some(start) => format!("{start}gamma"),
            None => name.replace("bias", "beta"),
        };
        let tensor = self
            .header
            .get(name)
            .or_else(|| self.header.get(&old))
            .ok_or_else(|| problem(self.path, format!("has no tensor \"{name}\"")))?;
        if tensor.shape != shape {
            return Err(problem(
                self.path,
                format!("does not fit config.json: tensor \"{name}\" is {:?}, not {shape:?}", tensor.shape),
            ));
        }
        if tensor.kind == Kind::F32 && tensor.bytes.start.is_multiple_of(4) {
            return Ok(External { buffer: FILE, offset: tensor.bytes.start, length: tensor.bytes.len() });
        }
        let offset = self.converted.len();
        if let Some(weights) = self.weights {
            self.converted.extend(weights.floats(tensor).into_iter().flat_map(f32::to_le_bytes));
        }
        Ok(External { buffer: CONVERTED, offset, length: self.converted.len() - offset })
    }
}

struct Builder<'a> {
    architecture: &'a Architecture,
    names: Names,
    tensors: Tensors<'a>,
    graph: Graph,
}

impl Builder<'_> {
    fn build(mut self) -> Result<Built, Failure> {
        let per_token = [Dimension::Named("texts"), Dimension::Named("tokens")];
        self.graph.input(TOKENS, Element::Int64, &per_token);
        self.graph.input(POSITIONS, Element::Int64, &per_token);
        let (texts, tokens) = (Dimension::Named("texts"), Dimension::Named("tokens"));
        self.graph.input(MASK, Element::Float, &[texts, Dimension::Fixed(1), Dimension::Fixed(1), tokens]);

        let split = self.split_shape();
        let joined = self.graph.integers(&[-1, self.architecture.hidden as i64]);
        let bias = self.attention_bias()?;
        let embedded = self.embed()?;
        let mut x = self.graph.op("Reshape", &[&embedded, &joined], &[]);
        for layer in 0..self.architecture.layers {
            let attended = self.attend(layer, &x, &bias, &split, &joined)?;
            let sum = self.graph.op("Add", &[&attended, &x], &[]);
            x = self.norm(&sum, &self.names.layer(layer, Part::AttendedNorm))?;
            let wide = self.linear(&x, layer, Part::Widen)?;
            let active = self.activate(&wide);
            let narrow = self.linear(&active, layer, Part::Narrow)?;
            let sum = self.graph.op("Add", &[&narrow, &x], &[]);
            x = self.norm(&sum, &self.names.layer(layer, Part::LayerNorm))?;
        }
        self.graph.op_named(OUTPUT, "Identity", &[&x], &[]);
        let shape = [Dimension::Named("all"), Dimension::Fixed(self.architecture.hidden)];
        self.graph.output(OUTPUT, Element::Float, &shape);
        Ok(Built { model: self.graph.finish(OPERATOR_SET), converted: self.tensors.converted })
    }

    /// The shape [texts, tokens, heads, width of a head], known only when the graph runs.
    fn split_shape(&mut self) -> String {
        let a = self.architecture;
        let shape = self.graph.op("Shape", &[TOKENS], &[]);
        let heads = self.graph.integers(&[a.heads as i64, (a.hidden / a.heads) as i64]);
        self.graph.op("Concat", &[&shape, &heads], &[Attribute::Int("axis", 0)])
    }

    /// What is added to the scores of attention in every layer.
    fn attention_bias(&mut self) -> Result<String, Failure> {
        let a = self.architecture;
        if a.family != Family::Mpnet {
            return Ok(MASK.to_owned());
        }
        let (tokens, others) = (Dimension::Named("tokens"), Dimension::Named("tokens"));
        self.graph.input(DISTANCES, Element::Int64, &[tokens, others]);
        let name = self.names.outer("encoder.relative_attention_bias");
        let table = self.table(&name, &[a.distances, a.heads])?;
        let rows = self.graph.op("Gather", &[&table, DISTANCES], &[]);
        let by_head = self.graph.op("Transpose", &[&rows], &[Attribute::Ints("perm", &[2, 0, 1])]);
        Ok(self.graph.op("Add", &[&by_head, MASK], &[]))
    }

    /// The sum of the embeddings of word, position and (BERT, RoBERTa) the first token type.
    fn embed(&mut self) -> Result<String, Failure> {
        let a = self.architecture;
        let words = self.table(&self.names.outer("embeddings.word_embeddings"), &[a.vocabulary, a.hidden])?;
        let words = self.graph.op("Gather", &[&words, TOKENS], &[]);
        let places =
            self.table(&self.names.outer("embeddings.position_embeddings"), &[a.positions, a.hidden])?;
        let places = self.graph.op("Gather", &[&places, POSITIONS], &[]);
        let mut sum = self.graph.op("Add", &[&words, &places], &[]);
        if matches!(a.family, Family::Bert | Family::Roberta) {
            let name = self.names.outer("embeddings.token_type_embeddings");
            let rows = self
                .tensors
                .header
                .get(&format!("{name}.weight"))
                .and_then(|t| t.shape.first().copied())
                .unwrap_or(1);
            let kinds = self.table(&name, &[rows, a.hidden])?;
            let first = self.graph.index(0);
            let kind = self.graph.op("Gather", &[&kinds, &first], &[]);
            sum = self.graph.op("Add", &[&sum, &kind], &[]);
        }
        self.norm(&sum, &self.names.outer("embeddings.LayerNorm"))
    }

    fn attend(
        &mut self,
        layer: usize,
        x: &str,
        bias: &str,
        split: &str,
        joined: &str,
    ) -> Result<String, Failure> {
        let a = self.architecture;
        let mut heads = Vec::with_capacity(3);
        for (part, order) in
            [(Part::Query, [0, 2, 1, 3]), (Part::Key, [0, 2, 3, 1]), (Part::Value, [0, 2, 1, 3])]
        {
            let flat = self.linear(x, layer, part)?;
            let cut = self.graph.op("Reshape", &[&flat, split], &[]);
            heads.push(self.graph.op("Transpose", &[&cut], &[Attribute::Ints("perm", &order)]));
        }
        let scores = self.graph.op("MatMul", &[&heads[0], &heads[1]], &[]);
        let scale = self.graph.scalar(1.0 / ((a.hidden / a.heads) as f32).sqrt());
        let scores = self.graph.op("Mul", &[&scores, &scale], &[]);
        let scores = self.graph.op("Add", &[&scores, bias], &[]);
        let shares = self.graph.op("Softmax", &[&scores], &[Attribute::Int("axis", -1)]);
        let mixed = self.graph.op("MatMul", &[&shares, &heads[2]], &[]);
        let mixed = self.graph.op("Transpose", &[&mixed], &[Attribute::Ints("perm", &[0, 2, 1, 3])]);
        let mixed = self.graph.op("Reshape", &[&mixed, joined], &[]);
        self.linear(&mixed, layer, Part::Attended)
    }

    /// `x W^T + b`; the sizes follow from the part.
    fn linear(&mut self, x: &str, layer: usize, part: Part) -> Result<String, Failure> {
        let a = self.architecture;
        let (outputs, inputs) = match part {
            Part::Widen => (a.intermediate, a.hidden),
            Part::Narrow => (a.hidden, a.intermediate),
            _ => (a.hidden, a.hidden),
        };
        let name = self.names.layer(layer, part);
        let matrix = self.table(&name, &[outputs, inputs])?;
        let bias = self.tensor(&format!("{name}.bias"), &[outputs])?;
        Ok(self.graph.op("Gemm", &[x, &matrix, &bias], &[Attribute::Int("transB", 1)]))
    }

    fn activate(&mut self, x: &str) -> String {
        match self.architecture.activation {
            Activation::Gelu => self.graph.op("Gelu", &[x], &[]),
            Activation::GeluTanh => self.graph.op("Gelu", &[x], &[Attribute::Text("approximate", "tanh")]),
            Activation::Relu => self.graph.op("Relu", &[x], &[]),
        }
    }

    fn norm(&mut self, x: &str, name: &str) -> Result<String, Failure> {
        let hidden = [self.architecture.hidden];
        let scale = self.tensor(&format!("{name}.weight"), &hidden)?;
        let bias = self.tensor(&format!("{name}.bias"), &hidden)?;
        let epsilon = Attribute::Float("epsilon", self.architecture.epsilon);
        Ok(self.graph.op("LayerNormalization", &[x, &scale, &bias], &[Attribute::Int("axis", -1), epsilon]))
    }

    fn table(&mut self, name: &str, shape: &[usize]) -> Result<String, Failure> {
        self.tensor(&format!("{name}.weight"), shape)
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<String, Failure> {
        let place = self.tensors.find(name, shape)?;
        Ok(self.graph.weights(shape, &place))
    }
}
