//! Indexes of a store: built by themselves, of every kind, without stopping anybody, and used.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use autovector_cluster_tests::{Scene, Settings, Spec, Sql, scene::SETTLES_WITHIN, wait_until};
use postgres::{Client, NoTls};

/// A scene whose scheduler looks for indexes to build often.
fn scene() -> Scene {
    Scene::with(Settings::default().set("autovector.naptime", "200ms"))
}

/// The vectorizer with this index.
fn indexed(scene: &mut Scene, spec: Spec, indexing: &str) {
    let sql = spec.sql(&scene.provider).replace("ai.indexing_none()", indexing);
    scene.db.batch(&sql);
}

fn wait_for_indexes(scene: &mut Scene, vectorizer: &str) {
    let mut last = String::new();
    wait_until("the indexes are ready", SETTLES_WITHIN, || {
        let now: String = scene.db.one(
            "select vector_index || ' ' || keyword_index from ai.search_status($1::text)",
            &[&vectorizer],
        );
        if now != last {
            eprintln!("{vectorizer}: {now}");
            last.clone_from(&now);
        }
        now == "ready ready"
    });
}

/// A session whose plans come as notices.
fn explaining(scene: &Scene) -> (Client, Arc<Mutex<String>>) {
    let plans = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&plans);
    let mut config = scene.cluster.config("postgres");
    config.notice_callback(move |notice| kept.lock().expect("nobody panics").push_str(notice.message()));
    let mut db = config.connect(NoTls).expect("a connection");
    db.batch(
        "load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
         set client_min_messages = log",
    );
    (db, plans)
}

/// The plans of a search, those of looking up the catalog left out.
fn plans(db: &mut Client, plans: &Mutex<String>, call: &str) -> String {
    plans.lock().expect("nobody panics").clear();
    db.batch(&format!("select * from ai.search({call})"));
    let text = plans.lock().expect("nobody panics").clone();
    let of_store = text.split("duration:").filter(|plan| plan.contains("_store")).collect::<Vec<_>>();
    of_store.join("\n")
}

/// Fear: the index stands there and nobody uses it, with a filter, for many results, or for words.
#[test]
fn searches_use_their_indexes() {
    let mut scene = scene();
    scene.db.batch(
        "create table docs (id bigint primary key, body text, lang text);
         insert into docs select i, 'text ' || i || ' w' || i % 500, 'l' || i % 10 from generate_series(1, 6000) i",
    );
    indexed(&mut scene, Spec::on("docs").processing(1000, 4), "ai.indexing_hnsw(min_rows => 100)");
    scene.settle("docs");
    wait_for_indexes(&mut scene, "docs");
    scene.db.batch("analyze docs; analyze docs_embedding_store");
    let (mut db, kept) = explaining(&scene);
    let (hnsw, words) = ("_vectorizer_hnsw_1", "_vectorizer_words_1");
    for (call, wanted) in [
        ("'docs', 'text 3', 10", vec![hnsw]),
        ("'docs', 'text 3', 100", vec![hnsw]),
        ("'docs', 'text 3', 10, 'vector', '{\"lang\": \"l3\"}'", vec![hnsw]),
        ("'docs', 'text 3', 10, 'vector', chunks => 'best'", vec![hnsw]),
        ("'docs', 'w77', 10, 'keyword'", vec![words]),
        ("'docs', 'w77', 10, 'keyword', '{\"lang\": \"l7\"}'", vec![words]),
        ("'docs', 'w77', 10, 'hybrid'", vec![hnsw, words]),
    ] {
        // Plans may change once the server has seen a statement a few times.
        for round in 0..7 {
            let plans = plans(&mut db, &kept, call);
            for index in &wanted {
                assert!(plans.contains(index), "{call}, round {round}: no {index} in\n{plans}");
            }
            assert!(!plans.contains("Seq Scan on docs_embedding_store"), "{call}, round {round}:\n{plans}");
        }
    }
    // A filter that the first candidates of the index do not satisfy costs no result.
    let count: i64 = scene
        .db
        .one("select count(*) from ai.search('docs', 'text 5', 50, 'vector', '{\"lang\": \"l3\"}')", &[]);
    assert_eq!(count, 50);
    // A filter that leaves a handful is answered from the source's key, and completely.
    let rare: Vec<i64> = scene.db.all(
        "select (key->>'id')::int8 from ai.search('docs', 'text 5', 50, 'vector', '{\"id\": [9, 5999, 77]}') order by 1",
        &[],
    );
    assert_eq!(rare, [9, 77, 5999]);
    scene.finish();
}

