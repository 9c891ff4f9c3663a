//! Emptying tables after a backup: no committed row is lost, whatever the naive way loses.
