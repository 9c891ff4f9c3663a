//! An encoder with everything around it: tokens, batches, pooling, normalisation. A text's
//! vector is a function of the text alone, bit for bit.

use std::sync::Arc;

use autovector_domain::failure::Failure;
use rten::ThreadPool;

use super::{
    encoder::Encoder,
    modules::{Modules, Pooling},
    network::{Answer, Batch, Network},
    tokens::Tokens,
};
use crate::{Embeddings, Purpose};

/// Tokens, padding included, that go through an ONNX file's graph at once. Larger batches are not
/// faster but need more memory for the scores of attention.
const BATCH_TOKENS: usize = 1024;

/// What computes.
pub enum Engine {
    Encoder(Encoder),
    Graph(Network),
}

/// A loaded encoder.
pub struct Transformer {
    engine: Engine,
    tokens: Tokens,
    modules: Modules,
    max_tokens: usize,
}

impl Transformer {
    /// Puts the parts together and runs them once, so that parts which do not fit are found
    /// now. `max_tokens` is the longest text.
    pub fn new(
        engine: Engine,
        tokens: Tokens,
        modules: Modules,
        max_tokens: usize,
        pool: &Arc<ThreadPool>,
    ) -> Result<Self, Failure> {
        let transformer = Transformer { engine, tokens, modules, max_tokens };
        let tried = transformer.embed(&["a"], Purpose::Document, pool);
        tried.map_err(|failure| match failure {
            Failure::Input { message } => {
                Failure::config(message, "The model's files are damaged or belong to different models.")
            }
            other => other,
        })?;
        Ok(transformer)
    }

    pub fn dimensions(&self) -> usize {
        match &self.engine {
            Engine::Encoder(encoder) => encoder.hidden(),
            Engine::Graph(network) => network.hidden,
        }
    }

    pub fn longest(&self) -> Option<usize> {
        self.tokens.limit()
    }

    /// The vectors of `inputs`, in order, computed on `pool`.
    ///
    /// Fails with [`Failure::Input`] where a text is refused or its vector is not finite.
    pub fn embed(
        &self,
        inputs: &[&str],
        purpose: Purpose,
        pool: &Arc<ThreadPool>,
    ) -> Result<Embeddings, Failure> {
        let hidden = self.dimensions();
        let prompt = self.modules.prompt(purpose);
        let mut texts = Vec::with_capacity(inputs.len());
        let mut cut = Vec::new();
        for (at, input) in inputs.iter().enumerate() {
            let (tokens, shortened) = if prompt.is_empty() {
                self.tokens.encode(input)?
            } else {
                self.tokens.encode(&format!("{prompt}{input}"))?
            };
            if shortened {
                cut.push(at);
            }
            texts.push(tokens);
        }
        let tokens = texts.iter().map(|tokens| tokens.len() as u64).sum();
        // A text without tokens has the zero vector.
        let mut values = vec![0.0; inputs.len() * hidden];
        match &self.engine {
            Engine::Encoder(encoder) => encoder.run(&texts, |at, tokens| {
                self.finish_text(tokens, &mut values[at * hidden..(at + 1) * hidden])
            })?,
            Engine::Graph(network) => self.run_graph(network, &texts, pool, &mut values)?,
        }
        Ok(Embeddings { dimensions: hidden, values, tokens, cut })
    }

