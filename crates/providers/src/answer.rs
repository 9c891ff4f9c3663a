//! Reads the vectors out of an answer's JSON: one pass of serde over borrowed bytes, the
//! numbers straight into one flat `Vec<f32>`, correctly rounded. Checks everything that
//! `Embedder::embed` promises. Knows the shapes of OpenAI and Ollama, any other by the path to
//! its vectors (`path`), and no transport.

mod path;

use std::{borrow::Cow, fmt};

use autovector_domain::{config::Step, failure::Failure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::Embeddings;

/// What an answer has to hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// The member that holds the list.
    pub list: List<'a>,
    pub count: usize,
    /// 0 where any number will do, the same for all.
    pub dimensions: usize,
    /// Who answered, for messages.
    pub origin: &'a str,
}

/// How the vectors are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List<'a> {
    /// `"data": [{"index": 0, "embedding": […] | "base64"}]`, in any order.
    Indexed,
    /// `"embeddings": [[…]]`, in the order of the inputs.
    Plain,
    /// At the end of a path, in the order of the inputs.
    At { vectors: &'a [Step], tokens: &'a [Step] },
}

/// Room for an answer to `count` inputs: 32 bytes a number (more than any server spends
/// with all its digits) and what stands around them.
pub(crate) fn size_cap(count: usize, dimensions: usize) -> u64 {
    const AROUND: u64 = 64 * 1024 * 1024;
    AROUND + 32 * (count as u64) * (dimensions as u64)
}

/// The answer to a request without inputs, which is not sent.
pub(crate) fn nothing(dimensions: usize) -> Embeddings {
    Embeddings { dimensions, values: Vec::new(), tokens: 0, cut: Vec::new() }
}

/// Reads an answer.
///
/// Errors: `Failure::Request` for what is malformed: no JSON, a wrong number of vectors, an
/// index that is missing, repeated or out of range, vectors of several lengths, a string
/// among the numbers. `Failure::Config` where all vectors have one other dimension.
/// `Failure::Input` where the answer is sound but holds something that is not a finite
/// number (servers write NaN as `null`): models do that to single texts, so the texts have
/// to be asked for apart.
pub(crate) fn read(json: &[u8], expected: Expected) -> Result<Embeddings, Failure> {
    let mut vectors = Vectors::new(expected);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read = match expected.list {
        List::At { vectors: at, tokens } => path::read(&mut vectors, &mut deserializer, at, tokens),
        _ => Root(&mut vectors).deserialize(&mut deserializer),
    };
    let read = read.and_then(|tokens| {
        deserializer.end()?;
        Ok(tokens)
    });
    match read {
        Ok(tokens) => vectors.finish(tokens),
        Err(error) => Err(vectors.fault.take().unwrap_or_else(|| {
            let Expected { origin, .. } = expected;
            // serde's own words would quote the answer.
            let place = match (error.line(), error.column()) {
                (0, 0) => String::new(),
                (line, column) => format!(" (line {line}, column {column})"),
            };
            Failure::request(format!("{origin} sent an answer that cannot be read{place}"))
        })),
    }
}

/// The vectors read so far.
struct Vectors<'a> {
    expected: Expected<'a>,
    values: Vec<f32>,
    /// For each input the place of its vector in `values`; `usize::MAX` is none yet.
    places: Vec<usize>,
    found: usize,
    /// Lengths that differ from the dimension: the first, and whether all are like it.
    odd: usize,
    odd_length: usize,
    odd_alike: bool,
    not_finite: bool,
    scratch: Vec<u8>,
    fault: Option<Failure>,
}

impl<'a> Vectors<'a> {
    fn new(expected: Expected<'a>) -> Self {
        Vectors {
            expected,
            values: Vec::with_capacity(expected.count * expected.dimensions),
            places: vec![usize::MAX; expected.count],
            found: 0,
            odd: 0,
            odd_length: 0,
            odd_alike: true,
            not_finite: false,
            scratch: Vec::new(),
            fault: None,
        }
    }

    fn malformed(&self, problem: &str) -> Failure {
        Failure::request(format!("{} sent {problem}", self.expected.origin))
    }

    /// Takes the next vector of the list.
    fn take(&mut self, index: Option<u64>, raw: &RawValue) -> Result<(), Failure> {
        let Expected { list, count, dimensions, .. } = self.expected;
        let index = match (list, index) {
            (List::Plain | List::At { .. }, _) => self.found as u64,
            (List::Indexed, Some(index)) => index,
            (List::Indexed, None) => return Err(self.malformed("a vector without its index")),
        };
        let place = usize::try_from(index).ok().and_then(|i| self.places.get_mut(i));
        match place {
            Some(place) if *place == usize::MAX => *place = self.found,
            Some(_) => return Err(self.malformed(&format!("index {index} twice"))),
            None => {
                return Err(self.malformed(&format!("a vector with index {index} for {count} inputs")));
            }
        }
        self.found += 1;
        let start = self.values.len();
        if !self.parse(raw.get()) {
            return Err(self.malformed("a vector that is not a list of numbers"));
        }
        let length = self.values.len() - start;
        if dimensions == 0 {
            self.expected.dimensions = length;
        }
        let dimensions = self.expected.dimensions;
        if raw.get() == "null" {
            self.not_finite = true;
            self.values.resize(start + dimensions, f32::NAN);
        } else if length != dimensions {
            self.odd_alike &= self.odd == 0 || self.odd_length == length;
            (self.odd, self.odd_length) = (self.odd + 1, length);
            self.values.truncate(start);
        } else if !self.values[start..].iter().all(|v| v.is_finite()) {
            self.not_finite = true;
        }
        Ok(())
    }

