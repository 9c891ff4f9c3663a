//! The server log: its text, and what in it means that the server or the extension is ill.

use std::{fs, path::Path};

/// Words that never stand in the log of a healthy server.
const DISASTERS: [&str; 8] = [
    "PANIC:",
    "TRAP:",
    "segfault",
    "terminated by signal",
    "panicked at",
    "cache reference leak",
    "StartTransactionCommand: unexpected state",
    "relcache reference leak",
];

/// Lines of extension processes at these levels are errors.
const LEVELS: [&str; 4] = [" ERROR:", " FATAL:", " PANIC:", "WARNING:  you don't own a lock"];

/// A process that is told to end says so at FATAL: not a fault.
const ORDERLY: [&str; 3] =
    ["due to administrator command", "terminating background worker", "the database system is shutting down"];

/// The whole log so far; empty while there is none.
pub fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The last `count` lines.
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The lines that should not be there. `expected` are substrings that excuse a line.
///
/// The prefix of a line is `time [pid] backend type`, see [`super::LOG_LINE_PREFIX`].
pub fn complaints(text: &str, expected: &[String]) -> Vec<String> {
    text.lines()
        .filter(|line| !expected.iter().any(|pattern| line.contains(pattern.as_str())))
        .filter(|line| is_disaster(line) || is_error_of_extension(line))
        .map(str::to_owned)
        .collect()
}

fn is_disaster(line: &str) -> bool {
    DISASTERS.iter().any(|word| line.contains(word))
}

fn is_error_of_extension(line: &str) -> bool {
    line.contains("] autovector")
        && LEVELS.iter().any(|level| line.contains(level))
        && !ORDERLY.iter().any(|phrase| line.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: &str = "\
2026-01-01 00:00:00.000 UTC [7] postmaster LOG:  starting PostgreSQL
2026-01-01 00:00:00.000 UTC [8] autovector worker FATAL:  terminating background worker \"w\" due to administrator command
2026-01-01 00:00:00.000 UTC [9] client backend ERROR:  relation \"x\" does not exist
";

    #[test]
    fn errors_of_clients_and_orderly_ends_are_no_complaints() {
        assert_eq!(complaints(HEALTHY, &[]), Vec::<String>::new());
    }

    #[test]
    fn errors_of_workers_and_crashes_of_anybody_are_complaints() {
        let ill = format!(
            "{HEALTHY}2026-01-01 00:00:00.000 UTC [8] autovector worker ERROR:  deadlock detected\n\
             2026-01-01 00:00:00.000 UTC [7] postmaster LOG:  server process (PID 8) was terminated by signal 11\n"
        );
        assert_eq!(complaints(&ill, &[]).len(), 2);
        assert_eq!(complaints(&ill, &["deadlock detected".to_owned()]).len(), 1);
    }
}
