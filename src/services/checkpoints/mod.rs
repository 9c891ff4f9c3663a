//! Checkpoints: making, naming, reading, restoring and collecting versions of tables.

pub mod create;
pub mod manage;
pub mod read;
pub mod restore;
pub mod upkeep;
