//! Word: the paragraphs of `word/document.xml` with headings, lists and tables, then foot- and
//! endnotes. Deleted text of a tracked change is not there, inserted text is.

use std::collections::HashMap;

use crate::archive::Archive;
use crate::markdown::{Gap, Markdown};
use crate::xml::{Node, Nodes, Tag};
use crate::{Result, Unreadable};

pub fn read(bytes: &[u8], most: usize) -> Result<String> {
    let mut archive = Archive::open(bytes)?;
    let styles =
        archive.text("word/styles.xml")?.map(|text| heading_styles(&text)).transpose()?.unwrap_or_default();
    let document = archive.required("word/document.xml")?;
    let mut out = Markdown::new(most);
    Reader { styles: &styles, out: &mut out }.story(&document)?;
    for notes in ["word/footnotes.xml", "word/endnotes.xml"] {
        if let Some(text) = archive.text(notes)? {
            out.gap(Gap::Block);
            Reader { styles: &styles, out: &mut out }.story(&text)?;
        }
    }
    if out.is_empty() && !document.contains("body") {
        return Err(Unreadable::new("word/document.xml has no body"));
    }
    out.finish()
}

/// The heading levels of styles, by their ids: ids are translated, names are not.
fn heading_styles(text: &str) -> Result<HashMap<String, usize>> {
    let mut levels = HashMap::new();
    let mut id = String::new();
    let mut nodes = Nodes::new(text);
    while let Some(node) = nodes.next()? {
        let (Node::Start(tag) | Node::Empty(tag)) = node else { continue };
        match tag.name() {
            "style" => id = tag.attribute("styleId").unwrap_or_default(),
            "name" => {
                if let Some(level) = level_of(&tag.attribute("val").unwrap_or_default()) {
                    levels.insert(id.clone(), level);
                }
            }
            "outlineLvl" => {
                if let Some(level) = outline(&tag) {
                    levels.entry(id.clone()).or_insert(level);
                }
            }
            _ => {}
        }
    }
    Ok(levels)
}

fn level_of(style: &str) -> Option<usize> {
    let style = style.to_ascii_lowercase().replace(' ', "");
    match style.strip_prefix("heading") {
        Some(number) => number.parse().ok().filter(|level| (1..=9).contains(level)),
        None => (style == "title").then_some(1),
    }
}

/// 9 means body text.
fn outline(tag: &Tag<'_>) -> Option<usize> {
    tag.attribute("val")?.parse().ok().filter(|level: &usize| *level < 9).map(|level| level + 1)
}

struct Reader<'a> {
    styles: &'a HashMap<String, usize>,
    out: &'a mut Markdown,
}

#[derive(Default)]
struct Paragraph {
    heading: Option<usize>,
    list: Option<usize>,
    text: String,
}

impl Reader<'_> {
    fn story(&mut self, text: &str) -> Result<()> {
        let mut nodes = Nodes::new(text);
        let mut paragraph = Paragraph::default();
        let mut after_list = false;
        let (mut in_text, mut numbered, mut fallback, mut tables) = (false, false, 0usize, 0usize);
        while let Some(node) = nodes.next()? {
            match node {
                Node::Start(tag) | Node::Empty(tag) if fallback > 0 => {
                    fallback += usize::from(tag.name() == "Fallback")
                }
                Node::Start(tag) => match tag.name() {
                    "p" => paragraph = Paragraph::default(),
                    "t" => in_text = true,
                    "numPr" => numbered = true,
                    // The same again for older programs.
                    "Fallback" => fallback = 1,
                    "tbl" => {
                        if tables == 0 {
                            self.out.begin_table();
                        }
                        tables += 1;
                    }
                    "tc" if tables == 1 => self.out.begin_cell(),
                    _ => self.mark(&tag, &mut paragraph, numbered),
                },
                Node::Empty(tag) => match tag.name() {
                    "p" => self.out.gap(Gap::Block),
                    _ => self.mark(&tag, &mut paragraph, numbered),
                },
                Node::Text(text) if in_text && fallback == 0 => paragraph.text.push_str(&text),
                Node::Text(_) => {}
                Node::End(name) if fallback > 0 => fallback -= usize::from(name == "Fallback"),
                Node::End(name) => match name.as_str() {
                    "t" => in_text = false,
                    "numPr" => numbered = false,
                    "p" => self.paragraph(std::mem::take(&mut paragraph), &mut after_list)?,
                    "tc" if tables == 1 => self.out.end_cell(),
                    "tr" if tables == 1 => self.out.end_row()?,
                    "tbl" => {
                        tables = tables.saturating_sub(1);
                        if tables == 0 && self.out.in_table() {
                            self.out.end_table()?;
                        }
                    }
                    _ => {}
                },
            }
        }
        Ok(())
    }

    fn mark(&self, tag: &Tag<'_>, paragraph: &mut Paragraph, numbered: bool) {
        match tag.name() {
            "pStyle" => {
                let style = tag.attribute("val").unwrap_or_default();
                paragraph.heading = self.styles.get(&style).copied().or_else(|| level_of(&style));
            }
            "outlineLvl" => paragraph.heading = paragraph.heading.or_else(|| outline(tag)),
            "ilvl" if numbered => paragraph.list = tag.attribute("val").and_then(|level| level.parse().ok()),
            // 0 takes the numbering of the style away.
            "numId" if numbered && tag.attribute("val").as_deref() != Some("0") => {
                paragraph.list = paragraph.list.or(Some(0));
            }
            "tab" => paragraph.text.push('\t'),
            "br" | "cr" => paragraph.text.push('\n'),
            "noBreakHyphen" => paragraph.text.push('-'),
            _ => {}
        }
    }

    fn paragraph(&mut self, paragraph: Paragraph, after_list: &mut bool) -> Result<()> {
        let in_list = paragraph.heading.is_none() && paragraph.list.is_some();
        match (paragraph.heading, paragraph.list) {
            (Some(level), _) => self.out.heading(level),
            (None, Some(depth)) => {
                self.out.gap(if *after_list { Gap::Line } else { Gap::Block });
                self.out.item(depth, None);
            }
            (None, None) => self.out.gap(Gap::Block),
        }
        let mut lines = paragraph.text.split('\n');
        self.out.text(lines.next().unwrap_or_default().trim())?;
        for line in lines {
            self.out.gap(Gap::Line);
            self.out.text(line.trim())?;
        }
        *after_list = in_list;
        self.out.end_line(if in_list { Gap::Line } else { Gap::Block });
        Ok(())
    }
}
