//! The filter of a search: a small language in JSON over the columns of the source. It is data
//! through and through: nothing of it ever becomes SQL text but names of columns that exist.
//!
//! `{"lang": "en", "year": {">=": 2020, "<": 2030}, "topic": ["a", "b"], "deleted_at": null}`: every
//! member must hold. `{"$or": [filter, …]}`, `{"$and": [filter, …]}` and `{"$not": filter}` combine.

use serde_json::Value;

use crate::config::ConfigError;

/// Filters nested deeper, or with more conditions, are refused.
const MAX_DEPTH: usize = 16;
const MAX_CONDITIONS: usize = 200;

const LANGUAGE: &str = "A filter looks like {\"lang\": \"en\", \"year\": {\">=\": 2020}, \"topic\": [\"a\", \"b\"], \"gone\": null}.";

#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Test { column: String, test: Test },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Null,
    NotNull,
    Compare(Comparison, String),
    /// One of these; with `null`, NULL counts too.
    In {
        values: Vec<String>,
        null: bool,
    },
    Like {
        pattern: String,
        ignore_case: bool,
    },
    /// Contains this, for jsonb and arrays.
    Contains(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "<>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::new(message, LANGUAGE))
}

impl Filter {
    pub fn parse(value: &Value) -> Result<Filter, ConfigError> {
        let mut left = MAX_CONDITIONS;
        parse(value, MAX_DEPTH, &mut left)
    }

    /// Calls `each` with every column that is named.
    pub fn for_each_column<'a>(&'a self, each: &mut impl FnMut(&'a str)) {
        match self {
            Filter::All(parts) | Filter::Any(parts) => parts.iter().for_each(|p| p.for_each_column(each)),
            Filter::Not(part) => part.for_each_column(each),
            Filter::Test { column, .. } => each(column),
        }
    }
}

fn parse(value: &Value, depth: usize, left: &mut usize) -> Result<Filter, ConfigError> {
    let Value::Object(members) = value else {
        return refuse(format!("a filter is a JSON object, not {}", kind(value)));
    };
    if depth == 0 {
        return refuse(format!("the filter is nested more than {MAX_DEPTH} deep"));
    }
    let mut parts = Vec::with_capacity(members.len());
    for (name, value) in members {
        let list = |left: &mut usize| match value {
            Value::Array(parts) if !parts.is_empty() => {
                parts.iter().map(|part| parse(part, depth - 1, left)).collect::<Result<Vec<_>, _>>()
            }
            _ => refuse(format!("\"{name}\" takes a list of filters")),
        };
        parts.push(match name.as_str() {
            "$or" => Filter::Any(list(left)?),
            "$and" => Filter::All(list(left)?),
            "$not" => Filter::Not(Box::new(parse(value, depth - 1, left)?)),
            other if other.starts_with('$') => {
                return refuse(format!("\"{other}\" is not known in a filter; there are $or, $and and $not"));
            }
            column => tests(column, value, left)?,
        });
    }
    Ok(Filter::All(parts))
}

fn tests(column: &str, value: &Value, left: &mut usize) -> Result<Filter, ConfigError> {
    let mut one = |test: Test| {
        if *left == 0 {
            return refuse(format!("the filter has more than {MAX_CONDITIONS} conditions"));
        }
        *left -= 1;
        Ok(Filter::Test { column: column.to_owned(), test })
    };
    match value {
        Value::Null => one(Test::Null),
        Value::Array(values) => one(one_of(column, values)?),
        Value::Object(tests) if tests.is_empty() => refuse(format!("column \"{column}\" has no condition")),
        Value::Object(tests) => {
            let tests = tests.iter().map(|(operator, value)| match operator.as_str() {
                "not in" => Ok(Filter::Not(Box::new(one(list_of(column, value)?)?))),
                _ => one(test(column, operator, value)?),
            });
            Ok(Filter::All(tests.collect::<Result<_, _>>()?))
        }
        scalar => one(Test::Compare(Comparison::Equal, text(column, scalar)?)),
    }
}

