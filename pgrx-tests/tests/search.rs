//! Searching by meaning, by words and by both: what is found, by which plan, with whose rights,
//! and what happens when the provider is down.

use std::sync::{Arc, Mutex};

use autovector_cluster_tests::{Rule, Scene, Spec, Sql};
use postgres::{Client, NoTls};

/// `docs` with columns to filter by, `rows` rows, embedded. The text of row 7 alone has the word
/// "zebra", and every tenth has "tiger".
fn stage(rows: i64) -> Scene {
    let mut scene = Scene::new();
    scene.db.batch(&format!(
        "create table docs (id bigint primary key, body text, lang varchar(8), \"Year\" int, meta jsonb,
                            tags text[], gone timestamptz);
         insert into docs select i, 'docs text ' || i || case when i = 7 then ' zebra' else '' end
                                    || case when i % 10 = 0 then ' tiger' else '' end,
                case when i % 2 = 0 then 'en' else 'de' end, 2000 + i % 20, jsonb_build_object('a', i % 3),
                array['t' || i % 4], case when i % 5 = 0 then now() end
           from generate_series(1, {rows}) i"
    ));
    scene.vectorize(&Spec::on("docs"));
    scene.settle("docs");
    scene
}

fn found(db: &mut Client, call: &str) -> Vec<(i64, String)> {
    let sql = format!("select (key->>'id')::int8, found_by from {call}");
    let rows = db
        .query(&sql, &[])
        .unwrap_or_else(|e| panic!("{sql}: {}", autovector_cluster_tests::sql::describe(&e)));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn ids(db: &mut Client, call: &str) -> Vec<i64> {
    found(db, call).into_iter().map(|(id, _)| id).collect()
}

/// A session whose notices are kept.
fn listening(scene: &Scene) -> (Client, Arc<Mutex<Vec<String>>>) {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&notices);
    let mut config = scene.cluster.config("postgres");
    config.notice_callback(move |notice| {
        kept.lock().expect("nobody panics here").push(notice.message().to_owned())
    });
    (config.connect(NoTls).expect("a connection"), notices)
}

/// Fear: an exact word is not found among vectors, or what both find is not the best.
#[test]
fn hybrid_search_finds_words_and_meaning() {
    let mut scene = stage(60);
    let db = &mut scene.db;
    // The scripted provider knows texts, not meanings: the same text has the same vector.
    assert_eq!(ids(db, "ai.search('docs', 'docs text 42', 1)"), [42]);
    assert_eq!(found(db, "ai.search('docs', 'zebra', 5, 'keyword')"), [(7, "keyword".to_owned())]);
    let best = found(db, "ai.search('docs', 'docs text 7 zebra', 3, 'hybrid')");
    assert_eq!(best.len(), 3);
    assert_eq!(best[0], (7, "both".to_owned()));
    // Some words are missing everywhere: any of them will do then, and only then.
    assert_eq!(ids(db, "ai.search('docs', 'zebra unicorn', 5, 'keyword')"), [7]);
    assert_eq!(ids(db, "ai.search('docs', '\"zebra unicorn\"', 5, 'keyword')"), [0_i64; 0]);
    assert_eq!(ids(db, "ai.search('docs', 'text -zebra', 100, 'keyword')").len(), 59);
    let in_hybrid = found(db, "ai.search('docs', 'zebra', 60, 'hybrid')");
    assert!(in_hybrid.len() == 60 && in_hybrid.contains(&(7, "both".to_owned())), "{in_hybrid:?}");
    // Reciprocal ranks: first in both lists.
    let score: f64 = db.one("select score from ai.search('docs', 'docs text 7 zebra', 1, 'hybrid')", &[]);
    assert!((score - 2.0 / 61.0).abs() < 1e-9, "{score}");
    // The question was embedded once for each text, however often it was asked.
    assert_eq!(scene.provider.times_sent("zebra"), 1);
    scene.finish();
}

