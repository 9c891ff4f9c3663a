//! Checkpoints themselves: rows with a name and a lifetime that hold versions. Runs as the
//! extension's owner; who may do what is decided by the services.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::{JsonB, Uuid};

use super::history::{self, History};
use super::reading::Version;
use crate::error::{Error, Kind, Result};
use crate::store::{catalog, sql};

/// A live checkpoint.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    pub id: Uuid,
    pub target: String,
    pub vectorizer: Option<i32>,
    pub config: Option<serde_json::Value>,
    pub pins: Vec<Pin>,
    pub checksum: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Pin {
    pub role: String,
    pub history: i32,
    pub number: i64,
}

impl Checkpoint {
    /// The history and the version of the table itself.
    pub fn main(&self) -> Result<(History, i64)> {
        self.role("table")?
            .ok_or_else(|| Error::new(Kind::Internal, format!("checkpoint {} holds no version", self.id)))
    }

    pub fn role(&self, role: &str) -> Result<Option<(History, i64)>> {
        let pin = self.pins.iter().find(|pin| pin.role == role);
        pin.map(|pin| Ok((history::expect(pin.history)?, pin.number))).transpose()
    }
}

pub struct NewCheckpoint<'a> {
    pub id: Uuid,
    pub name: Option<&'a str>,
    pub target: &'a str,
    pub vectorizer: Option<i32>,
    pub set: Option<Uuid>,
    pub source: Option<Uuid>,
    pub kind: &'a str,
    pub config: Option<serde_json::Value>,
    pub created_by: &'a str,
    pub lifetime: Option<Interval>,
}

pub fn insert(new: NewCheckpoint<'_>, pins: &[Pin]) -> Result<()> {
    sql::execute(
        "INSERT INTO ai._checkpoint (id, name, target, vectorizer, set_id, source, kind, config, created_by, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::name, clock_timestamp() + $10)",
        &[
            new.id.into(),
            new.name.into(),
            new.target.into(),
            new.vectorizer.into(),
            new.set.into(),
            new.source.into(),
            new.kind.into(),
            new.config.map(JsonB).into(),
            new.created_by.into(),
            new.lifetime.into(),
        ],
    )?;
    for pin in pins {
        sql::execute(
            "INSERT INTO ai._checkpoint_pin (checkpoint, role, history, number) VALUES ($1, $2, $3, $4)",
            &[new.id.into(), pin.role.as_str().into(), pin.history.into(), pin.number.into()],
        )?;
    }
    Ok(())
}

/// Whether a row is to be locked, so that it can be neither deleted nor collected meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    No,
    Share,
    Update,
}

impl Hold {
    fn sql(self) -> &'static str {
        match self {
            Hold::No => "",
            Hold::Share => " FOR SHARE",
            Hold::Update => " FOR UPDATE",
        }
    }
}

/// The live checkpoint `id`. Errors: there is none, or it has expired.
pub fn live(id: Uuid, hold: Hold) -> Result<Checkpoint> {
    let statement = format!(
        "SELECT target, vectorizer, config, checksum, coalesce(expires_at <= clock_timestamp(), false),
                expires_at::text
           FROM ai._checkpoint WHERE id = $1 AND deleted_at IS NULL{}",
        hold.sql()
    );
    let found = sql::query_one(&statement, &[id.into()], |row| {
        let checkpoint = Checkpoint {
            id,
            target: row.value(1)?,
            vectorizer: row.get(2)?,
            config: row.get::<JsonB>(3)?.map(|json| json.0),
            pins: Vec::new(),
            checksum: row.get(4)?,
        };
        Ok((checkpoint, row.value::<bool>(5)?, row.get::<String>(6)?))
    })?;
    let Some((mut checkpoint, expired, at)) = found else { return Err(unknown(&id.to_string())?) };
    if expired {
        return Err(Error::new(
            Kind::WrongState,
            format!("checkpoint {id} expired at {}", at.unwrap_or_default()),
        )
        .hint("An expired checkpoint cannot be used any more; ai.refresh_checkpoint keeps one in time."));
    }
    checkpoint.pins = sql::query(
        "SELECT role, history, number FROM ai._checkpoint_pin WHERE checkpoint = $1 ORDER BY role",
        &[id.into()],
        |row| Ok(Pin { role: row.value(1)?, history: row.value(2)?, number: row.value(3)? }),
    )?;
    Ok(checkpoint)
}

pub fn unknown(shown: &str) -> Result<Error> {
    let names: Vec<String> = sql::query(
        "SELECT DISTINCT name FROM ai._checkpoint WHERE deleted_at IS NULL AND name IS NOT NULL ORDER BY 1",
        &[],
        |row| row.value(1),
    )?;
    let near = autovector_domain::names::nearest(shown, names.iter().map(String::as_str));
    let hint = match near.as_slice() {
        [] => "SELECT id, name, target FROM ai.checkpoints; lists them.".to_owned(),
        near => format!("Did you mean {}?", near.join(" or ")),
    };
    Ok(Error::new(Kind::UndefinedObject, format!("checkpoint {shown} does not exist")).hint(hint))
}

