use super::*;

fn expected(list: List<'static>, count: usize, dimensions: usize) -> Expected<'static> {
    Expected { list, count, dimensions, origin: "https://h.test" }
}

fn indexed(json: &str, count: usize, dimensions: usize) -> Result<Embeddings, Failure> {
    read(json.as_bytes(), expected(List::Indexed, count, dimensions))
}

fn base64(values: &[f32]) -> String {
    STANDARD.encode(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}

#[test]
fn vectors_follow_their_index_and_not_their_place() {
    let json = r#"{"object":"list","data":[
        {"object":"embedding","embedding":[2.0, 2.5],"index":2},
        {"index":0,"embedding":[0.0,0.5],"object":"embedding"},
        {"index":1,"embedding":[1,-1.5e0]}],
        "model":"m","usage":{"prompt_tokens":3,"total_tokens":7}}"#;
    let answer = indexed(json, 3, 2).unwrap();
    assert_eq!(answer.values, [0.0, 0.5, 1.0, -1.5, 2.0, 2.5]);
    assert_eq!((answer.dimensions, answer.tokens, answer.count()), (2, 7, 3));
    assert_eq!(answer.vector(1), [1.0, -1.5]);
}

#[test]
fn base64_and_lists_may_stand_side_by_side() {
    let one = [1.5f32, -0.0, f32::MIN_POSITIVE / 2.0];
    let escaped = base64(&one).replace('/', "\\/").replace('A', "\\u0041");
    let json = format!(
        r#"{{"data":[{{"index":1,"embedding":"{}"}},{{"index":0,"embedding":[1,2,3]}},{{"index":2,"embedding":"{escaped}"}}]}}"#,
        base64(&one)
    );
    let answer = indexed(&json, 3, 3).unwrap();
    assert_eq!(answer.vector(0), [1.0, 2.0, 3.0]);
    for index in [1, 2] {
        let bits: Vec<u32> = answer.vector(index).iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, one.map(f32::to_bits));
    }
    assert_eq!(answer.tokens, 0);
}

#[test]
fn the_plain_list_keeps_its_order() {
    let json =
        r#"{"model":"m","embeddings":[[1,2],[3,4]],"total_duration":5,"prompt_eval_count":9,"data":[7]}"#;
    let answer = read(json.as_bytes(), expected(List::Plain, 2, 2)).unwrap();
    assert_eq!((answer.values, answer.tokens), (vec![1.0, 2.0, 3.0, 4.0], 9));
}

