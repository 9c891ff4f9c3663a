//! Columns of a table as backups see them: those that COPY writes and reads.

use std::collections::HashMap;

use autovector_backup::manifest::Column;
use autovector_backup::rows::from_csv::Type;
use autovector_backup::rows::to_csv::Sent;
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

/// A column, and the expression whose binary value is written into CSV.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub column: String,
    pub sent: Sent,
    pub expression: String,
}

/// How the columns of a table with vectors are sent so that their numbers can be written by a
/// thread beside the server's: vectors as they are, the others by the function that writes them as
/// text, whose `cstring` is binary and text at once. None where COPY has to write the CSV itself:
/// there are no vectors, or a type does not say enough of how it is written.
///
/// The function is called by its name, as the superuser: nobody can have another one called in its
/// place. That of a base type takes this very type, which no other of that name can, and those of
/// arrays and enums are in `pg_catalog`.
pub fn outputs(table: pg_sys::Oid) -> Result<Option<Vec<Output>>> {
    let columns = sql::query(
        "SELECT a.attname::text, pg_catalog.quote_ident(a.attname),
                pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname),
                t.typtype IN ('b', 'e') AND p.proisstrict,
                t.typname = 'vector' AND e.oid IS NOT NULL
           FROM pg_catalog.pg_attribute a
           JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
           JOIN pg_catalog.pg_proc p ON p.oid = t.typoutput
           JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
           LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'vector' AND e.extnamespace = t.typnamespace
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
          ORDER BY a.attnum",
        &[table.into()],
        |row| {
            let (column, quoted, function): (String, String, String) =
                (row.value(1)?, row.value(2)?, row.value(3)?);
            let (plain, vector): (bool, bool) = (row.value(4)?, row.value(5)?);
            let (sent, expression) = match vector {
                true => (Sent::Vector, quoted),
                false => (Sent::Text, format!("{function}({quoted})")),
            };
            Ok((plain, Output { column, sent, expression }))
        },
    )?;
    let usable = columns.iter().all(|(plain, _)| *plain)
        && columns.iter().any(|(_, output)| output.sent == Sent::Vector);
    Ok(usable.then(|| columns.into_iter().map(|(_, output)| output).collect()))
}

/// The types of a table's columns whose text can be made binary by a thread beside the server's.
pub fn known_types(table: pg_sys::Oid) -> Result<HashMap<String, Type>> {
    let columns = sql::query(
        "SELECT a.attname::text, t.typname::text
           FROM pg_catalog.pg_attribute a
           JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
           LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'vector' AND e.extnamespace = t.typnamespace
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
            AND (t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
                 OR e.oid IS NOT NULL AND t.typname = 'vector')",
        &[table.into()],
        |row| Ok((row.value::<String>(1)?, row.value::<String>(2)?)),
    )?;
    Ok(columns.into_iter().filter_map(|(column, name)| Some((column, Type::of(&name)?))).collect())
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
