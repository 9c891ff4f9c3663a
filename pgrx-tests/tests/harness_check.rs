//! The invariant checker finds what it is there to find: each fault is planted by hand in a
//! stand-in for the extension's tables, on a server without the extension.

use std::panic::{AssertUnwindSafe, catch_unwind};

use autovector_cluster_tests::{Check, Cluster, Settings, Sql, expected_vector};
use postgres::Client;

/// As much of the surface as the checker reads, with three rows that are in order.
fn stand_in() -> (Cluster, Client) {
    let cluster = Settings::default().without_preload().start();
    let mut db = cluster.connect("postgres");
    db.batch(
        r#"create extension vector; create schema ai;
           create table ai.vectorizer (id int, name name, config jsonb);
           create table ai._lease (id int);
           create table docs (id int primary key, body text);
           create table docs_embedding_store (id int, chunk_seq int, chunk text, embedding vector(8));
           create table ai._vectorizer_q_1 (id int, gen bigint);
           create table ai._vectorizer_q_failed_1 (id int, error text);
           create view ai.vectorizer_status as select 1 as id, 'docs'::name as name, 'public.docs' as source_table,
               'public.docs_embedding_store' as target_table, (select count(*) from docs) as rows_total,
               (select count(*) from ai._vectorizer_q_1) as rows_pending,
               (select count(*) from ai._vectorizer_q_failed_1) as rows_failed;
           insert into ai.vectorizer values (1, 'docs', '{"loading": {"column_name": "body"},
               "embedding": {"dimensions": 8}, "chunking": {"implementation": "none"},
               "formatting": {"template": "$chunk"}}');
           insert into docs select i, 'text ' || i from generate_series(1, 3) i"#,
    );
    for id in 1..=3 {
        store(&mut db, id, 0, &format!("text {id}"), &format!("text {id}"));
    }
    (cluster, db)
}

/// Stores `chunk` with the vector of `vector_of`.
fn store(db: &mut Client, id: i32, sequence: i32, chunk: &str, vector_of: &str) {
    db.exec(
        "insert into docs_embedding_store values ($1, $2, $3, $4::real[]::vector)",
        &[&id, &sequence, &chunk, &expected_vector(vector_of, 8)],
    );
}

/// What the checker says, or `None` if it is content.
fn verdict(db: &mut Client) -> Option<String> {
    let checked = catch_unwind(AssertUnwindSafe(|| Check::new("docs").run(db)));
    checked.err().map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

/// Fear: the checker is content with anything.
#[test]
fn every_planted_fault_is_found() {
    let (_cluster, mut db) = stand_in();
    assert_eq!(verdict(&mut db), None, "all is well at first");
    let faults: [(&str, &str, &str); 9] = [
        (
            "missing",
            "delete from docs_embedding_store where id = 2",
            "should have the chunks [\"text 2\"], has []",
        ),
        ("stale", "update docs set body = 'new' where id = 2", "should have the chunks [\"new\"]"),
        ("orphan", "delete from docs where id = 2", "is gone from the source"),
        (
            "shifted",
            "update docs_embedding_store set embedding = (select embedding from docs_embedding_store where id = 1)",
            "belongs to another text",
        ),
        (
            "twice",
            "insert into docs_embedding_store select * from docs_embedding_store where id = 2",
            "a chunk twice",
        ),
        ("gap", "update docs_embedding_store set chunk_seq = 1 where id = 2", "a gap"),
        ("null text", "update docs set body = null where id = 2", "should have the chunks []"),
        ("no reason", "insert into ai._vectorizer_q_failed_1 values (2, '')", "without a reason"),
        (
            "dimension",
            "alter table docs_embedding_store alter embedding type vector; update docs_embedding_store set embedding = '[1,2]' where id = 2",
            "not 8 finite numbers",
        ),
    ];
    for (name, fault, expected) in faults {
        db.batch("begin");
        db.batch(fault);
        let said = verdict(&mut db).unwrap_or_else(|| panic!("{name}: not found"));
        assert!(said.contains(expected), "{name}: {said}");
        db.batch("rollback");
    }
    assert_eq!(verdict(&mut db), None, "all is well at the end");
}

/// Fear: the checker complains of rows that are rightly not embedded.
#[test]
fn pending_and_failed_rows_are_excused() {
    let (_cluster, mut db) = stand_in();
    db.batch(
        "update docs set body = 'changed' where id = 1; insert into ai._vectorizer_q_1 values (1, 1);
         delete from docs_embedding_store where id = 2; insert into ai._vectorizer_q_failed_1 values (2, 'refused')",
    );
    assert_eq!(verdict(&mut db), None);
    // But what is stored must always be the vector of what is stored beside it.
    db.batch("update docs_embedding_store set chunk = 'x' where id = 1");
    assert!(verdict(&mut db).expect("found").contains("belongs to another text"));
}

/// Fear: a lease that nobody ends is overlooked, or the counts of the status are.
#[test]
fn leases_and_wrong_counts_are_found() {
    let (_cluster, mut db) = stand_in();
    db.batch("insert into docs values (4, null); create or replace view ai.vectorizer_status as select 1 as id, 'docs'::name as name, 'public.docs' as source_table, 'public.docs_embedding_store' as target_table, 3::bigint as rows_total, 0::bigint as rows_pending, 0::bigint as rows_failed");
    assert!(verdict(&mut db).expect("found").contains("rows total"));
    db.batch("delete from docs where id = 4; insert into ai._lease values (1)");
    assert!(verdict(&mut db).expect("found").contains("no lease is left"));
}