    /// Appends the numbers of `raw`, which is valid JSON. False where it holds others.
    fn parse(&mut self, raw: &str) -> bool {
        match raw.as_bytes() {
            [b'[', ..] => self.parse_list(raw.as_bytes()),
            [b'"', ..] => serde_json::from_str::<Text>(raw).is_ok_and(|text| self.parse_base64(&text.0)),
            b"null" => true,
            _ => false,
        }
    }

    /// The JSON has been checked already, so only the kind of each element is looked at.
    /// `fast_float2` rounds each decimal to the nearest f32; going through f64 would round twice.
    fn parse_list(&mut self, raw: &[u8]) -> bool {
        let mut rest = &raw[1..];
        loop {
            match rest {
                [b' ' | b'\n' | b'\r' | b'\t' | b',', tail @ ..] => rest = tail,
                [b'-' | b'0'..=b'9', ..] => match fast_float2::parse_partial::<f32, _>(rest) {
                    Ok((value, length)) => {
                        self.values.push(value);
                        rest = &rest[length..];
                    }
                    Err(_) => return false,
                },
                [b'n', b'u', b'l', b'l', tail @ ..] => {
                    self.values.push(f32::NAN);
                    rest = tail;
                }
                [b']', ..] => return true,
                _ => return false,
            }
        }
    }

    fn parse_base64(&mut self, text: &str) -> bool {
        self.scratch.clear();
        if STANDARD.decode_vec(text, &mut self.scratch).is_err() {
            return false;
        }
        let (numbers, rest) = self.scratch.as_chunks::<4>();
        self.values.extend(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        rest.is_empty()
    }

    fn finish(self, tokens: u64) -> Result<Embeddings, Failure> {
        let Expected { count, dimensions, origin, .. } = self.expected;
        if dimensions == 0 && count > 0 && self.found == count {
            return Err(self.malformed("vectors without numbers"));
        }
        if self.found != count {
            return Err(self.malformed(&format!("{} vectors for {count} inputs", self.found)));
        }
        if self.odd > 0 {
            if self.odd < count || !self.odd_alike {
                return Err(self.malformed("vectors of different dimensions"));
            }
            let got = self.odd_length;
            return Err(Failure::config(
                format!("{origin} sent vectors of {got} dimensions, and {dimensions} are configured"),
                format!(
                    "Create the vectorizer with dimensions => {got}, or use a model that returns {dimensions}."
                ),
            ));
        }
        if self.not_finite {
            return Err(Failure::input(format!("{origin} sent a vector with numbers that are not finite")));
        }
        Ok(Embeddings { dimensions, values: self.in_order(), tokens, cut: Vec::new() })
    }

    fn in_order(self) -> Vec<f32> {
        if self.places.iter().enumerate().all(|(input, place)| input == *place) {
            return self.values;
        }
        let dimensions = self.expected.dimensions;
        let mut ordered = Vec::with_capacity(self.values.len());
        for place in &self.places {
            ordered.extend_from_slice(&self.values[place * dimensions..(place + 1) * dimensions]);
        }
        ordered
    }
}

/// A string that is copied only where it holds escapes (some encoders write `\/`).
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An element of OpenAI's `data`.
#[derive(Deserialize)]
struct Item<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens: Option<u64>,
}

/// The answer's outermost object; yields the number of tokens.
struct Root<'v, 'a>(&'v mut Vectors<'a>);

impl<'de> DeserializeSeed<'de> for Root<'_, '_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_, '_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with vectors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<u64, M::Error> {
        let mut tokens = 0;
        let mut listed = false;
        while let Some(key) = map.next_key::<Text>()? {
            match (key.0.as_ref(), self.0.expected.list) {
                ("data", List::Indexed) | ("embeddings", List::Plain) => {
                    if listed {
                        return Err(M::Error::custom("a second list"));
                    }
                    listed = true;
                    map.next_value_seed(Elements(&mut *self.0))?;
                }
                ("usage", List::Indexed) => {
                    if let Some(usage) = map.next_value::<Option<Usage>>()? {
                        tokens = usage.total_tokens.or(usage.prompt_tokens).unwrap_or(0);
                    }
                }
                ("prompt_eval_count", List::Plain) => tokens = map.next_value::<Option<u64>>()?.unwrap_or(0),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(tokens)
    }
}

/// The list of vectors. Ends at the first one too many, so that a long list of nothing
/// costs no memory.
struct Elements<'v, 'a>(&'v mut Vectors<'a>);

impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of vectors")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        loop {
            let (index, raw) = match self.0.expected.list {
                List::Indexed => match list.next_element::<Item>()? {
                    Some(item) => (item.index, item.embedding),
                    None => return Ok(()),
                },
                List::Plain | List::At { .. } => match list.next_element::<&RawValue>()? {
                    Some(raw) => (None, raw),
                    None => return Ok(()),
                },
            };
            if let Err(fault) = self.0.take(index, raw) {
                self.0.fault = Some(fault);
                return Err(S::Error::custom("stopped"));
            }
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
