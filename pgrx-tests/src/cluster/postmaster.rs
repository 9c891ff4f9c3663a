//! One postmaster as a child process: start, signals, end. Knows nothing of SQL.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{paths, process, wait::wait_until};

/// Environment variables of the test that a server may see. Everything else, such as
/// RUST_BACKTRACE, proxies, PG… and other people's API keys, stays outside.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH"];

/// What a postmaster is started with.
pub struct Launch {
    pub data: PathBuf,
    pub log: PathBuf,
    pub options: Vec<(String, String)>,
    pub environment: Vec<(String, String)>,
    /// A directory of the server's own, and what the file system on it is like.
    pub mount: Option<(PathBuf, String)>,
}

/// PostgreSQL behind a mount that nobody else sees: in a name space where this user may mount,
/// and in another one inside it where it is itself again. Each program becomes the next, so the
/// process stays one.
fn behind_mount(directory: &Path, options: &str) -> Command {
    let script = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && shift 2 && exec unshare -U \"$@\"";
    let (user, group) = process::effective_ids();
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh", options]).arg(directory);
    command.arg(format!("--map-user={user}")).arg(format!("--map-group={group}"));
    command.arg(paths::program("postgres"));
    command
}

/// False where user name spaces are forbidden.
pub fn mounts_are_possible() -> bool {
    let probe = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    probe.is_ok_and(|output| output.status.success())
}

/// A running postmaster. Dropping it does not stop it: its owner decides how.
pub struct Postmaster {
    child: Child,
}

impl Postmaster {
    /// Starts the server; it may not accept connections yet.
    pub fn spawn(launch: &Launch) -> Postmaster {
        let mut command = match &launch.mount {
            None => Command::new(paths::program("postgres")),
            Some((directory, options)) => behind_mount(directory, options),
        };
        command.arg("-D").arg(&launch.data);
        for (name, value) in &launch.options {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.env_clear();
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("LANG", "C.UTF-8").envs(launch.environment.iter().cloned());
        let log = append_to(&launch.log);
        let log_too = log.try_clone().expect("the log's descriptor can be duplicated");
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        Postmaster { child: spawn_with_parent_death_signal(command) }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().expect("a process id is a positive i32")
    }

    /// The exit status if the postmaster has ended, else `None`.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("the postmaster is a child of this process")
    }

    /// Sends `signal` and waits for the end. Returns how long that took.
    pub fn end(&mut self, signal: libc::c_int, deadline: Duration) -> Duration {
        let started = Instant::now();
        if self.ended().is_none() {
            process::signal(self.pid(), signal);
            wait_until("postmaster ended", deadline, || self.ended().is_some());
        }
        started.elapsed()
    }

    /// The last resort of a `Drop`: ends the server without ever panicking.
    pub fn end_quietly(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // An immediate shutdown takes the postmaster at most 5 s: then it kills what is left.
        process::signal(self.pid(), libc::SIGQUIT);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(15) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("cannot kill postmaster {}: {error}", self.child.id());
        }
    }
}

fn append_to(path: &Path) -> File {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
}

/// Spawns so that the server dies with the test process, even when that is killed.
///
/// The kernel sends the signal when the *thread* that spawned ends, and a test's thread
/// ends before others may be done with a shared cluster: hence one thread, which never
/// ends, spawns all.
fn spawn_with_parent_death_signal(mut command: Command) -> Child {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in orders {
                reply.send(command.spawn()).expect("whoever ordered a process waits for it");
            }
        });
        Mutex::new(sender)
    });
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe and
    // takes plain integers.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let (reply, answer) = mpsc::channel();
    spawner
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .send((command, reply))
        .expect("the spawning thread never ends");
    answer
        .recv()
        .expect("the spawning thread answers")
        .unwrap_or_else(|error| panic!("cannot start postgres: {error}"))
}
