//! Record status rules: made, ended, changed, proved. Everything is checked before anything is
//! made, and all of it happens in the caller's transaction.

use std::rc::Rc;

use autovector_domain::names;
use pgrx::pg_sys;

use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Relation};
use crate::store::locks::Mode;
use crate::store::record_status::{
    self as store, Column, Columns, Definition, Drained, Progress, Rule, embedding,
};
use crate::store::transaction::{as_extension_owner, pinned, transaction, with_search_path};
use crate::store::{roles, session, wake};

/// The arguments of `ai.track_record_status`, as they were given.
pub struct Request {
    pub records: pg_sys::Oid,
    pub responses: pg_sys::Oid,
    pub record_key: String,
    pub status_column: String,
    pub response_status_column: String,
    pub submitted_value: String,
    pub min_submitted: i32,
    pub mode: String,
    pub status_expression: Option<String>,
    pub completed_value: String,
    pub pending_value: String,
    pub notify_channel: Option<String>,
    /// The type of the status column where it has to be added; text unless given.
    pub status_type: Option<pg_sys::Oid>,
    pub search_path: String,
}

/// Notes of a deferred rule that are applied in one transaction.
const BATCH: usize = 2_000;

/// The key that joins the two tables.
struct Key {
    pairs: Vec<(Column, Column)>,
    /// A foreign key that is always in force: no response comes before its record.
    guarded: bool,
}

/// Makes a rule and returns its id.
pub fn track(request: Request) -> Result<i32> {
    let id = pinned(|| make(request))?;
    store::correct(&*loaded(id)?)?;
    Ok(id)
}

fn make(request: Request) -> Result<i32> {
    check_values(&request)?;
    let records = table(request.records, "records")?;
    let responses = table(request.responses, "responses")?;
    if records.oid == responses.oid {
        return Err(Error::invalid("records and responses are the same table")
            .hint("The responses stand in a table of their own that names the record of each."));
    }
    roles::require_ownership(&records)?;
    roles::require_ownership(&responses)?;
    check_owner(&records, &responses)?;
    forget_dropped()?;
    if store::id_of(records.oid)?.is_some() {
        return Err(Error::new(
            Kind::DuplicateObject,
            format!("the status of {} is tracked already", records.ident),
        )
        .hint(format!("SELECT ai.untrack_record_status('{}'); ends that rule.", records.ident)));
    }
    let record_columns = store::describe(records.oid)?;
    let response_columns = store::describe(responses.oid)?;
    let key = key(&request, &records, &responses, &record_columns, &response_columns)?;
    let response_status = match request.status_expression {
        Some(_) => None,
        None => Some(response_status(&request, &responses, &response_columns)?),
    };
    let status = match record_columns.iter().find(|c| c.name == request.status_column) {
        Some(column) => column.clone(),
        None => add_status(&request, &records)?,
    };
    check_status(&request, &records, &status, &key)?;

    let id = as_extension_owner(store::next_id)?;
    let by = roles::current_name()?;
    let (_, alias) = roles::name_of(responses.oid)?;
    let search_path =
        format!("{}{}pg_temp", request.search_path, if request.search_path.is_empty() { "" } else { ", " });
    as_extension_owner(|| {
        store::insert(&Definition {
            id,
            columns: Columns {
                records: &records,
                responses: &responses,
                key: &key.pairs,
                status: &status,
                response_status: response_status.as_ref(),
                alias: &alias,
                expression: if request.status_expression.is_some() { &response_columns } else { &[] },
            },
            submitted_value: &request.submitted_value,
            completed_value: &request.completed_value,
            pending_value: &request.pending_value,
            min_submitted: request.min_submitted,
            mode: &request.mode,
            status_expression: request.status_expression.as_deref(),
            search_path: &search_path,
            notify_channel: request.notify_channel.as_deref(),
            created_by: &by,
        })
    })?;
    let rule = loaded(id)?;
    // An expression that is none, or fails without responses, fails here.
    let none = store::state_of_none(&rule)?;
    store::create_triggers(&rule, &none, key.guarded)?;
    if rule.deferred {
        let owner = roles::name_by_oid(records.owner)?;
        as_extension_owner(|| store::create_queue(&rule, &owner))?;
        if !wake::preloaded() {
            pgrx::warning!(
                "autovector is not preloaded, so nobody applies deferred record status; add shared_preload_libraries = 'autovector' to postgresql.conf and restart the server"
            );
        }
    }
    let attnums: Vec<i16> = key.pairs.iter().map(|(_, response)| response.attnum).collect();
    if !store::has_index(responses.oid, &attnums)? {
        pgrx::warning!(
            "{} has no index that begins with \"{}\", so each change reads the whole table; create one",
            responses.ident,
            key.pairs[0].1.name
        );
    }
    Ok(id)
}