/// Fear: a kind of index, a distance or wide vectors cannot be had, or are searched otherwise than
/// they are indexed.
#[test]
fn every_kind_of_index_and_distance_works() {
    let mut scene = scene();
    scene.db.batch("create table docs (id bigint primary key, body text)");
    let kinds = [
        ("hnsw_cosine", "ai.indexing_hnsw(min_rows => 10)", "hnsw", "(embedding vector_cosine_ops)", 8),
        ("hnsw_l2", "ai.indexing_hnsw(10, 'vector_l2_ops', 8, 32)", "hnsw", "(embedding vector_l2_ops)", 8),
        ("hnsw_ip", "ai.indexing_hnsw(10, 'vector_ip_ops')", "hnsw", "(embedding vector_ip_ops)", 8),
        ("hnsw_l1", "ai.indexing_hnsw(10, 'vector_l1_ops')", "hnsw", "(embedding vector_l1_ops)", 8),
        ("hnsw_half", "ai.indexing_hnsw(10, 'halfvec_l2_ops')", "hnsw", "halfvec_l2_ops", 8),
        ("hnsw_wide", "ai.indexing_hnsw(10)", "hnsw", "halfvec_cosine_ops", 2100),
        ("ivf_cosine", "ai.indexing_ivfflat(10, lists => 3)", "ivfflat", "lists='3'", 8),
        ("ivf_l2", "ai.indexing_ivfflat(10, 'halfvec_l2_ops')", "ivfflat", "halfvec_l2_ops", 8),
    ];
    for (name, indexing, _, _, dimensions) in kinds {
        let destination = format!("ai.destination_table('{name}')");
        let spec = Spec::on("docs").name(name).dimensions(dimensions).with("destination", &destination);
        indexed(&mut scene, spec, indexing);
    }
    scene.db.batch("insert into docs select i, 'docs text ' || i from generate_series(1, 60) i");
    let (mut db, kept) = explaining(&scene);
    db.batch("set enable_seqscan = off; set enable_sort = off");
    for (name, indexing, method, definition, _) in kinds {
        scene.settle(name);
        wait_for_indexes(&mut scene, name);
        let built: String = scene.db.one(
            "select string_agg(indexdef, ' ') from pg_indexes where tablename = $1 || '_store'",
            &[&name],
        );
        assert!(built.contains(method) && built.contains(definition), "{indexing}: {built}");
        let best: i64 = scene
            .db
            .one(&format!("select (key->>'id')::int8 from ai.search('{name}', 'docs text 42', 1)"), &[]);
        // The inner product of a text with itself is not the largest that there is.
        assert!(best == 42 || name == "hnsw_ip", "{indexing} found {best}");
        let plans = plans(&mut db, &kept, &format!("'{name}', 'docs text 7', 5"));
        assert!(plans.contains(&format!("Index Scan using _vectorizer_{method}_")), "{indexing}:\n{plans}");
    }
    assert_eq!(scene.status("hnsw_l2", "index_state").as_deref(), Some("ready"));
    for (indexing, code, hint) in [
        ("ai.indexing_diskann()", "0A000", "CREATE EXTENSION vectorscale"),
        ("ai.indexing_ivfflat(opclass => 'vector_l1_ops')", "22023", "ai.indexing_hnsw()"),
    ] {
        let statement = Spec::on("docs").name("refused").sql(&scene.provider);
        let error = scene.db.error_of(&statement.replace("ai.indexing_none()", indexing));
        assert_eq!(error.code().code(), code, "{error:?}");
        assert!(error.hint().is_some_and(|text| text.contains(hint)), "{error:?}");
    }
    let wide = Spec::on("docs").name("refused").dimensions(5000).sql(&scene.provider);
    let error = scene.db.error_of(&wide.replace("ai.indexing_none()", "ai.indexing_hnsw()"));
    assert_eq!(error.code().code(), "22023", "{error:?}");
    assert!(error.hint().is_some_and(|text| text.contains("fewer dimensions")), "{error:?}");
    scene.cluster.assert_healthy();
}