/// The checkpoint behind an id or a name, None when there is none. A name that several tables'
/// checkpoints have is an error.
pub fn find(text: &str) -> Result<Option<Uuid>> {
    if let Ok(id) = uuid::Uuid::parse_str(text) {
        return Ok(Some(Uuid::from_bytes(*id.as_bytes())));
    }
    let found: Vec<(Uuid, String)> = sql::query(
        "SELECT id, target FROM ai._checkpoint WHERE name = $1 AND deleted_at IS NULL
          ORDER BY expires_at <= clock_timestamp() IS TRUE, created_at",
        &[text.into()],
        |row| Ok((row.value(1)?, row.value(2)?)),
    )?;
    match found.as_slice() {
        [] => Ok(None),
        [(id, _)] => Ok(Some(*id)),
        several => {
            let ids: Vec<String> = several.iter().map(|(id, target)| format!("{id} ({target})")).collect();
            Err(Error::invalid(format!("several checkpoints have the name \"{text}\""))
                .hint(format!("Give the id: {}.", ids.join(", "))))
        }
    }
}

/// Frees the name for a new checkpoint of the history: an expired one gives it up, a live one is an
/// error. Called under the anchor's lock, so that two of the same name cannot be made at once.
pub fn take_name(history: i32, name: &str) -> Result<()> {
    let taken = sql::query_one(
        "SELECT k.id FROM ai._checkpoint k JOIN ai._checkpoint_pin p ON p.checkpoint = k.id
          WHERE p.history = $1 AND k.name = $2 AND k.deleted_at IS NULL
            AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())",
        &[history.into(), name.into()],
        |row| row.value::<Uuid>(1),
    )?;
    if let Some(id) = taken {
        return Err(Error::new(Kind::DuplicateObject, format!("checkpoint \"{name}\" already exists")).hint(
            format!("Give another name, or delete the old one: SELECT ai.delete_checkpoint('{id}');"),
        ));
    }
    sql::execute(
        "UPDATE ai._checkpoint k SET deleted_at = clock_timestamp()
           FROM ai._checkpoint_pin p
          WHERE p.checkpoint = k.id AND p.history = $1 AND k.name = $2 AND k.deleted_at IS NULL",
        &[history.into(), name.into()],
    )?;
    Ok(())
}

/// Sets the expiry of a live checkpoint, which the caller holds; None: it never expires.
pub fn set_lifetime(id: Uuid, lifetime: Option<Interval>) -> Result<Option<TimestampWithTimeZone>> {
    let found = sql::query_one(
        "UPDATE ai._checkpoint SET expires_at = clock_timestamp() + $2 WHERE id = $1 RETURNING expires_at",
        &[id.into(), lifetime.into()],
        |row| row.get(1),
    )?;
    Ok(found.flatten())
}

/// Marks a checkpoint as deleted; false when it was already, or never there. Nothing is freed yet.
pub fn delete(id: Uuid) -> Result<bool> {
    let deleted = sql::execute(
        "UPDATE ai._checkpoint SET deleted_at = clock_timestamp() WHERE id = $1 AND deleted_at IS NULL",
        &[id.into()],
    )?;
    Ok(deleted > 0)
}

/// The histories that a checkpoint holds versions of, deleted or not.
pub fn histories(id: Uuid) -> Result<Vec<i32>> {
    sql::query("SELECT history FROM ai._checkpoint_pin WHERE checkpoint = $1", &[id.into()], |row| {
        row.value(1)
    })
}

/// What a vectorizer is and how far its first pass had come, in one statement: one cut.
pub fn vectorizer_state(id: i32) -> Result<Option<serde_json::Value>> {
    let found = sql::query_one(
        "SELECT jsonb_build_object('name', v.name, 'config', v.config, 'scanned', c.scanned, 'backfill', to_jsonb(c.backfill),
                  'source', v.source::text,
                  'in_flight', coalesce((SELECT jsonb_agg(to_jsonb(l.keys)) FROM ai._lease l
                                          WHERE l.vectorizer_id = v.id AND l.kind = 'backfill'), '[]'))
           FROM ai.vectorizer v JOIN ai._vectorizer_cursor c ON c.vectorizer_id = v.id WHERE v.id = $1",
        &[id.into()],
        |row| row.value::<JsonB>(1),
    )?;
    Ok(found.map(|json| json.0))
}

/// What a target's text means: a vectorizer by its name, else a table.
pub enum Target {
    Vectorizer(i32),
    Table(pgrx::pg_sys::Oid),
}

