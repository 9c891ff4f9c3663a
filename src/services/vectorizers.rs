//! Creating and dropping vectorizers. Everything is checked before anything is made, and all of
//! it happens in the caller's transaction: after an error nothing is left.

use autovector_domain::config::{Destination, Embedding, Source, VectorizerConfig};
use autovector_domain::names;
use autovector_domain::pipeline;
use autovector_domain::template::Template;
use pgrx::pg_sys;
use serde_json::{Map, Value, json};

use super::queue_views::Names;
use super::{adoption, documents, provider};
use crate::error::{Error, Kind, Result};
use crate::settings::Settings;
use crate::store::adoption as store_adoption;
use crate::store::catalog::{self, Pgvector, Relation, Vectorizer};
use crate::store::key::KeySpec;
use crate::store::registry::{self, NewVectorizer};
use crate::store::transaction::{as_extension_owner, current_role};
use crate::store::{capture, ddl, locks, mending, rebuilds, roles, secret_grants, vectorizer_grants, wake};

/// The priority of a vectorizer that nobody gave another one.
pub const DEFAULT_PRIORITY: i32 = 100;

/// The arguments of `ai.create_vectorizer`, as they were given.
pub struct Request {
    pub source: pg_sys::Oid,
    pub name: Option<String>,
    /// `config_type` → JSON, absent where the argument was NULL.
    pub config: Map<String, Value>,
    pub queue_schema: Option<String>,
    pub queue_table: Option<String>,
    pub grant_to: Vec<String>,
    pub enqueue_existing: bool,
    pub if_not_exists: bool,
    pub priority: i32,
    /// A store that is there already is taken over.
    pub adopt_existing: bool,
}

/// The vectors' own table and view, as they will be made.
pub(super) struct Target {
    pub schema: String,
    pub table: String,
    pub view_schema: String,
    pub view: String,
}

/// Makes a vectorizer and returns its id; with `if_not_exists` the id of the one that has the
/// name already.
pub fn create(request: Request) -> Result<i32> {
    for missing in roles::missing(&request.grant_to)? {
        pgrx::warning!("role \"{missing}\" in grant_to does not exist");
    }
    require_parts(&request)?;
    let source = source(request.source)?;
    roles::require_ownership(&source)?;
    let key = catalog::primary_key(source.oid)?.ok_or_else(|| {
        Error::invalid(format!("source table {} must have a primary key", source.ident))
            .hint(format!("ALTER TABLE {} ADD PRIMARY KEY (…);", source.ident))
    })?;
    let queue_names = Names::of(request.queue_schema.as_deref(), request.queue_table.as_deref())?;
    let pgvector = catalog::pgvector()?;
    let (schema, table) = roles::name_of(source.oid)?;
    let settings = Settings::now();
    let config = config(&request, &schema, &table, &settings)?;
    check_columns(&source, &config)?;

    let name = name(&request, &config, &schema, &table)?;
    if let Some(existing) = registry::id_by_name(&name)? {
        if request.if_not_exists {
            pgrx::notice!("vectorizer \"{name}\" already exists, skipping");
            return Ok(existing);
        }
        return Err(Error::new(Kind::DuplicateObject, format!("vectorizer \"{name}\" already exists"))
            .hint("Give another name => '…', or if_not_exists => true."));
    }
    let target = target(&config);
    let dimensions = config.embedding.dimensions().expect("settled by config()");
    let found = match &target {
        Some(target) if request.adopt_existing => {
            adoption::find(target, &source, &key, &pgvector, dimensions)?
        }
        _ => None,
    };
    if let Some(target) = &target {
        check_target(target, found.as_ref())?;
    }
    check_provider(&config.embedding, source.owner, &settings)?;
    super::indexing::check(&config.indexing, config.embedding.dimensions().unwrap_or_default(), &pgvector)?;

    let id = as_extension_owner(registry::next_id)?;
    let owner = roles::name_by_oid(source.owner)?;
    let store = match &target {
        Some(_) if found.is_some() => {
            let found = found.as_ref().expect("just seen");
            // Before the store, as TRUNCATE of the source takes them; nobody writes from here on.
            locks::lock_relation(source.oid, locks::SHARE_ROW_EXCLUSIVE);
            adoption::take_over(found, &key, &pgvector, dimensions)?;
            Some(found.oid)
        }
        Some(target) => Some(make_target(target, &source, &key, &pgvector, dimensions, &owner)?),
        None => {
            let Destination::Column { embedding_column } = &config.destination else { unreachable!() };
            ddl::add_vector_column(&source, embedding_column, &pgvector, dimensions)?;
            None
        }
    };
    as_extension_owner(|| {
        ddl::create_queue(id, &key, &owner)?;
        registry::insert(&NewVectorizer {
            id,
            name: &name,
            source_schema: &schema,
            source_table: &table,
            source: source.oid,
            store,
            key: &key,
            config: config.to_json(),
            // Of a store that was there, every row is looked at by itself.
            scanned: !request.enqueue_existing || found.is_some(),
            priority: request.priority,
            adopted: found.is_some().then(|| pipeline::fingerprint(&config.embedding)).as_deref(),
        })
    })?;
    ddl::create_triggers(id, &source, &key, &relevant_columns(&config)?)?;
    if let (Some(target), Some(store)) = (&target, store) {
        let store = catalog::relation(store)?.expect("created above");
        if !roles::relation_exists(&target.view_schema, &target.view)? {
            ddl::create_view(&target.view_schema, &target.view, &source, &store, &key, &pgvector, &owner)?;
        }
    }
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    if found.is_some() && request.enqueue_existing {
        mending::make_all_dirty(&v)?;
    }
    if let Some(names) = queue_names {
        names.make(&v)?;
    }
    grant_to(&v, &roles::existing(&request.grant_to)?)?;
    if !wake::preloaded() {
        pgrx::warning!(
            "autovector is not preloaded, so no worker will fill this vectorizer; add shared_preload_libraries = 'autovector' to postgresql.conf and restart the server"
        );
    }
    capture::wake_at_commit();
    Ok(id)
}