fn check_values(request: &Request) -> Result<()> {
    check_min(request.min_submitted)?;
    if !matches!(request.mode.as_str(), "immediate" | "deferred") {
        return Err(Error::invalid(format!("mode \"{}\" does not exist", request.mode))
            .hint("Modes are 'immediate' and 'deferred'."));
    }
    if request.completed_value == request.pending_value {
        return Err(Error::invalid("completed_value and pending_value are the same")
            .hint("Give two different values."));
    }
    if let Some(channel) = &request.notify_channel
        && (channel.is_empty() || channel.len() > 63)
    {
        return Err(Error::invalid("notify_channel must be a name of 1 to 63 bytes")
            .hint("Give the name that sessions LISTEN to, or leave it out."));
    }
    Ok(())
}

fn check_min(min_submitted: i32) -> Result<()> {
    if min_submitted >= 1 {
        return Ok(());
    }
    Err(Error::invalid(format!("min_submitted must be 1 or more, not {min_submitted}"))
        .hint("A record is completed by at least one submitted response."))
}

fn table(oid: pg_sys::Oid, what: &str) -> Result<Relation> {
    let table = catalog::relation(oid)?.ok_or_else(|| {
        Error::new(Kind::UndefinedObject, format!("the table of {what} does not exist"))
            .hint("SELECT * FROM ai.record_status_rules; lists what is tracked.")
    })?;
    if !matches!(table.kind, b'r' | b'p') {
        return Err(Error::new(Kind::Unsupported, format!("{} is not a table", table.ident))
            .hint("Track the table behind the view, or a partitioned table."));
    }
    if roles::is_temporary(oid)? {
        return Err(Error::new(Kind::Unsupported, format!("{} is a temporary table", table.ident))
            .hint("Use an ordinary table."));
    }
    if store::is_partition(oid)? {
        return Err(Error::new(Kind::Unsupported, format!("{} is a partition", table.ident))
            .hint("Track the partitioned table."));
    }
    Ok(table)
}

/// The rule acts with the rights of the records' owner, who has to see every response.
fn check_owner(records: &Relation, responses: &Relation) -> Result<()> {
    if roles::acts_as(records.owner, responses.owner) {
        return Ok(());
    }
    Err(Error::new(
        Kind::InsufficientPrivilege,
        format!("the owner of {} does not own {}", records.ident, responses.ident),
    )
    .hint(format!(
        "ALTER TABLE {} OWNER TO {};",
        responses.ident,
        roles::quoted(&roles::name_by_oid(records.owner)?)
    )))
}

fn no_column(column: &str, of: &Relation, columns: &[Column]) -> Error {
    let near = names::nearest(column, columns.iter().map(|c| c.name.as_str()));
    let hint = if near.is_empty() {
        columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
    } else {
        near.join(" or ")
    };
    Error::new(Kind::UndefinedColumn, format!("column \"{column}\" does not exist in {}", of.ident))
        .hint(format!("Did you mean {hint}?"))
}

