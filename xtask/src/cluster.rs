//! A private cluster: a data directory, a socket that nobody else can open, no
//! network port.
//!
//! Owns its files and its server, and touches no other. Starts and stops it
//! under [`crate::identity`].

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::identity::Identity;
use crate::paths::fits_socket;
use crate::postgres::Postgres;
use crate::process;

/// The server's superuser.
pub const USER: &str = "postgres";

/// It only names the socket's file, so it cannot be taken.
const PORT: u16 = 5432;

/// The file with our settings, included by `postgresql.conf`.
const SETTINGS_FILE: &str = "autovector.conf";

/// A cluster, made or not, running or not.
pub struct Cluster<'a> {
    server: &'a Postgres,
    identity: &'static Identity,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
}

impl<'a> Cluster<'a> {
    /// The cluster of `server` below `home`.
    ///
    /// # Errors
    /// There is no identity to run it under.
    pub fn new(server: &'a Postgres, home: &Path) -> Result<Self, Failure> {
        Ok(Self {
            server,
            identity: Identity::current()?,
            data: home.join(format!("data-{}", server.major)),
            sockets: socket_directory(home, &std::env::temp_dir()),
            log: home.join("server.log"),
        })
    }

    /// The directory of its socket, for `psql -h`.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// The server's log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether there is a complete data directory.
    pub fn exists(&self) -> bool {
        self.data.join("PG_VERSION").is_file() && self.data.join(SETTINGS_FILE).is_file()
    }

    /// Whether its server runs.
    pub fn is_running(&self) -> bool {
        self.exists() && process::succeeds(self.pg_ctl("status").arg("--silent"))
    }

    /// Makes the data directory anew.
    ///
    /// # Errors
    /// `initdb` fails.
    pub fn create(&self) -> Result<(), Failure> {
        require_reach(self.identity, &self.server.program("initdb"))?;
        if self.is_running() {
            self.stop()?;
        }
        if self.data.exists() {
            fs::remove_dir_all(&self.data).map_err(Failure::io(self.data.display()))?;
        }
        fs::create_dir_all(&self.data).map_err(Failure::io(self.data.display()))?;
        self.identity.hand_over(&self.data)?;
        require_reach(self.identity, &self.data)?;
        let mut initdb = self.identity.command(self.server.program("initdb"));
        initdb.arg("--pgdata").arg(&self.data).args(["--username", USER, "--auth", "trust"]);
        initdb.args(["--encoding", "UTF8", "--locale", "C.UTF-8"]);
        let log = self.log.with_file_name("initdb.log");
        process::logged(&mut initdb, &log)?;
        let conf = self.data.join("postgresql.conf");
        let text = fs::read_to_string(&conf).map_err(Failure::io(conf.display()))?;
        fs::write(&conf, format!("{text}\ninclude '{SETTINGS_FILE}'\n")).map_err(Failure::io(conf.display()))
    }

