//! Indexes that are in the way of a load: dropped before it and built after it, where their
//! definition is all there is to them. Those that a constraint stands on stay.

use pgrx::pg_sys;

use super::tables::BackupTable;
use crate::error::Result;
use crate::store::ident::Ident;
use crate::store::sql;

/// What it takes to make an index again.
#[derive(Debug)]
pub struct Dropped {
    definition: String,
    ident: Ident,
    comment: Option<String>,
}

/// Drops what can be made again; nothing where the caller does not own the table.
pub fn drop_for_load(table: &BackupTable) -> Result<Vec<Dropped>> {
    if table.kind != b'r' || !owns(table.oid)? {
        return Ok(Vec::new());
    }
    let dropped = sql::query(
        "SELECT pg_catalog.pg_get_indexdef(i.indexrelid), n.nspname::text, c.relname::text,
                pg_catalog.obj_description(i.indexrelid, 'pg_class')
           FROM pg_catalog.pg_index i
           JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE i.indrelid = $1 AND i.indisvalid AND NOT i.indisprimary AND NOT i.indisexclusion
            AND NOT i.indisclustered AND NOT i.indisreplident AND NOT c.relispartition AND c.reltablespace = 0
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indexrelid AND a.attstattarget > 0)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                             WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = i.indexrelid)
          ORDER BY c.relname",
        &[table.oid.into()],
        |row| {
            Ok(Dropped {
                definition: row.value(1)?,
                ident: Ident::qualified(&row.value::<String>(2)?, &row.value::<String>(3)?),
                comment: row.get(4)?,
            })
        },
    )?;
    for index in &dropped {
        sql::execute_once(&format!("DROP INDEX {}", index.ident))?;
    }
    Ok(dropped)
}

pub fn build_again(dropped: &[Dropped]) -> Result<()> {
    for index in dropped {
        sql::execute_once(&index.definition)?;
        if let Some(comment) = &index.comment {
            sql::execute_once(&format!(
                "COMMENT ON INDEX {} IS {}",
                index.ident,
                pgrx::spi::quote_literal(comment)
            ))?;
        }
    }
    Ok(())
}

fn owns(table: pg_sys::Oid) -> Result<bool> {
    let found = sql::query_one(
        "SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[table.into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}
