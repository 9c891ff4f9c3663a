//! Who may do what with a vectorizer: the one place that decides it. The owner of the source, its
//! members and superusers may do everything; others what `ai.grant_vectorizer` has given them.

use crate::error::{Error, Kind, Result};
use crate::store::catalog::{self, Vectorizer};
use crate::store::transaction::{as_extension_owner, as_role, current_role};
use crate::store::{roles, vectorizer_grants};

/// Each has what the one before has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Search, and read store and view.
    Use,
    /// Pause, resume, try again, run now.
    Operate,
    /// Everything that the owner may do with it.
    Admin,
}

impl Level {
    const ALL: [Level; 3] = [Level::Use, Level::Operate, Level::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Level::Use => "use",
            Level::Operate => "operate",
            Level::Admin => "admin",
        }
    }

    pub fn parse(name: &str) -> Result<Level> {
        Level::ALL.into_iter().find(|level| level.as_str() == name).ok_or_else(|| {
            Error::invalid(format!("level \"{name}\" does not exist"))
                .hint("Use 'use', 'operate' or 'admin'.")
        })
    }
}

/// Refuses a caller who has neither the source nor this level of the vectorizer.
pub fn require(v: &Vectorizer, level: Level) -> Result<()> {
    let Err(error) = roles::require_ownership(&v.source) else { return Ok(()) };
    let role = current_role();
    let granted = as_extension_owner(|| vectorizer_grants::levels(v, role))?;
    if granted.iter().any(|name| Level::parse(name).is_ok_and(|granted| granted >= level)) {
        return Ok(());
    }
    Err(error.hint(format!(
        "Only a superuser, the owner of the source table, and those to whom they give it may: SELECT ai.grant_vectorizer('{}', '<role>', '{}');",
        v.name,
        level.as_str()
    )))
}

/// Runs `body` with the rights that managing needs: those of the source's owner where the caller is
/// an administrator of the vectorizer by grant, the caller's own otherwise.
pub fn administer<T>(id: i32, body: impl FnOnce() -> Result<T>) -> Result<T> {
    // What is broken is for its owner to see to; the body says what is wrong.
    let Ok(v) = as_extension_owner(|| catalog::vectorizer(id)) else { return body() };
    as_owner(&v, Level::Admin, body)
}

/// The same, for a vectorizer in hand and another level.
pub fn as_owner<T>(v: &Vectorizer, level: Level, body: impl FnOnce() -> Result<T>) -> Result<T> {
    require(v, level)?;
    match roles::require_ownership(&v.source) {
        Ok(()) => body(),
        Err(_) => as_role(v.source.owner, body),
    }
}

/// Gives a role a level of a vectorizer, instead of the one that it had.
pub fn grant(id: i32, role: &str, level: &str) -> Result<()> {
    let level = Level::parse(level)?;
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    require_role(role)?;
    as_owner(&v, Level::Admin, || vectorizer_grants::grant_select(&vectorizer_grants::readable(&v)?, role))?;
    as_extension_owner(|| vectorizer_grants::set(&v, role, level.as_str()))
}

/// Takes everything back that `grant` gave; false when that was nothing.
pub fn revoke(id: i32, role: &str) -> Result<bool> {
    let v = as_extension_owner(|| catalog::vectorizer(id))?;
    require(&v, Level::Admin)?;
    let had = as_extension_owner(|| vectorizer_grants::remove(&v, role))?;
    if had {
        as_owner(&v, Level::Admin, || {
            vectorizer_grants::revoke_select(&vectorizer_grants::readable(&v)?, role)
        })?;
    }
    Ok(had)
}

fn require_role(role: &str) -> Result<()> {
    if role != vectorizer_grants::EVERYBODY && !roles::missing(&[role.to_owned()])?.is_empty() {
        return Err(Error::new(Kind::UndefinedObject, format!("role \"{role}\" does not exist"))
            .hint("Name a role, or 'public' for every role."));
    }
    Ok(())
}
