//! Checkpoints that cannot be: a SQLSTATE, a message that names what is wrong, a hint that says what
//! to type, and nothing half done.

use autovector_cluster_tests::{Scene, Spec, Sql};

fn leftovers(scene: &mut Scene) -> Vec<String> {
    scene.db.all(
        "select 'relation ' || oid::regclass::text from pg_class where relnamespace in ('public'::regnamespace, 'ai'::regnamespace)
         union all select 'trigger ' || tgname || tgrelid::text from pg_trigger
         union all select 'checkpoint ' || id from ai._checkpoint
         union all select 'version ' || history || '/' || number from ai._checkpoint_version
         union all select 'policy ' || target from ai._checkpoint_policy
         order by 1",
        &[],
    )
}

/// Runs `select * from <call>`, which must fail with this SQLSTATE, a message with `word`, and a hint.
fn refused(scene: &mut Scene, call: &str, sqlstate: &str, word: &str) {
    let before = leftovers(scene);
    let sql = format!("select * from {call}");
    let error = scene.db.error_of(&sql);
    let shown = format!("{} {} HINT: {}", error.code().code(), error.message(), error.hint().unwrap_or("-"));
    eprintln!("{shown}");
    assert_eq!(error.code().code(), sqlstate, "{shown}\n{sql}");
    assert!(error.message().contains(word), "no {word:?} in: {shown}");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no hint: {shown}\n{sql}");
    assert_eq!(leftovers(scene), before, "something is left behind by {sql}");
}

/// One cluster for all refusals: they leave nothing behind, which is what is tested.
#[test]
fn what_cannot_be_is_refused() {
    let mut scene = Scene::new();
    scene.table("docs", 3);
    scene.db.batch("select ai.create_checkpoint('public.docs', 'nightly')");
    tables_that_cannot_have_checkpoints_are_refused(&mut scene);
    unknown_checkpoints_are_refused_with_the_nearest_name(&mut scene);
    wrong_arguments_are_refused(&mut scene);
    what_does_not_fit_is_refused(&mut scene);
    scene.finish();
}

/// Fear: a table that cannot be followed is accepted.
fn tables_that_cannot_have_checkpoints_are_refused(scene: &mut Scene) {
    scene.db.batch(
        "create table keyless (id int unique); create table deferred (id int primary key deferrable);
         create view a_view as select * from docs; create materialized view seen as select * from docs;
         create table parts (id int primary key) partition by range (id);
         create table part partition of parts for values from (0) to (10);
         create unlogged table unlogged (id int primary key); create temp table fleeting (id int primary key);
         create sequence numbers; create foreign data wrapper nobody; create server nowhere foreign data wrapper nobody;
         create foreign table far (id int) server nowhere",
    );
    for (target, code, word) in [
        ("public.keyless", "22023", "primary key"),
        ("public.deferred", "22023", "primary key"),
        ("public.a_view", "0A000", "a_view"),
        ("public.seen", "0A000", "seen"),
        ("public.parts", "0A000", "partitioned"),
        ("public.far", "0A000", "foreign"),
        ("public.unlogged", "0A000", "unlogged"),
        ("fleeting", "0A000", "temporary"),
        ("public.numbers", "0A000", "numbers"),
        ("pg_catalog.pg_class", "0A000", "pg_class"),
        ("ai.vectorizer", "0A000", "vectorizer"),
        ("ai._checkpoint_history_1", "0A000", "_checkpoint_history_1"),
    ] {
        refused(scene, &format!("ai.create_checkpoint('{target}')"), code, word);
        let set = format!("ai.create_checkpoint_set(array['public.docs', '{target}'])");
        refused(scene, &set, code, word);
    }
    refused(scene, "ai.set_checkpoint_policy('public.keyless', every => '1 day')", "22023", "primary key");
    scene.db.batch("select ai.create_checkpoint('part')");
    scene.db.batch("insert into parts values (1); truncate parts");
    assert_eq!(scene.count("select count(*) from ai.list_checkpoints('part')"), 1);
}

