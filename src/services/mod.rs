//! Use-cases and their order. Services know the store, the domain and the providers; nothing
//! below them knows a service.

pub mod batch;
pub mod chores;
pub mod control;
pub mod doctor;
pub mod indexing;
pub mod ingest;
pub mod operate;
pub mod provider;
pub mod search;
pub mod standstill;
pub mod status;
pub mod vectorizers;
mod waiting;
