//! What a rule makes in the database: triggers, the queue of a deferred one, a status column.

use pgrx::pg_sys;
use pgrx::spi::quote_literal;

use super::super::{catalog, ident::Ident, roles, sql};
use super::rule::Rule;
use super::statements::{NEW, OLD};
use crate::error::Result;

pub fn queue_name(rule: i32) -> String {
    format!("_record_status_q_{rule}")
}

pub fn queue(rule: i32) -> Ident {
    Ident::qualified("ai", &queue_name(rule))
}

pub fn has_queue(rule: i32) -> Result<bool> {
    roles::relation_exists("ai", &queue_name(rule))
}

fn trigger(rule: i32, what: &str) -> Ident {
    Ident::new(&format!("_record_status_trg_{rule}_{what}"))
}

/// A status column for records that have none.
pub fn add_column(records: &catalog::Relation, name: &str, type_sql: &str, pending: &str) -> Result<()> {
    sql::execute_once(&format!(
        "ALTER TABLE {} ADD COLUMN {} {type_sql} NOT NULL DEFAULT {}",
        records.ident,
        Ident::new(name),
        quote_literal(pending)
    ))
}

/// The notes of a deferred rule, owned by the owner of the records. A left-over of an extension
/// that was dropped and created again has the same name and goes first.
pub fn create_queue(rule: &Rule, owner: &str) -> Result<()> {
    drop_queue(rule.id)?;
    let columns: String = rule
        .key
        .iter()
        .enumerate()
        .map(|(i, pair)| format!("k{} {} NOT NULL, ", i + 1, pair.response.type_sql))
        .collect();
    sql::execute_once(&format!(
        "CREATE TABLE {queue} ({columns}noted int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY)
           WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
        queue = rule.queue()
    ))?;
    sql::execute_once(&format!("ALTER TABLE {} OWNER TO {}", rule.queue(), Ident::new(owner)))
}

pub fn drop_queue(rule: i32) -> Result<()> {
    if has_queue(rule)? {
        sql::execute_once(&format!("DROP TABLE {}", queue(rule)))?;
    }
    Ok(())
}

/// The statement triggers of the responses and of every partition (a statement fires those of
/// the table that it names), and the row triggers of the records.
///
/// `guarded` says that a foreign key keeps responses from coming before their record: then only
/// a record that comes with another status than `none` is looked at. Otherwise each new one is.
pub fn create_triggers(rule: &Rule, none: &str, guarded: bool) -> Result<()> {
    for table in uncovered(rule)? {
        cover(rule, table)?;
    }
    let id = quote_literal(rule.id.to_string());
    let records = &rule.records.ident;
    let when = if guarded {
        format!(
            "WHEN (NEW.{} IS DISTINCT FROM {})",
            Ident::new(&rule.status.name),
            super::statements::constant(none, &rule.status)
        )
    } else {
        String::new()
    };
    let record = trigger(rule.id, "record");
    sql::execute_once(&format!(
        "CREATE TRIGGER {record} AFTER INSERT ON {records} FOR EACH ROW {when}
         EXECUTE FUNCTION ai._record_status_changed({id})"
    ))?;
    enable_always(&records.to_string(), &record)?;
    if !guarded {
        let columns: Vec<String> =
            rule.key.iter().map(|pair| Ident::new(&pair.record.name).to_string()).collect();
        let changed = columns
            .iter()
            .map(|column| format!("NOT ai._unchanged(OLD.{column}, NEW.{column})"))
            .collect::<Vec<_>>()
            .join(" OR ");
        let key = trigger(rule.id, "key");
        sql::execute_once(&format!(
            "CREATE TRIGGER {key} AFTER UPDATE OF {} ON {records} FOR EACH ROW WHEN ({changed})
             EXECUTE FUNCTION ai._record_status_changed({id})",
            columns.join(", ")
        ))?;
        enable_always(&records.to_string(), &key)?;
    }
    Ok(())
}

/// The responses' table and partitions that lack the rule's triggers.
pub fn uncovered(rule: &Rule) -> Result<Vec<pg_sys::Oid>> {
    sql::query(
        "SELECT c.oid FROM pg_catalog.pg_class c
          WHERE (c.oid = $1 OR c.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree($1) t))
            AND c.relkind IN ('r', 'p')
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname = $2::name)
          ORDER BY c.oid",
        &[rule.responses.oid.into(), format!("_record_status_trg_{}_truncate", rule.id).into()],
        |row| row.value(1),
    )
}

/// Gives one table of the responses its triggers. They are ENABLE ALWAYS: a session that sets
/// `session_replication_role = replica` changes responses too.
pub fn cover(rule: &Rule, table: pg_sys::Oid) -> Result<()> {
    let Some(table) = catalog::relation(table)? else { return Ok(()) };
    let id = quote_literal(rule.id.to_string());
    for (what, event, tables) in [
        ("insert", "INSERT", format!("REFERENCING NEW TABLE AS {NEW}")),
        ("update", "UPDATE", format!("REFERENCING NEW TABLE AS {NEW} OLD TABLE AS {OLD}")),
        ("delete", "DELETE", format!("REFERENCING OLD TABLE AS {OLD}")),
        ("truncate", "TRUNCATE", String::new()),
    ] {
        let name = trigger(rule.id, what);
        sql::execute_once(&format!(
            "CREATE TRIGGER {name} AFTER {event} ON {} {tables} FOR EACH STATEMENT
             EXECUTE FUNCTION ai._record_status_changed({id})",
            table.ident
        ))?;
        enable_always(&table.ident.to_string(), &name)?;
    }
    Ok(())
}

fn enable_always(table: &str, trigger: &Ident) -> Result<()> {
    sql::execute_once(&format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"))
}

/// Drops every trigger of the rule, wherever it is.
pub fn drop_triggers(rule: i32) -> Result<()> {
    let found = sql::query(
        "SELECT n.nspname::text, c.relname::text, t.tgname::text
           FROM pg_catalog.pg_trigger t
           JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE t.tgfoid = 'ai._record_status_changed()'::pg_catalog.regprocedure AND t.tgparentid = 0
            AND t.tgname LIKE '\\_record\\_status\\_trg\\_' || $1 || '\\_%'",
        &[rule.to_string().into()],
        |row| {
            let table = Ident::qualified(&row.value::<String>(1)?, &row.value::<String>(2)?);
            Ok((table, Ident::new(&row.value::<String>(3)?)))
        },
    )?;
    for (table, trigger) in found {
        sql::execute_once(&format!("DROP TRIGGER {trigger} ON {table}"))?;
    }
    Ok(())
}
