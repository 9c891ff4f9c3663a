//! Another server's vector tables: looked at, locked, streamed by COPY, emptied, all in one
//! transaction of one connection. Memory does not depend on their size. What the connection
//! string says is never shown: it may hold a password.

mod connection;
mod conninfo;
mod tls;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use autovector_backup::count::Counter;
use autovector_backup::ends::Output;
use autovector_backup::manifest::{Column, Server};
use autovector_backup::names::{Compression, Format};
use autovector_backup::stream::{self, Written};
use postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

pub use connection::{Connection, Error, Result};

/// How the session writes values, whatever its role or database says.
const SETTINGS: &str = "SET row_security = off; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
    SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET lc_monetary = 'C';
    SET xmloption = 'content'; SET client_encoding = 'UTF8'; SET statement_timeout = 0;
    SET idle_in_transaction_session_timeout = 0";

/// A table as the other server describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// Schema and name, quoted by the server itself.
    pub ident: String,
    pub partitioned: bool,
    pub columns: Vec<Column>,
    quoted_columns: String,
    pub has_vectors: bool,
    pub vectorizer: Option<String>,
}

impl Table {
    fn scan(&self) -> String {
        if self.partitioned { self.ident.clone() } else { format!("ONLY {}", self.ident) }
    }
}

pub struct Remote {
    client: Client,
    tls: MakeRustlsConnect,
}

impl Remote {
    pub fn connect(connection: &Connection) -> Result<Remote> {
        let (client, tls) = connection.open()?;
        Ok(Remote { client, tls })
    }

    /// Ends what the other server is doing for us; may be called on any thread, once.
    pub fn canceller(&self) -> impl FnOnce() + Send + use<> {
        let (token, tls) = (self.client.cancel_token(), self.tls.clone());
        // A server that is gone has nothing to cancel.
        move || drop(token.cancel_query(tls))
    }

