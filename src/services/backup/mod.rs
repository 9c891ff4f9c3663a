//! Backups of vector tables: making them, looking at them, loading them, deleting them. A file is
//! durable before anything depends on it, and no table is emptied whose rows were not read back
//! from the disk.

pub mod catalog;
pub mod copying;
mod directory;
mod errors;
pub mod make;
pub mod policy;
mod remote;
mod report;
pub mod restore;
mod sink;