/// Fear: other parameters, another method or another distance are written down and nothing follows; or
/// the old index goes before there is a new one; or one that the user made goes too.
#[test]
fn another_index_takes_the_place_of_the_old_one() {
    let mut scene = scene();
    scene.table("docs", 60);
    indexed(&mut scene, Spec::on("docs"), "ai.indexing_hnsw(10)");
    scene.settle("docs");
    wait_for_indexes(&mut scene, "docs");
    scene.db.batch("create index mine on docs_embedding_store using hnsw (embedding vector_l2_ops)");
    let calls = scene.provider.call_count();
    for (indexing, definition) in [
        ("ai.indexing_hnsw(10, m => 7)", "USING hnsw (embedding vector_cosine_ops) WITH (m='7')"),
        (
            "ai.indexing_ivfflat(10, lists => 2)",
            "USING ivfflat (embedding vector_cosine_ops) WITH (lists='2')",
        ),
        ("ai.indexing_hnsw(10, 'vector_ip_ops')", "USING hnsw (embedding vector_ip_ops)"),
        ("ai.indexing_hnsw(10)", "USING hnsw (embedding vector_cosine_ops)"),
    ] {
        let alter = format!("select ai.alter_vectorizer('docs', indexing => {indexing})");
        assert_eq!(scene.db.one::<String>(&alter, &[]), "changed");
        let ours = "select string_agg(indexrelid::regclass || ' ' || indisvalid || pg_get_indexdef(indexrelid), ' and ')
                      from pg_index where indrelid = 'docs_embedding_store'::regclass
                       and indexrelid::regclass::text ~ '^_vectorizer_(hnsw|ivf)'";
        let (mut least, mut last) = (usize::MAX, String::new());
        wait_until(&format!("{indexing} is in place"), SETTLES_WITHIN, || {
            last = scene.db.one::<Option<String>>(ours, &[]).unwrap_or_default();
            least = least.min(last.matches(" true").count());
            last.ends_with(definition) && !last.contains(" and ") && !last.contains("_new ")
        });
        assert!(least >= 1, "there was a moment without an index before {last}");
    }
    wait_for_indexes(&mut scene, "docs");
    let mine: i64 = scene.db.one("select count(*) from pg_indexes where indexname = 'mine'", &[]);
    assert_eq!((mine, scene.provider.call_count()), (1, calls));
    scene.finish();
}

/// Fear: what is left of a build that was killed is in the way of the next one for ever.
#[test]
fn the_remains_of_a_build_are_cleared_away() {
    let mut scene = scene();
    scene.table("docs", 60);
    indexed(&mut scene, Spec::on("docs"), "ai.indexing_hnsw(1000)");
    scene.settle("docs");
    scene.db.batch(
        "create index _vectorizer_hnsw_1 on docs_embedding_store using hnsw (embedding vector_cosine_ops);
         update pg_index set indisvalid = false where indexrelid = '_vectorizer_hnsw_1'::regclass;
         select ai.alter_vectorizer('docs', indexing => ai.indexing_hnsw(10))",
    );
    wait_for_indexes(&mut scene, "docs");
    assert!(scene.db.one::<bool>(
        "select indisvalid from pg_index where indexrelid = '_vectorizer_hnsw_1'::regclass",
        &[]
    ));
    scene.finish();
}

/// Fear: where rows keep coming the index is never built, or building it stops those who write.
#[test]
fn an_index_is_built_while_rows_keep_coming() {
    let mut scene = scene();
    scene.table("docs", 200);
    indexed(&mut scene, Spec::on("docs"), "ai.indexing_hnsw(min_rows => 100)");
    let mut id = 200;
    let mut db = scene.cluster.connect("postgres");
    wait_until("the index is ready", SETTLES_WITHIN, || {
        for _ in 0..20 {
            id += 1;
            let text = format!("docs text {id}");
            let took =
                db.timed(Duration::from_secs(20), &format!("insert into docs values ({id}, '{text}')"));
            assert!(took < Duration::from_secs(10), "an insert took {took:?}");
        }
        scene.status("docs", "index_state").as_deref() == Some("ready")
    });
    scene.settle("docs");
    scene.finish();
}

/// Fear: the configuration of words cannot be changed, by anybody, or leaves an index that fits no
/// search.
#[test]
fn the_configuration_of_words_is_chosen_by_the_owner() {
    let mut scene = scene();
    scene.db.batch(
        "create table docs (id bigint primary key, body text);
         insert into docs values (1, 'He was running home'), (2, 'A house')",
    );
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene.db.batch("create role stranger login");
    let mut stranger = scene.cluster.connect_as("postgres", "stranger");
    let refused = stranger.error_of("select ai.set_text_search('docs', 'simple')");
    assert_eq!(refused.code().code(), "42501", "{refused:?}");
    assert_eq!(scene.db.error_of("select ai.set_text_search('docs', 'klingon')").code().code(), "42704");
    let state = "select keyword_index || ' ' || keyword_configuration from ai.search_status('docs')";
    for (configuration, found) in [("simple", 0_i64), ("english", 1)] {
        let set: String = scene.db.one("select ai.set_text_search('docs', $1)", &[&configuration]);
        assert_eq!(set, configuration);
        let ready = format!("ready {configuration}");
        wait_until("the words are indexed", SETTLES_WITHIN, || scene.db.one::<String>(state, &[]) == ready);
        let count: i64 = scene.db.one("select count(*) from ai.search('docs', 'run', 5, 'keyword')", &[]);
        assert_eq!(count, found, "{configuration}");
    }
    scene.db.batch("select ai.set_text_search('docs', indexed => false)");
    assert_eq!(scene.db.one::<String>(state, &[]), "none english");
    assert_eq!(
        scene.count("select count(*) from pg_class where relname like '%words%' and relkind = 'i'"),
        0
    );
    scene.finish();
}
