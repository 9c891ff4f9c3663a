//! Checkpoints of tables by copy-on-write: what a table looks like (`shape`), its history
//! (`history`), versions and the checkpoints that hold them (`versions`, `named`), the triggers that
//! keep what changes (`capture`), what happens to a table's definition (`commands`), and the
//! statements that read, compare, restore and collect.
//!
//! One sentence carries everything: the entry (key, epoch e) of a history holds the row that the key
//! had in version e, or that it had none. A version d has for a key what its entry of the smallest
//! epoch >= d says, and the live row where there is no such entry.

pub mod capture;
pub mod collecting;
pub mod commands;
pub mod comparing;
mod entries;
pub mod history;
pub mod named;
pub mod policies;
pub mod reading;
pub mod restoring;
pub mod shape;
pub mod versions;
