//! A real PostgreSQL cluster of its own: data directory in a temporary folder, Unix socket
//! only, stopped when dropped. Knows the extension by name only.

mod log;
mod postmaster;
mod template;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use postgres::{Client, Config, NoTls};
use tempfile::TempDir;

use crate::{paths, process, sql::Sql, wait::wait_until};
use postmaster::{Launch, Postmaster};

pub use postmaster::mounts_are_possible;
pub use template::SUPERUSER;

/// Time, process id and kind of process: what [`Cluster::assert_healthy`] looks for.
const LOG_LINE_PREFIX: &str = "%m [%p] %b ";
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const PORT: u16 = 5432;

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are ended, a checkpoint is written: what an administrator does.
    Fast,
    /// As after a power cut, except that the processes go at once.
    Immediate,
}

/// What a cluster is started with.
#[derive(Clone)]
pub struct Settings {
    options: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    preload: bool,
    fsync: bool,
    mount: Option<(PathBuf, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { options: Vec::new(), environment: Vec::new(), preload: true, fsync: false, mount: None }
    }
}

impl Settings {
    /// Sets a configuration parameter; a later one of the same name wins.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets an environment variable of the server, such as an API key.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves `shared_preload_libraries` empty.
    pub fn without_preload(mut self) -> Self {
        self.preload = false;
        self
    }

    /// Mounts a file system in memory over `directory`, for the server alone, with these options
    /// (`size=1m`, `ro`). Only where `mounts_are_possible`.
    pub fn mounted(mut self, directory: &Path, options: &str) -> Self {
        self.mount = Some((directory.to_owned(), options.to_owned()));
        self
    }

    /// Writes to disk for real; off by default, for speed.
    pub fn with_fsync(mut self) -> Self {
        self.fsync = true;
        self
    }

    /// Starts a cluster with these settings and waits until it accepts connections.
    pub fn start(self) -> Cluster {
        Cluster::start_with(self)
    }

    fn launch(&self, directory: &Path) -> Launch {
        let mut options: Vec<(String, String)> = [
            ("listen_addresses", ""),
            ("port", &PORT.to_string()),
            ("fsync", if self.fsync { "on" } else { "off" }),
            ("full_page_writes", if self.fsync { "on" } else { "off" }),
            ("max_worker_processes", "16"),
            ("shared_buffers", "64MB"),
            ("log_line_prefix", LOG_LINE_PREFIX),
            ("logging_collector", "off"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        options.push(("unix_socket_directories".to_owned(), directory.display().to_string()));
        if self.preload {
            options.push(("shared_preload_libraries".to_owned(), "autovector".to_owned()));
            options
                .push(("autovector.local_model_directory".to_owned(), paths::models().display().to_string()));
        }
        options.extend(self.options.iter().cloned());
        Launch {
            data: directory.join("data"),
            log: directory.join("log"),
            options,
            environment: self.environment.clone(),
            mount: self.mount.clone(),
        }
    }
}

/// A running cluster. Dropping it stops the server at once and removes its files; if the
/// test is failing, the end of the server log is printed first.
pub struct Cluster {
    directory: Option<TempDir>,
    settings: Settings,
    postmaster: Mutex<Postmaster>,
    /// The postmaster that [`Cluster::assert_healthy`] expects to see.
    expected_postmaster: i32,
    expected_in_log: Mutex<Vec<String>>,
}

impl Cluster {
    /// Starts a cluster with default settings.
    pub fn start() -> Cluster {
        Settings::default().start()
    }

    fn start_with(settings: Settings) -> Cluster {
        assert_ne!(
            process::effective_user(),
            0,
            "PostgreSQL refuses to run as root: use `cargo verify`, or put \
             `USER=postgres unshare -U --map-user=postgres --map-group=postgres` in front of cargo"
        );
        let directory = short_temporary_directory();
        template::copy_to(&directory.path().join("data"));
        Cluster::launch(directory, settings)
    }

    fn launch(directory: TempDir, settings: Settings) -> Cluster {
        let postmaster = Postmaster::spawn(&settings.launch(directory.path()));
        let mut cluster = Cluster {
            expected_postmaster: postmaster.pid(),
            directory: Some(directory),
            settings,
            postmaster: Mutex::new(postmaster),
            expected_in_log: Mutex::default(),
        };
        cluster.wait_until_ready();
        cluster
    }

    /// A streaming standby of this cluster, with the same settings, that takes connections.
    pub fn standby(&self) -> Cluster {
        let directory = short_temporary_directory();
        let output = std::process::Command::new(paths::program("pg_basebackup"))
            .arg("-h")
            .arg(self.directory())
            .args([
                "-U",
                SUPERUSER,
                "-p",
                &PORT.to_string(),
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
                "--no-sync",
                "-D",
            ])
            .arg(directory.path().join("data"))
            .output()
            .unwrap_or_else(|error| panic!("cannot run pg_basebackup: {error}"));
        assert!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        Cluster::launch(directory, self.settings.clone())
    }

    /// Runs a client program of PostgreSQL against this cluster; panics unless it succeeds.
    pub fn run_client(&self, program: &str, arguments: &[&str]) {
        let output = std::process::Command::new(paths::program(program))
            .arg("-h")
            .arg(self.directory())
            .args(["-U", SUPERUSER])
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        assert!(!said.contains("ERROR"), "{program}: {said}");
    }

    /// The folder with the data directory, the socket and the log.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().expect("taken in drop only").path()
    }

    /// The data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// How to connect to `database` as superuser, for callers that change something first.
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(self.directory()).port(PORT).user(SUPERUSER).dbname(database);
        config.connect_timeout(Duration::from_secs(10)).application_name("autovector test");
        config
    }

