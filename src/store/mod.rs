//! All that touches PostgreSQL: statements, transactions, locks, shared memory, triggers. No
//! other module runs SQL.

pub mod capture;
pub mod catalog;
pub mod checkpoints;
pub mod completion;
pub mod control;
pub mod databases;
pub mod ddl;
pub mod diagnosis;
mod flush;
pub mod generations;
mod ident;
pub mod indexes;
pub mod key;
pub mod latch;
pub mod leases;
pub mod locks;
pub mod nearest;
pub mod ownership;
pub mod queue;
pub mod registry;
pub mod roles;
pub mod session;
mod sql;
pub mod status;
pub mod transaction;
mod triggers;
pub mod utility;
mod vector_datum;
pub mod vectors;
pub mod wake;
pub mod work;
