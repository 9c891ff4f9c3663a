//! Names: which a vectorizer may have, which its store and view get by default, and which
//! existing name somebody may have meant. Whether a name is taken is not known here.

use sha2::{Digest, Sha256};

use crate::config::ConfigError;

/// The longest name that PostgreSQL keeps whole (NAMEDATALEN - 1).
pub const MAX_BYTES: usize = 63;

/// `_` and eight hexadecimal digits, where a name had to be changed.
const HASH_BYTES: usize = 9;

/// The most names that `nearest` proposes.
const MAX_PROPOSALS: usize = 3;

/// Checks a vectorizer's name: `^[a-z][a-z_0-9]*$`, at most 63 bytes.
pub fn check_vectorizer_name(name: &str) -> Result<(), ConfigError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !(name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed)) {
        return Err(ConfigError::new(
            format!("\"{}\" is not a valid name for a vectorizer", shown(name)),
            "Use lower-case letters a to z, digits and underscores, beginning with a letter.",
        ));
    }
    if name.len() > MAX_BYTES {
        return Err(ConfigError::new(
            format!("the name of the vectorizer has {} bytes, more than {MAX_BYTES}", name.len()),
            "Give a shorter name.",
        ));
    }
    Ok(())
}

/// `<target_schema>_<target_table>`, brought into the alphabet of vectorizer names.
pub fn default_vectorizer(target_schema: &str, target_table: &str) -> String {
    sanitised(&format!("{target_schema}_{target_table}"))
}

/// `<source_schema>_<source_table>_<column>`: the vectorizer's name where the vectors go into a
/// column of the source.
pub fn default_column_vectorizer(source_schema: &str, source_table: &str, column: &str) -> String {
    sanitised(&format!("{source_schema}_{source_table}_{column}"))
}

/// `<source>_embedding_store`.
pub fn default_store(source_table: &str) -> String {
    with_suffix(source_table, "_embedding_store")
}

/// `<source>_embedding`.
pub fn default_view(source_table: &str) -> String {
    with_suffix(source_table, "_embedding")
}

/// `base` followed by `suffix`. Where that is longer than a name may be, the base is cut between two
/// characters and gets a hash of the whole base, so that two long names stay apart and none is cut
/// down to an existing one. `suffix` has at most 50 bytes.
pub fn with_suffix(base: &str, suffix: &str) -> String {
    if base.len() + suffix.len() <= MAX_BYTES {
        return format!("{base}{suffix}");
    }
    let room = MAX_BYTES.saturating_sub(suffix.len() + HASH_BYTES);
    format!("{}{}{suffix}", &base[..base.floor_char_boundary(room)], hash_of(base))
}

/// A vectorizer's name out of any text: ASCII letters in lower case, `_` for whatever else is not
/// allowed. A text that loses characters beyond ASCII gets a hash: names in other scripts would all
/// become rows of underscores.
fn sanitised(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.insert_str(0, if name.starts_with('_') { "v" } else { "v_" });
    }
    if text.is_ascii() && name.len() <= MAX_BYTES {
        return name;
    }
    name.truncate(MAX_BYTES - HASH_BYTES);
    name + &hash_of(text)
}

/// `_` and the first 32 bits of the text's SHA-256.
fn hash_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    format!("_{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

/// A text from outside, short enough for a message.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_BYTES)]
}

/// The candidates that `name` may have been meant to be, best first, at most three: those whose edit
/// distance (insertions, deletions, replacements, swaps of neighbours; case aside) is at most a third
/// of the name's length, and at least 1.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    // Nothing that long can be a name, and comparing costs length times length.
    if wanted.len() > 4 * MAX_BYTES {
        return Vec::new();
    }
    let allowed = (wanted.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            if other.len().abs_diff(wanted.len()) > allowed {
                return None;
            }
            let distance = edit_distance(&wanted, &other);
            (distance <= allowed).then_some((distance, candidate))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MAX_PROPOSALS).map(|(_, candidate)| candidate).collect()
}

/// Optimal string alignment distance, by the usual table of which three rows are kept.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut row = last.clone();
    for i in 0..a.len() {
        row[0] = i + 1;
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row[j + 1] = best;
        }
        std::mem::swap(&mut before, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_vectorizers_follow_the_rule() {
        for good in ["a", "blog_1", "public_blog_embedding_store", &"a".repeat(63)] {
            assert_eq!(check_vectorizer_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "1a", "_a", "a-b", "a b", "ä", "a\n", &"a".repeat(64)] {
            let error = check_vectorizer_name(bad).expect_err(bad);
            assert!(!error.hint.is_empty(), "{bad}");
        }
    }

    #[test]
    fn short_names_are_plain() {
        assert_eq!(default_store("blog"), "blog_embedding_store");
        assert_eq!(default_view("Blog Posts"), "Blog Posts_embedding");
        assert_eq!(default_vectorizer("public", "blog_embedding_store"), "public_blog_embedding_store");
        assert_eq!(default_vectorizer("public", "Blog Posts"), "public_blog_posts");
        assert_eq!(default_column_vectorizer("public", "blog", "embedding"), "public_blog_embedding");
        assert_eq!(default_vectorizer("_x", "y"), "v_x_y");
        assert_eq!(default_vectorizer("1x", "y"), "v_1x_y");
    }

    #[test]
    fn long_names_differ_from_their_source_and_from_each_other() {
        let one = "t".repeat(63);
        let two = format!("{}u", "t".repeat(62));
        assert_eq!(default_store(&one).len(), 63);
        assert_ne!(default_store(&one), one);
        assert_ne!(default_store(&one), default_store(&two));
        assert!(default_view(&one).ends_with("_embedding"));
        // 47 bytes are the most that fit with the suffix of a store.
        assert_eq!(default_store(&"t".repeat(47)), format!("{}_embedding_store", "t".repeat(47)));
    }

    #[test]
    fn other_scripts_do_not_collide() {
        let one = default_vectorizer("public", "文档");
        let two = default_vectorizer("public", "评论");
        assert!(one.starts_with("public____"), "{one}");
        assert_ne!(one, two);
    }

    #[test]
    fn nearest_finds_typing_errors() {
        let names = ["wiki", "wiki_de", "blog", "orders"];
        assert_eq!(nearest("wkii", names), ["wiki"]);
        assert_eq!(nearest("Orders", names), ["orders"]);
        assert_eq!(nearest("wiki_d", names), ["wiki_de", "wiki"]);
        assert_eq!(nearest("something_else", names), Vec::<&str>::new());
        assert_eq!(nearest("a1", ["a4", "a3", "a2", "a5"]), ["a2", "a3", "a4"]);
        assert_eq!(nearest("", ["a"]), ["a"]);
        assert_eq!(nearest(&"x".repeat(100_000), ["x"]), Vec::<&str>::new());
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        let distance =
            |a: &str, b: &str| edit_distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ca", "abc"), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }

    proptest! {
        #[test]
        fn default_names_are_always_legal(schema in ".{1,63}", table in ".{1,63}") {
            let name = default_vectorizer(&schema, &table);
            prop_assert_eq!(check_vectorizer_name(&name), Ok(()), "{}", name);
            for derived in [default_store(&table), default_view(&table)] {
                prop_assert!(derived.len() <= MAX_BYTES);
                prop_assert_ne!(&derived, &table);
            }
            prop_assert_ne!(default_store(&table), default_view(&table));
        }

        #[test]
        fn different_sources_have_different_stores(a in "[a-z文]{40,63}", b in "[a-z文]{40,63}") {
            prop_assume!(a != b);
            prop_assert_ne!(default_store(&a), default_store(&b));
        }
    }
}
