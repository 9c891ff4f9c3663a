//! Taking over the vectorizers of pgai: their catalog, with the stores, views and grants as they
//! are, and what was pending or had failed. Nothing that is there is embedded again. All of it is
//! planned, and refused as a whole where a part cannot be mapped, before anything changes.

use autovector_domain::config::{Destination, VectorizerConfig};
use autovector_domain::{names, pipeline};
use serde_json::{Value, json};

use super::queue_views::{Known, Succession};
use super::vectorizers::{self, check_columns, check_provider, relevant_columns, settle};
use super::{adoption, indexing};
use crate::error::{Error, Kind, Result};
use crate::settings::Settings;
use crate::store::catalog::{self, Pgvector, Relation};
use crate::store::key::KeySpec;
use crate::store::pgai::{self, Old, Remains};
use crate::store::registry::{self, NewVectorizer};
use crate::store::transaction::as_extension_owner;
use crate::store::{adoption as stores, capture, control, ddl, roles};

/// One thing that is done, or would be.
pub struct Line {
    pub action: &'static str,
    pub object: String,
    pub detail: String,
}

/// What becomes of one vectorizer of pgai.
enum Fate {
    Import(Box<Plan>),
    Skip(String),
    Refuse(String),
}

struct Plan {
    old: Old,
    remains: Remains,
    source: Relation,
    key: KeySpec,
    config: VectorizerConfig,
    /// None with `destination_column`.
    store: Option<Relation>,
    has_view: bool,
    /// Names of its queues that people know.
    queues: Vec<(Known, Succession)>,
    pending: i64,
    failed: i64,
    chunks: i64,
    orphans: i64,
}

/// Takes over every vectorizer of the catalog in `schema`; with `dry_run` only says how.
pub fn import(schema: &str, dry_run: bool) -> Result<Vec<Line>> {
    let all = pgai::read(schema)?;
    let mut found = Vec::with_capacity(all.len());
    for old in all {
        let remains = pgai::remains(schema, &old)?;
        found.push((old, remains));
    }
    if !dry_run {
        lock(&found)?;
    }
    let pgvector = catalog::pgvector()?;
    let mut plans = Vec::new();
    let mut lines = Vec::new();
    let mut refused = Vec::new();
    for (old, remains) in found {
        let name = old.name.clone();
        match plan(schema, old, remains, &pgvector)? {
            Fate::Import(plan) => {
                lines.extend(plan.lines());
                plans.push(plan);
            }
            Fate::Skip(why) => lines.push(line("skip", format!("vectorizer {name}"), why)),
            Fate::Refuse(why) => {
                refused.push(format!("{name}: {why}"));
                lines.push(line("refuse", format!("vectorizer {name}"), why));
            }
        }
    }
    if dry_run {
        return Ok(lines);
    }
    if !refused.is_empty() {
        return Err(Error::new(
            Kind::Unsupported,
            format!("{} of the vectorizers in \"{schema}\" cannot be taken over", refused.len()),
        )
        .detail(refused.join("\n"))
        .hint(format!(
            "Nothing was changed. See SELECT * FROM ai.import_pgai('{schema}', dry_run => true); DELETE FROM {} WHERE name = '…'; leaves one out.",
            crate::store::ident::Ident::qualified(schema, "vectorizer")
        )));
    }
    for plan in plans {
        plan.apply(schema, &pgvector)?;
    }
    capture::wake_at_commit();
    Ok(lines)
}

/// Sources first, in one order; then what belongs to them.
fn lock(found: &[(Old, Remains)]) -> Result<()> {
    let mut order: Vec<&Remains> = found.iter().map(|(_, remains)| remains).collect();
    order.sort_by_key(|remains| remains.source.as_ref().map(|source| u32::from(source.oid)));
    for remains in order {
        if let Some(source) = &remains.source {
            roles::require_ownership(source)?;
        }
        remains.lock()?;
    }
    Ok(())
}

