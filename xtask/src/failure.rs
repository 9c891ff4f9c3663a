//! The one error of these commands: what went wrong and what to type about it.

use std::fmt;

/// A failed command. `remedy` is the line the user can type or the thing he
/// can change; it is printed below the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    remedy: Option<String>,
}

impl Failure {
    /// A failure nobody can give advice about.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: None }
    }

    /// The same failure with advice.
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// The message alone, without the advice.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Turns an I/O error about `what` into a failure.
    pub fn io(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::new(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  what to do: {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_printed_below_the_message() {
        let failure = Failure::new("no C compiler").remedy("apt-get install build-essential");
        assert_eq!(failure.to_string(), "no C compiler\n  what to do: apt-get install build-essential");
        assert_eq!(Failure::new("broken").to_string(), "broken");
    }
}
