//! One refused input costs one input: splits a refused request until the inputs that the
//! provider does not take stand alone. Waits for nothing and retries nothing else.

use std::{iter, ops::Range};

use autovector_domain::failure::Failure;

use crate::{Embedder, Purpose};

/// So many single inputs refused alike, with none taken, look like a refusal of everything.
const SUSPICIOUS: usize = 8;

/// So many inputs, spread over the rest, are then asked for before the rest is given up.
const PROBES: usize = 4;

/// What became of each input of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Isolated {
    dimensions: usize,
    values: Vec<f32>,
    /// For each input the number of its vector, or why it has none.
    outcomes: Vec<Result<usize, Failure>>,
    /// Tokens that the provider says it billed, over all requests.
    pub tokens: u64,
    /// The inputs of which only the beginning was embedded, as `Embeddings::cut` says.
    pub cut: Vec<usize>,
    /// Requests made.
    pub calls: usize,
    /// The batch had several inputs, and each one asked for was refused with the same
    /// words: the configuration is to blame more likely than the inputs.
    pub all_refused: bool,
}

impl Isolated {
    /// Number of inputs.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Length of the vectors; 0 where there is none.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The vector of input `index`, or why it has none. An input that was never asked for
    /// carries the failure that ended the batch.
    pub fn vector(&self, index: usize) -> Result<&[f32], &Failure> {
        let place = *self.outcomes[index].as_ref()?;
        Ok(&self.values[place * self.dimensions..(place + 1) * self.dimensions])
    }

    /// The outcomes in the order of the inputs.
    pub fn iter(&self) -> impl Iterator<Item = Result<&[f32], &Failure>> {
        (0..self.len()).map(|index| self.vector(index))
    }

    /// The first failure that is not one input's: the batch ended with it.
    pub fn interruption(&self) -> Option<&Failure> {
        self.outcomes.iter().filter_map(|o| o.as_ref().err()).find(|f| !matches!(f, Failure::Input { .. }))
    }
}

/// Embeds `inputs` in one request and, where that is refused because of an input, in
/// halves, down to single inputs: k bad inputs among n cost about 2·k·log2(n) further
/// requests. Any other failure ends the batch: the vectors already there are kept, and
/// every input without an outcome carries that failure.
///
/// Where everything seems to be refused, a few more inputs are tried and the rest is given
/// up with `Failure::Config`, rather than asked for one by one.
pub fn embed_isolating(embedder: &dyn Embedder, inputs: &[&str], purpose: Purpose) -> Isolated {
    let mut run = Run::new(embedder, inputs, purpose);
    // Left to right, so that what is still to do is always the rest of the inputs.
    let mut ranges: Vec<Range<usize>> = iter::once(0..inputs.len()).collect();
    while let Some(range) = ranges.pop() {
        if range.is_empty() {
            continue;
        }
        match run.embed(range.clone()) {
            Ok(()) => {}
            Err(failure @ Failure::Input { .. }) if range.len() == 1 => {
                run.refused += 1;
                run.outcomes[range.start] = Some(Err(failure));
                if let Some(failure) = run.hopeless(range.end) {
                    return run.finish(failure);
                }
            }
            Err(Failure::Input { .. }) => {
                let middle = range.start + range.len() / 2;
                ranges.push(middle..range.end);
                ranges.push(range.start..middle);
            }
            Err(failure) => return run.finish(failure),
        }
    }
    run.finish(Failure::request("the input was not embedded"))
}

struct Run<'a> {
    embedder: &'a dyn Embedder,
    inputs: &'a [&'a str],
    purpose: Purpose,
    dimensions: usize,
    values: Vec<f32>,
    outcomes: Vec<Option<Result<usize, Failure>>>,
    tokens: u64,
    cut: Vec<usize>,
    calls: usize,
    /// Single inputs refused.
    refused: usize,
    /// The provider takes some inputs of this batch.
    takes_some: bool,
}

impl<'a> Run<'a> {
    fn new(embedder: &'a dyn Embedder, inputs: &'a [&'a str], purpose: Purpose) -> Self {
        Run {
            embedder,
            inputs,
            purpose,
            dimensions: 0,
            values: Vec::new(),
            outcomes: vec![None; inputs.len()],
            tokens: 0,
            cut: Vec::new(),
            calls: 0,
            refused: 0,
            takes_some: false,
        }
    }

    fn embed(&mut self, range: Range<usize>) -> Result<(), Failure> {
        self.calls += 1;
        let embeddings = self.embedder.embed(&self.inputs[range.clone()], self.purpose)?;
        self.takes_some = true;
        self.tokens += embeddings.tokens;
        if self.values.is_empty() {
            self.dimensions = embeddings.dimensions;
        }
        if embeddings.count() != range.len() || embeddings.dimensions != self.dimensions {
            return Err(Failure::request("the provider changed the dimension within a batch"));
        }
        self.cut.extend(embeddings.cut.iter().map(|index| range.start + index));
        let first = self.values.len() / self.dimensions.max(1);
        for (number, index) in range.enumerate() {
            self.outcomes[index] = Some(Ok(first + number));
        }
        // The usual batch is one request; its vectors are not copied.
        match self.values.is_empty() {
            true => self.values = embeddings.values,
            false => self.values.extend_from_slice(&embeddings.values),
        }
        Ok(())
    }

    /// Decides, once, whether the inputs from `rest` on are worth asking for.
    fn hopeless(&mut self, rest: usize) -> Option<Failure> {
        let left = self.inputs.len() - rest;
        if self.takes_some || self.refused != SUSPICIOUS || left <= PROBES || !self.refused_alike() {
            return None;
        }
        let sample = self.refusals().next()?.to_owned();
        for probe in 1..=PROBES {
            let index = rest + left * probe / PROBES - 1;
            self.calls += 1;
            match self.embedder.embed(&self.inputs[index..=index], self.purpose) {
                // The vector is asked for again in its turn, which keeps the ranges whole.
                Ok(embeddings) => {
                    self.takes_some = true;
                    self.tokens += embeddings.tokens;
                    return None;
                }
                Err(Failure::Input { message }) if alike(&message, &sample) => {}
                Err(Failure::Input { .. }) => return None,
                Err(failure) => return Some(failure),
            }
        }
        Some(Failure::config(
            format!("the provider refuses every input: {sample}"),
            "Check the model's name and its options.",
        ))
    }

    fn refusals(&self) -> impl Iterator<Item = &str> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Some(Err(Failure::Input { message })) => Some(message.as_str()),
            _ => None,
        })
    }

    fn refused_alike(&self) -> bool {
        let mut refusals = self.refusals();
        let first = refusals.next();
        first.is_some_and(|first| refusals.all(|message| alike(message, first)))
    }

    /// Gives `rest` to every input without an outcome.
    fn finish(self, rest: Failure) -> Isolated {
        let gave_up = matches!(rest, Failure::Config { .. });
        let complete = self.outcomes.iter().all(Option::is_some);
        let all_refused =
            self.inputs.len() > 1 && !self.takes_some && self.refused_alike() && (complete || gave_up);
        Isolated {
            dimensions: self.dimensions,
            values: self.values,
            outcomes: self.outcomes.into_iter().map(|o| o.unwrap_or_else(|| Err(rest.clone()))).collect(),
            tokens: self.tokens,
            cut: self.cut,
            calls: self.calls,
            all_refused,
        }
    }
}

/// Messages that differ only in their numbers (positions, identifiers, lengths) say the same.
fn alike(a: &str, b: &str) -> bool {
    let words = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    a == b || words(a) == words(b)
}

#[cfg(test)]
mod tests;
