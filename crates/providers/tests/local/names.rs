//! Which names lead to a model, and what the others are told.

use std::fs;

use autovector_domain::config::Local;
use autovector_providers::local;
use tempfile::TempDir;

use crate::support::{Tiny, config_failure, embed, open, surroundings};

const SETTING: &str = "autovector.local_model_directory";

#[test]
fn no_name_leads_out_of_the_directory() {
    let home = Tiny::new("bert").write();
    let inner = home.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let absolute = home.path().join("tiny");
    for name in [
        "../tiny", "./tiny", "/tiny", "..", ".", "", ".hidden", "a/b", "tiny/", "tiny\0", "-x", "tïny", "a b",
    ]
    .into_iter()
    .chain([absolute.to_str().unwrap(), &"a".repeat(300)])
    {
        let (message, hint) = config_failure(open(&inner, name));
        assert!(message.contains("is not a model's name"), "{name:?}: {message}");
        assert!(hint.contains(SETTING), "{hint}");
        config_failure(local::describe(&inner, name));
    }
    assert_eq!(embed(&open(home.path(), "tiny").unwrap(), &["t5"]).count(), 1);
}

#[test]
fn an_unknown_name_is_answered_with_the_names_that_are_there() {
    let home = Tiny::new("bert").write();
    fs::create_dir(home.path().join("other-1.5")).unwrap();
    fs::write(home.path().join("file"), "no directory").unwrap();
    let (message, hint) = config_failure(open(home.path(), "missing"));
    assert!(message.contains("\"missing\""), "{message}");
    assert!(hint.contains(SETTING) && hint.contains("other-1.5, tiny.") && !hint.contains("file"), "{hint}");
    let (_, hint) = config_failure(open(TempDir::new().unwrap().path(), "missing"));
    assert!(hint.contains("no model"), "{hint}");
    let (_, hint) = config_failure(open(&home.path().join("nowhere"), "missing"));
    assert!(hint.contains("cannot be read"), "{hint}");
}

#[test]
fn without_the_setting_there_is_no_local_model() {
    let config = Local { model: "tiny".to_owned(), dimensions: None };
    let (_, hint) = config_failure(local::open(&config, &surroundings(None, 1)));
    assert!(hint.contains(SETTING), "{hint}");
}

#[test]
fn a_model_replaced_under_its_name_is_loaded_anew() {
    let home = Tiny::new("bert").write();
    let first = open(home.path(), "tiny").unwrap();
    let before = embed(&first, &["t5 t6"]).values;
    // As an administrator should: write beside, rename over.
    let other = Tiny::new("distilbert").write();
    for file in ["config.json", "model.safetensors"] {
        let beside = home.path().join("beside");
        fs::copy(other.path().join("tiny").join(file), &beside).unwrap();
        fs::rename(&beside, home.path().join("tiny").join(file)).unwrap();
    }
    let second = open(home.path(), "tiny").unwrap();
    assert_ne!(embed(&second, &["t5 t6"]).values, before);
    assert_eq!(embed(&first, &["t5 t6"]).values, before, "who has it open keeps the old one");
}
