//! Running other programs: quietly into a log, for their output, or in full
//! view with the lines that matter kept.
//!
//! No program gets a standard input, so nothing can wait for one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::failure::Failure;

/// How many closing lines of a log a failure repeats.
const TAIL: usize = 30;

/// The command as one could type it, without the inherited environment.
pub fn shown(command: &Command) -> String {
    let assignments = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        // A changed PATH is long and says nothing.
        (name != "PATH").then(|| format!("{}={}", name.to_string_lossy(), quoted(&value)))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    assignments.chain(words.map(|word| quoted(&word.to_string_lossy()))).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs `command` with both outputs appended to `log`.
///
/// # Errors
/// With the last lines of the log when the program cannot be started or fails.
pub fn logged(command: &mut Command, log: &Path) -> Result<(), Failure> {
    let mut file = open_log(log)?;
    let before = fs::metadata(log).map_or(0, |metadata| metadata.len() as usize);
    let line = shown(command);
    writeln!(file, "$ {line}").map_err(Failure::io(log.display()))?;
    let clone = file.try_clone().map_err(Failure::io(log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(clone)
        .status()
        .map_err(Failure::io(format_args!("cannot run {line}")))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[before.min(text.len())..]);
    let text = text.split_once('\n').map_or("", |(_, after)| after);
    Err(Failure::new(format!("{line}\n{}\n  {} ({})", tail(text, TAIL), ended(status), log.display())))
}

fn open_log(log: &Path) -> Result<File, Failure> {
    if let Some(directory) = log.parent() {
        fs::create_dir_all(directory).map_err(Failure::io(directory.display()))?;
    }
    OpenOptions::new().create(true).append(true).open(log).map_err(Failure::io(log.display()))
}

/// The last `count` lines of `text`, indented.
fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| format!("  | {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn ended(status: ExitStatus) -> String {
    status.to_string()
}

/// Runs `command` and gives its standard output.
///
/// # Errors
/// With its standard error when it cannot be started or fails.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let line = shown(command);
    let output =
        command.stdin(Stdio::null()).output().map_err(Failure::io(format_args!("cannot run {line}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{line}\n{}\n  {}", tail(&complaint, TAIL), ended(output.status))))
}

/// Whether `command` can be started and ends well; its outputs are dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Prints `command`, runs it in full view, and gives the lines of its standard
/// output for which `keep` is true.
///
/// # Errors
/// When it cannot be started or fails.
pub fn watched(command: &mut Command, keep: impl Fn(&str) -> bool) -> Result<Vec<String>, Failure> {
    let line = shown(command);
    println!("\n$ {line}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::io(format_args!("cannot run {line}")))?;
    let mut kept = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            // Bytes, not lines: a test may print what is not UTF-8.
            let read = reader.read_until(b'\n', &mut bytes).map_err(Failure::io(&line))?;
            if read == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&bytes);
            print!("{text}");
            if keep(text.trim_end()) {
                kept.push(text.trim_end().to_owned());
            }
        }
    }
    let status = child.wait().map_err(Failure::io(&line))?;
    if status.success() { Ok(kept) } else { Err(Failure::new(format!("{line}\n  {}", ended(status)))) }
}

/// Whether a program of this name is on the PATH.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

/// The PATH with `directory` before everything else.
pub fn path_with(directory: &Path) -> std::ffi::OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&old));
    // A directory with a colon in its name cannot be on a PATH at all.
    std::env::join_paths(all).unwrap_or(old)
}

/// The `cargo` that runs us, or the one on the PATH.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsStr::new("cargo").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn commands_are_shown_as_one_would_type_them() {
        let mut command = Command::new("psql");
        command.env("PGPORT", "5432").env("PATH", "/long").args(["-c", "select 'x'", ""]);
        assert_eq!(shown(&command), r"PGPORT=5432 psql -c 'select '\''x'\''' ''");
    }

    #[test]
    fn a_failing_program_is_reported_with_its_last_lines() {
        let log = std::env::temp_dir().join(format!("xtask-process-{}.log", std::process::id()));
        let failure = logged(&mut shell("seq 100; echo broken >&2; exit 3"), &log).unwrap_err().to_string();
        assert!(failure.contains("| broken") && failure.contains("| 100"), "{failure}");
        assert!(!failure.contains("| 50\n") && failure.contains("exit status: 3"), "{failure}");
        assert!(logged(&mut shell("true"), &log).is_ok());
        let second = logged(&mut shell("echo again; exit 3"), &log).unwrap_err().to_string();
        assert!(second.contains("| again") && !second.contains("| broken"), "{second}");
        fs::remove_file(&log).unwrap();
    }

    #[test]
    fn output_and_status_are_told_apart() {
        assert_eq!(output(&mut shell("echo out; echo err >&2")).unwrap(), "out\n");
        assert!(output(&mut shell("echo why >&2; exit 1")).unwrap_err().to_string().contains("| why"));
        assert!(output(&mut Command::new("/nonexistent/program")).is_err());
        assert!(succeeds(&mut shell("exit 0")) && !succeeds(&mut shell("exit 1")));
    }

    #[test]
    fn watched_programs_give_the_lines_asked_for() {
        let kept =
            watched(&mut shell("echo a; echo test result: ok"), |line| line.starts_with("test result"));
        assert_eq!(kept.unwrap(), ["test result: ok"]);
        assert!(watched(&mut shell("exit 4"), |_| true).is_err());
    }

    #[test]
    fn no_program_waits_for_input() {
        assert_eq!(output(&mut Command::new("cat")).unwrap(), "");
    }
}
