//! Chunking by tokens, at Markdown's headings and by sentences: nothing is lost, no chunk is too
//! long, and every text comes to an end.

use autovector_domain::{chunking::Chunker, config::Chunking, tokens::Encoding};
use proptest::prelude::*;

fn chunks(chunking: Chunking, text: &str) -> Vec<String> {
    Chunker::new(&chunking).expect("a chunking").chunk(text).expect("chunks")
}

fn markdown(size: i32, overlap: i32, text: &str) -> Vec<String> {
    chunks(Chunking::markdown(size, overlap).expect("sizes"), text)
}

fn sentence(size: i32, overlap: i32, text: &str) -> Vec<String> {
    chunks(Chunking::sentence(size, overlap).expect("sizes"), text)
}

fn token(size: i32, overlap: i32, text: &str) -> Vec<String> {
    chunks(Chunking::token(size, overlap, "cl100k_base").expect("sizes"), text)
}

#[test]
fn every_chunk_of_markdown_says_what_it_stands_under() {
    let text = "\
intro

# Guide #

## Install

### Linux

Use apt.

### macOS

Use brew.

Notes
-----

```sh
# not a heading
make
```

Empty
=====
";
    assert_eq!(
        markdown(200, 0, text),
        [
            "intro",
            "Guide > Install > Linux\n\nUse apt.",
            "Guide > Install > macOS\n\nUse brew.",
            "Guide > Notes\n\n```sh\n# not a heading\nmake\n```",
            "Empty",
        ]
    );
}

#[test]
fn a_section_is_cut_at_paragraphs_under_its_heading() {
    let text = "# Trees\n\nOaks are old.\n\nBirches are white.\n\nFirs are green.";
    assert_eq!(
        markdown(40, 0, text),
        ["Trees\n\nOaks are old.", "Trees\n\nBirches are white.", "Trees\n\nFirs are green."]
    );
    // What is longer than half a chunk is no path but text.
    let long = format!("# {}\n\nbody", "word ".repeat(12).trim());
    let found = markdown(40, 0, &long);
    assert!(found.iter().all(|chunk| chunk.chars().count() <= 40), "{found:?}");
    assert_eq!(found.join(" ").split_whitespace().count(), 13, "{found:?}");
    // Outer headings go first where the path is too long.
    let deep = "# Outermost heading\n## Middle heading\n### Inner\ntext";
    assert_eq!(markdown(40, 0, deep), ["Outermost heading", "Middle heading", "Inner\n\ntext"]);
    assert_eq!(markdown(60, 0, deep), ["Outermost heading", "Middle heading > Inner\n\ntext"]);
}

#[test]
fn what_only_looks_like_a_heading_is_text() {
    for text in [
        "#hashtag",
        "####### seven",
        "    # indented code",
        "---\ntitle: x\n---\nbody",
        "a\nb\n===",
        "- item\n---",
        "| a |\n---",
    ] {
        let found = markdown(100, 0, text);
        assert_eq!(found, [text.trim()], "{text:?}");
    }
    assert_eq!(markdown(100, 0, "~~~\n# a\n```\n~~~~\n# b"), ["~~~\n# a\n```\n~~~~", "b"]);
    assert_eq!(markdown(100, 0, "# C# and F#\nx"), ["C# and F#\n\nx"]);
    assert_eq!(markdown(100, 0, " \n\n"), Vec::<String>::new());
    assert_eq!(markdown(100, 0, "# a\r\ntext\r\n## b\r\nmore"), ["a\n\ntext", "a > b\n\nmore"]);
}

#[test]
fn sentences_stay_whole() {
    let text = "Dr. Smith met J. Doe at 3.15 p.m. in Bonn. Was it late? Yes! They left.\nNew line";
    assert_eq!(
        sentence(45, 0, text),
        ["Dr. Smith met J. Doe at 3.15 p.m. in Bonn.", "Was it late? Yes! They left.\nNew line"]
    );
    assert_eq!(sentence(20, 9, "One is. Two are. Three do."), ["One is. Two are.", "Two are. Three do."]);
    assert_eq!(
        sentence(12, 0, "今日は晴れです。明日は雨でしょう。"),
        ["今日は晴れです。", "明日は雨でしょう。"]
    );
    // A sentence that is too long is cut between words.
    assert_eq!(sentence(10, 0, "alpha beta gamma"), ["alpha beta", "gamma"]);
}

