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

/// A table with everything that text gets wrong, under a name that SQL and file systems dislike.
const TYPES: &str = r#"
    create extension if not exists vector;
    create type "Mood!" as enum ('so so', 'it''s "fine"');
    create domain positive as int check (value > 0);
    create type pair as (a int, b text);
    create table "Wei""rd/..\table;
name" (
      "id!" bigint generated always as identity primary key,
      "select" text, "ü,""x" varchar, empty text, gone int,
      r real, d double precision, n numeric, b boolean, raw bytea, j json, jb jsonb,
      "at" timestamptz, ts timestamp, day date, span interval, u uuid, ip inet, list text[], nested int[][],
      mood "Mood!", p positive, pair pair, range int4range, money money, bits bit(5), vbits bit varying,
      v vector, h halfvec(3), s sparsevec(10), doubled int generated always as (p * 2) stored);
    alter table "Wei""rd/..\table;
name" drop column gone;"#;

const WEIRD: &str = "\"Wei\"\"rd/..\\table;\nname\"";

/// A generator of numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.next() as usize % choices.len()]
    }

    fn text(&mut self) -> Option<String> {
        const PIECES: [&str; 24] = [
            "", "a", "\"", "\"\"", "'", ",", "\n", "\r\n", "\r", "\t", "\\.", "\n\\.\n", "\\", "\\N", "NULL",
            "\\n", "ü", "漢字", "🦀", " ", "{}", ";", "\u{1}", "\u{feff}",
        ];
        let pieces = self.next() % 6;
        (pieces > 0).then(|| (1..pieces).map(|_| self.one_of(&PIECES)).collect())
    }

    /// Any float4, and often one of those at the edges.
    fn real(&mut self, finite: bool) -> f32 {
        const EDGES: [u32; 8] =
            [0, 0x8000_0000, 1, 0x807f_ffff, 0x7f7f_ffff, 0x0080_0000, 0x3dcc_cccd, 0x7f80_0000];
        loop {
            let bits = self.next();
            let value = f32::from_bits(if bits & 1 == 0 {
                EDGES[(bits >> 8) as usize % 8]
            } else {
                (bits >> 16) as u32
            });
            if value.is_finite() || !finite {
                // There is one NaN in PostgreSQL's text, whatever its bits.
                return if value.is_nan() { f32::NAN } else { value };
            }
        }
    }
}

fn insert_random(stage: &mut Stage, rows: usize) {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let statement = format!(
        "insert into {WEIRD} (\"select\", \"ü,\"\"x\", empty, r, d, n, b, raw, j, jb, \"at\", ts, day, span, u, ip, list, nested,
           mood, p, pair, range, money, bits, vbits, v, h, s)
         values ($1::text, $2::text, '', $3, $4, nullif($5::text, '')::numeric, $6, $7, to_json($1::text), to_jsonb($2::text),
           $8::text::timestamptz, 'infinity', '4713-01-01 BC', $9::text::interval, gen_random_uuid(), '10.0.0.1/8',
           array[$1, $2, null, ''], '{{{{1,null}},{{3,4}}}}', $10::text::\"Mood!\", 3, row(null, $1)::pair, '[1,5)', 12.34, $11::text::bit(5),
           $11::text::bit varying, $12::text::vector, $13::text::halfvec, $14::text::sparsevec)"
    );
    let statement = stage.db.prepare(&statement).expect("well formed");
    for row in 0..rows {
        let (a, b) = (random.text(), random.text());
        let (real, double) = (random.real(false), f64::from_bits(random.next()));
        let double = if double.is_nan() { -0.0 } else { double };
        let number = random.one_of(&["", "NaN", "1e-300", "-123456789012345678901234567890.000"]);
        let raw: Vec<u8> = random.next().to_le_bytes().to_vec();
        let at =
            random.one_of(&["-infinity", "2024-02-29 23:59:59.999999+05:30", "0001-01-01 00:00:00+00 BC"]);
        let span = random.one_of(&["-1 mon +2 days -03:04:05.678901", "0", "178000000 years"]);
        let mood = random.one_of(&["so so", "it's \"fine\""]);
        let bits = random.one_of(&["10101", "00000"]);
        let dimensions = if row == 0 { 16_000 } else { 1 + random.next() as usize % 8 };
        let list: Vec<String> = (0..dimensions).map(|_| format!("{:e}", random.real(true))).collect();
        let vector = format!("[{}]", list.join(","));
        let half = format!("[{},-0,6e-8]", (random.next() % 65_504) as f32 / 7.0);
        let sparse = format!("{{1:{:e},10:2.5}}/10", random.real(true).max(f32::MIN_POSITIVE));
        let bool = (row % 3 != 0).then_some(row % 2 == 0);
        stage
            .db
            .execute(
                &statement,
                &[
                    &a, &b, &real, &double, &number, &bool, &raw, &at, &span, &mood, &bits, &vector, &half,
                    &sparse,
                ],
            )
            .unwrap_or_else(|error| panic!("row {row}: {error:?}"));
    }
}