/// `table` is what the text names as a table, with the caller's search_path.
pub fn target(text: &str, table: Option<pgrx::pg_sys::Oid>) -> Result<Target> {
    let vectorizer =
        sql::query_one("SELECT id FROM ai.vectorizer WHERE name = $1::name", &[text.into()], |row| {
            row.value::<i32>(1)
        })?;
    if let Some(id) = vectorizer {
        return Ok(Target::Vectorizer(id));
    }
    if let Some(oid) = table {
        return Ok(Target::Table(oid));
    }
    let names: Vec<String> =
        sql::query("SELECT name::text FROM ai.vectorizer ORDER BY name", &[], |row| row.value(1))?;
    let near = autovector_domain::names::nearest(text, names.iter().map(String::as_str));
    let hint = match near.as_slice() {
        [] => "Give the name of a vectorizer, or of a table with its schema: 'public.docs'.".to_owned(),
        near => {
            format!("Did you mean {}? Tables are named with their schema: 'public.docs'.", near.join(" or "))
        }
    };
    Err(Error::new(Kind::UndefinedObject, format!("there is no vectorizer or table \"{text}\"")).hint(hint))
}

/// True when a checkpoint was made of what was called so.
pub fn is_known_target(text: &str) -> Result<bool> {
    let known = sql::query_one(
        "SELECT EXISTS (SELECT FROM ai._checkpoint WHERE target = $1 AND deleted_at IS NULL)",
        &[text.into()],
        |row| row.value(1),
    )?;
    Ok(known.unwrap_or(false))
}

/// The vectorizer's tables, as they are in the catalog.
pub fn vectorizer(id: i32) -> Result<catalog::Vectorizer> {
    catalog::vectorizer(id)
}

/// The dirty set and the failed table of a vectorizer.
pub fn queue_tables(id: i32) -> Result<(catalog::Relation, catalog::Relation)> {
    let find = |name: String| {
        let oid = sql::query_one("SELECT to_regclass($1)::oid", &[format!("ai.{name}").into()], |row| {
            row.get::<pgrx::pg_sys::Oid>(1)
        })?
        .flatten();
        let relation = oid.map(catalog::relation).transpose()?.flatten();
        relation.ok_or_else(|| {
            Error::new(Kind::WrongState, format!("table ai.{name} of the vectorizer was dropped"))
                .hint("Drop the vectorizer and create it again.")
        })
    };
    Ok((find(crate::store::ddl::queue_name(id))?, find(crate::store::ddl::failed_name(id))?))
}

/// Notes what a verification found. The first sound one sets what later ones compare with.
pub fn verified(id: Uuid, rows: i64, checksum: &str, ok: bool) -> Result<String> {
    let at = sql::query_one(
        "UPDATE ai._checkpoint SET rows = CASE WHEN $4 THEN $2 ELSE rows END,
                checksum = coalesce(checksum, CASE WHEN $4 THEN $3 END),
                verified_at = CASE WHEN $4 THEN clock_timestamp() ELSE verified_at END
          WHERE id = $1 RETURNING clock_timestamp()::text",
        &[id.into(), rows.into(), checksum.into(), ok.into()],
        |row| row.value(1),
    )?;
    Ok(at.unwrap_or_default())
}

/// What is wrong with the means by which a version is kept.
pub fn faults(version: &Version) -> Result<Vec<String>> {
    let history = &version.history;
    let mut faults = Vec::new();
    if let Some(relation) = &history.relation {
        let triggers: i64 = sql::query_one(
            "SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND tgenabled = 'A'
                AND tgname IN ('_checkpoint_lock', '_checkpoint_row', '_checkpoint_truncate')",
            &[relation.oid.into()],
            |row| row.value(1),
        )?
        .unwrap_or(0);
        if triggers < 3 {
            faults.push(format!("triggers of {} are missing or disabled", relation.ident));
        }
    }
    Ok(faults)
}

/// The keys that were pending at the time of a checkpoint, as JSON objects.
pub fn pending(checkpoint: &Checkpoint) -> Result<Vec<JsonB>> {
    let Some((queue, number)) = checkpoint.role("queue")? else { return Ok(Vec::new()) };
    let version = Version::new(queue, number)?;
    let pairs: Vec<String> = version
        .history
        .key()
        .iter()
        .map(|column| format!("{}, q.{}", pgrx::spi::quote_literal(&column.name), column.h))
        .collect();
    let mut keys: Vec<JsonB> = sql::query(
        &format!("SELECT jsonb_build_object({}) FROM ({}) q ORDER BY 1", pairs.join(", "), version.query()),
        &[],
        |row| row.value(1),
    )?;
    let names: Vec<String> = version.history.key().iter().map(|column| column.name.clone()).collect();
    let batches = checkpoint.config.as_ref().and_then(|config| config["in_flight"].as_array());
    for batch in batches.into_iter().flatten().filter_map(|keys| keys.as_array()) {
        for key in batch.chunks(names.len().max(1)) {
            let pairs = names.iter().cloned().zip(key.iter().cloned());
            keys.push(JsonB(serde_json::Value::Object(pairs.collect())));
        }
    }
    Ok(keys)
}
