//! Where to connect to, and how the server is checked: libpq's keywords, with what the client
//! library does not know of them, and the name of a secret that holds the password.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use postgres::Client;
use postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::conninfo::{self, Pair};
use crate::tls;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection string makes no sense. It is not repeated: it may hold a password.
    #[error("db_connection cannot be read: {0}")]
    Invalid(&'static str),
    /// There is no connection; true where it may come about later.
    #[error("could not connect to the server of db_connection: {0}")]
    Connect(String, bool),
    #[error("table \"{0}\" does not exist on the server of db_connection")]
    MissingTable(String),
    #[error("{0} is not a table that can be backed up")]
    NotATable(String),
    #[error("{0} was changed meanwhile")]
    Changed(String),
    /// The other server refused; its SQLSTATE, its message.
    #[error("the server of db_connection says: {1}")]
    Refused(String, String),
    /// The connection broke.
    #[error("the connection to the server of db_connection was lost: {0}")]
    Lost(String),
    #[error(transparent)]
    Files(#[from] autovector_backup::Error),
}

impl From<postgres::Error> for Error {
    fn from(error: postgres::Error) -> Self {
        Error::from(&error)
    }
}

impl From<&postgres::Error> for Error {
    fn from(error: &postgres::Error) -> Self {
        match error.as_db_error() {
            // Shut down or crashed under us: nothing is wrong with what was asked for.
            Some(db) if db.code().code().starts_with("57P") => Error::Lost(db.message().to_owned()),
            Some(db) => Error::Refused(db.code().code().to_owned(), db.message().to_owned()),
            None => Error::Lost(chain(error)),
        }
    }
}

/// How the server's certificate is checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Check {
    /// As libpq's `prefer` and `require` without an authority: the connection is private, the
    /// server may be anybody.
    Nothing,
    /// Issued by an authority of this file, for whatever host.
    Authority(PathBuf),
    /// Issued for the host, by an authority of this file or of the system.
    Host(Option<PathBuf>),
}

/// Where to connect to; never shown.
pub struct Connection {
    config: postgres::Config,
    check: Check,
    /// The name of a secret that holds the password.
    pub password_secret: Option<String>,
    /// Passwords, as they stand in the connection string.
    pub written_passwords: Vec<String>,
}

/// What the client library knows by the same name.
const HANDED_ON: [&str; 12] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "dbname",
    "options",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "channel_binding",
];

/// How long a silent connection is believed in, where the string does not say.
const KEEPALIVE: [(&str, &str); 4] = [
    ("keepalives_idle", "60"),
    ("keepalives_interval", "10"),
    ("keepalives_retries", "6"),
    ("tcp_user_timeout", "120"),
];

impl Connection {
    /// Reads `host=… dbname=…`, or `postgresql://…`.
    pub fn parse(text: &str, connect_timeout: Duration) -> Result<Connection> {
        let pairs = conninfo::read(text)?;
        let mut handed: Vec<(&str, &str)> = KEEPALIVE.to_vec();
        let (mut mode, mut root, mut password_secret) = (None, None, None);
        let mut written_passwords = Vec::new();
        for Pair { name, value, raw } in &pairs {
            match name.as_str() {
                "sslmode" => mode = Some(value.as_str()),
                "sslrootcert" => root = Some(value.as_str()).filter(|root| !root.is_empty()),
                "password_secret" => password_secret = Some(value.clone()),
                "keepalives_count" => handed.push(("keepalives_retries", value)),
                // Ours are better: what the connection is for, and how long silence is borne.
                "application_name" | "fallback_application_name" | "tcp_user_timeout" => {}
                name if HANDED_ON.contains(&name) => {
                    // The last one counts, as with libpq.
                    handed.retain(|(other, _)| *other != name);
                    handed.push((name, value));
                }
                "sslcert"
                | "sslkey"
                | "passfile"
                | "service"
                | "requirepeer"
                | "krbsrvname"
                | "gssencmode"
                | "sslcrl"
                | "sslcrldir"
                | "sslpassword"
                | "target_session_attrs"
                | "load_balance_hosts"
                | "sslnegotiation"
                | "replication"
                | "client_encoding"
                | "require_auth" => {
                    return Err(Error::Invalid(
                        "it has a keyword that is not supported here; see the documentation",
                    ));
                }
                _ => return Err(Error::Invalid("it has a keyword that nobody knows")),
            }
            if name == "password" && !value.is_empty() {
                written_passwords.extend([raw.clone(), value.clone()]);
            }
        }
        let (ssl_mode, check) = checked(mode, root)?;
        let text: Vec<String> = handed
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
            .collect();
        let mut config = postgres::Config::from_str(&text.join(" "))
            .map_err(|_| Error::Invalid("a number in it is none, or its hosts and ports do not match"))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::Invalid("it names no host"));
        }
        let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        // As libpq: nobody listens in on a socket of this machine.
        config.ssl_mode(if local && config.get_hostaddrs().is_empty() { SslMode::Disable } else { ssl_mode });
        config.application_name("autovector backup");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(connect_timeout);
        }
        Ok(Connection { config, check, password_secret, written_passwords })
    }

    pub fn set_password(&mut self, password: &str) {
        self.config.password(password);
    }

    /// How long all attempts together may take: the client library limits no more than the
    /// first step of each.
    pub fn patience(&self) -> Option<Duration> {
        let hosts = self.config.get_hosts().len().max(self.config.get_hostaddrs().len()) as u32;
        self.config.get_connect_timeout().filter(|time| !time.is_zero()).map(|time| *time * (hosts + 1))
    }

    pub(crate) fn open(&self) -> Result<(Client, MakeRustlsConnect)> {
        let tls = tls::connector(&self.check)?;
        let client = self.config.connect(tls.clone()).map_err(|error| match error.as_db_error() {
            Some(db) => {
                // Too many connections, starting up, shutting down: that passes.
                let state = db.code().code();
                let passes = state.starts_with("53") || state.starts_with("57P");
                Error::Connect(db.message().to_owned(), passes)
            }
            None => {
                let text = chain(&error);
                // Who is not believed now is not believed later.
                let passes =
                    !text.contains("certificate") && !text.contains("TLS") && !text.contains("password");
                Error::Connect(text, passes)
            }
        })?;
        Ok((client, tls))
    }
}

