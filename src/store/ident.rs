//! The only way an identifier gets into SQL text.

use std::fmt;

use pgrx::spi;

/// A quoted identifier, with its schema where it has one. Everything else that comes from a
/// user goes into a statement as a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ident(String);

impl Ident {
    pub fn new(name: &str) -> Self {
        Ident(spi::quote_identifier(name))
    }

    pub fn qualified(schema: &str, name: &str) -> Self {
        Ident(spi::quote_qualified_identifier(schema, name))
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
