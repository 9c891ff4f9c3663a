//! Damaged backups are named as such and refused.
