//! Backups that nobody has to doubt: what is written loads again to the bit, what is emptied was
//! saved before, and what is damaged is refused.

mod bucket;
mod bucket_ways;
mod corruption;
mod crash;
mod directories;
mod disks;
mod memory;
mod parallel;
mod policy;
mod remote;
mod restore_crash;
mod round_trip;
mod stage;
mod stores;
mod together;
mod truncate;
