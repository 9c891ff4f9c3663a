//! Weights in the safetensors format: reads and checks the header, maps the file, finds tensors.
//! It never interprets what a tensor is for. Format: eight bytes with the header's length, a JSON
//! object name -> {dtype, shape, data_offsets}, then the data, little-endian and row-major.

use std::{collections::HashMap, fs::File, io::Read, ops::Range, path::Path, sync::Arc};

use autovector_domain::failure::Failure;
use serde_json::Value;
use zerocopy::FromBytes;

use super::{mapping::Mapping, problem};

/// No header of a real model comes near this; a damaged length does.
const MAX_HEADER: usize = 64 << 20;

/// The element types of tensors that a model here may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F32,
    F16,
    Bf16,
    F64,
    I8,
    I32,
    I64,
}

impl Kind {
    fn of(name: &str) -> Option<(Self, usize)> {
        Some(match name {
            "F32" => (Kind::F32, 4),
            "F16" => (Kind::F16, 2),
            "BF16" => (Kind::Bf16, 2),
            "F64" => (Kind::F64, 8),
            "I8" => (Kind::I8, 1),
            "I32" => (Kind::I32, 4),
            "I64" => (Kind::I64, 8),
            _ => return None,
        })
    }
}

/// One tensor: `bytes` is its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub kind: Kind,
    pub shape: Vec<usize>,
    pub bytes: Range<usize>,
}

/// The names and places of all tensors of one file.
#[derive(Debug, Clone)]
pub struct Header {
    tensors: HashMap<String, Tensor>,
}

impl Header {
    /// Reads only the header of the file at `path`.
    ///
    /// Fails with [`Failure::Config`] where the file is missing, cut short or not safetensors.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let cannot = |e: std::io::Error| problem(path, format!("cannot be read: {e}"));
        let mut file = File::open(path).map_err(cannot)?;
        let length = file.metadata().map_err(cannot)?.len() as usize;
        let mut start = vec![0u8; 8.min(length)];
        file.read_exact(&mut start).map_err(cannot)?;
        let header = header_length(path, &start, length)?;
        start.resize(8 + header, 0);
        file.read_exact(&mut start[8..]).map_err(cannot)?;
        Self::parse(path, &start, length)
    }

    /// `start` holds at least the length and the header; `length` is the whole file's.
    fn parse(path: &Path, start: &[u8], length: usize) -> Result<Self, Failure> {
        let header = header_length(path, start, length)?;
        let base = 8 + header;
        let Ok(Value::Object(entries)) = serde_json::from_slice(&start[8..base]) else {
            return Err(problem(path, "is damaged: its header is not a JSON object"));
        };
        let mut tensors = HashMap::with_capacity(entries.len());
        for (name, entry) in entries {
            if name == "__metadata__" {
                continue;
            }
            // Element types that no model here uses (BOOL, U8 …) are left out, so that using
            // one reads "has no tensor".
            let Some((kind, size)) = entry.get("dtype").and_then(Value::as_str).and_then(Kind::of) else {
                continue;
            };
            let damaged =
                || problem(path, format!("is damaged: tensor \"{name}\" has an impossible place or shape"));
            let shape = numbers(&entry, "shape").ok_or_else(damaged)?;
            let offsets = numbers(&entry, "data_offsets").ok_or_else(damaged)?;
            let &[begin, end] = offsets.as_slice() else { return Err(damaged()) };
            let wanted = shape.iter().try_fold(size, |product, d| product.checked_mul(*d));
            if begin > end || wanted != Some(end - begin) {
                return Err(damaged());
            }
            if end > length - base {
                return Err(problem(
                    path,
                    format!(
                        "is cut short: tensor \"{name}\" ends at byte {}, the file at {length}",
                        base.saturating_add(end)
                    ),
                ));
            }
            tensors.insert(name, Tensor { kind, shape, bytes: base + begin..base + end });
        }
        Ok(Header { tensors })
    }

    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The one name that ends in `suffix`, without it: the prefix that a checkpoint puts before
    /// all its names. Of several the shortest counts.
    pub fn prefix_of(&self, suffix: &str) -> Option<String> {
        let prefixes = self.tensors.keys().filter_map(|name| name.strip_suffix(suffix));
        prefixes.min_by_key(|prefix| (prefix.len(), prefix.to_string())).map(str::to_owned)
    }
}

/// A file of weights, mapped into memory.
#[derive(Debug)]
pub struct Weights {
    pub header: Header,
    pub file: Arc<Mapping>,
}

