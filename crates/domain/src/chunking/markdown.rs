//! Cuts Markdown at its headings. Each chunk begins with the headings that it stands under, from
//! the outermost inward; what is below one heading is cut as plain text is.

use std::ops::Range;

use super::{Sink, descend, separator::Separator};
use crate::failure::Failure;

/// Between the headings of a path, and between the path and the text.
const ARROW: &str = " > ";
const GAP: &str = "\n\n";

/// A heading with the text up to the next one. The first may have none.
struct Section<'t> {
    /// 1 to 6; 0 for what stands before the first heading.
    level: u8,
    heading: &'t str,
    body: &'t str,
}

impl Section<'_> {
    fn is_empty(&self) -> bool {
        super::is_blank(self.body)
    }
}

/// Chunks of at most `size` characters, path included. The path takes at most half of that: outer
/// headings are left out of it first, and a heading that is too long by itself counts as text.
pub(super) fn chunk(
    text: &str,
    separators: &[Separator],
    size: usize,
    overlap: usize,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let sections = sections(text);
    let mut path: Vec<(u8, &str)> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        if section.level > 0 {
            path.retain(|(level, _)| *level < section.level);
            path.push((section.level, section.heading));
        }
        if section.is_empty() && shown_below(&sections[index..], &path, size) {
            continue;
        }
        write(section, &path, separators, size, overlap, sink)?;
    }
    Ok(())
}

fn write(
    section: &Section<'_>,
    path: &[(u8, &str)],
    separators: &[Separator],
    size: usize,
    overlap: usize,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let from = shown_from(path, size);
    let mut whole = path[from..].iter().map(|(_, heading)| *heading).collect::<Vec<_>>().join(ARROW);
    let with_body;
    let mut body = section.body;
    if from == path.len() && section.level > 0 {
        // The heading is longer than a path may be.
        with_body = format!("{}{GAP}{}", section.heading, section.body);
        body = &with_body;
    }
    if super::is_blank(body) {
        if !whole.is_empty() {
            sink(&whole);
        }
        return Ok(());
    }
    if !whole.is_empty() {
        whole.push_str(GAP);
    }
    let (start, taken) = (whole.len(), whole.chars().count());
    // Half of the size is left at least.
    let room = size - taken;
    descend(body, separators, room, overlap.min(room - 1), &mut |chunk| {
        if !super::is_blank(chunk) {
            whole.truncate(start);
            whole.push_str(chunk);
            sink(&whole);
        }
    })
}

/// The first heading of the path that is shown.
fn shown_from(path: &[(u8, &str)], size: usize) -> usize {
    let mut from = path.len();
    let mut length = 0;
    while from > 0 {
        let heading = path[from - 1].1;
        let joint = if from == path.len() { GAP.len() } else { ARROW.len() };
        length += heading.chars().count() + joint;
        if heading.is_empty() || length > size / 2 {
            break;
        }
        from -= 1;
    }
    from
}

/// Whether the heading of the first section, which has no text, is shown with a text below it.
fn shown_below(sections: &[Section<'_>], path: &[(u8, &str)], size: usize) -> bool {
    let mut below = path.to_vec();
    for (index, section) in sections.iter().enumerate().skip(1) {
        if below.last().is_none_or(|(level, _)| section.level <= *level) {
            return false;
        }
        below.push((section.level, section.heading));
        let goes_on =
            section.is_empty() && sections.get(index + 1).is_some_and(|next| next.level > section.level);
        if !goes_on {
            return shown_from(&below, size) < path.len();
        }
    }
    false
}

/// The parts of the document. Headings are those of CommonMark, with `#` or underlined, outside
/// of fenced code and of the front matter.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    let mut scanner = Scanner::default();
    let mut close = |level, heading: &Range<usize>, body: Range<usize>| {
        let section = Section { level, heading: &text[heading.clone()], body: &text[body] };
        if level > 0 || !section.is_empty() {
            sections.push(section);
        }
    };
    let (mut level, mut heading, mut body) = (0, 0..0, 0);
    let mut at = front_matter(text);
    while at < text.len() {
        let end = text[at..].find('\n').map_or(text.len(), |length| at + length + 1);
        if let Some(found) = scanner.line(text, at..end) {
            close(level, &heading, body..found.start.max(body));
            (level, heading, body) = (found.level, found.title, end);
        }
        at = end;
    }
    close(level, &heading, body..text.len());
    sections
}

struct Heading {
    level: u8,
    title: Range<usize>,
    /// Where its first line begins.
    start: usize,
}

/// What the lines so far decide about the next one.
#[derive(Default)]
struct Scanner {
    /// The sign and the length of the fence of open code.
    fence: Option<(u8, usize)>,
    /// The line before, where it is a paragraph by itself: an underline makes it a heading.
    single: Option<Range<usize>>,
    in_paragraph: bool,
}

impl Scanner {
    fn line(&mut self, text: &str, line: Range<usize>) -> Option<Heading> {
        let raw = &text[line.clone()];
        let indent = raw.len() - raw.trim_start_matches(' ').len();
        let trimmed = raw.trim();
        let first = trimmed.bytes().next().unwrap_or_default();
        let run = trimmed.bytes().take_while(|byte| *byte == first).count();
        let whole = run == trimmed.len();
        if let Some((sign, length)) = self.fence {
            if first == sign && run >= length && whole {
                self.fence = None;
            }
            return None;
        }
        if trimmed.is_empty() || indent > 3 {
            (self.single, self.in_paragraph) = (None, !trimmed.is_empty() && self.in_paragraph);
            return None;
        }
        if matches!(first, b'`' | b'~') && run >= 3 {
            self.fence = Some((first, run));
            (self.single, self.in_paragraph) = (None, false);
            return None;
        }
        if first == b'#' && run <= 6 && matches!(trimmed.as_bytes().get(run), None | Some(b' ' | b'\t')) {
            (self.single, self.in_paragraph) = (None, false);
            let title = within(text, title(&trimmed[run..]));
            return Some(Heading { level: run as u8, title, start: line.start });
        }
        if matches!(first, b'=' | b'-')
            && whole
            && let Some(title) = self.single.take()
        {
            self.in_paragraph = false;
            let start = title.start;
            return Some(Heading { level: if first == b'=' { 1 } else { 2 }, title, start });
        }
        // Of a longer paragraph no line is a heading, nor are items of lists, quotes and tables.
        let plain = !matches!(first, b'-' | b'*' | b'+' | b'>' | b'|');
        self.single = (!self.in_paragraph && plain).then(|| within(text, trimmed));
        self.in_paragraph = true;
        None
    }
}

/// A heading's text: without the signs that may close it.
fn title(after: &str) -> &str {
    let trimmed = after.trim();
    let open = trimmed.trim_end_matches('#');
    if open.is_empty() || open.ends_with([' ', '\t']) { open.trim() } else { trimmed }
}

/// The place of `part` in `text`, of which it is a slice.
fn within(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// Where the text begins behind a header between two lines `---`. The header is kept as text: it
/// only holds no headings.
fn front_matter(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else { return 0 };
    let start = text.len() - rest.len();
    let mut at = start;
    for line in rest.split_inclusive('\n') {
        at += line.len();
        if line.trim_end() == "---" {
            return at;
        }
    }
    0
}
