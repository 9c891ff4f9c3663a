//! The names that pgai's users chose for a queue, `queue_schema` and `queue_table`: the queue has its
//! own name here, a view with pgai's columns has theirs. So has its failed table, which pgai kept in
//! `queue_schema`, too.
//!
//! Everything is made with the rights of the caller, so that nobody gets an object into a schema that
//! is not for them.

use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Vectorizer};
use crate::store::ident::Ident;
use crate::store::pgai::Old;
use crate::store::queue_views::{self, FAILED_COLUMNS, QUEUE_COLUMNS};
use crate::store::{ddl, roles};

/// Where queues are, here and in pgai.
const HOME: &str = "ai";

/// The names that were asked for.
pub struct Names {
    schema: String,
    table: Option<String>,
}

impl Names {
    /// None where nothing was asked for. Errors: what can be seen before anything is made.
    pub fn of(schema: Option<&str>, table: Option<&str>) -> Result<Option<Names>> {
        if schema.is_none() && table.is_none() {
            return Ok(None);
        }
        let schema = schema.unwrap_or(HOME);
        if table == Some("") {
            return Err(Error::invalid("queue_table is empty").hint("Leave it out, or give the view a name."));
        }
        if !roles::schema_exists(schema)? {
            return Err(Error::new(Kind::UndefinedObject, format!("schema \"{schema}\" does not exist"))
                .hint("Create it first, or leave queue_schema out."));
        }
        if schema.starts_with("pg_temp") {
            return Err(Error::new(
                Kind::Unsupported,
                format!("schema \"{schema}\" is for temporary tables"),
            )
            .hint("Give another queue_schema."));
        }
        Ok(Some(Names { schema: schema.to_owned(), table: table.map(str::to_owned) }))
    }

    /// Makes the views.
    pub fn make(&self, v: &Vectorizer) -> Result<()> {
        let own = ddl::queue_name(v.id);
        let table = self.table.as_ref().unwrap_or(&own);
        if self.schema != HOME {
            create(v, &self.schema, table, View::Queue)?;
            create(v, &self.schema, &ddl::failed_name(v.id), View::Failed)
        } else if *table == own {
            Ok(())
        } else if is_ours(table) {
            Err(Error::invalid(format!(
                "\"{table}\" is a name that autovector keeps for itself in schema {HOME}"
            ))
            .hint("Give another queue_table, or a queue_schema."))
        } else {
            create(v, HOME, table, View::Queue)
        }
    }
}

/// Names that tables of vectorizers to come may have.
fn is_ours(table: &str) -> bool {
    table.starts_with('_')
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    Queue,
    Failed,
}

fn create(v: &Vectorizer, schema: &str, name: &str, of: View) -> Result<()> {
    if !roles::may_create_in(schema)? {
        return Err(Error::new(
            Kind::InsufficientPrivilege,
            format!("permission denied to create view \"{name}\" in schema {schema}"),
        )
        .hint("Give a queue_schema in which you may create, or leave queue_schema and queue_table out."));
    }
    if roles::relation_exists(schema, name)? {
        return Err(Error::new(
            Kind::DuplicateObject,
            format!("an object named {schema}.{name} already exists"),
        )
        .hint("Give an alternate queue_table, or another queue_schema."));
    }
    let (table, columns) = match of {
        View::Queue => (&v.queue, QUEUE_COLUMNS.as_slice()),
        View::Failed => (&v.failed, FAILED_COLUMNS.as_slice()),
    };
    let owner = roles::name_by_oid(v.source.owner)?;
    queue_views::create(&Ident::qualified(schema, name), table, &v.key, columns, &v.source, &owner)
}

/// A queue or failed table of pgai's that people knew under a name of their own.
#[derive(Debug, Clone)]
pub struct Known {
    pub of: View,
    /// Where it was, or still is.
    pub schema: String,
    pub name: String,
}

/// What an import does about such a name.
#[derive(Debug, Clone)]
pub enum Succession {
    /// The name is free: pgai's own schema has been renamed with the table in it.
    View,
    /// The old table goes into pgai's schema, and the view takes its place.
    Move,
    /// The view cannot be made.
    None(&'static str),
}

impl Known {
    /// The names of a vectorizer of pgai's that are not the default, which is ours, too.
    pub fn of(old: &Old) -> Vec<Known> {
        let schema = &old.queue_schema;
        [
            (View::Queue, &old.queue_table, ddl::queue_name(old.id)),
            (View::Failed, &old.queue_failed_table, ddl::failed_name(old.id)),
        ]
        .into_iter()
        .filter_map(|(of, name, default)| Some((of, name.clone()?, default)))
        .filter(|(_, name, default)| !schema.is_empty() && (schema != HOME || name != default))
        .map(|(of, name, _)| Known { of, schema: schema.clone(), name })
        .collect()
    }

    /// Looks, and changes nothing. `remains` is pgai's schema.
    pub fn succession(&self, remains: &str) -> Result<Succession> {
        let Known { schema, name, .. } = self;
        if schema == HOME && is_ours(name) {
            return Ok(Succession::None("the name is for tables of vectorizers"));
        }
        if !roles::schema_exists(schema)? || !roles::may_create_in(schema)? {
            return Ok(Succession::None("you may not create in its schema"));
        }
        let Some(table) = catalog::relation_named(schema, name)? else { return Ok(Succession::View) };
        if schema == HOME || table.kind != b'r' || roles::require_ownership(&table).is_err() {
            return Ok(Succession::None("an object has its name that you do not own"));
        }
        if !roles::may_create_in(remains)? || roles::relation_exists(remains, name)? {
            return Ok(Succession::None("the old table cannot be moved to pgai's schema"));
        }
        Ok(Succession::Move)
    }

    /// Does what `succession` said.
    pub fn succeed(&self, what: &Succession, remains: &str, v: &Vectorizer) -> Result<()> {
        let Known { of, schema, name } = self;
        match what {
            Succession::None(_) => return Ok(()),
            Succession::Move => ddl::set_schema(schema, name, remains)?,
            Succession::View => {}
        }
        create(v, schema, name, *of)
    }
}
