//! What hangs on a store besides its rows: what follows to the new one (grants, comments,
//! options, indexes), and what could not follow and is refused before a rebuild begins.

use pgrx::pg_sys;

use crate::error::{Error, Kind, Result};
use crate::store::catalog::{Relation, Vectorizer};
use crate::store::ident::Ident;
use crate::store::sql;

/// Refuses what would stay with the old store, or would break, when `new` takes its place.
pub fn require_movable(old: &Relation, new_dimensions: u32) -> Result<()> {
    for (statement, what, hint) in REFUSED {
        if let Some(name) = sql::query_one(statement, &[old.oid.into()], |row| row.value::<String>(1))? {
            return Err(Error::new(
                Kind::WrongState,
                format!("{what} {name} would not survive a rebuild of {}", old.ident),
            )
            .hint(*hint));
        }
    }
    if let Some(view) =
        sql::query_one(NARROW_VIEWS, &[old.oid.into(), (new_dimensions as i32).into()], |row| {
            row.value::<String>(1)
        })?
    {
        return Err(Error::new(
            Kind::WrongState,
            format!("view {view} shows vectors of a fixed number of dimensions, not {new_dimensions}"),
        )
        .hint("Show them without it, as embedding::vector, and create the view again."));
    }
    Ok(())
}

/// A question about the store `$1`, what it finds, and what to do about it.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "SELECT a.attname::text FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attname <> ALL ('{embedding_uuid,chunk_seq,chunk,embedding,content_hash,embedded_at}')
            AND NOT EXISTS (SELECT FROM ai.vectorizer v, jsonb_array_elements(v.source_pk) k
                             WHERE v.store = a.attrelid AND k ->> 'attname' = a.attname)
          ORDER BY a.attnum LIMIT 1",
        "column",
        "Keep columns of your own in a table beside the store, and drop this one.",
    ),
    (
        "SELECT c.conname::text FROM pg_catalog.pg_constraint c
          WHERE c.confrelid = $1 AND c.conrelid <> $1 ORDER BY 1 LIMIT 1",
        "foreign key",
        "Every chunk gets a new embedding_uuid; refer to the source instead, and drop the constraint.",
    ),
    (
        "SELECT t.tgname::text FROM pg_catalog.pg_trigger t
          WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgname !~ '^_checkpoint_' ORDER BY 1 LIMIT 1",
        "trigger",
        "Drop it, and create it again on the store after the swap.",
    ),
    (
        "SELECT coalesce((SELECT p.polname::text FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid ORDER BY 1 LIMIT 1),
                         'for row security')
           FROM pg_catalog.pg_class c
          WHERE c.oid = $1
            AND (c.relrowsecurity OR EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid))",
        "policy",
        "Nobody may see rows of the new store that the policy hides: drop it, or build a vectorizer of its own.",
    ),
    (
        "SELECT p.pubname::text FROM pg_catalog.pg_publication_rel r
           JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE r.prrelid = $1 ORDER BY 1 LIMIT 1",
        "membership in publication",
        "Take the store out of the publication, and add it again after the swap.",
    ),
    (
        "SELECT d.objid::regprocedure::text FROM pg_catalog.pg_depend d
          WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
            AND d.refobjid = $1 LIMIT 1",
        "function",
        "Let it read the view of the vectorizer, or write its body as a string.",
    ),
    (
        "SELECT c.oid::regclass::text FROM pg_catalog.pg_depend d
           JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid JOIN pg_catalog.pg_class c ON c.oid = w.ev_class
          WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
            AND d.refobjid = $1 AND c.relkind <> 'v' AND c.oid <> $1 LIMIT 1",
        "materialized view",
        "Build it upon the view of the vectorizer instead.",
    ),
];

/// Views upon the store, and upon those, with a column of vectors that have another dimension
/// than `$2`.
const NARROW_VIEWS: &str = "
    WITH RECURSIVE upon AS (
      SELECT $1::oid AS relation
       UNION
      SELECT w.ev_class FROM upon u
        JOIN pg_catalog.pg_depend d ON d.refobjid = u.relation AND d.refclassid = 'pg_catalog.pg_class'::regclass
                                   AND d.classid = 'pg_catalog.pg_rewrite'::regclass
        JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid)
    SELECT c.oid::regclass::text FROM upon u
      JOIN pg_catalog.pg_class c ON c.oid = u.relation
      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     WHERE c.relkind IN ('v', 'm') AND t.typname IN ('vector', 'halfvec')
       AND a.atttypmod <> -1 AND a.atttypmod <> $2
     LIMIT 1";