/// The columns of the foreign key that `record_key` belongs to; without one, `record_key` alone
/// and the primary key.
fn key(
    request: &Request,
    records: &Relation,
    responses: &Relation,
    record_columns: &[Column],
    response_columns: &[Column],
) -> Result<Key> {
    let named = response_columns
        .iter()
        .find(|c| c.name == request.record_key)
        .ok_or_else(|| no_column(&request.record_key, responses, response_columns))?;
    let by_number = |columns: &[Column], attnum: &i16| columns.iter().find(|c| c.attnum == *attnum).cloned();
    let foreign = store::foreign_keys(responses.oid, records.oid, named.attnum)?;
    if foreign.len() > 1 {
        return Err(Error::invalid(format!(
            "column \"{}\" belongs to {} foreign keys to {}",
            named.name,
            foreign.len(),
            records.ident
        ))
        .hint("Give a record_key that belongs to one of them alone."));
    }
    if let Some(foreign) = foreign.first() {
        let pairs = foreign.records.iter().zip(&foreign.responses).filter_map(|(record, response)| {
            Some((by_number(record_columns, record)?, by_number(response_columns, response)?))
        });
        return Ok(Key { pairs: pairs.collect(), guarded: foreign.guards });
    }
    let primary = catalog::primary_key(records.oid)?.ok_or_else(|| {
        Error::invalid(format!("{} must have a primary key", records.ident))
            .hint(format!("ALTER TABLE {} ADD PRIMARY KEY (…);", records.ident))
    })?;
    let [only] = primary.columns.as_slice() else {
        return Err(Error::invalid(format!(
            "{} has no foreign key to {}, whose key has {} columns",
            responses.ident,
            records.ident,
            primary.columns.len()
        ))
        .hint(format!("ALTER TABLE {} ADD FOREIGN KEY (…) REFERENCES {};", responses.ident, records.ident)));
    };
    let record = by_number(record_columns, &only.attnum).expect("a key consists of columns");
    if !store::comparable(&record, named)? {
        return Err(Error::invalid(format!(
            "column \"{}\" of {} is {}, the key of {} is {}",
            named.name, responses.ident, named.shown_type, records.ident, record.shown_type
        ))
        .hint("Name the column that holds the key of the record."));
    }
    Ok(Key { pairs: vec![(record, named.clone())], guarded: false })
}

fn response_status(request: &Request, responses: &Relation, columns: &[Column]) -> Result<Column> {
    let column = columns
        .iter()
        .find(|c| c.name == request.response_status_column)
        .ok_or_else(|| no_column(&request.response_status_column, responses, columns))?;
    check_label(responses, column, &request.submitted_value)?;
    if !store::comparable(column, column)? {
        return Err(Error::invalid(format!(
            "values of column \"{}\" of {} ({}) cannot be compared",
            column.name, responses.ident, column.shown_type
        ))
        .hint("Use a column of text or of an enum."));
    }
    Ok(column.clone())
}

/// A value of an enum has to be one of its labels.
fn check_label(table: &Relation, column: &Column, value: &str) -> Result<()> {
    let labels = store::labels(column.sql_type)?;
    if labels.is_empty() || labels.iter().any(|label| label == value) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "column \"{}\" of {} has no value \"{value}\": {} has {}",
        column.name,
        table.ident,
        column.shown_type,
        labels.join(", ")
    ))
    .hint(format!(
        "ALTER TYPE {} ADD VALUE '{}'; or name another value.",
        column.type_sql,
        value.replace('\'', "''")
    )))
}

fn add_status(request: &Request, records: &Relation) -> Result<Column> {
    let (type_sql, shown_type) = match request.status_type {
        None => ("pg_catalog.text".to_owned(), "text".to_owned()),
        Some(oid) => store::type_names(oid)?.ok_or_else(|| {
            Error::new(Kind::UndefinedObject, "status_type does not exist").hint("Give text or an enum.")
        })?,
    };
    if let Some(oid) = request.status_type {
        let column = Column {
            attnum: 0,
            name: request.status_column.clone(),
            sql_type: oid,
            type_sql: type_sql.clone(),
            shown_type,
            generated: false,
            identity: false,
        };
        check_type(request, records, &column)?;
    }
    store::add_column(records, &request.status_column, &type_sql, &request.pending_value)?;
    let added = store::describe(records.oid)?.into_iter().find(|c| c.name == request.status_column);
    added.ok_or_else(|| Error::new(Kind::Internal, "the status column was not added"))
}

