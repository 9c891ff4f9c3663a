//! The documentation tells the truth: every SQL block of README.md and docs/ runs and returns
//! what it says, what tables name exists and nothing is left out, and the tests that
//! ARCHITECTURE.md counts on are there.

mod docs_support;

use std::{collections::BTreeSet, fs};

use autovector_cluster_tests::{Provider, SECRET, Settings, Sql, check::check_secret, paths, sql};
use docs_support::names::{self, Named};
use docs_support::statements::{self, Statement};
use docs_support::{Document, Fault, Piece, rows_about};
use postgres::{Client, SimpleQueryMessage, error::ErrorPosition};

/// The addresses of providers that the documents use, without path.
const OPENAI_ADDRESS: &str = "http://127.0.0.1:8080";
const OLLAMA_ADDRESS: &str = "http://127.0.0.1:11434";

/// Dimensions of the Ollama model that the documents use: its requests do not name them.
const OLLAMA_DIMENSIONS: usize = 768;

/// The key that the documents use for a server of one's own.
const KEY: &str = "EMBEDDING_SERVER_KEY";

/// A file of the repository, by its path from the root.
fn read(name: &str) -> String {
    let path = paths::workspace().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md and the documents of docs/, by their paths from the root.
fn documents() -> Vec<String> {
    let entries = fs::read_dir(paths::workspace().join("docs")).expect("there is a directory docs");
    let names =
        entries.map(|entry| entry.expect("docs can be listed").file_name().to_string_lossy().into_owned());
    let mut documents: Vec<String> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    documents.sort();
    documents.insert(0, "README.md".to_owned());
    documents
}

/// Runs the SQL blocks of a document in order, each statement by itself as psql does it, up to
/// the first fault. Returns the number of statements.
fn run(db: &mut Client, markdown: &str) -> Result<usize, Fault> {
    let blocks = Document::read(markdown)?.sql;
    let statements: Vec<Vec<Statement>> = blocks.iter().map(statements::read).collect::<Result<_, _>>()?;
    let statements: Vec<Statement> = statements.into_iter().flatten().collect();
    for statement in &statements {
        let messages = db.simple_query(&statement.sql).map_err(|error| fault_of(statement, &error))?;
        let Some(promised) = &statement.promised else { continue };
        let returned: Vec<String> = messages.iter().filter_map(row_of).collect();
        if returned != *promised {
            let what = format!("promises {promised:?}, returns {returned:?}");
            return Err(Fault::new(statement.line, what));
        }
    }
    Ok(statements.len())
}

/// A row as the documents write it, NULL as nothing.
fn row_of(message: &SimpleQueryMessage) -> Option<String> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    let columns: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or_default()).collect();
    // Comments end without blanks too.
    Some(columns.join(" | ").trim_end().to_owned())
}

/// The error at the line that PostgreSQL points to, or at the beginning of the statement.
fn fault_of(statement: &Statement, error: &postgres::Error) -> Fault {
    let lines_before = match error.as_db_error().and_then(|db| db.position()) {
        Some(ErrorPosition::Original(position)) => {
            let before = statement.sql.chars().take((*position as usize).saturating_sub(1));
            before.filter(|c| *c == '\n').count()
        }
        _ => 0,
    };
    Fault::new(statement.line + lines_before, sql::describe(error))
}

/// Fear: the tour does not work, or shows what the program no longer answers.
#[test]
fn every_sql_block_runs_and_returns_what_it_says() {
    let provider = Provider::start();
    provider.set_dimensions(OLLAMA_DIMENSIONS);
    // Workers make room at once: each document has a database of its own.
    let backups = tempfile::tempdir().expect("a directory");
    let library = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(library.path().join("handbook")).expect("a directory");
    let page = "<!doctype html><p>High water comes twice a day.</p>";
    std::fs::write(library.path().join("handbook/tides.html"), page).expect("a file");
    let settings = Settings::default()
        .env(KEY, SECRET)
        .set("autovector.idle_timeout", "1s")
        .set("autovector.document_directory", &library.path().display().to_string())
        .set("autovector.backup_directory", &backups.path().display().to_string());
    let cluster = settings.start();
    let mut faults = Vec::new();
    for (number, name) in documents().iter().enumerate() {
        let mut db = cluster.create_database(&format!("docs_{number}"));
        // What never comes to an end is a fault too.
        db.batch("set client_min_messages = warning; set statement_timeout = '5min'");
        let markdown = read(name)
            .replace(OPENAI_ADDRESS, &provider.ollama_url())
            .replace(OLLAMA_ADDRESS, &provider.ollama_url());
        match run(&mut db, &markdown) {
            Ok(statements) => eprintln!("{name}: {statements} statements"),
            Err(fault) => faults.push(fault.in_document(name)),
        }
        if db.one("select to_regclass('ai.vectorizer') is not null", &[]) {
            check_secret(&cluster, &mut db);
        }
    }
    assert!(faults.is_empty(), "the documentation is wrong:\n{}", faults.join("\n"));
    // The examples for servers were really carried out, with the key that they name.
    let calls = provider.calls();
    let bearer = format!("Bearer {SECRET}");
    let has_key = calls.iter().any(|call| call.authorization.as_deref() == Some(bearer.as_str()));
    assert!(has_key, "no request carried the key");
    assert!(calls.iter().any(|call| call.path == "/api/embed"), "no request went to Ollama");
    cluster.assert_healthy();
}

