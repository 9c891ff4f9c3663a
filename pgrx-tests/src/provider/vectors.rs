//! Vectors that encode their input: a vector stored beside another text is recognised.
//!
//! Every component is a multiple of 1/1024 from -1 to 1, so it is the same number as decimal
//! text, as f32 and as f64, and texts and vectors can be compared exactly.

use std::sync::OnceLock;

use base64::{Engine, engine::general_purpose::STANDARD};

const STEPS: i32 = 1024;

/// Components per block: 12 f32 are 48 bytes, 64 characters of base64 without padding, so
/// blocks can be rendered once and put together.
const BLOCK: usize = 12;
const BLOCKS: usize = 1024;

/// The vector that the provider answers for `text`, with `dimensions` components.
///
/// The first block is made for the text alone, the others are drawn from a fixed stock that
/// is rendered once: a wide vector costs the provider next to nothing.
pub fn expected_vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut random = Random::of(text);
    let mut vector: Vec<f32> = random.block().into();
    while vector.len() < dimensions {
        vector.extend_from_slice(&stock()[random.index()].numbers);
    }
    vector.truncate(dimensions);
    vector
}

/// Appends the vector as a JSON array.
pub fn push_json(out: &mut String, text: &str, dimensions: usize) {
    let mut random = Random::of(text);
    let first = random.block();
    out.push('[');
    out.push_str(&json_of(&first[..dimensions.min(BLOCK)]));
    let mut written = BLOCK;
    while written < dimensions {
        let block = &stock()[random.index()];
        out.push(',');
        match dimensions - written {
            left if left < BLOCK => out.push_str(&json_of(&block.numbers[..left])),
            _ => out.push_str(&block.json),
        }
        written += BLOCK;
    }
    out.push(']');
}

/// Appends the vector as a JSON string: base64 of its little-endian f32 components.
pub fn push_base64(out: &mut String, text: &str, dimensions: usize) {
    let mut random = Random::of(text);
    let first = random.block();
    out.push('"');
    out.push_str(&base64_of(&first[..dimensions.min(BLOCK)]));
    let mut written = BLOCK;
    while written < dimensions {
        let block = &stock()[random.index()];
        match dimensions - written {
            left if left < BLOCK => out.push_str(&base64_of(&block.numbers[..left])),
            _ => out.push_str(&block.base64),
        }
        written += BLOCK;
    }
    out.push('"');
}

struct Block {
    numbers: [f32; BLOCK],
    json: String,
    base64: String,
}

fn stock() -> &'static [Block] {
    static STOCK: OnceLock<Vec<Block>> = OnceLock::new();
    STOCK.get_or_init(|| {
        let mut random = Random(0);
        let render =
            |numbers: [f32; BLOCK]| Block { numbers, json: json_of(&numbers), base64: base64_of(&numbers) };
        (0..BLOCKS).map(|_| render(random.block())).collect()
    })
}

fn json_of(numbers: &[f32]) -> String {
    numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(",")
}

fn base64_of(numbers: &[f32]) -> String {
    STANDARD.encode(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}

/// splitmix64 (Steele, Lea, Flood 2014), seeded with FNV-1a of a text.
struct Random(u64);

impl Random {
    fn of(text: &str) -> Random {
        Random(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn index(&mut self) -> usize {
        self.next() as usize % BLOCKS
    }

    /// Components in steps of 1/1024; the first is never zero, so no vector is.
    fn block(&mut self) -> [f32; BLOCK] {
        let mut numbers =
            [0.0; BLOCK].map(|_: f32| ((self.next() >> 40) as i32 % (2 * STEPS) - STEPS) as f32);
        numbers[0] = (numbers[0] as i32 | 1) as f32;
        numbers.map(|number| number / STEPS as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_base64_say_the_same_as_expected_vector() {
        for text in ["", "a", "b", "ein längerer Text mit Umlauten", "x\u{0}y"] {
            for dimensions in [1, 8, 12, 13, 37, 48] {
                let expected = expected_vector(text, dimensions);
                assert_eq!(expected.len(), dimensions);
                let mut json = String::new();
                push_json(&mut json, text, dimensions);
                assert_eq!(serde_json::from_str::<Vec<f32>>(&json).unwrap(), expected);
                let mut coded = String::new();
                push_base64(&mut coded, text, dimensions);
                let bytes = STANDARD.decode(coded.trim_matches('"')).unwrap();
                let decoded: Vec<f32> =
                    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
                assert_eq!(decoded, expected);
            }
        }
    }

    #[test]
    fn different_texts_have_different_vectors_in_range() {
        let vectors: Vec<_> = (0..1000).map(|i| expected_vector(&format!("text {i}"), 8)).collect();
        for (i, vector) in vectors.iter().enumerate() {
            assert!(vector.iter().all(|x| x.abs() <= 1.0) && vector[0] != 0.0);
            assert!(vectors[..i].iter().all(|other| other != vector));
        }
    }
}
