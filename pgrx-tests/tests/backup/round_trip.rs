//! What is written is what is loaded, and what any reader of CSV finds.

use autovector_cluster_tests::Sql;
use serde_json::Value;

use super::stage::{LANGCHAIN, OLD_LANGCHAIN, Stage, fill, name};

/// Fear: the call without arguments saves nothing, or its report is not what callers read.
#[test]
fn langchain_tables_come_back_as_they_were() {
    for layout in [LANGCHAIN, OLD_LANGCHAIN] {
        let mut stage = Stage::new();
        stage.db.batch(layout);
        stage.db.batch(
            "insert into langchain_pg_collection (uuid, name, cmetadata) values
               ('00000000-0000-0000-0000-000000000001', 'a \"quoted\" name', '{\"a\": true,  \"n\": null}'),
               ('00000000-0000-0000-0000-000000000002', '', null)",
        );
        let id = if layout == LANGCHAIN { "id" } else { "uuid" };
        stage.db.batch(&format!(
            "insert into langchain_pg_embedding ({id}, collection_id, embedding, document, cmetadata) values
               ('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '[1,2,3]', E'line\\nbreak', '{{\"k\": \"v\"}}'),
               ('00000000-0000-0000-0000-00000000000b', '00000000-0000-0000-0000-000000000002', '[0.1,-0,1e-38,3]', '', null),
               ('00000000-0000-0000-0000-00000000000c', null, null, null, '{{}}')",
        ));
        let before = (stage.rows("langchain_pg_collection"), stage.rows("langchain_pg_embedding"));
        let report = stage.backup("");
        assert_eq!(report["backup_performed"], true, "{report}");
        assert_eq!(report["truncate_performed"], false);
        assert_eq!(report["errors"], Value::Array(vec![]));
        assert_eq!(report["backup_directory"], stage.folder().display().to_string());
        let table = &report["tables_backed_up"]["langchain_pg_embedding"];
        assert_eq!((&table["success"], &table["row_count"]), (&Value::Bool(true), &Value::from(3)));
        let file = table["backup_file"].as_str().expect("a path");
        let size = std::fs::metadata(file).expect("the file is there").len();
        assert_eq!(table["file_size"], size);
        assert_eq!(stage.files().len(), 3, "{:?}", stage.files());
        assert_eq!(stage.faults(&name(&report)), Vec::<String>::new());

        let error = stage.db.error_of(&format!("select ai.restore_vector_tables('{}')", name(&report)));
        assert_eq!(error.code().code(), "55000");
        assert!(error.hint().is_some_and(|hint| hint.contains("replace")));
        stage.db.batch("truncate langchain_pg_collection, langchain_pg_embedding");
        let restored = stage.restore(&name(&report), "refuse");
        assert_eq!(restored["tables_restored"]["public.langchain_pg_embedding"]["loaded"], 3);
        assert_eq!((stage.rows("langchain_pg_collection"), stage.rows("langchain_pg_embedding")), before);
        stage.cluster.assert_healthy();
    }
}

/// Fear: two calls within a second write over each other.
#[test]
fn two_calls_within_a_second_make_two_backups() {
    let mut stage = Stage::new();
    stage.db.batch(LANGCHAIN);
    fill(&mut stage.db, 10);
    let names: Vec<String> = (0..3).map(|_| name(&stage.backup(""))).collect();
    assert_eq!(stage.files().len(), 9);
    let listed: Vec<String> = stage.db.all("select backup from ai.list_backups() where complete", &[]);
    for name in &names {
        assert!(listed.contains(name), "{name} in {listed:?}");
        assert_eq!(stage.faults(name), Vec::<String>::new());
    }
}