/// What `sslmode` and `sslrootcert` mean together, as libpq has it.
fn checked(mode: Option<&str>, root: Option<&str>) -> Result<(SslMode, Check)> {
    let system = root == Some("system");
    let file = root.filter(|_| !system).map(PathBuf::from);
    let mode = mode.unwrap_or(if system { "verify-full" } else { "prefer" });
    if system && mode != "verify-full" {
        return Err(Error::Invalid("sslrootcert=system needs sslmode=verify-full"));
    }
    let authority = |file: Option<PathBuf>| file.map_or(Check::Nothing, Check::Authority);
    Ok(match mode {
        "disable" => (SslMode::Disable, Check::Nothing),
        "allow" | "prefer" => (SslMode::Prefer, authority(file)),
        "require" => (SslMode::Require, authority(file)),
        "verify-ca" if file.is_none() => {
            return Err(Error::Invalid("sslmode=verify-ca needs sslrootcert, a file with the authority"));
        }
        "verify-ca" => (SslMode::Require, authority(file)),
        "verify-full" => (SslMode::Require, Check::Host(file)),
        _ => return Err(Error::Invalid("sslmode is none that libpq knows")),
    })
}

/// An error and its causes; none of them holds the password.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(&format!(": {more}"));
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Connection> {
        Connection::parse(text, Duration::from_secs(5))
    }

    #[test]
    fn both_forms_are_read() {
        for text in [
            "host=db.example dbname='my db' password='a b=c' sslmode=verify-full password_secret=KEY",
            "postgresql://me:x@db.example/my%20db?sslmode=verify-full&password_secret=KEY&application_name=x&password=a%20b%3Dc",
        ] {
            let connection = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(connection.config.get_dbname(), Some("my db"), "{text}");
            assert_eq!(connection.config.get_ssl_mode(), SslMode::Require);
            assert_eq!(connection.check, Check::Host(None));
            assert_eq!(connection.password_secret.as_deref(), Some("KEY"));
            assert_eq!(connection.config.get_password(), Some(&b"a b=c"[..]));
            assert!(
                connection
                    .written_passwords
                    .iter()
                    .all(|password| text.contains(password) || password == "a b=c")
            );
        }
        let quoted = parse(r"host=h password='it\'s \\'").unwrap();
        assert_eq!(quoted.config.get_password(), Some(&br"it's \"[..]));
        assert_eq!(quoted.written_passwords[0], r"it\'s \\");
    }

    /// Fear: a mode that is to check the server checks nothing.
    #[test]
    fn sslmode_means_what_it_means_to_libpq() {
        let file = || PathBuf::from("/a/b.pem");
        for (text, mode, check) in [
            ("host=h", SslMode::Prefer, Check::Nothing),
            ("host=h sslmode=require", SslMode::Require, Check::Nothing),
            ("host=h sslmode=disable sslrootcert=/a/b.pem", SslMode::Disable, Check::Nothing),
            ("host=h sslrootcert=/a/b.pem", SslMode::Prefer, Check::Authority(file())),
            ("host=h sslmode=require sslrootcert=/a/b.pem", SslMode::Require, Check::Authority(file())),
            ("host=h sslmode=verify-ca sslrootcert=/a/b.pem", SslMode::Require, Check::Authority(file())),
            ("host=h sslmode=verify-full sslrootcert=/a/b.pem", SslMode::Require, Check::Host(Some(file()))),
            ("host=h sslrootcert=system", SslMode::Require, Check::Host(None)),
            ("host=/run sslmode=require", SslMode::Disable, Check::Nothing),
        ] {
            let found = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((found.config.get_ssl_mode(), &found.check), (mode, &check), "{text}");
        }
        for text in
            ["host=h sslmode=verify-ca", "host=h sslmode=require sslrootcert=system", "host=h sslmode=maybe"]
        {
            assert!(matches!(parse(text), Err(Error::Invalid(_))), "{text}");
        }
    }

    /// Fear: a connection string with a mistake is shown, with its password.
    #[test]
    fn mistakes_are_named_without_the_string() {
        for text in [
            "hunter2",
            "dbname=x",
            "host=h hunter2=1",
            "host=h sslmode=hunter2",
            "host=h port=hunter2",
            "host=h sslkey=hunter2",
            "postgresql://u:hunter2@h:port/x",
            "postgresql://u:hunter2%@h/x",
        ] {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text} was read")).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
