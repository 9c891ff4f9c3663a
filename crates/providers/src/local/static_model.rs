//! Static models in model2vec's format: one vector per token, a text is the mean of its tokens'
//! vectors. A thousand times faster than an encoder, and worse. The rules (unknown tokens are
//! left out, weights per token, a mapping from tokens to rows) are model2vec's.

use std::path::{Path, PathBuf};

use autovector_domain::failure::Failure;
use serde_json::Value;

use super::{
    files::Json,
    problem,
    tokens::{Cut, Tokens},
    transformer::finish,
    weights::{Header, Kind, Tensor, Weights},
};
use crate::Embeddings;

/// The longest text where config.json says nothing, in tokens; model2vec's own default.
const USUAL_LIMIT: usize = 512;

/// Names under which the table of vectors is stored.
const TABLES: [&str; 2] = ["embeddings", "embedding.weight"];

/// The place of a static model's weights and tokenizer: the directory itself, or the folder
/// that sentence-transformers makes for its `StaticEmbedding`.
pub fn home(directory: &Path) -> PathBuf {
    let nested = directory.join("0_StaticEmbedding");
    if nested.join("model.safetensors").is_file() { nested } else { directory.to_owned() }
}

/// The table of vectors in `header`, where it is a static model's.
pub fn table(header: &Header) -> Option<&Tensor> {
    TABLES.iter().find_map(|name| header.get(name)).filter(|tensor| tensor.shape.len() == 2)
}

/// The longest text in tokens that `config` asks for; `None`: no limit.
pub fn limit(config: Option<&Json>) -> Option<usize> {
    match config.and_then(|c| c.0.get("max_length")) {
        Some(Value::Null) => None,
        Some(value) => Some(value.as_u64().map_or(USUAL_LIMIT, |n| n as usize)),
        None => Some(USUAL_LIMIT),
    }
}

/// A loaded static model.
pub struct StaticModel {
    tokens: Tokens,
    unknown: Option<u32>,
    weights: Weights,
    table: Tensor,
    /// The row of each token; `None`: the token's own number.
    mapping: Option<Vec<u32>>,
    /// The factor of each token; `None`: 1.
    factors: Option<Vec<f32>>,
    /// The factor of each row of whole numbers; `None`: 1.
    scales: Option<Vec<f32>>,
    normalize: bool,
}

