//! Short forms for SQL in tests: every failure panics with the statement and PostgreSQL's
//! whole error, so that a test reads as a list of statements.

use std::time::{Duration, Instant};

use postgres::{
    Client,
    error::DbError,
    types::{FromSqlOwned, ToSql},
};

/// Parameters of a statement.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Statements that must succeed, on a [`postgres::Client`].
pub trait Sql {
    /// The first column of the only row.
    fn one<T: FromSqlOwned>(&mut self, sql: &str, params: Params) -> T;

    /// The first column of every row.
    fn all<T: FromSqlOwned>(&mut self, sql: &str, params: Params) -> Vec<T>;

    /// Runs one statement; returns the number of rows it touched.
    fn exec(&mut self, sql: &str, params: Params) -> u64;

    /// Runs several statements without parameters.
    fn batch(&mut self, sql: &str);

    /// Runs statements that must fail; returns PostgreSQL's error.
    fn error_of(&mut self, sql: &str) -> DbError;

    /// Runs one statement and says how long it took. Fails after `limit` by
    /// `statement_timeout`, so that a statement that waits for ever is an error, not a hang.
    fn timed(&mut self, limit: Duration, sql: &str) -> Duration;
}

impl Sql for Client {
    #[track_caller]
    fn one<T: FromSqlOwned>(&mut self, sql: &str, params: Params) -> T {
        let row = self.query_one(sql, params).unwrap_or_else(|error| fail(sql, &error));
        row.try_get(0).unwrap_or_else(|error| fail(sql, &error))
    }

    #[track_caller]
    fn all<T: FromSqlOwned>(&mut self, sql: &str, params: Params) -> Vec<T> {
        let rows = self.query(sql, params).unwrap_or_else(|error| fail(sql, &error));
        rows.iter().map(|row| row.try_get(0).unwrap_or_else(|error| fail(sql, &error))).collect()
    }

    #[track_caller]
    fn exec(&mut self, sql: &str, params: Params) -> u64 {
        self.execute(sql, params).unwrap_or_else(|error| fail(sql, &error))
    }

    #[track_caller]
    fn batch(&mut self, sql: &str) {
        self.batch_execute(sql).unwrap_or_else(|error| fail(sql, &error));
    }

    #[track_caller]
    fn error_of(&mut self, sql: &str) -> DbError {
        match self.batch_execute(sql) {
            Ok(()) => panic!("succeeded, but should have failed: {sql}"),
            Err(error) => error.as_db_error().cloned().unwrap_or_else(|| fail(sql, &error)),
        }
    }

    #[track_caller]
    fn timed(&mut self, limit: Duration, sql: &str) -> Duration {
        self.batch(&format!("set statement_timeout = {}", limit.as_millis()));
        let started = Instant::now();
        self.batch(sql);
        let took = started.elapsed();
        self.batch("reset statement_timeout");
        took
    }
}

/// One line that holds everything PostgreSQL said.
pub fn describe(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!(
            "{} {}: {} DETAIL: {} HINT: {} CONTEXT: {}",
            db.severity(),
            db.code().code(),
            db.message(),
            db.detail().unwrap_or("-"),
            db.hint().unwrap_or("-"),
            db.where_().unwrap_or("-"),
        ),
        None => format!("{error} ({error:?})"),
    }
}

#[track_caller]
fn fail(sql: &str, error: &postgres::Error) -> ! {
    panic!("{}\nSTATEMENT: {sql}", describe(error))
}
