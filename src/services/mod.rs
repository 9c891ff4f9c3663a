//! Use-cases and their order. Services know the store, the domain and the providers; nothing
//! below them knows a service.

pub mod access;
mod adoption;
pub mod backup;
pub mod batch;
pub mod cached;
pub mod checkpoints;
pub mod chores;
pub mod control;
pub mod doctor;
mod document_buckets;
pub mod documents;
pub mod embedding_status;
pub mod estimate;
pub mod import;
pub mod indexing;
pub mod ingest;
pub mod model_calls;
pub mod object_store;
pub mod operate;
pub mod pacing;
pub mod preview;
pub mod provider;
pub mod question;
mod queue_views;
pub mod rebuild;
pub mod record_status;
pub mod search;
pub mod secrets;
pub mod standstill;
pub mod status;
pub mod vectorizers;
mod waiting;