/// Fear: a typing error pins the wrong table, or something without a name.
fn wrong_arguments_are_refused(scene: &mut Scene) {
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    refused(scene, "ai.create_checkpoint('dosc')", "42704", "dosc");
    refused(scene, "ai.create_checkpoint('public.nothing')", "42704", "nothing");
    refused(scene, "ai.create_checkpoint(null)", "22023", "null");
    refused(scene, "ai.create_checkpoint(null::int4)", "22023", "null");
    for call in [
        "create_checkpoint(4711)",
        "list_checkpoints(4711)",
        "detach_checkpoints(4711)",
        "set_checkpoint_policy(4711, every => '1 day')",
    ] {
        refused(scene, &format!("ai.{call}"), "42704", "4711");
    }
    refused(scene, "ai.list_checkpoints('dosc')", "42704", "dosc");
    refused(scene, "ai.create_checkpoint_set(array[]::text[])", "22023", "target");
    refused(scene, "ai.create_checkpoint_set(array['docs', null])", "22023", "null");
    refused(scene, "ai.create_checkpoint_set(array['public.docs', 'docs', 'public.docs'])", "22023", "twice");
    for name in [
        "",
        " ",
        "a b",
        "a..b",
        ".a",
        "a.",
        "x.lock",
        "now",
        "ü",
        "a/b",
        "6a5b2d5e-1d9c-4d4b-9d3c-0f3c5f0e8a11",
    ] {
        refused(scene, &format!("ai.create_checkpoint('docs', '{name}')"), "22023", "name");
    }
    refused(scene, &format!("ai.create_checkpoint('docs', '{}')", "x".repeat(64)), "22023", "name");
    refused(scene, "ai.create_checkpoint('public.docs', 'nightly')", "42710", "nightly");
    for lifetime in ["-1 day", "0"] {
        refused(
            scene,
            &format!("ai.create_checkpoint('docs', lifetime => '{lifetime}')"),
            "22023",
            "lifetime",
        );
        refused(scene, &format!("ai.refresh_checkpoint('nightly', '{lifetime}')"), "22023", "lifetime");
    }
    refused(scene, "ai.create_checkpoint('docs', source => 'none')", "42704", "none");
    refused(scene, "ai.create_checkpoint('docs', source => 'nightly')", "22023", "not of docs");
    for policy in [
        "every => '-1 day'",
        "every_changes => 0",
        "every => '1 day', keep_last => 0",
        "every => '1 day', keep_for => '0'",
    ] {
        refused(scene, &format!("ai.set_checkpoint_policy('docs', {policy})"), "22023", "positive");
    }
}

/// Fear: an unknown or deleted checkpoint is answered with nothing, by each function in another way.
fn unknown_checkpoints_are_refused_with_the_nearest_name(scene: &mut Scene) {
    let gone = "1b4e28ba-2fa1-41d2-883f-0016d3cca427";
    for call in [
        "ai.refresh_checkpoint('?', '1 day')",
        "ai.read_checkpoint('?', null::docs)",
        "ai.checkout_checkpoint('?', 'v')",
        "ai.diff_checkpoints('?')",
        "ai.diff_checkpoints('nightly', '?')",
        "ai.restore_checkpoint('?')",
        "ai.clone_checkpoint('?', 'c')",
        "ai.verify_checkpoint('?')",
        "ai.checkpoint_pending('?')",
    ] {
        refused(scene, &call.replace('?', "nihgtly"), "42704", "nihgtly");
        let hint = scene
            .db
            .error_of(&format!("select * from {}", call.replace('?', "nihgtly")))
            .hint()
            .map(str::to_owned);
        assert!(hint.is_some_and(|hint| hint.contains("nightly")), "{call} names the nearest");
        refused(scene, &call.replace('?', gone), "42704", gone);
    }
    assert!(!scene.db.one::<bool>("select ai.delete_checkpoint('nothing')", &[]));
    assert!(!scene.db.one::<bool>(&format!("select ai.delete_checkpoint('{gone}'::uuid)"), &[]));
}

/// Fear: a restore or a copy goes over what has another shape, or over what is there.
fn what_does_not_fit_is_refused(scene: &mut Scene) {
    scene.db.batch("create table other (n int primary key); alter table docs add column more int");
    refused(scene, "ai.restore_checkpoint('nightly')", "55000", "columns");
    refused(scene, "ai.read_checkpoint('nightly', null::other)", "22023", "key");
    refused(scene, "ai.clone_checkpoint('nightly', 'docs')", "42710", "docs");
    refused(scene, "ai.checkout_checkpoint('nightly', 'docs')", "42710", "docs");
    refused(scene, "ai.clone_checkpoint('nightly', 'nowhere.docs')", "42704", "nowhere");
    refused(scene, "ai.clone_checkpoint('nightly', 'a.b.c')", "22023", "a.b.c");
    scene.db.batch("select ai.clone_checkpoint('nightly', 'copy')");
    assert_eq!(scene.count("select count(*) from copy"), 3, "a copy has the old shape");
}
