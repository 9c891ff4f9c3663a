//! Changing a vectorizer: cheap settings at once, anything that changes chunks or vectors by a
//! rebuild. A rebuild is a second, hidden vectorizer over the same source: it has a queue, a
//! cursor, triggers and a store of its own, so changes go to both, and the engine needs to know
//! nothing of it. `swap` exchanges the two, `upkeep` does so by itself.

pub mod swap;
pub mod upkeep;

use autovector_domain::config::{Destination, TableDestination, VectorizerConfig};
use autovector_domain::{names, pipeline};
use serde_json::{Map, Value};

use super::access::Level;
use super::control::managed;
use super::vectorizers;
use crate::error::{Error, Kind, Result};
use crate::settings::Settings;
use crate::store::catalog::{self, Vectorizer};
use crate::store::key::KeySpec;
use crate::store::locks::{self, Lock, Mode};
use crate::store::rebuilds::{self, Rebuild, belongings};
use crate::store::record_status::embedding;
use crate::store::registry::{self, NewVectorizer};
use crate::store::transaction::{as_extension_owner, current_role};
use crate::store::{capture, control, ddl, mending, roles};

/// What `ai.alter_vectorizer` was given.
pub struct Changes {
    /// `config_type` → JSON, absent where the argument was NULL.
    pub parts: Map<String, Value>,
    pub priority: Option<i32>,
    pub auto_swap: bool,
}

/// Changes a vectorizer. Returns `rebuilding` when a rebuild was begun, `changed` when all of it
/// counts now, `unchanged` when there was nothing to do.
pub fn alter(id: i32, changes: Changes) -> Result<&'static str> {
    // Rights first; then one after the other, each on what the last one left.
    managed(id, Level::Admin)?;
    as_extension_owner(|| registry::lock(id))?;
    let v = managed(id, Level::Admin)?;
    let settings = Settings::now();
    let new = merged(&v.config, &changes.parts, &settings)?;
    let rebuild = as_extension_owner(|| rebuilds::of(id))?;
    let mut changed = set_priority(&v, rebuild.as_ref(), changes.priority)?;
    let same = pipeline::same_result(&v.config, &new);
    if !same {
        check(&v, &new, &settings)?;
    } else if new.embedding != v.config.embedding {
        vectorizers::check_provider(&new.embedding, v.source.owner, &settings)?;
    }
    match rebuild {
        _ if same => {
            changed |= change_at_once(&v, &new, rebuild.as_ref().filter(|r| r.is_running()), &changes.parts)?
        }
        Some(rebuild) => changed |= change_running(&v, &rebuild, &new)?,
        None => {
            begin(&v, &new, changes.auto_swap)?;
            capture::wake_at_commit();
            return Ok("rebuilding");
        }
    }
    capture::wake_at_commit();
    Ok(if changed { "changed" } else { "unchanged" })
}

/// The configuration with some parts replaced.
fn merged(
    old: &VectorizerConfig,
    parts: &Map<String, Value>,
    settings: &Settings,
) -> Result<VectorizerConfig> {
    let mut json = old.to_json();
    let all = json.as_object_mut().expect("a configuration is an object");
    for (part, value) in parts {
        all.insert(part.clone(), value.clone());
    }
    vectorizers::settle(VectorizerConfig::from_json(&json)?, settings)
}

fn check(v: &Vectorizer, new: &VectorizerConfig, settings: &Settings) -> Result<()> {
    vectorizers::check_columns(&v.source, new)?;
    vectorizers::check_provider(&new.embedding, v.source.owner, settings)
}

fn set_priority(v: &Vectorizer, rebuild: Option<&Rebuild>, priority: Option<i32>) -> Result<bool> {
    let Some(priority) = priority else { return Ok(false) };
    as_extension_owner(|| {
        if let Some(rebuild) = rebuild.filter(|r| r.is_running()) {
            control::set_priority(rebuild.other, priority)?;
        }
        control::set_priority(v.id, priority)
    })?;
    Ok(true)
}

/// Settings that change neither chunks nor vectors. A running rebuild takes the hours, the
/// processing and the index over.
fn change_at_once(
    v: &Vectorizer,
    new: &VectorizerConfig,
    running: Option<&Rebuild>,
    parts: &Map<String, Value>,
) -> Result<bool> {
    as_extension_owner(|| {
        if let Some(rebuild) = running {
            for part in ["scheduling", "processing", "indexing"] {
                if parts.contains_key(part) {
                    registry::set_config_part(rebuild.other, part, &new.to_json()[part])?;
                }
            }
        }
        if *new == v.config {
            return Ok(false);
        }
        registry::set_config(v.id, &new.to_json())?;
        Ok(true)
    })
}

