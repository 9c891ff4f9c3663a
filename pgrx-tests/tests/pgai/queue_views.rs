//! `queue_schema` and `queue_table`: the queue under the names that its users chose.

use autovector_cluster_tests::{Scene, Settings, Spec, Sql, scene::settle};
use postgres::Client;

use super::old::{self, Old};

const QUEUE: &str = "id,part,queued_at,loading_retries,loading_retry_after";
const FAILED: &str = "id,part,created_at,failure_step";

fn columns(db: &mut Client, view: &str) -> String {
    db.one(
        "select string_agg(attname, ',' order by attnum) from pg_attribute
          where attrelid = $1::text::regclass and attnum > 0",
        &[&view],
    )
}

/// The views of queues: owner and name, in order.
fn views(db: &mut Client) -> Vec<String> {
    db.all(
        "select distinct relowner::regrole || ' ' || w.ev_class::regclass from pg_depend d
           join pg_rewrite w on w.oid = d.objid join pg_class c on c.oid = w.ev_class
          where d.classid = 'pg_rewrite'::regclass and d.refobjid in (select oid from pg_class where relname ~ '^_vectorizer_q_' and relkind = 'r')
          order by 1",
        &[],
    )
}

/// `team.NAME` of three rows, with a queue that is shown as `schema`.`view`.
fn made(team: &mut Client, scene: &Scene, name: &str, schema: &str, view: &str) {
    team.batch(&format!(
        "create table team.{name} (id int, part text, body text, primary key (id, part));
         insert into team.{name} select i, 'p', 'row ' || i from generate_series(1, 3) i"
    ));
    let spec = Spec::on(&format!("team.{name}")).name(name);
    let spec = spec.with("queue_schema", schema).with("queue_table", view);
    team.batch(&spec.with("grant_to", "ai.grant_to('reader')").sql(&scene.provider));
    settle(team, name);
    team.batch(&format!(
        "select ai.pause_vectorizer('{name}'); update team.{name} set body = 'new' where id = 2"
    ));
}

/// Fear: dashboards and scripts that read the queue under its name find nothing, or what another may
/// not see; the view stays with the former owner, or stays behind; a changed view hands out rights.
#[test]
fn the_chosen_name_shows_the_queue_and_goes_where_it_goes() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create role team login; create role heir login; create role reader login; create role other login;
         create schema team authorization team; create schema \"O'Hara\"\"s; --\" authorization team;
         create schema heir authorization heir; grant all on schema team to heir;
         grant usage on schema heir to team",
    );
    let mut team = scene.cluster.connect_as("postgres", "team");
    let (schema, view) = ("'O''Hara\"s; --'", "\"O'Hara\"\"s; --\".\"Q \"\"1\"\"; --\"");
    made(&mut team, &scene, "docs", schema, "'Q \"1\"; --'");
    let failed: String =
        team.one("select '\"O''Hara\"\"s; --\".' || queue_failed_table from ai.vectorizer", &[]);
    assert_eq!(columns(&mut team, view), QUEUE);
    assert_eq!(columns(&mut team, &failed), FAILED);
    let true_name =
        "select queue_schema || '.' || queue_table = 'ai._vectorizer_q_' || id from ai.vectorizer";
    assert!(team.one::<bool>(true_name, &[]), "the catalog names the queue itself");
    let pending = format!("select string_agg(id || part, ' ') from {view}");
    let mut reader = scene.cluster.connect_as("postgres", "reader");
    assert_eq!([team.one::<String>(&pending, &[]), reader.one(&pending, &[])], ["2p", "2p"]);
    assert_eq!(reader.error_of(&format!("delete from {view}")).code().code(), "42501");
    let mut other = scene.cluster.connect_as("postgres", "other");
    assert_eq!(other.error_of(&pending).code().code(), "42501");

    // To another owner: the view goes along, unless somebody has made another of it, which would read
    // with the new owner's rights what the old one wants to see.
    made(&mut team, &scene, "more", "'team'", "'q'");
    scene.db.batch("create table heir.secret (n int); alter table heir.secret owner to heir");
    let queue: String = team.one("select queue_table::text from ai.vectorizer where name = 'more'", &[]);
    team.batch(&format!(
        "create or replace view team.q as select id, part, queued_at, loading_retries, loading_retry_after from ai.{queue}
         union all select n, null, null, null, null from heir.secret"
    ));
    scene.db.batch("alter table team.docs owner to heir; alter table team.more owner to heir");
    let owners = views(&mut scene.db);
    assert_eq!(owners.len(), 4, "{owners:?}");
    let stayed: Vec<&String> = owners.iter().filter(|line| !line.starts_with("heir ")).collect();
    assert_eq!(stayed, ["team team.q"]);
    assert_eq!(team.error_of("select * from team.q").code().code(), "42501");
    assert_eq!(reader.one::<String>(&pending, &[]), "2p", "grants stay");
    scene.db.batch("select ai.resume_vectorizer('docs')");
    scene.settle("docs");
    assert_eq!(scene.count(&format!("select count(*) from {view}")), 0);

    // With its vectorizer and with its source, whatever was done to it.
    scene.db.batch("select ai.drop_vectorizer('more'); drop table team.more cascade");
    assert_eq!(views(&mut scene.db).len(), 2);
    scene.db.batch(&format!(
        "alter view {view} rename to renamed; alter view \"O'Hara\"\"s; --\".renamed set schema team"
    ));
    scene.db.batch(&format!("drop view {failed}; drop table team.docs cascade"));
    assert_eq!(scene.count("select count(*) from pg_class where relname = 'renamed'"), 0);
    assert_eq!(views(&mut scene.db), Vec::<String>::new());
    made(&mut team, &scene, "third", "'team'", "'q'");
    team.batch("drop view team.q; select ai.drop_vectorizer('third')");
    assert_eq!(scene.count("select count(*) from pg_class where relname ~ '^_vectorizer_q'"), 0);
    scene.finish();
}

