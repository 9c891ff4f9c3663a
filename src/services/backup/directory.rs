//! Where backups lie, and who may touch which of them.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use autovector_backup::bucket::Owner;
use autovector_backup::folder::{Folder, Root};
use autovector_backup::manifest::Manifest;
use autovector_backup::names::{self, BackupName};
use autovector_object_store::Location;

use crate::error::{Error, Kind, Result};
use crate::services::object_store;
use crate::settings::Settings;
use crate::store::backup::{ledger, server};

/// Opens `autovector.backup_directory`.
pub fn root() -> Result<Root> {
    let Some(path) = Settings::now().backup_directory else {
        return Err(Error::new(Kind::WrongState, "autovector.backup_directory is not set")
            .hint("ALTER SYSTEM SET autovector.backup_directory = '/a/directory/of/the/server'; SELECT pg_reload_conf();"));
    };
    if is_bucket(&path) {
        object_store::require_credentials()?;
        return open();
    }
    if !path.is_absolute() {
        return Err(Error::new(
            Kind::WrongState,
            format!("autovector.backup_directory \"{}\" is not an absolute path", path.display()),
        )
        .hint("Give the whole path, beginning with a slash."));
    }
    let data = std::path::PathBuf::from(server::data_directory()?);
    let inside = |path: &std::path::Path| match (path.canonicalize(), data.canonicalize()) {
        (Ok(path), Ok(data)) => path.starts_with(data),
        _ => false,
    };
    if inside(&path) {
        return Err(Error::new(Kind::WrongState, "autovector.backup_directory lies in the data directory")
            .hint("A backup has to outlive the server's own files: give another directory, best on another disk."));
    }
    Root::open(&path).map_err(|error| {
        Error::from(error)
            .hint("Create it, and let the server's account own it: install -d -o postgres -m 700 DIRECTORY")
    })
}

fn is_bucket(path: &std::path::Path) -> bool {
    path.to_string_lossy().starts_with("s3://")
}

/// The same without a look at who asks; needs no transaction.
pub fn open() -> Result<Root> {
    let settings = Settings::now();
    let path = settings.backup_directory.clone().unwrap_or_default();
    if !is_bucket(&path) {
        return Ok(Root::open(&path)?);
    }
    let address = path.to_string_lossy().into_owned();
    let (bucket, prefix) =
        Location::split(&address).map_err(|error| object_store::explain(error.clone(), error.to_string()))?;
    // Who sets where backups go has allowed that they go there.
    let location = object_store::location(bucket, &settings);
    let store = object_store::open(&location, None, &settings)?;
    let owner = Owner {
        name: server::process_name(),
        is_alive: Rc::new(server::process_lives),
        cleaning: object_store::cleaning,
    };
    Ok(Root::bucket(store, prefix, owner))
}

/// The folder for backups of `task`; `vector_bak` in it is made if need be.
pub fn folder(root: &Root, task: Option<&str>) -> Result<Folder> {
    if let Some(task) = task {
        names::check_task(task).map_err(|error| {
            Error::from(error).hint(
                "Use letters, digits and underscores: it names a directory of autovector.backup_directory.",
            )
        })?;
    }
    root.folder(task, true).map_err(|error| match task {
        Some(task) if matches!(error, autovector_backup::Error::Missing(_)) => Error::from(error)
            .hint(format!("Create the directory \"{task}\" in autovector.backup_directory first.")),
        _ if matches!(error, autovector_backup::Error::Missing(_)) => {
            Error::from(error).hint("It has to be a directory, and no symbolic link.")
        }
        _ => Error::from(error),
    })
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Finds a backup by name, for a caller who has `role` or made it here.
pub fn find(name: &str, role: &str) -> Result<(Folder, BackupName)> {
    let hint = "SELECT backup FROM ai.list_backups(); lists them.";
    let name = BackupName::parse(name).map_err(|error| Error::from(error).hint(hint))?;
    let folder = root()?.folder(name.task.as_deref(), false).map_err(|error| match error {
        autovector_backup::Error::Missing(_) => {
            Error::new(Kind::UndefinedFile, format!("backup \"{name}\" does not exist")).hint(hint)
        }
        error => Error::from(error),
    })?;
    if !server::may_use_all(role)? {
        // Whoever may not see it is not told whether it is there, or sound.
        let manifest = match folder.manifest(&name.stamp) {
            Err(error @ autovector_backup::Error::Store { .. }) => return Err(error.into()),
            found => found.ok(),
        };
        let mine = manifest.map(|manifest| is_mine(&manifest)).transpose()?;
        if mine != Some(true) {
            return Err(Error::new(
                Kind::InsufficientPrivilege,
                format!("permission denied for backup \"{name}\""),
            )
            .hint(format!(
                "Only who made it in this database, members of {role} and superusers may use it."
            )));
        }
    } else if !folder.exists(&names::manifest(&name.stamp))? {
        return Err(Error::new(Kind::UndefinedFile, format!("backup \"{name}\" does not exist")).hint(hint));
    }
    Ok((folder, name))
}

/// The caller, or a role that the caller is a member of, made it in this database.
pub fn is_mine(manifest: &Manifest) -> Result<bool> {
    Ok(ledger::find(&manifest.id)?.is_some_and(|entry| entry.made_by.is_some_and(server::is_member_of)))
}
