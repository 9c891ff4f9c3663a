//! Web pages: the tokens of html5ever without a tree, so that neither nesting nor unclosed tags
//! cost anything but a counter.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use crate::Result;
use crate::markdown::{Gap, Markdown};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Html,
    /// `<script/>` is closed.
    Xhtml,
}

pub fn read(page: &str, dialect: Dialect, most: usize) -> Result<String> {
    let mut out = Markdown::new(most);
    append(page, dialect, &mut out)?;
    out.finish()
}

/// Adds a page to what was written before.
pub fn append(page: &str, dialect: Dialect, out: &mut Markdown) -> Result<()> {
    let sink = Sink(RefCell::new(State {
        out,
        dialect,
        skipped: None,
        lists: Vec::new(),
        tables: 0,
        pre: 0,
        result: Ok(()),
    }));
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    // In pieces: the tokenizer goes on where it was, and the error of a page that is too long is
    // found before all of it was read.
    let mut rest = page;
    while !rest.is_empty() {
        let mut end = rest.len().min(64 * 1024);
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let queue = BufferQueue::default();
        queue.push_back(StrTendril::from(&rest[..end]));
        // It stops where the sink wants it to; ours never does.
        let _ = tokenizer.feed(&queue);
        tokenizer.sink.0.borrow().result.clone()?;
        rest = &rest[end..];
    }
    tokenizer.end();
    tokenizer.sink.0.into_inner().result
}

struct Sink<'a>(RefCell<State<'a>>);

struct State<'a> {
    out: &'a mut Markdown,
    dialect: Dialect,
    /// The element whose content is not text, and how often it is open.
    skipped: Option<(String, usize)>,
    /// The next number of each list that is open; None without numbers.
    lists: Vec<Option<usize>>,
    tables: usize,
    pre: usize,
    result: Result<()>,
}

/// Lists that are deeper count as one.
const DEEPEST: usize = 64;

impl TokenSink for Sink<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => {
                let closed = state.dialect == Dialect::Xhtml && tag.self_closing;
                let (kind, name) = (tag.kind, tag.name.clone());
                if state.result.is_ok() {
                    state.result = state.tag(&tag, closed);
                }
                match &*name {
                    _ if kind == TagKind::EndTag || closed => TokenSinkResult::Continue,
                    "script" => TokenSinkResult::RawData(RawKind::ScriptData),
                    "style" | "xmp" | "iframe" | "noembed" | "noframes" => {
                        TokenSinkResult::RawData(RawKind::Rawtext)
                    }
                    "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
                    _ => TokenSinkResult::Continue,
                }
            }
            Token::CharacterTokens(text) => {
                if state.result.is_ok() {
                    state.result = state.text(&text);
                }
                TokenSinkResult::Continue
            }
            _ => TokenSinkResult::Continue,
        }
    }
}

fn is_skipped(name: &str) -> bool {
    matches!(
        name,
        "script"
            | "style"
            | "template"
            | "svg"
            | "noscript"
            | "iframe"
            | "noembed"
            | "noframes"
            | "textarea"
            | "select"
            | "object"
            | "audio"
            | "video"
            | "canvas"
    )
}

