//! Processes from outside: signals, liveness, memory and file descriptors, read from
//! `/proc`. Never touches a process whose id the caller did not get from its own cluster.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Sends `signal` (a `libc::SIG…` constant) to process `pid`.
///
/// Panics when the process does not exist: a test that signals nobody tests nothing.
pub fn signal(pid: i32, signal: libc::c_int) {
    assert!(pid > 1, "not a process id: {pid}");
    // SAFETY: kill(2) takes plain integers and touches no memory of this process.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "signal {signal} to process {pid}: {}", io::Error::last_os_error());
}

/// Whether process `pid` exists and is not a zombie.
pub fn is_alive(pid: i32) -> bool {
    field_of_status(pid, "State:").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// Whether a signal has stopped process `pid`.
pub fn is_stopped(pid: i32) -> bool {
    field_of_status(pid, "State:").is_some_and(|state| state.starts_with('T'))
}

/// Resident memory of process `pid` in kB, without what it shares with others.
///
/// Shared buffers are mapped into every backend and would hide a leak, so only anonymous
/// pages count. `None` when the process is gone.
pub fn private_memory_kb(pid: i32) -> Option<u64> {
    let text = field_of_status(pid, "RssAnon:")?;
    text.split_whitespace().next()?.parse().ok()
}

/// Number of threads of process `pid`; `None` when it is gone.
pub fn threads(pid: i32) -> Option<u64> {
    field_of_status(pid, "Threads:")?.parse().ok()
}

/// Number of open file descriptors of process `pid`; `None` when it is gone.
pub fn open_files(pid: i32) -> Option<usize> {
    fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count)
}

/// Number of open TCP or Unix sockets of process `pid`; `None` when it is gone.
pub fn open_sockets(pid: i32) -> Option<usize> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let is_socket = |target: PathBuf| target.to_string_lossy().starts_with("socket:");
    Some(
        entries
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .filter(|t| is_socket(t.clone()))
            .count(),
    )
}

/// The processes whose working directory is `directory`: for a data directory, those of its server.
pub fn working_in(directory: &Path) -> Vec<i32> {
    let there = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(there).collect()
}

/// Processor time that process `pid` has used so far, in clock ticks (usually 10 ms); `None`
/// when it is gone.
pub fn cpu_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; user and system time are the 12th and 13th
    // fields after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// The effective user id of this process.
pub fn effective_user() -> u32 {
    // SAFETY: geteuid(2) cannot fail and touches no memory.
    unsafe { libc::geteuid() }
}

/// The effective user and group ids of this process.
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: getegid(2) cannot fail and touches no memory.
    (effective_user(), unsafe { libc::getegid() })
}

fn field_of_status(pid: i32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(field)).map(|rest| rest.trim().to_owned())
}