/// Errors of the vectorizer's own are a refusal, not an end.
fn plan(schema: &str, old: Old, remains: Remains, pgvector: &Pgvector) -> Result<Fate> {
    let Some(source) = remains.source.clone() else {
        return Ok(Fate::Skip(format!(
            "its source {}.{} does not exist any more",
            old.source_schema, old.source_table
        )));
    };
    roles::require_ownership(&source)?;
    match checked(&old, &source, pgvector) {
        Err(error) => {
            let hint = error.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            Ok(Fate::Refuse(format!("{error}{hint}")))
        }
        Ok(None) => Ok(Fate::Skip("it has been taken over already".to_owned())),
        Ok(Some(Checked { config, key, store, has_view })) => {
            let (pending, failed) = remains.counts(&key)?;
            let (chunks, orphans) = match &store {
                Some(store) => pgai::chunks(store, &source, &key)?,
                None => (0, 0),
            };
            let queues = Known::of(&old).into_iter();
            let queues = queues
                .map(|known| {
                    let what = known.succession(schema)?;
                    Ok((known, what))
                })
                .collect::<Result<_>>()?;
            Ok(Fate::Import(Box::new(Plan {
                old,
                remains,
                source,
                key,
                config,
                store,
                has_view,
                queues,
                pending,
                failed,
                chunks,
                orphans,
            })))
        }
    }
}

struct Checked {
    config: VectorizerConfig,
    key: KeySpec,
    store: Option<Relation>,
    has_view: bool,
}

/// Everything that `ai.create_vectorizer` would check; None for one that has been imported.
fn checked(old: &Old, source: &Relation, pgvector: &Pgvector) -> Result<Option<Checked>> {
    let settings = Settings::now();
    names::check_vectorizer_name(&old.name)?;
    let mut config = settle(read_config(&old.config)?, &settings)?;
    check_columns(source, &config)?;
    let key = catalog::stored_key(source, &old.source_pk)?;
    match catalog::primary_key(source.oid)? {
        Some(now) if attnums(&now) == attnums(&key) => {}
        _ => {
            return Err(Error::new(
                Kind::WrongState,
                format!("{} has not the primary key any more that pgai knew", source.ident),
            )
            .hint("Give it back, or make a new vectorizer."));
        }
    }
    let (schema, table) = roles::name_of(source.oid)?;
    config.destination = config.destination.resolve(&schema, &table);
    let dimensions = config.embedding.dimensions().unwrap_or_default();
    let (mut store, mut has_view) = (None, true);
    let taken = as_extension_owner(|| registry::id_by_name(&old.name))?;
    if let Destination::Table(names) = &mut config.destination {
        let set = |name: &Option<String>| name.clone().unwrap_or_default();
        let found = stores::candidate(&set(&names.target_schema), &set(&names.target_table), source)?;
        if taken.is_some() && as_extension_owner(|| stores::user_of(found.oid))?.as_ref() == Some(&old.name) {
            return Ok(None);
        }
        adoption::check(&found, &key, pgvector, dimensions)?;
        let view = pgai::view(old, &set(&names.view_name), &set(&names.view_schema))?;
        has_view = view.is_some();
        names.view_schema = view.or(names.view_schema.take());
        store = Some(found);
    }
    if let Some(id) = taken {
        if store.is_none() && as_extension_owner(|| catalog::vectorizer(id))?.source.oid == source.oid {
            return Ok(None);
        }
        return Err(Error::new(
            Kind::DuplicateObject,
            format!("there is another vectorizer called \"{}\" already", old.name),
        )
        .hint(format!("SELECT ai.drop_vectorizer('{}'); if it is not needed.", old.name)));
    }
    check_provider(&config.embedding, source.owner, &settings)?;
    indexing::check(&config.indexing, dimensions, pgvector)?;
    Ok(Some(Checked { config, key, store, has_view }))
}

fn read_config(stored: &Value) -> Result<VectorizerConfig> {
    let mut parts = stored.clone();
    if let Some(parts) = parts.as_object_mut() {
        parts.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    }
    Ok(VectorizerConfig::from_json(&parts)?)
}

fn attnums(key: &KeySpec) -> Vec<i16> {
    key.columns.iter().map(|column| column.attnum).collect()
}

fn line(action: &'static str, object: impl Into<String>, detail: impl Into<String>) -> Line {
    Line { action, object: object.into(), detail: detail.into() }
}

