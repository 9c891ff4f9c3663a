//! The harness: real PostgreSQL clusters, a scripted embedding provider, and the
//! invariants that hold after every scenario.
//!
//! It knows the extension only from outside: SQL, processes, the server log, and what
//! reaches the provider over HTTP. It never links the extension's code, so a test that
//! passes says something about what is installed. (One benchmark does, see Cargo.toml.)

#[cfg(feature = "bucket")]
pub mod bucket;
pub mod check;
pub mod cluster;
pub mod paths;
pub mod process;
pub mod provider;
pub mod random;
pub mod samples;
pub mod scene;
pub mod sql;
pub mod wait;

pub use check::{Check, check_all};
pub use cluster::{Cluster, Settings, StopMode};
pub use provider::{Call, Gate, Outcome, Provider, Rule, expected_vector};
pub use random::Random;
pub use scene::{SECRET, Scene, Spec};
pub use sql::Sql;
pub use wait::wait_until;
