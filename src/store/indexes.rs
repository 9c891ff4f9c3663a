//! Indexes of a store: which it has, and building them concurrently.

use std::ffi::CString;
use std::panic::AssertUnwindSafe;

use autovector_domain::config::{Index, Metric, Opclass};
use pgrx::{PgTryBuilder, pg_sys};

use super::catalog::{Pgvector, Vectorizer};
use super::ident::Ident;
use super::transaction::{as_superuser, describe};
use super::{keywords, sql};
use crate::error::Result;

/// So many rows may be pending while an index is built: what steady writing leaves behind, not
/// what a bulk load does.
const PENDING_WHILE_BUILDING: i64 = 10_000;

/// What serves nearest-neighbour queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    None,
    Hnsw,
    Ivfflat { lists: Option<i32> },
    Diskann,
}

/// An index that is to be built.
#[derive(Debug, Clone)]
pub enum Job {
    Vectors(Index),
    /// Over the words of the chunks, under this text-search configuration.
    Words(String),
}

impl Job {
    /// What the error log says when it could not be built.
    pub fn failure(&self) -> &'static str {
        match self {
            Job::Vectors(_) => "index build failed",
            Job::Words(_) => "keyword index build failed",
        }
    }
}

fn embedding_column(v: &Vectorizer) -> &str {
    v.column.as_deref().unwrap_or("embedding")
}

/// The half-precision copy of the vector, as an index over it has it.
pub fn half_expression(v: &Vectorizer, pgvector: &Pgvector, alias: Option<&str>) -> String {
    let prefix = alias.map_or(String::new(), |alias| format!("{alias}."));
    let column = Ident::new(embedding_column(v));
    let dimensions = v.config.embedding.dimensions().unwrap_or_default();
    format!("({prefix}{column})::{}.halfvec({dimensions})", pgvector.schema)
}

/// The valid index that answers `metric` over the vectors of the store, whoever built it.
pub fn serving(v: &Vectorizer, metric: Metric) -> Result<(Method, Opclass)> {
    let found = sql::query(
        "SELECT m.amname::text, o.opcname::text,
                (SELECT pg_catalog.split_part(r, '=', 2)::int4 FROM pg_catalog.unnest(c.reloptions) r WHERE r LIKE 'lists=%')
           FROM pg_catalog.pg_index i
           JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
           JOIN pg_catalog.pg_am m ON m.oid = c.relam
           JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]
           LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND i.indkey[0] <> 0
          WHERE i.indrelid = $1 AND m.amname IN ('hnsw', 'ivfflat', 'diskann') AND i.indisvalid AND i.indpred IS NULL
            AND (a.attname = $2::name OR i.indkey[0] = 0 AND o.opcname LIKE 'halfvec%')
          ORDER BY i.indkey[0] = 0, i.indexrelid",
        &[v.store.oid.into(), embedding_column(v).into()],
        |row| Ok((row.value::<String>(1)?, row.value::<String>(2)?, row.get::<i32>(3)?)),
    )?;
    for (method, opclass, lists) in found {
        let Ok(opclass) = Opclass::parse(&opclass) else { continue };
        if opclass.metric == metric {
            let method = match method.as_str() {
                "hnsw" => Method::Hnsw,
                "ivfflat" => Method::Ivfflat { lists },
                _ => Method::Diskann,
            };
            return Ok((method, opclass));
        }
    }
    Ok((Method::None, Opclass { metric, halfvec: false }))
}

/// The names of the indexes over the vectors that were built for `v` and are not what `index` asks
/// for: another method, distance or other parameters.
pub fn outdated(v: &Vectorizer, index: &Index) -> Result<Vec<String>> {
    let found = sql::query(
        "SELECT c.relname::text, m.amname::text, o.opcname::text, coalesce(c.reloptions, '{}')
           FROM pg_catalog.pg_index i
           JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
           JOIN pg_catalog.pg_am m ON m.oid = c.relam
           JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]
          WHERE i.indrelid = $1 AND i.indisvalid AND c.relname ~ ('^_vectorizer_(hnsw|ivfflat|diskann)_' || $2 || '(_new)?$')",
        &[v.store.oid.into(), v.id.to_string().into()],
        |row| Ok((row.value(1)?, row.value::<String>(2)?, row.value::<String>(3)?, row.value::<Vec<String>>(4)?)),
    )?;
    let wanted: Vec<String> = index.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let is_wanted = |method: &str, opclass: &str, options: &[String]| {
        // Lists are counted from the rows where nobody says how many; DiskANN has one operator class.
        method == index.method
            && (method == "diskann" || opclass == index.opclass.as_str())
            && (method == "ivfflat" && wanted.is_empty()
                || options.len() == wanted.len() && options.iter().all(|option| wanted.contains(option)))
    };
    let outdated =
        found.into_iter().filter(|(_, method, opclass, options)| !is_wanted(method, opclass, options));
    Ok(outdated.map(|(name, ..)| name).collect())
}

