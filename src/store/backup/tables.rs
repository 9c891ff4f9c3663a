//! Which tables a backup is of, what they are, and their locks. A table is resolved by name,
//! locked by name, and looked at again: what was put in its place meanwhile is refused.

use autovector_backup::journal;
use autovector_backup::manifest::Column;
use autovector_backup::names::Format;
use pgrx::pg_sys;

use super::columns::{self, Output};
use crate::error::{Error, Kind, Result};
use crate::store::ident::Ident;
use crate::store::sql;
use crate::store::transaction::as_extension_owner;

#[derive(Debug, Clone, PartialEq)]
pub struct BackupTable {
    pub oid: pg_sys::Oid,
    pub schema: String,
    pub name: String,
    pub ident: Ident,
    /// `'r'`, or `'p'` for a partitioned table, which is read with its partitions.
    pub kind: u8,
    pub columns: Vec<Column>,
    /// See `sent_as`.
    outputs: Option<Vec<Output>>,
    /// The vectorizer whose store it is.
    pub vectorizer: Option<(i32, String)>,
    /// It has a column of vectors: what TRUNCATE is for.
    pub has_vectors: bool,
    /// Pages on disk.
    pub pages: u32,
}

impl BackupTable {
    /// How the table stands in FROM: legacy children are tables of their own.
    pub fn scan(&self) -> String {
        if self.kind == b'p' { self.ident.to_string() } else { format!("ONLY {}", self.ident) }
    }

    /// How its values are sent where they are to become this format beside the server; None where
    /// COPY writes it.
    pub fn sent_as(&self, format: Format) -> Option<&[Output]> {
        self.outputs.as_deref().filter(|_| format == Format::Csv)
    }

    /// `schema.table`, for people.
    pub fn shown(&self) -> String {
        self.ident.to_string()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Nobody may drop or change the table; everybody may write.
    Read,
    /// Nobody may write; everybody may read.
    KeepWriters,
    /// Nobody may do anything.
    Alone,
}

/// The table called `name`, in the session's search path.
pub fn by_name(name: &str) -> Result<Option<pg_sys::Oid>> {
    sql::query_one("SELECT pg_catalog.to_regclass($1)::pg_catalog.oid", &[name.into()], |row| row.get(1))
        .map(Option::flatten)
}

/// The stores of all vectorizers; not those that a rebuild fills or keeps.
pub fn stores() -> Result<Vec<pg_sys::Oid>> {
    as_extension_owner(|| {
        sql::query(
            "SELECT v.store::oid FROM ai.vectorizer v JOIN pg_catalog.pg_class c ON c.oid = v.store::oid
              WHERE NOT EXISTS (SELECT FROM ai._rebuild r WHERE r.other = v.id) ORDER BY 1",
            &[],
            |row| row.value(1),
        )
    })
}

/// Children by legacy inheritance, at any depth. Partitions are not among them.
pub fn legacy_children(table: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>> {
    sql::query(
        "WITH RECURSIVE child AS (
           SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = $1
            UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN child ON i.inhparent = child.inhrelid)
         SELECT c.oid FROM child JOIN pg_catalog.pg_class c ON c.oid = child.inhrelid
          WHERE NOT c.relispartition ORDER BY 1",
        &[table.into()],
        |row| row.value(1),
    )
}

/// Looks at a table. Errors: it is gone, or no table that can be backed up.
pub fn describe(oid: pg_sys::Oid) -> Result<BackupTable> {
    let found = sql::query_one(
        "SELECT n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
                (pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8)::int8,
                v.id, v.name::text,
                EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) t
                          JOIN pg_catalog.pg_class f ON f.oid = t.relid WHERE f.relkind = 'f')
           FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN ai.vectorizer v ON v.store::oid = c.oid
          WHERE c.oid = $1",
        &[oid.into()],
        |row| {
            let (schema, name): (String, String) = (row.value(1)?, row.value(2)?);
            let table = BackupTable {
                oid,
                ident: Ident::qualified(&schema, &name),
                schema,
                name,
                kind: row.value::<String>(3)?.as_bytes()[0],
                columns: Vec::new(),
                outputs: None,
                vectorizer: row.get::<i32>(6)?.zip(row.get::<String>(7)?),
                has_vectors: false,
                pages: row.get::<i64>(5)?.unwrap_or(0).clamp(0, i64::from(u32::MAX)) as u32,
            };
            Ok((table, row.value::<String>(4)? == "t", row.value::<bool>(8)?))
        },
    )?;
    let Some((mut table, temporary, foreign)) = found else {
        return Err(Error::new(Kind::UndefinedTable, "the table was dropped meanwhile")
            .hint("Try again, or name the tables."));
    };
    if !matches!(table.kind, b'r' | b'p') {
        return Err(Error::new(Kind::Unsupported, format!("{} is not a table", table.shown())).hint(
            "Back up the tables behind a view; foreign tables on their own server, by db_connection.",
        ));
    }
    if temporary {
        return Err(Error::new(Kind::Unsupported, format!("{} is a temporary table", table.shown()))
            .hint("It ends with its session; copy it into an ordinary table first."));
    }
    if foreign {
        return Err(Error::new(
            Kind::Unsupported,
            format!("{} has a foreign table among its partitions", table.shown()),
        )
        .hint("Name the other partitions instead."));
    }
    table.columns = columns::of(oid)?;
    if table.columns.is_empty() {
        return Err(Error::new(Kind::Unsupported, format!("{} has no columns to back up", table.shown())));
    }
    table.outputs = columns::outputs(oid)?;
    table.has_vectors = columns::has_vectors(oid)?;
    Ok(table)
}

