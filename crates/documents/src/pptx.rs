//! PowerPoint: one heading a slide, in the order of the presentation, then its text, tables and
//! notes.

use crate::Result;
use crate::archive::Archive;
use crate::markdown::{Gap, Markdown};
use crate::relationships::Relationships;
use crate::xml::{Node, Nodes};

const PRESENTATION: &str = "ppt/presentation.xml";

pub fn read(bytes: &[u8], most: usize) -> Result<String> {
    let mut archive = Archive::open(bytes)?;
    let mut out = Markdown::new(most);
    for name in slides(&mut archive)? {
        let Some(text) = archive.text(&name)? else { continue };
        slide(&text, &mut out)?;
        let notes = Relationships::of(&mut archive, &name)?.of_type("notesSlide").map(str::to_owned);
        if let Some(notes) = notes
            && let Some(text) = archive.text(&notes)?
        {
            slide(&text, &mut out)?;
        }
    }
    out.finish()
}

/// The members of the slides, in order; by number where the presentation does not say.
fn slides(archive: &mut Archive<'_>) -> Result<Vec<String>> {
    let relationships = Relationships::of(archive, PRESENTATION)?;
    let text = archive.required(PRESENTATION)?;
    let mut nodes = Nodes::new(&text);
    let mut found = Vec::new();
    while let Some(node) = nodes.next()? {
        if let Node::Start(tag) | Node::Empty(tag) = node
            && tag.name() == "sldId"
            && let Some(target) =
                tag.qualified("r:id").and_then(|id| relationships.target(&id).map(str::to_owned))
        {
            found.push(target);
        }
    }
    Ok(if found.is_empty() { archive.numbered("ppt/slides/slide", ".xml") } else { found })
}

fn slide(text: &str, out: &mut Markdown) -> Result<()> {
    let mut nodes = Nodes::new(text);
    let (mut in_text, mut title, mut number, mut tables, mut fallback) =
        (false, false, false, 0usize, 0usize);
    let mut paragraph = String::new();
    let mut level = None;
    out.gap(Gap::Block);
    while let Some(node) = nodes.next()? {
        match node {
            Node::Start(tag) | Node::Empty(tag) if fallback > 0 => {
                fallback += usize::from(tag.name() == "Fallback")
            }
            Node::End(name) if fallback > 0 => fallback -= usize::from(name == "Fallback"),
            Node::Text(_) if fallback > 0 => {}
            Node::Start(ref tag) | Node::Empty(ref tag) => {
                let open = matches!(node, Node::Start(_));
                match tag.name() {
                    "Fallback" if open => fallback = 1,
                    "sp" => (title, number) = (false, false),
                    "ph" => {
                        let kind = tag.attribute("type").unwrap_or_default();
                        title = matches!(kind.as_str(), "title" | "ctrTitle");
                        // What stands on every slide alike.
                        number = matches!(kind.as_str(), "sldNum" | "dt" | "ftr" | "hdr" | "sldImg");
                    }
                    "p" if open => {
                        paragraph.clear();
                        level = None;
                    }
                    "pPr" => level = tag.attribute("lvl").and_then(|level| level.parse::<usize>().ok()),
                    "t" if open => in_text = true,
                    "br" => paragraph.push('\n'),
                    "tbl" if open => {
                        if tables == 0 {
                            out.begin_table();
                        }
                        tables += 1;
                    }
                    "tc" if tables == 1 && open => out.begin_cell(),
                    _ => {}
                }
            }
            Node::Text(text) if in_text => paragraph.push_str(&text),
            Node::Text(_) => {}
            Node::End(name) => match name.as_str() {
                "t" => in_text = false,
                "p" if number => paragraph.clear(),
                "p" => write(&std::mem::take(&mut paragraph), title, level, out)?,
                "tc" if tables == 1 => out.end_cell(),
                "tr" if tables == 1 => out.end_row()?,
                "tbl" => {
                    tables = tables.saturating_sub(1);
                    if tables == 0 && out.in_table() {
                        out.end_table()?;
                    }
                }
                _ => {}
            },
        }
    }
    Ok(())
}

fn write(paragraph: &str, title: bool, level: Option<usize>, out: &mut Markdown) -> Result<()> {
    if title {
        out.heading(2);
        out.text(paragraph.trim())?;
        out.end_line(Gap::Block);
        return Ok(());
    }
    if let Some(level) = level.filter(|level| *level > 0) {
        out.item(level - 1, None);
    }
    for line in paragraph.split('\n') {
        out.text(line.trim())?;
        out.gap(Gap::Line);
    }
    out.end_line(Gap::Line);
    Ok(())
}
