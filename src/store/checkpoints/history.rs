//! A table's history: the table of old rows, its row in the catalog, and the triggers that feed it.

use std::collections::HashMap;

use pgrx::{JsonB, pg_sys};

use super::shape::{self, Column};
use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Relation};
use crate::store::ident::Ident;
use crate::store::transaction::as_extension_owner;
use crate::store::{roles, sql};

/// A history and, while it is attached, its table.
#[derive(Debug, Clone)]
pub struct History {
    pub id: i32,
    pub oid: pg_sys::Oid,
    pub ident: Ident,
    /// The live table; None when the history is detached or the table was dropped.
    pub relation: Option<Relation>,
    /// The history whose lock orders the writers of this one.
    pub anchor: i32,
    pub owner: pg_sys::Oid,
    /// What the table is, or was, called.
    pub table: Ident,
    pub columns: Vec<Column>,
}

impl History {
    pub fn key(&self) -> Vec<&Column> {
        shape::key_of(&self.columns)
    }

    /// The live table; an error when there is none any more.
    pub fn live(&self) -> Result<&Relation> {
        self.relation.as_ref().ok_or_else(|| {
            Error::new(Kind::WrongState, format!("table {} was changed or dropped", self.table)).hint(
                "The checkpoint can still be read: ai.read_checkpoint, ai.checkout_checkpoint, ai.clone_checkpoint.",
            )
        })
    }
}

pub fn name(id: i32) -> String {
    format!("_checkpoint_history_{id}")
}

/// The history `id`. Read in trigger functions too, under whatever search_path.
pub fn load(id: i32) -> Result<Option<History>> {
    struct Stored {
        relation: pg_sys::Oid,
        anchor: i32,
        detached: bool,
        owner: pg_sys::Oid,
        table: Ident,
        columns: Vec<Column>,
        numbered_in: pg_sys::Oid,
    }
    let stored = sql::query_one(
        "SELECT relation::pg_catalog.oid, anchor, detached, table_owner::pg_catalog.oid,
                table_schema::pg_catalog.text, table_name::pg_catalog.text, columns, numbered_in
           FROM ai._checkpoint_history WHERE id OPERATOR(pg_catalog.=) $1",
        &[id.into()],
        |row| {
            let columns: JsonB = row.value(7)?;
            Ok(Stored {
                relation: row.value(1)?,
                anchor: row.value(2)?,
                detached: row.value(3)?,
                owner: row.value(4)?,
                table: Ident::qualified(&row.value::<String>(5)?, &row.value::<String>(6)?),
                columns: serde_json::from_value(columns.0).map_err(|error| {
                    Error::new(Kind::Internal, format!("columns of history {id} cannot be read: {error}"))
                })?,
                numbered_in: row.value(8)?,
            })
        },
    )?;
    let Some(mut stored) = stored else { return Ok(None) };
    let oid = sql::query_one(
        "SELECT pg_catalog.to_regclass($1)::pg_catalog.oid",
        &[format!("ai.{}", name(id)).into()],
        |row| row.get::<pg_sys::Oid>(1),
    )?
    .flatten();
    let Some(oid) = oid else { return Ok(None) };
    let types: HashMap<String, String> = sql::query(
        "SELECT attname::pg_catalog.text, pg_catalog.format_type(atttypid, -1) FROM pg_catalog.pg_attribute
          WHERE attrelid OPERATOR(pg_catalog.=) $1 AND attnum OPERATOR(pg_catalog.>) 0::pg_catalog.int2
            AND NOT attisdropped",
        &[oid.into()],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )?
    .into_iter()
    .collect();
    for column in &mut stored.columns {
        // A type may have been renamed, or have got another schema.
        if let Some(now) = types.get(&column.h) {
            column.type_sql.clone_from(now);
        }
    }
    let relation = if stored.detached { None } else { relation_of(stored.relation)? };
    if let Some(relation) = &relation
        && relation.oid != stored.numbered_in
    {
        // Restored from a dump: the names are right, the numbers are those of the other table.
        for column in &mut stored.columns {
            column.attnum = number_of(relation.oid, &column.name)?.unwrap_or(0);
        }
    }
    Ok(Some(History {
        id,
        oid,
        ident: Ident::qualified("ai", &name(id)),
        table: relation.as_ref().map_or(stored.table, |relation| relation.ident.clone()),
        relation,
        anchor: stored.anchor,
        owner: stored.owner,
        columns: stored.columns,
    }))
}

