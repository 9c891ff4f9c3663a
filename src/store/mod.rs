//! All that touches PostgreSQL: statements, transactions, locks, shared memory, triggers. No
//! other module runs SQL.

pub mod backup;
pub mod capture;
pub mod catalog;
pub mod completion;
pub mod control;
pub mod databases;
pub mod ddl;
pub mod diagnosis;
pub mod failpoint;
mod flush;
pub mod generations;
pub mod ident;
pub mod indexes;
pub mod key;
pub mod latch;
pub mod leases;
pub mod ledger;
pub mod load;
pub mod locks;
pub mod nearest;
pub mod ownership;
pub mod queue;
pub mod record_status;
pub mod registry;
pub mod roles;
pub mod secret_grants;
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
