//! A rule as the triggers use it: read from the catalog, with today's names, and kept until one
//! of its tables changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::{JsonB, pg_guard, pg_sys};
use serde_json::Value;

use super::super::catalog::{self, Relation};
use super::super::transaction::as_extension_owner;
use super::super::{ident::Ident, sql};
use super::column::{self, Column};
use super::run::Plan;
use crate::error::Result;

/// One column of the key: of the records, and of the responses that name them.
#[derive(Debug, Clone)]
pub struct KeyPair {
    pub record: Column,
    pub response: Column,
    pub equals: String,
}

/// A response that counts: its column, the operator and the value as SQL text.
#[derive(Debug, Clone)]
pub struct Submitted {
    pub column: String,
    pub equals: String,
    pub value: String,
}

/// The status as an aggregate over the responses of one record.
#[derive(Debug, Clone)]
pub struct Expression {
    pub sql: String,
    /// The name that the responses go by in it.
    pub alias: String,
    /// The columns it may name: as they are called in it, and as they are called now.
    pub columns: Vec<(String, String)>,
}

pub struct Rule {
    pub id: i32,
    pub records: Relation,
    pub responses: Relation,
    pub key: Vec<KeyPair>,
    pub status: Column,
    pub submitted: Option<Submitted>,
    pub expression: Option<Expression>,
    pub completed: String,
    pub pending: String,
    pub deferred: bool,
    pub channel: Option<String>,
    /// The search_path of whoever made the rule: an expression's functions are looked for there,
    /// and what triggers on the records name where no session of a user writes them.
    pub search_path: String,
    /// Plans by what they do and for which table; only those for few rows are kept.
    pub plans: RefCell<HashMap<(&'static str, pg_sys::Oid), Rc<Plan>>>,
}

impl Rule {
    /// The rights that the rule acts with.
    pub fn owner(&self) -> pg_sys::Oid {
        self.records.owner
    }

