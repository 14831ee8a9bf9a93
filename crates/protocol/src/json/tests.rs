use proptest::prelude::*;

use super::*;
use crate::error::{Refusal, RefusalKind};

fn refused(text: &str) -> Refusal {
    match parse(text.as_bytes(), 64) {
        Ok(_) => panic!("{text} is not refused"),
        Err(refusal) => refusal,
    }
}

fn good(text: &str) -> Json<'_> {
    parse(text.as_bytes(), 64).unwrap()
}

#[test]
fn good_json_is_written_as_it_stood_but_for_white_space() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.00",
        "1E5",
        "0.10e+5",
        "1e-999",
        "123456789012345678901234567890.123456789012345678901234567890",
        r#""""#,
        r#""plain""#,
        r#""\"\\\/\b\f\n\r\tA\u00e9\uD83D\ude00""#,
        "\"\u{7f}\u{e9}\u{1f600}\"",
        "[]",
        "{}",
        r#"[1,[2,[]],{"a":{}}]"#,
        r#"{"b":1,"a":2,"B":3,"":4}"#,
    ] {
        assert_eq!(good(text).to_text(), text);
        assert_eq!(good(&format!(" \t\r\n{text} \n")).to_text(), text);
    }
    let spaced = " { \"a\" : [ 1.0 , 2 ] ,\n \"b\" : { } } ";
    assert_eq!(good(spaced).to_text(), r#"{"a":[1.0,2],"b":{}}"#);
}

