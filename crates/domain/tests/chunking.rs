//! The chunks are those of langchain-text-splitters, nothing is lost, no text is too long,
//! and no separator runs away.

use autovector_domain::{
    chunking::Chunker,
    config::{CharacterSplitter, Chunking},
    failure::Failure,
};
use proptest::prelude::*;
use serde_json::Value;

fn recursive(size: i32, overlap: i32, separators: &[&str], regex: bool) -> Chunker {
    Chunker::new(&Chunking::recursive(size, overlap, separators, regex).expect("sizes")).expect("separators")
}

fn character(size: i32, overlap: i32, separator: &str, regex: bool) -> Chunker {
    Chunker::new(&Chunking::character(size, overlap, separator, regex).expect("sizes")).expect("separator")
}

/// Every answer of the reference library in `data/chunking.json` (made by `data/make_chunking.py`).
#[test]
fn chunks_are_those_of_the_reference_library() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("data/chunking.json")).expect("the golden file");
    assert!(cases.len() > 500, "the golden file has only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let number = |key: &str| case[key].as_i64().expect(key) as i32;
        let (size, overlap) = (number("chunk_size"), number("chunk_overlap"));
        let regex = case["is_separator_regex"].as_bool().expect("is_separator_regex");
        let chunker = match case["splitter"].as_str().expect("splitter") {
            "character" => character(size, overlap, case["separator"].as_str().expect("separator"), regex),
            _ => {
                let separators: Vec<&str> = case["separators"]
                    .as_array()
                    .expect("separators")
                    .iter()
                    .filter_map(Value::as_str)
                    .collect();
                recursive(size, overlap, &separators, regex)
            }
        };
        let expected: Vec<&str> =
            case["chunks"].as_array().expect("chunks").iter().filter_map(Value::as_str).collect();
        let found = chunker.chunk(case["text"].as_str().expect("text"));
        if found.as_ref().map(|chunks| chunks.iter().map(String::as_str).eq(expected)) != Ok(true) {
            wrong.push(format!("{case}\n  gave {found:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
}

#[test]
fn documented_samples() {
    let chunker = recursive(20, 5, &Chunking::DEFAULT_SEPARATORS, false);
    assert_eq!(
        chunker
            .chunk("Hello world. This is a test! Is it? Yes it is.\n\nNew paragraph here")
            .expect("chunks"),
        ["Hello world", ". This is a test", "! Is it", "? Yes it is", ".", "New paragraph here"]
    );
    let chunker = character(10, 2, "\n\n", false);
    assert_eq!(
        chunker.chunk("aaaa bbbb cccc dddd\n\nee\n\nff").expect("chunks"),
        ["aaaa bbbb cccc dddd", "ee\n\nff"]
    );
    let chunker = Chunker::new(&Chunking::default()).expect("the default");
    assert_eq!(chunker.chunk("   ").expect("chunks"), Vec::<String>::new());
}

#[test]
fn no_chunking_gives_the_text_as_it_stands() {
    let chunker = Chunker::new(&Chunking::None).expect("none");
    assert_eq!(chunker.chunk(" a\n\nb ").expect("chunks"), [" a\n\nb "]);
    assert_eq!(chunker.chunk("").expect("chunks"), Vec::<String>::new());
    assert_eq!(chunker.chunk(" \n\u{1f}\u{3000}").expect("chunks"), Vec::<String>::new());
}

#[test]
fn groups_only_group() {
    let chunker = character(3, 0, r"(?:\n|\. )", true);
    let grouped = character(3, 0, r"(\n|\. )", true);
    assert_eq!(chunker.chunk("abc. def\nghi").expect("chunks"), ["abc", "def", "ghi"]);
    assert_eq!(grouped.chunk("abc. def\nghi").expect("chunks"), ["abc", "def", "ghi"]);
    // A backreference needs its group.
    assert_eq!(character(1, 0, r"([-=])\1", true).chunk("a--b-=c==d").expect("chunks"), ["a", "b-=c", "d"]);
}

#[test]
fn a_bad_expression_is_refused_with_a_hint() {
    for bad in ["(", "[a", "a**", "(?P<x", r"\", "(?<=a+)b", "*"] {
        let chunking = Chunking::character(10, 0, bad, true).expect("sizes");
        let Err(error) = Chunker::new(&chunking) else { panic!("{bad} was taken") };
        assert!(error.message.contains(&format!("\"{bad}\"")), "{error}");
        assert!(error.hint.contains("is_separator_regex"), "{}", error.hint);
    }
}

#[test]
fn sizes_are_checked_even_past_the_constructors() {
    let chunking = Chunking::Character(CharacterSplitter {
        chunk_size: 5,
        chunk_overlap: 5,
        separator: " ".into(),
        is_separator_regex: false,
    });
    let Err(error) = Chunker::new(&chunking) else { panic!("an overlap as long as the chunk was taken") };
    assert_eq!(error.message, "chunk_overlap (5) must be smaller than chunk_size (5)");
}

#[test]
fn a_runaway_expression_ends_as_a_bad_input() {
    let chunker = character(10, 0, r"(?=a)(?:a+a+)+(?!a)b", true);
    let failure = chunker.chunk(&"a".repeat(60)).expect_err("a bounded search");
    assert!(matches!(failure, Failure::Input { .. }), "{failure:?}");
}

/// Two megabytes of each, in a build without optimisation: anything quadratic would take hours.
#[test]
fn long_texts_take_linear_time() {
    let long = 2_000_000;
    let default = Chunker::new(&Chunking::default()).expect("the default");
    for text in ["x".repeat(long), "word ".repeat(long / 5), "文".repeat(long / 3), "\n".repeat(long)] {
        let chunks = default.chunk(&text).expect("chunks");
        assert!(chunks.iter().all(|chunk| chunk.chars().count() <= 800));
        assert_eq!(chunks.is_empty(), text.starts_with('\n'));
    }
    let lookaround = character(800, 0, r"(?<=\.)\s", true);
    assert_eq!(lookaround.chunk(&"x".repeat(long)).expect("chunks").len(), 1);
}

fn texts() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => "[a-z]{1,12}",
        1 => "[文字列ÄÖé🙂🇩]{1,6}",
        1 => Just("e\u{301}\u{200d}".to_owned()),
        4 => "[ \n\t.?!\u{a0}\u{1c}\u{3000}]{1,4}",
        1 => any::<String>(),
    ];
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !('\u{1c}'..='\u{1f}').contains(c)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn without_overlap_only_white_space_is_lost(text in texts(), size in 1..60) {
        let chunks = recursive(size, 0, &Chunking::DEFAULT_SEPARATORS, false).chunk(&text).expect("chunks");
        prop_assert_eq!(visible(&chunks.concat()), visible(&text));
    }

    #[test]
    fn the_splitter_at_one_separator_loses_only_that(text in texts(), size in 1..60) {
        let chunks = character(size, 0, ".", false).chunk(&text).expect("chunks");
        let without_dots = |text: &str| visible(text).replace('.', "");
        prop_assert_eq!(without_dots(&chunks.concat()), without_dots(&text));
    }

    #[test]
    fn no_chunk_is_longer_than_the_size(text in texts(), size in 1..60, share in 0.0..1.0f64) {
        let overlap = (f64::from(size) * share) as i32;
        for separators in [&Chunking::DEFAULT_SEPARATORS[..], &[""], &["e", ""]] {
            for chunk in recursive(size, overlap, separators, false).chunk(&text).expect("chunks") {
                prop_assert!(chunk.chars().count() <= size as usize, "{:?}", chunk);
            }
        }
    }

    #[test]
    fn every_chunk_stands_in_the_text_and_in_order(text in texts(), size in 1..60, share in 0.0..1.0f64) {
        let overlap = (f64::from(size) * share) as i32;
        let mut from = 0;
        for chunk in recursive(size, overlap, &Chunking::DEFAULT_SEPARATORS, false).chunk(&text).expect("chunks") {
            prop_assert!(!chunk.is_empty());
            let at = text[from..].find(&chunk);
            prop_assert!(at.is_some(), "{:?} is not in the rest of the text", chunk);
            from += at.unwrap_or_default();
        }
    }

    #[test]
    fn any_expression_and_any_text_end_well(expression in "[\\[\\]().|*+?^$a-c\\\\sSwWbBdDZ&~:=!<{},0-9 -]{0,12}", text in texts()) {
        let chunking = Chunking::character(10, 3, &expression, true).expect("sizes");
        if let Ok(chunker) = Chunker::new(&chunking) {
            match chunker.chunk(&text) {
                Ok(_) | Err(Failure::Input { .. }) => {}
                Err(failure) => prop_assert!(false, "{:?}", failure),
            }
        }
    }
}