/// Every row's bytes as PostgreSQL's binary protocol sends them: text would hide a bit.
fn bits(stage: &mut Stage, table: &str) -> Vec<String> {
    stage.db.all(&format!("select encode(sha256(record_send(t)), 'hex') from {table} t order by 1"), &[])
}

/// A hash of each column's bytes in all rows: says which column is not what it was.
fn by_column(stage: &mut Stage, table: &str) -> Vec<(String, String)> {
    let columns: Vec<String> = stage.db.all(
        "select quote_ident(attname) from pg_attribute
          where attrelid = $1::text::regclass and attnum > 0 and not attisdropped order by attnum",
        &[&table],
    );
    let hash = |column: &String| {
        let query = format!(
            "select md5(string_agg(encode(record_send(row(t.{column})), 'hex'), ',' order by t.\"id!\")) from {table} t"
        );
        (column.clone(), stage.db.one(&query, &[]))
    };
    columns.iter().map(hash).collect()
}

/// Fear: a value comes back as another one: NULL as '', -0 as 0, a line `\.` as the end of data,
/// a number rounded.
#[test]
fn random_rows_of_every_type_come_back_bit_for_bit() {
    let mut stage = Stage::new();
    stage.db.batch(TYPES);
    insert_random(&mut stage, 300);
    come_back(&mut stage, WEIRD);
    stage.db.batch(&format!("{KNOWN} {WEIRD}"));
    stage.db.batch(&format!(
        "create table sent as select \"id!\", n, day, span, ip, list, nested, mood, range, money, bits, v, h, s from {WEIRD}"
    ));
    come_back(&mut stage, "known");
    come_back(&mut stage, "sent");
    stage.cluster.assert_healthy();
}

/// Of types that are all made binary on the way in; and of some more that are so on the way out.
const KNOWN: &str = r#"
    create table known as
      select "id!", "select", "ü,""x", empty, r, d, b, raw, j, jb, "at", ts, u, v, p::int as four, p::int2 as two,
             mood::text::varchar(20) as short, 'ab'::char(5) as padded, 'n'::name as named,
             timestamp '0044-03-15 23:59:59.5 BC' + "id!" * interval '1 day 1.000001 s' as old,
             timestamptz '1969-12-31 23:59:59.999999+00' + "id!" * interval '1 year' as young from "#;

fn come_back(stage: &mut Stage, table: &str) {
    let before = bits(stage, table);
    let columns = by_column(stage, table);
    let tables = format!("tables => array[{}]", autovector_cluster_tests::scene::literal(table));
    let mut sizes = Vec::new();
    for format in ["csv", "binary"] {
        for compression in ["none", "zstd"] {
            stage.db.batch("set datestyle = 'German'; set extra_float_digits = -5; set timezone = 'Asia/Kolkata'; set intervalstyle = 'iso_8601'; set bytea_output = 'escape'");
            let report =
                stage.backup(&format!("{tables}, format => '{format}', compression => '{compression}'"));
            stage.db.batch("reset all; set timezone = 'America/Caracas'; set datestyle = 'SQL, DMY'; set client_encoding = latin1");
            assert_eq!(stage.faults(&name(&report)), Vec::<String>::new(), "{format} {compression}");
            stage.restore(&name(&report), "replace");
            stage.db.batch("reset all");
            assert_eq!(by_column(stage, table), columns, "{format} {compression}");
            assert!(bits(stage, table) == before, "{format} {compression}");
            let table =
                report["tables_backed_up"].as_object().expect("an object").values().next().expect("one");
            sizes.push(table["file_size"].as_u64().expect("a size"));
        }
    }
    assert!(sizes[1] < sizes[0] && sizes[3] < sizes[2], "{sizes:?}");
}

/// Fear: only our own restore can read a backup.
#[test]
fn plain_copy_reads_the_csv_files() {
    let mut stage = Stage::new();
    stage
        .db
        .batch("create table docs (id int, body text, embedding vector(3)); create table copy (like docs)");
    stage.db.batch(
        r#"insert into docs values (1, null, '[1,2,3]'), (2, '', null), (3, E'a "b"\n,c\\N', '[1e-40,-0,3.4e38]'), (4, E'\\N', null)"#,
    );
    let report = stage.backup("tables => '{docs}'");
    let file = report["tables_backed_up"]["docs"]["backup_file"].as_str().expect("a path");
    let text = std::fs::read_to_string(file).expect("the file is there");
    assert!(text.starts_with("id,body,embedding\n\"1\",\\N,\"[1,2,3]\"\n\"2\",\"\",\\N\n"), "{text}");
    stage.db.batch(&format!("copy copy from '{file}' (format csv, header, null '\\N')"));
    assert_eq!(bits(&mut stage, "copy"), bits(&mut stage, "docs"));
}

