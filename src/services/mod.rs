//! Use-cases and their order. Services know the store, the domain and the providers; nothing
//! below them knows a service.

pub mod batch;
pub mod checkpoints;
pub mod chores;
pub mod control;
pub mod doctor;
pub mod indexing;
pub mod ingest;
pub mod provider;
pub mod search;
pub mod status;
pub mod vectorizers;
mod waiting;
