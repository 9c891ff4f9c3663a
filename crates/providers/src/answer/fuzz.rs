//! Answers from a provider that has lost its mind: sound ones, damaged at random. More of them with
//! `PROPTEST_CASES=1000000`.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const COUNT: usize = 3;
const DIMENSIONS: usize = 2;

/// The shapes that are read.
fn lists() -> [List<'static>; 3] {
    static STEPS: LazyLock<[Vec<Step>; 2]> = LazyLock::new(|| {
        ["embeddings[*]", "usage.total_tokens"].map(|path| Step::parse(path).expect("a path"))
    });
    [List::Indexed, List::Plain, List::At { vectors: &STEPS[0], tokens: &STEPS[1] }]
}

/// A sound answer of each shape that is read.
fn sound(list: List, in_base64: bool) -> String {
    let vector = |at: usize| match in_base64 {
        true => {
            let bytes: Vec<u8> = (0..DIMENSIONS).flat_map(|d| ((at + d) as f32).to_le_bytes()).collect();
            format!("\"{}\"", STANDARD.encode(bytes))
        }
        false => format!("[{}]", (0..DIMENSIONS).map(|d| (at + d).to_string()).collect::<Vec<_>>().join(",")),
    };
    let vectors = match list {
        List::Indexed => (0..COUNT)
            .map(|at| format!(r#"{{"object":"embedding","index":{at},"embedding":{}}}"#, vector(at)))
            .collect::<Vec<_>>(),
        List::Plain | List::At { .. } => (0..COUNT).map(vector).collect(),
    };
    let name = if list == List::Indexed { "data" } else { "embeddings" };
    format!(
        r#"{{"{name}":[{}],"model":"m","usage":{{"prompt_tokens":3,"total_tokens":7}}}}"#,
        vectors.join(",")
    )
}

/// What hostile or broken servers put where it does not belong.
const STRANGE: [&str; 24] = [
    "null",
    "NaN",
    "1e999",
    "-0",
    "1e-400",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\\",
    "\\ud800",
    "\\u0000",
    "\"index\":18446744073709551616",
    "\"index\":-1,",
    "\"index\":1.5,",
    "\"embedding\":[],",
    "\"data\":[],",
    "\"embedding\":\"AAAA\",",
    "[[[[[[[[[[[[[[[[",
    "true",
    "0123456789012345678901234567890123456789",
];

#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Insert(Index, usize),
    Cut(Index, usize),
    Repeat(Index, usize),
    End(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), 0..STRANGE.len()).prop_map(|(at, which)| Damage::Insert(at, which)),
        (any::<Index>(), 1_usize..40).prop_map(|(at, length)| Damage::Cut(at, length)),
        (any::<Index>(), 1_usize..80).prop_map(|(at, length)| Damage::Repeat(at, length)),
        any::<Index>().prop_map(Damage::End),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let part = |at: &Index, length: usize| {
            let from = at.index(bytes.len());
            from..bytes.len().min(from + length)
        };
        match damage {
            Damage::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Damage::Insert(at, which) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, STRANGE[*which].bytes());
            }
            Damage::Cut(at, length) => drop(bytes.drain(part(at, *length))),
            Damage::Repeat(at, length) => {
                let part = part(at, *length);
                let (end, copy) = (part.end, bytes[part].to_vec());
                bytes.splice(end..end, copy);
            }
            Damage::End(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

/// Reading returns: an error, or exactly what `Embedder::embed` promises.
fn check(bytes: &[u8], list: List) -> Result<(), TestCaseError> {
    let expected = Expected { list, count: COUNT, dimensions: DIMENSIONS, origin: "https://h.test" };
    if let Ok(answer) = read(bytes, expected) {
        prop_assert_eq!(answer.count(), COUNT);
        prop_assert_eq!(answer.values.len(), COUNT * DIMENSIONS);
        prop_assert_eq!(answer.dimensions, DIMENSIONS);
        prop_assert!(answer.values.iter().all(|value| value.is_finite()));
    }
    Ok(())
}

/// More than usual, and as many as are asked for.
fn more_cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(1024), ..config }
}

proptest! {
    #![proptest_config(more_cases())]

    #[test]
    fn damaged_answers_are_refused_or_whole(
        shape in 0..3_usize, in_base64 in any::<bool>(), damages in prop::collection::vec(damage(), 0..6),
    ) {
        let list = lists()[shape];
        check(&damaged(sound(list, in_base64 && shape != 1).into_bytes(), &damages), list)?;
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), shape in 0..3_usize) {
        check(&bytes, lists()[shape])?;
    }
}

#[test]
fn undamaged_answers_are_read() {
    let [indexed, plain, at] = lists();
    for (list, in_base64) in [(indexed, false), (indexed, true), (plain, false), (at, false), (at, true)] {
        let expected = Expected { list, count: COUNT, dimensions: DIMENSIONS, origin: "https://h.test" };
        let answer = read(sound(list, in_base64).as_bytes(), expected).expect("it is sound");
        assert_eq!(answer.values, [0.0, 1.0, 1.0, 2.0, 2.0, 3.0]);
    }
}