/// While a rebuild runs, what makes the same vectors as its new configuration may be changed
/// there: the name of a key that was wrong, the address of the server.
fn change_running(v: &Vectorizer, rebuild: &Rebuild, new: &VectorizerConfig) -> Result<bool> {
    if !rebuild.is_running() {
        return Err(Error::new(
            Kind::WrongState,
            format!("vectorizer \"{}\" still keeps the store that it had before its last rebuild", v.name),
        )
        .hint(format!(
            "Once the new one is good: SELECT ai.drop_previous_store('{0}'); back to the old one: SELECT ai.rollback_rebuild('{0}');",
            v.name
        )));
    }
    let hidden = as_extension_owner(|| catalog::vectorizer(rebuild.other))?;
    if !pipeline::same_result(&hidden.config, new) {
        return Err(Error::new(
            Kind::WrongState,
            format!("vectorizer \"{}\" is being rebuilt already", v.name),
        )
        .hint(format!("Wait for it, or SELECT ai.cancel_rebuild('{}'); first.", v.name)));
    }
    let config = VectorizerConfig { destination: hidden.config.destination.clone(), ..new.clone() };
    if config == hidden.config {
        return Ok(false);
    }
    as_extension_owner(|| registry::set_config(hidden.id, &config.to_json()))?;
    Ok(true)
}

/// Makes the hidden vectorizer with its empty store.
fn begin(v: &Vectorizer, new: &VectorizerConfig, auto_swap: bool) -> Result<()> {
    if v.column.is_some() {
        return Err(Error::new(
            Kind::Unsupported,
            format!("vectorizer \"{}\" keeps its vectors in a column of {}, which cannot be rebuilt", v.name, v.source.ident),
        )
        .hint("Create a second vectorizer with destination => ai.destination_column('another_column'), and drop this one once that is filled."));
    }
    let dimensions = new.embedding.dimensions().expect("settled");
    as_extension_owner(|| belongings::require_movable(&v.store, dimensions))?;
    let id = as_extension_owner(registry::next_id)?;
    let (schema, _) = roles::name_of(v.store.oid)?;
    let table = format!("_vectorizer_store_{id}");
    // The new store is as the old one, whatever the source's columns are called by now.
    let stored = stored_key(&v.key);
    let owner = roles::name_by_oid(v.source.owner)?;
    let store = ddl::create_store(&schema, &table, &stored, &catalog::pgvector()?, dimensions)?;
    if current_role() != v.source.owner {
        ddl::set_owner(&schema, &table, &owner)?;
    }
    let config = VectorizerConfig {
        destination: Destination::Table(TableDestination {
            target_schema: Some(schema),
            target_table: Some(table),
            ..TableDestination::default()
        }),
        ..new.clone()
    };
    let (source_schema, source_table) = roles::name_of(v.source.oid)?;
    let by = roles::current_name()?;
    as_extension_owner(|| {
        let control = control::read(v.id)?;
        let paused = control.as_ref().filter(|control| control.state == "paused");
        ddl::create_queue(id, &stored, &owner)?;
        registry::insert(&NewVectorizer {
            id,
            name: &hidden_name(&v.name, "rebuild", id),
            source_schema: &source_schema,
            source_table: &source_table,
            source: v.source.oid,
            store: Some(store),
            key: &stored,
            config: config.to_json(),
            scanned: false,
            // They take turns: a rebuild that came after all changes might never come to its end.
            priority: control::priority(v.id)?,
            adopted: None,
        })?;
        if let Some(control) = paused {
            control::set_state(id, "paused", control.reason.as_deref(), &by, false)?;
        }
        rebuilds::insert(v.id, id, auto_swap, &by)
    })?;
    // Both see to the columns of both: after the swap each has the other's configuration.
    let relevant = relevant_to_both(&v.config, new)?;
    ddl::create_triggers(id, &v.source, &v.key, &relevant)?;
    if ddl::triggers_of(v.id, &v.source)?.1 {
        ddl::enable_always(id, &v.source)?;
    }
    set_columns(v, &relevant)
}

fn hidden_name(name: &str, what: &str, id: i32) -> String {
    names::with_suffix(name, &format!("_{what}_{id}"))
}

fn stored_key(key: &KeySpec) -> KeySpec {
    let mut key = key.clone();
    for column in &mut key.columns {
        column.source_name.clone_from(&column.stored_name);
    }
    key
}

fn relevant_to_both(a: &VectorizerConfig, b: &VectorizerConfig) -> Result<Vec<String>> {
    let mut columns = vectorizers::relevant_columns(a)?;
    columns.extend(vectorizers::relevant_columns(b)?);
    let mut seen = std::collections::HashSet::new();
    columns.retain(|column| seen.insert(column.clone()));
    Ok(columns)
}