/// The nearest f32 by exact integer arithmetic is what a decimal has to become. These were
/// worked out with Python's `fractions`; each lies so close to the middle of two floats that
/// rounding to f64 first gives the other one.
#[test]
fn decimals_become_the_nearest_f32() {
    for (text, bits) in ROUNDING {
        let json = format!(r#"{{"data":[{{"index":0,"embedding":[{text}]}}]}}"#);
        let got = indexed(&json, 1, 1).unwrap().values[0].to_bits();
        assert_eq!(got, bits, "{text}: {got:#x} is not {bits:#x}");
    }
}

const ROUNDING: [(&str, u32); 25] = [
    ("0.0113619859330356121062632421875", 0x3c3a279f),
    ("0.40772093832492828369140625007", 0x3ed0c0cd),
    ("0.00062538750353269279003083310546875", 0x3a23f10b),
    ("0.1190338246524333947857421875", 0x3df3c801),
    ("0.002099154866300523280797412109375", 0x3b0991f9),
    ("0.020444604568183422088123046875", 0x3ca77b71),
    ("0.372301235795021057128906252", 0x3ebe9e45),
    ("0.03752343915402889251708484375", 0x3d19b22d),
    ("0.002954371855594217777252277265625", 0x3b419e23),
    ("0.020538604818284511566162089375", 0x3ca84093),
    ("0.023449319414794445037834796875", 0x3cc018c9),
    ("0.1526121720671653747558593744", 0x3e1c465d),
    ("0.1", 0x3dcccccd),
    ("-0.0", 0x80000000),
    ("-0.006929283495992422", 0xbbe30f0b),
    ("1e-45", 0x00000001),
    ("7e-46", 0x00000000),
    ("1.1754944e-38", 0x00800000),
    ("1.1754942e-38", 0x007fffff),
    ("123456789", 0x4ceb79a3),
    ("16777217", 0x4b800000),
    ("16777219", 0x4b800002),
    ("0.30000001192092896", 0x3e99999a),
    ("-1.5E+2", 0xc3160000),
    ("4.9406564584124654e-324", 0x00000000),
];

#[test]
fn malformed_answers_blame_nobody() {
    for json in [
        "",
        " ",
        "null",
        "[]",
        "{",
        "<html>busy</html>",
        "{}",
        r#"{"data":null}"#,
        r#"{"data":{}}"#,
        r#"{"data":[]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,2]},{"index":2,"embedding":[1,2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":0,"embedding":[1,2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":2,"embedding":[1,2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":-1,"embedding":[1,2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":"1","embedding":[1,2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"embedding":[1,2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":null,"embedding":[1,2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":18446744073709551615,"embedding":[1,2]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2,3]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,"2"]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,true]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,[2]]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,NaN]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,Infinity]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,2,]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,.5]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,+5]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":{}}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":"no base64"}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":"AAAAAAAAAA=="}]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,2]}]} trailing"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,2]}],"data":[]}"#,
        r#"{"data":[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1,2]"#,
    ] {
        match indexed(json, 2, 2) {
            Err(Failure::Request { message, retry_after: None }) => {
                assert!(message.starts_with("https://h.test sent "), "{message}");
            }
            other => panic!("{json}: {other:?}"),
        }
    }
    let not_utf8 = b"{\"data\":[{\"index\":0,\"embedding\":\"\xff\"}]}";
    assert!(matches!(read(not_utf8, expected(List::Indexed, 1, 1)), Err(Failure::Request { .. })));
    let deep = "[".repeat(200_000);
    assert!(matches!(indexed(&deep, 1, 1), Err(Failure::Request { .. })));
    let deep = format!(r#"{{"x":{deep}"#);
    assert!(matches!(indexed(&deep, 1, 1), Err(Failure::Request { .. })));
    let deep = format!(r#"{{"data":[{{"index":0,"embedding":{}"#, "[".repeat(200_000));
    assert!(matches!(indexed(&deep, 1, 1), Err(Failure::Request { .. })));
}

#[test]
fn one_wrong_dimension_throughout_is_a_matter_of_configuration() {
    let two = r#"{"data":[{"index":0,"embedding":[1,2,3]},{"index":1,"embedding":[1,2,3]}]}"#;
    for (json, count) in [(two, 2), (r#"{"data":[{"index":0,"embedding":[1,2,3]}]}"#, 1)] {
        match indexed(json, count, 2) {
            Err(Failure::Config { message, hint }) => {
                assert!(
                    message.contains("3 dimensions") && message.contains("2 are configured"),
                    "{message}"
                );
                assert!(hint.unwrap().contains("dimensions => 3"));
            }
            other => panic!("{json}: {other:?}"),
        }
    }
}

#[test]
fn numbers_that_are_not_finite_are_laid_to_the_texts() {
    let nan = base64(&[1.0, f32::NAN]);
    let infinite = base64(&[f32::NEG_INFINITY, 1.0]);
    for bad in [
        "[1,1e39]",
        "[-1e400,1]",
        "[null,1]",
        "[null,null]",
        "null",
        &format!("\"{nan}\""),
        &format!("\"{infinite}\""),
    ] {
        let json = format!(r#"{{"data":[{{"index":1,"embedding":{bad}}},{{"index":0,"embedding":[1,2]}}]}}"#);
        assert!(matches!(indexed(&json, 2, 2), Err(Failure::Input { .. })), "{bad}");
    }
    // The largest f32 itself is a number like any other.
    assert_eq!(
        indexed(r#"{"data":[{"index":0,"embedding":[3.4028234663852886e38]}]}"#, 1, 1).unwrap().values,
        [f32::MAX]
    );
}

#[test]
fn no_message_quotes_the_answer() {
    for json in
        [r#"{"data":"sk-secret"}"#, r#"{"data":[{"index":"sk-secret","embedding":[1]}]}"#, "sk-secret"]
    {
        assert!(!indexed(json, 1, 1).unwrap_err().to_string().contains("sk-secret"));
    }
}
