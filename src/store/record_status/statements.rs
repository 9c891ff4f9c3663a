//! The SQL of a rule. Identifiers pass through `Ident`, values are quoted literals of their
//! column's type.
//!
//! The statements run with the rights of the records' owner in whatever session changes a
//! response, so nothing in them is looked for in that session's search_path: functions,
//! operators and types are qualified. IS DISTINCT FROM cannot be, `ai._unchanged` takes its place.
//! The path itself stays as it is, for the users' own triggers on the records.

use pgrx::pg_sys;
use pgrx::spi::quote_literal;

use super::super::ident::Ident;
use super::column::Column;
use super::rule::{Expression, KeyPair, Rule};

/// The names of the triggers' transition tables.
pub const NEW: &str = "autovector_new";
pub const OLD: &str = "autovector_old";

/// Which responses a statement changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    Insert,
    Update,
    Delete,
}

/// A value as a literal of the column's type.
pub fn constant(value: &str, column: &Column) -> String {
    format!("{}::{}", quote_literal(value), column.type_sql)
}

impl Rule {
    fn join(&self, separator: &str, each: impl Fn(usize, &KeyPair) -> String) -> String {
        self.key.iter().enumerate().map(|(i, pair)| each(i + 1, pair)).collect::<Vec<_>>().join(separator)
    }

    /// `t.k1, t.k2`
    fn numbered(&self, alias: &str) -> String {
        self.join(", ", |i, _| format!("{alias}.k{i}"))
    }

    /// `t.k1::text, t.k2::text`
    pub fn key_texts(&self, alias: &str) -> String {
        self.join(", ", |i, _| format!("{alias}.k{i}::pg_catalog.text"))
    }

    /// `r."id" = t.k1 AND …`
    fn record_matches(&self, record: &str, other: &str) -> String {
        self.join(" AND ", |i, pair| {
            format!("{record}.{} {} {other}.k{i}", Ident::new(&pair.record.name), pair.equals)
        })
    }

    /// `t.k1 = p."record_id" AND …`
    fn response_matches(&self, other: &str, response: &str) -> String {
        self.join(" AND ", |i, pair| {
            format!("{other}.k{i} {} {response}.{}", pair.equals, Ident::new(&pair.response.name))
        })
    }

    /// `n."record_id" AS k1, …`
    fn response_key(&self, alias: &str) -> String {
        self.join(", ", |i, pair| format!("{alias}.{} AS k{i}", Ident::new(&pair.response.name)))
    }

    fn counts(&self, alias: &str) -> String {
        match &self.submitted {
            Some(s) => format!("{alias}.{} {} {}", Ident::new(&s.column), s.equals, s.value),
            None => "true".to_owned(),
        }
    }

    /// The keys of the records whose status a statement may have changed, from its transition
    /// tables. Where responses are counted: those whose number of submitted ones changed.
    pub fn touched(&self, change: Change) -> String {
        let rows = |table: &str, sign: &str| {
            format!("SELECT {}{sign} FROM {table} x WHERE {}", self.response_key("x"), self.counts("x"))
        };
        let keys = self.numbered("x");
        match (change, &self.submitted) {
            (Change::Insert, _) => format!("SELECT DISTINCT {keys} FROM ({}) x", rows(NEW, "")),
            (Change::Delete, _) => format!("SELECT DISTINCT {keys} FROM ({}) x", rows(OLD, "")),
            (Change::Update, None) => format!("{} UNION {}", rows(NEW, ""), rows(OLD, "")),
            (Change::Update, Some(_)) => format!(
                "SELECT {keys} FROM ({} UNION ALL {}) x GROUP BY {keys} HAVING pg_catalog.sum(x.change) OPERATOR(pg_catalog.<>) 0",
                rows(NEW, ", 1 AS change"),
                rows(OLD, ", -1 AS change"),
            ),
        }
    }

    /// Keys from one text array a column, `$1`, `$2`, …
    pub fn given(&self) -> String {
        let arrays = self.join(", ", |i, _| format!("pg_catalog.unnest(${i}::pg_catalog._text)"));
        let names = self.join(", ", |i, _| format!("t{i}"));
        let keys = self.join(", ", |i, pair| format!("u.t{i}::{} AS k{i}", pair.response.type_sql));
        format!("SELECT DISTINCT {keys} FROM ROWS FROM ({arrays}) AS u({names})")
    }

    pub fn given_types(&self) -> Vec<pg_sys::Oid> {
        vec![pg_sys::TEXTARRAYOID; self.key.len()]
    }

    /// Every record.
    pub fn all(&self) -> String {
        let keys = self.join(", ", |i, pair| format!("a.{} AS k{i}", Ident::new(&pair.record.name)));
        format!("SELECT {keys} FROM {} a", self.records.scan())
    }

    /// Locks the touched records in key order; returns how many there are.
    pub fn lock(&self, touched: &str) -> String {
        format!(
            "SELECT FROM ({}) l HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0",
            self.locked(touched, "1 AS one", "")
        )
    }

    /// Locks those of the touched records that nobody holds, in key order; returns their keys.
    pub fn lock_free(&self, touched: &str) -> String {
        self.locked(touched, &self.key_texts("t"), " SKIP LOCKED")
    }

    fn locked(&self, touched: &str, columns: &str, how: &str) -> String {
        format!(
            "SELECT {columns} FROM {} r JOIN ({touched}) t ON {} ORDER BY {} FOR NO KEY UPDATE OF r{how}",
            self.records.scan(),
            self.record_matches("r", "t"),
            self.join(", ", |_, pair| format!("r.{}", Ident::new(&pair.record.name))),
        )
    }

