//! Templates in the manner of Python's `string.Template`: `$name`, `${name}` and `$$`.
//! Parsed once, rendered for each chunk. Beyond Python's rule, `${…}` takes any column
//! name, so that columns in mixed case or with spaces can be used.

use crate::config::ConfigError;

/// The placeholder that stands for the chunk.
const CHUNK: &str = "chunk";

/// A parsed template that contains `$chunk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    /// Every placeholder once, in order of appearance; `Part::Name` points here.
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(usize),
}

impl Template {
    /// Parses `source`. Refuses a `$` that begins no placeholder, and a template without `$chunk`.
    pub fn parse(source: &str) -> Result<Template, ConfigError> {
        let mut template = Template { parts: Vec::new(), names: Vec::new() };
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find('$') {
            text.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            if let Some(after) = tail.strip_prefix('$') {
                text.push('$');
                rest = after;
                continue;
            }
            let (name, after) = placeholder(tail)?;
            if !text.is_empty() {
                template.parts.push(Part::Text(std::mem::take(&mut text)));
            }
            let index = template.intern(name);
            template.parts.push(Part::Name(index));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            template.parts.push(Part::Text(text));
        }
        if !template.names.iter().any(|name| name == CHUNK) {
            return Err(ConfigError::new(
                "the template does not contain $chunk",
                "Write $chunk where the chunk's text belongs, as in '$title: $chunk'.",
            ));
        }
        Ok(template)
    }

    /// Every placeholder once, `chunk` included, in order of appearance.
    pub fn placeholders(&self) -> &[String] {
        &self.names
    }

    /// The columns that the template needs: the placeholders besides `chunk`.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| *name != CHUNK)
    }

    /// The text for one chunk. `lookup` gives a column's value; None (NULL) becomes nothing.
    pub fn render<'v>(&self, chunk: &str, lookup: impl Fn(&str) -> Option<&'v str>) -> String {
        let mut rendered = String::with_capacity(chunk.len() + 64 * (self.parts.len() - 1));
        for part in &self.parts {
            match part {
                Part::Text(text) => rendered.push_str(text),
                Part::Name(index) if self.names[*index] == CHUNK => rendered.push_str(chunk),
                Part::Name(index) => rendered.push_str(lookup(&self.names[*index]).unwrap_or_default()),
            }
        }
        rendered
    }

    fn intern(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

/// The placeholder at the start of `tail`, the text behind a `$`, and what follows it.
fn placeholder(tail: &str) -> Result<(&str, &str), ConfigError> {
    if let Some(braced) = tail.strip_prefix('{') {
        return match braced.split_once('}') {
            Some((name, after)) if !name.is_empty() && !name.contains(['{', '$']) => Ok((name, after)),
            _ => Err(invalid(tail)),
        };
    }
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
    let end = tail.find(|c: char| !(starts(c) || c.is_ascii_digit())).unwrap_or(tail.len());
    if end == 0 || !tail.starts_with(starts) {
        return Err(invalid(tail));
    }
    Ok(tail.split_at(end))
}

fn invalid(tail: &str) -> ConfigError {
    let shown: String = tail.chars().take(20).collect();
    ConfigError::new(
        format!("\"${shown}\" in the template is not a placeholder"),
        "Write $name or ${name} for a column, and $$ for a dollar sign.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn render(template: &str) -> String {
        let values = [("title", "T"), ("_a1", "A"), ("Full Name", "F"), ("标题", "B")];
        Template::parse(template)
            .expect("a valid template")
            .render("C", |name| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    // The expected values of templates that Python takes come from Python 3.11's string.Template.
    #[test]
    fn renders_as_python_does() {
        assert_eq!(render("$chunk"), "C");
        assert_eq!(render("${chunk}"), "C");
        assert_eq!(render("$title: $chunk"), "T: C");
        assert_eq!(render("${title}s $chunk$chunk"), "Ts CC");
        assert_eq!(render("$_a1.$chunk-"), "A.C-");
        assert_eq!(render("$$5 $$$chunk $$title"), "$5 $C $title");
        assert_eq!(render("$chunk$$"), "C$");
        assert_eq!(render("价格 $title，$chunk"), "价格 T，C");
    }

    #[test]
    fn null_becomes_nothing() {
        assert_eq!(render("[$nothing] $chunk"), "[] C");
    }

    #[test]
    fn braces_take_any_column_name() {
        assert_eq!(render("${Full Name} ${标题} $chunk"), "F B C");
    }

    #[test]
    fn values_are_not_templates() {
        let template = Template::parse("$title $chunk").expect("valid");
        assert_eq!(template.render("$title", |_| Some("$chunk")), "$chunk $title");
    }

    #[test]
    fn malformed_templates_are_refused() {
        for bad in
            ["$chunk $", "$chunk $5", "$chunk ${", "$chunk ${}", "$chunk ${a", "$chunk $ä", "$chunk ${a${b}"]
        {
            let error = Template::parse(bad).expect_err(bad);
            assert!(error.message.contains("not a placeholder"), "{bad}: {error}");
            assert!(error.hint.contains("$$"), "{bad}");
        }
    }

    #[test]
    fn chunk_is_required() {
        for bad in ["", "text", "$title", "$$chunk", "$chunks", "$Chunk", "chunk"] {
            let error = Template::parse(bad).expect_err(bad);
            assert_eq!(error.message, "the template does not contain $chunk", "{bad}");
        }
    }

    #[test]
    fn placeholders_come_once_and_in_order() {
        let template = Template::parse("$b $chunk ${a} $b").expect("valid");
        assert_eq!(template.placeholders(), ["b", "chunk", "a"]);
        assert_eq!(template.columns().collect::<Vec<_>>(), ["b", "a"]);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(source in ".*") {
            // Either outcome is fine; a panic is not.
            drop(Template::parse(&source));
        }

        #[test]
        fn an_escaped_text_comes_back(text in ".*") {
            let template = Template::parse(&(text.replace('$', "$$") + "$chunk")).expect("valid");
            prop_assert_eq!(template.render("!", |_| None), text + "!");
        }
    }
}
