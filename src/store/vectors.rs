//! The store: writing chunks and vectors, into a table of their own or a column of the source.

use std::collections::HashSet;

use pgrx::Uuid;
use pgrx::datum::DatumWithOid;

use super::catalog::{Pgvector, Vectorizer};
use super::completion::Chunks;
use super::ident::Ident;
use super::key::{Key, columns_of};
use super::{sql, vector_datum};
use crate::error::Result;

/// A chunk with its vector, ready to be written.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub seq: i32,
    pub text: String,
    pub hash: [u8; 32],
    pub vector: Vec<f32>,
}

/// What is to be written for one row.
pub struct RowWrite<'a> {
    pub key: &'a Key,
    pub chunks: &'a Chunks,
    /// Delete everything that the store holds for the key first.
    pub clear: bool,
}

/// Writes the rows with the rights of the store's owner.
pub fn write(v: &Vectorizer, pgvector: &Pgvector, rows: &[RowWrite<'_>]) -> Result<()> {
    match &v.column {
        Some(column) => write_column(v, pgvector, column, rows),
        None => {
            clear(v, rows.iter().filter(|row| row.clear).map(|row| row.key))?;
            delete(v, rows)?;
            renumber(v, rows)?;
            insert(v, pgvector, rows)
        }
    }
}

/// Deletes all chunks of `keys`; with `destination_column` sets the column to NULL.
pub fn clear<'a>(v: &Vectorizer, keys: impl Iterator<Item = &'a Key>) -> Result<()> {
    let columns = columns_of(v.key.width(), keys);
    if columns[0].is_empty() {
        return Ok(());
    }
    let unnest = v.key.unnest(1, &[]);
    let statement = match &v.column {
        None => format!(
            "DELETE FROM {} st USING {unnest} u WHERE {}",
            v.store.ident,
            v.key.stored_matches_unnested("st", "u")
        ),
        Some(column) => format!(
            "UPDATE {} s SET {column} = NULL FROM {unnest} u WHERE {} AND s.{column} IS NOT NULL",
            v.source.scan(),
            v.key.source_matches_unnested("s", "u"),
            column = Ident::new(column),
        ),
    };
    sql::execute(&statement, &columns.into_iter().map(Into::into).collect::<Vec<_>>())?;
    Ok(())
}