/// Fear: a filter lets through what it should not, or drops what it should keep, in any mode.
#[test]
fn filters_keep_exactly_what_they_say() {
    let mut scene = stage(60);
    let db = &mut scene.db;
    for (filter, condition) in [
        (r#"{"lang": "en"}"#, "lang = 'en'"),
        (r#"{"Year": {">=": 2005, "<": 2010}}"#, "\"Year\" >= 2005 and \"Year\" < 2010"),
        (r#"{"Year": [2001, 2002], "lang": "de"}"#, "\"Year\" in (2001, 2002) and lang = 'de'"),
        (r#"{"gone": null}"#, "gone is null"),
        (r#"{"gone": {"<>": null}}"#, "gone is not null"),
        (r#"{"Year": {"not in": [2001, 2002]}}"#, "\"Year\" not in (2001, 2002)"),
        (r#"{"$or": [{"id": 3}, {"id": {">": 58}}]}"#, "id = 3 or id > 58"),
        (r#"{"$not": {"lang": "en"}}"#, "not lang = 'en'"),
        (r#"{"meta": {"@>": {"a": 1}}}"#, "meta @> '{\"a\": 1}'"),
        (r#"{"tags": {"@>": ["t2"]}}"#, "tags @> array['t2']"),
        (r#"{"body": {"like": "%5%"}}"#, "body like '%5%'"),
        (r#"{"lang": []}"#, "false"),
        (r#"{}"#, "true"),
        (r#"{"body": "x' or true --"}"#, "false"),
    ] {
        let wanted: Vec<i64> = db.all(&format!("select id from docs where {condition} order by id"), &[]);
        for mode in ["vector", "keyword", "hybrid"] {
            let call = format!("ai.search('docs', 'text', 100, '{mode}', $f${filter}$f$)");
            let mut got = ids(db, &call);
            got.sort_unstable();
            assert_eq!(got, wanted, "{mode}: {filter}");
        }
    }
    scene.finish();
}

/// Fear: bad input is taken for something else, becomes SQL, or gives an error nobody can read.
#[test]
fn bad_input_is_refused_with_a_hint() {
    let mut scene = stage(3);
    for (call, code, word) in [
        ("'docs', 'x', 1, 'fuzzy'", "22023", "hybrid"),
        ("'docs', 'x', 1, null", "22023", "hybrid"),
        ("'docs', 'x', 0", "22023", "chunks"),
        ("'docs', 'x', -1", "22023", "chunks"),
        ("'docs', 'x', 10001", "22023", "chunks"),
        ("'docs', 'x', null", "22023", "chunks"),
        ("'docs', null", "22023", "look for"),
        ("'docs', E' \\t'", "22023", "look for"),
        ("'docs', 'x', 1, 'vector', null, 'some'", "22023", "best"),
        ("'docs', 'x', 1, 'vector', '{\"langg\": 1}'", "42703", "lang"),
        ("'docs', 'x', 1, 'vector', '{\"ctid\": \"(0,1)\"}'", "42703", "columns"),
        ("'docs', 'x', 1, 'vector', '{\"id = 1 or true; --\": 1}'", "42703", "columns"),
        ("'docs', 'x', 1, 'keyword', '{\"lang\": {\"~\": \"a\"}}'", "22023", "like"),
        ("'docs', 'x', 1, 'vector', '[1]'", "22023", "{\"lang\""),
        ("'docs', 'x', 1, 'vector', '{\"meta\": {\"a\": 1}}'", "22023", "like"),
        ("'docs', 'x', 1, 'vector', '{\"lang\": {\"@>\": [1]}}'", "0A000", "jsonb"),
        ("'docss', 'x'", "42704", "docs"),
        ("null::text, 'x'", "22023", "vectorizer"),
    ] {
        let error = scene.db.error_of(&format!("select * from ai.search({call})"));
        assert_eq!(error.code().code(), code, "{call}: {error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains(word)), "{call}: {error:?}");
    }
    let error =
        scene.db.error_of("select * from ai.search('docs', 'x', 1, 'vector', '{\"Year\": \"soon\"}')");
    assert_eq!(error.code().code(), "22P02", "{error:?}");
    let before: i64 = scene.count("select count(*) from docs");
    let hostile =
        ["'; drop table docs; --", "a & | ! ( <->", "\\", "$$ $1 %s \"", "':*", "💥 \u{1}", "or or or -"];
    for text in hostile {
        for mode in ["vector", "keyword", "hybrid"] {
            scene.db.exec("select * from ai.search('docs', $1, 3, $2)", &[&text, &mode]);
        }
    }
    assert_eq!(scene.count("select count(*) from docs"), before);
    scene.finish();
}

/// Fear: while the provider is down nothing is found at all, or the answer does not say that it is
/// another one; or a wrong configuration is taken for a provider that is down.
#[test]
fn words_answer_while_the_provider_is_down() {
    let scene = stage(20);
    let (mut db, notices) = listening(&scene);
    scene.provider.rule(Rule::always().error(503, "overloaded"));
    for mode in ["vector", "hybrid"] {
        notices.lock().expect("nobody panics here").clear();
        assert_eq!(
            found(&mut db, &format!("ai.search('docs', 'zebra', 5, '{mode}')")),
            [(7, "keyword".to_owned())]
        );
        let said = notices.lock().expect("nobody panics here").join("\n");
        assert!(said.contains("words alone") && said.contains("\"docs\""), "{said}");
    }
    scene.provider.clear_rules();
    assert_eq!(found(&mut db, "ai.search('docs', 'docs text 3', 1)"), [(3, "vector".to_owned())]);
    scene.provider.rule(Rule::always().error(401, "no such key"));
    assert_eq!(db.error_of("select * from ai.search('docs', 'another')").code().code(), "22023");
    scene.cluster.assert_healthy();
}

/// Fear: a filter shows to somebody what he may not read, or the search lends its owner's rights.
#[test]
fn a_search_has_the_rights_of_its_caller() {
    let mut scene = stage(20);
    scene.db.batch(
        "create role reader login; grant select on docs_embedding_store to reader;
         create role stranger login",
    );
    let mut reader = scene.cluster.connect_as("postgres", "reader");
    assert_eq!(ids(&mut reader, "ai.search('docs', 'zebra', 3, 'keyword')"), [7]);
    let refused = reader.error_of("select * from ai.search('docs', 'x', 3, 'keyword', '{\"lang\": \"en\"}')");
    assert_eq!(refused.code().code(), "42501", "{refused:?}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("GRANT SELECT")), "{refused:?}");
    scene.db.batch(
        "grant select (id, lang) on docs to reader; alter table docs enable row level security;
         create policy german on docs to reader using (lang = 'de')",
    );
    assert_eq!(
        ids(&mut reader, "ai.search('docs', 'text', 50, 'keyword', '{\"lang\": \"en\"}')"),
        [0_i64; 0]
    );
    assert_eq!(ids(&mut reader, "ai.search('docs', 'text', 50, 'hybrid', '{\"lang\": \"de\"}')").len(), 10);
    let mut stranger = scene.cluster.connect_as("postgres", "stranger");
    for mode in ["vector", "keyword", "hybrid"] {
        let refused = stranger.error_of(&format!("select * from ai.search('docs', 'x', 3, '{mode}')"));
        assert_eq!(refused.code().code(), "42501", "{refused:?}");
    }
    scene.finish();
}

/// Fear: ten chunks of one long row fill the whole answer.
#[test]
fn the_best_chunk_of_each_row_can_be_had() {
    let mut scene = Scene::new();
    scene.db.batch(
        "create table docs (id bigint primary key, body text);
         insert into docs select i, string_agg('word' || i || ' part' || p, E'\\n\\n' order by p)
           from generate_series(1, 12) i, generate_series(1, 9) p group by i",
    );
    let chunking = "ai.chunking_character_text_splitter(chunk_size => 12, chunk_overlap => 0)";
    scene.vectorize(&Spec::on("docs").chunking(chunking));
    scene.settle("docs");
    assert_eq!(scene.count("select count(*) from docs_embedding_store"), 12 * 9);
    for mode in ["vector", "keyword", "hybrid"] {
        let rows = ids(&mut scene.db, &format!("ai.search('docs', 'part3', 12, '{mode}', chunks => 'best')"));
        let mut distinct = rows.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((rows.len(), distinct.len()), (12, 12), "{mode}: {rows:?}");
    }
    let all = ids(&mut scene.db, "ai.search('docs', 'word4', 9, 'keyword')");
    assert_eq!(all, [4; 9]);
    scene.cluster.assert_healthy();
}
