//! A search's filter as SQL: names of columns that exist, operators that the catalog names for
//! their types, values as parameters. Whose rights count is decided by who runs the statement.

use autovector_domain::filter::{Filter, Test};
use autovector_domain::names;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use serde_json::Value;

use super::catalog::{self, Relation};
use super::ident::Ident;
use super::sql;
use super::transaction::current_role;
use crate::error::{Error, Kind, Result};

/// A condition over one table, with the parameters that it needs.
#[derive(Debug, Default)]
pub struct Condition {
    /// Without `WHERE`; empty when everything is wanted.
    pub sql: String,
    values: Vec<Bound>,
}

#[derive(Debug)]
enum Bound {
    Text(String),
    List(Vec<String>),
}

impl Condition {
    pub fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }

    pub fn args(&self) -> impl Iterator<Item = DatumWithOid<'static>> + '_ {
        self.values.iter().map(|value| match value {
            Bound::Text(text) => text.clone().into(),
            Bound::List(list) => list.clone().into(),
        })
    }
}

/// A column as the filter needs to know it.
struct Column {
    name: String,
    type_sql: String,
    /// Schema of the comparison operators, None where the type has no order.
    operators: Option<Ident>,
    category: String,
}

/// `filter` over table `source`, which the statement calls `alias`; its parameters start at
/// `$first`. Errors: columns that do not exist, that the caller may not read, or that cannot be
/// compared so.
pub fn condition(filter: &Filter, source: &Relation, alias: &str, first: usize) -> Result<Condition> {
    let mut columns: Vec<Column> = Vec::new();
    let mut wanted: Vec<&str> = Vec::new();
    filter.for_each_column(&mut |name| wanted.push(name));
    for name in wanted {
        if columns.iter().all(|column| column.name != name) {
            columns.push(column(source, name)?);
        }
    }
    let mut writer = Writer { alias, first, columns, values: Vec::new() };
    let sql = writer.filter(filter)?;
    Ok(Condition { sql, values: writer.values })
}

fn column(source: &Relation, name: &str) -> Result<Column> {
    // A domain is compared as the type below it.
    let found = sql::query_one(
        "WITH RECURSIVE below(oid, typtype, typbasetype, typcategory) AS (
           SELECT t.oid, t.typtype, t.typbasetype, t.typcategory FROM pg_catalog.pg_type t
             JOIN pg_catalog.pg_attribute a ON a.atttypid = t.oid
            WHERE a.attrelid = $1 AND a.attname = $2::name AND a.attnum > 0 AND NOT a.attisdropped
           UNION ALL
           SELECT t.oid, t.typtype, t.typbasetype, t.typcategory FROM below b
             JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd')
         SELECT pg_catalog.format_type(b.oid, NULL), b.typcategory::text,
                (SELECT n.nspname::text
                   FROM pg_catalog.pg_opclass c
                   JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
                   JOIN pg_catalog.pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3
                        AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
                   JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr
                   JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
                  WHERE c.opcdefault AND c.opcintype = b.oid LIMIT 1),
                b.typtype::text IN ('e', 'r', 'm', 'c') OR b.typcategory = 'A' OR b.oid = 'varchar'::regtype,
                (SELECT a.attnum FROM pg_catalog.pg_attribute a
                  WHERE a.attrelid = $1 AND a.attname = $2::name AND NOT a.attisdropped)
           FROM below b WHERE b.typtype <> 'd'",
        &[source.oid.into(), name.into()],
        |row| {
            let own: Option<String> = row.get(3)?;
            let generic: bool = row.value(4)?;
            let operators = own.or(generic.then(|| "pg_catalog".to_owned()));
            let column = Column {
                name: name.to_owned(),
                type_sql: row.value(1)?,
                category: row.value(2)?,
                operators: operators.map(|schema| Ident::new(&schema)),
            };
            Ok((column, row.value::<i16>(5)?))
        },
    )?;
    let Some((column, attnum)) = found else { return Err(unknown(source, name)?) };
    // SAFETY: look-ups in the access lists of the relation and the column.
    let allowed = unsafe {
        let mode = pg_sys::ACL_SELECT as pg_sys::AclMode;
        pg_sys::pg_class_aclcheck(source.oid, current_role(), mode) == pg_sys::AclResult::ACLCHECK_OK
            || pg_sys::pg_attribute_aclcheck(source.oid, attnum, current_role(), mode)
                == pg_sys::AclResult::ACLCHECK_OK
    };
    if !allowed {
        return Err(Error::new(
            Kind::InsufficientPrivilege,
            format!("permission denied for column \"{name}\" of {}", source.ident),
        )
        .hint(format!("A filter reads the source: GRANT SELECT ON {} TO …;", source.ident)));
    }
    Ok(column)
}