/// Fear: a name in use, a schema that is not for the caller or not there ends in half a vectorizer, an
/// error without a way out, or an object where the extension keeps its own.
#[test]
fn names_that_cannot_be_are_refused_and_leave_nothing() {
    let mut scene = Scene::new();
    scene.table("docs", 2);
    scene.db.batch(
        "create role team login; create schema team authorization team; create schema closed; create temp table t ()",
    );
    let mut team = scene.cluster.connect_as("postgres", "team");
    team.batch("create table team.docs (id int primary key, body text)");
    let temporary: String =
        scene.db.one("select nspname::text from pg_namespace where oid = pg_my_temp_schema()", &[]);
    let temporary = format!("'{temporary}'");
    for (by_team, schema, table, code, hint) in [
        (true, None, Some("'q'"), "42501", "queue_schema"),
        (true, Some("'closed'"), Some("'q'"), "42501", "queue_schema"),
        (true, Some("'nowhere'"), None, "42704", "queue_schema"),
        (true, Some("'team'"), Some("'docs'"), "42710", "queue_table"),
        (true, Some("'team'"), Some("''"), "22023", "Leave it out"),
        (false, None, Some("'vectorizer'"), "42710", "queue_table"),
        (false, None, Some("'_vectorizer_q_99'"), "22023", "queue_table"),
        (false, Some(temporary.as_str()), Some("'q'"), "0A000", "queue_schema"),
    ] {
        let mut spec = Spec::on(if by_team { "team.docs" } else { "docs" }).name("docs");
        for (argument, value) in [("queue_schema", schema), ("queue_table", table)] {
            if let Some(value) = value {
                spec = spec.with(argument, value);
            }
        }
        let db = if by_team { &mut team } else { &mut scene.db };
        let error = db.error_of(&spec.sql(&scene.provider));
        assert_eq!(error.code().code(), code, "{schema:?} {table:?}: {error:?}");
        assert!(error.hint().is_some_and(|said| said.contains(hint)), "{error:?}");
    }
    let left = "select count(*) from pg_class where relname ~ '^(_vectorizer_q_|docs_embedding)'";
    assert_eq!(scene.count(left), 0);

    // pgai's defaults, said by name: the queue itself.
    let default = Spec::on("docs").with("queue_schema", "'ai'");
    scene.vectorize(&default);
    assert_eq!(views(&mut scene.db), Vec::<String>::new());
    // Who may create in schema ai finds the name there; with the schema alone, the name is the queue's own.
    scene.table("named", 2);
    scene.vectorize(&Spec::on("named").with("queue_table", "'named_queue'"));
    scene.table("placed", 2);
    let id = scene.vectorize(&Spec::on("placed").with("queue_schema", "'closed'"));
    let me: String = scene.db.one("select current_user::text", &[]);
    let mut expected = [
        format!("{me} ai.named_queue"),
        format!("{me} closed._vectorizer_q_{id}"),
        format!("{me} closed._vectorizer_q_failed_{id}"),
    ];
    expected.sort();
    assert_eq!(views(&mut scene.db), expected);
    for name in ["docs", "named", "placed"] {
        scene.settle(name);
    }
    scene.finish();
}