/// The views that read a store, in order.
pub fn views(store: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>> {
    sql::query(
        "SELECT DISTINCT w.ev_class FROM pg_catalog.pg_depend d
           JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid JOIN pg_catalog.pg_class c ON c.oid = w.ev_class
          WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
            AND d.refobjid = $1 AND c.relkind = 'v' ORDER BY 1",
        &[store.into()],
        |row| row.value(1),
    )
}

/// Gives `to` the grants, comments and storage options that `from` has, and no others.
pub fn copy(from: &Relation, to: &Relation) -> Result<()> {
    let statements: Vec<String> = sql::query(
        "SELECT s FROM (
           SELECT 1 AS step, 0 AS part, format('REVOKE ALL ON %s FROM %s', $4, g.name) AS s
             FROM pg_catalog.pg_class c
            CROSS JOIN LATERAL (SELECT DISTINCT a.grantee FROM pg_catalog.aclexplode(c.relacl) a
                                 WHERE a.grantee <> c.relowner) a
            CROSS JOIN LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS name) g
            WHERE c.oid = $2
           UNION ALL
           SELECT 2, 0, format('GRANT %s ON %s TO %s%s', a.privilege_type, $4,
                               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                               CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
             FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a
            WHERE c.oid = $1 AND a.grantee <> c.relowner
           UNION ALL
           SELECT 3, t.attnum, format('GRANT %s (%I) ON %s TO %s%s', a.privilege_type, t.attname, $4,
                               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                               CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
             FROM pg_catalog.pg_attribute t CROSS JOIN LATERAL pg_catalog.aclexplode(t.attacl) a
            WHERE t.attrelid = $1 AND NOT t.attisdropped AND t.attnum > 0
           UNION ALL
           SELECT 4, d.objsubid,
                  CASE d.objsubid WHEN 0 THEN format('COMMENT ON TABLE %s IS %L', $4, d.description)
                       ELSE format('COMMENT ON COLUMN %s.%I IS %L', $4, t.attname, d.description) END
             FROM pg_catalog.pg_description d
             LEFT JOIN pg_catalog.pg_attribute t ON t.attrelid = d.objoid AND t.attnum = d.objsubid
            WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objoid = $1
           UNION ALL
           SELECT 5, 0, format('ALTER TABLE %s SET (%s)', $4, array_to_string(c.reloptions, ', '))
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class o ON o.oid = $2
            WHERE c.oid = $1 AND c.reloptions IS NOT NULL AND c.reloptions IS DISTINCT FROM o.reloptions) x
          WHERE $3 ORDER BY step, part",
        &[from.oid.into(), to.oid.into(), true.into(), to.ident.to_string().into()],
        |row| row.value(1),
    )?;
    statements.iter().try_for_each(|statement| sql::execute_once(statement))
}

/// Statements that build on `to` the indexes that people made on `from`, and that it lacks.
/// Those of autovector and those behind constraints are not among them.
pub fn missing_indexes(from: &Relation, to: &Vectorizer) -> Result<Vec<[String; 2]>> {
    let found = sql::query(
        "SELECT n.nspname::text, pg_get_indexdef(i.indexrelid)
           FROM pg_catalog.pg_index i
           JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
           JOIN pg_catalog.pg_class t ON t.oid = $2
           JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
          WHERE i.indrelid = $1 AND i.indisvalid AND c.relname !~ '^_vectorizer_'
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid)
          ORDER BY c.relname",
        &[from.oid.into(), to.store.oid.into()],
        |row| Ok((row.value::<String>(1)?, row.value::<String>(2)?)),
    )?;
    let present: Vec<String> = sql::query(
        "SELECT pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisvalid",
        &[to.store.oid.into()],
        |row| row.value(1),
    )?;
    // What comes behind the table's name says what an index is.
    let shape = |definition: &str, table: &Ident| {
        definition.split_once(&format!(" ON {table} ")).map(|(_, shape)| shape.to_owned())
    };
    let present: Vec<String> =
        present.iter().filter_map(|definition| shape(definition, &to.store.ident)).collect();
    let mut statements = Vec::new();
    for (number, (schema, definition)) in found.iter().enumerate() {
        let Some(shape) = shape(definition, &from.ident) else { continue };
        if present.contains(&shape) {
            continue;
        }
        let unique = if definition.starts_with("CREATE UNIQUE") { "UNIQUE " } else { "" };
        let name = format!("_rebuilt_{}_{}", to.id, number + 1);
        statements.push([
            format!("DROP INDEX IF EXISTS {}", Ident::qualified(schema, &name)),
            format!("CREATE {unique}INDEX CONCURRENTLY {} ON {} {shape}", Ident::new(&name), to.store.ident),
        ]);
    }
    Ok(statements)
}

/// A view as a statement that makes it anew, with `from` in its text replaced by `to`.
pub fn view_definition(view: pg_sys::Oid, from: &str, to: &Ident) -> Result<String> {
    let (name, options, definition): (String, Option<String>, String) = sql::query_one(
        "SELECT format('%I.%I', n.nspname, c.relname), array_to_string(c.reloptions, ', '), pg_get_viewdef(c.oid)
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        &[view.into()],
        |row| Ok((row.value(1)?, row.get(2)?, row.value(3)?)),
    )?
    .ok_or_else(|| Error::new(Kind::WrongState, "a view of the store was dropped meanwhile"))?;
    let with = options.map_or(String::new(), |options| format!(" WITH ({options})"));
    Ok(format!("CREATE OR REPLACE VIEW {name}{with} AS {}", definition.replace(from, &to.to_string())))
}
