//! Handing a vectorizer on: to use, to operate, to administer.

use autovector_cluster_tests::{Check, Scene, Spec, Sql, scene::settle};
use postgres::Client;

/// A scene with `team.docs` of role `team`, vectorized and quiet, and sessions of other roles.
fn scene(roles: &[&str]) -> (Scene, Vec<Client>) {
    let mut scene = Scene::new();
    scene.db.batch("create role team login; create schema team authorization team");
    for role in roles {
        scene.db.batch(&format!("create role {role} login"));
    }
    let mut team = scene.cluster.connect_as("postgres", "team");
    team.batch(
        "create table team.docs (id int primary key, body text, note text);
         insert into team.docs select i, 'row ' || i from generate_series(1, 5) i",
    );
    team.batch(&Spec::on("team.docs").name("docs").sql(&scene.provider));
    settle(&mut team, "docs");
    let mut sessions = vec![team];
    sessions.extend(roles.iter().map(|role| scene.cluster.connect_as("postgres", role)));
    (scene, sessions)
}

const USE: [&str; 3] = [
    "select * from ai.search('docs', 'row 1', 1)",
    "select ai.vectorizer_embed('docs', 'x')",
    "select * from team.docs_embedding",
];
const OPERATE: [&str; 5] = [
    "select ai.pause_vectorizer('docs')",
    "select ai.resume_vectorizer('docs')",
    "select ai.retry_failed('docs')",
    "select ai.disable_vectorizer_schedule('docs')",
    "select ai.enable_vectorizer_schedule(1)",
];
const ADMIN: [&str; 5] = [
    "select ai.set_priority('docs', 5)",
    "select ai.set_scheduling('docs')",
    "select ai.set_budget('docs', 1000000)",
    "select ai.alter_vectorizer('docs', processing => ai.processing_default(10, 1))",
    "select ai.grant_vectorizer('docs', 'friend')",
];

fn may(db: &mut Client, calls: &[&str]) {
    calls.iter().for_each(|call| db.batch(call));
}

fn may_not(db: &mut Client, calls: &[&str]) {
    for call in calls {
        let error = db.error_of(call);
        assert_eq!(error.code().code(), "42501", "{call}: {error:?}");
    }
}

/// Fear: who may use may operate, who may operate may administer, or who was given a level cannot do
/// what it says.
#[test]
fn each_level_has_what_it_says_and_no_more() {
    let (mut scene, mut sessions) = scene(&["searcher", "operator", "boss", "stranger", "friend"]);
    let [team, searcher, operator, boss, stranger, _] = sessions.as_mut_slice() else { unreachable!() };
    may_not(stranger, &["select ai.grant_vectorizer('docs', 'stranger', 'admin')"]);
    team.batch(
        "select ai.grant_vectorizer('docs', 'searcher'), ai.grant_vectorizer(1, 'operator', 'operate'),
                       ai.grant_vectorizer('docs', 'boss', 'admin')",
    );
    for (session, levels) in [(&mut *searcher, 1), (operator, 2), (boss, 3), (stranger, 0)] {
        for (number, calls) in [&USE[..], &OPERATE[..], &ADMIN[..]].into_iter().enumerate() {
            if number < levels { may(session, calls) } else { may_not(session, calls) }
        }
    }
    let told: Vec<String> = team.all("select role || ' ' || level from ai.vectorizer_grants order by 1", &[]);
    assert_eq!(told, ["boss admin", "friend use", "operator operate", "searcher use"]);
    let own: Vec<String> = sessions[1].all("select role::text from ai.vectorizer_grants", &[]);
    assert_eq!(own, ["searcher"], "what concerns others is not shown");
    // Everything: another model in a store of its own, made with the owner's rights, and the end.
    let url = scene.provider.openai_url();
    let boss = &mut sessions[3];
    boss.batch(&format!(
        "select ai.alter_vectorizer('docs', embedding => ai.embedding_openai('new', 16, base_url => '{url}'))"
    ));
    boss.batch("call ai.wait_for_rebuild('docs', '60s')");
    let owner =
        "select relowner::regrole::text from pg_class where oid = 'team.docs_embedding_store'::regclass";
    assert_eq!(scene.db.one::<String>(owner, &[]), "team");
    may(&mut sessions[2], &OPERATE);
    may(&mut sessions[1], &USE);
    Check::new("docs").run(&mut scene.db);
    sessions[3].batch("select ai.drop_previous_store('docs'); select ai.drop_vectorizer('docs')");
    assert_eq!(scene.count("select count(*) from ai.vectorizer"), 0);
    assert_eq!(scene.count("select count(*) from ai._vectorizer_grant"), 0);
    scene.finish();
}

/// Fear: what was taken back still holds; a role that is dropped leaves its rights to the next of its
/// name; a dump forgets them.
#[test]
fn grants_end_with_their_role_and_survive_a_dump() {
    let (mut scene, mut sessions) = scene(&["leaver", "stayer"]);
    let team = &mut sessions[0];
    team.batch("select ai.grant_vectorizer('docs', 'leaver', 'operate'), ai.grant_vectorizer('docs', 'stayer', 'operate')");
    assert!(team.one::<bool>("select ai.revoke_vectorizer('docs', 'leaver')", &[]));
    assert!(!team.one::<bool>("select ai.revoke_vectorizer(1, 'leaver')", &[]));
    may_not(&mut sessions[1], &OPERATE);
    may_not(&mut sessions[1], &USE);

    sessions[0].batch("select ai.grant_vectorizer('docs', 'leaver', 'operate')");
    may(&mut sessions[1], &OPERATE);
    drop(sessions.remove(1));
    assert_eq!(scene.db.error_of("drop role leaver").code().code(), "2BP01", "the grants are seen");
    scene.db.batch("drop owned by leaver; drop role leaver; create role leaver login");
    let mut next = scene.cluster.connect_as("postgres", "leaver");
    may_not(&mut next, &OPERATE);
    scene.db.batch("grant select on team.docs_embedding_store to stayer");
    let told = "select role::text from ai.vectorizer_grants";
    assert_eq!(scene.db.all::<String>(told, &[]), ["stayer"]);

    let file = scene.cluster.directory().join("dump").display().to_string();
    scene.cluster.run_client("pg_dump", &["-Fc", "-f", &file, "postgres"]);
    drop(scene.cluster.create_database("restored"));
    scene.cluster.run_client("pg_restore", &["--exit-on-error", "-d", "restored", &file]);
    may(&mut scene.cluster.connect_as("restored", "stayer"), &OPERATE);
    may_not(&mut scene.cluster.connect_as("restored", "leaver"), &OPERATE);

    for (call, code) in [
        ("ai.grant_vectorizer('docs', 'nobody_here')", "42704"),
        ("ai.grant_vectorizer('docs', 'stayer', 'own')", "22023"),
        ("ai.grant_vectorizer('doc', 'stayer')", "42704"),
        ("ai.grant_vectorizer_usage('nobody_here')", "42704"),
    ] {
        let error = scene.db.error_of(&format!("select {call}"));
        assert_eq!(error.code().code(), code, "{call}");
        assert!(error.hint().is_some(), "{call}");
    }
    // pgai's way, and for everybody.
    scene.db.batch("select ai.grant_vectorizer_usage('leaver', admin => true)");
    may(&mut next, &["select ai.set_priority('docs', 6)"]);
    scene.db.batch(
        "select ai.revoke_vectorizer('docs', 'leaver'), ai.grant_vectorizer('docs', 'public', 'operate')",
    );
    may(&mut next, &OPERATE);
    may_not(&mut next, &ADMIN[..1]);
    scene.finish();
}