impl Weights {
    /// Maps the file at `path` and checks its header against its length.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let file = Mapping::open(path).map_err(|e| problem(path, format!("cannot be mapped: {e}")))?;
        let header = Header::parse(path, file.bytes(), file.bytes().len())?;
        Ok(Weights { header, file: Arc::new(file) })
    }

    /// The numbers of `tensor` as f32 (64-bit numbers are rounded).
    pub fn floats(&self, tensor: &Tensor) -> Vec<f32> {
        let bytes = &self.file.bytes()[tensor.bytes.clone()];
        match tensor.kind {
            Kind::F32 => chunks(bytes, f32::from_le_bytes),
            Kind::F16 => chunks(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
            Kind::Bf16 => chunks(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
            Kind::F64 => chunks(bytes, |b| f64::from_le_bytes(b) as f32),
            Kind::I8 => chunks(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Kind::I32 => chunks(bytes, |b| i32::from_le_bytes(b) as f32),
            Kind::I64 => chunks(bytes, |b| i64::from_le_bytes(b) as f32),
        }
    }

    /// The whole numbers of `tensor`; `None` where it holds fractions or does not fit.
    pub fn indices(&self, tensor: &Tensor) -> Option<Vec<u32>> {
        let bytes = &self.file.bytes()[tensor.bytes.clone()];
        let wide: Vec<i64> = match tensor.kind {
            Kind::I32 => chunks(bytes, |b| i64::from(i32::from_le_bytes(b))),
            Kind::I64 => chunks(bytes, i64::from_le_bytes),
            _ => return None,
        };
        wide.into_iter().map(|i| u32::try_from(i).ok()).collect()
    }
}

/// The numbers of a tensor: in the file, or converted where they cannot be used as they lie there.
#[derive(Debug)]
pub enum Floats {
    Mapped(Arc<Mapping>, Range<usize>),
    Converted(Vec<f32>),
}

impl Floats {
    pub fn get(&self) -> &[f32] {
        match self {
            Floats::Converted(values) => values,
            // That the bytes can be read as numbers was seen when they were found.
            Floats::Mapped(file, bytes) => {
                <[f32]>::ref_from_bytes(&file.bytes()[bytes.clone()]).unwrap_or(&[])
            }
        }
    }
}

/// Finds the tensors of one model by name and checks their shapes.
pub struct Tensors<'a> {
    /// For messages.
    path: &'a Path,
    header: &'a Header,
    /// None where only the header is being checked.
    weights: Option<&'a Weights>,
}

impl<'a> Tensors<'a> {
    pub fn of(path: &'a Path, weights: &'a Weights) -> Self {
        Tensors { path, header: &weights.header, weights: Some(weights) }
    }

    /// Without the numbers: everything that is found is empty.
    pub fn unread(path: &'a Path, header: &'a Header) -> Self {
        Tensors { path, header, weights: None }
    }

    /// The numbers of tensor `name`.
    ///
    /// Fails with [`Failure::Config`] where it is missing or has another shape.
    pub fn find(&self, name: &str, shape: &[usize]) -> Result<Floats, Failure> {
        let tensor =
            self.tensor(name).ok_or_else(|| problem(self.path, format!("has no tensor \"{name}\"")))?;
        if tensor.shape != shape {
            return Err(problem(
                self.path,
                format!("does not fit config.json: tensor \"{name}\" is {:?}, not {shape:?}", tensor.shape),
            ));
        }
        let Some(weights) = self.weights else { return Ok(Floats::Converted(Vec::new())) };
        let usable = cfg!(target_endian = "little")
            && tensor.kind == Kind::F32
            && <[f32]>::ref_from_bytes(&weights.file.bytes()[tensor.bytes.clone()]).is_ok();
        Ok(match usable {
            true => Floats::Mapped(weights.file.clone(), tensor.bytes.clone()),
            false => Floats::Converted(weights.floats(tensor)),
        })
    }

    /// The length of the first dimension of tensor `name`.
    pub fn rows(&self, name: &str) -> Option<usize> {
        self.tensor(name)?.shape.first().copied()
    }

    fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        // Checkpoints converted from TensorFlow call a norm's weight gamma and its bias beta.
        let old = match name.strip_suffix("weight") {
            Some(start) => format!("{start}gamma"),
            None => name.replace("bias", "beta"),
        };
        self.header.get(name).or_else(|| self.header.get(&old))
    }
}

fn chunks<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
}

fn header_length(path: &Path, start: &[u8], length: usize) -> Result<usize, Failure> {
    let Some(first) = start.first_chunk::<8>() else {
        return Err(problem(path, format!("is cut short: {length} bytes are no safetensors file")));
    };
    let header = usize::try_from(u64::from_le_bytes(*first)).unwrap_or(usize::MAX);
    if header > MAX_HEADER || header > length - 8 {
        return Err(problem(path, "is damaged or cut short: its header is longer than the file"));
    }
    Ok(header)
}

fn numbers(entry: &Value, key: &str) -> Option<Vec<usize>> {
    entry.get(key)?.as_array()?.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
}
