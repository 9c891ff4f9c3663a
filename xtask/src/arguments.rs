//! Options of the commands: the few that exist, parsed once, the same everywhere.

use std::path::PathBuf;

use crate::failure::Failure;

/// The PostgreSQL major versions the set-up provides by itself.
pub const PROVIDED_VERSIONS: &[u16] = &[15, 18];

/// What the user typed after the command.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// `--pg N`: this major version only.
    pub pg: Option<u16>,
    /// `--pg-config PATH`: the user's own PostgreSQL instead of the provided ones.
    pub pg_config: Option<PathBuf>,
    /// `--quick`: nothing that starts a server.
    pub quick: bool,
    /// `--stop`: end the demo's cluster.
    pub stop: bool,
    /// What is handed on to the program that the command starts.
    pub words: Vec<String>,
}

/// Options that are handed on with their value.
const HANDED_ON: &[&str] = &["--scale", "--skip"];

impl Arguments {
    /// Reads `words`; `accepted` is the option part of the command's help line
    /// and decides which of them the command knows.
    ///
    /// # Errors
    /// An option the command does not know, a missing or malformed value.
    pub fn parse(words: impl IntoIterator<Item = String>, accepted: &str) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let knows = |wanted: &str| accepted.split(['[', ']', ' ']).any(|option| option == wanted);
            if !name.starts_with('-') && knows("NAME…") {
                parsed.words.push(name);
                continue;
            }
            if !name.starts_with('-') || !knows(&name) {
                return Err(unknown(&name, accepted));
            }
            let mut value = || {
                inline
                    .clone()
                    .or_else(|| words.next())
                    .ok_or_else(|| Failure::new(format!("{name} needs a value")))
            };
            match name.as_str() {
                "--pg" => parsed.pg = Some(major(&value()?)?),
                "--pg-config" => parsed.pg_config = Some(PathBuf::from(value()?)),
                "--quick" => parsed.quick = true,
                "--stop" => parsed.stop = true,
                "--list" => parsed.words.push(name),
                handed_on if HANDED_ON.contains(&handed_on) => {
                    let value = value()?;
                    parsed.words.extend([name, value]);
                }
                _ => return Err(unknown(&name, accepted)),
            }
        }
        Ok(parsed)
    }
}

fn unknown(name: &str, accepted: &str) -> Failure {
    let usage =
        if accepted.is_empty() { "it takes no option".into() } else { format!("options: {accepted}") };
    Failure::new(format!("unknown option \"{name}\"")).remedy(usage)
}

fn major(text: &str) -> Result<u16, Failure> {
    let digits = text.strip_prefix("pg").unwrap_or(text);
    digits.parse().ok().filter(|version| (14..=18).contains(version)).ok_or_else(|| {
        Failure::new(format!("\"{text}\" is not a PostgreSQL major version"))
            .remedy("14 to 18, such as --pg 18")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, Failure> {
        Arguments::parse(line.split_whitespace().map(str::to_owned), "[--pg N] [--pg-config PATH] [--quick]")
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        let expected = Arguments { pg: Some(15), quick: true, ..Arguments::default() };
        assert_eq!(parse("--pg 15 --quick").unwrap(), expected);
        assert_eq!(parse("--quick --pg=pg15").unwrap(), expected);
        assert_eq!(parse("--pg-config /x/pg_config").unwrap().pg_config, Some("/x/pg_config".into()));
    }

    #[test]
    fn words_for_another_program_are_handed_on() {
        let accepted = "[NAME…] [--scale F] [--skip NAME] [--list] [--pg N]";
        let parse = |line: &str| Arguments::parse(line.split_whitespace().map(str::to_owned), accepted);
        let parsed = parse("memory --scale=0.1 --pg 15 drain --list").unwrap();
        assert_eq!(
            (parsed.pg, parsed.words.join(" ").as_str()),
            (Some(15), "memory --scale 0.1 drain --list")
        );
        assert!(parse("--quick").is_err());
        assert!(parse("--scale").is_err());
    }

    #[test]
    fn what_the_command_does_not_know_is_refused() {
        assert!(parse("--stop").unwrap_err().to_string().contains("--quick"));
        assert!(parse("--pg").is_err());
        assert!(parse("--pg 9").is_err());
        assert!(parse("N").is_err());
        assert!(parse("--pg eighteen").is_err());
    }
}