impl StaticModel {
    /// Opens the model in `directory`.
    ///
    /// Fails with [`Failure::Config`] where files are missing, damaged or do not fit together.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        let home = home(directory);
        let path = home.join("model.safetensors");
        let weights = Weights::open(&path)?;
        let table =
            table(&weights.header).ok_or_else(|| problem(&path, "holds no table of vectors"))?.clone();
        if !matches!(table.kind, Kind::F32 | Kind::F16 | Kind::Bf16 | Kind::F64 | Kind::I8) {
            return Err(problem(
                &path,
                format!("holds vectors of the type {:?}, which is not supported", table.kind),
            ));
        }
        let rows = table.shape[0];
        let vector = |name: &str| match weights.header.get(name) {
            Some(tensor) if tensor.shape.len() != 1 => {
                Err(problem(&path, format!("is damaged: tensor \"{name}\" is {:?}", tensor.shape)))
            }
            found => Ok(found),
        };
        let mapping = match vector("mapping")? {
            None => None,
            Some(tensor) => Some(
                weights
                    .indices(tensor)
                    .filter(|mapping| mapping.iter().all(|row| (*row as usize) < rows))
                    .ok_or_else(|| problem(&path, "is damaged: the mapping names rows that do not exist"))?,
            ),
        };
        let words = mapping.as_ref().map_or(rows, Vec::len);
        let factors = vector("weights")?.map(|tensor| weights.floats(tensor));
        if factors.as_ref().is_some_and(|factors| factors.len() < words) {
            return Err(problem(&path, "is damaged: fewer weights than tokens"));
        }
        let scales = scales(&path, &weights, rows)?;
        let config = Json::read(&directory.join("config.json"))?;
        let limit = limit(config.as_ref());
        let cut = Cut { limit, special: false, lowercase: false };
        let tokens = Tokens::open(&home.join("tokenizer.json"), words, cut)?;
        let normalize = match config.as_ref().and_then(|c| c.get("normalize")).and_then(Value::as_bool) {
            Some(normalize) => normalize,
            None => has_normalize(directory)?,
        };
        let unknown = tokens.unknown();
        Ok(StaticModel { tokens, unknown, weights, table, mapping, factors, scales, normalize })
    }

    pub fn dimensions(&self) -> usize {
        self.table.shape[1]
    }

    pub fn longest(&self) -> Option<usize> {
        self.tokens.limit()
    }

    /// The vectors of `inputs`, in order. A text without a known token has the zero vector.
    pub fn embed(&self, inputs: &[&str]) -> Result<Embeddings, Failure> {
        let dimensions = self.dimensions();
        let mut values = vec![0.0; inputs.len() * dimensions];
        let (mut count, mut cut) = (0, Vec::new());
        for (at, (input, vector)) in inputs.iter().zip(values.chunks_exact_mut(dimensions)).enumerate() {
            let (tokens, shortened) = self.tokens.encode(input)?;
            if shortened {
                cut.push(at);
            }
            let known = tokens.iter().filter(|id| Some(**id) != self.unknown);
            let mut used = 0u32;
            for id in known {
                self.add(*id as usize, vector);
                used += 1;
            }
            if used > 0 {
                vector.iter_mut().for_each(|v| *v /= used as f32);
                finish(vector, self.normalize)?;
            }
            count += tokens.len() as u64;
        }
        Ok(Embeddings { dimensions, values, tokens: count, cut })
    }

    /// Adds token `id`'s vector. The tokenizer never gives an `id` beyond the vocabulary.
    fn add(&self, id: usize, vector: &mut [f32]) {
        let row = self.mapping.as_ref().map_or(id, |mapping| mapping[id] as usize);
        let mut factor = self.factors.as_ref().map_or(1.0, |factors| factors[id]);
        if let Some(scales) = &self.scales {
            factor *= scales[row];
        }
        let bytes = &self.weights.file.bytes()[self.table.bytes.clone()];
        let size = bytes.len() / self.table.shape[0];
        let bytes = &bytes[row * size..(row + 1) * size];
        match self.table.kind {
            Kind::F32 => sum(vector, bytes, factor, f32::from_le_bytes),
            Kind::F16 => sum(vector, bytes, factor, |b| half::f16::from_le_bytes(b).to_f32()),
            Kind::Bf16 => sum(vector, bytes, factor, |b| half::bf16::from_le_bytes(b).to_f32()),
            Kind::F64 => sum(vector, bytes, factor, |b| f64::from_le_bytes(b) as f32),
            _ => sum(vector, bytes, factor, |b| f32::from(i8::from_le_bytes(b))),
        }
    }
}

fn sum<const N: usize>(vector: &mut [f32], bytes: &[u8], factor: f32, read: impl Fn([u8; N]) -> f32) {
    for (v, b) in vector.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *v += read(*b) * factor;
    }
}

/// The scale of each row of a quantised table: a tensor "scale" or "scales" with one number for
/// all rows, or one for each.
fn scales(path: &Path, weights: &Weights, rows: usize) -> Result<Option<Vec<f32>>, Failure> {
    let Some(tensor) = weights.header.get("scale").or_else(|| weights.header.get("scales")) else {
        return Ok(None);
    };
    let scales = weights.floats(tensor);
    match scales.as_slice() {
        &[one] => Ok(Some(vec![one; rows])),
        many if many.len() == rows => Ok(Some(scales)),
        many => Err(problem(path, format!("is damaged: {} scales for {rows} rows", many.len()))),
    }
}

/// Whether modules.json has the step that normalises.
fn has_normalize(directory: &Path) -> Result<bool, Failure> {
    let Some(Json(steps)) = Json::read(&directory.join("modules.json"))? else { return Ok(false) };
    let kinds = steps.as_array().into_iter().flatten().filter_map(|step| step.get("type")?.as_str());
    Ok(kinds.into_iter().any(|kind| kind.ends_with(".Normalize")))
}
