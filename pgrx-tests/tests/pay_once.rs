//! Nothing is paid for twice: what an edit costs, what vectorizers share, and what will be paid
//! before anything is.

use autovector_cluster_tests::{Scene, Settings, Spec, Sql, scene, wait_until};

/// Texts that were sent so far.
fn sent(scene: &Scene) -> usize {
    scene.provider.calls().iter().map(|call| call.inputs.len()).sum()
}

/// Fear: one changed paragraph costs a whole document; so does a text that is written again, an
/// unrelated column beside 50 KB of text, or what a rollback undid.
#[test]
fn an_edit_costs_what_it_changed() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table docs (id bigint primary key, body text, views int default 0);
         insert into docs select i, (select string_agg(format('paragraph %s of %s: %s', p, i, repeat(md5(p || '-' || i), 28)), E'\\n\\n' order by p)
                                       from generate_series(1, 50) p) from generate_series(1, 4) i",
    );
    let chunking = "ai.chunking_character_text_splitter(chunk_size => 1000, chunk_overlap => 0)";
    scene.vectorize(&Spec::on("docs").chunking(chunking));
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store where id = 1"), 50);
    assert!(scene.count("select min(octet_length(body))::int8 from docs") > 45_000);
    let paid = sent(&scene);

    for free in [
        "update docs set views = views + 1",
        "update docs set body = body",
        "update docs set body = body || ''",
        "begin; update docs set body = 'other'; rollback",
    ] {
        scene.db.batch(free);
        scene.settle("docs");
        assert_eq!(sent(&scene), paid, "{free}");
    }
    scene.db.batch("update docs set views = 0");
    assert_eq!(
        scene.status("docs", "rows_pending").as_deref(),
        Some("0"),
        "an unrelated column makes nothing dirty"
    );

    let saved: i64 = scene.count("select calls_saved from ai.vectorizer_status");
    scene.db.batch("update docs set body = replace(body, 'paragraph 25 of 2:', 'paragraph 25 of 2, edited:') where id = 2");
    scene.settle("docs");
    let edited = sent(&scene) - paid;
    assert!((1..=3).contains(&edited), "{edited} chunks for one paragraph");
    assert!(scene.count("select calls_saved from ai.vectorizer_status") >= saved + 47);
    // A paragraph that moves every other one to another number.
    scene.db.batch("update docs set body = E'a new beginning\\n\\n' || body where id = 3");
    scene.settle("docs");
    assert!(sent(&scene) - paid - edited <= 3);
    scene.cluster.assert_healthy();
}

/// Fear: the same text in one batch is paid for as often as it is there.
#[test]
fn identical_texts_are_paid_for_once() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table docs (id bigint primary key, body text);
         insert into docs select i, 'the same' from generate_series(1, 100) i",
    );
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    assert_eq!(scene.provider.times_sent("the same"), 1);
    assert_eq!(scene.status("docs", "calls_saved").as_deref(), Some("99"));
    scene.finish();
}

