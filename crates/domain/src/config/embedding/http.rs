//! `embedding_http`: any API that takes JSON and answers JSON, by a template of its requests and
//! the path to the vectors in its answers. Both are parsed here, into plain data; texts are put
//! into places of the parsed template, never into text, so that none can break out of its place.

use serde_json::Value;

use super::{Field, Remote, checked_dimensions};
use crate::config::{
    ConfigError,
    fields::{Fields, bounded, optional},
};

/// Deeper templates and longer paths are a mistake.
const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    pub url: String,
    pub model: String,
    pub dimensions: u32,
    pub request: Value,
    pub response_path: String,
    pub api_key_name: Option<String>,
    pub max_inputs: u32,
    pub max_tokens: Option<u32>,
}

/// A template of a request with its places found.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// As it stands.
    Fixed(Value),
    Object(Vec<(String, Template)>),
    List(Vec<Template>),
    /// A list with one element that holds `{{input}}`: one such element for each text.
    Each(Box<Template>),
    Place(Place),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `"{{inputs}}"`: the list of texts.
    Inputs,
    /// `"{{input}}"`: one text.
    Input,
    /// `"{{model}}"`, `"{{dimensions}}"`.
    Model,
    Dimensions,
    /// `"{{input_type}}"`: `document` or `query`.
    InputType,
}

/// One step to the vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Member(String),
    Item(usize),
    Each,
}

const PLACES: &str = "{{inputs}}, {{input}}, {{model}}, {{dimensions}} and {{input_type}}";

impl Template {
    /// Finds the places. Errors: a place that is not known, none for the texts, several for them.
    pub fn parse(request: &Value) -> Result<Template, ConfigError> {
        if !request.is_object() && !request.is_array() {
            return Err(ConfigError::new(
                "request must be a JSON object or array",
                "Give the body that the API expects, such as '{\"model\": \"{{model}}\", \"input\": \"{{inputs}}\"}'.",
            ));
        }
        let template = Template::read(request, 0)?;
        match template.places_of_texts() {
            1 => Ok(template),
            0 => Err(ConfigError::new(
                "request has no place for the texts",
                "Write \"{{inputs}}\" where the list of texts belongs, or \"{{input}}\" where one text does.",
            )),
            _ => Err(ConfigError::new(
                "request has several places for the texts",
                "Write \"{{inputs}}\" or \"{{input}}\" once.",
            )),
        }
    }

    fn read(value: &Value, depth: usize) -> Result<Template, ConfigError> {
        if depth > MAX_DEPTH {
            return Err(ConfigError::new("request is nested too deeply", "Give a simpler template."));
        }
        Ok(match value {
            Value::Object(members) => Template::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Template::read(value, depth + 1)?)))
                    .collect::<Result<_, ConfigError>>()?,
            ),
            Value::Array(items) => {
                let mut items: Vec<Template> = items
                    .iter()
                    .map(|item| Template::read(item, depth + 1))
                    .collect::<Result<_, ConfigError>>()?;
                match items.as_slice() {
                    [only] if only.takes_single() => Template::Each(Box::new(items.remove(0))),
                    _ => Template::List(items),
                }
            }
            Value::String(text) => match text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
                None => Template::Fixed(value.clone()),
                Some("inputs") => Template::Place(Place::Inputs),
                Some("input") => Template::Place(Place::Input),
                Some("model") => Template::Place(Place::Model),
                Some("dimensions") => Template::Place(Place::Dimensions),
                Some("input_type") => Template::Place(Place::InputType),
                Some(other) => {
                    return Err(ConfigError::new(
                        format!("request has an unknown placeholder {{{{{other}}}}}"),
                        format!("Known are {PLACES}."),
                    ));
                }
            },
            other => Template::Fixed(other.clone()),
        })
    }

    /// Whether a single text belongs somewhere in this part, and to nothing smaller that repeats.
    fn takes_single(&self) -> bool {
        match self {
            Template::Place(place) => *place == Place::Input,
            Template::Object(members) => members.iter().any(|(_, member)| member.takes_single()),
            Template::List(items) => items.iter().any(Template::takes_single),
            Template::Fixed(_) | Template::Each(_) => false,
        }
    }

    fn places_of_texts(&self) -> usize {
        match self {
            Template::Place(place) => usize::from(matches!(place, Place::Inputs | Place::Input)),
            Template::Object(members) => members.iter().map(|(_, member)| member.places_of_texts()).sum(),
            Template::List(items) => items.iter().map(Template::places_of_texts).sum(),
            Template::Each(item) => item.places_of_texts(),
            Template::Fixed(_) => 0,
        }
    }

    /// Whether one request carries several texts.
    pub fn takes_several(&self) -> bool {
        !self.takes_single()
    }

    /// The body of a request for `inputs`; `single` is the text where a single one belongs.
    pub fn fill(&self, fill: &Fill<'_>) -> Value {
        self.fill_in(fill, fill.inputs.first().copied().unwrap_or_default())
    }

    fn fill_in(&self, fill: &Fill<'_>, single: &str) -> Value {
        match self {
            Template::Fixed(value) => value.clone(),
            Template::Object(members) => {
                members.iter().map(|(name, member)| (name.clone(), member.fill_in(fill, single))).collect()
            }
            Template::List(items) => items.iter().map(|item| item.fill_in(fill, single)).collect(),
            Template::Each(item) => fill.inputs.iter().map(|input| item.fill_in(fill, input)).collect(),
            Template::Place(Place::Inputs) => fill.inputs.iter().map(|input| Value::from(*input)).collect(),
            Template::Place(Place::Input) => single.into(),
            Template::Place(Place::Model) => fill.model.into(),
            Template::Place(Place::Dimensions) => fill.dimensions.into(),
            Template::Place(Place::InputType) => fill.input_type.into(),
        }
    }
}