/// True when the store has a valid index over the words of its chunks, whoever built it.
pub fn has_words(v: &Vectorizer, configuration: &str) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (
           SELECT FROM pg_catalog.pg_index i
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
             JOIN pg_catalog.pg_am m ON m.oid = c.relam AND m.amname IN ('gin', 'gist')
            WHERE i.indrelid = $1 AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = 0
              AND pg_catalog.pg_get_indexdef(i.indexrelid, 1, false)
                  = pg_catalog.format('to_tsvector(%L::regconfig, %s)', $2::text, $3::text))",
        &[v.store.oid.into(), configuration.into(), indexed_text(v)?.into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}

/// The chunk as `pg_get_indexdef` shows it: without a cast where the column is text already.
fn indexed_text(v: &Vectorizer) -> Result<String> {
    let Some(_) = &v.column else { return Ok("chunk".to_owned()) };
    let name = &v.config.loading.column_name;
    let column = Ident::new(name);
    Ok(match super::roles::column_type(v.source.oid, name)?.as_str() {
        "text" => column.to_string(),
        _ => format!("({column})::text"),
    })
}

/// True when the first pass is over and no more is pending than steady writing leaves.
pub fn is_quiet(v: &Vectorizer) -> Result<bool> {
    let quiet = sql::query_one(
        &format!(
            "SELECT coalesce((SELECT scanned FROM ai._vectorizer_cursor WHERE vectorizer_id = $1), true)
                AND NOT EXISTS (SELECT FROM ai._lease WHERE vectorizer_id = $1 AND kind = 'backfill')
                AND NOT EXISTS (SELECT FROM {} OFFSET $2 LIMIT 1)",
            v.queue
        ),
        &[v.id.into(), PENDING_WHILE_BUILDING.into()],
        |row| row.value(1),
    )?;
    Ok(quiet.unwrap_or(false))
}