fn unknown(source: &Relation, name: &str) -> Result<Error> {
    let columns = catalog::column_names(source.oid)?;
    let near = names::nearest(name, columns.iter().map(String::as_str));
    let hint = match near.as_slice() {
        [] => format!("A filter names columns of the source: {}.", columns.join(", ")),
        near => format!("Did you mean {}?", near.join(" or ")),
    };
    Ok(Error::new(Kind::UndefinedColumn, format!("column \"{name}\" does not exist in {}", source.ident))
        .hint(hint))
}

struct Writer<'a> {
    alias: &'a str,
    first: usize,
    columns: Vec<Column>,
    values: Vec<Bound>,
}

impl Writer<'_> {
    fn bind(&mut self, value: Bound) -> String {
        self.values.push(value);
        format!("${}", self.first + self.values.len() - 1)
    }

    fn joined(&mut self, parts: &[Filter], separator: &str, none: &str) -> Result<String> {
        let parts: Vec<String> = parts.iter().map(|part| self.filter(part)).collect::<Result<_>>()?;
        Ok(if parts.is_empty() { none.to_owned() } else { format!("({})", parts.join(separator)) })
    }

    fn filter(&mut self, filter: &Filter) -> Result<String> {
        match filter {
            Filter::All(parts) => self.joined(parts, " AND ", "true"),
            Filter::Any(parts) => self.joined(parts, " OR ", "false"),
            Filter::Not(part) => Ok(format!("NOT {}", self.filter(part)?)),
            Filter::Test { column, test } => self.test(column, test),
        }
    }

    fn test(&mut self, name: &str, test: &Test) -> Result<String> {
        let place = self.columns.iter().position(|column| column.name == name).expect("looked up before");
        let column = &self.columns[place];
        let operand = format!("{}.{}", self.alias, Ident::new(name));
        let (type_sql, category) = (column.type_sql.clone(), column.category.clone());
        let cannot = |what: &str, hint: &str| {
            Err(Error::new(Kind::Unsupported, format!("column \"{name}\" has type {type_sql}, which {what}"))
                .hint(hint))
        };
        let operators = column.operators.clone();
        Ok(match test {
            Test::Null => format!("({operand} IS NULL)"),
            Test::NotNull => format!("({operand} IS NOT NULL)"),
            Test::Compare(comparison, value) => {
                let Some(schema) = operators else {
                    return cannot(
                        "cannot be compared",
                        "Filter by another column, or by whether it is null.",
                    );
                };
                let value = self.bind(Bound::Text(value.clone()));
                format!("({operand} OPERATOR({schema}.{}) ({value}::text)::{type_sql})", comparison.as_str())
            }
            Test::In { values, null } => {
                let Some(schema) = operators else {
                    return cannot(
                        "cannot be compared",
                        "Filter by another column, or by whether it is null.",
                    );
                };
                if category == "A" {
                    return cannot("is an array", "Use {\"@>\": […]} for arrays.");
                }
                let values = self.bind(Bound::List(values.clone()));
                let found = format!("{operand} OPERATOR({schema}.=) ANY (({values}::text[])::{type_sql}[])");
                if *null { format!("({found} OR {operand} IS NULL)") } else { format!("({found})") }
            }
            Test::Like { pattern, ignore_case } => {
                let pattern = self.bind(Bound::Text(pattern.clone()));
                let operator = if *ignore_case { "~~*" } else { "~~" };
                format!("({operand}::text OPERATOR(pg_catalog.{operator}) {pattern}::text)")
            }
            Test::Contains(value) if type_sql == "jsonb" => {
                let value = self.bind(Bound::Text(value.to_string()));
                format!("({operand} OPERATOR(pg_catalog.@>) ({value}::text)::jsonb)")
            }
            Test::Contains(Value::Array(elements)) if category == "A" => {
                let elements = elements
                    .iter()
                    .map(|element| match element {
                        Value::String(text) => Ok(text.clone()),
                        Value::Number(_) | Value::Bool(_) => Ok(element.to_string()),
                        _ => Err(Error::invalid(format!("an element of column \"{name}\" is not a scalar"))
                            .hint("Give a list of strings, numbers or booleans.")),
                    })
                    .collect::<Result<_>>()?;
                let elements = self.bind(Bound::List(elements));
                format!("({operand} OPERATOR(pg_catalog.@>) ({elements}::text[])::{type_sql})")
            }
            Test::Contains(_) => return cannot("contains nothing", "\"@>\" is for jsonb and arrays."),
        })
    }
}
