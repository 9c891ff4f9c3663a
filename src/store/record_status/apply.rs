//! Bringing status up to date: lock, then count and write, as the owner of the records.

use std::rc::Rc;

use pgrx::datum::DatumWithOid;
use pgrx::{AnyNumeric, JsonB, pg_sys};
use serde_json::Value;

use super::super::locks::{self, Lock, Mode};
use super::super::transaction::{as_table_owner, with_search_path};
use super::super::{ident::Ident, sql};
use super::events;
use super::rule::Rule;
use super::run::{Plan, Session};
use super::statements::constant;
use crate::error::Result;

/// Above this many changed rows a statement is planned for their number, below it has a kept
/// plan.
const FEW: i64 = 100;

/// What a statement is about: its plan's name, the table that the trigger fired on, and the SQL
/// of the touched keys with its arguments.
pub struct Touched<'a> {
    pub what: What,
    pub table: pg_sys::Oid,
    pub sql: String,
    pub types: Vec<pg_sys::Oid>,
    pub args: Vec<DatumWithOid<'a>>,
    pub rows: i64,
    pub trigger: *mut pg_sys::TriggerData,
}

/// Names of the plans of one kind of change.
#[derive(Debug, Clone, Copy)]
pub struct What {
    pub lock: &'static str,
    pub apply: &'static str,
    pub note: &'static str,
}

impl What {
    pub const INSERT: What = What { lock: "insert: lock", apply: "insert: apply", note: "insert: note" };
    pub const UPDATE: What = What { lock: "update: lock", apply: "update: apply", note: "update: note" };
    pub const DELETE: What = What { lock: "delete: lock", apply: "delete: apply", note: "delete: note" };
    pub const GIVEN: What = What { lock: "given: lock", apply: "given: apply", note: "given: note" };
}

/// Runs `body` with the rights of the records' owner. An expression's functions are looked for
/// where they were when the rule was made.
pub fn as_owner<T>(rule: &Rule, body: impl FnOnce() -> Result<T>) -> Result<T> {
    as_table_owner(rule.owner(), || match &rule.expression {
        Some(_) => with_search_path(&rule.search_path, body),
        None => body(),
    })
}

/// Sessions that change responses hold the rule in share mode, whoever changes the rule alone.
pub fn hold(rule: i32, mode: Mode) {
    locks::wait_for_transaction(rule, Lock::Status, mode);
}

/// The plan called `name`, made from `text` unless there is one.
fn plan(
    rule: &Rule,
    session: &Session,
    name: &'static str,
    touched: &Touched<'_>,
    text: impl Fn() -> String,
) -> Rc<Plan> {
    if touched.rows > FEW {
        return Rc::new(session.prepare(&text(), &touched.types));
    }
    let kept = rule.plans.borrow().get(&(name, touched.table)).cloned();
    kept.unwrap_or_else(|| {
        let plan = Rc::new(session.prepare(&text(), &touched.types));
        rule.plans.borrow_mut().insert((name, touched.table), plan.clone());
        plan
    })
}

/// The heart of it: locks the touched records, then writes those whose status changes.
pub fn apply(rule: &Rule, touched: &Touched<'_>) -> Result<u64> {
    hold(rule.id, Mode::Share);
    as_owner(rule, || {
        // SAFETY: the trigger is the one being called, or null.
        let (written, rows) = unsafe {
            Session::with(touched.trigger, |session| {
                let lock = plan(rule, session, touched.what.lock, touched, || rule.lock(&touched.sql));
                if session.execute(&lock, &touched.args) == 0 {
                    return (0, Vec::new());
                }
                let apply = plan(rule, session, touched.what.apply, touched, || rule.apply(&touched.sql));
                let written = session.execute(&apply, &touched.args);
                (written, if rule.channel.is_some() { session.rows() } else { Vec::new() })
            })
        };
        events::note(rule, rows);
        Ok(written)
    })
}

/// The deferred form: only notes the touched keys.
pub fn note(rule: &Rule, touched: &Touched<'_>) -> Result<u64> {
    as_owner(rule, || {
        // SAFETY: as in `apply`.
        Ok(unsafe {
            Session::with(touched.trigger, |session| {
                let note = plan(rule, session, touched.what.note, touched, || rule.note(&touched.sql));
                session.execute(&note, &touched.args)
            })
        })
    })
}

/// Runs a statement that is used once.
pub fn once(rule: &Rule, statement: &str) -> Result<(u64, Vec<Vec<String>>)> {
    as_owner(rule, || {
        // SAFETY: no trigger.
        Ok(unsafe {
            Session::with(std::ptr::null_mut(), |session| {
                let plan = session.prepare(statement, &[]);
                let rows = session.execute(&plan, &[]);
                (rows, session.rows())
            })
        })
    })
}

/// The status of a record without responses.
pub fn state_of_none(rule: &Rule) -> Result<String> {
    let (_, rows) = once(rule, &rule.state_of_none())?;
    Ok(rows.into_iter().flatten().next().unwrap_or_default())
}

/// How many records are not as the rule says.
pub fn count_wrong(rule: &Rule) -> Result<i64> {
    let (_, rows) = once(rule, &rule.wrong("pg_catalog.count(*)"))?;
    Ok(rows.first().and_then(|row| row.first()?.parse().ok()).unwrap_or(0))
}

/// Corrects every record; the caller holds the rule alone. Returns how many were wrong.
pub fn correct(rule: &Rule) -> Result<i64> {
    let (written, rows) = once(rule, &rule.apply(&rule.all()))?;
    if rule.channel.is_some() {
        events::note(rule, rows);
    }
    Ok(written as i64)
}

pub struct Progress {
    pub total: i64,
    pub completed: i64,
    pub percent: AnyNumeric,
    pub by_status: Value,
}

/// Counts of the records that the caller may see.
pub fn progress(rule: &Rule) -> Result<Progress> {
    let status = Ident::new(&rule.status.name);
    let statement = format!(
        "SELECT coalesce(sum(c.n), 0)::int8, coalesce(sum(c.n) FILTER (WHERE c.completed), 0)::int8,
                coalesce(round(100.0 * sum(c.n) FILTER (WHERE c.completed) / nullif(sum(c.n), 0), 1), 0)::numeric,
                coalesce(jsonb_object_agg(coalesce(c.status, ''), c.n), '{{}}')
           FROM (SELECT r.{status}::text AS status, r.{status} IS NOT DISTINCT FROM {completed} AS completed, count(*) AS n
                   FROM {records} r GROUP BY 1, 2) c",
        completed = constant(&rule.completed, &rule.status),
        records = rule.records.scan(),
    );
    let found = sql::query_one(&statement, &[], |row| {
        Ok(Progress {
            total: row.value(1)?,
            completed: row.value(2)?,
            percent: row.value(3)?,
            by_status: row.value::<JsonB>(4)?.0,
        })
    })?;
    Ok(found.expect("an aggregate returns one row"))
}
