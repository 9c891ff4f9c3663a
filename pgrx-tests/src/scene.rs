//! The usual stage of a test: a cluster with the extension, a scripted provider, a
//! connection; and vectorizers in one line.

use std::time::Duration;

use postgres::Client;

use crate::{
    check::{Check, check_secret},
    cluster::{Cluster, Settings},
    process,
    provider::Provider,
    sql::Sql,
    wait::wait_until,
};

/// The provider's API key; must never be seen outside the server's environment and HTTP.
pub const SECRET: &str = "sk-scripted-7f3a9c51e2";

/// How long a test waits for work that takes milliseconds when all is well.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(60);

/// Cluster, provider and a superuser's connection to database `postgres`.
pub struct Scene {
    // Dropped in this order: the server must be gone before its provider is.
    pub db: Client,
    pub cluster: Cluster,
    pub provider: Provider,
}

impl Scene {
    /// A stage with default settings.
    #[expect(clippy::new_without_default, reason = "starting a server is no default value")]
    pub fn new() -> Scene {
        Scene::with(Settings::default())
    }

    /// A stage with settings of its own.
    pub fn with(settings: Settings) -> Scene {
        Scene::without_key(settings.env("OPENAI_API_KEY", SECRET))
    }

    /// A stage whose server knows no API key but those that `settings` bring along.
    pub fn without_key(settings: Settings) -> Scene {
        let cluster = settings.start();
        let mut db = cluster.connect("postgres");
        db.batch("set client_min_messages = warning; create extension autovector cascade");
        Scene { db, cluster, provider: Provider::start() }
    }

    /// Creates a table `name (id bigint primary key, body text, note text)` with `rows` rows
    /// whose text is `<name> text <id>`.
    pub fn table(&mut self, name: &str, rows: i64) {
        self.db.batch(&format!(
            "create table {name} (id bigint primary key, body text, note text);
             insert into {name} select i, '{name} text ' || i from generate_series(1, {rows}) i"
        ));
    }

    /// Creates the vectorizer; returns its id.
    pub fn vectorize(&mut self, spec: &Spec) -> i32 {
        let sql = spec.sql(&self.provider);
        self.db.one(&sql, &[])
    }

    /// Waits until the vectorizer has nothing left to do.
    pub fn settle(&mut self, vectorizer: &str) {
        settle(&mut self.db, vectorizer);
    }

    /// Connects again, after a crash or a stop that ends every session. Waits for that end: for a
    /// moment after a process was killed, the server still takes sessions that it is to end.
    pub fn reconnect(&mut self) {
        wait_until("the old session has ended", SETTLES_WITHIN, || self.db.simple_query("").is_err());
        self.cluster.wait_until_ready();
        self.db = self.cluster.connect("postgres");
    }

    /// One column of `ai.vectorizer_status` as text.
    pub fn status(&mut self, vectorizer: &str, column: &str) -> Option<String> {
        self.db.one(
            &format!("select ({column})::text from ai.vectorizer_status where name = $1"),
            &[&vectorizer],
        )
    }

    /// Waits until the status column has satisfied `predicate`.
    pub fn wait_for_status(&mut self, vectorizer: &str, column: &str, predicate: impl Fn(&str) -> bool) {
        let mut last = None;
        wait_until(&format!("{column} of {vectorizer} is as expected"), SETTLES_WITHIN, || {
            let now = self.status(vectorizer, column);
            if now != last {
                eprintln!("{column} of {vectorizer}: {now:?}");
                last.clone_from(&now);
            }
            now.as_deref().is_some_and(&predicate)
        });
    }

    /// A single number from SQL without parameters.
    pub fn count(&mut self, sql: &str) -> i64 {
        self.db.one(sql, &[])
    }

    /// Process ids of the workers, as the server sees them.
    pub fn workers(&mut self) -> Vec<i32> {
        self.db.all(
            "select pid from pg_stat_activity where backend_type = 'autovector worker' order by pid",
            &[],
        )
    }

    /// Stops (SIGSTOP) the only worker while it waits for its provider, and returns its process id.
    /// Not in the middle of a transaction: nobody could go on beside the locks that it holds.
    pub fn stop_worker(&mut self) -> i32 {
        let workers = self.workers();
        assert_eq!(workers.len(), 1, "one worker: {workers:?}");
        let pid = workers[0];
        wait_until("the worker is stopped at rest", SETTLES_WITHIN, || {
            process::signal(pid, libc::SIGSTOP);
            wait_until("the worker is stopped", SETTLES_WITHIN, || process::is_stopped(pid));
            let rests =
                "select xact_start is null and backend_xid is null from pg_stat_activity where pid = $1";
            let at_rest: bool = self.db.one(rests, &[&pid]);
            if !at_rest {
                process::signal(pid, libc::SIGCONT);
            }
            at_rest
        });
        pid
    }

