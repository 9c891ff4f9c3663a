//! Finds a secret by its name: a file of the operator's directory first, then the
//! environment of the server. Who may use which name is decided elsewhere. Never writes,
//! never caches, and its errors hold no part of a secret.

use std::{
    env,
    fs::OpenOptions,
    io::{self, ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use autovector_domain::secret::Secret;

/// A file that is larger is no key.
const LARGEST: u64 = 16 * 1024;

/// Why a secret that seems to be there cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("'{0}' is no name of a secret: use letters, digits and underscores, at most 128")]
    Name(String),
    #[error("the file {0} in autovector.secrets_directory {1}")]
    File(String, String),
}

/// `find` without the reason: None where there is no such secret or it cannot be used.
pub fn lookup(name: &str, directory: Option<&Path>) -> Option<Secret> {
    find(name, directory).ok().flatten()
}

/// Looks for `<directory>/<name>`, then for the environment variable `<name>`.
///
/// The file must be a regular file of at most 16 KiB; one line break at its end is dropped.
/// A symbolic link may lead to another file of the same directory (that is how containers
/// mount secrets), but not out of it. An empty value is no secret.
///
/// Errors: `Name` where the name is not `[A-Za-z_][A-Za-z0-9_]{0,127}`; `File` where the
/// file is there and cannot be used: then the environment is not asked, since the operator
/// meant the file.
pub fn find(name: &str, directory: Option<&Path>) -> Result<Option<Secret>, SecretError> {
    if !is_name(name) {
        return Err(SecretError::Name(name.chars().take(128).collect()));
    }
    if let Some(directory) = directory {
        let found = read(directory, name).map_err(|e| SecretError::File(name.to_owned(), e))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(env::var(name).ok().filter(|value| !value.is_empty()).map(Secret::new))
}

/// True for what may be the name of a secret: `[A-Za-z_][A-Za-z0-9_]{0,127}`.
pub fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    matches!(bytes.first(), Some(b'A'..=b'Z' | b'a'..=b'z' | b'_'))
        && bytes.len() <= 128
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn read(directory: &Path, name: &str) -> Result<Option<Secret>, String> {
    let unreadable = |e: io::Error| format!("cannot be read: {}", e.kind());
    let absent = |e: &io::Error| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    let path = match directory.canonicalize().and_then(|d| Ok((d.join(name).canonicalize()?, d))) {
        Ok((path, directory)) if path.starts_with(&directory) => path,
        Ok(_) => return Err("leads out of the directory".into()),
        Err(e) if absent(&e) => return Ok(None),
        Err(e) => return Err(unreadable(e)),
    };
    // The links have been followed above: whoever puts one there since is not followed.
    // A pipe must not block the worker.
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err("is no regular file".into());
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST {
        return Err(format!("is larger than {LARGEST} bytes"));
    }
    let value = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    if value.is_empty() {
        return Err("is empty".into());
    }
    Ok(Some(Secret::new(value)))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process::Command};

    use super::*;

    fn value(name: &str, directory: &Path) -> Option<String> {
        find(name, Some(directory)).unwrap().map(|s| s.expose().to_owned())
    }

    #[test]
    fn only_plain_names_are_looked_up() {
        let directory = tempfile::tempdir().unwrap();
        let longest = "a".repeat(128);
        for name in ["A", "_", "openai_API_key2", longest.as_str()] {
            fs::write(directory.path().join(name), "v").unwrap();
            assert_eq!(value(name, directory.path()).as_deref(), Some("v"), "{name}");
        }
        fs::write(directory.path().join("a-b"), "v").unwrap();
        for name in ["", "1A", "a-b", "a.b", "../a", "a/b", "/etc/passwd", "a\0b", "ä", &"a".repeat(129)] {
            assert!(matches!(find(name, Some(directory.path())), Err(SecretError::Name(_))), "{name:?}");
            assert_eq!(lookup(name, Some(directory.path())), None);
        }
    }

    #[test]
    fn one_line_break_at_the_end_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        for (written, read) in [("k\n", "k"), ("k\r\n", "k"), ("k", "k"), (" k \n\n", " k \n")] {
            fs::write(directory.path().join("K"), written).unwrap();
            assert_eq!(value("K", directory.path()).as_deref(), Some(read), "{written:?}");
        }
    }

    #[test]
    fn the_file_comes_before_the_environment() {
        let directory = tempfile::tempdir().unwrap();
        let name = "PATH";
        assert_eq!(value(name, directory.path()), env::var(name).ok());
        assert!(find(name, None).unwrap().is_some());
        fs::write(directory.path().join(name), "from the file").unwrap();
        assert_eq!(value(name, directory.path()).as_deref(), Some("from the file"));
        // A file that cannot be used does not fall back to something else.
        fs::write(directory.path().join(name), "").unwrap();
        assert!(matches!(find(name, Some(directory.path())), Err(SecretError::File(..))));
        assert_eq!(lookup(name, Some(directory.path())), None);
        assert_eq!(lookup("AUTOVECTOR_NO_SUCH_SECRET", Some(Path::new("/no/such/directory"))), None);
    }

    #[test]
    fn links_stay_within_the_directory() {
        let outside = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (outside, inside) = (outside.path(), directory.path());
        fs::write(outside.join("target"), "stolen").unwrap();
        symlink(outside.join("target"), inside.join("ESCAPE")).unwrap();
        symlink("../../../../../../etc/hostname", inside.join("RELATIVE")).unwrap();
        for name in ["ESCAPE", "RELATIVE"] {
            let error = find(name, Some(inside)).unwrap_err().to_string();
            assert!(error.contains("leads out") && !error.contains("stolen"), "{error}");
        }
        // The way Kubernetes mounts a secret: name -> ..data/name, ..data -> ..2026.
        fs::create_dir(inside.join("..2026")).unwrap();
        fs::write(inside.join("..2026/MOUNTED"), "mounted").unwrap();
        symlink("..2026", inside.join("..data")).unwrap();
        symlink("..data/MOUNTED", inside.join("MOUNTED")).unwrap();
        assert_eq!(value("MOUNTED", inside).as_deref(), Some("mounted"));
        symlink("nowhere", inside.join("DANGLING")).unwrap();
        assert_eq!(value("DANGLING", inside), None);
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("FITS"), "a".repeat(16 * 1024)).unwrap();
        assert_eq!(value("FITS", path).map(|v| v.len()), Some(16 * 1024));
        fs::write(path.join("LARGE"), "a".repeat(16 * 1024 + 1)).unwrap();
        fs::write(path.join("BINARY"), b"\xff\xfe").unwrap();
        fs::create_dir(path.join("DIRECTORY")).unwrap();
        assert!(Command::new("mkfifo").arg(path.join("PIPE")).status().unwrap().success());
        for name in ["LARGE", "BINARY", "DIRECTORY", "PIPE"] {
            assert!(matches!(find(name, Some(path)), Err(SecretError::File(..))), "{name}");
        }
    }
}
