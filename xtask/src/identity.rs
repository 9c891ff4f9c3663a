//! Under which identity PostgreSQL is started.
//!
//! PostgreSQL refuses to run as root, and `cargo pgrx test` starts a server.
//! An ordinary user needs nothing. Root takes an account that owns nothing of
//! value and becomes it in a user namespace, where root's files appear as that
//! account's own: no directory changes its owner and a toolchain below a
//! private home stays usable. Where namespaces are forbidden (most containers)
//! `runuser` is left; then what the server writes must be handed over.
//!
//! Uses the standard library alone and never changes the calling process.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Set to `namespace`, `runuser` or `caller` to choose by hand.
pub const OVERRIDE: &str = "AUTOVECTOR_IDENTITY";

/// The name of the system account that is created when `/etc/passwd` has none to lend.
const CREATED_ACCOUNT: &str = "postgres";

/// The overflow user: inside a namespace every foreign file appears to be its
/// own, so it must not be the one we become.
const NOBODY: u32 = 65534;

/// An entry of `/etc/passwd`; `initdb` looks up the name it runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Id of its group.
    pub gid: u32,
}

/// How a server is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// As the caller, who is not root.
    Caller,
    /// As `Account` in a user namespace of its own.
    Namespace(Account),
    /// As `Account`, really; see [`Identity::hand_over`].
    RunUser(Account),
}

impl Identity {
    /// The identity for this process, found out once.
    ///
    /// # Errors
    /// Root without `unshare` and `runuser`, or without an account to become.
    pub fn current() -> Result<&'static Identity, String> {
        static CURRENT: OnceLock<Result<Identity, String>> = OnceLock::new();
        CURRENT.get_or_init(detect).as_ref().map_err(Clone::clone)
    }

    /// `program` under this identity. Arguments and environment are added to
    /// what is returned. Under [`Identity::RunUser`] the working directory is
    /// `/`, as the account may not be able to enter the caller's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Identity::Caller => Command::new(program),
            Identity::Namespace(account) => {
                let mut command = Command::new("unshare");
                command
                    .args(["-U", &format!("--map-user={}", account.uid)])
                    .args([&format!("--map-group={}", account.gid), "--"])
                    .arg(program);
                named(command, account)
            }
            Identity::RunUser(account) => {
                let mut command = Command::new("runuser");
                command.args(["-u", &account.name, "--"]).arg(program).current_dir("/");
                named(command, account)
            }
        }
    }

    /// Whether a whole build and its tests can run inside [`Identity::command`]:
    /// not under `runuser`, where the account cannot reach root's toolchain.
    pub fn wraps_builds(&self) -> bool {
        !matches!(self, Identity::RunUser(_))
    }

    /// Whether a server under this identity can read `path`: under `runuser` the
    /// account stands before root's closed directories.
    pub fn can_reach(&self, path: &Path) -> bool {
        quietly(self.command("test").arg("-r").arg(path))
    }

    /// The account that is borrowed, if any.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Identity::Caller => None,
            Identity::Namespace(account) | Identity::RunUser(account) => Some(account),
        }
    }

    /// Makes `directory` and everything in it the server's own where that is
    /// needed ([`Identity::RunUser`]); otherwise does nothing.
    ///
    /// # Errors
    /// `chown` cannot be run or fails.
    pub fn hand_over(&self, directory: &Path) -> Result<(), String> {
        let Identity::RunUser(account) = self else { return Ok(()) };
        let owner = format!("{}:{}", account.uid, account.gid);
        let status = Command::new("chown").args(["-R", &owner]).arg(directory).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("chown {owner} {}: {status}", directory.display())),
            Err(error) => Err(format!("cannot run chown: {error}")),
        }
    }
}

fn named(mut command: Command, account: &Account) -> Command {
    command.env("USER", &account.name).env("LOGNAME", &account.name);
    command
}