#[test]
fn tokens_are_counted_and_characters_stay_whole() {
    let text = "one two three four five six seven";
    assert_eq!(token(3, 1, text), ["one two three", " three four five", " five six seven"]);
    assert_eq!(token(2, 0, "<|endoftext|>").concat(), "<|endoftext|>");
    // Each of these takes several tokens.
    let emoji = "🫠🫥🪿";
    assert_eq!(token(1, 0, emoji), ["🫠", "🫥", "🪿"]);
    assert_eq!(token(4, 0, emoji).concat(), emoji);
}

/// A fifth of a megabyte of each, without optimisation: anything quadratic would take minutes.
#[test]
fn long_and_hostile_texts_take_linear_time() {
    let long = 200_000;
    for text in [
        "a".repeat(long),
        "Mr. ".repeat(long / 4),
        "# a\n".repeat(long / 4),
        "## b\n# a\n### c\n".repeat(long / 15),
        "```\n".repeat(long / 4),
        "a\n=\n".repeat(long / 4),
        "🫠".repeat(long / 4),
        " ".repeat(long),
        "\n".repeat(long),
        "。".repeat(long / 3),
    ] {
        for found in [markdown(800, 100, &text), sentence(800, 100, &text)] {
            assert!(found.iter().all(|chunk| chunk.chars().count() <= 800), "{:?}", &text[..4]);
        }
        token(256, 32, &text);
    }
}

fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        6 => "[a-zA-Z]{1,8}",
        1 => "[äöüß文字列]{1,4}",
        1 => "[0-9]{1,4}[.,]?",
        2 => Just(". ".to_owned()),
        1 => "[?!]\n?",
    ];
    let glue = prop_oneof![6 => Just(" "), 2 => Just("\n"), 1 => Just("\n\n"), 1 => Just("\t")];
    let start = prop_oneof![
        8 => Just(""),
        2 => Just("\n# "),
        2 => Just("\n## "),
        1 => Just("\n###### "),
        1 => Just("\n```\n"),
        1 => Just("\n===\n"),
        1 => Just("\n---\n"),
        1 => Just("\n- "),
        1 => Just("\n    "),
    ];
    prop::collection::vec((start, word, glue), 0..80).prop_map(|parts| {
        parts.into_iter().map(|(start, word, glue)| format!("{start}{word}{glue}")).collect()
    })
}

/// Letters and digits, in runs.
fn visible(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn markdown_loses_no_word_and_keeps_the_size(text in words(), size in 60..300, overlap in 0..20) {
        let found = markdown(size, overlap, &text);
        for chunk in &found {
            prop_assert!(chunk.chars().count() <= size as usize, "{:?}", chunk);
            prop_assert!(!chunk.trim().is_empty());
        }
        let kept: std::collections::HashSet<&str> = found.iter().flat_map(|chunk| visible(chunk)).collect();
        for word in visible(&text) {
            prop_assert!(kept.contains(word), "{:?} is lost from {:?}: {:?}", word, text, found);
        }
    }

    #[test]
    fn sentences_lose_nothing_and_keep_the_size(text in words(), size in 10..200) {
        let found = sentence(size, 0, &text);
        prop_assert!(found.iter().all(|chunk| chunk.chars().count() <= size as usize), "{:?}", found);
        let squeeze = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        prop_assert_eq!(squeeze(&found.concat()), squeeze(&text));
    }

    #[test]
    fn tokens_lose_nothing_and_keep_the_size(text in prop_oneof![words(), any::<String>()], size in 4..60, overlap in 0..4) {
        prop_assert_eq!(token(size, 0, &text).concat(), text.clone());
        let found = token(size, overlap, &text);
        prop_assert!(found.len() <= Encoding::Cl100k.count(&text), "{:?}", found);
        prop_assert!(found.iter().all(|chunk| !chunk.is_empty() && text.contains(chunk.as_str())));
        prop_assert!(found.last().is_none_or(|last| text.ends_with(last.as_str())));
    }

    #[test]
    fn any_text_comes_to_an_end(text in any::<String>(), size in 20..50, overlap in 0..19) {
        markdown(size, overlap, &text);
        sentence(size, overlap, &text);
        token(size, overlap, &text);
    }
}