fn check_status(request: &Request, records: &Relation, status: &Column, key: &Key) -> Result<()> {
    if status.generated {
        return Err(Error::invalid(format!(
            "column \"{}\" of {} is generated, so its value cannot be written",
            status.name, records.ident
        ))
        .hint("Give another status_column; one that does not exist is added."));
    }
    if key.pairs.iter().any(|(record, _)| record.attnum == status.attnum) {
        return Err(Error::invalid(format!(
            "column \"{}\" is part of the key of {}",
            status.name, records.ident
        ))
        .hint("Give another status_column; one that does not exist is added."));
    }
    check_type(request, records, status)?;
    if let Some(limit) = store::length_limit(records.oid, status.attnum)?
        && let Some(long) = [&request.completed_value, &request.pending_value]
            .into_iter()
            .find(|value| value.chars().count() > limit.max(0) as usize)
    {
        return Err(Error::invalid(format!(
            "value \"{long}\" is too long for column \"{}\" of {}, which holds {limit} characters",
            status.name, records.ident
        ))
        .hint("Widen the column, or give shorter values."));
    }
    Ok(())
}

fn check_type(request: &Request, records: &Relation, status: &Column) -> Result<()> {
    for value in [&request.completed_value, &request.pending_value] {
        check_label(records, status, value)?;
    }
    if store::labels(status.sql_type)?.is_empty() && !store::is_text(status.sql_type)? {
        return Err(Error::invalid(format!(
            "column \"{}\" of {} is {}, not text or an enum",
            status.name, records.ident, status.shown_type
        ))
        .hint("Give another status_column; one that does not exist is added."));
    }
    Ok(())
}

fn loaded(id: i32) -> Result<Rc<Rule>> {
    store::load(id)?.ok_or_else(|| {
        Error::new(Kind::WrongState, "a table or column of the record status rule was dropped")
            .hint("SELECT ai.untrack_record_status(…); then track the status again.")
    })
}

/// The rule of `records` for a caller who may manage it.
fn managed(records: pg_sys::Oid) -> Result<i32> {
    let table = catalog::relation(records)?.ok_or_else(|| {
        Error::new(Kind::UndefinedObject, "the table of records does not exist")
            .hint("SELECT * FROM ai.record_status_rules; lists what is tracked.")
    })?;
    roles::require_ownership(&table)?;
    rule_of(&table)
}

fn rule_of(table: &Relation) -> Result<i32> {
    store::id_of(table.oid)?.ok_or_else(|| {
        Error::new(Kind::UndefinedObject, format!("the status of {} is not tracked", table.ident))
            .hint("SELECT * FROM ai.record_status_rules; lists what is tracked.")
    })
}

/// Ends rules whose tables or columns are gone.
pub fn forget_dropped() -> Result<()> {
    as_extension_owner(|| {
        for id in store::ids()? {
            if store::is_broken(id)? {
                end(id)?;
            }
        }
        Ok(())
    })
}

fn end(id: i32) -> Result<()> {
    store::drop_triggers(id)?;
    as_extension_owner(|| {
        store::drop_queue(id)?;
        store::delete(id)
    })
}

/// Ends a rule. The column stays, with the values it has.
pub fn untrack(records: pg_sys::Oid) -> Result<()> {
    pinned(|| end(managed(records)?))
}

/// Changes the number of responses that completes a record. Waits for the transactions that are
/// changing responses, and lets new ones wait: none counts by the old number afterwards.
pub fn set_min_submitted(records: pg_sys::Oid, min_submitted: i32) -> Result<i64> {
    check_min(min_submitted)?;
    let id = pinned(|| managed(records))?;
    let rule = loaded(id)?;
    if rule.expression.is_some() {
        return Err(Error::new(
            Kind::WrongState,
            "this rule has a status_expression, which says by itself when a record is completed",
        )
        .hint("SELECT ai.untrack_record_status(…); then track the status with another expression."));
    }
    store::hold(id, Mode::Exclusive);
    as_extension_owner(|| store::set_min_submitted(id, min_submitted))?;
    store::correct(&rule)
}

