//! The views that show a vectorizer's queue and failed table under names that people chose. They
//! are known by what they read and by their comment: both survive a renaming and a dump.
//!
//! A view reads with the rights of its owner, so one is handed to another owner, or shown to others,
//! only while it reads nothing but the queue.

use super::catalog::Relation;
use super::ident::Ident;
use super::key::KeySpec;
use super::sql;
use super::transaction::current_role;
use crate::error::Result;

/// The comment of these views; `sql/triggers.sql` looks for it, too.
const MARK: &str = "A queue of autovector; goes with its vectorizer";

/// What pgai's queue has besides the key.
pub const QUEUE_COLUMNS: [&str; 3] = ["queued_at", "loading_retries", "loading_retry_after"];
/// What pgai's failed table has besides the key.
pub const FAILED_COLUMNS: [&str; 2] = ["created_at", "failure_step"];

/// Makes a view with the rights of the caller, and gives it to the owner of the source.
pub fn create(
    view: &Ident,
    table: &Ident,
    key: &KeySpec,
    columns: &[&str],
    source: &Relation,
    owner: &str,
) -> Result<()> {
    let more = columns.iter().filter(|name| !key.columns.iter().any(|c| c.stored_name == **name));
    let more: String = more.map(|name| format!(", q.{name}")).collect();
    sql::execute_once(&format!(
        "CREATE VIEW {view} AS SELECT {}{more} FROM {table} q",
        key.stored_list("q")
    ))?;
    sql::execute_once(&format!("COMMENT ON VIEW {view} IS {}", pgrx::spi::quote_literal(MARK)))?;
    if current_role() != source.owner {
        sql::execute_once(&format!("ALTER VIEW {view} OWNER TO {}", Ident::new(owner)))?;
    }
    Ok(())
}

/// The views of a queue or failed table, whatever people have made of them since.
pub fn of(table: &Ident) -> Result<Vec<Ident>> {
    Ok(found(table, "")?.into_iter().map(|(view, _)| view).collect())
}

/// Those that belong to the owner of the table and read nothing else, with their schemas.
pub fn unchanged(table: &Ident) -> Result<Vec<(Ident, String)>> {
    found(
        table,
        "AND c.relowner = (SELECT q.relowner FROM pg_catalog.pg_class q WHERE q.oid = d.refobjid)
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend o ON o.objid = r.oid
                          WHERE r.ev_class = c.oid AND o.classid = 'pg_catalog.pg_rewrite'::regclass
                            AND o.refclassid = 'pg_catalog.pg_class'::regclass
                            AND o.refobjid NOT IN (c.oid, d.refobjid))",
    )
}

fn found(table: &Ident, more: &str) -> Result<Vec<(Ident, String)>> {
    let statement = format!(
        "SELECT DISTINCT n.nspname::text, c.relname::text
           FROM pg_catalog.pg_depend d
           JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid
           JOIN pg_catalog.pg_class c ON c.oid = w.ev_class AND c.relkind = 'v'
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_catalog.pg_description t
                ON t.objoid = c.oid AND t.classoid = 'pg_catalog.pg_class'::regclass AND t.objsubid = 0
          WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
            AND d.refobjid = to_regclass($1) AND t.description = $2 {more}
          ORDER BY 1, 2"
    );
    sql::query(&statement, &[table.to_string().into(), MARK.into()], |row| {
        let schema: String = row.value(1)?;
        Ok((Ident::qualified(&schema, &row.value::<String>(2)?), schema))
    })
}

/// Drops the views of a table that is about to go.
pub fn drop(table: &Ident) -> Result<()> {
    for view in of(table)? {
        sql::execute_once(&format!("DROP VIEW {view}"))?;
    }
    Ok(())
}
