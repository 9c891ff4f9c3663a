//! The global invariants: what is true of every vectorizer once it is quiet, whatever
//! happened before. Reads tables and the provider's log; changes nothing.

use std::collections::{HashMap, HashSet};

use postgres::Client;
use serde_json::Value;

use crate::{
    cluster::Cluster,
    provider::{Provider, expected_vector},
    scene::SECRET,
    sql::Sql,
    wait::wait_until,
};

type Chunker = Box<dyn Fn(&Value) -> Vec<String>>;

/// What to hold one vectorizer against.
pub struct Check {
    vectorizer: String,
    chunker: Option<Chunker>,
    scripted: bool,
}

impl Check {
    /// Checks the vectorizer of this name. Unless told otherwise, the chunks of a row are
    /// known if its text is neither split nor formatted.
    pub fn new(vectorizer: &str) -> Check {
        Check { vectorizer: vectorizer.to_owned(), chunker: None, scripted: true }
    }

    /// Says which chunks a source row, given as JSON object, must have.
    pub fn chunks(mut self, chunker: impl Fn(&Value) -> Vec<String> + 'static) -> Check {
        self.chunker = Some(Box::new(chunker));
        self
    }

    /// The vectors come from elsewhere than the scripted provider: their values are not
    /// compared, only that they are there, finite, and of the right dimension.
    pub fn unscripted(mut self) -> Check {
        self.scripted = false;
        self
    }

    /// Asserts every invariant that can be seen from SQL.
    pub fn run(self, db: &mut Client) {
        let place = Place::look_up(db, &self.vectorizer);
        let rows = source_rows(db, &place);
        let chunks = store_rows(db, &place);
        let chunker = self.chunker.or_else(|| place.plain_chunker());

        let mut wrong = Vec::new();
        let by_key = group_by_key(&chunks, &mut wrong);
        for (key, stored) in &by_key {
            if !rows.contains_key(key) {
                wrong.push(format!("row {key} is gone from the source, but has {} vector(s)", stored.len()));
            }
        }
        for chunk in &chunks {
            if chunk.vector.len() != place.dimensions || chunk.vector.iter().any(|x| !x.is_finite()) {
                wrong.push(format!("row {}: not {} finite numbers", chunk.key, place.dimensions));
            } else if self.scripted && chunk.vector != expected_vector(&chunk.text, place.dimensions) {
                wrong.push(format!(
                    "row {}: the vector belongs to another text than {:?}",
                    chunk.key, chunk.text
                ));
            }
        }
        for (key, row) in &rows {
            if row.failed && row.reason.as_deref().unwrap_or_default().is_empty() {
                wrong.push(format!("row {key} failed without a reason"));
            }
            let (Some(chunker), false) = (&chunker, row.pending || row.failed) else { continue };
            let stored: Vec<&str> = by_key
                .get(key)
                .map(|chunks| chunks.iter().map(|c| c.text.as_str()).collect())
                .unwrap_or_default();
            let wanted = chunker(&row.content);
            if stored != wanted {
                wrong.push(format!("row {key} should have the chunks {wanted:?}, has {stored:?}"));
            }
        }
        wrong.sort();
        assert!(
            wrong.is_empty(),
            "vectorizer {}: {} fault(s) in {} rows, {} chunks:\n{}",
            self.vectorizer,
            wrong.len(),
            rows.len(),
            chunks.len(),
            wrong[..wrong.len().min(20)].join("\n")
        );
        check_status(db, &place, &rows);
        wait_until("no lease is left", std::time::Duration::from_secs(10), || {
            db.one::<i64>("select count(*) from ai._lease", &[]) == 0
        });
    }
}

/// Every invariant for one quiet vectorizer that uses `provider`: see [`Check`], and no
/// secret stands in the server log or in what sessions show.
pub fn check_all(cluster: &Cluster, db: &mut Client, vectorizer: &str, provider: &Provider) {
    Check::new(vectorizer).run(db);
    assert_eq!(provider.in_flight(), 0, "a request of a quiet vectorizer is still in flight");
    check_secret(cluster, db);
}

/// The API key of the scripted provider is nowhere to be seen.
pub fn check_secret(cluster: &Cluster, db: &mut Client) {
    let log = cluster.log();
    if let Some(line) = log.lines().find(|line| line.contains(SECRET)) {
        panic!("the server log shows the secret: {line}");
    }
    let shown: i64 = db.one(
        "select count(*) from (select query || application_name as text from pg_stat_activity
            where pid <> pg_backend_pid()
            union all select setting from pg_settings
            union all select v::text from ai.vectorizer v
            union all select s::text from ai.vectorizer_status s
            union all select e::text from ai.vectorizer_errors e) shown where text like '%' || $1 || '%'",
        &[&SECRET],
    );
    assert_eq!(shown, 0, "a view shows the secret");
}

/// The tables of a vectorizer, as quoted names.
struct Place {
    name: String,
    source: String,
    store: String,
    queue: String,
    failed: String,
    key: Vec<String>,
    column: String,
    dimensions: usize,
    plain: bool,
}