/// Corrects what is not as the rule says; returns how many records that were. Where all is well
/// nobody waits. Keys that a deferred rule has noted are applied first and not counted; partitions
/// that lack the triggers get them.
pub fn recompute(records: pg_sys::Oid) -> Result<i64> {
    let id = pinned(|| managed(records))?;
    let rule = loaded(id)?;
    pinned(|| store::uncovered(&rule)?.into_iter().try_for_each(|table| store::cover(&rule, table)))?;
    if rule.deferred {
        let mut after = 0;
        loop {
            let drained = store::drain(&rule, after, BATCH)?;
            if drained.taken == 0 {
                break;
            }
            after = drained.last;
        }
    }
    let corrected = match store::count_wrong(&rule)? {
        0 => 0,
        _ => {
            store::hold(id, Mode::Exclusive);
            store::correct(&rule)?
        }
    };
    as_extension_owner(|| store::clear_errors(id))?;
    Ok(corrected)
}

/// Counts of the records that the caller may see.
pub fn progress(records: pg_sys::Oid) -> Result<Progress> {
    let table = catalog::relation(records)?.ok_or_else(|| {
        Error::new(Kind::UndefinedObject, "the table of records does not exist")
            .hint("SELECT * FROM ai.record_status_rules; lists what is tracked.")
    })?;
    store::progress(&*loaded(rule_of(&table)?)?)
}

/// Who has notes: a deferred rule, or a vectorizer that keeps a status column.
#[derive(Debug, Clone, Copy)]
enum Noted {
    Rule(i32),
    Vectorizer(i32),
}

fn noted() -> Result<Vec<Noted>> {
    let rules = store::due()?.into_iter().map(Noted::Rule);
    Ok(rules.chain(embedding::due()?.into_iter().map(Noted::Vectorizer)).collect())
}

/// Whether anybody has notes.
pub fn is_due() -> Result<bool> {
    Ok(!noted()?.is_empty())
}

/// Applies everybody's notes, in transactions of its own, until a round finds nothing to do;
/// returns how many are done. Notes of a record that somebody holds stay for the next time. For
/// background workers only.
pub fn apply_notes() -> Result<usize> {
    let due = transaction(|| if session::is_ours()? { noted() } else { Ok(Vec::new()) })?;
    let mut done = 0;
    for noted in due {
        let mut after = 0;
        let mut limit = BATCH;
        loop {
            match transaction(|| drain(noted, after, limit)) {
                Ok(drained) if drained.taken == 0 => break,
                Ok(drained) => {
                    after = drained.last;
                    done += drained.done;
                    limit = (limit * 2).min(BATCH);
                }
                Err(error) if is_passing(&error) => {
                    pgrx::log!("autovector status keeper: {noted:?} has to wait: {error}");
                    break;
                }
                // One bad record must not stop the others: the batch is cut until it is alone.
                Err(_) if limit > 1 => limit = limit.div_ceil(8),
                Err(error) => {
                    pgrx::log!("autovector status keeper: {noted:?}: {error}");
                    transaction(|| skip_first(noted, after, &error.message))?;
                }
            }
        }
    }
    Ok(done)
}

fn drain(noted: Noted, after: i64, limit: usize) -> Result<Drained> {
    match noted {
        Noted::Vectorizer(id) => embedding::drain(id, after, limit),
        Noted::Rule(id) => match store::load(id)? {
            // Users' triggers on the records find what they name as if its maker wrote them.
            Some(rule) => with_search_path(&rule.search_path, || store::drain(&rule, after, limit)),
            None => Ok(Drained::default()),
        },
    }
}

fn skip_first(noted: Noted, after: i64, error: &str) -> Result<()> {
    match noted {
        Noted::Vectorizer(id) => embedding::skip_first(id, after, error),
        Noted::Rule(id) => store::skip_first(&*loaded(id)?, after, error),
    }
}

/// Errors that have nothing to do with a record: somebody was in the way, the server is short of
/// something, or we are to end. Classes 40, 53, 55, 57, 58 and XX.
fn is_passing(error: &Error) -> bool {
    let state = error.sqlstate();
    ["40", "53", "55", "57", "58", "XX"].iter().any(|class| state.starts_with(class))
}