fn test(column: &str, operator: &str, value: &Value) -> Result<Test, ConfigError> {
    let compare = |comparison| Ok(Test::Compare(comparison, text(column, value)?));
    match (operator, value) {
        ("=", Value::Null) => Ok(Test::Null),
        ("<>" | "!=", Value::Null) => Ok(Test::NotNull),
        ("=", _) => compare(Comparison::Equal),
        ("<>" | "!=", _) => compare(Comparison::NotEqual),
        ("<", _) => compare(Comparison::Less),
        ("<=", _) => compare(Comparison::LessOrEqual),
        (">", _) => compare(Comparison::Greater),
        (">=", _) => compare(Comparison::GreaterOrEqual),
        ("in", _) => list_of(column, value),
        ("like" | "ilike", Value::String(pattern)) => {
            Ok(Test::Like { pattern: pattern.clone(), ignore_case: operator == "ilike" })
        }
        ("like" | "ilike", _) => refuse(format!("\"{operator}\" of column \"{column}\" takes a pattern")),
        ("@>", Value::Object(_) | Value::Array(_)) => Ok(Test::Contains(value.clone())),
        ("@>", _) => refuse(format!("\"@>\" of column \"{column}\" takes an object or a list")),
        _ => Err(ConfigError::new(
            format!("operator \"{operator}\" of column \"{column}\" does not exist"),
            "There are =, <>, <, <=, >, >=, in, not in, like, ilike and @>.",
        )),
    }
}

fn list_of(column: &str, value: &Value) -> Result<Test, ConfigError> {
    match value {
        Value::Array(values) => one_of(column, values),
        _ => refuse(format!("column \"{column}\" is compared with {}, not with a list", kind(value))),
    }
}

fn one_of(column: &str, values: &[Value]) -> Result<Test, ConfigError> {
    let given: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
    let null = given.len() < values.len();
    let values = given.into_iter().map(|value| text(column, value)).collect::<Result<_, _>>()?;
    Ok(Test::In { values, null })
}

/// A scalar as PostgreSQL's input functions read it.
fn text(column: &str, value: &Value) -> Result<String, ConfigError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        other => refuse(format!("column \"{column}\" cannot be compared with {}", kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn test_of(value: Value) -> Test {
        match Filter::parse(&json!({"c": value})).expect("a filter") {
            Filter::All(parts) => match parts.into_iter().next() {
                Some(Filter::All(mut tests)) => match tests.remove(0) {
                    Filter::Test { test, .. } => test,
                    other => panic!("{other:?}"),
                },
                Some(Filter::Test { test, .. }) => test,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(test_of(json!("x")), Test::Compare(Comparison::Equal, "x".into()));
        assert_eq!(test_of(json!(1.5)), Test::Compare(Comparison::Equal, "1.5".into()));
        assert_eq!(test_of(json!(true)), Test::Compare(Comparison::Equal, "true".into()));
        assert_eq!(test_of(json!(null)), Test::Null);
        assert_eq!(test_of(json!({"<>": null})), Test::NotNull);
        assert_eq!(test_of(json!({">=": 3})), Test::Compare(Comparison::GreaterOrEqual, "3".into()));
        assert_eq!(
            test_of(json!(["a", null, 1])),
            Test::In { values: vec!["a".into(), "1".into()], null: true }
        );
        assert_eq!(test_of(json!([])), Test::In { values: vec![], null: false });
        assert_eq!(test_of(json!({"@>": {"a": 1}})), Test::Contains(json!({"a": 1})));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut deep = json!({"a": 1});
        for _ in 0..20 {
            deep = json!({"$not": deep});
        }
        let many: Value =
            (0..300).map(|i| (format!("c{i}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
        for wrong in [
            json!(1),
            json!(null),
            json!([]),
            json!("id = 1"),
            json!({"$or": []}),
            json!({"$or": {"a": 1}}),
            json!({"$nor": [{"a": 1}]}),
            json!({"a": {}}),
            json!({"a": {"=": {"b": 1}}}),
            json!({"a": {"= 1 or true; --": 1}}),
            json!({"a": {"in": 1}}),
            json!({"a": [[1]]}),
            json!({"a": {"like": 1}}),
            json!({"a": {"<": null}}),
            deep,
            many,
        ] {
            let refused = Filter::parse(&wrong).expect_err(&wrong.to_string());
            assert!(!refused.message.is_empty() && !refused.hint.is_empty());
        }
    }

    #[test]
    fn columns_are_named() {
        let filter = Filter::parse(&json!({"a": 1, "$or": [{"b": 2}, {"$not": {"c": 3}}]})).unwrap();
        let mut columns = Vec::new();
        filter.for_each_column(&mut |column| columns.push(column));
        columns.sort();
        assert_eq!(columns, ["a", "b", "c"]);
    }
}