    /// The end of every test: all vectorizers of this database satisfy the invariants, the
    /// server is healthy, the secret has not leaked.
    pub fn finish(mut self) {
        for name in self.db.all::<String>("select name::text from ai.vectorizer", &[]) {
            Check::new(&name).run(&mut self.db);
        }
        check_secret(&self.cluster, &mut self.db);
        self.cluster.assert_healthy();
    }
}

/// Waits until the vectorizer has nothing left to do; shows its state when it takes too long.
/// Nobody else changes rows meanwhile, so nothing may be pending when the wait is over.
pub fn settle(db: &mut Client, vectorizer: &str) {
    let timeout = format!("{} s", SETTLES_WITHIN.as_secs());
    let done: bool =
        db.one("select ai.wait_for_vectorizer($1::text, $2::text::interval)", &[&vectorizer, &timeout]);
    let pending: Option<i64> =
        db.one("select rows_pending from ai.vectorizer_status where name = $1", &[&vectorizer]);
    if !done || pending != Some(0) {
        let status: Vec<String> = db.all("select to_jsonb(s)::text from ai.vectorizer_status s", &[]);
        let errors: Vec<String> =
            db.all("select to_jsonb(e)::text from ai.vectorizer_errors e limit 20", &[]);
        panic!(
            "{vectorizer}: ai.wait_for_vectorizer said {done} and left {pending:?} rows:\n{}\n{}",
            status.join("\n"),
            errors.join("\n")
        );
    }
}

/// The call of `ai.create_vectorizer`, with the harness's defaults: one chunk a row, eight
/// dimensions, the scripted provider in OpenAI's format, no index.
#[derive(Clone)]
pub struct Spec {
    source: String,
    name: String,
    column: String,
    embedding: Option<String>,
    chunking: String,
    dimensions: usize,
    batch_size: u32,
    concurrency: u32,
    more: Vec<(String, String)>,
}

impl Spec {
    /// A vectorizer of table `source` (as one writes it in SQL), of the same name.
    pub fn on(source: &str) -> Spec {
        Spec {
            source: source.to_owned(),
            name: source.to_owned(),
            column: "body".to_owned(),
            embedding: None,
            chunking: "ai.chunking_none()".to_owned(),
            dimensions: crate::provider::DEFAULT_DIMENSIONS,
            batch_size: 100,
            concurrency: 4,
            more: Vec::new(),
        }
    }

    pub fn name(mut self, name: &str) -> Spec {
        self.name = name.to_owned();
        self
    }

    /// The column with the text.
    pub fn column(mut self, column: &str) -> Spec {
        self.column = column.to_owned();
        self
    }

    /// SQL of another embedding configuration.
    pub fn embedding(mut self, sql: &str) -> Spec {
        self.embedding = Some(sql.to_owned());
        self
    }

    /// SQL of another chunking configuration.
    pub fn chunking(mut self, sql: &str) -> Spec {
        self.chunking = sql.to_owned();
        self
    }

    pub fn dimensions(mut self, dimensions: usize) -> Spec {
        self.dimensions = dimensions;
        self
    }

    /// Rows per batch and requests at once.
    pub fn processing(mut self, batch_size: u32, concurrency: u32) -> Spec {
        (self.batch_size, self.concurrency) = (batch_size, concurrency);
        self
    }

    /// One more argument: its name and SQL.
    pub fn with(mut self, argument: &str, sql: &str) -> Spec {
        self.more.push((argument.to_owned(), sql.to_owned()));
        self
    }

    /// The statement.
    pub fn sql(&self, provider: &Provider) -> String {
        let embedding = self.embedding.clone().unwrap_or_else(|| {
            format!(
                "ai.embedding_openai('test-model', {}, base_url => {})",
                self.dimensions,
                literal(&provider.openai_url())
            )
        });
        let more: String = self.more.iter().map(|(name, sql)| format!(", {name} => {sql}")).collect();
        format!(
            "select ai.create_vectorizer({source}::regclass, name => {name}, loading => ai.loading_column({column}),
                embedding => {embedding}, chunking => {chunking},
                processing => ai.processing_default(batch_size => {batch}, concurrency => {concurrency}),
                indexing => ai.indexing_none(){more})",
            source = literal(&self.source),
            name = literal(&self.name),
            column = literal(&self.column),
            chunking = self.chunking,
            batch = self.batch_size,
            concurrency = self.concurrency,
        )
    }
}

/// `text` as SQL literal.
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}
