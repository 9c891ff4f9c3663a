//! Whose rights count: for keys, for what is dropped, for functions that run with another's.

use autovector_cluster_tests::{Scene, Settings, Spec, Sql, scene};

const TEAM_KEY: &str = "team-scripted-51c0de";

/// A scene with a role `team` that owns `team.docs` (20 rows), and a session of it.
fn team() -> (Scene, postgres::Client) {
    let mut scene = Scene::with(Settings::default().env("TEAM_KEY", TEAM_KEY));
    scene.db.batch("create role team login; create schema team authorization team");
    let mut team = scene.cluster.connect_as("postgres", "team");
    team.batch(
        "create table team.docs (id int primary key, body text);
         insert into team.docs select i, 'row ' || i from generate_series(1, 20) i",
    );
    (scene, team)
}

fn with_key(scene: &Scene, key: &str) -> Spec {
    let url = scene.provider.openai_url();
    Spec::on("team.docs").name("team").embedding(&format!(
        "ai.embedding_openai('test-model', 8, base_url => '{url}', api_key_name => '{key}')"
    ))
}

/// The `Authorization` headers of all requests so far.
fn headers(scene: &Scene) -> Vec<Option<String>> {
    scene.provider.calls().into_iter().map(|call| call.authorization).collect()
}

