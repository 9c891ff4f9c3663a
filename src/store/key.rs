//! Primary keys of any shape, as SQL fragments. Keys travel as text, one string a column, and
//! are cast back to the column's type: that holds for every type, composite ones included.

use super::ident::Ident;

/// One column of a source's primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// The number of the column in the source; it survives a renaming.
    pub attnum: i16,
    /// Today's name in the source.
    pub source_name: String,
    /// The name in the queue, the failed table and the store: the source's when it was created.
    pub stored_name: String,
    /// The type as SQL text, qualified by its schema.
    pub type_sql: String,
}

/// A source's primary key, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    pub columns: Vec<KeyColumn>,
}

/// The key of one row, as text.
pub type Key = Vec<String>;

impl KeySpec {
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    fn join(&self, separator: &str, each: impl Fn(usize, &KeyColumn) -> String) -> String {
        self.columns.iter().enumerate().map(|(i, c)| each(i, c)).collect::<Vec<_>>().join(separator)
    }

    /// `alias."a", alias."b"`, with the names of the source.
    pub fn source_list(&self, alias: &str) -> String {
        self.join(", ", |_, c| format!("{alias}.{}", Ident::new(&c.source_name)))
    }

    /// `alias."a", alias."b"`, with the stored names.
    pub fn stored_list(&self, alias: &str) -> String {
        self.join(", ", |_, c| format!("{alias}.{}", Ident::new(&c.stored_name)))
    }

    /// `"a", "b"`: for column lists of INSERT and of constraints.
    pub fn stored_names(&self) -> String {
        self.join(", ", |_, c| Ident::new(&c.stored_name).to_string())
    }

    /// `alias."a"::text, …` with the stored names.
    pub fn stored_texts(&self, alias: &str) -> String {
        self.join(", ", |_, c| format!("{alias}.{}::text", Ident::new(&c.stored_name)))
    }

    /// `alias."a"::text, …` with the names of the source.
    pub fn source_texts(&self, alias: &str) -> String {
        self.join(", ", |_, c| format!("{alias}.{}::text", Ident::new(&c.source_name)))
    }

    /// `"a" type NOT NULL, …`: for CREATE TABLE.
    pub fn definitions(&self) -> String {
        self.join(", ", |_, c| format!("{} {} NOT NULL", Ident::new(&c.stored_name), c.type_sql))
    }

    /// A table of keys from one text array per column, parameters `$first`, `$first + 1`, …:
    /// columns `k1`, `k2`, … of the key's types, then `ordinality`. Each `extra` is one more
    /// array parameter after the keys, as (column name, SQL type of the element).
    pub fn unnest(&self, first: usize, extra: &[(&str, &str)]) -> String {
        let mut arrays = self.join(", ", |i, _| format!("${}::text[]", first + i));
        let mut names = self.join(", ", |i, _| format!("t{}", i + 1));
        let mut columns = self.join(", ", |i, c| format!("u.t{0}::{1} AS k{0}", i + 1, c.type_sql));
        for (i, (name, sql_type)) in extra.iter().enumerate() {
            arrays.push_str(&format!(", ${}::{sql_type}[]", first + self.width() + i));
            names.push_str(&format!(", {name}"));
            columns.push_str(&format!(", u.{name}"));
        }
        format!(
            "(SELECT {columns}, u.ordinality FROM unnest({arrays}) WITH ORDINALITY AS u({names}, ordinality))"
        )
    }

    /// `alias.k1, alias.k2` of a table made by `unnest`.
    pub fn unnested_list(&self, alias: &str) -> String {
        self.join(", ", |i, _| format!("{alias}.k{}", i + 1))
    }

    /// `left."a" = right.k1 AND …`: stored names on the left, `unnest` on the right.
    pub fn stored_matches_unnested(&self, left: &str, right: &str) -> String {
        self.join(" AND ", |i, c| format!("{left}.{} = {right}.k{}", Ident::new(&c.stored_name), i + 1))
    }

    /// `left."a" = right.k1 AND …`: names of the source on the left, `unnest` on the right.
    pub fn source_matches_unnested(&self, left: &str, right: &str) -> String {
        self.join(" AND ", |i, c| format!("{left}.{} = {right}.k{}", Ident::new(&c.source_name), i + 1))
    }

    /// `left."a" = right."a" AND …`: stored names on the left, names of the source on the right.
    pub fn stored_matches_source(&self, left: &str, right: &str) -> String {
        self.join(" AND ", |_, c| {
            format!("{left}.{} = {right}.{}", Ident::new(&c.stored_name), Ident::new(&c.source_name))
        })
    }

    /// `(alias."a", alias."b") > ($n::type, …)`: the keyset condition, names of the source.
    pub fn source_after(&self, alias: &str, first: usize) -> String {
        format!("({}) > ({})", self.source_list(alias), self.parameters(first))
    }

    /// The keyset condition with the stored names.
    pub fn stored_after(&self, alias: &str, first: usize) -> String {
        format!("({}) > ({})", self.stored_list(alias), self.parameters(first))
    }

    /// `($n::text)::type, …`: one key, one parameter a column.
    pub fn parameters(&self, first: usize) -> String {
        self.join(", ", |i, c| format!("(${}::text)::{}", first + i, c.type_sql))
    }

    /// `jsonb_build_object('a', alias."a", …)`: the key as users see it.
    pub fn stored_json(&self, alias: &str) -> String {
        self.json(|c| format!("{alias}.{}", Ident::new(&c.stored_name)))
    }

    pub fn source_json(&self, alias: &str) -> String {
        self.json(|c| format!("{alias}.{}", Ident::new(&c.source_name)))
    }

    fn json(&self, value: impl Fn(&KeyColumn) -> String) -> String {
        let pairs = self
            .join(", ", |_, c| format!("{}::text, {}", pgrx::spi::quote_literal(&c.stored_name), value(c)));
        format!("jsonb_build_object({pairs})")
    }
}

/// Turns rows of keys into one text array per column, the shape that `unnest` takes.
pub fn columns_of<'a>(width: usize, keys: impl Iterator<Item = &'a Key>) -> Vec<Vec<String>> {
    let mut columns = vec![Vec::new(); width];
    for key in keys {
        for (column, value) in columns.iter_mut().zip(key) {
            column.push(value.clone());
        }
    }
    columns
}
