//! Rust source reduced to what a structure check may look at.
//!
//! Comments, strings and characters are blanked, so that a rule can be named
//! in a comment without breaking it; lines keep their numbers. Not a parser:
//! it knows the lexical forms alone.

/// `source` with comments and the contents of literals replaced by spaces.
pub fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match literal_end(bytes, at) {
            Some(end) => end,
            None => {
                out.push(bytes[at]);
                at += 1;
                continue;
            }
        };
        out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        at = end;
    }
    // Only whole characters were replaced, as each literal starts and ends with ASCII.
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of the comment or literal that starts at `at`, if one does.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let glued = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => Some(at + find(rest, b"\n").unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(at + block_comment(rest)),
        [b'"', ..] => Some(at + quoted(rest, 1)),
        [b'b' | b'c', b'"', ..] if !glued => Some(at + quoted(rest, 2)),
        [b'r', b'"' | b'#', ..] if !glued => raw(rest, 1).map(|end| at + end),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !glued => raw(rest, 2).map(|end| at + end),
        [b'\'', ..] => character(rest).map(|end| at + end),
        _ => None,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

fn quoted(rest: &[u8], opening: usize) -> usize {
    let mut at = opening;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"` or `r##"…"##`; `r#name` is an identifier.
fn raw(rest: &[u8], prefix: usize) -> Option<usize> {
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let start = prefix + hashes + 1;
    if rest.get(start - 1) != Some(&b'"') {
        return None;
    }
    let mut closing = vec![b'"'];
    closing.extend(std::iter::repeat_n(b'#', hashes));
    Some(find(&rest[start..], &closing).map_or(rest.len(), |end| start + end + closing.len()))
}

/// A character literal; `'a` without a closing quote is a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return find(&rest[3.min(rest.len())..], b"'").map(|end| end + 4);
    }
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    let valid = match text {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&rest[1..1 + error.valid_up_to()]).ok()?,
    };
    let width = valid.chars().next()?.len_utf8();
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// `code` (from [`code_only`]) with the items under `#[cfg(test)]` and
/// `#[cfg(any(test, …))]` blanked.
pub fn without_tests(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = find_test_attribute(&code[from..]) {
        let start = from + found;
        let end = item_end(code.as_bytes(), start);
        for byte in &mut bytes[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn find_test_attribute(code: &str) -> Option<usize> {
    ["#[cfg(test)]", "#[cfg(any(test"].iter().filter_map(|attribute| code.find(attribute)).min()
}

/// The end of the item whose attribute starts at `start`: its closing brace, or
/// the semicolon of one without a body.
fn item_end(code: &[u8], start: usize) -> usize {
    let mut at = start;
    let (mut brackets, mut braces) = (0_i32, 0_i32);
    while at < code.len() {
        match code[at] {
            b'[' | b'(' => brackets += 1,
            b']' | b')' => brackets -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces <= 0 {
                    return at + 1;
                }
            }
            b';' if braces == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    code.len()
}

/// Whether `word` occurs in `line` with nothing that belongs to a longer name
/// on either side.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].bytes().next_back().is_some_and(is_word);
        let after = line[at + word.len()..].bytes().next().is_some_and(is_word);
        let (first, last) = (word.as_bytes()[0], word.as_bytes()[word.len() - 1]);
        !(before && is_word(first) || after && is_word(last))
    })
}

/// The modules of the own crate that `code` names, with their line numbers:
/// `crate::a::b` and each `x` of `crate::{x, y::z}`.
pub fn crate_modules(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].bytes().next_back().is_some_and(|byte| is_word(byte) || byte == b'$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let line = |offset: usize| code[..at + offset].matches('\n').count() + 1;
        if let Some(group) = rest.strip_prefix('{') {
            for (offset, name) in group_heads(group) {
                found.push((line("crate::{".len() + offset), name));
            }
        } else {
            found.push((line(0), word_at(rest)));
        }
    }
    found
}

fn word_at(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first word of each member of a `{…}` group that has just been opened.
fn group_heads(group: &str) -> Vec<(usize, String)> {
    let mut heads = Vec::new();
    let (mut depth, mut expecting) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expecting = true,
            _ if expecting && depth == 0 && (c.is_alphabetic() || c == '_') => {
                heads.push((at, word_at(&group[at..])));
                expecting = false;
            }
            _ => {}
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let source = "a // unsafe\n/* x /* y */ unsafe */ b \"un\\\"safe\nunsafe\" c\n";
        let code = code_only(source);
        assert!(!code.contains("unsafe"), "{code:?}");
        assert_eq!(code.lines().count(), source.lines().count());
        for kept in ["a", "b", "c"] {
            assert!(code.contains(kept));
        }
    }

    #[test]
    fn every_kind_of_literal_is_known() {
        for literal in
            ["r#\"unsafe \" \"#", "b\"unsafe\"", "br##\"unsafe\"##", "c\"unsafe\"", "r\"unsafe\\\""]
        {
            let code = code_only(&format!("f({literal}); unsafe_not"));
            assert_eq!(code.trim_start_matches("f(").trim_start(), "); unsafe_not", "{literal}");
        }
    }

    #[test]
    fn lifetimes_are_not_characters() {
        let code = code_only(
            "fn f<'a>(x: &'a str) -> char { '\"' } // unsafe\nlet q = ('\\'', 'é', '\\u{1F600}'); g",
        );
        assert!(code.starts_with("fn f<'a>(x: &'a str)"));
        assert!(code.ends_with("); g") && !code.contains('é') && !code.contains("unsafe"), "{code}");
    }

    #[test]
    fn raw_identifiers_are_not_strings() {
        assert_eq!(code_only("r#type + for_r\"s\""), "r#type + for_r   ");
    }

    #[test]
    fn tests_are_cut_out_and_the_rest_stays() {
        let code = "use a;\n#[cfg(test)]\nmod tests {\n fn f() { {} }\n}\nfn kept() {}\n#[cfg(any(test, feature = \"\"))]\nuse b;\nfn too() {}";
        let rest = without_tests(code);
        assert!(!rest.contains("fn f") && !rest.contains("use b"), "{rest}");
        assert!(rest.contains("use a;") && rest.contains("fn kept") && rest.contains("fn too"));
        assert_eq!(rest.lines().count(), code.lines().count());
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe { }", "unsafe") && has_word("#[unsafe(no_mangle)]", "unsafe"));
        assert!(!has_word("unsafe_op_in_unsafe_fn", "unsafe"));
        assert!(has_word("x = Spi::run(q)", "Spi::") && !has_word("MySpi::run(q)", "Spi::"));
    }

    #[test]
    fn modules_are_found_in_paths_and_groups() {
        let code = "use crate::store::queue;\nuse crate::{error, services::{a, b},\n worker};\npub(crate) fn f() { crate::api::g() }";
        let names: Vec<(usize, String)> = crate_modules(code);
        let expected = [(1, "store"), (2, "error"), (2, "services"), (3, "worker"), (4, "api")];
        assert_eq!(names, expected.map(|(line, name)| (line, name.to_owned())));
        assert!(crate_modules("$crate::api::x; my_crate::api").is_empty());
    }
}
