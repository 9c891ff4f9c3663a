//! The pure rules of autovector. This crate knows no PostgreSQL, does no I/O and
//! reads no clock: time, randomness and identifiers are parameters.

pub mod backoff;
pub mod chunking;
pub mod config;
pub mod estimate;
pub mod failure;
pub mod filter;
pub mod fusion;
pub mod models;
pub mod names;
pub mod pacing;
pub mod packing;
pub mod pipeline;
pub mod readiness;
pub mod secret;
pub mod states;
pub mod template;
pub mod tokens;
pub mod windows;