/// What pgai's grant_to gives, as far as it is needed: the work itself is done with the owner's rights.
fn grant_to(v: &Vectorizer, roles: &[String]) -> Result<()> {
    let mut readable = vectorizer_grants::readable(v)?;
    readable.push((v.source.ident.clone(), roles::name_of(v.source.oid)?.0));
    for role in roles {
        vectorizer_grants::grant_select(&readable, role)?;
    }
    Ok(())
}

/// Has the triggers of a vectorizer fire for rows that logical replication applies, too: by default
/// PostgreSQL leaves triggers out there.
pub fn capture_replicated(id: i32) -> Result<()> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    roles::require_ownership(&v.source)?;
    ddl::enable_always(id, &v.source)
}

fn source(oid: pg_sys::Oid) -> Result<Relation> {
    let source = catalog::relation(oid)?
        .ok_or_else(|| Error::new(Kind::UndefinedObject, "the source table does not exist"))?;
    if !matches!(source.kind, b'r' | b'p') {
        return Err(Error::new(Kind::Unsupported, format!("{} is not a table", source.ident))
            .hint("Vectorize the table behind the view, or a partitioned table."));
    }
    if roles::is_temporary(oid)? {
        return Err(Error::new(Kind::Unsupported, format!("{} is a temporary table", source.ident))
            .hint("Workers cannot see temporary tables; use an ordinary one."));
    }
    Ok(source)
}

/// What there is no default for.
fn require_parts(request: &Request) -> Result<()> {
    for (required, example) in [
        ("embedding", "embedding => ai.embedding_local()"),
        ("loading", "loading => ai.loading_column('body')"),
    ] {
        if !request.config.contains_key(required) {
            return Err(Error::invalid(format!("{required} configuration is required"))
                .hint(format!("Give {example}.")));
        }
    }
    Ok(())
}

/// The whole configuration, with names resolved and the model's dimension filled in.
fn config(request: &Request, schema: &str, table: &str, settings: &Settings) -> Result<VectorizerConfig> {
    let mut parts = request.config.clone();
    parts.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    let mut config = VectorizerConfig::from_json(&Value::Object(parts))?;
    config.destination = config.destination.resolve(schema, table);
    settle(config, settings)
}

