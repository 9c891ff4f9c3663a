//! Packs the vocabularies of tiktoken, which has them as text of twice the size: every token in the
//! order of its rank, each after a byte with its length.

use std::{env, fs, path::Path};

use tiktoken_rs::CoreBPE;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let vocabularies = [
        ("cl100k_base", tiktoken_rs::cl100k_base(), 100_256),
        ("o200k_base", tiktoken_rs::o200k_base(), 199_998),
    ];
    for (name, encoding, tokens) in vocabularies {
        let encoding = encoding.expect("tiktoken has the encoding");
        fs::write(Path::new(&out).join(name), packed(&encoding, tokens)).expect("OUT_DIR can be written");
    }
}

fn packed(encoding: &CoreBPE, tokens: u32) -> Vec<u8> {
    let mut packed = Vec::new();
    for rank in 0..tokens {
        let token = encoding.decode_bytes(&[rank]).expect("ranks have no gaps");
        packed.push(u8::try_from(token.len()).expect("a token is short"));
        packed.extend_from_slice(&token);
    }
    packed
}
