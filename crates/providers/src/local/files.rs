//! The files of a model's directory: which model a name means, and the JSON files in it.
//! It never leaves the directory that the administrator set.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use autovector_domain::failure::Failure;
use serde_json::Value;

use super::problem;

/// The setting that the hints name.
pub const SETTING: &str = "autovector.local_model_directory";

/// A configuration file is a few kilobytes; a tokenizer, read elsewhere, some megabytes.
const MAX_JSON: u64 = 16 << 20;

/// The directory of `model` under `directory`.
///
/// Fails with [`Failure::Config`] where the name could lead elsewhere or nothing is there; the
/// hint lists the models that are.
pub fn find(directory: &Path, model: &str) -> Result<PathBuf, Failure> {
    if !is_plain(model) {
        return Err(Failure::config(
            format!("\"{}\" is not a model's name", model.escape_debug()),
            format!(
                "A local model is named by a directory directly under {SETTING}: letters, digits, \".\", \"_\" \
                 and \"-\", beginning with a letter or digit."
            ),
        ));
    }
    let path = directory.join(model);
    if path.is_dir() {
        return Ok(path);
    }
    let hint = match available(directory) {
        Err(e) => format!("{SETTING} is {}, which cannot be read: {e}.", directory.display()),
        Ok(names) if names.is_empty() => {
            format!("The directory that {SETTING} names holds no model.")
        }
        Ok(names) => format!("The directory that {SETTING} names holds: {}.", names.join(", ")),
    };
    Err(Failure::config(format!("there is no local model \"{model}\""), hint))
}

/// The failure where the setting is empty.
pub fn unset(model: &str) -> Failure {
    Failure::config(
        format!("the local model \"{model}\" cannot be opened: no directory with models is set"),
        format!("Set {SETTING} to the directory that holds the models' directories."),
    )
}

fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && name.len() <= 255
}

fn available(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(directory)?
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_plain(name))
        .collect();
    names.sort();
    Ok(names)
}

/// What tells one state of a model's files from another: a model replaced under the same name
/// is loaded anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State(Vec<(u64, u64, Option<SystemTime>)>);

impl State {
    pub fn of(directory: &Path) -> Self {
        let names = [
            "config.json",
            "tokenizer.json",
            "modules.json",
            "model.safetensors",
            "onnx/model.onnx",
            "model.onnx",
        ];
        State(
            names
                .iter()
                .filter_map(|name| directory.join(name).metadata().ok())
                .map(|data| (data.ino(), data.len(), data.modified().ok()))
                .collect(),
        )
    }
}

/// A parsed JSON file, with the look-ups that configurations need.
#[derive(Debug, Clone)]
pub struct Json(pub Value);

impl Json {
    /// Reads the file at `path`; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(problem(path, format!("cannot be read: {e}"))),
        };
        let mut text = Vec::new();
        file.take(MAX_JSON + 1)
            .read_to_end(&mut text)
            .map_err(|e| problem(path, format!("cannot be read: {e}")))?;
        if text.len() as u64 > MAX_JSON {
            return Err(problem(path, "is too large for a configuration"));
        }
        let value =
            serde_json::from_slice(&text).map_err(|e| problem(path, format!("is not valid JSON: {e}")))?;
        Ok(Some(Json(value)))
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// A number of at least 1 that must be there. `path` is for the message.
    pub fn size(&self, path: &Path, key: &str) -> Result<usize, Failure> {
        self.get(key)
            .and_then(Value::as_u64)
            .filter(|n| *n > 0)
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| problem(path, format!("does not say \"{key}\"")))
    }
}