/// Fills the model's dimension in, and checks what concerns more than one part.
pub(super) fn settle(mut config: VectorizerConfig, settings: &Settings) -> Result<VectorizerConfig> {
    if let Embedding::Local(local) = &mut config.embedding {
        let info = provider::describe(&local.model, settings)?;
        let found = info.dimensions;
        if local.dimensions.is_some_and(|asked| asked != found) {
            return Err(Error::invalid(format!(
                "model \"{}\" has {found} dimensions, not {}",
                local.model,
                local.dimensions.unwrap_or(0)
            ))
            .hint("Leave dimensions out: they are read from the model."));
        }
        local.dimensions = Some(found);
    }
    config.validate()?;
    config.embedding.check_model()?;
    Ok(config)
}

/// Every column that the configuration names is there, and of a usable type.
pub fn check_columns(source: &Relation, config: &VectorizerConfig) -> Result<()> {
    let columns = catalog::column_names(source.oid)?;
    let missing = |column: &str, what: &str| {
        let near = names::nearest(column, columns.iter().map(String::as_str));
        let hint = if near.is_empty() { columns.join(", ") } else { near.join(" or ") };
        Error::new(Kind::UndefinedColumn, format!("{what} \"{column}\" does not exist in {}", source.ident))
            .hint(format!("Did you mean {hint}?"))
    };
    let loading = &config.loading.column_name;
    if !columns.contains(loading) {
        return Err(missing(loading, "column"));
    }
    check_documents(source, config)?;
    let template = Template::parse(&config.formatting.template)?;
    for placeholder in template.placeholders() {
        if placeholder != "chunk" && !columns.iter().any(|column| column == placeholder) {
            return Err(missing(placeholder, "the template's column"));
        }
    }
    if columns.iter().any(|column| column == "chunk") {
        return Err(Error::invalid(format!("source table {} has a column named \"chunk\"", source.ident))
            .hint("Rename the column: in templates $chunk is the chunk of the text."));
    }
    Ok(())
}

/// Whether documents can come from where the configuration says.
fn check_documents(source: &Relation, config: &VectorizerConfig) -> Result<()> {
    let (loading, bytes) = (&config.loading, catalog::is_bytea(source.oid, &config.loading.column_name)?);
    if let Source::Uri { aws_role_arn } = &loading.from {
        if bytes {
            return Err(Error::invalid(format!("column \"{}\" is bytea, and no URI", loading.column_name))
                .hint("A column that has the documents themselves is loaded with ai.loading_column."));
        }
        if aws_role_arn.is_some() {
            return Err(Error::new(Kind::Unsupported, "a role of AWS cannot be assumed")
                .hint("Leave aws_role_arn out, and give the server keys that may read the bucket."));
        }
        if let Err(problem) = documents::check(&Settings::now()) {
            pgrx::warning!("{}", problem.message);
        }
        return Ok(());
    }
    if !bytes && config.parsing.needs_document() {
        return Err(Error::invalid(format!(
            "the parsing is for documents, and column \"{}\" has text",
            loading.column_name
        ))
        .hint("Leave parsing out, or load a bytea column, or use ai.loading_uri('column_name')."));
    }
    Ok(())
}

/// The columns whose change makes a row dirty, besides the key.
pub fn relevant_columns(config: &VectorizerConfig) -> Result<Vec<String>> {
    Ok(config.watched_columns()?)
}

fn name(request: &Request, config: &VectorizerConfig, schema: &str, table: &str) -> Result<String> {
    match &request.name {
        Some(name) => {
            names::check_vectorizer_name(name)?;
            Ok(name.clone())
        }
        None => Ok(match &config.destination {
            Destination::Table(t) => names::default_vectorizer(
                t.target_schema.as_deref().unwrap_or(schema),
                t.target_table.as_deref().unwrap_or(table),
            ),
            Destination::Column { embedding_column } => {
                names::default_column_vectorizer(schema, table, embedding_column)
            }
        }),
    }
}

