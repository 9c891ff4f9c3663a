//! A row becomes the right chunks with the right hashes, and a plan turns what is stored into
//! what is wanted without paying for a vector that is there.

use std::collections::{BTreeMap, HashMap};

use autovector_domain::{
    config::{
        Chunking, Destination, Embedding, Formatting, Indexing, Loading, Parsing, Processing, Scheduling,
        VectorizerConfig,
    },
    failure::Failure,
    pipeline::{Chunk, ContentHash, Pipeline, Plan, plan},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn openai(base_url: Option<&str>, user: Option<&str>) -> Embedding {
    Embedding::openai("text-embedding-3-small", 1536, user, "OPENAI_API_KEY", base_url).expect("embedding")
}

fn ollama(options: Value) -> Embedding {
    Embedding::ollama("nomic-embed-text", 768, None, Some(&options), None).expect("embedding")
}

fn pipeline(chunking: Chunking, template: &str, embedding: Embedding) -> Pipeline {
    Pipeline::new(&VectorizerConfig {
        version: "0".into(),
        loading: Loading::column("body", 6).expect("loading"),
        parsing: Parsing::Auto,
        chunking,
        formatting: Formatting::python_template(template).expect("template"),
        embedding,
        destination: Destination::default(),
        processing: Processing::default(),
        indexing: Indexing::default(),
        scheduling: Scheduling::default(),
    })
    .expect("a valid configuration")
}

fn texts(pipeline: &Pipeline, text: Option<&str>, columns: &[Option<&str>]) -> Vec<String> {
    pipeline.prepare(text, columns).expect("chunks").into_iter().map(|chunk| chunk.text).collect()
}

fn hex(hash: ContentHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_row_is_cut_and_formatted() {
    let words = Chunking::character(5, 0, " ", false).expect("chunking");
    let pipeline = pipeline(words, "$title ($Lang): $chunk", openai(None, None));
    assert_eq!(pipeline.columns(), ["title", "Lang"]);
    assert_eq!(
        texts(&pipeline, Some("one two three"), &[Some("T"), None]),
        ["T (): one", "T (): two", "T (): three"]
    );
}

#[test]
fn rows_without_text_have_no_chunks() {
    for chunking in [Chunking::None, Chunking::default()] {
        let pipeline = pipeline(chunking, "$title $chunk", openai(None, None));
        for text in [None, Some(""), Some(" \n\t"), Some("\u{3000}\u{1c}")] {
            assert_eq!(texts(&pipeline, text, &[Some("T")]), Vec::<String>::new(), "{text:?}");
        }
    }
}

#[test]
fn chunks_without_anything_visible_are_left_out() {
    // The reference library gives " " as a chunk of its own here.
    let letters = Chunking::recursive(1, 0, &[""], false).expect("chunking");
    assert_eq!(texts(&pipeline(letters, "<$chunk>", openai(None, None)), Some("a b"), &[]), ["<a>", "<b>"]);
}

#[test]
fn no_chunking_keeps_the_text_as_it_stands() {
    assert_eq!(
        texts(&pipeline(Chunking::None, "$chunk", openai(None, None)), Some(" a\n\nb "), &[]),
        [" a\n\nb "]
    );
}

#[test]
fn a_wrong_number_of_columns_halts() {
    let pipeline = pipeline(Chunking::None, "$title $chunk", openai(None, None));
    assert!(matches!(pipeline.prepare(Some("a"), &[]), Err(Failure::Config { .. })));
    assert!(matches!(pipeline.prepare(None, &[None, None]), Err(Failure::Config { .. })));
}

/// Computed by Python's hashlib and struct: SHA-256 over implementation, model, dimensions (4 bytes, big
/// endian), options and text, each after its length (8 bytes, big endian).
#[test]
fn hashes_are_stable() {
    let hash =
        |embedding: Embedding, text: &str| hex(pipeline(Chunking::None, "$chunk", embedding).hash(text));
    assert_eq!(
        hash(openai(None, None), "hello"),
        "ac6c08cacf6aa7179156bab6e71b92dc2eb82c31cfbc461c9a0b7b470b9f6af4"
    );
    assert_eq!(
        hash(Embedding::local("all-MiniLM-L6-v2", Some(384)).expect("embedding"), "文"),
        "3d8eadd21421fbdd99df085726128750e461b64b01bd8c77da94ad1ddd9b2366"
    );
    let options = json!({"num_ctx": 8192, "a": [1, {"y": "\"z", "x": null}]});
    assert_eq!(
        hash(ollama(options), "hello"),
        "084bd4a341fa3593248a7f0de6e4ae0b3c7466cfb708a4440d020c3822bbc7be"
    );
}

#[test]
fn hashes_follow_what_decides_the_vector_alone() {
    let hash = |embedding: Embedding| pipeline(Chunking::None, "$chunk", embedding).hash("text");
    let same = hash(openai(None, None));
    assert_eq!(hash(openai(Some("https://proxy.example/v1"), Some("me"))), same);
    let mut all = vec![
        same,
        hash(Embedding::openai("text-embedding-3-small", 512, None, "K", None).expect("embedding")),
        hash(Embedding::openai("text-embedding-3-large", 1536, None, "K", None).expect("embedding")),
        hash(Embedding::local("text-embedding-3-small", Some(1536)).expect("embedding")),
        hash(ollama(json!({"num_ctx": 1}))),
        hash(ollama(json!({"num_ctx": 2}))),
        hash(ollama(json!({}))),
    ];
    assert_eq!(hash(ollama(json!({"a": 1, "b": 2}))), hash(ollama(json!({"b": 2, "a": 1}))));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 7, "two different configurations share a hash");
}

#[test]
fn a_chunk_carries_the_hash_of_its_formatted_text() {
    let pipeline = pipeline(Chunking::None, "$title $chunk", openai(None, None));
    let of = |title| pipeline.prepare(Some("a"), &[Some(title)]).expect("chunks").remove(0);
    assert_eq!(of("T").hash, pipeline.hash("T a"));
    assert_ne!(of("T").hash, of("U").hash);
}

#[test]
fn it_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Pipeline>();
}

