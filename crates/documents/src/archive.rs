//! ZIP archives of documents. Members are read up to a bound, whatever the archive says of their
//! sizes: those sizes may lie.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use crate::{Result, Unreadable};

/// No document has so many members; an archive of millions of empty ones would.
const MOST_MEMBERS: usize = 65_536;
/// Bytes that one archive may be unpacked to, all members that are read together.
const MOST_UNPACKED: u64 = 512 * 1024 * 1024;

pub struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    left: u64,
}

impl<'a> Archive<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| Unreadable::new(format!("the ZIP archive is damaged: {error}")))?;
        if zip.len() > MOST_MEMBERS {
            return Err(Unreadable::new(format!("the ZIP archive has {} members", zip.len())));
        }
        Ok(Archive { zip, left: MOST_UNPACKED })
    }

    pub fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// Members whose names begin and end so, in the order of their numbers: `slide2` before `slide10`.
    pub fn numbered(&self, prefix: &str, suffix: &str) -> Vec<String> {
        let mut found: Vec<(u64, String)> = self
            .zip
            .file_names()
            .filter_map(|name| {
                let name = name.ok()?;
                let number = name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()?;
                Some((number, name.into_owned()))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, name)| name).collect()
    }

    /// The member `name`, None where there is none.
    pub fn member(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(index) = self.zip.index_for_name(name) else { return Ok(None) };
        let damaged = |error: &dyn std::fmt::Display| {
            Unreadable::new(format!("{name} in the ZIP archive cannot be read: {error}"))
        };
        let member = self.zip.by_index(index).map_err(|error| damaged(&error))?;
        let mut bytes = Vec::new();
        member.take(self.left + 1).read_to_end(&mut bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::OutOfMemory => {
                Unreadable::new(format!("{name} in the ZIP archive unpacks to more memory than it may take"))
            }
            _ => damaged(&error),
        })?;
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            Unreadable::new(format!("the ZIP archive unpacks to more than {MOST_UNPACKED} bytes"))
        })?;
        Ok(Some(bytes))
    }

    /// The member as text; XML of documents is UTF-8 or UTF-16.
    pub fn text(&mut self, name: &str) -> Result<Option<String>> {
        let Some(bytes) = self.member(name)? else { return Ok(None) };
        let (text, _, _) = encoding_rs::UTF_8.decode(&bytes);
        Ok(Some(text.into_owned()))
    }

    /// A member that the document cannot do without.
    pub fn required(&mut self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| Unreadable::new(format!("the ZIP archive has no {name}")))
    }
}

/// What `target` means in a member of `folder`: `../media/x` in `ppt/slides` is `ppt/media/x`.
pub fn resolve(folder: &str, target: &str) -> String {
    let (from, target) = match target.strip_prefix('/') {
        Some(absolute) => ("", absolute),
        None => (folder, target),
    };
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The folder of a member.
pub fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_resolved_like_paths() {
        assert_eq!(resolve("ppt/slides", "../notes/n1.xml"), "ppt/notes/n1.xml");
        assert_eq!(resolve("ppt", "/word/document.xml"), "word/document.xml");
        assert_eq!(resolve("", "../../a/./b"), "a/b");
    }
}