    /// Starts the server with `settings` besides those of the connection, and
    /// waits until it accepts connections.
    ///
    /// # Errors
    /// It does not start; with the end of its log.
    pub fn start(&self, settings: &[(&str, String)]) -> Result<(), Failure> {
        fs::create_dir_all(&self.sockets).map_err(Failure::io(self.sockets.display()))?;
        fs::set_permissions(&self.sockets, fs::Permissions::from_mode(0o700))
            .map_err(Failure::io(self.sockets.display()))?;
        self.identity.hand_over(&self.sockets)?;
        let conf = self.data.join(SETTINGS_FILE);
        fs::write(&conf, self.configuration(settings)).map_err(Failure::io(conf.display()))?;
        fs::write(&self.log, "").map_err(Failure::io(self.log.display()))?;
        if matches!(self.identity, Identity::RunUser(_)) {
            self.identity.hand_over(&self.log)?;
        }
        let mut start = self.pg_ctl("start");
        start.args(["--wait", "--timeout=120", "--log"]).arg(&self.log);
        process::logged(&mut start, &self.log.with_file_name("pg_ctl.log")).map_err(|failure| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(20)..].join("\n  | ");
            Failure::new(format!("{}\n  {}:\n  | {end}", failure.message(), self.log.display()))
        })
    }

    fn configuration(&self, settings: &[(&str, String)]) -> String {
        let own = [
            ("listen_addresses", String::new()),
            ("port", PORT.to_string()),
            ("unix_socket_directories", self.sockets.display().to_string()),
            ("unix_socket_permissions", "0700".to_owned()),
        ];
        let all = own.iter().chain(settings);
        all.map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect()
    }

    /// Stops the server, ending its sessions.
    ///
    /// # Errors
    /// It does not stop within a minute.
    pub fn stop(&self) -> Result<(), Failure> {
        let mut stop = self.pg_ctl("stop");
        stop.args(["--mode=fast", "--wait", "--timeout=60"]);
        process::logged(&mut stop, &self.log.with_file_name("pg_ctl.log"))
    }

    fn pg_ctl(&self, action: &str) -> Command {
        let mut command = self.identity.command(self.server.program("pg_ctl"));
        command.arg(action).arg("--pgdata").arg(&self.data);
        // The server would keep them: a backtrace in every error, our PATH.
        command.env_remove("RUST_BACKTRACE").env("LC_ALL", "C.UTF-8");
        command
    }

    /// `psql` on `database`, stopping at the first error and reading no
    /// settings of the user's.
    pub fn psql(&self, database: &str) -> Command {
        // As the caller, who can read the scripts; the socket is open to root too.
        let mut command = Command::new(self.server.program("psql"));
        command.args(["-X", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database, "-h"]).arg(&self.sockets);
        command.env("PGOPTIONS", "-c client_min_messages=warning").env("PGAPPNAME", "demo");
        command.env("LC_ALL", "C.UTF-8");
        for variable in ["PGHOSTADDR", "PGPORT", "PGSERVICE", "PGPASSWORD", "RUST_BACKTRACE"] {
            command.env_remove(variable);
        }
        command
    }

    /// What the user types to connect.
    pub fn connection_line(&self, database: &str) -> String {
        let psql = self.server.program("psql");
        format!("{} -h {} -U {USER} {database}", psql.display(), self.sockets.display())
    }
}

/// The server's account must be able to read what it is started from; root's own
/// home, for one, is closed to it.
///
/// # Errors
/// It cannot.
pub fn require_reach(identity: &Identity, path: &Path) -> Result<(), Failure> {
    if identity.can_reach(path) {
        return Ok(());
    }
    let name = identity.account().map_or("the caller", |account| &account.name);
    Err(Failure::new(format!("{name} cannot read {}", path.display())).remedy(
        "PostgreSQL does not run as root: put the checkout, or CARGO_TARGET_DIR, where that account may read",
    ))
}

/// A directory whose path leaves room for the socket's name: in `home`, or
/// below `temporary` under a name that only this home leads to.
fn socket_directory(home: &Path, temporary: &Path) -> PathBuf {
    let near = home.join("socket");
    if fits_socket(&near, PORT) {
        return near;
    }
    let mut hasher = DefaultHasher::new();
    home.hash(&mut hasher);
    temporary.join(format!("autovector-{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_its_socket_elsewhere() {
        let temporary = Path::new("/tmp");
        assert_eq!(socket_directory(Path::new("/short"), temporary), Path::new("/short/socket"));
        let long = PathBuf::from(format!("/{}", "x".repeat(100)));
        let socket = socket_directory(&long, temporary);
        assert!(socket.starts_with("/tmp") && fits_socket(&socket, PORT));
        assert_eq!(socket, socket_directory(&long, temporary));
        assert_ne!(socket, socket_directory(&long.join("other"), temporary));
    }
}
