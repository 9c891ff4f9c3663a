//! What backups ask of PostgreSQL: tables and locks, one snapshot, COPY in both directions, and
//! the ledger of what was made. Files are not its business; it reads and writes descriptors.

pub mod columns;
pub mod helpers;
pub mod indexes;
pub mod ledger;
pub mod load;
pub mod pins;
pub mod policy;
pub mod server;
pub mod snapshot;
pub mod statement;
pub mod tables;
pub mod vectorizers;