impl Plan {
    fn lines(&self) -> Vec<Line> {
        let name = &self.old.name;
        let embedding = &self.config.embedding;
        let mut lines = vec![line(
            "import",
            format!("vectorizer {name}"),
            format!(
                "source {}, model {} of {}",
                self.source.ident,
                embedding.model(),
                embedding.implementation()
            ),
        )];
        for trigger in &self.remains.triggers {
            lines.push(line("drop", format!("trigger {trigger}"), format!("on {}", self.source.ident)));
        }
        match (&self.store, &self.config.destination) {
            (Some(store), _) => {
                lines.push(line(
                    "adopt",
                    format!("store {}", store.ident),
                    format!("{} chunks", self.chunks),
                ));
            }
            (None, Destination::Column { embedding_column }) => lines.push(line(
                "adopt",
                format!("column {embedding_column}"),
                format!("of {}", self.source.ident),
            )),
            _ => {}
        }
        if let Some(target) = vectorizers::target(&self.config) {
            let action = if self.has_view { "keep" } else { "create" };
            lines.push(line(
                action,
                format!("view {}.{}", target.view_schema, target.view),
                "with its grants",
            ));
        }
        for (known, what) in &self.queues {
            let name = format!("{}.{}", known.schema, known.name);
            lines.push(match what {
                Succession::View => line("create", format!("view {name}"), "of the queue"),
                Succession::Move => {
                    line("create", format!("view {name}"), "of the queue; the table goes into pgai's schema")
                }
                Succession::None(why) => line("note", format!("no view {name} of the queue"), *why),
            });
        }
        let rows = |count: i64, what: &str| format!("{count} {what}");
        for (action, count, what) in [
            ("delete", self.orphans, "chunks whose row is gone"),
            ("queue", self.pending, "pending rows"),
            ("queue", self.failed, "failed rows, set aside as such"),
        ] {
            if count > 0 {
                lines.push(line(action, format!("vectorizer {name}"), rows(count, what)));
            }
        }
        if self.old.disabled {
            lines.push(line("pause", format!("vectorizer {name}"), "it was disabled"));
        }
        if let Some(job) = self.old.config.pointer("/scheduling/job_id").filter(|job| !job.is_null()) {
            lines.push(line(
                "note",
                format!("job {job}"),
                format!("nobody needs it: SELECT delete_job({job});"),
            ));
        }
        lines
    }

    fn apply(self, schema: &str, pgvector: &Pgvector) -> Result<()> {
        let owner = roles::name_by_oid(self.source.owner)?;
        let dimensions = self.config.embedding.dimensions().unwrap_or_default();
        self.remains.drop_triggers()?;
        if let Some(store) = &self.store {
            adoption::take_over(store, &self.key, pgvector, dimensions)?;
        }
        let (source_schema, source_table) = roles::name_of(self.source.oid)?;
        let id = as_extension_owner(|| {
            let id = pgai::take_id(self.old.id)?;
            ddl::create_queue(id, &self.key, &owner)?;
            registry::insert(&NewVectorizer {
                id,
                name: &self.old.name,
                source_schema: &source_schema,
                source_table: &source_table,
                source: self.source.oid,
                store: self.store.as_ref().map(|store| store.oid),
                key: &self.key,
                config: self.config.to_json(),
                // What pgai had not queued it had done.
                scanned: true,
                priority: vectorizers::DEFAULT_PRIORITY,
                adopted: Some(&pipeline::fingerprint(&self.config.embedding)),
            })?;
            Ok(id)
        })?;
        let v = as_extension_owner(|| catalog::vectorizer(id))?;
        if self.store.is_some() {
            pgai::delete_orphans(&v)?;
        }
        self.remains.copy_into(&v)?;
        for (known, what) in &self.queues {
            known.succeed(what, schema, &v)?;
        }
        if let Some(errors) = pgai::read_errors(schema, &self.old)? {
            as_extension_owner(|| pgai::write_errors(errors, id))?;
        }
        ddl::create_triggers(id, &self.source, &self.key, &relevant_columns(&self.config)?)?;
        if let (Some(target), Some(store), false) =
            (vectorizers::target(&self.config), &self.store, self.has_view)
        {
            ddl::create_view(
                &target.view_schema,
                &target.view,
                &self.source,
                store,
                &self.key,
                pgvector,
                &owner,
            )?;
        }
        if self.old.disabled {
            let by = roles::current_name()?;
            as_extension_owner(|| control::set_state(id, "paused", Some("disabled in pgai"), &by, false))?;
        }
        Ok(())
    }
}
