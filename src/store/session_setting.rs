//! Settings that users make up for their session.

use super::sql;
use crate::error::Result;

/// The value of a setting; None where it was never set, or is empty.
pub fn of(name: &str) -> Result<Option<String>> {
    let found =
        sql::query_one("SELECT nullif(current_setting($1, true), '')", &[name.into()], |row| row.get(1))?;
    Ok(found.flatten())
}
