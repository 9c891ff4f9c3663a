//! Documents with random damage. Whatever becomes of them, an answer comes, in time, and the next
//! document is read. `AUTOVECTOR_FUZZ_DOCUMENTS` says how many, and `AUTOVECTOR_FUZZ_SEED` where to
//! begin.

use std::time::{Duration, Instant};

use autovector_documents::process::{Readers, Trouble};
use autovector_documents::{How, Limits};

#[path = "../../../pgrx-tests/src/samples.rs"]
#[allow(dead_code)]
mod samples;

const MB: u64 = 1024 * 1024;

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// What breaks readers: sizes, references, nesting, and other documents' parts.
const TOKENS: [&[u8]; 14] = [
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"4294967295",
    b"-1",
    b"999999999999999999999",
    b" 2 0 R",
    b" 5 0 R",
    b"<<<<<<<<",
    b"[[[[[[[[",
    b"((((",
    b"<w:tbl><w:tr><w:tc>",
    b"<table><tr><td>",
    b"/Kids [2 0 R]",
    b"&#xffffff;",
];

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let until = (at + random.below(64)).min(bytes.len());
                bytes.drain(at..until);
            }
            2 => {
                let until = (at + random.below(512)).min(bytes.len());
                let again = bytes[at..until].repeat(1 + random.below(20));
                bytes.splice(at..at, again);
            }
            3 => {
                let token = TOKENS[random.below(TOKENS.len())].repeat(1 + random.below(50));
                bytes.splice(at..at, token);
            }
            4 => {
                let token = TOKENS[random.below(TOKENS.len())];
                for (place, byte) in bytes[at..].iter_mut().zip(token) {
                    *place = *byte;
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Fear: a damaged document takes all readers along, hangs, or answers for another one.
#[test]
fn damaged_documents_cost_themselves() {
    // SAFETY: the only test of this file, and the runner's thread holds no lock.
    let readers = unsafe { Readers::start(2, || ()) }.unwrap();
    let limits = Limits { size: 16 * MB, text: MB, memory: 256 * MB, time: Duration::from_secs(5) };
    let samples = samples::samples();
    let mut random = Random(number("AUTOVECTOR_FUZZ_SEED", 0x9e37_79b9_7f4a_7c15) | 1);
    let (mut read, mut refused, mut ended) = (0u32, 0u32, 0u32);
    let mut slowest = Duration::ZERO;
    for i in 0..number("AUTOVECTOR_FUZZ_DOCUMENTS", 400) {
        let sample = &samples[random.below(samples.len())];
        let seed = random.0;
        let mut bytes = sample.bytes.clone();
        damage(&mut bytes, &mut random);
        let began = Instant::now();
        match readers.read(&bytes, How::Auto, &limits) {
            Ok(text) => {
                assert!(!text.contains('\0') && text.len() as u64 <= limits.text);
                read += 1;
            }
            Err(Trouble::Unreadable(why)) => {
                assert!(!why.0.is_empty());
                let dead = ["memory", "longer", "nested", "killed"].iter().any(|word| why.0.contains(word));
                if dead {
                    eprintln!("{i}: {} with seed {seed}: {why}", sample.kind);
                }
                ended += u32::from(dead);
                refused += 1;
            }
            Err(Trouble::Gone(why)) => panic!("{i}: {} with seed {seed}: {why}", sample.kind),
        }
        slowest = slowest.max(began.elapsed());
    }
    assert_eq!(readers.read(b"still there", How::Auto, &limits), Ok("still there".to_owned()));
    eprintln!("{read} read, {refused} refused, {ended} of them by their end; the slowest took {slowest:?}");
    assert!(read > 0 && refused > 0, "the damage is neither nothing nor everything");
}