pub(super) fn target(config: &VectorizerConfig) -> Option<Target> {
    let Destination::Table(table) = &config.destination else { return None };
    let set = |name: &Option<String>| name.clone().expect("resolved by config()");
    Some(Target {
        schema: set(&table.target_schema),
        table: set(&table.target_table),
        view_schema: set(&table.view_schema),
        view: set(&table.view_name),
    })
}

/// Names that are free, but for a store that is taken over and the view upon it.
fn check_target(target: &Target, found: Option<&Relation>) -> Result<()> {
    for (schema, name, what, argument) in [
        (&target.view_schema, &target.view, "an object", "view_name"),
        (&target.schema, &target.table, "an object", "target_table"),
    ] {
        if !roles::schema_exists(schema)? {
            return Err(Error::new(Kind::UndefinedObject, format!("schema \"{schema}\" does not exist"))
                .hint("Create it first, or leave the schema out."));
        }
        let taken_over = match found {
            Some(_) if argument == "target_table" => true,
            Some(store) => store_adoption::reads(schema, name, store.oid)?,
            None => false,
        };
        if !taken_over && roles::relation_exists(schema, name)? {
            return Err(Error::new(
                Kind::DuplicateObject,
                format!("{what} named {schema}.{name} already exists"),
            )
            .hint(format!("Give an alternate destination or {argument} in ai.destination_table(…).")));
        }
    }
    Ok(())
}

/// What can be seen of the provider without calling it. A key that is not there yet may come:
/// that alone is a warning.
pub(super) fn check_provider(embedding: &Embedding, owner: pg_sys::Oid, settings: &Settings) -> Result<()> {
    let may_use_key = match embedding.api_key_name() {
        Some(secret) => as_extension_owner(|| secret_grants::may_use(owner, secret))?,
        None => true,
    };
    provider::require_no_key_unless(embedding, may_use_key)
        .map_err(|failure| Error { kind: Kind::InsufficientPrivilege, ..failure.into() })?;
    if let Some(name) = embedding.api_key_name() {
        let missing = (provider::surroundings(settings).secrets)(name).is_none();
        if missing && embedding.needs_key() {
            pgrx::warning!(
                "API key \"{}\" is not set; put it into the environment of the server or into a file of that name in autovector.secrets_directory",
                name
            );
            return Ok(());
        }
    }
    provider::check(embedding, may_use_key, settings)?;
    Ok(())
}

fn make_target(
    target: &Target,
    source: &Relation,
    key: &KeySpec,
    pgvector: &Pgvector,
    dimensions: u32,
    owner: &str,
) -> Result<pg_sys::Oid> {
    let store = ddl::create_store(&target.schema, &target.table, key, pgvector, dimensions)?;
    if current_role() != source.owner {
        ddl::set_owner(&target.schema, &target.table, owner)?;
    }
    Ok(store)
}

/// Drops a vectorizer: its triggers, queue and catalog rows; with `drop_all` the view and the
/// store too. Never waits for a provider: what is in flight finds its lease gone.
pub fn drop(id: i32, drop_all: bool) -> Result<()> {
    let v = registry::for_drop(id)?;
    if let Some(source) = &v.source {
        roles::require_ownership(source)?;
    }
    super::rebuild::refuse_hidden(id)?;
    if let Some(rebuild) = as_extension_owner(|| rebuilds::of(id))? {
        super::rebuild::discard(&rebuild)?;
    }
    locks::wait_for_transaction(id, locks::Lock::Gate, locks::Mode::Exclusive);
    as_extension_owner(|| registry::end_leases(id))?;
    if let Some(source) = &v.source {
        ddl::drop_triggers(id, source)?;
    }
    // Checkpoints of the vectorizer go on knowing what was pending.
    super::checkpoints::restore::detach_queue(id)?;
    if drop_all && let Some(target) = &v.target {
        ddl::drop_target(target)?;
    }
    as_extension_owner(|| {
        ddl::drop_queue(id)?;
        registry::delete(id)
    })
}
