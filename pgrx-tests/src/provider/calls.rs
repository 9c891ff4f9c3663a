//! The call log: what reached the provider and what became of it.

use std::{collections::HashMap, sync::Arc, time::Instant};

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not answered yet.
    InFlight,
    /// Answered with this status.
    Status(u16),
    /// Never answered to the end: the client hung up, or the script cut the connection.
    Lost,
}

/// One request for embeddings.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: Instant,
    pub path: String,
    pub model: String,
    pub inputs: Arc<Vec<String>>,
    /// The header with the key, whichever the API has.
    pub authorization: Option<String>,
    pub outcome: Outcome,
}

impl Call {
    /// Whether the provider gave vectors, and so would have billed for the inputs.
    pub fn was_answered(&self) -> bool {
        self.outcome == Outcome::Status(200)
    }
}

/// How often each input stands in `calls`.
pub fn count_inputs<'a>(calls: impl IntoIterator<Item = &'a Call>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for call in calls {
        for input in call.inputs.iter() {
            *counts.entry(input.clone()).or_insert(0) += 1;
        }
    }
    counts
}
