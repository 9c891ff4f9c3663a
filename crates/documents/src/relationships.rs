//! `_rels/….rels`: which member an id means.

use std::collections::HashMap;

use crate::Result;
use crate::archive::{Archive, folder, resolve};
use crate::xml::{Node, Nodes};

pub struct Relationships {
    /// By id: the end of the type's URL, and the member.
    targets: HashMap<String, (String, String)>,
}

impl Relationships {
    /// Those of `member`; none where it has no such file.
    pub fn of(archive: &mut Archive<'_>, member: &str) -> Result<Self> {
        let base = folder(member);
        let name = member.rsplit('/').next().unwrap_or(member);
        let text = archive.text(&format!("{base}/_rels/{name}.rels"))?.unwrap_or_default();
        let mut nodes = Nodes::new(&text);
        let mut targets = HashMap::new();
        while let Some(node) = nodes.next()? {
            if let Node::Start(tag) | Node::Empty(tag) = node
                && tag.name() == "Relationship"
                && let (Some(id), Some(target)) = (tag.attribute("Id"), tag.attribute("Target"))
            {
                let kind = tag.attribute("Type").unwrap_or_default();
                let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
                targets.insert(id, (kind, resolve(base, &target)));
            }
        }
        Ok(Relationships { targets })
    }

    pub fn target(&self, id: &str) -> Option<&str> {
        self.targets.get(id).map(|(_, target)| target.as_str())
    }

    /// The first target of a type such as `notesSlide`.
    pub fn of_type(&self, kind: &str) -> Option<&str> {
        self.targets.values().filter(|(found, _)| found == kind).map(|(_, target)| target.as_str()).min()
    }
}