/// Fear: a column that stands elsewhere gets another one's values, or a column that is missing
/// loses its values silently.
#[test]
fn columns_are_matched_by_name() {
    let mut stage = Stage::new();
    stage.db.batch(
        "create table docs (a int, b text, embedding vector(2)); insert into docs values (1, 'x', '[1,2]')",
    );
    let report = stage.backup("tables => '{docs}'");
    stage
        .db
        .batch("drop table docs; create table docs (embedding vector(2), more int default 7, b text, a int)");
    stage.restore(&name(&report), "refuse");
    assert_eq!(stage.rows("docs"), ["(\"[1,2]\",7,x,1)"]);
    stage.db.batch("drop table docs; create table docs (a int, embedding vector(2))");
    let error = stage.db.error_of(&format!("select ai.restore_vector_tables('{}')", name(&report)));
    assert_eq!(error.code().code(), "42703");
    assert!(error.message().contains("\"b\"") && error.hint().is_some());
    stage.db.batch("drop table docs");
    let error = stage.db.error_of(&format!("select ai.restore_vector_tables('{}')", name(&report)));
    assert_eq!(error.code().code(), "42P01");
}

/// Fear: a mode does what another one is for, or leaves half a restore behind.
#[test]
fn modes_keep_replace_add_and_skip() {
    let mut stage = Stage::new();
    stage.db.batch(
        "create table docs (id int primary key, body text, embedding vector(2));
         create index on docs using hnsw (embedding vector_l2_ops); create index by_body on docs (body);
         comment on index by_body is 'it''s mine';
         insert into docs select i, 'old', '[1,2]' from generate_series(1, 10) i",
    );
    let indexes = "select pg_get_indexdef(indexrelid) || coalesce(obj_description(indexrelid), '')
                     from pg_index where indrelid = 'docs'::regclass order by 1";
    let before: Vec<String> = stage.db.all(indexes, &[]);
    let backup = name(&stage.backup("tables => '{docs}'"));
    stage.db.batch("update docs set body = 'new'; delete from docs where id > 5; insert into docs values (11, 'new', null)");
    let error = stage.db.error_of(&format!("select ai.restore_vector_tables('{backup}', 'append')"));
    assert_eq!(error.code().code(), "23505");
    assert_eq!(stage.count("select count(*) from docs"), 6, "nothing of it stays");
    let report = stage.restore(&backup, "skip_existing");
    assert_eq!(report["tables_restored"]["public.docs"]["loaded"], 5);
    assert_eq!(report["tables_restored"]["public.docs"]["skipped"], 5);
    assert_eq!(stage.count("select count(*) from docs where body = 'new'"), 6);
    assert_eq!(stage.count("select count(*) from docs"), 11);
    stage.restore(&backup, "replace");
    assert_eq!(stage.count("select count(*) from docs where body = 'old'"), 10);
    assert_eq!(stage.db.all::<String>(indexes, &[]), before);
    stage.db.batch("truncate docs");
    stage.restore(&backup, "append");
    assert_eq!(stage.count("select count(*) from docs"), 10);
    let error = stage.db.error_of(&format!("select ai.restore_vector_tables('{backup}', 'over')"));
    assert_eq!(error.code().code(), "22023");
}

/// Fear: what a restore runs of the user's own, his triggers, sees less than all rows where a
/// policy filters, and says nothing. With `row_security = off` PostgreSQL refuses such a query.
#[test]
fn a_restore_filters_nothing_behind_anybodys_back() {
    let mut stage = Stage::new();
    stage.db.batch(
        "create table docs (id int, embedding vector(2)); insert into docs values (1, '[1,2]'), (2, '[3,4]');
         create table seen (id int, row_security text);
         create function see() returns trigger language plpgsql as $$
           begin insert into public.seen values (new.id, current_setting('row_security')); return new; end $$;
         create trigger see before insert on docs for each row execute function see()",
    );
    let backup = name(&stage.backup("tables => '{docs}'"));
    stage.restore(&backup, "replace");
    assert_eq!(stage.rows("seen"), ["(1,off)", "(2,off)"]);
    assert_eq!(stage.db.one::<String>("select current_setting('row_security')", &[]), "on");
}