    /// A new connection to `database` as superuser. A server that is just coming up, or coming
    /// back after a crash, is waited for.
    pub fn connect(&self, database: &str) -> Client {
        let mut client = None;
        crate::wait_until("the server takes connections", Duration::from_secs(60), || {
            match self.config(database).connect(NoTls) {
                Ok(connected) => client = Some(connected),
                Err(error) if is_coming_up(&error) => {}
                Err(error) => panic!("cannot connect to {database}: {}", crate::sql::describe(&error)),
            }
            client.is_some()
        });
        client.expect("connected above")
    }

    /// A new connection to `database` as `user`.
    pub fn connect_as(&self, database: &str, user: &str) -> Client {
        self.config(database).user(user).connect(NoTls).unwrap_or_else(|error| {
            panic!("cannot connect to {database} as {user}: {}", crate::sql::describe(&error))
        })
    }

    /// Creates a database and connects to it.
    pub fn create_database(&self, name: &str) -> Client {
        self.connect("postgres").batch(&format!("create database {name}"));
        self.connect(name)
    }

    /// The postmaster's process id.
    pub fn postmaster_pid(&self) -> i32 {
        self.server().pid()
    }

    /// Stops the server; returns how long that took. Panics after a minute.
    pub fn stop(&self, mode: StopMode) -> Duration {
        let signal = match mode {
            StopMode::Fast => libc::SIGINT,
            StopMode::Immediate => libc::SIGQUIT,
        };
        self.server().end(signal, Duration::from_secs(60))
    }

    /// Kills the postmaster as the kernel does when memory is short. Its children notice by
    /// themselves; see [`Cluster::start_again`].
    pub fn kill_postmaster(&self) {
        self.server().end(libc::SIGKILL, Duration::from_secs(10));
    }

    /// Starts the server again after [`Cluster::stop`] or [`Cluster::kill_postmaster`], as soon as
    /// the children of a killed one are gone: PostgreSQL refuses to start beside them.
    pub fn start_again(&mut self) {
        assert!(self.server().ended().is_some(), "the server still runs");
        let data = self.data_directory();
        wait_until("no process of the old server is left", STARTS_WITHIN, || {
            process::working_in(&data).is_empty()
        });
        *self.server() = Postmaster::spawn(&self.settings.launch(self.directory()));
        self.expected_postmaster = self.postmaster_pid();
        self.wait_until_ready();
    }

    /// A fast stop and a start.
    pub fn restart(&mut self) {
        self.stop(StopMode::Fast);
        self.start_again();
    }

    /// Changes a setting from the next start on; use `ALTER SYSTEM` for a reload.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.options.push((name.to_owned(), value.to_owned()));
    }

    /// Waits until the server takes connections again, for example after a backend crashed.
    pub fn wait_until_ready(&mut self) {
        wait_until("server accepts connections", STARTS_WITHIN, || {
            if let Some(status) = self.server().ended() {
                panic!("the server ended with {status}:\n{}", log::tail(&self.log(), 40));
            }
            self.config("postgres").connect(NoTls).and_then(|mut db| db.simple_query("select 1")).is_ok()
        });
    }

    /// The server log from the first start on.
    pub fn log(&self) -> String {
        log::text(&self.directory().join("log"))
    }

    /// Process ids of the background processes of `kind`, for example `autovector worker`.
    pub fn worker_pids(&self, kind: &str) -> Vec<i32> {
        self.connect("postgres")
            .all("select pid from pg_stat_activity where backend_type = $1 order by pid", &[&kind])
    }

    /// Excuses log lines that contain `pattern` from [`Cluster::assert_healthy`].
    pub fn expect_in_log(&self, pattern: &str) {
        self.expected_in_log.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(pattern.to_owned());
    }

    /// Asserts that the postmaster is the one that was started last, that nothing crashed,
    /// and that no process of the extension logged an error, apart from what the test
    /// expects.
    pub fn assert_healthy(&self) {
        assert!(self.server().ended().is_none(), "the postmaster has ended");
        assert_eq!(self.postmaster_pid(), self.expected_postmaster, "the postmaster is another one");
        let expected = self.expected_in_log.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let complaints = log::complaints(&self.log(), &expected);
        assert!(complaints.is_empty(), "the server log complains:\n{}", complaints.join("\n"));
    }

    fn server(&self) -> MutexGuard<'_, Postmaster> {
        self.postmaster.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server().end_quietly();
        if std::thread::panicking() {
            eprintln!("--- end of the server log\n{}\n---", log::tail(&self.log(), 80));
        }
        if std::env::var_os("AUTOVECTOR_KEEP_CLUSTERS").is_some()
            && let Some(directory) = self.directory.take()
        {
            eprintln!("cluster kept in {}", directory.keep().display());
        }
    }
}

/// A folder whose path leaves room for the socket: the kernel allows 107 bytes.
fn short_temporary_directory() -> TempDir {
    const ROOM_FOR_SOCKET: usize = 107 - "/av-XXXXXX/.s.PGSQL.5432.lock".len();
    let preferred = std::env::temp_dir();
    let base = if preferred.as_os_str().len() <= ROOM_FOR_SOCKET { preferred } else { PathBuf::from("/tmp") };
    tempfile::Builder::new()
        .prefix("av-")
        .tempdir_in(&base)
        .unwrap_or_else(|error| panic!("cannot make a folder in {}: {error}", base.display()))
}

/// Not refused by the server, but too early: it restarts after a crash.
fn is_coming_up(error: &postgres::Error) -> bool {
    error.code().is_none_or(|code| *code == postgres::error::SqlState::CANNOT_CONNECT_NOW)
}