fn hash(letter: u8) -> ContentHash {
    [letter; 32]
}

fn wanted(letters: &[u8]) -> Vec<Chunk> {
    letters.iter().map(|&letter| Chunk { text: char::from(letter).to_string(), hash: hash(letter) }).collect()
}

fn planned(existing: &[(i32, u8)], letters: &[u8]) -> Plan {
    let existing: Vec<(i32, ContentHash)> =
        existing.iter().map(|&(seq, letter)| (seq, hash(letter))).collect();
    plan(&existing, &wanted(letters))
}

#[test]
fn what_is_right_is_left_alone() {
    assert!(planned(&[(0, b'a'), (1, b'b')], b"ab").is_empty());
    assert!(planned(&[], b"").is_empty());
}

#[test]
fn vectors_move_with_their_text() {
    // A paragraph before the others: they move up, one text is new.
    assert_eq!(
        planned(&[(0, b'a'), (1, b'b')], b"xab"),
        Plan { moves: vec![(0, 1), (1, 2)], deletes: vec![], inserts: vec![0] }
    );
    assert_eq!(
        planned(&[(0, b'a'), (1, b'b'), (2, b'c')], b"bc"),
        Plan { moves: vec![(1, 0), (2, 1)], deletes: vec![0], inserts: vec![] }
    );
    assert_eq!(planned(&[(0, b'a'), (1, b'b')], b"ba").moves, [(1, 0), (0, 1)]);
}

#[test]
fn each_vector_is_used_once() {
    assert_eq!(planned(&[(0, b'a')], b"aa"), Plan { moves: vec![], deletes: vec![], inserts: vec![1] });
    assert_eq!(planned(&[(1, b'a')], b"aa"), Plan { moves: vec![], deletes: vec![], inserts: vec![0] });
    assert_eq!(
        planned(&[(0, b'a'), (1, b'a')], b"a"),
        Plan { moves: vec![], deletes: vec![1], inserts: vec![] }
    );
    assert_eq!(
        planned(&[(0, b'x'), (1, b'a')], b"aa"),
        Plan { moves: vec![], deletes: vec![0], inserts: vec![0] }
    );
}

#[test]
fn equal_texts_keep_their_order() {
    assert_eq!(planned(&[(5, b'a'), (6, b'a'), (7, b'a')], b"aa").moves, [(5, 0), (6, 1)]);
}

#[test]
fn odd_numbers_are_put_right() {
    assert_eq!(
        planned(&[(-1, b'a'), (7, b'b')], b"ab"),
        Plan { moves: vec![(-1, 0), (7, 1)], deletes: vec![], inserts: vec![] }
    );
}

/// Does to a stored row what the plan says, refusing whatever a unique index on the number would refuse.
fn apply(existing: &[(i32, u8)], plan: &Plan, letters: &[u8]) -> Result<BTreeMap<i32, u8>, String> {
    let mut store: BTreeMap<i32, u8> = existing.iter().copied().collect();
    for seq in &plan.deletes {
        store.remove(seq).ok_or(format!("no {seq} to delete"))?;
    }
    let mut moved = Vec::new();
    for (from, to) in &plan.moves {
        moved.push((*to, store.remove(from).ok_or(format!("no {from} to move"))?));
    }
    moved.extend(plan.inserts.iter().map(|&index| (index as i32, letters[index])));
    for (seq, letter) in moved {
        if store.insert(seq, letter).is_some() {
            return Err(format!("{seq} is there twice"));
        }
    }
    Ok(store)
}

fn counts(letters: impl Iterator<Item = u8>) -> HashMap<u8, usize> {
    letters.fold(HashMap::new(), |mut counts, letter| {
        *counts.entry(letter).or_default() += 1;
        counts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_plan_leads_to_what_is_wanted_at_the_least_cost(
        existing in prop::collection::btree_map(-2..12_i32, b'a'..b'f', 0..10),
        order in any::<u64>(),
        letters in prop::collection::vec(b'a'..b'g', 0..10),
    ) {
        let mut existing: Vec<(i32, u8)> = existing.into_iter().collect();
        if !existing.is_empty() {
            let by = (order % existing.len() as u64) as usize;
            existing.rotate_left(by);
        }
        let plan = planned(&existing, &letters);
        let expected: BTreeMap<i32, u8> = letters.iter().enumerate().map(|(index, &letter)| (index as i32, letter)).collect();
        prop_assert_eq!(apply(&existing, &plan, &letters), Ok(expected.clone()));

        // Nothing is embedded of which the store had a spare vector.
        let had = counts(existing.iter().map(|(_, letter)| *letter));
        let needed: usize = counts(letters.iter().copied())
            .into_iter()
            .map(|(letter, count)| count.saturating_sub(had.get(&letter).copied().unwrap_or(0)))
            .sum();
        prop_assert_eq!(plan.inserts.len(), needed);

        // No row that is right is touched.
        for (seq, letter) in &existing {
            if expected.get(seq) == Some(letter) {
                prop_assert!(!plan.deletes.contains(seq));
                prop_assert!(!plan.moves.iter().any(|(from, to)| from == seq || to == seq));
            }
        }
    }
}