/// Makes missing triggers anew, of the vectorizer and of the one behind it, whose store is to come or was
/// kept. True when one was missing.
pub fn mend_triggers(v: &Vectorizer) -> Result<bool> {
    let rebuild = as_extension_owner(|| rebuilds::of(v.id))?;
    // One behind it that has lost its store has nothing to mend.
    let other = rebuild.and_then(|r| as_extension_owner(|| catalog::vectorizer(r.other)).ok());
    let Some(other) = other else {
        return mending::mend(v, &vectorizers::relevant_columns(&v.config)?);
    };
    let relevant = relevant_to_both(&v.config, &other.config)?;
    let mended = [mending::mend(v, &relevant)?, mending::mend(&other, &relevant)?];
    Ok(mended.contains(&true))
}

/// Lets the trigger for UPDATE look at these columns.
fn set_columns(v: &Vectorizer, relevant: &[String]) -> Result<()> {
    let always = ddl::triggers_of(v.id, &v.source)?.1;
    ddl::set_update_trigger(v.id, &v.source, &v.key, relevant)?;
    if as_extension_owner(|| embedding::exists(v.id))? {
        embedding::set_update_trigger(v, relevant)?;
    }
    if always {
        // A trigger that was replaced fires as a new one does.
        ddl::enable_always(v.id, &v.source)?;
    }
    Ok(())
}

/// A hidden vectorizer is managed through the one that it belongs to.
pub fn refuse_hidden(id: i32) -> Result<()> {
    let Some(main) = as_extension_owner(|| rebuilds::main_of(id))? else { return Ok(()) };
    let main = as_extension_owner(|| registry::name_of(main))?;
    Err(Error::new(
        Kind::WrongState,
        format!("vectorizer {id} belongs to the rebuild of vectorizer \"{main}\""),
    )
    .hint(format!("Name \"{main}\" instead; SELECT ai.cancel_rebuild('{main}'); ends a rebuild.")))
}

/// The rebuild of a vectorizer that the caller manages; an error when there is none.
fn existing(id: i32) -> Result<(Vectorizer, Rebuild)> {
    let v = managed(id, Level::Admin)?;
    as_extension_owner(|| registry::lock(id))?;
    match as_extension_owner(|| rebuilds::of(id))? {
        Some(rebuild) => Ok((v, rebuild)),
        None => Err(Error::new(Kind::WrongState, format!("vectorizer \"{}\" has no rebuild", v.name))
            .hint("ai.alter_vectorizer begins one, with another model, chunking, formatting or loading.")),
    }
}

/// Ends a running rebuild: the old store stays, the new one goes.
pub fn cancel(id: i32) -> Result<&'static str> {
    let (v, rebuild) = existing(id)?;
    if !rebuild.is_running() {
        return Err(Error::new(
            Kind::WrongState,
            format!("the rebuild of vectorizer \"{}\" is finished", v.name),
        )
        .hint(format!("To go back: SELECT ai.rollback_rebuild('{}');", v.name)));
    }
    discard(&rebuild)?;
    Ok("cancelled")
}

/// Drops the store that was kept from before the last swap.
pub fn drop_previous(id: i32) -> Result<&'static str> {
    let (v, rebuild) = existing(id)?;
    if rebuild.is_running() {
        return Err(Error::new(
            Kind::WrongState,
            format!("vectorizer \"{}\" is being rebuilt and has no previous store", v.name),
        )
        .hint(format!("To give the rebuild up: SELECT ai.cancel_rebuild('{}');", v.name)));
    }
    discard(&rebuild)?;
    Ok("dropped")
}

/// Removes the hidden vectorizer with its store. The caller may manage the vectorizer. Never
/// waits for a provider.
pub fn discard(rebuild: &Rebuild) -> Result<()> {
    locks::wait_for_transaction(rebuild.other, Lock::Gate, Mode::Exclusive);
    let parts = registry::for_drop(rebuild.other)?;
    as_extension_owner(|| registry::end_leases(rebuild.other))?;
    if let Some(source) = &parts.source {
        ddl::drop_triggers(rebuild.other, source)?;
        if let Ok(v) = as_extension_owner(|| catalog::vectorizer(rebuild.vectorizer)) {
            set_columns(&v, &vectorizers::relevant_columns(&v.config)?)?;
        }
    }
    super::checkpoints::restore::detach_queue(rebuild.other)?;
    if let Some(store) = &parts.store {
        // Checkpoints of the store take along what they still read of it.
        super::checkpoints::restore::detach_tables(std::iter::once(store))?;
        ddl::drop_table(&store.ident)?;
    }
    as_extension_owner(|| {
        rebuilds::merge_counters(rebuild.vectorizer, rebuild.other)?;
        ddl::drop_queue(rebuild.other)?;
        registry::delete(rebuild.other)
    })?;
    capture::wake_at_commit();
    Ok(())
}
