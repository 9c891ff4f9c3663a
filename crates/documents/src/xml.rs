//! A view of XML as a stream of tags and texts, with names without their namespace prefixes and
//! entities resolved. Only the five entities of XML itself and numbers are: a document's own
//! definitions are not read, so none can expand. Nothing here recurses.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use crate::{Result, Unreadable};

pub enum Node<'a> {
    Start(Tag<'a>),
    /// `<name/>`: no End follows.
    Empty(Tag<'a>),
    End(String),
    Text(String),
}

pub struct Tag<'a>(BytesStart<'a>);

impl Tag<'_> {
    pub fn name(&self) -> &str {
        local(self.0.name().into_inner())
    }

    /// The attribute of that name, whatever its prefix.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let mut attributes = self.0.attributes();
        let found = attributes.with_checks(false).filter_map(|attribute| attribute.ok());
        let mut found = found.filter(|attribute| local(attribute.key.into_inner()) == name);
        found.next().map(|attribute| match attribute.normalized_value(XmlVersion::Implicit1_0) {
            Ok(value) => value.into_owned(),
            Err(_) => attribute.value.into_owned(),
        })
    }

    /// The attribute with that prefix and name: `r:id` beside `id`.
    pub fn qualified(&self, name: &str) -> Option<String> {
        let mut attributes = self.0.attributes();
        let found = attributes.with_checks(false).filter_map(|attribute| attribute.ok());
        let mut found = found.filter(|attribute| attribute.key.into_inner() == name);
        found.next().map(|attribute| attribute.value.into_owned())
    }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

pub struct Nodes<'a>(Reader<&'a [u8]>);

impl<'a> Nodes<'a> {
    pub fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        // The prefix of an end tag need not be checked twice.
        reader.config_mut().check_end_names = false;
        Nodes(reader)
    }

    /// The next tag or text, None at the end.
    pub fn next(&mut self) -> Result<Option<Node<'a>>> {
        loop {
            let event = self
                .0
                .read_event()
                .map_err(|error| Unreadable::new(format!("the XML is damaged: {error}")))?;
            return Ok(Some(match event {
                Event::Start(tag) => Node::Start(Tag(tag)),
                Event::Empty(tag) => Node::Empty(Tag(tag)),
                Event::End(tag) => Node::End(local(tag.name().into_inner()).to_owned()),
                Event::Text(text) => Node::Text(text.xml_content(XmlVersion::Implicit1_0).into_owned()),
                Event::CData(text) => Node::Text(text.xml_content(XmlVersion::Implicit1_0).into_owned()),
                Event::GeneralRef(reference) => {
                    let number = reference.resolve_char_ref().ok().flatten().map(String::from);
                    let named = || match &*reference {
                        "amp" => Some("&".to_owned()),
                        "lt" => Some("<".to_owned()),
                        "gt" => Some(">".to_owned()),
                        "quot" => Some("\"".to_owned()),
                        "apos" => Some("'".to_owned()),
                        _ => None,
                    };
                    match number.or_else(named) {
                        Some(text) => Node::Text(text),
                        None => continue,
                    }
                }
                Event::Eof => return Ok(None),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
            }));
        }
    }
}
