//! The wire formats: what a request asks for and what a good answer looks like. Pure text.

use serde::Deserialize;
use serde_json::Value;

use super::vectors;

/// The API that a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `POST /v1/embeddings`
    OpenAi,
    /// `POST /api/embed`
    Ollama,
    /// `POST /v2/embed`
    Cohere,
    /// `POST …:batchEmbedContents`
    Gemini,
    /// `POST /embed`
    Tei,
    /// `POST /custom`: nobody's format, for what a user describes.
    Custom,
}

impl Format {
    /// The format of `path`, if it is one that embeds.
    pub fn of(path: &str) -> Option<Format> {
        match path {
            "/api/embed" => Some(Format::Ollama),
            "/v2/embed" => Some(Format::Cohere),
            "/embed" => Some(Format::Tei),
            "/custom" => Some(Format::Custom),
            // Voyage AI's, Mistral's and Azure's too, each under a path of its own.
            path if path.ends_with("/embeddings") => Some(Format::OpenAi),
            path if path.ends_with(":batchEmbedContents") => Some(Format::Gemini),
            _ => None,
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub inputs: Vec<String>,
    pub model: String,
    pub dimensions: Option<usize>,
    pub base64: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
    /// Gemini's and the custom format's, which have an object for each text.
    Objects(Vec<Value>),
}

#[derive(Deserialize)]
struct Body {
    #[serde(alias = "texts", alias = "inputs", alias = "requests", alias = "documents")]
    input: Input,
    #[serde(default)]
    model: String,
    #[serde(alias = "output_dimension")]
    dimensions: Option<usize>,
    encoding_format: Option<String>,
}

/// The text of an object that holds one.
fn text_of(object: &Value) -> Option<String> {
    let text = object.pointer("/content/parts/0/text").or_else(|| object.get("text"))?;
    text.as_str().map(str::to_owned)
}

/// Reads a request's body; an error text when it is none.
pub fn read(body: &[u8]) -> Result<Asked, String> {
    let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut dimensions = body.dimensions;
    Ok(Asked {
        inputs: match body.input {
            Input::One(text) => vec![text],
            Input::Many(texts) => texts,
            Input::Objects(objects) => {
                let asked = objects.first().and_then(|object| object["outputDimensionality"].as_u64());
                dimensions = asked.map(|number| number as usize).or(dimensions);
                let texts: Option<Vec<String>> = objects.iter().map(text_of).collect();
                texts.ok_or("an object without a text")?
            }
        },
        model: body.model,
        dimensions,
        base64: body.encoding_format.as_deref() == Some("base64"),
    })
}

/// Ways in which an answer can be wrong, or right in an unusual way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// As the API's documentation has it.
    #[default]
    Right,
    /// The right vectors in reverse order; OpenAI's `index` says which is which.
    Reversed,
    /// The last vector is missing.
    OneShort,
    /// Every vector has one component more than asked for.
    OneComponentMore,
    /// The first component of the last vector is not a number.
    NotANumber,
    /// Every component is zero.
    Zero,
}

/// The answer to `asked`, with vectors of `dimensions` components.
pub fn answer(format: Format, asked: &Asked, dimensions: usize, shape: Shape) -> String {
    let dimensions = if shape == Shape::OneComponentMore { dimensions + 1 } else { dimensions };
    let count = asked.inputs.len() - usize::from(shape == Shape::OneShort && !asked.inputs.is_empty());
    let mut order: Vec<usize> = (0..count).collect();
    if shape == Shape::Reversed {
        order.reverse();
    }
    let mut out = String::with_capacity(128 + count * (64 + dimensions * if asked.base64 { 6 } else { 13 }));
    out.push_str(match format {
        Format::OpenAi => r#"{"object":"list","data":["#,
        Format::Ollama | Format::Gemini => r#"{"embeddings":["#,
        Format::Cohere => r#"{"id":"x","embeddings":{"float":["#,
        Format::Tei => "[",
        Format::Custom => r#"{"result":{"rows":["#,
    });
    for (position, &index) in order.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        match format {
            Format::OpenAi => {
                out.push_str(&format!(r#"{{"object":"embedding","index":{index},"embedding":"#));
            }
            Format::Gemini => out.push_str(r#"{"values":"#),
            Format::Custom => out.push_str(r#"{"vector":"#),
            Format::Ollama | Format::Cohere | Format::Tei => {}
        }
        match shape {
            Shape::NotANumber if index + 1 == count => push_not_a_number(&mut out, dimensions),
            Shape::Zero => push_zeros(&mut out, dimensions),
            _ if asked.base64 => vectors::push_base64(&mut out, &asked.inputs[index], dimensions),
            _ => vectors::push_json(&mut out, &asked.inputs[index], dimensions),
        }
        if matches!(format, Format::OpenAi | Format::Gemini | Format::Custom) {
            out.push('}');
        }
    }
    let tokens: usize = asked.inputs.iter().map(|text| text.split_whitespace().count().max(1)).sum();
    match format {
        Format::OpenAi => out.push_str(&format!(
            r#"],"model":"{}","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#,
            asked.model
        )),
        Format::Cohere => {
            out.push_str(&format!(r#"]}},"meta":{{"billed_units":{{"input_tokens":{tokens}}}}}}}"#));
        }
        Format::Gemini => out.push_str("]}"),
        Format::Tei => out.push(']'),
        Format::Custom => out.push_str("]}}"),
        Format::Ollama => {
            out.push_str(&format!(r#"],"model":"{}","prompt_eval_count":{tokens}}}"#, asked.model));
        }
    }
    out
}

/// JSON has no NaN; 1e39 is a number that no f32 can hold.
fn push_not_a_number(out: &mut String, dimensions: usize) {
    out.push_str("[1e39");
    out.push_str(&",0.5".repeat(dimensions - 1));
    out.push(']');
}

fn push_zeros(out: &mut String, dimensions: usize) {
    out.push_str("[0");
    out.push_str(&",0".repeat(dimensions - 1));
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(inputs: &[&str]) -> Asked {
        let inputs = inputs.iter().map(|text| (*text).to_owned()).collect();
        Asked { inputs, model: "m".to_owned(), dimensions: None, base64: false }
    }

    #[test]
    fn answers_are_json_with_one_vector_per_input() {
        for shape in [Shape::Right, Shape::Reversed, Shape::Zero, Shape::OneComponentMore, Shape::NotANumber]
        {
            let text = answer(Format::OpenAi, &asked(&["a", "b"]), 4, shape);
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["data"].as_array().unwrap().len(), 2, "{text}");
        }
        let short: Value =
            serde_json::from_str(&answer(Format::Ollama, &asked(&["a", "b"]), 4, Shape::OneShort)).unwrap();
        assert_eq!(short["embeddings"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn reversed_answers_carry_the_right_index() {
        let text = answer(Format::OpenAi, &asked(&["a", "b"]), 3, Shape::Reversed);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["data"][0]["index"], 1);
        let vector: Vec<f32> = serde_json::from_value(value["data"][0]["embedding"].clone()).unwrap();
        assert_eq!(vector, vectors::expected_vector("b", 3));
    }
}
