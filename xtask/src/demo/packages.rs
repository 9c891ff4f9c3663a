//! Descriptions of programs from the distribution's package lists, where there
//! are any: more to search than PostgreSQL's own words.

use std::process::Command;

use crate::process;

/// How many programs are taken.
const COUNT: usize = 500;

/// Descriptions shorter than this say too little.
const SHORTEST: usize = 30;

/// `name<TAB>description` lines for `COPY`; empty without package lists.
pub fn table() -> String {
    let listed = process::output(Command::new("apt-cache").arg("dumpavail")).unwrap_or_default();
    let programs = programs(&listed);
    let chosen = sample(&programs, COUNT);
    chosen.iter().map(|(name, text)| format!("{}\t{}\n", escaped(name), escaped(text))).collect()
}

/// The programs among the packages, each once: no libraries, data or headers.
fn programs(dumpavail: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for stanza in dumpavail.split("\n\n") {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (Some(name), Some(heading)) =
            (field("Package: "), field("Description: ").or_else(|| field("Description-en: ")))
        else {
            continue;
        };
        let is_program =
            stanza.contains("role::program") && !name.starts_with("lib") && !name.contains("-dev");
        if is_program && heading.len() >= SHORTEST {
            found.push((name.to_owned(), heading.to_owned()));
        }
    }
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

/// `count` of `all`, evenly spread, or all of them.
fn sample<T>(all: &[T], count: usize) -> Vec<&T> {
    let taken = count.min(all.len());
    (0..taken).map(|index| &all[index * all.len() / taken]).collect()
}

/// A value of `COPY`'s text format.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('\t', r"\t").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_libraries() {
        let text = "Package: gimp\nTag: role::program,\n x\nDescription: GNU Image Manipulation Program, for photographs\n\n\
                    Package: libgimp\nTag: role::program\nDescription: A library that is long enough to count here\n\n\
                    Package: gimp-data\nTag: role::app-data\nDescription: Data files that are long enough to count\n\n\
                    Package: ed\nTag: role::program\nDescription: classic editor\n";
        let found = programs(text);
        let expected = ("gimp".to_owned(), "GNU Image Manipulation Program, for photographs".to_owned());
        assert_eq!(found, [expected]);
        assert!(programs("").is_empty());
    }

    #[test]
    fn a_sample_is_spread_over_the_whole() {
        let all: Vec<u32> = (0..10).collect();
        assert_eq!(sample(&all, 5), [&0, &2, &4, &6, &8]);
        assert_eq!(sample(&all, 99).len(), 10);
        assert!(sample::<u32>(&[], 5).is_empty());
    }

    #[test]
    fn values_are_escaped_for_copy() {
        assert_eq!(escaped("a\tb\\c\nd"), r"a\tb\\c\nd");
    }
}
