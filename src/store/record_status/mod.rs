//! Record status: the status column of a table of records, kept in step with the table of their
//! responses by triggers.
//!
//! A trigger first locks the records that its statement touches, in key order, and only then, in
//! a later statement with a newer snapshot, counts and writes. Whoever counts last sees every
//! response that was committed before it got the lock. A single UPDATE with a sub-select would
//! count on the snapshot of before the wait, and be wrong.

mod apply;
mod column;
mod ddl;
mod deferred;
mod definition;
pub mod embedding;
mod events;
pub mod partitions;
mod rule;
mod run;
mod statements;
mod trigger;

pub use apply::{Progress, correct, count_wrong, hold, progress, state_of_none};
pub use column::{Column, comparable, describe};
pub use ddl::{add_column, cover, create_queue, create_triggers, drop_queue, drop_triggers, uncovered};
pub use deferred::{Drained, drain, due, skip_first};
pub use definition::{
    Columns, Definition, clear_errors, delete, foreign_keys, has_index, id_of, ids, insert, is_partition,
    is_text, labels, length_limit, next_id, set_min_submitted, type_names,
};
pub use embedding::make_pending;
pub use rule::{Rule, is_broken, load};
pub use trigger::fire;