/// Locks the tables, in the order of their numbers, as the caller.
pub fn lock(tables: &[BackupTable], strength: Strength) -> Result<()> {
    let mode = match strength {
        Strength::Read => "ACCESS SHARE",
        Strength::KeepWriters => "SHARE ROW EXCLUSIVE",
        Strength::Alone => "ACCESS EXCLUSIVE",
    };
    let mut ordered: Vec<&BackupTable> = tables.iter().collect();
    ordered.sort_by_key(|table| table.oid.to_u32());
    for table in ordered {
        sql::execute_once(&format!("LOCK TABLE {} IN {mode} MODE", table.scan()))?;
    }
    Ok(())
}

/// Locks the tables against being changed, or fails at once.
pub fn lock_at_once(tables: &[BackupTable]) -> Result<()> {
    for table in tables {
        sql::execute_once(&format!("LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", table.scan()))?;
    }
    Ok(())
}

/// Looks at locked tables again. Errors: one is no longer what it was.
pub fn recheck(tables: &[BackupTable]) -> Result<Vec<BackupTable>> {
    let mut again = Vec::with_capacity(tables.len());
    for table in tables {
        let now = match by_name(&table.ident.to_string())? {
            Some(oid) if oid == table.oid => describe(oid)?,
            _ => {
                return Err(Error::new(
                    Kind::WrongState,
                    format!("{} was replaced meanwhile", table.shown()),
                )
                .hint("Try again."));
            }
        };
        again.push(now);
    }
    Ok(again)
}

/// The right to do something with the whole table.
pub fn require(table: &BackupTable, privilege: &str) -> Result<()> {
    let (may, filtered) = sql::query_one(
        "SELECT pg_catalog.has_table_privilege($1, $2), pg_catalog.row_security_active($1)",
        &[table.oid.into(), privilege.into()],
        |row| Ok((row.value::<bool>(1)?, row.value::<bool>(2)?)),
    )?
    .unwrap_or((false, true));
    if !may {
        return Err(Error::new(
            Kind::InsufficientPrivilege,
            format!("permission denied for table {}", table.shown()),
        )
        .hint(format!("It takes {privilege} on the table; or name the tables that are yours in tables.")));
    }
    if filtered {
        return Err(Error::new(
            Kind::InsufficientPrivilege,
            format!("row-level security would hide rows of {}", table.shown()),
        )
        .hint("Call it as the owner of the table, or as a role with BYPASSRLS."));
    }
    Ok(())
}

/// Puts referenced tables before those that refer to them; otherwise the order stays.
pub fn in_load_order(tables: Vec<BackupTable>) -> Result<Vec<BackupTable>> {
    let oids: Vec<pg_sys::Oid> = tables.iter().map(|table| table.oid).collect();
    let references: Vec<(pg_sys::Oid, pg_sys::Oid)> = sql::query(
        "SELECT DISTINCT conrelid, confrelid FROM pg_catalog.pg_constraint
          WHERE contype = 'f' AND conrelid = ANY ($1) AND confrelid = ANY ($1) AND conrelid <> confrelid",
        &[oids.into()],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )?;
    let mut waiting = tables;
    let mut ordered: Vec<BackupTable> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready = |table: &BackupTable| {
            let mut needed = references.iter().filter(|(from, _)| *from == table.oid).map(|(_, to)| to);
            needed.all(|to| ordered.iter().any(|done| done.oid == *to))
        };
        // Tables that refer to each other in a circle keep their order.
        let next = waiting.iter().position(ready).unwrap_or(0);
        ordered.push(waiting.remove(next));
    }
    Ok(ordered)
}

/// Empties the tables, in one statement, as the caller.
pub fn truncate(tables: &[&BackupTable]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = tables.iter().map(|table| table.scan()).collect();
    sql::execute_once(&format!("TRUNCATE TABLE {}", list.join(", ")))?;
    journal::note(|| "truncate".to_owned());
    Ok(())
}

/// The number of rows now.
pub fn count(table: &BackupTable) -> Result<i64> {
    let count = sql::query_one(&format!("SELECT pg_catalog.count(*) FROM {}", table.scan()), &[], |row| {
        row.value(1)
    })?;
    Ok(count.unwrap_or(0))
}

pub fn is_empty(table: &BackupTable) -> Result<bool> {
    let query = format!("SELECT NOT EXISTS (SELECT FROM {})", table.scan());
    Ok(sql::query_one(&query, &[], |row| row.value(1))?.unwrap_or(false))
}