/// Fear: the cache leaks texts, serves one role what another put in, or grows without end; or a
/// second vectorizer of the same texts pays again.
#[test]
fn vectorizers_of_one_owner_share_what_they_paid_for() {
    let settings =
        Settings::default().set("autovector.embedding_cache_rows", "100").set("autovector.naptime", "200ms");
    let mut scene = Scene::with(settings);
    scene.table("docs", 30);
    let cached = |spec: &Spec, scene: &Scene| {
        spec.sql(&scene.provider).replace("concurrency => 4)", "concurrency => 4, embedding_cache => true)")
    };
    let spec = Spec::on("docs").name("first");
    scene.db.batch(&cached(&spec, &scene));
    scene.settle("first");
    // What a batch has learnt is kept just after it is written.
    wait_until("the vectors are cached", scene::SETTLES_WITHIN, || {
        scene.count("select count(*) from ai._embedding_cache") == 30
    });
    let paid = sent(&scene);
    let spec = Spec::on("docs").name("second").with("destination", "ai.destination_table('second')");
    scene.db.batch(&cached(&spec, &scene));
    scene.settle("second");
    assert_eq!(sent(&scene), paid, "the second vectorizer pays nothing");
    assert_eq!(scene.status("second", "calls_saved").as_deref(), Some("30"));
    let shown: String = scene.db.one("select string_agg(c::text, ' ') from ai._embedding_cache c", &[]);
    assert!(!shown.contains("docs text"), "no text is kept");

    scene.db.batch("create role team login; create schema team authorization team");
    let mut team = scene.cluster.connect_as("postgres", "team");
    team.batch(
        "create table team.docs (id bigint primary key, body text);
         insert into team.docs select i, 'docs text ' || i from generate_series(1, 30) i",
    );
    team.batch(&cached(&Spec::on("team.docs").name("team"), &scene));
    scene::settle(&mut team, "team");
    assert_eq!(sent(&scene), paid + 30, "another role pays for itself");
    assert_eq!(team.error_of("select count(*) from ai._embedding_cache").code().code(), "42501");
    assert_eq!(team.error_of("select ai.clear_embedding_cache()").code().code(), "42501");

    scene.db.batch("insert into docs select i, 'docs text ' || i from generate_series(31, 400) i");
    scene.settle("first");
    wait_until("the cache is as small as it has to be", scene::SETTLES_WITHIN, || {
        let rows = scene.count("select count(*) from ai._embedding_cache");
        rows <= 100 && rows > 0
    });
    scene.settle("second");
    let gone: i64 = scene.db.one("select ai.clear_embedding_cache()", &[]);
    assert!(gone > 0);
    scene.finish();
}

/// Fear: nobody can know what a first pass costs before it has begun, or asking costs something.
#[test]
fn an_estimate_comes_before_the_first_call() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table docs (id bigint primary key, body text);
         insert into docs select i, repeat('abcd', 100) from generate_series(1, 1000) i;
         insert into docs values (1001, null), (1002, '')",
    );
    let estimate = "select rows || ' ' || chunks || ' ' || tokens || ' ' || requests || ' ' || coalesce(price_usd::text, '-')
                           || ' ' || (duration is null) || ' ' || (sampled_rows < rows) from ai.estimate('docs')";
    scene.db.batch("begin");
    scene.vectorize(&Spec::on("docs").chunking("ai.chunking_character_text_splitter(200, 0, '', false)"));
    let shown: String = scene.db.one(estimate, &[]);
    scene.db.batch("rollback");
    assert_eq!(scene.provider.call_count(), 0);
    let words: Vec<&str> = shown.split(' ').collect();
    assert_eq!((words[0], words[4], words[5], words[6]), ("1002", "-", "true", "true"), "{shown}");
    let near = |text: &str, value: f64| {
        let number: f64 = text.parse().expect("a number");
        assert!((number - value).abs() <= 0.02 * value + 1.0, "{number} instead of {value} in {shown}");
    };
    near(words[1], 2000.0);
    near(words[2], 100_000.0);
    near(words[3], 11.0);
    scene.db.batch("begin; delete from docs where id > 100");
    let local = Spec::on("docs").embedding("ai.embedding_openai('text-embedding-3-small', 1536)");
    scene.vectorize(&local);
    let shown: String = scene.db.one(estimate, &[]);
    // A hundred rows of a hundred tokens: every one was read.
    assert_eq!(shown, "100 100 10000 1 0.0002 true false");
    scene.db.batch("rollback; create role stranger login");
    scene.vectorize(&Spec::on("docs"));
    let mut stranger = scene.cluster.connect_as("postgres", "stranger");
    assert_eq!(stranger.error_of("select * from ai.estimate('docs')").code().code(), "42501");
    assert_eq!(scene.db.error_of("select * from ai.estimate('dogs')").code().code(), "42704");
    scene.settle("docs");
    let shown: String = scene.db.one(estimate, &[]);
    assert!(shown.starts_with("0 0 0 0"), "{shown}");
    scene.finish();
}
