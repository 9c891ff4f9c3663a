//! Columns of a table as backups see them: those that COPY writes and reads.

use autovector_backup::manifest::Column;
use pgrx::pg_sys;

use crate::error::Result;
use crate::store::sql;

/// All columns but generated ones, in order.
pub fn of(table: pg_sys::Oid) -> Result<Vec<Column>> {
    sql::query(
        "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod)
           FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
          ORDER BY a.attnum",
        &[table.into()],
        |row| Ok(Column { name: row.value(1)?, r#type: row.value(2)? }),
    )
}

/// True where a column is of one of pgvector's types.
pub fn has_vectors(table: pg_sys::Oid) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (
           SELECT FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
             JOIN pg_catalog.pg_extension e ON e.extname = 'vector' AND e.extnamespace = t.typnamespace
            WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
              AND t.typname IN ('vector', 'halfvec', 'sparsevec'))",
        &[table.into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}