fn detect() -> Result<Identity, String> {
    let wanted = std::env::var(OVERRIDE).ok();
    if wanted.as_deref() == Some("caller") || caller_uid()? != 0 {
        return Ok(Identity::Caller);
    }
    let account = lent_account()?;
    let namespace = Identity::Namespace(account.clone());
    let runuser = Identity::RunUser(account);
    let order = match wanted.as_deref() {
        None => vec![namespace, runuser],
        Some("namespace") => vec![namespace],
        Some("runuser") => vec![runuser],
        Some(other) => return Err(format!("{OVERRIDE}={other}: must be namespace, runuser or caller")),
    };
    order.into_iter().find(works).ok_or_else(|| {
        "PostgreSQL does not run as root, and neither a user namespace (unshare -U) nor runuser works here; \
         run this as an ordinary user, or install util-linux"
            .to_owned()
    })
}

fn works(identity: &Identity) -> bool {
    quietly(&mut identity.command("true"))
}

fn quietly(command: &mut Command) -> bool {
    let outputs = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    outputs.status().is_ok_and(|status| status.success())
}

fn caller_uid() -> Result<u32, String> {
    let output = Command::new("id").arg("-u").output().map_err(|error| format!("cannot run id: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("id -u printed \"{}\"", text.trim()))
}

/// An account of this machine, or a new one when there is none at all.
fn lent_account() -> Result<Account, String> {
    if let Some(account) = find_account(&read_passwd()?) {
        return Ok(account);
    }
    let arguments = ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", CREATED_ACCOUNT];
    let created = Command::new("useradd").args(arguments).status();
    let failed = || format!("no account to run PostgreSQL under; useradd --system {CREATED_ACCOUNT} failed");
    match created {
        Ok(status) if status.success() => find_account(&read_passwd()?).ok_or_else(failed),
        _ => Err(failed()),
    }
}

fn read_passwd() -> Result<String, String> {
    std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))
}

/// The account to become: `postgres`, else `daemon`, else the first that is
/// neither root nor nobody.
fn find_account(passwd: &str) -> Option<Account> {
    let accounts: Vec<Account> = passwd
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, ..] = fields[..] else { return None };
            Some(Account { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        })
        .filter(|account| account.uid != 0 && account.uid < NOBODY && account.gid != 0)
        .collect();
    ["postgres", "daemon"]
        .iter()
        .find_map(|name| accounts.iter().find(|account| account.name == *name))
        .or(accounts.first())
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        broken line\n\
        sync:x:4:65534:sync:/bin:/bin/sync\n\
        daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
        nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

    fn arguments(command: &Command) -> String {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn postgres_is_preferred_and_nobody_and_root_are_never_taken() {
        assert_eq!(find_account(PASSWD).unwrap().name, "daemon");
        let with_postgres = format!("{PASSWD}postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n");
        let expected = Account { name: "postgres".into(), uid: 101, gid: 104 };
        assert_eq!(find_account(&with_postgres).unwrap(), expected);
        assert_eq!(find_account("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"), None);
        assert_eq!(find_account("www:x:33:33::/:/bin/sh\n").unwrap().name, "www");
    }

    #[test]
    fn each_identity_has_its_prefix() {
        let account = Account { name: "postgres".into(), uid: 101, gid: 104 };
        let namespace = Identity::Namespace(account.clone()).command("initdb");
        assert_eq!(arguments(&namespace), "unshare -U --map-user=101 --map-group=104 -- initdb");
        let user = namespace.get_envs().find(|(name, _)| *name == "USER").unwrap();
        assert_eq!(user.1.unwrap(), "postgres");
        let runuser = Identity::RunUser(account).command("initdb");
        assert_eq!(arguments(&runuser), "runuser -u postgres -- initdb");
        assert_eq!(arguments(&Identity::Caller.command("initdb")), "initdb");
    }

    #[test]
    fn the_identity_found_here_is_not_root() {
        let identity = Identity::current().unwrap();
        let output = identity.command("id").arg("-u").output().unwrap();
        assert_ne!(String::from_utf8_lossy(&output.stdout).trim(), "0", "{identity:?}");
        assert!(identity.can_reach(Path::new("/etc/passwd")));
        assert!(!identity.can_reach(Path::new("/nonexistent")));
    }
}
