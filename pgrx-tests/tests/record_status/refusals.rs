//! Wrong arguments: a SQLSTATE, a message that names what is wrong, a hint, and nothing half made.

use autovector_cluster_tests::Sql;

use crate::stage::Stage;

fn leftovers(stage: &mut Stage) -> Vec<String> {
    stage.db.all(
        "select 'relation ' || oid::regclass::text from pg_class where relnamespace in ('public'::regnamespace, 'ai'::regnamespace)
         union all select 'trigger ' || tgname || tgrelid::text from pg_trigger
         union all select 'column ' || attrelid::regclass::text || attname from pg_attribute a join pg_class c on c.oid = attrelid
            where c.relnamespace = 'public'::regnamespace
         union all select 'rule ' || id || min_submitted from ai._record_status_rule
         order by 1",
        &[],
    )
}

/// Runs `sql`, which must fail with this SQLSTATE, a message with all `words`, and a hint.
fn refused(stage: &mut Stage, sql: &str, sqlstate: &str, words: &[&str]) {
    let before = leftovers(stage);
    let error = stage.db.error_of(sql);
    let shown = format!("{} {} HINT: {}", error.code().code(), error.message(), error.hint().unwrap_or("-"));
    eprintln!("{shown}");
    assert_eq!(error.code().code(), sqlstate, "{shown}\n{sql}");
    for word in words {
        assert!(error.message().contains(word), "no {word:?} in: {shown}");
    }
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no hint: {shown}\n{sql}");
    assert_eq!(leftovers(stage), before, "something is left behind by {sql}");
}

fn stage() -> Stage {
    let mut stage = Stage::bare();
    stage.db.batch(&crate::stage::schema(3));
    stage
}

fn track(arguments: &str) -> String {
    format!("select ai.track_record_status({arguments})")
}

/// Fear: a table that cannot be kept in step is accepted.
#[test]
fn tables_must_be_tables_with_a_key_between_them() {
    let mut stage = stage();
    stage.db.batch(
        "create view a_view as select * from records; create temp table temporary (record_id int, status text);
         create table keyless (id bigint); create table wide (a int, b int, primary key (a, b));
         create table loose (record_id bigint, status text); create table texts (record_id text, status text);
         create table twice (record_id int, a int, b int, c int, status text, foreign key (record_id, b) references wide, foreign key (record_id, c) references wide);
         create table parts (record_id bigint, status text) partition by list (status); create table part partition of parts default",
    );
    for (arguments, sqlstate, words) in [
        ("'a_view', 'responses'", "0A000", &["a_view", "not a table"][..]),
        ("'records', 'a_view'", "0A000", &["a_view", "not a table"]),
        ("'records', 'temporary'", "0A000", &["temporary"]),
        ("'records', 'part'", "0A000", &["part", "partition"]),
        ("'records', 'records', 'id'", "22023", &["same table"]),
        ("'keyless', 'loose'", "22023", &["keyless", "primary key"]),
        ("'wide', 'loose'", "22023", &["wide", "foreign key"]),
        ("'wide', 'twice'", "22023", &["2 foreign keys"]),
        ("'records', 'texts'", "22023", &["record_id", "text", "bigint"]),
        ("null, 'responses'", "22023", &["records", "null"]),
        ("'records', null", "22023", &["responses", "null"]),
        ("999999::regclass, 'responses'", "42704", &["records"]),
    ] {
        refused(&mut stage, &track(arguments), sqlstate, words);
    }
    let missing = stage.db.error_of(&track("'nowhere', 'responses'"));
    assert_eq!(missing.code().code(), "42P01", "{missing:?}");
    stage.cluster.assert_healthy();
}