#[test]
fn bad_json_is_refused_with_line_column_and_path() {
    for (text, said) in [
        ("", "line 1, column 1: the text ends in the middle of a value"),
        ("  ", "line 1, column 3: the text ends"),
        ("nul", "column 1: a value is expected"),
        ("nulll", "column 5: something follows the JSON value"),
        ("{} {}", "column 4: something follows"),
        ("\u{feff}{}", "column 1: a value is expected"),
        ("'a'", "a value is expected"),
        ("NaN", "a value is expected"),
        ("+1", "a value is expected"),
        ("01", "column 2: something follows"),
        ("1.", "column 3: the text ends"),
        (".5", "a value is expected"),
        ("1.e5", "column 3: a digit is expected"),
        ("-", "the text ends"),
        ("-a", "column 2: a digit is expected"),
        ("1e", "the text ends"),
        ("[1e+]", "column 5 (0): a digit is expected"),
        ("[1,]", "column 4 (1): a value is expected"),
        ("[1 2]", "column 4: ',' or ']' is expected"),
        ("[", "the text ends"),
        ("{", "the text ends"),
        ("{a:1}", "column 2: a key in quotes is expected"),
        (r#"{"a" 1}"#, "column 6: ':' is expected"),
        (r#"{"a":1,}"#, "column 8: a key in quotes is expected"),
        (r#"{"a":1 "b":2}"#, "column 8: ',' or '}' is expected"),
        ("{\n \"name\": [ {\n  \"given\": [\"é\", x] } ] }", "line 3, column 18 (name.0.given.1)"),
        ("\"a", "the text ends"),
        ("\"a\nb\"", "column 3: a control character stands in a string"),
        ("\"a\0b\"", "column 3: a control character stands in a string"),
        (r#""\u0000""#, "\\u0000 stands in a string"),
        (r#""\ud800""#, "half of a surrogate pair"),
        (r#""\ud800\u0041""#, "half of a surrogate pair"),
        (r#""\udc00""#, "half of a surrogate pair"),
        (r#""\ud800\"#, "half of a surrogate pair"),
        (r#""\u12""#, "four hexadecimal digits"),
        (r#""\u+123""#, "four hexadecimal digits"),
        (r#""\x""#, "an unknown escape"),
        (r#""\"#, "a string is not closed"),
        (r#"{"a":{"b":1,"b":2}}"#, "column 13 (a.b): a key stands twice in one object"),
        (r#"{"a":1,"\u0061":2}"#, "a key stands twice in one object"),
    ] {
        let refusal = refused(text);
        assert!(refusal.reason.contains(said), "{text}: {refusal}");
        assert_eq!(refusal.kind, RefusalKind::Malformed);
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_with_their_place() {
    let refusal = parse(b"{\n\"a\": \"\xff\"}", 64).unwrap_err();
    assert_eq!(refusal.reason, "bad JSON at line 2, column 7: the bytes are not UTF-8");
}

#[test]
fn a_key_that_stands_twice_is_found_among_many() {
    let mut members: Vec<String> = (0..1_000).map(|n| format!("\"k{n}\":{n}")).collect();
    good(&format!("{{{}}}", members.join(",")));
    members.push("\"\\u006b500\":1".to_owned());
    let refusal = refused(&format!("{{{}}}", members.join(",")));
    assert!(refusal.reason.contains("a key stands twice"), "{refusal}");
}

#[test]
fn refusals_show_no_content_that_stands_where_a_key_should() {
    let refusal = refused(r#"{"Amina Otieno, born 1990":x}"#);
    assert!(!refusal.reason.contains("Amina"), "{refusal}");
}

#[test]
fn json_of_depth_10_000_is_refused_and_names_the_limit() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        let refusal = refused(&deep);
        assert_eq!(refusal.kind, RefusalKind::OverLimit);
        assert!(refusal.reason.contains("over the limit json_depth = 64"), "{refusal}");
        assert!(parse(deep.as_bytes(), usize::MAX).is_err());
        let fits = format!("{}1{}", open.repeat(64), close.repeat(64));
        assert_eq!(good(&fits).to_text(), fits);
        let deepest = format!("{}1{}", open.repeat(DEPTH_MAX), close.repeat(DEPTH_MAX));
        assert_eq!(parse(deepest.as_bytes(), DEPTH_MAX).unwrap().to_text(), deepest);
    }
}

#[test]
fn great_garbage_is_refused_in_one_pass() {
    // Quadratic time would take minutes here, in a debug build hours.
    let strings = format!("[{}", "\"x\",".repeat(500_000));
    let keys: String = (0..200_000).map(|n| format!("\"{n}\":0,")).collect();
    for text in ["[".repeat(2_000_000), "\"\\n".repeat(1_000_000), strings, format!("{{{keys}")] {
        refused(&text);
    }
    assert!(parse(&vec![0xff; 4_000_000], 64).is_err());
}

#[test]
fn strings_and_objects_are_equal_by_what_they_say_and_numbers_by_literal() {
    for (a, b, equal) in [
        (r#""A""#, r#""\u0041""#, true),
        (r#""/""#, r#""\/""#, true),
        (r#""\ud83d\ude00""#, "\"\u{1f600}\"", true),
        (r#""a""#, r#""b""#, false),
        ("1.0", "1.00", false),
        ("1e5", "1E5", false),
        (r#"{"a":1,"b":[2]}"#, r#"{"b":[2],"\u0061":1}"#, true),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, false),
        (r#"{"a":1,"b":2}"#, r#"{"a":1,"c":2}"#, false),
        ("[1,2]", "[2,1]", false),
        ("null", "false", false),
    ] {
        assert_eq!(good(a) == good(b), equal, "{a} {b}");
    }
}

#[test]
fn a_text_from_plain_characters_is_escaped_where_json_asks_for_it() {
    for (plain, raw) in [
        ("plain é", "plain é"),
        ("\"\\/", r#"\"\\/"#),
        ("\u{8}\t\n\u{c}\r\u{1}\u{1f}\u{7f}", "\\b\\t\\n\\f\\r\\u0001\\u001f\u{7f}"),
    ] {
        assert_eq!(Text::plain(plain).raw(), raw);
        assert_eq!(Text::plain(plain).decode(), plain);
    }
}

#[test]
fn members_are_read_set_and_removed_in_their_order() {
    let json = good(r#"{ "a": 1, "\u0062": "x", "c": null }"#);
    let object = json.as_object().unwrap();
    assert_eq!(object.raw(), Some(r#"{ "a": 1, "\u0062": "x", "c": null }"#));
    assert_eq!((object.len(), object.is_empty()), (3, false));
    assert_eq!(json.str_at("b").as_deref(), Some("x"));
    assert!(json.get("c").unwrap().is_null());
    assert_eq!(json.get("d"), None);
    let mut object = object.clone();
    object.set("b", Json::string("y\n"));
    object.set("d", Json::Array(vec![]));
    assert_eq!(object.remove("a"), Some(Json::Number("1".into())));
    assert_eq!(object.raw(), None);
    assert_eq!(Json::Object(object).to_text(), r#"{"\u0062":"y\n","c":null,"d":[]}"#);
}

/// Values written with odd spacing and escapes.
fn json_text() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?";
    let string =
        "\"([a-c é]|\\\\[\"\\\\/bfnrt]|\\\\u00[4-6][0-9a-f]|\\\\ud83d\\\\ude0[0-9]){0,4}\"";
    let word = prop_oneof![Just("null".to_owned()), Just("true".into()), Just("false".into())];
    let leaf = prop_oneof![number, string, word];
    let space = "[ \t\r\n]{0,2}";
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let list = (prop::collection::vec(inner.clone(), 0..5), space)
            .prop_map(|(items, s)| format!("[{s}{}{s}]", items.join(&format!("{s},{s}"))));
        let member =
            (string, space, inner).prop_map(|(key, s, value)| format!("{key}{s}:{s}{value}"));
        let map = (prop::collection::vec(member, 0..5), space)
            .prop_map(|(members, s)| format!("{{{s}{}{s}}}", members.join(&format!("{s},{s}"))));
        prop_oneof![list, map]
    })
}

/// Whether our refusal is one of those that a general parser does not make.
fn stricter_than_others(refusal: &Refusal) -> bool {
    ["stands twice", "\\u0000", "json_depth"].iter().any(|word| refusal.reason.contains(word))
}

fn agrees_with_serde_json(text: &str) {
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    match (parse(text.as_bytes(), 64), theirs) {
        (Ok(ours), Ok(theirs)) => {
            let again = ours.to_text();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&again).unwrap(), theirs);
            assert_eq!(good(&again), ours);
        }
        (Err(refusal), Ok(_)) => assert!(stricter_than_others(&refusal), "{text:?}: {refusal}"),
        (Ok(_), Err(error)) => {
            assert!(error.to_string().contains("number out of range"), "{text:?}: {error}");
        }
        (Err(_), Err(_)) => {}
    }
}

proptest! {
    #[test]
    fn any_json_is_taken_or_refused_as_serde_json_does(text in json_text()) {
        agrees_with_serde_json(&text);
    }

    #[test]
    fn any_near_json_is_taken_or_refused_as_serde_json_does(
        text in r#"[\[\]{},:"\\0-9eE+.\-tfnrualsebd \n]{0,24}"#,
    ) {
        agrees_with_serde_json(&text);
    }

    #[test]
    fn damaged_json_is_taken_or_refused_as_serde_json_does(
        text in json_text(), at in any::<prop::sample::Index>(), with in "[\\[\\]{},:\"0a\u{1} ]?",
    ) {
        let at = at.index(text.chars().count() + 1);
        let head: String = text.chars().take(at).collect();
        let tail: String = text.chars().skip(at + 1).collect();
        agrees_with_serde_json(&format!("{head}{with}{tail}"));
    }

    #[test]
    fn any_bytes_are_taken_or_refused_and_never_end_the_program(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let ours = parse(&bytes, 64).is_ok();
        let theirs = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
        prop_assert!(!ours || theirs);
    }

    #[test]
    fn any_plain_text_comes_back_as_it_was(plain in any::<String>()) {
        let text = Text::plain(plain.as_str());
        prop_assert_eq!(text.decode(), plain.as_str());
        let written = Json::String(text).to_text();
        prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), plain.as_str());
    }
}