/// True when the store holds at least `rows` rows.
pub fn has_rows(v: &Vectorizer, rows: u32) -> Result<bool> {
    if rows == 0 {
        return Ok(true);
    }
    let offset = i64::from(rows) - 1;
    let found = sql::query_one(
        &format!("SELECT EXISTS (SELECT FROM {} OFFSET $1 LIMIT 1)", v.store.scan()),
        &[offset.into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}

/// A failed build is not tried again before an hour is over.
pub fn has_failed_recently(v: &Vectorizer, message: &str) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (SELECT FROM ai._vectorizer_errors
                         WHERE id = $1 AND message = $2 AND recorded > now() - interval '1 hour')",
        &[v.id.into(), message.into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}

/// True where the access method is installed in this database.
pub fn has_method(method: &str) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_am WHERE amname = $1::name)",
        &[method.into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}

/// How far the build of an index of the store is, in words; None when none is being built.
pub fn progress(v: &Vectorizer) -> Result<Option<String>> {
    // What other sessions do is shown to few.
    as_superuser(|| {
        sql::query_one(
            "SELECT p.phase || CASE WHEN coalesce(nullif(p.tuples_total, 0), nullif(p.blocks_total, 0)) IS NULL THEN ''
                                    WHEN p.tuples_total > 0 THEN pg_catalog.format(', %s %%', 100 * p.tuples_done / p.tuples_total)
                                    ELSE pg_catalog.format(', %s %%', 100 * p.blocks_done / p.blocks_total) END
               FROM pg_catalog.pg_stat_progress_create_index p
              WHERE p.relid = $1 AND p.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
              LIMIT 1",
            &[v.store.oid.into()],
            |row| row.value(1),
        )
    })
}

fn words_name(v: &Vectorizer) -> String {
    format!("_vectorizer_words_{}", v.id)
}

/// Drops the index over the words that was built for `v`, if there is one.
pub fn drop_words(v: &Vectorizer, schema: &str) -> Result<()> {
    sql::execute_once(&format!("DROP INDEX IF EXISTS {}", Ident::qualified(schema, &words_name(v))))
}

/// pgvector's advice: a thousandth of the rows, the square root beyond a million of them.
fn lists(v: &Vectorizer) -> Result<i64> {
    let rows: i64 =
        sql::query_one(&format!("SELECT count(*) FROM {}", v.store.scan()), &[], |row| row.value(1))?
            .unwrap_or(0);
    let lists = if rows <= 1_000_000 { rows / 1000 } else { (rows as f64).sqrt() as i64 };
    Ok(lists.clamp(1, 32_768))
}

/// Statements that remove the invalid remains of an earlier build and build the index. One that was
/// configured otherwise serves until the new one can.
pub fn statements(v: &Vectorizer, pgvector: &Pgvector, job: &Job, schema: &str) -> Result<Vec<String>> {
    let (name, definition) = match job {
        Job::Words(configuration) => {
            (words_name(v), format!("gin ({})", keywords::document(v, configuration, None)))
        }
        Job::Vectors(index) => {
            let mut options: Vec<String> =
                index.options.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            if index.method == "ivfflat" && options.is_empty() {
                options.push(format!("lists = {}", lists(v)?));
            }
            let with =
                if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
            let operand = match index.opclass.halfvec {
                true => format!("({})", half_expression(v, pgvector, None)),
                false => Ident::new(embedding_column(v)).to_string(),
            };
            let opclass = match index.method {
                // The default of its access method, whose schema nobody knows.
                "diskann" => String::new(),
                _ => format!(" {}.{}", pgvector.schema, index.opclass.as_str()),
            };
            let name = format!("_vectorizer_{}_{}", index.method, v.id);
            (name, format!("{} ({operand}{opclass}){with}", index.method))
        }
    };
    let drop = |name: &str| format!("DROP INDEX CONCURRENTLY IF EXISTS {}", Ident::qualified(schema, name));
    let build = |name: &str| {
        format!("CREATE INDEX CONCURRENTLY {} ON {} USING {definition}", Ident::new(name), v.store.ident)
    };
    let outdated = match job {
        Job::Vectors(index) => outdated(v, index)?,
        Job::Words(_) => Vec::new(),
    };
    if outdated.is_empty() {
        return Ok(vec![drop(&name), build(&name)]);
    }
    let new = format!("{name}_new");
    let rename = format!("ALTER INDEX {} RENAME TO {}", Ident::qualified(schema, &new), Ident::new(&name));
    let old = outdated.iter().map(|name| drop(name));
    // An invalid one may bear the name as well.
    Ok([drop(&new), build(&new)].into_iter().chain(old).chain([drop(&name), rename]).collect())
}

/// Runs one utility statement at top level, outside SPI, so that it may commit in between as
/// CREATE INDEX CONCURRENTLY does. For background workers only.
pub fn run_top_level(statement: &str) -> Result<()> {
    let text = CString::new(statement).expect("statements have no NUL");
    // SAFETY: outside a transaction, on the worker's main thread. What is done is what
    // PostgreSQL does with a simple query of one utility statement: parse, then run it in a portal
    // within a transaction command. The parse tree is allocated in a context that outlives the
    // statement's own commits.
    let result = PgTryBuilder::new(AssertUnwindSafe(|| unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        let context = pg_sys::AllocSetContextCreateExtended(
            pg_sys::TopMemoryContext,
            c"autovector utility".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let previous = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = context;
        let parsed = pg_sys::pg_parse_query(text.as_ptr());
        let raw: *mut pg_sys::RawStmt = pg_sys::list_nth(parsed, 0).cast();
        let planned: *mut pg_sys::PlannedStmt = pg_sys::palloc0(size_of::<pg_sys::PlannedStmt>()).cast();
        (*planned).type_ = pg_sys::NodeTag::T_PlannedStmt;
        (*planned).commandType = pg_sys::CmdType::CMD_UTILITY;
        (*planned).canSetTag = true;
        (*planned).utilityStmt = (*raw).stmt;
        (*planned).stmt_location = (*raw).stmt_location;
        (*planned).stmt_len = (*raw).stmt_len;
        run_portal(planned, text.as_ptr());
        pg_sys::CommitTransactionCommand();
        pg_sys::CurrentMemoryContext = previous;
        pg_sys::MemoryContextDelete(context);
        Ok(())
    }))
    .catch_others(|caught| Err(describe(&caught)))
    .execute();
    if result.is_err() {
        // SAFETY: aborts whatever transaction the error left open.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    result
}

/// Runs one planned utility statement at top level, in a portal: event triggers that follow a commit
/// of the statement's own find the snapshot there that they need.
///
/// # Safety
/// Within a transaction command, outside any portal; both arguments outlive the statement's commits.
unsafe fn run_portal(planned: *mut pg_sys::PlannedStmt, text: *const std::ffi::c_char) {
    // SAFETY: the caller's promise; the portal has no name, nobody else has it, and it is dropped
    // here or by the abort of the transaction.
    unsafe {
        let portal = pg_sys::CreatePortal(c"".as_ptr(), true, true);
        (*portal).visible = false;
        let statements = pg_sys::lappend(std::ptr::null_mut(), planned.cast());
        let tag = pg_sys::CreateCommandTag((*planned).utilityStmt);
        pg_sys::PortalDefineQuery(portal, std::ptr::null(), text, tag, statements, std::ptr::null_mut());
        pg_sys::PortalStart(portal, std::ptr::null_mut(), 0, std::ptr::null_mut());
        let nowhere = pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone);
        pg_sys::PortalRun(
            portal,
            std::ffi::c_long::MAX,
            true,
            #[cfg(not(feature = "pg18"))]
            true,
            nowhere,
            nowhere,
            std::ptr::null_mut(),
        );
        pg_sys::PortalDrop(portal, false);
    }
}