/// As `catalog::relation`, for any search_path.
fn relation_of(oid: pg_sys::Oid) -> Result<Option<Relation>> {
    sql::query_one(
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relowner, c.relkind::pg_catalog.text
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
          WHERE c.oid OPERATOR(pg_catalog.=) $1",
        &[oid.into()],
        |row| {
            Ok(Relation {
                oid,
                ident: Ident::qualified(&row.value::<String>(1)?, &row.value::<String>(2)?),
                owner: row.value(3)?,
                kind: row.value::<String>(4)?.as_bytes()[0],
            })
        },
    )
}

fn number_of(relation: pg_sys::Oid, column: &str) -> Result<Option<i16>> {
    sql::query_one(
        "SELECT attnum FROM pg_catalog.pg_attribute
          WHERE attrelid OPERATOR(pg_catalog.=) $1 AND attname OPERATOR(pg_catalog.=) $2::pg_catalog.name
            AND NOT attisdropped",
        &[relation.into(), column.into()],
        |row| row.value(1),
    )
}

/// A history that must be there: its id comes from our own catalog.
pub fn expect(id: i32) -> Result<History> {
    load(id)?.ok_or_else(|| Error::new(Kind::Internal, format!("the history table {} is gone", name(id))))
}

/// The history that a table feeds.
pub fn attached_to(relation: pg_sys::Oid) -> Result<Option<History>> {
    let id = sql::query_one(
        "SELECT id FROM ai._checkpoint_history WHERE relation = $1::regclass AND NOT detached",
        &[relation.into()],
        |row| row.value::<i32>(1),
    )?;
    id.map_or(Ok(None), load)
}

/// The history of a table, made if there is none, with every column that the table has now. Called
/// with writers kept out, with the rights of the table's owner.
pub fn prepare(relation: &Relation, anchor: Option<i32>) -> Result<History> {
    let columns = shape::columns_of(relation)?;
    let found = as_extension_owner(|| attached_to(relation.oid))?;
    let history = match found {
        Some(history) => {
            as_extension_owner(|| follow(&history, relation, &columns))?;
            history.id
        }
        None => {
            let id = as_extension_owner(|| create(relation, anchor, &columns))?;
            create_triggers(id, anchor.unwrap_or(id), relation)?;
            id
        }
    };
    as_extension_owner(|| expect(history))
}

fn create(relation: &Relation, anchor: Option<i32>, columns: &[Column]) -> Result<i32> {
    let (schema, table) = roles::name_of(relation.oid)?;
    let id: i32 = sql::query_one(
        "INSERT INTO ai._checkpoint_history
                (id, relation, anchor, table_schema, table_name, table_owner, columns, numbered_in)
         SELECT n.id, $1::regclass, coalesce($2, n.id), $3::name, $4::name, $5::regrole, $6, $1
           FROM (SELECT nextval('ai._checkpoint_history_id_seq')::int4 AS id) n RETURNING id",
        &[
            relation.oid.into(),
            anchor.into(),
            schema.into(),
            table.into(),
            relation.owner.into(),
            json(columns).into(),
        ],
        |row| row.value(1),
    )?
    .expect("INSERT … RETURNING returns a row");
    let history = Ident::qualified("ai", &name(id));
    // A left-over of an extension that was dropped and created again.
    if roles::relation_exists("ai", &name(id))? {
        sql::execute_once(&format!("DROP TABLE {history}"))?;
    }
    let definitions: Vec<String> = columns.iter().map(definition).collect();
    let key: Vec<&str> = shape::key_of(columns).iter().map(|column| column.h.as_str()).collect();
    sql::execute_once(&format!(
        "CREATE TABLE {history} (epoch int8 NOT NULL, present bool NOT NULL, {})",
        definitions.join(", ")
    ))?;
    sql::execute_once(&format!("CREATE UNIQUE INDEX ON {history} ({}, epoch)", key.join(", ")))?;
    keep_inline(relation, &history, columns)?;
    grant(&history, relation.owner)?;
    Ok(id)
}

fn json(columns: &[Column]) -> JsonB {
    JsonB(serde_json::to_value(columns).expect("columns are plain data"))
}

fn definition(column: &Column) -> String {
    let collation = column.collation.as_ref().map_or(String::new(), |name| format!(" COLLATE {name}"));
    format!("{} {}{collation}", column.h, column.type_sql)
}