/// Fear: who owns any table has the company's keys sent wherever he likes.
#[test]
fn a_key_is_used_for_those_alone_it_was_granted_to() {
    let (mut scene, mut team) = team();
    let statement = with_key(&scene, "TEAM_KEY").sql(&scene.provider);
    let refused = team.error_of(&statement);
    assert_eq!(refused.code().code(), "42501", "{refused:?}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("ai.grant_secret('TEAM_KEY'")), "{refused:?}");
    assert_eq!(team.error_of("select ai.grant_secret('TEAM_KEY', 'team')").code().code(), "42501");
    assert_eq!(scene.provider.call_count(), 0);

    scene.db.batch("select ai.grant_secret('TEAM_KEY', 'team')");
    assert_eq!(
        team.all::<String>("select name || ' ' || role from ai.secret_permissions", &[]),
        ["TEAM_KEY team"]
    );
    team.batch(&statement);
    scene::settle(&mut team, "team");
    assert!(headers(&scene).iter().all(|header| header.as_deref() == Some(&format!("Bearer {TEAM_KEY}"))));

    // Taken back, it counts from the next batch on, and blames no row.
    assert!(scene.db.one::<bool>("select ai.revoke_secret('TEAM_KEY', 'team')", &[]));
    let calls = scene.provider.call_count();
    team.batch("update team.docs set body = 'changed' where id = 1");
    scene.wait_for_status("team", "state || coalesce(state_reason, '')", |state| {
        state.starts_with("halted") && state.contains("TEAM_KEY")
    });
    assert_eq!(scene.provider.call_count(), calls);
    assert_eq!(scene.count("select rows_failed from ai.vectorizer_status"), 0);
    scene.db.batch("select ai.grant_secret('TEAM_KEY', 'public'); select ai.resume_vectorizer('team')");
    scene::settle(&mut team, "team");
    assert!(!scene.db.one::<bool>("select ai.revoke_secret('TEAM_KEY', 'team')", &[]), "nothing to revoke");
    scene.finish();
}

/// Fear: a server of one's own that needs no key is sent the key of another all the same.
#[test]
fn a_server_without_a_key_is_not_sent_one_that_was_not_granted() {
    let (mut scene, mut team) = team();
    team.batch(&Spec::on("team.docs").name("team").sql(&scene.provider));
    scene::settle(&mut team, "team");
    assert!(scene.provider.call_count() > 0);
    assert!(headers(&scene).iter().all(Option::is_none), "{:?}", headers(&scene));
    scene.db.batch("select ai.grant_secret('OPENAI_API_KEY', 'team')");
    scene.provider.forget_calls();
    team.batch("update team.docs set body = 'changed' where id = 1");
    scene::settle(&mut team, "team");
    assert!(headers(&scene).iter().all(Option::is_some), "{:?}", headers(&scene));
    scene.finish();
}

/// Fear: a key itself, a misspelt role, a NULL ends up in the catalog.
#[test]
fn grants_of_keys_are_checked() {
    let mut scene = Scene::new();
    for (call, code) in [
        ("ai.grant_secret('sk-live-1234', 'public')", "22023"),
        ("ai.grant_secret('', 'public')", "22023"),
        ("ai.grant_secret('A_KEY', 'nobody_here')", "42704"),
    ] {
        let error = scene.db.error_of(&format!("select {call}"));
        assert_eq!(error.code().code(), code, "{call}");
        assert!(error.hint().is_some() && !error.message().contains("sk-live"), "{error:?}");
    }
    scene.db.batch("select ai.grant_secret(null, 'public'), ai.revoke_secret('A_KEY', null)");
    assert_eq!(scene.count("select count(*) from ai.secret_permissions"), 0);
    scene.finish();
}

/// Fear: a dropped source leaves a vectorizer, a queue and errors behind, or cannot be dropped
/// by its owner.
#[test]
fn dropping_a_source_drops_its_vectorizer() {
    let (mut scene, mut team) = team();
    team.batch("create table team.parted (id int, body text, primary key (id)) partition by range (id)");
    team.batch("create table team.part partition of team.parted for values from (0) to (100)");
    team.batch("insert into team.parted values (1, 'one')");
    scene.table("others", 10);
    scene.vectorize(&Spec::on("others"));
    for (table, drop) in
        [("team.docs", "drop table team.docs cascade"), ("team.parted", "drop owned by team cascade")]
    {
        team.batch(&Spec::on(table).name("team").sql(&scene.provider));
        scene::settle(&mut team, "team");
        if table == "team.parted" {
            team.batch("drop table team.part");
            assert_eq!(
                scene.count("select count(*) from ai.vectorizer where name = 'team'"),
                1,
                "a part is no source"
            );
        }
        team.batch(drop);
        assert_eq!(scene.count("select count(*) from ai.vectorizer where name = 'team'"), 0, "{drop}");
        let left = "select count(*) from pg_class where relname like '%vectorizer_q%' and relkind = 'r'";
        assert_eq!(scene.count(left), 2, "{drop}: the queue and failed table of the others");
        if table == "team.docs" {
            assert_eq!(scene.count("select count(*) from team.docs_embedding_store"), 20, "vectors stay");
        }
    }
    // A drop that is rolled back has not happened.
    scene.db.batch("begin; drop table others cascade; rollback; insert into others values (11, 'later')");
    scene.settle("others");
    assert_eq!(scene.count("select count(*) from others_embedding_store"), 11);
    scene.finish();
}

/// Fear: a function that runs with its owner's rights looks things up in the caller's path, or
/// appears without anybody having thought about it.
#[test]
fn definer_functions_are_pinned_and_known() {
    let mut scene = Scene::new();
    let definers: Vec<String> = scene.db.all(
        "select proname::text from pg_proc where pronamespace = 'ai'::regnamespace and prosecdef order by 1",
        &[],
    );
    assert_eq!(definers, ["_source_dropped"]);
    let unpinned: Vec<String> = scene.db.all(
        "select p.oid::regprocedure::text from pg_proc p join pg_language l on l.oid = p.prolang
          where pronamespace = 'ai'::regnamespace and (prosecdef or l.lanname = 'plpgsql')
            and 'search_path=pg_catalog, pg_temp' <> all (coalesce(proconfig, '{}'))
            -- A procedure that ends transactions may set nothing: it qualifies every name instead.
            and (prokind <> 'p' or prosecdef)",
        &[],
    );
    assert_eq!(unpinned, Vec::<String>::new());
    scene.finish();
}

/// Fear: what an owner attaches to his tables runs in the worker with a superuser's rights, or
/// leaves something behind there.
#[test]
fn code_of_owners_runs_in_the_worker_with_their_rights_alone() {
    let (mut scene, mut team) = team();
    team.batch(
        "create table team.audit (who text, what text);
         create function team.spy() returns trigger language plpgsql as $$
         begin
             begin
                 alter role team superuser;
                 insert into team.audit values (current_user, 'became superuser');
             exception when insufficient_privilege then
                 insert into team.audit values (current_user, 'refused: role');
             end;
             begin
                 create temp table left_behind (x int);
                 insert into team.audit values (current_user, 'left something behind');
             exception when insufficient_privilege or object_not_in_prerequisite_state or invalid_table_definition
                             or feature_not_supported then
                 insert into team.audit values (current_user, 'refused: temporary table');
             end;
             return new;
         end $$",
    );
    team.batch(&Spec::on("team.docs").name("team").sql(&scene.provider));
    team.batch(
        "create trigger spy before insert on team.docs_embedding_store for each row execute function team.spy()",
    );
    scene::settle(&mut team, "team");
    team.batch("update team.docs set body = 'changed ' || id");
    scene::settle(&mut team, "team");
    let seen: Vec<String> = team.all("select distinct who || ' ' || what from team.audit order by 1", &[]);
    assert_eq!(seen, ["team refused: role", "team refused: temporary table"]);
    assert!(!scene.db.one::<bool>("select rolsuper from pg_roles where rolname = 'team'", &[]));
    scene.finish();
}

/// Fear: who may only write rows has operators of his own run with the rights of the table's
/// owner, because they come first in his search_path.
#[test]
fn operators_of_a_writer_are_not_used() {
    let (mut scene, mut team) = team();
    team.batch(&Spec::on("team.docs").name("team").sql(&scene.provider));
    scene::settle(&mut team, "team");
    scene.db.batch(
        "create role writer login; grant usage on schema team to writer;
         grant select, insert, update, delete on team.docs to writer;
         create schema evil authorization writer",
    );
    let mut writer = scene.cluster.connect_as("postgres", "writer");
    writer.batch(
        "create table evil.seen (who text); grant insert on evil.seen to public; grant usage on schema evil to public;
         create function evil.eq(a int, b int) returns bool language plpgsql as $$
             begin insert into evil.seen values (current_user); return a operator(pg_catalog.=) b; end $$;
         create operator evil.= (leftarg = int, rightarg = int, function = evil.eq);
         set search_path = evil, pg_catalog;
         delete from team.docs where id operator(pg_catalog.=) 3;
         delete from team.docs where id operator(pg_catalog.>) 10;
         update team.docs set id = id + 100 where id operator(pg_catalog.<) 3",
    );
    assert_eq!(writer.all::<String>("select distinct who from evil.seen", &[]), Vec::<String>::new());
    scene::settle(&mut team, "team");
    scene.finish();
}