    /// The keys of touched records that exist.
    pub fn existing(&self, touched: &str) -> String {
        format!(
            "SELECT {} FROM ({touched}) t WHERE EXISTS (SELECT FROM {} r WHERE {})",
            self.key_texts("t"),
            self.records.scan(),
            self.record_matches("r", "t"),
        )
    }

    /// The touched keys, `k1`, `k2`, …, each with the `status` that its record should have.
    fn states(&self, touched: &str) -> String {
        let keys = self.numbered("t");
        match &self.expression {
            Some(expression) => format!(
                "SELECT {keys}, e.status FROM ({touched}) t CROSS JOIN LATERAL ({}) e",
                self.evaluated(expression, &format!("WHERE {}", self.response_matches("t", "p"))),
            ),
            None => format!(
                "SELECT {keys}, CASE WHEN pg_catalog.count(p.{first}) OPERATOR(pg_catalog.>=)
                                      (SELECT m.min_submitted FROM ai._record_status_rule m WHERE m.id OPERATOR(pg_catalog.=) {id})
                                     THEN {completed} ELSE {pending} END AS status
                   FROM ({touched}) t LEFT JOIN {responses} p ON {matches} AND {counts}
                  GROUP BY {keys}",
                first = Ident::new(&self.key[0].response.name),
                id = self.id,
                completed = constant(&self.completed, &self.status),
                pending = constant(&self.pending, &self.status),
                responses = self.responses.scan(),
                matches = self.response_matches("t", "p"),
                counts = self.counts("p"),
            ),
        }
    }

    /// One row with the `status` of a record that has the responses of `condition`.
    fn evaluated(&self, expression: &Expression, condition: &str) -> String {
        let columns = expression
            .columns
            .iter()
            .map(|(then, now)| format!("p.{} AS {}", Ident::new(now), Ident::new(then)))
            .collect::<Vec<_>>()
            .join(", ");
        // HAVING makes an aggregate of it in any case: one row, also of no responses.
        format!(
            "SELECT (\n{}\n)::{} AS status FROM (SELECT {columns} FROM {} p {condition}) AS {} HAVING true",
            expression.sql,
            self.status.type_sql,
            self.responses.scan(),
            Ident::new(&expression.alias),
        )
    }

    /// The status of a record without responses, as text.
    pub fn state_of_none(&self) -> String {
        match &self.expression {
            Some(expression) => {
                format!(
                    "SELECT s.status::pg_catalog.text FROM ({}) s",
                    self.evaluated(expression, "WHERE false")
                )
            }
            None => format!("SELECT {}::pg_catalog.text", constant(&self.pending, &self.status)),
        }
    }

    /// Writes the status of touched records where it is another one. With a channel each row
    /// says which record it was, whether it was completed, and whether it is.
    pub fn apply(&self, touched: &str) -> String {
        let status = Ident::new(&self.status.name);
        let completed = constant(&self.completed, &self.status);
        let (before, said) = match &self.channel {
            None => (String::new(), String::new()),
            Some(_) => (
                format!(
                    " JOIN (SELECT {}, ai._unchanged(b.{status}, {completed}) AS completed FROM {} b) o ON {}",
                    self.join(", ", |i, pair| format!("b.{} AS k{i}", Ident::new(&pair.record.name))),
                    self.records.scan(),
                    self.join(" AND ", |i, pair| format!("o.k{i} {} s.k{i}", pair.equals)),
                ),
                format!(
                    " RETURNING {}, o.completed, ai._unchanged(r.{status}, {completed})",
                    self.key_json("r")
                ),
            ),
        };
        format!(
            "UPDATE {} r SET {status} = s.status FROM ({}) s{before} WHERE {} AND NOT ai._unchanged(r.{status}, s.status){said}",
            self.records.scan(),
            self.states(touched),
            self.record_matches("r", "s"),
        )
    }

    /// Rows as the records that are not as they should be.
    pub fn wrong(&self, columns: &str) -> String {
        format!(
            "SELECT {columns} FROM {} r JOIN ({}) s ON {} WHERE NOT ai._unchanged(r.{}, s.status)",
            self.records.scan(),
            self.states(&self.all()),
            self.record_matches("r", "s"),
            Ident::new(&self.status.name),
        )
    }

    /// Keys of the records that are not as they should be.
    pub fn wrong_keys(&self) -> String {
        self.wrong(&self.join(", ", |i, pair| format!("r.{} AS k{i}", Ident::new(&pair.record.name))))
    }

    /// Puts touched keys into the queue of a deferred rule.
    pub fn note(&self, touched: &str) -> String {
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM ({touched}) t WHERE {}",
            self.queue(),
            self.join(", ", |i, _| format!("k{i}")),
            self.numbered("t"),
            self.join(" AND ", |i, _| format!("t.k{i} IS NOT NULL")),
        )
    }

    /// The key of a record as users see it, as text of a JSON object.
    fn key_json(&self, alias: &str) -> String {
        let pairs = self.join(", ", |_, pair| {
            format!(
                "{}::pg_catalog.text, {alias}.{}",
                quote_literal(&pair.record.name),
                Ident::new(&pair.record.name)
            )
        });
        format!("pg_catalog.jsonb_build_object({pairs})::pg_catalog.text")
    }
}
