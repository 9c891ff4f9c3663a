//! Reading and writing the JSON of one configuration: its type, its implementation, its
//! fields. Knows nothing about any particular configuration.

use serde_json::{Map, Value};

use super::ConfigError;

/// One `config_type` and the SQL functions that make such a configuration.
pub(super) struct Kind {
    pub config_type: &'static str,
    /// For hints, such as `ai.parsing_auto() or ai.parsing_none()`.
    pub made_by: &'static str,
}

impl Kind {
    /// Checks that `value` is a configuration of this type and gives access to its fields.
    pub fn read<'a>(&'a self, value: &'a Value) -> Result<Fields<'a>, ConfigError> {
        let config_type = self.config_type;
        let Value::Object(object) = value else {
            return Err(self.error(format!("the {config_type} configuration must be a JSON object")));
        };
        match object.get("config_type") {
            Some(Value::String(found)) if found == config_type => {}
            Some(Value::String(found)) => {
                return Err(self.error(format!(
                    "a configuration of type \"{found}\" was given where one of type \"{config_type}\" is expected"
                )));
            }
            _ => return Err(self.error(format!("the {config_type} configuration has no config_type"))),
        }
        let Some(Value::String(implementation)) = object.get("implementation") else {
            return Err(self.error(format!("the {config_type} configuration has no implementation")));
        };
        Ok(Fields { kind: self, implementation, object })
    }

    /// The configuration as JSON. Nulls are left out.
    pub fn write<'f>(
        &self,
        implementation: &str,
        fields: impl IntoIterator<Item = (&'f str, Value)>,
    ) -> Value {
        let mut object = Map::new();
        object.insert("implementation".into(), implementation.into());
        object.insert("config_type".into(), self.config_type.into());
        for (key, value) in fields {
            if !value.is_null() {
                object.insert(key.into(), value);
            }
        }
        Value::Object(object)
    }

    /// An implementation that nobody has heard of.
    pub fn unknown(&self, implementation: &str) -> ConfigError {
        self.error(format!("\"{implementation}\" is not an implementation of {}", self.config_type))
    }

    fn error(&self, message: String) -> ConfigError {
        ConfigError::new(message, format!("Make it with {}.", self.made_by))
    }
}

/// The fields of one configuration. A JSON null counts as absent; unknown fields are
/// passed over, so that a configuration written by another version can be read.
pub(super) struct Fields<'a> {
    kind: &'a Kind,
    pub implementation: &'a str,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        self.value(key).map(|value| value.as_str().ok_or_else(|| self.mistyped(key, "a string"))).transpose()
    }

    pub fn required_text(&self, key: &str) -> Result<&'a str, ConfigError> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    pub fn int(&self, key: &str) -> Result<Option<i32>, ConfigError> {
        self.value(key)
            .map(|value| {
                value
                    .as_i64()
                    .and_then(|number| i32::try_from(number).ok())
                    .ok_or_else(|| self.mistyped(key, "a whole number"))
            })
            .transpose()
    }

    pub fn required_int(&self, key: &str) -> Result<i32, ConfigError> {
        self.int(key)?.ok_or_else(|| self.missing(key))
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.value(key)
            .map(|value| value.as_bool().ok_or_else(|| self.mistyped(key, "true or false")))
            .transpose()
    }

    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let texts: Option<Vec<String>> = value
            .as_array()
            .and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        texts.map(Some).ok_or_else(|| self.mistyped(key, "an array of strings"))
    }

    fn missing(&self, key: &str) -> ConfigError {
        self.kind.error(format!("the {} configuration has no {key}", self.kind.config_type))
    }

    fn mistyped(&self, key: &str, expected: &str) -> ConfigError {
        self.kind.error(format!("{key} of the {} configuration must be {expected}", self.kind.config_type))
    }
}

/// The error of a function that pgai has and this version has not.
pub(super) fn unavailable(function: &str, hint: &str) -> ConfigError {
    ConfigError::new(format!("{function} is not available yet"), hint)
}

/// `Value::Null` for None: `Kind::write` leaves it out.
pub(super) fn optional<T: Into<Value>>(value: Option<T>) -> Value {
    value.map_or(Value::Null, Into::into)
}

/// A number that has to lie within bounds, both included.
pub(super) fn bounded(name: &str, value: i32, least: u32, most: u32, hint: &str) -> Result<u32, ConfigError> {
    u32::try_from(value).ok().filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        ConfigError::new(format!("{name} must be between {least} and {most}, not {value}"), hint)
    })
}

/// A column, table, schema or view name as PostgreSQL takes it: 1 to 63 bytes.
pub(super) fn identifier(name: &str, value: &str) -> Result<(), ConfigError> {
    if value.is_empty() {
        return Err(ConfigError::new(
            format!("{name} is empty"),
            format!("Give {name} a name, or leave it out."),
        ));
    }
    if value.len() > crate::names::MAX_BYTES {
        return Err(ConfigError::new(
            format!("{name} has {} bytes, more than the {} of a name", value.len(), crate::names::MAX_BYTES),
            format!("Give {name} a shorter name."),
        ));
    }
    if value.contains('\0') {
        return Err(ConfigError::new(
            format!("{name} contains a zero byte"),
            format!("Give {name} a name without it."),
        ));
    }
    Ok(())
}