impl Place {
    fn look_up(db: &mut Client, vectorizer: &str) -> Place {
        let row = db
            .query_one(
                "select v.id, s.source_table, s.target_table, v.config from ai.vectorizer v
                 join ai.vectorizer_status s using (id) where v.name = $1",
                &[&vectorizer],
            )
            .unwrap_or_else(|error| panic!("vectorizer {vectorizer}: {}", crate::sql::describe(&error)));
        let (id, config): (i32, Value) = (row.get(0), row.get(3));
        let source: String = row.get(1);
        let key = db.all(
            "select quote_ident(a.attname) from pg_index i
             cross join lateral unnest(i.indkey) with ordinality k(attnum, n)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
             where i.indrelid = $1::text::regclass and i.indisprimary order by k.n",
            &[&source],
        );
        assert!(!key.is_empty(), "{source} has no primary key");
        let text = |path: &str| config.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Place {
            name: vectorizer.to_owned(),
            store: row.get(2),
            queue: format!("ai._vectorizer_q_{id}"),
            failed: format!("ai._vectorizer_q_failed_{id}"),
            key,
            column: text("/loading/column_name").expect("config names the loading column"),
            dimensions: config
                .pointer("/embedding/dimensions")
                .and_then(Value::as_u64)
                .unwrap_or_else(|| panic!("no dimensions in {config}")) as usize,
            plain: text("/chunking/implementation").as_deref() == Some("none")
                && text("/formatting/template").as_deref() == Some("$chunk"),
            source,
        }
    }

    /// One chunk, the text itself, unless there is no text.
    fn plain_chunker(&self) -> Option<Chunker> {
        let column = self.column.clone();
        self.plain.then(|| {
            Box::new(move |row: &Value| match row[&column].as_str() {
                None | Some("") => Vec::new(),
                Some(text) => vec![text.to_owned()],
            }) as Chunker
        })
    }

    /// The key of table `alias` as JSON text.
    fn key_of(&self, alias: &str) -> String {
        let columns: Vec<String> = self.key.iter().map(|column| format!("{alias}.{column}")).collect();
        format!("jsonb_build_array({})::text", columns.join(", "))
    }

    fn same_key(&self, a: &str, b: &str) -> String {
        let pairs: Vec<String> =
            self.key.iter().map(|column| format!("{a}.{column} = {b}.{column}")).collect();
        pairs.join(" and ")
    }
}

struct SourceRow {
    content: Value,
    pending: bool,
    failed: bool,
    reason: Option<String>,
}

struct StoredChunk {
    key: String,
    sequence: i32,
    text: String,
    vector: Vec<f32>,
}

fn source_rows(db: &mut Client, place: &Place) -> HashMap<String, SourceRow> {
    let sql = format!(
        "select {key}, to_jsonb(s), exists (select from {queue} q where {queued}),
                exists (select from {failed} f where {failed_key}),
                (select max(f.error::text) from {failed} f where {failed_key})
         from {source} s",
        key = place.key_of("s"),
        queue = place.queue,
        queued = place.same_key("q", "s"),
        failed = place.failed,
        failed_key = place.same_key("f", "s"),
        source = place.source,
    );
    let rows = db.query(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", crate::sql::describe(&error)));
    rows.iter()
        .map(|row| {
            let source_row = SourceRow {
                content: row.get(1),
                pending: row.get(2),
                failed: row.get(3),
                reason: row.get(4),
            };
            (row.get(0), source_row)
        })
        .collect()
}

fn store_rows(db: &mut Client, place: &Place) -> Vec<StoredChunk> {
    let sql = format!(
        "select {key}, t.chunk_seq, t.chunk, t.embedding::real[] from {store} t order by 1, 2",
        key = place.key_of("t"),
        store = place.store,
    );
    let rows = db.query(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", crate::sql::describe(&error)));
    rows.iter()
        .map(|row| StoredChunk {
            key: row.get(0),
            sequence: row.get(1),
            text: row.get(2),
            vector: row.get(3),
        })
        .collect()
}

/// Chunks by key, in order; notes numbers that are twice or missing.
fn group_by_key<'a>(
    chunks: &'a [StoredChunk],
    wrong: &mut Vec<String>,
) -> HashMap<String, Vec<&'a StoredChunk>> {
    let mut by_key: HashMap<String, Vec<&StoredChunk>> = HashMap::new();
    for chunk in chunks {
        by_key.entry(chunk.key.clone()).or_default().push(chunk);
    }
    for (key, chunks) in &by_key {
        let numbers: Vec<i32> = chunks.iter().map(|chunk| chunk.sequence).collect();
        let distinct: HashSet<i32> = numbers.iter().copied().collect();
        if distinct.len() < numbers.len() {
            wrong.push(format!("row {key} has a chunk twice: {numbers:?}"));
        } else if numbers.iter().enumerate().any(|(place, number)| place as i32 != *number) {
            wrong.push(format!("row {key} has a gap in its chunks: {numbers:?}"));
        }
    }
    by_key
}

/// The counts of `ai.vectorizer_status` are exact.
fn check_status(db: &mut Client, place: &Place, rows: &HashMap<String, SourceRow>) {
    let row = db
        .query_one(
            "select rows_total, rows_pending, rows_failed from ai.vectorizer_status where name = $1",
            &[&place.name],
        )
        .unwrap_or_else(|error| panic!("ai.vectorizer_status: {}", crate::sql::describe(&error)));
    let shown: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let count = |test: fn(&SourceRow) -> bool| rows.values().filter(|row| test(row)).count() as i64;
    let counted = (rows.len() as i64, count(|row| row.pending), count(|row| row.failed && !row.pending));
    assert_eq!(shown, counted, "ai.vectorizer_status of {}: rows total, pending, failed", place.name);
}