    /// Texts share a batch only with texts of the same padded length, which follows from a text's
    /// own number of tokens: so a vector does not depend on its neighbours.
    fn run_graph(
        &self,
        network: &Network,
        texts: &[Vec<u32>],
        pool: &Arc<ThreadPool>,
        values: &mut [f32],
    ) -> Result<(), Failure> {
        let hidden = network.hidden;
        let width = |tokens: &Vec<u32>| if network.alone { tokens.len() } else { self.padded(tokens.len()) };
        let mut order: Vec<(usize, usize)> =
            texts.iter().enumerate().map(|(at, tokens)| (width(tokens), at)).collect();
        order.retain(|(width, _)| *width > 0);
        order.sort_unstable();
        for same in order.chunk_by(|a, b| a.0 == b.0) {
            let width = same[0].0;
            let most = if network.alone { 1 } else { (BATCH_TOKENS / width).max(1) };
            for part in same.chunks(most) {
                let tokens: Vec<&[u32]> = part.iter().map(|(_, at)| &texts[*at][..]).collect();
                let answer = network.run(&Batch { texts: &tokens, width }, pool)?;
                for (row, (_, at)) in part.iter().enumerate() {
                    let vector = &mut values[at * hidden..(at + 1) * hidden];
                    match &answer {
                        Answer::Texts(all) => {
                            vector.copy_from_slice(&all[row * hidden..(row + 1) * hidden]);
                            finish(vector, self.modules.normalize)?;
                        }
                        Answer::Tokens(all) => {
                            let start = row * width * hidden;
                            self.finish_text(&all[start..start + texts[*at].len() * hidden], vector)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The padded length of a text: a step of 8 for short texts, of 16 for longer ones, so that
    /// texts of similar length meet and little is wasted.
    fn padded(&self, tokens: usize) -> usize {
        let step = if tokens <= 64 { 8 } else { 16 };
        tokens.next_multiple_of(step).min(self.max_tokens)
    }

    /// Makes a text's vector of the vectors of its tokens.
    fn finish_text(&self, tokens: &[f32], vector: &mut [f32]) -> Result<(), Failure> {
        pool_tokens(self.modules.pooling, tokens, vector);
        finish(vector, self.modules.normalize)
    }
}

/// Makes one vector of the vectors of a text's tokens (without padding).
fn pool_tokens(pooling: Pooling, tokens: &[f32], vector: &mut [f32]) {
    let rows = tokens.chunks_exact(vector.len());
    let count = rows.len();
    match pooling {
        Pooling::First => vector.copy_from_slice(&tokens[..vector.len()]),
        Pooling::Last => vector.copy_from_slice(&tokens[tokens.len() - vector.len()..]),
        Pooling::Max => {
            vector.fill(f32::NEG_INFINITY);
            for row in rows {
                vector.iter_mut().zip(row).for_each(|(v, x)| *v = v.max(*x));
            }
        }
        Pooling::Mean | Pooling::MeanRoot => {
            for row in rows {
                vector.iter_mut().zip(row).for_each(|(v, x)| *v += x);
            }
            let divisor = if pooling == Pooling::Mean { count as f32 } else { (count as f32).sqrt() };
            vector.iter_mut().for_each(|v| *v /= divisor);
        }
    }
}

/// Scales `vector` to length 1 where that is asked for (a zero vector stays), and refuses
/// numbers that are not finite.
pub fn finish(vector: &mut [f32], normalize: bool) -> Result<(), Failure> {
    if normalize {
        let length = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
        let length = length.max(1e-12) as f32;
        vector.iter_mut().for_each(|v| *v /= length);
    }
    if vector.iter().all(|v| v.is_finite()) {
        Ok(())
    } else {
        Err(Failure::input("the local model's vector holds numbers that are not finite"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_by_hand() {
        let tokens = [1.0, -2.0, 3.0, 4.0, 5.0, -9.0, 3.0, 1.0];
        let pooled = |pooling| {
            let mut vector = [0.0; 2];
            pool_tokens(pooling, &tokens, &mut vector);
            vector
        };
        assert_eq!(pooled(Pooling::Mean), [3.0, -1.5]);
        assert_eq!(pooled(Pooling::MeanRoot), [6.0, -3.0]);
        assert_eq!(pooled(Pooling::Max), [5.0, 4.0]);
        assert_eq!(pooled(Pooling::First), [1.0, -2.0]);
        assert_eq!(pooled(Pooling::Last), [3.0, 1.0]);
    }

    #[test]
    fn a_zero_vector_stays_and_an_infinite_one_is_refused() {
        let mut zero = [0.0, 0.0];
        finish(&mut zero, true).unwrap();
        assert_eq!(zero, [0.0, 0.0]);
        let mut vector = [3.0, 4.0];
        finish(&mut vector, true).unwrap();
        assert_eq!(vector, [0.6, 0.8]);
        assert!(matches!(finish(&mut [f32::NAN], false), Err(Failure::Input { .. })));
        assert!(matches!(finish(&mut [f32::INFINITY], true), Err(Failure::Input { .. })));
    }
}
