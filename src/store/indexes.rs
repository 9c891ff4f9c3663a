//! Vector indexes: whether a store has one, and building it concurrently.

use std::ffi::CString;
use std::panic::AssertUnwindSafe;

use autovector_domain::config::Hnsw;
use pgrx::{PgTryBuilder, pg_sys};

use super::catalog::{Pgvector, Vectorizer};
use super::ident::Ident;
use super::sql;
use super::transaction::describe;
use crate::error::Result;

fn embedding_column(v: &Vectorizer) -> &str {
    v.column.as_deref().unwrap_or("embedding")
}

/// True when the store has a valid HNSW index on its vectors, whoever built it.
pub fn exists(v: &Vectorizer) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (
           SELECT FROM pg_catalog.pg_index i
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
             JOIN pg_catalog.pg_am m ON m.oid = c.relam
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
            WHERE i.indrelid = $1 AND m.amname = 'hnsw' AND a.attname = $2::name AND i.indisvalid)",
        &[v.store.oid.into(), embedding_column(v).into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}

/// True when nothing is dirty and the first pass is over.
pub fn is_quiet(v: &Vectorizer) -> Result<bool> {
    super::generations::is_done(v, i64::MAX)
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
pub fn has_failed_recently(v: &Vectorizer) -> Result<bool> {
    let found = sql::query_one(
        "SELECT EXISTS (SELECT FROM ai._vectorizer_errors
                         WHERE id = $1 AND message = 'index build failed' AND recorded > now() - interval '1 hour')",
        &[v.id.into()],
        |row| row.value(1),
    )?;
    Ok(found.unwrap_or(false))
}

/// The name of the index that we build.
fn index_name(v: &Vectorizer) -> String {
    format!("_vectorizer_hnsw_{}", v.id)
}

/// Statements that remove the invalid remains of an earlier build and build the index.
pub fn statements(v: &Vectorizer, pgvector: &Pgvector, hnsw: &Hnsw, schema: &str) -> [String; 2] {
    let mut options = Vec::new();
    options.extend(hnsw.m.map(|m| format!("m = {m}")));
    options.extend(hnsw.ef_construction.map(|ef| format!("ef_construction = {ef}")));
    let with = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
    let name = index_name(v);
    [
        format!("DROP INDEX IF EXISTS {}", Ident::qualified(schema, &name)),
        format!(
            "CREATE INDEX CONCURRENTLY {} ON {} USING hnsw ({} {}.{}){with}",
            Ident::new(&name),
            v.store.ident,
            Ident::new(embedding_column(v)),
            pgvector.schema,
            hnsw.opclass.as_str(),
        ),
    ]
}

/// Runs one utility statement at top level, outside SPI, so that it may commit in between as
/// CREATE INDEX CONCURRENTLY does. For background workers only.
pub fn run_top_level(statement: &str) -> Result<()> {
    let text = CString::new(statement).expect("statements have no NUL");
    // SAFETY: outside a transaction, on the worker's main thread. What is done is what
    // PostgreSQL does with a simple query of one utility statement: parse, then ProcessUtility
    // as top level within a transaction command. The parse tree is allocated in a context that
    // outlives the statement's own commits.
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
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        pg_sys::ProcessUtility(
            planned,
            text.as_ptr(),
            false,
            pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone),
            std::ptr::null_mut(),
        );
        if pg_sys::ActiveSnapshotSet() {
            pg_sys::PopActiveSnapshot();
        }
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