/// What the table keeps inline its history keeps inline too.
fn keep_inline(relation: &Relation, history: &Ident, columns: &[Column]) -> Result<()> {
    let inline: Vec<i16> = sql::query(
        "SELECT attnum FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND attstorage = 'm'",
        &[relation.oid.into()],
        |row| row.value(1),
    )?;
    for column in columns.iter().filter(|column| inline.contains(&column.attnum)) {
        sql::execute_once(&format!("ALTER TABLE {history} ALTER COLUMN {} SET STORAGE MAIN", column.h))?;
    }
    Ok(())
}

/// The owner of the table may read what it held: views over a version run with his rights.
fn grant(history: &Ident, owner: pg_sys::Oid) -> Result<()> {
    let owner = Ident::new(&roles::name_by_oid(owner)?);
    sql::execute_once(&format!("GRANT SELECT ON {history} TO {owner}"))
}

/// Brings the history up to the table: new columns, new names, a new owner.
fn follow(history: &History, relation: &Relation, columns: &[Column]) -> Result<()> {
    let mut followed = history.columns.clone();
    for column in columns {
        match followed.iter_mut().find(|known| known.attnum == column.attnum) {
            Some(known) if known.type_sql == column.type_sql => {
                known.name.clone_from(&column.name);
                known.key = column.key;
                known.eq.clone_from(&column.eq);
            }
            Some(known) => return Err(changed(relation, &known.name)),
            None => {
                let mut new = column.clone();
                // After a restore the numbers may be taken by columns of the older table.
                let mut number = usize::from(new.attnum.unsigned_abs());
                while followed.iter().any(|known| known.h == format!("a{number}")) {
                    number += 1;
                }
                new.h = format!("a{number}");
                sql::execute_once(&format!("ALTER TABLE {} ADD COLUMN {}", history.ident, definition(&new)))?;
                keep_inline(relation, &history.ident, std::slice::from_ref(&new))?;
                followed.push(new);
            }
        }
    }
    note(history, relation, &followed)
}

/// Writes down what the table is like now. Called after every ALTER TABLE too, so that the names are
/// right when a dump takes them along.
fn note(history: &History, relation: &Relation, columns: &[Column]) -> Result<()> {
    let (schema, table) = roles::name_of(relation.oid)?;
    sql::execute(
        "UPDATE ai._checkpoint_history
            SET columns = $2, numbered_in = $3, table_schema = $4::name, table_name = $5::name, table_owner = $6::regrole
          WHERE id = $1 AND (columns, numbered_in, table_schema, table_name, table_owner)
                            IS DISTINCT FROM ($2, $3, $4::name, $5::name, $6::regrole)",
        &[
            history.id.into(),
            json(columns).into(),
            relation.oid.into(),
            schema.into(),
            table.into(),
            relation.owner.into(),
        ],
    )?;
    if history.owner != relation.owner {
        grant(&history.ident, relation.owner)?;
    }
    Ok(())
}

/// After a command that changed tables or `dropped` something: follows new names and owners, and
/// refuses what a checkpoint would not survive.
pub fn follow_commands(dropped: bool) -> Result<()> {
    let ids: Vec<i32> =
        sql::query("SELECT id FROM ai._checkpoint_history WHERE NOT detached ORDER BY id", &[], |row| {
            row.value(1)
        })?;
    for id in ids {
        let Some(history) = load(id)? else { continue };
        let pinned = super::versions::is_pinned(id)?;
        match &history.relation {
            None if !dropped => {}
            None if pinned => return Err(still_read(&history.table, "be dropped")),
            None => {
                sql::execute(
                    "UPDATE ai._checkpoint_history SET detached = true WHERE id = $1",
                    &[id.into()],
                )?;
            }
            Some(relation) => {
                let now = shape::columns_now(relation)?;
                if pinned {
                    check(&history, relation, &now, dropped)?;
                }
                let mut columns = history.columns.clone();
                for column in &mut columns {
                    if let Some(found) = now.iter().find(|found| found.attnum == column.attnum) {
                        column.name.clone_from(&found.name);
                        column.declared.clone_from(&found.declared);
                    }
                }
                note(&history, relation, &columns)?;
            }
        }
    }
    Ok(())
}

/// A rewrite gives columns of the table other values.
pub fn refuse_rewrite(relation: pg_sys::Oid) -> Result<()> {
    match attached_to(relation)? {
        Some(history) if super::versions::is_pinned(history.id)? => {
            Err(still_read(&history.table, "have its columns rewritten"))
        }
        _ => Ok(()),
    }
}