    /// The tables to back up: those that are named, or LangChain's and the stores of vectorizers;
    /// with those that inherit from them. Names mean what they mean in the other server's session.
    pub fn tables(&mut self, names: Option<&[String]>) -> Result<Vec<Table>> {
        let mut oids: Vec<u32> = Vec::new();
        match names {
            Some(names) => {
                for name in names {
                    let row = self.client.query_one("SELECT pg_catalog.to_regclass($1)::oid", &[name])?;
                    let oid =
                        row.get::<_, Option<u32>>(0).ok_or_else(|| Error::MissingTable(name.clone()))?;
                    oids.push(oid);
                }
            }
            None => {
                let rows = self.client.query(
                    "SELECT c.oid FROM unnest(ARRAY['langchain_pg_collection', 'langchain_pg_embedding'])
                            WITH ORDINALITY AS n(name, place)
                       JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n.name) ORDER BY n.place",
                    &[],
                )?;
                oids.extend(rows.iter().map(|row| row.get::<_, u32>(0)));
                if self.has_vectorizers()? {
                    let query = "SELECT c.oid FROM ai.vectorizer v JOIN pg_catalog.pg_class c ON c.oid = v.store::oid ORDER BY 1";
                    oids.extend(self.client.query(query, &[])?.iter().map(|row| row.get::<_, u32>(0)));
                }
            }
        }
        // Names have been looked up as the session has them; from here on nobody's operators count.
        self.client.batch_execute("SET search_path = pg_catalog, pg_temp")?;
        let mut tables: Vec<Table> = Vec::new();
        for oid in oids {
            for oid in self.with_children(oid)? {
                if !tables.iter().any(|table| table.oid == oid) {
                    tables.push(self.describe(oid)?);
                }
            }
        }
        self.in_load_order(tables)
    }

    fn has_vectorizers(&mut self) -> Result<bool> {
        let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute
                       WHERE attrelid = pg_catalog.to_regclass('ai.vectorizer') AND attname = 'store')";
        Ok(self.client.query_one(query, &[])?.get(0))
    }

    fn with_children(&mut self, oid: u32) -> Result<Vec<u32>> {
        let rows = self.client.query(
            "WITH RECURSIVE family AS (
               SELECT $1::oid AS oid
                UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN family f ON i.inhparent = f.oid)
             SELECT c.oid FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid
              WHERE c.oid = $1 OR NOT c.relispartition ORDER BY c.oid <> $1, c.oid",
            &[&oid],
        )?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn describe(&mut self, oid: u32) -> Result<Table> {
        let row = self.client.query_opt(
            "SELECT n.nspname::text, c.relname::text, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind::text,
                    EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) t
                              JOIN pg_catalog.pg_class f ON f.oid = t.relid WHERE f.relkind = 'f')
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
            &[&oid],
        )?;
        let row = row.ok_or_else(|| Error::Changed("a table".to_owned()))?;
        let (ident, kind): (String, String) = (row.get(2), row.get(3));
        if !matches!(kind.as_str(), "r" | "p") || row.get(4) {
            return Err(Error::NotATable(ident));
        }
        let columns = self.client.query(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.quote_ident(a.attname),
                    EXISTS (SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_extension e ON e.extnamespace = t.typnamespace
                             WHERE t.oid = a.atttypid AND e.extname = 'vector' AND t.typname IN ('vector', 'halfvec', 'sparsevec'))
               FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum",
            &[&oid],
        )?;
        if columns.is_empty() {
            return Err(Error::NotATable(ident));
        }
        let vectorizer = if self.has_vectorizers()? {
            let found = self
                .client
                .query_opt("SELECT name::text FROM ai.vectorizer WHERE store::oid = $1", &[&oid])?;
            found.map(|row| row.get(0))
        } else {
            None
        };
        Ok(Table {
            oid,
            schema: row.get(0),
            name: row.get(1),
            ident,
            partitioned: kind == "p",
            quoted_columns: columns.iter().map(|c| c.get::<_, String>(2)).collect::<Vec<_>>().join(", "),
            has_vectors: columns.iter().any(|c| c.get(3)),
            columns: columns.iter().map(|c| Column { name: c.get(0), r#type: c.get(1) }).collect(),
            vectorizer,
        })
    }

    fn in_load_order(&mut self, tables: Vec<Table>) -> Result<Vec<Table>> {
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let rows = self.client.query(
            "SELECT DISTINCT conrelid, confrelid FROM pg_catalog.pg_constraint
              WHERE contype = 'f' AND conrelid = ANY ($1) AND confrelid = ANY ($1) AND conrelid <> confrelid",
            &[&oids],
        )?;
        let references: Vec<(u32, u32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut waiting = tables;
        let mut ordered: Vec<Table> = Vec::new();
        while !waiting.is_empty() {
            let ready = |table: &Table| {
                let mut needed = references.iter().filter(|(from, _)| *from == table.oid).map(|(_, to)| to);
                needed.all(|to| ordered.iter().any(|done| done.oid == *to))
            };
            let next = waiting.iter().position(ready).unwrap_or(0);
            ordered.push(waiting.remove(next));
        }
        Ok(ordered)
    }

    /// Opens the transaction, locks the tables, and only then takes its snapshot: LOCK needs none.
    /// Where tables are to be emptied, nobody writes to them from here on.
    pub fn begin(&mut self, tables: &[Table], truncate: bool) -> Result<()> {
        self.client.batch_execute(SETTINGS)?;
        self.client.batch_execute(if truncate {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE"
        } else {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        })?;
        let mode = if truncate { "SHARE ROW EXCLUSIVE" } else { "ACCESS SHARE" };
        let mut ordered: Vec<&Table> = tables.iter().collect();
        ordered.sort_by_key(|table| table.oid);
        for table in ordered {
            self.client.batch_execute(&format!("LOCK TABLE {} IN {mode} MODE", table.scan()))?;
        }
        for table in tables {
            if self.describe(table.oid)? != *table {
                return Err(Error::Changed(table.ident.clone()));
            }
        }
        Ok(())
    }

    /// The server, and what its transaction sees.
    pub fn identity(&mut self) -> Result<(Server, String)> {
        let row = self.client.query_one(
            "SELECT pg_catalog.current_setting('server_version'),
                    (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
                    pg_catalog.current_database()::text,
                    (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector'),
                    pg_catalog.pg_current_snapshot()::text",
            &[],
        )?;
        let server = Server {
            version: row.get(0),
            system_identifier: row.get(1),
            database: row.get(2),
            encoding: "UTF8".to_owned(),
            pgvector: row.get(3),
            remote: true,
        };
        Ok((server, row.get(4)))
    }

    /// Streams a table into `output`; returns what was written, and how many rows that were.
    pub fn copy(
        &mut self,
        table: &Table,
        format: Format,
        compression: Compression,
        output: Output,
        stop: &Arc<AtomicBool>,
    ) -> Result<(Written, u64)> {
        let what = if table.partitioned {
            format!("(SELECT {} FROM {})", table.quoted_columns, table.ident)
        } else {
            format!("{} ({})", table.ident, table.quoted_columns)
        };
        let options = match format {
            Format::Csv => "FORMAT csv, HEADER, NULL '\\N', FORCE_QUOTE *, ENCODING 'UTF8'",
            Format::Binary => "FORMAT binary",
        };
        let reader = self.client.copy_out(&format!("COPY {what} TO STDOUT ({options})"))?;
        let (mut counter, mut broken) = (Counter::new(format), None);
        let reader =
            Watched { reader, stop: stop.clone(), counter: &mut counter, broken: &mut broken, over: false };
        let written = stream::write(reader, output, compression, None);
        // What looks like a disk that fails may be a connection that did.
        let written = match broken {
            Some(error) => return Err(error),
            None => written?,
        };
        let rows = counter.rows().map_err(|what| Error::Lost(format!("the data {what}")))?;
        Ok((written, rows))
    }

    pub fn count(&mut self, table: &Table) -> Result<u64> {
        let row = self.client.query_one(&format!("SELECT pg_catalog.count(*) FROM {}", table.scan()), &[])?;
        Ok(row.get::<_, i64>(0).max(0) as u64)
    }

    /// Empties the tables.
    pub fn truncate(&mut self, tables: &[Table]) -> Result<()> {
        let list: Vec<String> = tables.iter().map(Table::scan).collect();
        Ok(self.client.batch_execute(&format!("TRUNCATE TABLE {}", list.join(", ")))?)
    }

    pub fn commit(&mut self) -> Result<()> {
        Ok(self.client.batch_execute("COMMIT")?)
    }
}

/// Counts the rows of a stream, and ends it when nobody waits for it any more.
struct Watched<'a, R> {
    reader: R,
    stop: Arc<AtomicBool>,
    counter: &'a mut Counter,
    /// Why reading ended early.
    broken: &'a mut Option<Error>,
    /// The end was read: what comes behind it is no row.
    over: bool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Acquire) {
            return Err(io::Error::other("stopped"));
        }
        if self.over {
            return Ok(0);
        }
        let count = self.reader.read(bytes).inspect_err(|error| {
            let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<postgres::Error>());
            *self.broken = Some(cause.map_or_else(|| Error::Lost(error.to_string()), Error::from));
        })?;
        self.over = count == 0 && !bytes.is_empty();
        self.counter.feed(&bytes[..count]);
        Ok(count)
    }
}
