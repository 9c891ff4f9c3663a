//! Changing the model, the chunking or the template of a vectorizer: the new store is filled
//! behind the scenes, and takes over in one moment.

mod life;
mod refusals;
mod stage;
mod swap;
