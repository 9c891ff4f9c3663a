//! `cargo demo`: the extension at work on this machine, in one minute.
//!
//! A private cluster below `target/demo`, with the server, the extension and
//! the model of the set-up. Speaks to it through `psql` and the scripts in
//! `xtask/demo`, which are there to be read and typed. A second run uses what
//! is there, unless the extension has changed since.

mod packages;

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::cluster::Cluster;
use crate::extension::{self, Profile};
use crate::failure::Failure;
use crate::paths::Paths;
use crate::postgres::Postgres;
use crate::process;
use crate::setup::{self, Toolbox};
use crate::wait::wait_until;

const DATABASE: &str = "demo";

/// With no progress for so long, something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

const QUESTIONS: &[&str] =
    &["round a number down", "how long to wait for a lock", "which sessions are connected right now"];

/// How many rows are done, and the line to show.
const PROGRESS: &str = "select done, concat_ws('  ', progress, percent || ' %', done || ' of ' || total || ' rows', \
     rows_per_second || ' rows/s', 'ETA ' || eta) from ai.vectorizer_progress where name = 'demo_docs'";

/// Waits inside the server, so that nothing here has to guess how long.
const FINISHED: &str = "select ai.wait_for_vectorizer('demo_docs', interval '500 milliseconds')";

/// `cargo demo`.
///
/// # Errors
/// Anything that does not work as the demo says.
pub fn command(arguments: Arguments) -> Result<(), Failure> {
    if arguments.stop {
        return stop(&arguments);
    }
    let toolbox = setup::run(&arguments, &[18])?;
    let server = toolbox.servers.first().ok_or_else(|| Failure::new("no PostgreSQL to start"))?;
    let home = toolbox.paths.demo();
    fs::create_dir_all(&home).map_err(Failure::io(home.display()))?;
    let demo = Demo { paths: &toolbox.paths, cluster: Cluster::new(server, &home)?, home };
    demo.serve(&toolbox, server)?;
    demo.fill()?;
    demo.watch()?;
    demo.ask()?;
    demo.follow()?;
    demo.pause_and_resume()?;
    demo.farewell(&arguments);
    Ok(())
}

/// Ends the demo's cluster, whichever version it is of.
fn stop(arguments: &Arguments) -> Result<(), Failure> {
    let paths = Paths::discover();
    let provided: Vec<u16> = arguments.pg.map_or_else(|| vec![18, 15], |pg| vec![pg]);
    let pg_configs: Vec<PathBuf> = match &arguments.pg_config {
        Some(own) => vec![own.clone()],
        None => provided.into_iter().map(|major| paths.pg_config(major)).collect(),
    };
    let mut stopped = 0;
    for pg_config in pg_configs.iter().filter(|path| path.is_file()) {
        let server = Postgres::inspect(pg_config)?;
        let cluster = Cluster::new(&server, &paths.demo())?;
        if cluster.is_running() {
            cluster.stop()?;
            println!("demo   PostgreSQL {} stopped", server.version);
            stopped += 1;
        }
    }
    if stopped == 0 {
        println!("demo   no cluster was running");
    }
    Ok(())
}

struct Demo<'a> {
    paths: &'a Paths,
    cluster: Cluster<'a>,
    home: PathBuf,
}