impl State<'_> {
    fn text(&mut self, text: &str) -> Result<()> {
        if self.skipped.is_some() {
            return Ok(());
        }
        if self.pre == 0 || self.out.in_table() {
            return self.out.text(text);
        }
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                self.out.verbatim("\n")?;
            }
            self.out.verbatim(line)?;
        }
        Ok(())
    }

    fn tag(&mut self, tag: &Tag, closed: bool) -> Result<()> {
        let name = &*tag.name;
        let start = tag.kind == TagKind::StartTag;
        if let Some((skipped, depth)) = &mut self.skipped {
            if skipped == name && !closed {
                *depth = if start { *depth + 1 } else { *depth - 1 };
                if *depth == 0 {
                    self.skipped = None;
                }
            }
            return Ok(());
        }
        if start && !closed && is_skipped(name) {
            self.skipped = Some((name.to_owned(), 1));
            return Ok(());
        }
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" if start => {
                self.out.heading(usize::from(name.as_bytes()[1] - b'0'))
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.out.end_line(Gap::Block),
            "title" if start => self.out.heading(1),
            "title" => self.out.end_line(Gap::Block),
            "br" => self.out.gap(Gap::Line),
            "ul" | "ol" | "menu" => self.list(tag, start),
            "li" if start => self.item(),
            "li" => self.out.end_line(Gap::Line),
            "table" if start => {
                if self.tables == 0 {
                    self.out.begin_table();
                }
                self.tables += 1;
                self.out.gap(Gap::Space);
            }
            "table" => {
                self.tables = self.tables.saturating_sub(1);
                if self.tables == 0 && self.out.in_table() {
                    self.out.end_table()?;
                }
            }
            "tr" if self.tables == 1 => self.out.end_row()?,
            "td" | "th" if self.tables == 1 && start => self.out.begin_cell(),
            "td" | "th" if self.tables == 1 => self.out.end_cell(),
            "tr" | "td" | "th" => self.out.gap(Gap::Space),
            "pre" if start => {
                self.out.gap(Gap::Block);
                self.pre += 1;
                if self.pre == 1 && !self.out.in_table() {
                    self.out.verbatim("```\n")?;
                }
            }
            "pre" if self.pre > 0 => {
                self.pre -= 1;
                if self.pre == 0 && !self.out.in_table() {
                    self.out.verbatim("\n```")?;
                }
                self.out.gap(Gap::Block);
            }
            "img" => {
                let alt = tag.attrs.iter().find(|attribute| &*attribute.name.local == "alt");
                if let Some(alt) = alt {
                    self.out.text(&alt.value)?;
                }
            }
            "dt" | "dd" => self.out.gap(Gap::Line),
            "p" | "div" | "section" | "article" | "header" | "footer" | "main" | "nav" | "aside"
            | "blockquote" | "figure" | "figcaption" | "address" | "dl" | "form" | "fieldset" | "hr"
            | "body" | "details" | "summary" | "caption" => {
                // A paragraph within an item belongs to its line.
                self.out.gap(if self.lists.is_empty() { Gap::Block } else { Gap::Line });
            }
            _ => {}
        }
        Ok(())
    }

    fn list(&mut self, tag: &Tag, start: bool) {
        if start {
            self.out.end_line(if self.lists.is_empty() { Gap::Block } else { Gap::Line });
            let first = tag.attrs.iter().find(|attribute| &*attribute.name.local == "start");
            let first = first.and_then(|attribute| attribute.value.parse().ok()).unwrap_or(1);
            if self.lists.len() < DEEPEST {
                self.lists.push((&*tag.name == "ol").then_some(first));
            }
        } else {
            self.lists.pop();
            self.out.end_line(if self.lists.is_empty() { Gap::Block } else { Gap::Line });
        }
    }

    fn item(&mut self) {
        let depth = self.lists.len().saturating_sub(1);
        let number = self.lists.last_mut().and_then(|list| {
            let number = (*list)?;
            *list = Some(number.saturating_add(1));
            Some(number)
        });
        self.out.item(depth, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &str) -> String {
        read(page, Dialect::Html, 10_000).unwrap()
    }

    #[test]
    fn structure_survives() {
        let page = "<!doctype html><html><head><title>A title</title><style>p{}</style>\
            <script>if (a < b) { document.write('<p>no</p>') }</script></head><body>\
            <h2>Caf&eacute; &amp; more</h2><p>One <b>bold</b>\n  word.</p><p>Two<br>lines</p>\
            <ul><li>a<li>b<ol start=4><li><p>c</p></li><li>d</ol></ul>\
            <table><tr><th>x<th>y</tr><tr><td>1<td>2 <p>3</table>after\
            <pre>  keep\n    this</pre><svg><text>no</text></svg><img alt='An image' src=x></body></html>";
        assert_eq!(
            text(page),
            "# A title\n\n## Café & more\n\nOne bold word.\n\nTwo\nlines\n\n- a\n- b\n  4. c\n  5. d\n\n\
             | x | y |\n| --- | --- |\n| 1 | 2 3 |\n\nafter\n\n```\n  keep\n    this\n```\n\nAn image"
        );
    }

    #[test]
    fn broken_and_hostile_pages_are_read() {
        assert_eq!(text("<p>a<p>b</div></table></ul><td>c"), "a\n\nb\n\nc");
        assert_eq!(text("<html>x<script>never closed"), "x");
        assert_eq!(text("text &unknown; &#x41; &#0; <"), "text &unknown; A \u{fffd} <");
        let deep = "<div><table><tr><td><ul><li><pre>".repeat(50_000);
        read(&deep, Dialect::Html, 10_000_000).unwrap();
        assert!(read(&"<p>word</p>".repeat(10_000), Dialect::Html, 1_000).is_err());
        assert_eq!(read("<p>a</p><script/><p>b</p>", Dialect::Xhtml, 100).unwrap(), "a\n\nb");
    }
}
