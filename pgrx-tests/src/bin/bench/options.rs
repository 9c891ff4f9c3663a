//! The command line: which cases, how large.

/// What to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Names of cases; none means all usual ones.
    pub names: Vec<String>,
    /// Names of cases to leave out.
    pub skipped: Vec<String>,
    /// Factor on every number of rows and repetitions; 1 for what the documentation tells of.
    pub scale: f64,
    /// Only say which cases there are.
    pub list: bool,
}

/// The factor without `--scale`: every usual case in some minutes.
const USUAL_SCALE: f64 = 0.1;

impl Options {
    /// Reads `words`; `known` are the names of all cases. An error text for what is no option,
    /// no case, or no factor.
    pub fn parse(words: impl IntoIterator<Item = String>, known: &[&str]) -> Result<Options, String> {
        let mut options = Options { names: Vec::new(), skipped: Vec::new(), scale: USUAL_SCALE, list: false };
        let mut words = words.into_iter();
        let case = |name: String| match known.contains(&name.as_str()) {
            true => Ok(name),
            false => Err(format!("no case \"{name}\"; there are: {}", known.join(", "))),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--list" => options.list = true,
                "--skip" => options.skipped.push(case(value()?)?),
                "--scale" => {
                    let text = value()?;
                    let scale = text.parse().ok().filter(|scale| *scale > 0.0 && *scale <= 10.0);
                    options.scale = scale.ok_or_else(|| format!("--scale {text}: above 0, at most 10"))?;
                }
                option if option.starts_with('-') => {
                    return Err(format!("no option {option}; [--list] [--skip NAME] [--scale F] [NAME…]"));
                }
                _ => options.names.push(case(word)?),
            }
        }
        Ok(options)
    }

    /// Whether to run case `name`; `usual` cases run without being named.
    pub fn wants(&self, name: &str, usual: bool) -> bool {
        let is = |other: &String| other == name;
        let named = if self.names.is_empty() { usual } else { self.names.iter().any(is) };
        named && !self.skipped.iter().any(is)
    }

    /// `full` times the scale, at least `least`.
    pub fn scaled(&self, full: usize, least: usize) -> usize {
        ((full as f64 * self.scale).round() as usize).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned), &["memory", "drain"])
    }

    #[test]
    fn without_names_the_usual_cases_run() {
        let options = parse("").unwrap();
        assert_eq!(options.scaled(1000, 1), 100);
        assert!(options.wants("memory", true) && !options.wants("memory", false));
    }

    #[test]
    fn names_choose_and_skip_leaves_out() {
        let options = parse("drain --scale 0.5").unwrap();
        assert!(options.wants("drain", false) && !options.wants("memory", true));
        assert_eq!((options.scaled(100, 1), options.scaled(3, 3)), (50, 3));
        let options = parse("--skip memory").unwrap();
        assert!(!options.wants("memory", true) && options.wants("drain", true));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert!(parse("speed").unwrap_err().contains("memory, drain"));
        assert!(parse("--skip speed").is_err());
        assert!(parse("--skip").unwrap_err().contains("needs a value"));
        assert!(parse("--scale 0").is_err());
        assert!(parse("--scale much").is_err());
        assert!(parse("--fast").is_err());
    }
}