    pub fn queue(&self) -> Ident {
        Ident::qualified("ai", &super::ddl::queue_name(self.id))
    }
}

thread_local! {
    static RULES: RefCell<HashMap<i32, Rc<Rule>>> = RefCell::default();
    static WATCHING: Cell<bool> = const { Cell::new(false) };
}

/// The rule `id`; None when there is none any more, or when a table or column of it is gone:
/// then there is nothing to keep in step, and no reason to refuse the user's statement.
pub fn load(id: i32) -> Result<Option<Rc<Rule>>> {
    if !WATCHING.replace(true) {
        // SAFETY: a plain function that lives as long as the library.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::null()) };
    }
    if let Some(rule) = RULES.with_borrow(|rules| rules.get(&id).cloned()) {
        return Ok(Some(rule));
    }
    let Some(rule) = as_extension_owner(|| read(id))? else { return Ok(None) };
    let rule = Rc::new(rule);
    RULES.with_borrow_mut(|rules| rules.insert(id, rule.clone()));
    Ok(Some(rule))
}

/// True when a table or column of the rule is gone.
pub fn is_broken(id: i32) -> Result<bool> {
    Ok(read(id)?.is_none())
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    // Taken out first: freeing plans must not happen while the map is borrowed.
    let gone: Vec<Rc<Rule>> = RULES.with_borrow_mut(|rules| {
        let ids: Vec<i32> = rules
            .iter()
            .filter(|(_, rule)| {
                relation == pg_sys::Oid::INVALID || [rule.records.oid, rule.responses.oid].contains(&relation)
            })
            .map(|(id, _)| *id)
            .collect();
        ids.iter().filter_map(|id| rules.remove(id)).collect()
    });
    STALE.with_borrow_mut(|stale| stale.extend(gone));
}

thread_local! {
    /// Rules that were forgotten inside a callback, where no plan may be freed.
    static STALE: RefCell<Vec<Rc<Rule>>> = RefCell::default();
}

/// Frees what callbacks could not.
pub fn sweep() {
    drop(STALE.take());
}

struct Stored {
    records: pg_sys::Oid,
    responses: pg_sys::Oid,
    columns: Value,
    submitted: String,
    completed: String,
    pending: String,
    mode: String,
    expression: Option<String>,
    search_path: String,
    channel: Option<String>,
}

fn read(id: i32) -> Result<Option<Rule>> {
    let stored = sql::query_one(
        "SELECT records::oid, responses::oid, columns, submitted_value, completed_value, pending_value, mode,
                status_expression, search_path, notify_channel
           FROM ai._record_status_rule WHERE id = $1",
        &[id.into()],
        |row| {
            Ok(Stored {
                records: row.value(1)?,
                responses: row.value(2)?,
                columns: row.value::<JsonB>(3)?.0,
                submitted: row.value(4)?,
                completed: row.value(5)?,
                pending: row.value(6)?,
                mode: row.value(7)?,
                expression: row.get(8)?,
                search_path: row.value(9)?,
                channel: row.get(10)?,
            })
        },
    )?;
    let Some(stored) = stored else { return Ok(None) };
    let (Some(records), Some(responses)) =
        (catalog::relation(stored.records)?, catalog::relation(stored.responses)?)
    else {
        return Ok(None);
    };
    let names = Names {
        records: column::describe(records.oid)?,
        responses: column::describe(responses.oid)?,
        same_records: stored.columns["records"].as_u64() == Some(u64::from(records.oid.to_u32())),
        same_responses: stored.columns["responses"].as_u64() == Some(u64::from(responses.oid.to_u32())),
    };
    let Some(status) = names.of_records(&stored.columns["status"]) else { return Ok(None) };
    let Some(key) = names.key(&stored.columns["key"])? else { return Ok(None) };
    let expression = stored.expression.map(|sql| Expression {
        sql,
        alias: stored.columns["alias"].as_str().unwrap_or("responses").to_owned(),
        columns: names.of_expression(&stored.columns["expression"]),
    });
    let submitted = match &expression {
        Some(_) => None,
        None => {
            let Some(column) = names.of_responses(&stored.columns["response_status"]) else {
                return Ok(None);
            };
            let Some(equals) = column::equality(column.sql_type, column.sql_type)? else { return Ok(None) };
            let value = super::statements::constant(&stored.submitted, &column);
            Some(Submitted { column: column.name, equals, value })
        }
    };
    Ok(Some(Rule {
        id,
        records,
        responses,
        key,
        status,
        submitted,
        expression,
        completed: stored.completed,
        pending: stored.pending,
        deferred: stored.mode == "deferred",
        channel: stored.channel,
        search_path: stored.search_path,
        plans: RefCell::default(),
    }))
}

/// The columns of both tables, and whether they are the tables that the rule was made for.
struct Names {
    records: Vec<Column>,
    responses: Vec<Column>,
    same_records: bool,
    same_responses: bool,
}

impl Names {
    fn of_records(&self, remembered: &Value) -> Option<Column> {
        column::find(&self.records, remembered, self.same_records)
    }

    fn of_responses(&self, remembered: &Value) -> Option<Column> {
        column::find(&self.responses, remembered, self.same_responses)
    }

    fn key(&self, remembered: &Value) -> Result<Option<Vec<KeyPair>>> {
        let mut key = Vec::new();
        for pair in remembered.as_array().into_iter().flatten() {
            let (Some(record), Some(response)) =
                (self.of_records(&pair["record"]), self.of_responses(&pair["response"]))
            else {
                return Ok(None);
            };
            let Some(equals) = column::equality(record.sql_type, response.sql_type)? else {
                return Ok(None);
            };
            key.push(KeyPair { record, response, equals });
        }
        Ok((!key.is_empty()).then_some(key))
    }

    fn of_expression(&self, remembered: &Value) -> Vec<(String, String)> {
        let columns = remembered.as_array().into_iter().flatten();
        columns
            .filter_map(|column| {
                Some((column.get("name")?.as_str()?.to_owned(), self.of_responses(column)?.name))
            })
            .collect()
    }
}
