//! `cargo setup`: everything the other commands need, below `target/`.
//!
//! A step looks at the result first and works only when something is missing,
//! so a second run does nothing twice and an interrupted one goes on. What is
//! unpacked appears under its final name by a rename, when it is complete. A
//! lock file keeps two runs apart. Nothing outside `target/` changes, except
//! that root gets missing packages of the distribution installed.

pub mod apt;
pub mod cargo_pgrx;
pub mod digest;
pub mod model;
pub mod pgvector;
pub mod pip;
pub mod postgres15;
pub mod postgres18;
pub mod system_packages;

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::arguments::{Arguments, PROVIDED_VERSIONS};
use crate::failure::Failure;
use crate::paths::Paths;
use crate::postgres::Postgres;
use crate::process;
use apt::Apt;

/// What every step may use.
pub struct Context {
    /// Where things go.
    pub paths: Paths,
    /// Whether system packages can be installed.
    pub root: bool,
    /// The major versions to provide; empty with the user's own PostgreSQL.
    pub versions: Vec<u16>,
    apt: RefCell<Apt>,
}

impl Context {
    fn new(paths: Paths, root: bool, versions: Vec<u16>) -> Self {
        let apt = Apt::new(root, &paths.setup().join("apt"), &paths.log("apt"));
        Self { paths, root, versions, apt: RefCell::new(apt) }
    }

    /// Whether `major` is among the versions to provide.
    pub fn wants(&self, major: u16) -> bool {
        self.versions.contains(&major)
    }

    /// Runs `work` with apt.
    pub fn with_apt<T>(&self, work: impl FnOnce(&mut Apt) -> T) -> T {
        work(&mut self.apt.borrow_mut())
    }
}

/// One thing to have.
pub trait Step {
    /// Its name in the progress lines.
    fn name(&self) -> &'static str;
    /// Looks at the result: a short description if it is good, else what is missing.
    fn check(&self, context: &Context) -> Result<String, String>;
    /// What [`Step::work`] is about to do, for the progress line.
    fn intention(&self, missing: &str) -> String;
    /// Gets it.
    fn work(&self, context: &Context) -> Result<(), Failure>;
}

/// The outcome of the set-up.
#[derive(Debug, Clone)]
pub struct Toolbox {
    /// Where everything lies.
    pub paths: Paths,
    /// The PostgreSQL installations to use, oldest first.
    pub servers: Vec<Postgres>,
    /// The pinned cargo-pgrx.
    pub cargo_pgrx: PathBuf,
}

/// `cargo setup`.
///
/// # Errors
/// A step that cannot be done, with what is missing.
pub fn command(arguments: Arguments) -> Result<(), Failure> {
    let toolbox = run(&arguments, PROVIDED_VERSIONS)?;
    println!();
    for server in &toolbox.servers {
        let pgvector = server.pgvector().unwrap_or_default();
        println!("PostgreSQL {}, pgvector {pgvector}: {}", server.version, server.pg_config.display());
    }
    println!("local model: {}", toolbox.paths.model().display());
    println!(
        "cargo-pgrx: {} (PGRX_HOME={})",
        toolbox.cargo_pgrx.display(),
        toolbox.paths.pgrx_home().display()
    );
    println!("\nNext: cargo demo");
    Ok(())
}

/// Runs the set-up for `arguments`; without `--pg` and `--pg-config` it
/// provides `defaults`.
///
/// # Errors
/// A step that cannot be done, with what is missing.
pub fn run(arguments: &Arguments, defaults: &[u16]) -> Result<Toolbox, Failure> {
    let started = Instant::now();
    let paths = Paths::discover();
    fs::create_dir_all(paths.setup()).map_err(Failure::io(paths.setup().display()))?;
    let _lock = lock(&paths)?;
    let own = arguments.pg_config.as_deref().map(inspect_own).transpose()?;
    let mut context = Context::new(paths.clone(), is_root()?, wanted(arguments, own.as_ref(), defaults)?);

    drop_unavailable(&mut context, arguments)?;
    carry_out(&system_packages::SystemPackages, &context)?;
    carry_out(&model::Model, &context)?;
    if context.wants(18) {
        carry_out(&postgres18::Postgres18, &context)?;
    }
    if context.wants(15) {
        carry_out(&postgres15::Postgres15, &context)?;
        carry_out(&pgvector::Pgvector, &context)?;
    }
    carry_out(&cargo_pgrx::CargoPgrx, &context)?;
    let servers = match own {
        Some(own) => vec![own],
        None => context
            .versions
            .iter()
            .map(|major| Postgres::inspect(&paths.pg_config(*major)))
            .collect::<Result<_, _>>()?,
    };
    for server in &servers {
        server.require_complete()?;
    }
    carry_out(&cargo_pgrx::Registration { servers: &servers }, &context)?;
    println!("setup  complete in {:.1} s", started.elapsed().as_secs_f64());
    Ok(Toolbox { cargo_pgrx: cargo_pgrx::executable(&paths), paths, servers })
}

fn inspect_own(pg_config: &Path) -> Result<Postgres, Failure> {
    // It is kept in a list that is read from elsewhere.
    let pg_config = std::path::absolute(pg_config).map_err(Failure::io(pg_config.display()))?;
    let own = Postgres::inspect(&pg_config)?;
    own.require_complete()?;
    Ok(own)
}

