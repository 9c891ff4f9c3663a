//! Tables of every shape: composite and unusual keys, hostile names, enums, partitions, renamed
//! and dropped tables, policies and rights.

use autovector_cluster_tests::Sql;

use crate::stage::{Stage, assert_exact};

/// Status of every record, as `key=status` in order of the key.
fn states(stage: &mut Stage, table: &str, key: &str) -> Vec<String> {
    stage.db.all(&format!("select {key}::text || '=' || status from {table} order by 1"), &[])
}

/// Fear: only a bigint called id can be a key.
#[test]
fn keys_of_every_type_work() {
    let mut stage = Stage::bare();
    stage.db.batch("create type colour as enum ('red', 'green', 'blue'); create domain short as text check (length(value) < 10)");
    for (number, (key, values)) in [
        ("uuid", ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"]),
        ("text", ["it's", "a \\ b \" c"]),
        ("varchar(20)", ["a", "b"]),
        ("numeric", ["1.0", "2.50"]),
        ("timestamptz", ["2026-01-01", "2026-01-02"]),
        ("date", ["2026-01-01", "2026-01-02"]),
        ("colour", ["green", "red"]),
        ("short", ["x", "y"]),
        ("int[]", ["{1,2}", "{3}"]),
        ("int4range", ["[1,3)", "[5,9)"]),
        ("bytea", ["\\x00ff", "\\x01"]),
        ("float8", ["0.1", "1e300"]),
    ]
    .into_iter()
    .enumerate()
    {
        eprintln!("{key}");
        let (records, responses) = (format!("rec{number}"), format!("resp{number}"));
        stage.db.batch(&format!(
            "create table {records} (id {key} primary key, body text);
             create table {responses} (record_id {key} references {records}, status text);
             create index on {responses} (record_id)"
        ));
        for value in values {
            stage.db.batch(&format!("insert into {records} values ('{}')", value.replace('\'', "''")));
        }
        stage.db.batch(&format!("select ai.track_record_status('{records}', '{responses}')"));
        stage.db.batch(&format!(
            "insert into {responses} values ('{}', 'submitted')",
            values[1].replace('\'', "''")
        ));
        let first: String = stage.db.one(
            &format!("select status from {records} where id = '{}'::{key}", values[0].replace('\'', "''")),
            &[],
        );
        let second: String = stage.db.one(
            &format!("select status from {records} where id = '{}'::{key}", values[1].replace('\'', "''")),
            &[],
        );
        assert_eq!((first.as_str(), second.as_str()), ("pending", "completed"), "{key}");
        let wrong: i64 = stage.db.one(&format!("select ai.recompute_record_status('{records}')"), &[]);
        assert_eq!(wrong, 0, "{key}");
    }
    stage.cluster.assert_healthy();
}

/// Fear: a key of several columns is joined by one of them, or a name in quotes breaks the SQL.
#[test]
fn composite_keys_and_hostile_names_work() {
    let mut stage = Stage::bare();
    stage.db.batch(
        r#"create schema "Mein ""Schema";
           create table "Mein ""Schema"."Re'cords; drop" ("Tenant" int, "select" text, "The Status" text, primary key ("Tenant", "select"));
           create table "Mein ""Schema"."res ponses" (n int, "ref""b" text, "Ref A" int, "done?" text,
             foreign key ("Ref A", "ref""b") references "Mein ""Schema"."Re'cords; drop" ("Tenant", "select") on delete cascade);
           insert into "Mein ""Schema"."Re'cords; drop" select t, k from generate_series(1, 2) t, unnest(array['a', 'b']) k;"#,
    );
    let _rule: i32 = stage.db.one(
        r#"select ai.track_record_status('"Mein ""Schema"."Re''cords; drop"', '"Mein ""Schema"."res ponses"',
             record_key => 'Ref A', status_column => 'The Status', response_status_column => 'done?',
             submitted_value => 'it''s', completed_value => 'do"ne', pending_value => 'o\pen')"#,
        &[],
    );
    stage.db.batch(r#"insert into "Mein ""Schema"."res ponses" values (1, 'a', 1, 'it''s'), (2, 'b', 2, 'its'), (3, null, 2, 'it''s')"#);
    let states = |stage: &mut Stage| -> Vec<String> {
        stage.db.all(
            r#"select "Tenant" || "select" || '=' || "The Status" from "Mein ""Schema"."Re'cords; drop" order by 1"#,
            &[],
        )
    };
    assert_eq!(states(&mut stage), [r#"1a=do"ne"#, r"1b=o\pen", r"2a=o\pen", r"2b=o\pen"]);
    stage.db.batch(r#"update "Mein ""Schema"."res ponses" set "done?" = 'it''s' where n = 2; delete from "Mein ""Schema"."res ponses" where n = 1"#);
    assert_eq!(states(&mut stage), [r"1a=o\pen", r"1b=o\pen", r"2a=o\pen", r#"2b=do"ne"#]);
    let wrong: i64 =
        stage.db.one(r#"select ai.recompute_record_status('"Mein ""Schema"."Re''cords; drop"')"#, &[]);
    assert_eq!(wrong, 0);
    stage.cluster.assert_healthy();
}

/// Fear: an enum cannot be the status, an index on it is lost, or a column that is added has
/// neither type nor default.
#[test]
fn status_columns_are_used_or_added() {
    let mut stage = Stage::bare();
    stage.db.batch(
        "create type record_status as enum ('pending', 'completed');
         create type response_status as enum ('draft', 'submitted', 'discarded');
         create table records (id int primary key, status record_status not null default 'pending');
         create index records_status on records (status);
         create table more (id int primary key);
         create table responses (id int, record_id int references records, more_id int references more, status response_status);
         create index on responses (record_id); create index on responses (more_id);
         insert into records values (1), (2); insert into more values (1), (2)",
    );
    stage.track("");
    let _rule: i32 = stage.db.one(
        "select ai.track_record_status('more', 'responses', record_key => 'more_id', status_type => 'record_status')",
        &[],
    );
    stage.db.batch("insert into responses values (1, 1, 2, 'submitted'), (2, 2, 1, 'draft')");
    assert_eq!(states(&mut stage, "records", "id"), ["1=completed", "2=pending"]);
    assert_eq!(states(&mut stage, "more", "id"), ["1=pending", "2=completed"]);
    stage.db.batch("insert into more values (3)");
    let added: String = stage.db.one(
        "select format_type(atttypid, atttypmod) || ' ' || attnotnull from pg_attribute where attrelid = 'more'::regclass and attname = 'status'",
        &[],
    );
    assert_eq!(added, "record_status true");
    assert!(stage.db.one::<bool>("select to_regclass('records_status') is not null", &[]));
    assert_exact(&mut stage.db, 1);
    stage.finish(1);
}

/// Fear: a statement that names a partition passes by the triggers of the parent, or one that
/// names the parent counts twice.
#[test]
fn partitioned_tables_work_however_they_are_written() {
    let mut stage = Stage::bare();
    stage.db.batch(
        "create table records (id int, region text, status text default 'pending', primary key (id, region)) partition by list (region);
         create table records_eu partition of records for values in ('eu');
         create table records_us partition of records for values in ('us');
         create table responses (user_id int, status text, record_id int, region text,
           foreign key (record_id, region) references records on delete cascade) partition by range (user_id);
         create table dropped (gone int, region text, record_id int, status text, user_id int);
         alter table dropped drop column gone;
         alter table responses attach partition dropped for values from (0) to (10);
         create table responses_b partition of responses for values from (10) to (100) partition by range (user_id);
         create table responses_b1 partition of responses_b for values from (10) to (20);
         create index on responses (record_id, region);
         insert into records select i, r from generate_series(1, 5) i, unnest(array['eu', 'us']) r",
    );
    stage.track("min_submitted => 2");
    let completed = |stage: &mut Stage| -> Vec<String> {
        stage.db.all("select id || region from records where status = 'completed' order by 1", &[])
    };
    stage.db.batch("insert into responses (user_id, record_id, region, status) values (1, 1, 'eu', 'submitted'), (11, 1, 'eu', 'submitted')");
    assert_eq!(completed(&mut stage), ["1eu"], "through the parent");
    stage.db.batch(
        "insert into dropped (user_id, record_id, region, status) values (2, 2, 'us', 'submitted');
         insert into responses_b1 (user_id, record_id, region, status) values (12, 2, 'us', 'submitted')",
    );
    assert_eq!(completed(&mut stage), ["1eu", "2us"], "through partitions");
    stage.db.batch("update responses set user_id = 13 where user_id = 2");
    assert_eq!(completed(&mut stage), ["1eu", "2us"], "a response goes to another partition");
    stage.db.batch("update dropped set record_id = 2, region = 'us'");
    assert_eq!(completed(&mut stage), ["2us"]);
    // Partitions that come later are covered when they come, by CREATE or by ATTACH.
    stage.db.batch(
        "create table responses_b2 partition of responses_b for values from (20) to (30);
         create table late (like responses); alter table responses attach partition late for values from (100) to (200);
         insert into responses_b2 (user_id, record_id, region, status) values (20, 3, 'eu', 'submitted');
         insert into late (user_id, record_id, region, status) values (100, 3, 'eu', 'submitted')",
    );
    assert_eq!(completed(&mut stage), ["2us", "3eu"]);
    stage.db.batch("truncate late");
    assert_eq!(completed(&mut stage), ["2us"], "one partition is emptied");
    // One that comes with responses, or goes with them.
    stage.db.batch(
        "create table full_one (like responses);
         insert into full_one (user_id, record_id, region, status) values (201, 4, 'eu', 'submitted'), (202, 4, 'eu', 'submitted');
         alter table responses attach partition full_one for values from (200) to (300)",
    );
    assert_eq!(completed(&mut stage), ["2us", "4eu"]);
    stage.db.batch("alter table responses detach partition full_one; insert into full_one (user_id, record_id, region, status) values (203, 5, 'us', 'submitted')");
    assert_eq!(completed(&mut stage), ["2us"], "what was detached counts no longer");
    stage.db.batch("drop table responses_b1");
    assert_eq!(completed(&mut stage), Vec::<String>::new(), "a dropped partition takes its responses along");
    stage.db.batch("truncate responses");
    assert_eq!(stage.db.one::<i64>("select ai.recompute_record_status('records')", &[]), 0);
    stage.cluster.assert_healthy();
}

/// Fear: a renamed table or column breaks every INSERT, a dropped one leaves a rule behind.
#[test]
fn rules_follow_renamed_tables_and_go_with_dropped_ones() {
    let mut stage = Stage::tracked(5, "");
    stage.respond(1, &[1], "submitted");
    stage.db.batch(
        "alter table records rename to items; alter table responses rename to answers;
         alter table items rename column id to item_id; alter table items rename column status to state;
         alter table answers rename column record_id to item; alter table answers rename column status to kind;
         create schema elsewhere; alter table answers set schema elsewhere;
         insert into elsewhere.answers (item, user_id, kind) values (2, 1, 'submitted')",
    );
    let completed: Vec<i64> =
        stage.db.all("select item_id from items where state = 'completed' order by 1", &[]);
    assert_eq!(completed, [1, 2]);
    let shown: String = stage.db.one(
        "select concat_ws(' ', records, responses, record_key, status_column, response_status_column) from ai.record_status_rules",
        &[],
    );
    assert_eq!(shown, "items elsewhere.answers {item} state kind");
    assert_eq!(stage.db.one::<i64>("select ai.recompute_record_status('items')", &[]), 0);
    stage.db.batch("drop table elsewhere.answers");
    assert_eq!(stage.db.one::<i64>("select count(*) from ai._record_status_rule", &[]), 0);
    stage.db.batch(
        "create table responses (record_id bigint references items, status text);
         select ai.track_record_status('items', 'responses', status_column => 'state', mode => 'deferred');
         alter table items drop column state cascade; insert into responses values (1, 'submitted')",
    );
    assert_eq!(stage.db.one::<i64>("select count(*) from ai._record_status_rule", &[]), 0);
    let queues: i64 =
        stage.db.one("select count(*) from pg_class where relname like '\\_record\\_status\\_q\\_%'", &[]);
    assert_eq!(queues, 0);
    stage.db.batch("drop table items cascade; insert into responses values (1, 'submitted')");
    stage.cluster.assert_healthy();
}

/// Fear: who may respond must be allowed to change records, policies hide responses from the
/// count, or the rule lends its rights to everybody.
#[test]
fn rights_and_policies_neither_hinder_nor_leak() {
    let mut stage = Stage::bare();
    stage.db.batch(
        "create role owner; create role annotator login; grant all on schema public to owner; set role owner",
    );
    stage.db.batch(&crate::stage::schema(6));
    stage.track("min_submitted => 2");
    stage.db.batch(
        "grant select, insert, update, delete on responses to annotator;
         alter table responses enable row level security; alter table responses force row level security;
         alter table records enable row level security; alter table records force row level security;
         create policy own on responses to annotator using (user_id = 7) with check (user_id = 7);
         reset role",
    );
    stage.respond(1, &[1, 2], "submitted");
    let mut annotator = stage.cluster.connect_as("postgres", "annotator");
    annotator.batch(
        "insert into responses (record_id, user_id, status) values (1, 7, 'submitted'), (3, 7, 'submitted')",
    );
    assert_eq!(annotator.one::<i64>("select count(*) from responses", &[]), 2, "the policy hides the others");
    assert_eq!(stage.completed(), [1], "but the rule counts them");
    annotator.batch("delete from responses where record_id = 1");
    assert_eq!(stage.completed(), Vec::<i64>::new());
    for refused in [
        "update records set status = 'completed'",
        "select ai.recompute_record_status('records')",
        "select ai.set_min_submitted('records', 1)",
        "select ai.untrack_record_status('records')",
        "select * from ai.record_progress('records')",
        "insert into ai._record_status_rule default values",
        "delete from ai._record_status_rule",
    ] {
        assert_eq!(annotator.error_of(refused).code().code(), "42501", "{refused}");
    }
    // Operators of one's own do not run with the owner's rights.
    stage.db.batch("grant create on schema public to annotator; create table public.proof (who text); grant insert on proof to owner, annotator");
    annotator.batch(
        "create function public.spy(bigint, bigint) returns bool language plpgsql as
           $$ begin insert into proof values (current_user); return $1 operator(pg_catalog.=) $2; end $$;
         create operator public.= (leftarg = bigint, rightarg = bigint, function = public.spy);
         set search_path = public, pg_catalog;
         insert into responses (record_id, user_id, status) values (2, 7, 'submitted');
         reset search_path; drop operator public.= (bigint, bigint)",
    );
    let spies: Vec<String> = stage.db.all("select distinct who from proof where who = 'owner'", &[]);
    assert_eq!(spies, Vec::<String>::new());
    assert_eq!(stage.completed(), [2]);
    // A trigger of one's own on a table of one's own leads nowhere.
    stage.db.batch("create schema annotator authorization annotator");
    annotator.batch(
        "create table annotator.fake (record_id bigint, status text);
         create trigger fake after insert on annotator.fake referencing new table as autovector_new for each statement
           execute function ai._record_status_changed('1');
         insert into annotator.fake values (5, 'submitted'), (5, 'submitted')",
    );
    assert_eq!(stage.completed(), [2]);
    stage.finish(2);
}

/// Fear: a dump loses the rule, or counts by columns that have other numbers after the restore.
#[test]
fn a_dump_keeps_the_rule() {
    let mut stage = Stage::bare();
    stage.db.batch(&crate::stage::schema(5));
    stage.db.batch(
        "alter table responses add column gone int; alter table responses drop column gone;
         alter table responses drop column answers; alter table responses drop column status; alter table responses add column status text;
         alter table records drop column body; alter table records rename column status to old; alter table records add column status text",
    );
    stage.track("min_submitted => 2, mode => 'deferred'");
    stage.db.batch("create table more (id int primary key, status text); create table opinions (record_id int references more, gone int, yes bool);
        alter table opinions drop column gone;
        select ai.track_record_status('more', 'opinions', status_expression => $$case when bool_and(yes) then 'completed' else 'pending' end$$)");
    stage.respond(1, &[1, 2], "submitted");
    let file = stage.cluster.directory().join("dump").display().to_string();
    for (program, arguments) in [
        ("pg_dump", vec!["-Fc", "-f", &file, "postgres"]),
        ("createdb", vec!["restored"]),
        ("pg_restore", vec!["--exit-on-error", "-d", "restored", &file]),
    ] {
        let output = std::process::Command::new(autovector_cluster_tests::paths::program(program))
            .args(["-h", &stage.cluster.directory().display().to_string(), "-U", "postgres"])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut restored = stage.cluster.connect("restored");
    restored.batch(
        "insert into responses (record_id, user_id, status) values (2, 2, 'submitted'), (3, 2, 'draft');
         insert into more values (1), (2); insert into opinions values (1, true), (2, false)",
    );
    autovector_cluster_tests::wait_until("the notes are applied", std::time::Duration::from_secs(60), || {
        restored.one("select status = 'completed' from records where id = 2", &[])
    });
    assert_exact(&mut restored, 2);
    let more: Vec<String> = restored.all("select id || status from more order by 1", &[]);
    assert_eq!(more, ["1completed", "2pending"]);
    restored.batch("create table third (id int primary key); create table voices (record_id int primary key references third, status text)");
    let id: i32 = restored.one("select ai.track_record_status('third', 'voices')", &[]);
    assert!(id > 2, "ids go on where they stood: {id}");
    stage.cluster.assert_healthy();
}