/// What goes into the places.
#[derive(Debug, Clone, Copy)]
pub struct Fill<'a> {
    pub inputs: &'a [&'a str],
    pub model: &'a str,
    pub dimensions: u32,
    pub input_type: &'a str,
}

impl Step {
    /// Parses a path: names with dots between them, `[*]` for each element of a list, `[0]` for
    /// one of them, `["a.b"]` for a name with signs in it. A `$` may stand in front.
    pub fn parse(path: &str) -> Result<Vec<Step>, ConfigError> {
        let error = |problem: &str| {
            ConfigError::new(
                format!("response_path \"{path}\" cannot be read: {problem}"),
                "Write names with dots between them and [*] for each element of a list, such as 'data[*].embedding'.",
            )
        };
        let mut rest = path.trim();
        rest = rest.strip_prefix('$').unwrap_or(rest);
        let mut steps = Vec::new();
        let mut first = true;
        while !rest.is_empty() {
            if steps.len() == MAX_DEPTH {
                return Err(error("it is too long"));
            }
            if let Some(after) = rest.strip_prefix("[\"") {
                let (name, after) = after.split_once("\"]").ok_or_else(|| error("a [\" has no end"))?;
                steps.push(Step::Member(name.to_owned()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (inner, after) = after.split_once(']').ok_or_else(|| error("a [ has no ]"))?;
                steps.push(match inner.trim() {
                    "*" => Step::Each,
                    digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                        Step::Item(digits.parse().map_err(|_| error("a number is too large"))?)
                    }
                    _ => return Err(error("between [ and ] stands neither * nor a number")),
                });
                rest = after;
            } else {
                let after = match rest.strip_prefix('.') {
                    Some(after) => after,
                    None if first => rest,
                    None => return Err(error("a name has no dot before it")),
                };
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    return Err(error("a name is missing"));
                }
                steps.push(Step::Member(after[..end].to_owned()));
                rest = &after[end..];
            }
            first = false;
        }
        Ok(steps)
    }
}

impl Http {
    const MOST_INPUTS: u32 = 10_000;

    /// Errors: a template or a path that cannot be read, limits below 1, several inputs where the
    /// template takes one.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        url: &str,
        model: &str,
        dimensions: i32,
        request: &Value,
        response_path: &str,
        api_key_name: Option<&str>,
        max_inputs: Option<i32>,
        max_tokens: Option<i32>,
    ) -> Result<Http, ConfigError> {
        let template = Template::parse(request)?;
        Step::parse(response_path)?;
        let usual = if template.takes_several() { 32 } else { 1 };
        let inputs_hint = "Give the texts that the API takes in one request.";
        let max_inputs =
            bounded("max_inputs", max_inputs.unwrap_or(usual), 1, Http::MOST_INPUTS, inputs_hint)?;
        if max_inputs > 1 && !template.takes_several() {
            return Err(ConfigError::new(
                format!("max_inputs is {max_inputs}, and request has a place for one text"),
                "Write \"{{inputs}}\" where the list of texts belongs, or put the part with \"{{input}}\" into a list: it is repeated.",
            ));
        }
        let tokens_hint = "Give the tokens that the API takes in one request, or leave it out for no limit.";
        Ok(Http {
            url: url.to_owned(),
            model: model.to_owned(),
            dimensions: checked_dimensions(dimensions)?,
            request: request.clone(),
            response_path: response_path.to_owned(),
            api_key_name: api_key_name.map(str::to_owned),
            max_inputs,
            max_tokens: max_tokens
                .map(|tokens| bounded("max_tokens", tokens, 1, i32::MAX as u32, tokens_hint))
                .transpose()?,
        })
    }
}

impl Remote for Http {
    const NAME: &'static str = "http";

    fn read(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        Http::new(
            fields.required_text("url")?,
            fields.required_text("model")?,
            fields.required_int("dimensions")?,
            fields.value("request").unwrap_or(&Value::Null),
            fields.required_text("response_path")?,
            fields.text("api_key_name")?,
            fields.int("max_inputs")?,
            fields.int("max_tokens")?,
        )
    }

    fn write(&self) -> Vec<Field> {
        vec![
            ("url", self.url.clone().into()),
            ("model", self.model.clone().into()),
            ("dimensions", self.dimensions.into()),
            ("request", self.request.clone()),
            ("response_path", self.response_path.clone().into()),
            ("api_key_name", optional(self.api_key_name.clone())),
            ("max_inputs", self.max_inputs.into()),
            ("max_tokens", optional(self.max_tokens)),
        ]
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn dimensions(&self) -> u32 {
        self.dimensions
    }

    fn api_key_name(&self) -> Option<&str> {
        self.api_key_name.as_deref()
    }

    fn base_url(&self) -> Option<&str> {
        Some(&self.url)
    }

    fn default_key(&self) -> Option<&str> {
        None
    }

    fn decisive(&self) -> Value {
        self.request.clone()
    }
}
