//! PDF: characters with their places become lines, lines become paragraphs, and lines in a larger
//! type than most of the text become headings.

use std::collections::BTreeMap;

use pdf_extract::{Document, MediaBox, OutputDev, OutputError, Transform, output_doc};

use crate::markdown::{Gap, Markdown, too_long};
use crate::{Result, Unreadable};

pub fn read(bytes: &[u8], most: usize) -> Result<String> {
    let mut document = Document::load_mem(bytes).map_err(damaged)?;
    if document.is_encrypted() {
        document
            .decrypt("")
            .map_err(|_| Unreadable::new("the PDF is encrypted, and its password is not known"))?;
    }
    let mut page = Lines::new(most);
    let drawn = output_doc(&document, &mut page);
    if page.too_long {
        return Err(too_long(most));
    }
    drawn.map_err(damaged)?;
    page.end_line();
    if page.lines.is_empty() {
        return Err(Unreadable::new("the PDF has no text; its pages may be images"));
    }
    page.write()
}

fn damaged(error: impl std::fmt::Display) -> Unreadable {
    let mut message: String = error.to_string().chars().take(200).collect();
    message.retain(|c| c >= ' ');
    Unreadable::new(format!("the PDF is damaged: {message}"))
}

struct Line {
    text: String,
    /// Average size of its characters.
    size: f64,
    /// Distance to the line above; none at the top of a page or column.
    above: Option<f64>,
}

struct Lines {
    most: usize,
    lines: Vec<Line>,
    bytes: usize,
    too_long: bool,
    text: String,
    /// Sum over the characters of the line, and how many.
    sizes: f64,
    characters: usize,
    /// Base of the line, end of its last character.
    y: f64,
    end: f64,
    last_y: Option<f64>,
    new_word: bool,
}

/// Headings are at least so much larger than the text, and not longer.
const HEADING_SCALE: f64 = 1.15;
const LONGEST_HEADING: usize = 200;
const HEADING_LEVELS: usize = 4;

impl Lines {
    fn new(most: usize) -> Self {
        Lines {
            most,
            lines: Vec::new(),
            bytes: 0,
            too_long: false,
            text: String::new(),
            sizes: 0.0,
            characters: 0,
            y: 0.0,
            end: 0.0,
            last_y: None,
            new_word: false,
        }
    }

    fn end_line(&mut self) {
        let text = std::mem::take(&mut self.text);
        let text = text.trim_end();
        if !text.trim().is_empty() {
            let above = self.last_y.map(|last| last - self.y).filter(|distance| *distance > 0.0);
            let size = self.sizes / self.characters.max(1) as f64;
            self.lines.push(Line { text: text.to_owned(), size, above });
            self.last_y = Some(self.y);
        }
        (self.sizes, self.characters) = (0.0, 0);
    }

    fn character(&mut self, x: f64, y: f64, size: f64, width: f64, text: &str) {
        if !self.text.is_empty() {
            if (y - self.y).abs() > size.max(1.0) * 0.5 {
                self.end_line();
            } else if self.new_word
                && (x > self.end + size * 0.1 || x < self.end - size)
                && !self.text.ends_with(' ')
            {
                self.text.push(' ');
            }
        }
        if self.text.is_empty() {
            self.y = y;
        }
        self.new_word = false;
        self.end = x + width * size;
        self.bytes += text.len() + 1;
        self.text.push_str(text);
        self.sizes += size;
        self.characters += 1;
    }

    /// The size of most of the text, and the sizes of headings, largest first.
    fn sizes(&self) -> (f64, Vec<i64>) {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for line in &self.lines {
            *counts.entry(halves(line.size)).or_default() += line.text.len();
        }
        let body = counts.iter().max_by_key(|(_, count)| **count).map_or(0, |(size, _)| *size);
        let mut headings: Vec<i64> =
            counts.keys().copied().filter(|size| *size as f64 > body as f64 * HEADING_SCALE).collect();
        headings.reverse();
        (body as f64 / 2.0, headings)
    }

    fn write(self) -> Result<String> {
        let (_, headings) = self.sizes();
        let mut out = Markdown::new(self.most);
        let mut heading_before = None;
        for line in &self.lines {
            let level = headings.iter().position(|size| *size == halves(line.size));
            let level = level.filter(|_| line.text.len() <= LONGEST_HEADING);
            let near = line.above.is_some_and(|distance| distance <= line.size * 1.6);
            match level {
                // A heading of two lines is one.
                Some(level) if heading_before == Some(level) && near => out.gap(Gap::Space),
                Some(level) => out.heading((level + 1).min(HEADING_LEVELS)),
                None => out.gap(if near && heading_before.is_none() { Gap::Line } else { Gap::Block }),
            }
            heading_before = level;
            out.text(line.text.trim())?;
        }
        out.finish()
    }
}

/// Sizes are compared by half points.
fn halves(size: f64) -> i64 {
    (size * 2.0).round() as i64
}

impl OutputDev for Lines {
    fn begin_page(
        &mut self,
        _: u32,
        _: &MediaBox,
        _: Option<(f64, f64, f64, f64)>,
    ) -> std::result::Result<(), OutputError> {
        Ok(())
    }

    fn end_page(&mut self) -> std::result::Result<(), OutputError> {
        self.end_line();
        self.last_y = None;
        Ok(())
    }

    fn output_character(
        &mut self,
        place: &Transform,
        width: f64,
        _spacing: f64,
        font_size: f64,
        text: &str,
    ) -> std::result::Result<(), OutputError> {
        let scale = (place.m11 * place.m22 - place.m12 * place.m21).abs().sqrt();
        let size = scale * font_size.abs();
        self.character(place.m31, place.m32, if size.is_finite() { size } else { 0.0 }, width, text);
        if self.bytes > self.most {
            self.too_long = true;
            return Err(OutputError::FormatError(std::fmt::Error));
        }
        Ok(())
    }

    fn begin_word(&mut self) -> std::result::Result<(), OutputError> {
        self.new_word = true;
        Ok(())
    }

    fn end_word(&mut self) -> std::result::Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> std::result::Result<(), OutputError> {
        Ok(())
    }
}
