//! What a code span names: a function with its arguments, a relation, a setting, a test. Looks
//! nothing up.

/// Something that must exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// `ai.name(a, b default 1)`: its name and those of its arguments.
    Function(String, Vec<String>),
    /// `ai.name`: a table or view.
    Relation(String),
    /// `autovector.name`.
    Setting(String),
}

/// What the span names in SQL, if anything.
pub fn in_sql(span: &str) -> Option<Named> {
    if let Some(name) = span.strip_prefix("autovector.").filter(|name| is_name(name)) {
        return Some(Named::Setting(format!("autovector.{name}")));
    }
    let rest = span.strip_prefix("ai.")?;
    match rest.split_once('(') {
        None => is_name(rest).then(|| Named::Relation(rest.to_owned())),
        Some((name, arguments)) => {
            let arguments = arguments.strip_suffix(')').filter(|_| is_name(name))?;
            Some(Named::Function(name.to_owned(), argument_names(arguments)))
        }
    }
}

/// A test of the workspace, named as `path/file.rs::name` or `path/file.rs::module::name`.
pub fn test(span: &str) -> Option<(&str, &str)> {
    let (path, names) = span.split_once(".rs::")?;
    let path = &span[..path.len() + ".rs".len()];
    Some((path, names.rsplit("::").next().unwrap_or(names)))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The first word of each argument; commas in literals and brackets divide nothing.
fn argument_names(list: &str) -> Vec<String> {
    let (mut depth, mut quoted) = (0_i32, false);
    let divided = list.split(|c: char| {
        match c {
            '\'' => quoted = !quoted,
            '[' | '(' if !quoted => depth += 1,
            ']' | ')' if !quoted => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0 && !quoted
    });
    divided.filter_map(|argument| argument.split_whitespace().next().map(str::to_owned)).collect()
}

#[test]
fn spans_are_told_apart() {
    let function = |name: &str, arguments: &[&str]| {
        Some(Named::Function(name.to_owned(), arguments.iter().map(|a| a.to_string()).collect()))
    };
    assert_eq!(in_sql("ai.doctor()"), function("doctor", &[]));
    assert_eq!(in_sql("ai.f(a, b default 'x, y', c default ARRAY[1, 2])"), function("f", &["a", "b", "c"]));
    assert_eq!(in_sql("ai.vectorizer_status"), Some(Named::Relation("vectorizer_status".to_owned())));
    assert_eq!(in_sql("autovector.naptime"), Some(Named::Setting("autovector.naptime".to_owned())));
    for other in ["autovector.…", "ai.", "SELECT ai.doctor();", "docs", "concurrency => 2"] {
        assert_eq!(in_sql(other), None, "{other}");
    }
    assert_eq!(test("pgrx-tests/tests/crash.rs::a_test"), Some(("pgrx-tests/tests/crash.rs", "a_test")));
    assert_eq!(test("src/x.rs::tests::a_test"), Some(("src/x.rs", "a_test")));
    assert_eq!(test("src/x.rs"), None);
}
