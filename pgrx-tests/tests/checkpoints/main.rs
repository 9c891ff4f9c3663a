//! What a checkpoint promises, each promise by a test: it is made with its transaction, stays what it
//! was whatever happens to the table, is restored and cloned without harm, lasts as long as it is to,
//! and goes without a trace.

mod cuts;
mod definitions;
mod durability;
mod lifetimes;
mod model;
mod races;
mod refusals;
mod restores;
mod stage;
mod vectorizers;
mod versions;