/// Fear: after a rebuild the name shows the queue of the old store, and keeps that from going; a dump
/// loses the view or forgets whose it is; what is left of a dropped extension is in the way.
#[test]
fn rebuilds_dumps_and_left_overs() {
    let mut scene = Scene::with(Settings::default().set("autovector.naptime", "200ms"));
    scene.table("docs", 5);
    scene.db.batch("create schema shown");
    let id = scene.vectorize(&Spec::on("docs").with("queue_schema", "'shown'").with("queue_table", "'q'"));
    scene.settle("docs");
    let shows = |db: &mut Client, key: i64| {
        settle(db, "docs");
        db.batch(&format!(
            "select ai.pause_vectorizer('docs'); update docs set body = body || '+' where id = {key}"
        ));
        assert_eq!(db.all::<i64>("select id::int8 from shown.q", &[]), [key]);
        db.batch("select ai.resume_vectorizer('docs')");
        settle(db, "docs");
        // The queue of a store that is kept from before would still have it.
        assert_eq!(db.all::<i64>("select id::int8 from shown.q", &[]), Vec::<i64>::new());
    };
    shows(&mut scene.db, 1);
    let model = format!("ai.embedding_openai('new', 16, base_url => '{}')", scene.provider.openai_url());
    scene.db.batch(&format!("select ai.alter_vectorizer('docs', embedding => {model})"));
    scene.db.batch("call ai.wait_for_rebuild('docs', '60s')");
    shows(&mut scene.db, 2);
    scene.db.batch("select ai.rollback_rebuild('docs')");
    shows(&mut scene.db, 3);
    scene.db.batch("select ai.drop_previous_store('docs')");
    shows(&mut scene.db, 4);
    let of = format!("ai._vectorizer_q_{id}");
    let read: String = scene.db.one("select pg_get_viewdef('shown.q'::regclass)", &[]);
    assert!(read.contains(&of), "{read}");

    let file = scene.cluster.directory().join("dump").display().to_string();
    scene.cluster.run_client("pg_dump", &["-Fc", "-f", &file, "postgres"]);
    drop(scene.cluster.create_database("restored"));
    scene.cluster.run_client("pg_restore", &["--exit-on-error", "-d", "restored", &file]);
    let mut restored = scene.cluster.connect("restored");
    shows(&mut restored, 5);
    restored.batch("select ai.drop_vectorizer('docs')");
    assert_eq!(views(&mut restored), Vec::<String>::new());
    drop(restored);

    scene.db.batch("drop extension autovector cascade; drop table docs_embedding_store cascade");
    assert_eq!(views(&mut scene.db).len(), 2, "the queues belong to the owner of the source");
    scene.db.batch("create extension autovector");
    let again = Spec::on("docs").with("queue_schema", "'shown'").with("queue_table", "'q'");
    assert_eq!(scene.vectorize(&again), id);
    scene.settle("docs");
    shows(&mut scene.db, 1);
    scene.finish();
}

/// Fear: a database of pgai loses the names under which its queues are read, or its old tables keep them.
#[test]
fn an_import_keeps_the_names_of_queues() {
    let scene = Scene::new();
    let mut db = old::database(&scene, "old");
    for (id, name) in [(3, "blog"), (4, "notes"), (5, "taken")] {
        db.batch(&format!(
            "create table {name} (id bigint primary key, title text, contents text);
             insert into {name} values (1, 't', 'one'), (2, 't', 'two')"
        ));
        let store: &'static str = name;
        Old::new(id, store, store, old::config(&scene, old::to_table(&format!("{name}_shown"))))
            .make(&mut db);
    }
    // 3 in a schema of its own, 4 under another name beside pgai's tables, 5 where the name cannot stay.
    db.batch(
        "create schema work;
         alter table ai._vectorizer_q_3 rename to blog_queue; alter table ai.blog_queue set schema work;
         alter table ai._vectorizer_q_failed_3 set schema work;
         update ai.vectorizer set queue_schema = 'work', queue_table = 'blog_queue' where id = 3;
         insert into work.blog_queue (id) values (1), (2);
         alter table ai._vectorizer_q_4 rename to notes_queue;
         update ai.vectorizer set queue_table = 'notes_queue' where id = 4;
         alter table ai._vectorizer_q_5 rename to _mine;
         update ai.vectorizer set queue_table = '_mine' where id = 5;
         alter schema ai rename to pgai_old; create extension autovector",
    );
    let import = |dry_run: bool| {
        format!(
            "select action || ' ' || object || ' | ' || detail from ai.import_pgai('pgai_old', dry_run => {dry_run})"
        )
    };
    let planned: Vec<String> = db.all(&import(true), &[]);
    assert_eq!(db.all::<String>(&import(false), &[]), planned);
    for expected in [
        "create view work.blog_queue | of the queue; the table goes into pgai's schema",
        "create view work._vectorizer_q_failed_3 | of the queue; the table goes into pgai's schema",
        "create view ai.notes_queue | of the queue",
        "note no view ai._mine of the queue | the name is for tables of vectorizers",
    ] {
        assert!(planned.iter().any(|line| line == expected), "no {expected:?} in {planned:#?}");
    }
    for name in ["blog", "notes", "taken"] {
        settle(&mut db, name);
    }
    assert_eq!(db.one::<i64>("select count(*) from blog_shown", &[]), 2, "what was queued is embedded");
    db.batch("drop schema pgai_old cascade");
    for (name, view) in [("blog", "work.blog_queue"), ("notes", "ai.notes_queue")] {
        db.batch(&format!(
            "select ai.pause_vectorizer('{name}'); update {name} set contents = 'new' where id = 2"
        ));
        assert_eq!(db.all::<i64>(&format!("select id from {view}"), &[]), [2]);
    }
    scene.finish();
}
