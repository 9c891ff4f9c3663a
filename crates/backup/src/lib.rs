//! Backups as files: what they are called, where they lie, how they become durable all at once,
//! and how a damaged one is told from a sound one. This crate knows no PostgreSQL and reads no
//! clock; what stands in a file is a stream of bytes that somebody else makes.
//!
//! A backup exists when its manifest has its final name and its own hash is right. Everything
//! that is being written has a name that ends in `.tmp`.

pub mod bucket;
pub mod count;
mod disk;
pub mod draft;
pub mod ends;
mod error;
pub mod folder;
pub mod journal;
pub mod manifest;
pub mod names;
pub mod rows;
pub mod stream;
pub mod verify;

pub use error::{Error, Result};
