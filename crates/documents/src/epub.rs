//! Books: the pages that the spine lists, in its order.

use std::collections::HashMap;

use crate::archive::{Archive, folder, resolve};
use crate::html::{self, Dialect};
use crate::markdown::{Gap, Markdown};
use crate::xml::{Node, Nodes};
use crate::{Result, Unreadable, text};

pub fn read(bytes: &[u8], most: usize) -> Result<String> {
    let mut archive = Archive::open(bytes)?;
    let container = archive.required("META-INF/container.xml")?;
    let package = first_attribute(&container, "rootfile", "full-path")?
        .ok_or_else(|| Unreadable::new("META-INF/container.xml names no package"))?;
    let pages = spine(&archive.required(&package)?, folder(&package))?;
    let mut out = Markdown::new(most);
    for page in pages {
        let Some(bytes) = archive.member(&page)? else { continue };
        out.gap(Gap::Block);
        html::append(&text::decode_html(&bytes, most)?, Dialect::Xhtml, &mut out)?;
    }
    out.finish()
}

fn first_attribute(text: &str, element: &str, attribute: &str) -> Result<Option<String>> {
    let mut nodes = Nodes::new(text);
    while let Some(node) = nodes.next()? {
        if let Node::Start(tag) | Node::Empty(tag) = node
            && tag.name() == element
        {
            return Ok(tag.attribute(attribute));
        }
    }
    Ok(None)
}

/// The members of the pages, in the order of reading.
fn spine(package: &str, base: &str) -> Result<Vec<String>> {
    let mut items = HashMap::new();
    let mut order = Vec::new();
    let mut nodes = Nodes::new(package);
    while let Some(node) = nodes.next()? {
        let (Node::Start(tag) | Node::Empty(tag)) = node else { continue };
        match tag.name() {
            "item" => {
                let kind = tag.attribute("media-type").unwrap_or_default();
                if let (Some(id), Some(href)) = (tag.attribute("id"), tag.attribute("href"))
                    && kind.contains("html")
                {
                    items.insert(id, resolve(base, &unescape(&href)));
                }
            }
            "itemref" => order.extend(tag.attribute("idref")),
            _ => {}
        }
    }
    // Each page once, however often it is listed.
    Ok(order.iter().filter_map(|id| items.remove(id)).collect())
}

/// `%20` and its like.
fn unescape(href: &str) -> String {
    let href = href.split('#').next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(href.len());
    let mut rest = href.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