/// The versions to provide, in ascending order.
fn wanted(arguments: &Arguments, own: Option<&Postgres>, defaults: &[u16]) -> Result<Vec<u16>, Failure> {
    match (own, arguments.pg) {
        (Some(own), Some(pg)) if own.major != pg => Err(Failure::new(format!(
            "--pg {pg} contradicts --pg-config {}, which is PostgreSQL {}",
            own.pg_config.display(),
            own.version
        ))),
        (Some(_), _) => Ok(Vec::new()),
        (None, Some(pg)) if !PROVIDED_VERSIONS.contains(&pg) => {
            Err(Failure::new(format!("the set-up provides PostgreSQL 15 and 18, not {pg}"))
                .remedy(format!("--pg-config /path/to/pg_config of a PostgreSQL {pg} with pgvector")))
        }
        (None, Some(pg)) => Ok(vec![pg]),
        (None, None) => Ok(defaults.to_vec()),
    }
}

/// Not every distribution has PostgreSQL 15. Asked for by name, its absence is
/// an error; otherwise the set-up says so and goes on without.
fn drop_unavailable(context: &mut Context, arguments: &Arguments) -> Result<(), Failure> {
    if !context.wants(15) || postgres15::Postgres15.check(context).is_ok() {
        return Ok(());
    }
    let Err(reason) = postgres15::require_available(context) else { return Ok(()) };
    if arguments.pg == Some(15) || context.versions.len() == 1 {
        return Err(reason);
    }
    println!("setup  postgresql 15    left out: {}", reason.message());
    context.versions.retain(|major| *major != 15);
    Ok(())
}

/// Checks, works if need be, and checks again.
///
/// # Errors
/// The work fails, or succeeds without leaving a good result.
pub fn carry_out(step: &dyn Step, context: &Context) -> Result<(), Failure> {
    let started = Instant::now();
    let name = step.name();
    let line = |what: &str| println!("setup  {name:<16} {what}");
    let timed = |what: String| format!("{what:<58} {:>6.1} s", started.elapsed().as_secs_f64());
    match step.check(context) {
        Ok(found) => line(&timed(format!("present: {found}"))),
        Err(missing) => {
            line(&format!("{} …", step.intention(&missing)));
            step.work(context)?;
            let found = step
                .check(context)
                .map_err(|still| Failure::new(format!("{name}: done, and still {still}")))?;
            line(&timed(format!("ready: {found}")));
        }
    }
    Ok(())
}

/// One set-up at a time; the lock ends with the returned file.
fn lock(paths: &Paths) -> Result<File, Failure> {
    let path = paths.setup().join("lock");
    let file = File::create(&path).map_err(Failure::io(path.display()))?;
    if file.try_lock().is_err() {
        println!("setup  waiting for another set-up to end ({}) …", path.display());
        file.lock().map_err(Failure::io(path.display()))?;
    }
    Ok(file)
}

fn is_root() -> Result<bool, Failure> {
    Ok(process::output(std::process::Command::new("id").arg("-u"))?.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Fake {
        present: Cell<bool>,
        worked: Cell<u32>,
        effective: bool,
    }

    impl Step for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }
        fn check(&self, _: &Context) -> Result<String, String> {
            if self.present.get() { Ok("a thing".into()) } else { Err("no thing".into()) }
        }
        fn intention(&self, _: &str) -> String {
            "getting it".into()
        }
        fn work(&self, _: &Context) -> Result<(), Failure> {
            self.worked.set(self.worked.get() + 1);
            self.present.set(self.effective);
            Ok(())
        }
    }

    fn fake(effective: bool) -> Fake {
        Fake { present: Cell::new(false), worked: Cell::new(0), effective }
    }

    fn context() -> Context {
        Context::new(Paths::at("/nonexistent", "/nonexistent/target"), false, vec![18])
    }

    #[test]
    fn a_second_run_does_no_work() {
        let step = fake(true);
        carry_out(&step, &context()).unwrap();
        carry_out(&step, &context()).unwrap();
        assert_eq!(step.worked.get(), 1);
    }

    #[test]
    fn work_without_a_result_is_a_failure() {
        let failure = carry_out(&fake(false), &context()).unwrap_err();
        assert!(failure.to_string().contains("still no thing"), "{failure}");
    }

    #[test]
    fn only_what_can_be_provided_is_promised() {
        let asked = |pg| Arguments { pg, ..Arguments::default() };
        assert_eq!(wanted(&asked(None), None, &[15, 18]).unwrap(), [15, 18]);
        assert_eq!(wanted(&asked(Some(15)), None, &[18]).unwrap(), [15]);
        assert!(wanted(&asked(Some(16)), None, &[18]).unwrap_err().to_string().contains("--pg-config"));
        let own = Postgres {
            pg_config: "/x/pg_config".into(),
            major: 16,
            version: "16.1".into(),
            bin: "/x".into(),
            modules: "/x".into(),
            extensions: "/x".into(),
            headers: "/x".into(),
        };
        assert!(wanted(&asked(Some(16)), Some(&own), &[18]).unwrap().is_empty());
        assert!(wanted(&asked(Some(15)), Some(&own), &[18]).is_err());
    }

    #[test]
    fn the_lock_keeps_a_second_run_out_until_the_first_ends() {
        let target = std::env::temp_dir().join(format!("xtask-lock-{}", std::process::id()));
        let paths = Paths::at(Path::new("/nonexistent"), &target);
        fs::create_dir_all(paths.setup()).unwrap();
        let first = lock(&paths).unwrap();
        let second = File::create(paths.setup().join("lock")).unwrap();
        assert!(second.try_lock().is_err());
        drop(first);
        assert!(second.try_lock().is_ok());
        fs::remove_dir_all(&target).unwrap();
    }
}
