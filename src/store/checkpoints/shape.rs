//! The columns of a table as a history keeps them: under names of its own, with the types that
//! domains stand on, so that renaming a column or a constraint of a domain does not matter.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::store::catalog::Relation;
use crate::store::ident::Ident;
use crate::store::sql;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The name in the history, and its quoted form too: `a` and a number.
    pub h: String,
    /// The number in the table.
    pub attnum: i16,
    /// The name in the table when it was last looked at.
    pub name: String,
    /// The type as SQL text without modifiers, qualified; of a domain its base type.
    #[serde(rename = "type")]
    pub type_sql: String,
    /// The type as the table declares it, modifiers included: for tables that are made from a version.
    pub declared: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
    /// The place in the primary key, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<i32>,
    /// The primary key's equality, as `OPERATOR(schema.=)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eq: Option<String>,
}

impl Column {
    pub fn ident(&self) -> Ident {
        Ident::new(&self.name)
    }
}

/// Refuses tables that cannot have checkpoints.
pub fn require_suitable(relation: &Relation) -> Result<()> {
    let unsupported = |what: &str, hint: &str| {
        Err(Error::new(Kind::Unsupported, format!("{} is {what}", relation.ident)).hint(hint))
    };
    match relation.kind {
        b'r' => {}
        b'p' => {
            return unsupported(
                "a partitioned table, which cannot have checkpoints",
                "Make checkpoints of its partitions: ai.create_checkpoint_set(ARRAY['partition_1', …]).",
            );
        }
        b'f' => {
            return unsupported(
                "a foreign table, which cannot have checkpoints",
                "Make the checkpoint on the server where the table is.",
            );
        }
        _ => return unsupported("not a table", "Checkpoints are made of tables and of vectorizers."),
    }
    let (persistence, virtuals, system): (String, bool, bool) = sql::query_one(
        "SELECT c.relpersistence::text,
                EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated = 'v'),
                c.relnamespace = 'pg_catalog'::regnamespace OR c.oid IN
                    (SELECT d.objid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
                      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e' AND e.extname = 'autovector')
                OR c.relname LIKE '\\_checkpoint\\_history\\_%' AND c.relnamespace = 'ai'::regnamespace
           FROM pg_catalog.pg_class c WHERE c.oid = $1",
        &[relation.oid.into()],
        |row| Ok((row.value(1)?, row.value(2)?, row.value(3)?)),
    )?
    .unwrap_or_default();
    if system {
        return unsupported("not a table of a user", "Checkpoints are made of tables and of vectorizers.");
    }
    if persistence != "p" {
        return unsupported(
            "a temporary or unlogged table, which does not survive a crash",
            "Use an ordinary table: ALTER TABLE … SET LOGGED;",
        );
    }
    if virtuals {
        return unsupported("a table with virtual generated columns", "Make these columns STORED.");
    }
    Ok(())
}

/// The columns of a table, in order. Errors: it has no primary key that is checked at once.
pub fn columns_of(relation: &Relation) -> Result<Vec<Column>> {
    let columns = columns_now(relation)?;
    if columns.iter().any(|column| column.key.is_some()) {
        return Ok(columns);
    }
    Err(Error::invalid(format!("table {} must have a primary key that is not deferrable", relation.ident))
        .hint(format!("ALTER TABLE {} ADD PRIMARY KEY (…);", relation.ident)))
}

/// The columns as they are, whether there is a key among them or not.
pub fn columns_now(relation: &Relation) -> Result<Vec<Column>> {
    sql::query(COLUMNS, &[relation.oid.into()], |row| {
        let attnum: i16 = row.value(1)?;
        Ok(Column {
            h: format!("a{attnum}"),
            attnum,
            name: row.value(2)?,
            type_sql: row.value(3)?,
            collation: row.get(4)?,
            key: row.get(5)?,
            eq: row.get(6)?,
            declared: row.value(7)?,
        })
    })
}

/// The primary key's columns in key order.
pub fn key_of(columns: &[Column]) -> Vec<&Column> {
    let mut key: Vec<&Column> = columns.iter().filter(|column| column.key.is_some()).collect();
    key.sort_by_key(|column| column.key);
    key
}

const COLUMNS: &str = "
SELECT a.attnum, a.attname::text, pg_catalog.format_type(b.oid, -1),
       CASE WHEN a.attcollation <> b.typcollation THEN pg_catalog.format('%I.%I', n.nspname, l.collname) END,
       k.place::int4, k.eq, pg_catalog.format_type(a.atttypid, a.atttypmod)
  FROM pg_catalog.pg_attribute a
 CROSS JOIN LATERAL
       (WITH RECURSIVE base(oid, typbasetype, typcollation) AS
          (SELECT t.oid, t.typbasetype, t.typcollation FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
           UNION ALL
           SELECT t.oid, t.typbasetype, t.typcollation FROM base JOIN pg_catalog.pg_type t ON t.oid = base.typbasetype)
        SELECT base.oid, base.typcollation FROM base WHERE base.typbasetype = 0) b
  LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
  LEFT JOIN LATERAL
       (SELECT u.place, pg_catalog.format('OPERATOR(%I.%s)', s.nspname, o.oprname) AS eq
          FROM pg_catalog.pg_index i
         CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY AS u(attnum, opclass, place)
          JOIN pg_catalog.pg_opclass c ON c.oid = u.opclass
          JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily AND m.amoplefttype = c.opcintype
                                   AND m.amoprighttype = c.opcintype AND m.amopstrategy = 3
          JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
          JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
         WHERE i.indrelid = a.attrelid AND i.indisprimary AND i.indimmediate
           AND u.place <= i.indnkeyatts AND u.attnum = a.attnum) k ON true
 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum";
