//! The processes: one launcher for the cluster, one scheduler and its workers for each database
//! that has the extension. ARCHITECTURE.md draws how they start and stop each other.

mod backup_helper;
mod batches;
mod housekeeper;
mod indexer;
mod launcher;
mod process;
mod readers;
mod runner;
mod scheduler;
mod status_keeper;
mod threads;

pub use launcher::init;
