//! Backups that nobody has to doubt: what is written loads again to the bit, what is emptied was
//! saved before, and what is damaged is refused.

mod corruption;
mod crash;
mod directories;
mod parallel;
mod policy;
mod round_trip;
mod stage;
mod stores;
mod truncate;