/// Fear: the runner is content with anything.
#[test]
fn faults_are_found_where_they_are() {
    let cluster = Settings::default().without_preload().start();
    let mut db = cluster.connect("postgres");
    for (markdown, line, word) in [
        ("# A\n\n```sql\nSELECT 1;\nSELECT 2,\n       nowhere;\n```", 6, "nowhere"),
        ("```sql\nSELECT 1;\n\nSELECT 1 / 0;\n```", 4, "division"),
        ("```sql\nSELECT 1;\n-- → 2\n```", 2, "promises"),
        ("```sql\nSELECT 1 WHERE false;\n-- → 1\n```", 2, "promises"),
        ("```sql\nVALUES (1, NULL), (2, 'b');\n-- → 1 |\n```", 2, "promises"),
        ("```sql\nSELECT 1\n```", 2, "semicolon"),
        ("```sql no_run\nSELECT 1;\n```", 1, "marked"),
    ] {
        let fault = run(&mut db, markdown).expect_err(markdown);
        assert_eq!(fault.line, line, "{markdown}\n{}", fault.what);
        assert!(fault.what.contains(word), "{markdown}\n{}", fault.what);
    }
    let sound = "```sql\nBEGIN;\nVALUES (1, 'a;b'), (2, 'c');\n-- → 1 | a;b\n-- → 2 | c\nCOMMIT;\n```";
    assert_eq!(run(&mut db, sound), Ok(3));
}

/// What the catalog has of ours for everybody to use.
fn in_catalog(db: &mut Client) -> BTreeSet<Named> {
    let functions = db
        .query(
            "select proname::text, coalesce(proargnames[1:pronargs], '{}') from pg_proc
              where pronamespace = 'ai'::regnamespace and proname !~ '^_'",
            &[],
        )
        .expect("the catalog can be read");
    let relations = db.all::<String>(
        "select relname::text from pg_class
          where relnamespace = 'ai'::regnamespace and relkind in ('r', 'v', 'm', 'p') and relname !~ '^_'",
        &[],
    );
    let settings = db.all::<String>("select name from pg_settings where name ~ '^autovector[.]'", &[]);
    let functions = functions.iter().map(|row| Named::Function(row.get(0), row.get(1)));
    let others = relations.into_iter().map(Named::Relation).chain(settings.into_iter().map(Named::Setting));
    functions.chain(others).collect()
}

/// Everything that tables of the documents name, with its first place.
fn in_tables() -> Vec<(Named, String)> {
    let mut found = Vec::new();
    for name in documents() {
        let document =
            Document::read(&read(&name)).unwrap_or_else(|fault| panic!("{}", fault.in_document(&name)));
        for Piece { line, text } in document.in_tables {
            found.extend(names::in_sql(&text).map(|named| (named, format!("{name}:{line}"))));
        }
    }
    found
}

/// A function that is named without its arguments: `ai.name` instead of `ai.name(…)`.
fn is_mentioned(named: &Named, catalog: &BTreeSet<Named>) -> bool {
    let Named::Relation(name) = named else { return false };
    catalog.iter().any(|known| matches!(known, Named::Function(function, _) if function == name))
}

/// Fear: the documentation names what does not exist, in another spelling, or keeps silent
/// about what does.
#[test]
fn tables_name_what_exists_and_leave_nothing_out() {
    let cluster = Settings::default().start();
    let mut db = cluster.connect("postgres");
    db.batch("set client_min_messages = warning; create extension autovector cascade");
    let catalog = in_catalog(&mut db);
    let named = in_tables();
    let unknown: Vec<String> = named
        .iter()
        .filter(|(named, _)| !catalog.contains(named) && !is_mentioned(named, &catalog))
        .map(|(named, place)| format!("{place}: {named:?} does not exist"))
        .collect();
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    // Overloads, by name and by id, may share a line.
    let name_of = |named: &Named| match named {
        Named::Function(name, _) | Named::Relation(name) | Named::Setting(name) => name.clone(),
    };
    let told: BTreeSet<String> = named.iter().map(|(named, _)| name_of(named)).collect();
    let silent: Vec<String> = catalog.iter().map(name_of).filter(|name| !told.contains(name)).collect();
    assert!(silent.is_empty(), "no table of README.md or docs/ names {silent:?}");
}

