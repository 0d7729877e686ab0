use super::*;

fn bounds(commands_max: usize) -> BodyBounds {
    BodyBounds { commands_max, words_max: 30 }
}
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn commands_are_decoded_from_json() {
    fn check(body: &str, expect: Result<&[&str], CommandError>) {
        let got = decode_command(body.as_bytes(), bounds(9));
        let expect = expect.map(|words| {
            words[1..].iter().fold(Command::new(words[0]), |command, word| command.arg(word))
        });
        assert_eq!(got, expect, "{body}");
    }
    check(r#"["SET","k","v"]"#, Ok(&["SET", "k", "v"]));
    check(r#"["SET","k",9007199254740993]"#, Ok(&["SET", "k", "9007199254740993"]));
    check(r#"["SET","k",-1.50]"#, Ok(&["SET", "k", "-1.50"]));
    check(r#"["SET","k",true]"#, Ok(&["SET", "k", "true"]));
    check(r#"["SET","k","a\"\u00e9\n"]"#, Ok(&["SET", "k", "a\"é\n"]));
    check(r#"["SET","k","\ud83d\ude00é"]"#, Ok(&["SET", "k", "😀é"]));
    check(r#"["SET","k",""]"#, Ok(&["SET", "k", ""]));
    check(r#"["SET","k","\ud800"]"#, Err(CommandError::Malformed));
    check("[]", Err(CommandError::Empty));
    check(r#"[""]"#, Err(CommandError::Empty));
    check("", Err(CommandError::Malformed));
    check("{}", Err(CommandError::Malformed));
    check(r#"["GET",null]"#, Err(CommandError::Malformed));
    check(r#"["GET",["k"]]"#, Err(CommandError::Malformed));
    check(r#"["GET",{"k":1}]"#, Err(CommandError::Malformed));
    check(r#"["GET","k"] trailing"#, Err(CommandError::Malformed));
}

#[test]
fn pipeline_is_bounded() {
    let body = br#"[["PING"],["PING"]]"#;
    assert_eq!(decode_pipeline(body, bounds(2)).map(|c| c.len()), Ok(2));
    assert_eq!(decode_pipeline(body, bounds(1)), Err(CommandError::TooMany));
    assert_eq!(decode_pipeline(b"[]", bounds(1)), Ok(vec![]));
    assert_eq!(decode_pipeline(b"[[]]", bounds(1)), Err(CommandError::Empty));
    assert_eq!(decode_pipeline(br#"["PING"]"#, bounds(1)), Err(CommandError::Malformed));
    let words = |count: usize| format!("[\"MGET\"{}]", ",1".repeat(count - 1));
    assert_eq!(decode_command(words(30).as_bytes(), bounds(1)).map(|c| c.words().len()), Ok(30));
    let too_many = decode_command(words(31).as_bytes(), bounds(1));
    assert_eq!(too_many, Err(CommandError::TooManyWords));
    let two = format!("[{},{}]", words(20), words(11));
    assert_eq!(decode_pipeline(two.as_bytes(), bounds(9)), Err(CommandError::TooManyWords));
    let deep = format!("[{}", "[".repeat(100_000));
    assert_eq!(decode_pipeline(deep.as_bytes(), bounds(1)), Err(CommandError::Malformed));
}

#[test]
fn pipeline_is_encoded_as_serde_json_encodes_its_words() {
    let texts = ["GET", "", "a b", "\u{e9}\u{1f600}", "\"", "\\", "\"\\\"", "\n\0\u{1f}", "\u{7f}"];
    let mut commands = vec![Command::new("PING")];
    commands.push(texts.iter().fold(Command::new("A"), |command, text| command.arg(text)));
    let words = [vec!["PING"], std::iter::once("A").chain(texts).collect()];
    assert_eq!(encode_pipeline(&commands), serde_json::to_string(&words).unwrap());
    assert_eq!(encode_pipeline(&[]), "[]");
    let binary = Command::new("SET").arg_bytes(vec![b'a', 0xff, b'"']);
    assert_eq!(encode_pipeline(&[binary]), "[[\"SET\",\"a\u{fffd}\\\"\"]]");
}

#[cfg(not(target_arch = "wasm32"))]
fn words(words: Vec<String>) -> Option<Command> {
    Command::from_words(words.into_iter().map(String::into_bytes).collect())
}

#[cfg(not(target_arch = "wasm32"))]
proptest::proptest! {
    #[test]
    fn encoded_pipeline_decodes_to_itself(
        pipeline in proptest::collection::vec(proptest::collection::vec(".{1,12}", 1..5), 0..5),
    ) {
        let commands: Vec<Command> =
            pipeline.into_iter().filter_map(words).collect();
        let body = encode_pipeline(&commands);
        proptest::prop_assert_eq!(decode_pipeline(body.as_bytes(), bounds(5)), Ok(commands));
    }

    #[test]
    fn binary_arguments_are_preserved(
        words in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..9), 0..5),
    ) {
        match Command::from_words(words.clone()) {
            Some(command) => proptest::prop_assert_eq!(command.words(), words),
            None => proptest::prop_assert!(
                words.first().is_none_or(|name| name.is_empty() || std::str::from_utf8(name).is_err())
            ),
        }
    }

    #[test]
    fn decoding_never_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = decode_command(&body, bounds(9));
        let _ = decode_pipeline(&body, bounds(9));
    }
}