/// What a live checkpoint needs of its table.
fn check(history: &History, relation: &Relation, now: &[Column], dropped: bool) -> Result<()> {
    for column in &history.columns {
        match now.iter().find(|found| found.attnum == column.attnum) {
            None if dropped => {
                return Err(still_read(&relation.ident, &format!("lose its column \"{}\"", column.name)));
            }
            Some(found) if found.type_sql != column.type_sql => {
                return Err(still_read(
                    &relation.ident,
                    &format!("change the type of its column \"{}\"", found.name),
                ));
            }
            Some(found) if dropped && found.key != column.key => {
                return Err(still_read(&relation.ident, "lose its primary key"));
            }
            _ => {}
        }
    }
    // A restore from a dump makes the triggers one by one, so their absence counts after a DROP alone.
    let (there, disabled, permanent): (i64, bool, bool) = sql::query_one(
        "SELECT count(t.oid), coalesce(bool_or(t.tgenabled <> 'A'), false), bool_and(c.relpersistence = 'p')
           FROM pg_catalog.pg_class c
           LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid
                AND t.tgname IN ('_checkpoint_lock', '_checkpoint_row', '_checkpoint_truncate')
          WHERE c.oid = $1",
        &[relation.oid.into()],
        |row| Ok((row.value(1)?, row.value(2)?, row.value(3)?)),
    )?
    .unwrap_or((3, false, true));
    if disabled || dropped && there < 3 {
        return Err(still_read(&relation.ident, "lose its checkpoint triggers"));
    }
    if !permanent {
        return Err(still_read(&relation.ident, "become unlogged"));
    }
    Ok(())
}

fn still_read(table: &Ident, what: &str) -> Error {
    Error::new(Kind::WrongState, format!("table {table} cannot {what}: checkpoints still read its live rows"))
        .hint(format!(
            "SELECT ai.detach_checkpoints('{table}'); gives them copies of the rows; or delete them: SELECT ai.delete_checkpoint(id) FROM ai.checkpoints WHERE …;"
        ))
}

fn changed(relation: &Relation, column: &str) -> Error {
    Error::new(
        Kind::WrongState,
        format!("column \"{column}\" of {} is not what its checkpoints know", relation.ident),
    )
    .hint(format!("SELECT ai.detach_checkpoints('{}'); then try again.", relation.ident))
}

/// The triggers that feed history `id`. They fire in every session, replication's included.
fn create_triggers(id: i32, anchor: i32, relation: &Relation) -> Result<()> {
    drop_triggers(relation)?;
    let condition = format!("FOR EACH ROW WHEN (ai._checkpoint_live({id}, {anchor}))");
    for (name, event, each) in [
        ("_checkpoint_lock", "BEFORE INSERT OR UPDATE OR DELETE", "FOR EACH STATEMENT"),
        ("_checkpoint_row", "AFTER INSERT OR UPDATE OR DELETE", condition.as_str()),
        ("_checkpoint_truncate", "BEFORE TRUNCATE", "FOR EACH STATEMENT"),
    ] {
        sql::execute_once(&format!(
            "CREATE TRIGGER {name} {event} ON {} {each} EXECUTE FUNCTION ai.{name}('{id}', '{anchor}')",
            relation.ident
        ))?;
        sql::execute_once(&format!("ALTER TABLE {} ENABLE ALWAYS TRIGGER {name}", relation.ident))?;
    }
    Ok(())
}

pub fn drop_triggers(relation: &Relation) -> Result<()> {
    let there: Vec<String> = sql::query(
        "SELECT tgname::text FROM pg_catalog.pg_trigger
          WHERE tgrelid = $1 AND tgname IN ('_checkpoint_lock', '_checkpoint_row', '_checkpoint_truncate')",
        &[relation.oid.into()],
        |row| row.value(1),
    )?;
    for name in there {
        sql::execute_once(&format!("DROP TRIGGER {name} ON {}", relation.ident))?;
    }
    Ok(())
}

/// Every session that has looked at this history looks again.
pub fn invalidate(history: pg_sys::Oid) {
    // SAFETY: queues a cache invalidation that is sent when the transaction commits; the relation
    // exists.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(history) };
}

/// The live table of a target that was given by its oid.
pub fn table(oid: pg_sys::Oid) -> Result<Relation> {
    catalog::relation(oid)?.ok_or_else(|| Error::new(Kind::UndefinedObject, "the table does not exist"))
}
