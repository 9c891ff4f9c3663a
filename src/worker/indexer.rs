//! The indexer: a short-lived process that builds one vector index after the other, so that
//! neither the scheduler nor a worker waits for it.

use pgrx::prelude::*;
use serde_json::json;

use super::process;
use crate::error::Result;
use crate::services::indexing;
use crate::store::transaction::transaction;
use crate::store::{catalog, control, indexes, keywords, roles, session};

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn autovector_indexer_main(argument: pg_sys::Datum) {
    process::attach_signals();
    session::connect(process::database(argument));
    // A build waits for the writers of the moment, as CONCURRENTLY promises.
    session::unlimited_locks();
    while let Ok(true) = build_next() {
        pgrx::check_for_interrupts!();
    }
}

/// Builds the next index that is due; false when there is none.
fn build_next() -> Result<bool> {
    let due = transaction(|| {
        if !session::is_ours()? {
            return Ok(None);
        }
        let Some((v, job)) = indexing::next_due()? else { return Ok(None) };
        if let indexes::Job::Words(configuration) = &job {
            keywords::settle(v.id, configuration)?;
        }
        let schema = roles::name_of(v.store.oid)?.0;
        let statements = indexes::statements(&v, &catalog::pgvector()?, &job, &schema)?;
        Ok(Some((v, job, statements)))
    })?;
    let Some((v, job, statements)) = due else { return Ok(false) };
    session::describe(&format!("autovector indexer: {}", v.name));
    for statement in &statements {
        if let Err(error) = indexes::run_top_level(statement) {
            process::log(&format!("autovector indexer: vectorizer \"{}\": {error}", v.name));
            transaction(|| {
                control::log_error(v.id, job.failure(), json!({ "error_reason": error.message }))
            })?;
            return Ok(false);
        }
    }
    Ok(true)
}