/// Fear: a column that is missing or of a wrong type is found by the first INSERT of a user.
#[test]
fn columns_must_exist_and_hold_the_values() {
    let mut stage = stage();
    stage.db.batch(
        "create type few as enum ('pending', 'done'); create type kinds as enum ('draft', 'sent');
         alter table records add column few few, add column number int, add column short varchar(8),
           add column made text generated always as (body) stored;
         alter table responses add column kind kinds, add column place point",
    );
    for (arguments, sqlstate, words) in [
        ("record_key => 'record'", "42703", &["record", "responses"][..]),
        ("record_key => null", "22023", &["record_key", "null"]),
        ("response_status_column => 'state'", "42703", &["state", "responses"]),
        ("response_status_column => 'kind'", "22023", &["kind", "submitted", "draft, sent"]),
        ("response_status_column => 'place'", "22023", &["place", "point"]),
        ("status_column => 'few'", "22023", &["few", "completed", "pending, done"]),
        ("status_column => 'number'", "22023", &["number", "integer"]),
        ("status_column => 'short'", "22023", &["short", "completed", "8"]),
        ("status_column => 'made'", "22023", &["made", "generated"]),
        ("status_column => 'id'", "22023", &["id", "key"]),
        ("status_column => 'fresh', status_type => 'few'", "22023", &["fresh", "completed"]),
        ("status_column => 'fresh', status_type => 'int'", "22023", &["fresh", "integer"]),
        ("min_submitted => 0", "22023", &["min_submitted", "0"]),
        ("min_submitted => -1", "22023", &["min_submitted", "-1"]),
        ("min_submitted => null", "22023", &["min_submitted", "null"]),
        ("mode => 'later'", "22023", &["later"]),
        ("pending_value => 'completed'", "22023", &["completed_value"]),
        ("notify_channel => ''", "22023", &["notify_channel"]),
    ] {
        refused(&mut stage, &track(&format!("'records', 'responses', {arguments}")), sqlstate, words);
    }
    stage.cluster.assert_healthy();
}

/// Fear: a second rule for the same records fights with the first, or strangers make rules.
#[test]
fn one_rule_for_each_table_of_records_by_its_owner() {
    let mut stage = stage();
    refused(&mut stage, "select ai.untrack_record_status('records')", "42704", &["records", "not tracked"]);
    refused(&mut stage, "select ai.set_min_submitted('records', 2)", "42704", &["records"]);
    refused(&mut stage, "select ai.recompute_record_status('records')", "42704", &["records"]);
    refused(&mut stage, "select * from ai.record_progress('records')", "42704", &["records"]);
    stage.db.batch("create role stranger; create role owner; grant create on schema public to owner; alter table records owner to owner");
    refused(&mut stage, &track("'records', 'responses'"), "42501", &["owner", "responses"]);
    stage.db.batch("alter table responses owner to owner; set role stranger");
    refused(&mut stage, &track("'records', 'responses'"), "42501", &["owner of table", "records"]);
    stage.db.batch("reset role; set role owner");
    stage.track("");
    refused(&mut stage, &track("'records', 'responses'"), "42710", &["records", "tracked"]);
    refused(&mut stage, "select ai.set_min_submitted('records', 0)", "22023", &["min_submitted"]);
    stage.db.batch("reset role");
    stage.finish(1);
}

/// Fear: an expression that is none is found by the first INSERT of a user.
#[test]
fn expressions_are_checked_when_the_rule_is_made() {
    let mut stage = stage();
    for (expression, sqlstate) in [
        ("no_such_column", "42703"),
        ("max(nothing)", "42703"),
        ("status", "42803"),
        ("no_such_function(1)", "42883"),
        ("case when", "42601"),
        ("1) from users; drop table users; select (1", "42601"),
        ("'completed' from responses", "42601"),
        ("min(status) || 1/0", "22012"),
    ] {
        let before = leftovers(&mut stage);
        let error = stage
            .db
            .error_of(&track(&format!("'records', 'responses', status_expression => $${expression}$$")));
        assert_eq!(error.code().code(), sqlstate, "{expression}: {}", error.message());
        assert_eq!(leftovers(&mut stage), before, "something is left behind by {expression}");
    }
    stage.track("status_expression => $$case when count(*) > 1 then 'completed' else 'pending' end$$");
    refused(&mut stage, "select ai.set_min_submitted('records', 2)", "55000", &["status_expression"]);
    stage.cluster.assert_healthy();
}
