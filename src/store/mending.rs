//! Triggers that went with a column: PostgreSQL drops a trigger with a column that its condition names.
//! Resuming makes it anew.

use super::catalog::Vectorizer;
use super::record_status::embedding;
use super::transaction::{as_extension_owner, as_role};
use super::{ddl, sql};
use crate::error::Result;

/// Makes the triggers anew where one is missing, for changes of the `watched` columns, and has every row
/// looked at again, because nobody saw what has changed meanwhile. True when there was something to mend.
pub fn mend(v: &Vectorizer, watched: &[String]) -> Result<bool> {
    let (there, always) = ddl::triggers_of(v.id, &v.source)?;
    let wanted = if as_extension_owner(|| embedding::exists(v.id))? { 6 } else { 4 };
    if there.len() >= wanted {
        return Ok(false);
    }
    make_triggers(v, watched, always)?;
    make_all_dirty(v)?;
    Ok(true)
}

fn make_triggers(v: &Vectorizer, watched: &[String], always: bool) -> Result<()> {
    ddl::drop_triggers(v.id, &v.source)?;
    ddl::create_triggers(v.id, &v.source, &v.key, watched)?;
    embedding::mend_triggers(v, watched)?;
    if always { ddl::enable_always(v.id, &v.source) } else { Ok(()) }
}

/// Every row of the source, and every key of the store that has no row any more, becomes dirty. Texts
/// that are as they were cost no call.
pub fn make_all_dirty(v: &Vectorizer) -> Result<()> {
    let stored = v.key.stored_list("t");
    let gone = match v.column {
        Some(_) => String::new(),
        None => format!(" UNION SELECT {stored} FROM {} t", v.store.ident),
    };
    let (names, again) = (v.key.stored_names(), v.dirty_again());
    let statement = format!(
        "INSERT INTO {} ({names}, gen)
         SELECT a.*, (SELECT nextval('ai._generation_seq')) FROM (SELECT {} FROM {} s{gone}) a
         ON CONFLICT ({names}) DO UPDATE SET {again}",
        v.queue,
        v.key.source_list("s"),
        v.source.scan(),
    );
    as_role(v.queue_owner, || sql::execute_once(&statement))
}