/// `10s` in milliseconds, as PostgreSQL reads units of time, and `64MB` in the setting's own unit of
/// memory; a number without unit as it is.
fn number(text: &str, unit: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[digits..] {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        memory => kilobytes(memory)? / kilobytes(unit)?,
    };
    Some(text[..digits].parse::<i64>().ok()? * factor)
}

fn kilobytes(unit: &str) -> Option<i64> {
    let power = ["kB", "MB", "GB", "TB"].iter().position(|known| *known == unit)?;
    Some(1024_i64.pow(power as u32))
}

/// Fear: docs/settings.md says another default or another bound than the program has.
#[test]
fn settings_have_the_defaults_and_bounds_that_are_written() {
    let cluster = Settings::default().start();
    let mut db = cluster.connect("postgres");
    let rows = rows_about(&read("docs/settings.md"), |cell| cell.starts_with("autovector."));
    assert!(!rows.is_empty(), "there is a table");
    for (line, cells) in rows {
        let [name, default, from, to, _] = cells.as_slice() else {
            panic!("docs/settings.md:{line}: not five cells: {cells:?}")
        };
        let actual = db
            .query_one(
                "select coalesce(boot_val, ''), coalesce(min_val, ''), coalesce(max_val, ''), context,
                        coalesce(unit, '')
                   from pg_settings where name = $1",
                &[name],
            )
            .unwrap_or_else(|error| panic!("docs/settings.md:{line}: {}", sql::describe(&error)));
        let actual_unit: &str = actual.get(4);
        for (written, column) in [(default, 0_usize), (from, 1), (to, 2)] {
            let actual: &str = actual.get(column);
            let same = match actual {
                "" => written.is_empty() || written == "empty",
                expected => number(written, actual_unit) == expected.parse().ok(),
            };
            assert!(same, "docs/settings.md:{line}: {name} has {actual:?}, not {written:?}");
        }
        assert_eq!(actual.get::<_, &str>(3), "sighup", "{name}: all can be reloaded, says the text");
    }
}

/// The tests that `name` names, all of which exist; also the files, where `files` says so.
fn tests_named_in(name: &str, files: bool) -> usize {
    let text = read(name);
    let document = Document::read(&text).unwrap_or_else(|fault| panic!("{}", fault.in_document(name)));
    let mut tests = 0;
    for Piece { line, text } in document.spans {
        let place = format!("{name}:{line}");
        if let Some((path, name)) = names::test(&text) {
            let found = read(path).contains(&format!("fn {name}("));
            assert!(found, "{place}: {path} has no test {name}");
            tests += 1;
        } else if files
            && text.contains('/')
            && [".rs", ".sql", ".md", "/"].iter().any(|end| text.ends_with(end))
        {
            assert!(paths::workspace().join(&text).exists(), "{place}: there is no {text}");
        }
    }
    tests
}

/// Fear: ARCHITECTURE.md counts on a test that was renamed, or leads to a file that is gone.
#[test]
fn architecture_names_tests_and_files_that_exist() {
    let tests = tests_named_in("ARCHITECTURE.md", true);
    assert!(tests >= 9, "each of the nine invariants names a test, found {tests}");
}

/// Fear: a fault is said to be tested, and is not any more.
#[test]
fn the_table_of_faults_names_tests_that_exist() {
    let (faults, tests) = (
        read("docs/faults.md").lines().filter(|line| line.contains(".rs::")).count(),
        tests_named_in("docs/faults.md", false),
    );
    assert!(faults >= 28 && tests >= 2 * faults, "{faults} faults, {tests} tests");
}

/// Fear: a defect of pgai is said to be mended here, and nobody looks.
#[test]
fn the_table_of_pgai_s_defects_is_whole_and_names_tests_that_exist() {
    let text = read("docs/pgai.md");
    for number in 1..=26 {
        let row = text.lines().find(|line| line.starts_with(&format!("| D{number}: ")));
        assert!(row.is_some_and(|row| row.contains(".rs::")), "docs/pgai.md: D{number} has no test");
    }
    assert!(tests_named_in("docs/pgai.md", false) >= 26);
}