impl Demo<'_> {
    /// Installs the extension and sees to it that a server with it is running.
    fn serve(&self, toolbox: &Toolbox, server: &Postgres) -> Result<(), Failure> {
        say("building the extension (minutes the first time) …");
        let started = Instant::now();
        process::logged(
            &mut toolbox.install_command(server, Profile::Demo, &[]),
            &self.paths.log("demo extension"),
        )?;
        say(&format!("extension installed                {:.1} s", started.elapsed().as_secs_f64()));

        let installed = extension::fingerprint(server)?;
        let stamp = self.home.join(format!("extension-{}", server.major));
        let known = fs::read_to_string(&stamp).is_ok_and(|known| known == installed);
        let fresh = !(known && self.cluster.exists());
        if fresh {
            say("making a new cluster");
            self.cluster.create()?;
        }
        if fresh || !self.cluster.is_running() {
            let settings = [
                ("shared_preload_libraries", "autovector".to_owned()),
                ("autovector.local_model_directory", self.paths.models().display().to_string()),
                ("cluster_name", "autovector demo".to_owned()),
            ];
            self.cluster.start(&settings)?;
        }
        if fresh {
            process::output(
                self.cluster.psql("postgres").args(["-c", &format!("create database {DATABASE}")]),
            )?;
            fs::write(&stamp, installed).map_err(Failure::io(stamp.display()))?;
        }
        say(&format!("PostgreSQL {} is running, log in {}", server.version, self.cluster.log().display()));
        Ok(())
    }

    /// The table and its vectorizer, unless they are there.
    fn fill(&self) -> Result<(), Failure> {
        let present = "select to_regclass('demo_docs') is not null";
        if self.value(present)? != "t" {
            let table = self.home.join("packages.tsv");
            fs::write(&table, packages::table()).map_err(Failure::io(table.display()))?;
            self.script("documents.sql", &[], true)?;
        }
        say(&format!("table demo_docs: {} rows", self.value("select count(*) from demo_docs")?));
        let standing = "select exists (select from ai.vectorizer where name = 'demo_docs')";
        if self.value(standing)? != "t" {
            self.script("vectorizer.sql", &[], false)?;
        }
        Ok(())
    }

    /// Shows the progress until everything is embedded.
    fn watch(&self) -> Result<(), Failure> {
        let terminal = std::io::stdout().is_terminal();
        let started = Instant::now();
        let mut best = String::new();
        let mut moved = Instant::now();
        let mut shown = String::new();
        // The pause is in the server; this limit is never the one that counts.
        let done = wait_until(Duration::MAX, Duration::ZERO, || {
            let finished = self.value(FINISHED)? == "t";
            let answer = self.value(PROGRESS)?;
            let (rows, line) = answer.split_once('|').unwrap_or(("", &answer));
            if rows != best {
                best = rows.to_owned();
                moved = Instant::now();
            }
            if line != shown {
                redraw(line, terminal)?;
                shown = line.to_owned();
            }
            if !finished && moved.elapsed() > PATIENCE {
                return Err(self.stuck());
            }
            Ok(finished.then_some(()))
        })?;
        if terminal {
            println!();
        }
        done.ok_or_else(|| self.stuck())?;
        say(&format!("everything is embedded, waited {:.1} s", started.elapsed().as_secs_f64()));
        Ok(())
    }

    fn stuck(&self) -> Failure {
        let findings = self.value(
            "select string_agg(concat_ws(' ', severity, subject, finding, fix), E'\\n') from ai.doctor()",
        );
        Failure::new(format!(
            "no progress for {} s\n{}",
            PATIENCE.as_secs(),
            findings.unwrap_or_else(|failure| failure.to_string())
        ))
        .remedy(format!("see {}", self.cluster.log().display()))
    }

    fn ask(&self) -> Result<(), Failure> {
        for question in QUESTIONS {
            println!("\n  select * from ai.search('demo_docs', '{question}', 3);");
            let variable = format!("question={question}");
            self.script("question.sql", &["-P", "footer=off", "-v", &variable], false)?;
        }
        Ok(())
    }

    /// A row goes in and is found.
    fn follow(&self) -> Result<(), Failure> {
        println!("\n  insert into demo_docs …;  -- and at once:");
        self.script("live.sql", &["-q", "-P", "footer=off"], false)?;
        let question = "where can I get a cup of coffee";
        println!("  select * from ai.search('demo_docs', '{question}', 3);");
        let variable = format!("question={question}");
        self.script("question.sql", &["-P", "footer=off", "-v", &variable], false)?;
        let found = format!(
            "select d.kind from ai.search('demo_docs', '{question}', 1) s \
             join demo_docs d on d.id = (s.key ->> 'id')::bigint"
        );
        match self.value(&found)?.as_str() {
            "note" => Ok(()),
            other => {
                Err(Failure::new(format!("the new row was not found first, but a row of kind \"{other}\"")))
            }
        }
    }

    fn pause_and_resume(&self) -> Result<(), Failure> {
        println!("\n  select ai.pause_vectorizer('demo_docs', 'demo');  update …;");
        let outcome = self.script("pause.sql", &["-q"], false);
        if outcome.is_ok() {
            println!("  select ai.resume_vectorizer('demo_docs');  select * from ai.vectorizer_status;");
        }
        // Resumed in any case: a later run must not find it paused.
        self.script("resume.sql", &["-q"], false).and(outcome)
    }

    fn farewell(&self, arguments: &Arguments) {
        let mut stop = String::from("cargo demo --stop");
        if let Some(own) = &arguments.pg_config {
            stop += &format!(" --pg-config {}", own.display());
        }
        println!(
            "\nThe cluster goes on running. Connect:\n  {}\n\nTry:\n  \
             select * from ai.search('demo_docs', 'your question', 5);\n  \
             select * from ai.vectorizer_progress \\watch 1\n  \
             select * from ai.doctor();\n\
             \nStop it:\n  {stop}",
            self.cluster.connection_line(DATABASE)
        );
    }

    /// One value or line, unaligned with `|` between columns.
    fn value(&self, query: &str) -> Result<String, Failure> {
        let answer = process::output(self.cluster.psql(DATABASE).args(["-At", "-c", query]))?;
        Ok(answer.trim_end().to_owned())
    }

    /// Runs one of the scripts; its output is shown unless `quiet`.
    fn script(&self, name: &str, options: &[&str], quiet: bool) -> Result<(), Failure> {
        let path = self.paths.root().join("xtask/demo").join(name);
        let mut psql: Command = self.cluster.psql(DATABASE);
        psql.args(options).arg("-f").arg(&path).current_dir(&self.home);
        let output = process::output(&mut psql)?;
        if !quiet {
            for line in output.lines() {
                println!("  {line}");
            }
        }
        Ok(())
    }
}

fn say(what: &str) {
    println!("demo   {what}");
}

/// Shows a line in place of the one before, or below it where nobody can see
/// it change.
fn redraw(line: &str, terminal: bool) -> Result<(), Failure> {
    if !terminal {
        println!("demo   {line}");
        return Ok(());
    }
    let mut out = std::io::stdout();
    write!(out, "\r\x1b[2Kdemo   {line}").and_then(|()| out.flush()).map_err(Failure::io("terminal"))
}
