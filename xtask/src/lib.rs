//! What the commands of the workspace are made of: set-up, demo, checks,
//! benchmarks.
//!
//! A library so that the cluster tests can use [`identity`] and [`paths`].
//! Nothing here knows the extension's code: it is built, installed and talked
//! to from outside, as a user would.

pub mod arguments;
pub mod bench;
pub mod cluster;
pub mod demo;
pub mod extension;
pub mod failure;
pub mod identity;
pub mod lint;
pub mod paths;
pub mod postgres;
pub mod process;
pub mod setup;
pub mod verify;
pub mod wait;