fn delete(v: &Vectorizer, rows: &[RowWrite<'_>]) -> Result<()> {
    let gone: Vec<(&Key, i32)> = rows
        .iter()
        .filter(|row| !row.clear)
        .flat_map(|row| row.chunks.deletes.iter().map(|seq| (row.key, *seq)))
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    let statement = format!(
        "DELETE FROM {} st USING {} u WHERE {} AND st.chunk_seq = u.seq",
        v.store.ident,
        v.key.unnest(1, &[("seq", "int4")]),
        v.key.stored_matches_unnested("st", "u"),
    );
    let mut args = key_args(v, gone.iter().map(|(key, _)| *key));
    args.push(gone.iter().map(|(_, seq)| *seq).collect::<Vec<_>>().into());
    sql::execute(&statement, &args)?;
    Ok(())
}

/// Gives kept chunks their new numbers, by way of negative ones: (key, chunk_seq) is unique.
fn renumber(v: &Vectorizer, rows: &[RowWrite<'_>]) -> Result<()> {
    let moved: Vec<(&Key, i32, i32)> = rows
        .iter()
        .filter(|row| !row.clear)
        .flat_map(|row| row.chunks.moves.iter().map(|(old, new)| (row.key, *old, *new)))
        .collect();
    if moved.is_empty() {
        return Ok(());
    }
    let unnest = v.key.unnest(1, &[("old", "int4"), ("new", "int4")]);
    let matches = v.key.stored_matches_unnested("st", "u");
    let store = &v.store.ident;
    for statement in [
        format!(
            "UPDATE {store} st SET chunk_seq = -1 - u.new FROM {unnest} u WHERE {matches} AND st.chunk_seq = u.old"
        ),
        format!(
            "UPDATE {store} st SET chunk_seq = u.new FROM {unnest} u WHERE {matches} AND st.chunk_seq = -1 - u.new"
        ),
    ] {
        let mut args = key_args(v, moved.iter().map(|(key, _, _)| *key));
        args.push(moved.iter().map(|(_, old, _)| *old).collect::<Vec<_>>().into());
        args.push(moved.iter().map(|(_, _, new)| *new).collect::<Vec<_>>().into());
        sql::execute(&statement, &args)?;
    }
    Ok(())
}

fn insert(v: &Vectorizer, pgvector: &Pgvector, rows: &[RowWrite<'_>]) -> Result<()> {
    let chunks: Vec<(&Key, &Chunk)> =
        rows.iter().flat_map(|row| row.chunks.inserts.iter().map(|chunk| (row.key, chunk))).collect();
    if chunks.is_empty() {
        return Ok(());
    }
    let statement = format!(
        "INSERT INTO {} (embedding_uuid, {}, chunk_seq, chunk, embedding, content_hash)
         SELECT u.uuid, {}, u.seq, u.chunk, u.embedding, u.hash FROM {} u",
        v.store.ident,
        v.key.stored_names(),
        v.key.unnested_list("u"),
        v.key.unnest(
            1,
            &[
                ("uuid", "uuid"),
                ("seq", "int4"),
                ("chunk", "text"),
                ("hash", "bytea"),
                ("embedding", &format!("{}.vector", pgvector.schema)),
            ],
        ),
    );
    let mut args = key_args(v, chunks.iter().map(|(key, _)| *key));
    // Time-ordered identifiers go to the right end of their index; random ones, the default of
    // the column, would dirty a page each.
    args.push(
        chunks.iter().map(|_| Uuid::from_bytes(*uuid::Uuid::now_v7().as_bytes())).collect::<Vec<_>>().into(),
    );
    args.push(chunks.iter().map(|(_, chunk)| chunk.seq).collect::<Vec<_>>().into());
    args.push(chunks.iter().map(|(_, chunk)| chunk.text.as_str()).collect::<Vec<_>>().into());
    args.push(chunks.iter().map(|(_, chunk)| chunk.hash.as_slice()).collect::<Vec<_>>().into());
    args.push(vector_array(pgvector, chunks.iter().map(|(_, chunk)| chunk.vector.as_slice())));
    sql::execute(&statement, &args)?;
    Ok(())
}

/// Keys whose source row somebody else is changing right now. The other rows stay locked until
/// the end of the transaction, so that `write` finds them as they are.
pub fn lock_rows<'a>(v: &Vectorizer, keys: impl Iterator<Item = &'a Key> + Clone) -> Result<HashSet<Key>> {
    let width = v.key.width();
    let read = |statement: &str| {
        sql::query(statement, &key_args(v, keys.clone()), |row| {
            (1..=width).map(|i| row.value::<String>(i)).collect::<Result<Key>>()
        })
    };
    let rows = format!(
        "SELECT {} FROM {} u JOIN {} s ON {}",
        v.key.source_texts("s"),
        v.key.unnest(1, &[]),
        v.source.scan(),
        v.key.source_matches_unnested("s", "u"),
    );
    let locked: HashSet<Key> =
        read(&format!("{rows} FOR NO KEY UPDATE OF s SKIP LOCKED"))?.into_iter().collect();
    Ok(read(&rows)?.into_iter().filter(|key| !locked.contains(key)).collect())
}

fn write_column(v: &Vectorizer, pgvector: &Pgvector, column: &str, rows: &[RowWrite<'_>]) -> Result<()> {
    let filled: Vec<(&Key, &Chunk)> =
        rows.iter().filter_map(|row| Some((row.key, row.chunks.inserts.first()?))).collect();
    clear(v, rows.iter().filter(|row| row.chunks.inserts.is_empty()).map(|row| row.key))?;
    if filled.is_empty() {
        return Ok(());
    }
    let statement = format!(
        "UPDATE {} s SET {} = u.embedding FROM {} u WHERE {}",
        v.source.scan(),
        Ident::new(column),
        v.key.unnest(1, &[("embedding", &format!("{}.vector", pgvector.schema))]),
        v.key.source_matches_unnested("s", "u"),
    );
    let mut args = key_args(v, filled.iter().map(|(key, _)| *key));
    args.push(vector_array(pgvector, filled.iter().map(|(_, chunk)| chunk.vector.as_slice())));
    sql::execute(&statement, &args)?;
    Ok(())
}

fn key_args<'a>(v: &Vectorizer, keys: impl Iterator<Item = &'a Key>) -> Vec<DatumWithOid<'static>> {
    columns_of(v.key.width(), keys).into_iter().map(Into::into).collect()
}

fn vector_array<'a>(pgvector: &Pgvector, vectors: impl Iterator<Item = &'a [f32]>) -> DatumWithOid<'static> {
    // SAFETY: the datum is an array of `vector`, and the oid is that array type's.
    unsafe { DatumWithOid::new(vector_datum::array(pgvector.vector, vectors), pgvector.vector_array) }
}
