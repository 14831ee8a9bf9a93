use super::*;
use crate::json::parse;

fn of(text: &str) -> Digest {
    Digest::of(&parse(text.as_bytes(), 64).unwrap())
}

fn canonical_of(text: &str) -> String {
    canonical(&parse(text.as_bytes(), 64).unwrap())
}

#[test]
fn a_digest_is_what_sha256sum_says_of_the_canonical_form() {
    // printf '%s' '{"id":"1","resourceType":"Basic"}' | sha256sum
    let expected = "033aead598912e85cace60112cace7def367592c55d0ecbd3c06c99a9e1800c6";
    for text in [
        r#"{"resourceType":"Basic","id":"1"}"#,
        " { \"id\" : \"1\" ,\n \"resourceType\" : \"\\u0042asic\" } ",
        r#"{"id":"1","meta":{"versionId":"7"},"resourceType":"Basic"}"#,
    ] {
        assert_eq!(of(text).to_string(), expected, "{text}");
    }
}

#[test]
fn odd_strings_have_the_digest_that_python_computes() {
    // hashlib.sha256(json.dumps({"resourceType": "Patient", "id": "é", "name": [{"family":
    //   'O"N\\\n\x01\x7f', "given": ["Zoë"]}], "meta": {"tag": []}}, sort_keys=True,
    //   separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
    let expected = "e17853a82b47977e28190eafe704076c13a020295a782ed8f122a5bd62cb6bf7";
    let text = r#"{"resourceType":"Patient","id":"\u00e9","name":[{"family":
        "O\"N\\\n\u0001\u007F","given":["Zo\u00eb"]}],"meta":{"tag":[]}}"#;
    assert_eq!(of(text).to_string(), expected);
}

#[test]
fn a_deletion_has_the_digest_of_its_words() {
    // printf 'deleted Patient/amina' | sha256sum
    let expected = "303fa3220119c91463136e1a603ba3011a7361bd7a2897178bc0c3e7f1d62c89";
    assert_eq!(Digest::of_deletion(&"Patient/amina".parse().unwrap()).to_string(), expected);
}

#[test]
fn the_sum_of_a_line_is_over_its_digests_in_order() {
    // base64url(sha256(sha256("deleted Patient/1") + sha256("deleted Patient/2"))[:8])
    let one = Digest::of_deletion(&"Patient/1".parse().unwrap());
    let two = Digest::of_deletion(&"Patient/2".parse().unwrap());
    assert_eq!(sum(&[one, two]).to_string(), "1M6_eWPcv8U");
    assert_ne!(sum(&[two, one]), sum(&[one, two]));
    assert_eq!(sum(&[]).to_string(), "47DEQpj8HBQ");
}

#[test]
fn the_canonical_form_keeps_numbers_and_order_of_lists_and_sorts_keys_by_their_bytes() {
    for (text, expected) in [
        (r#"{"b":1.00,"a":[3,1E5,0.10e+5,-0]}"#, r#"{"a":[3,1E5,0.10e+5,-0],"b":1.00}"#),
        (r#"{"a":1,"B":2,"_a":3,"é":4,"z":5}"#, r#"{"B":2,"_a":3,"a":1,"z":5,"é":4}"#),
        // U+FFFF comes before U+10000 in UTF-8, though not in UTF-16.
        (r#"{"\ud800\udc00":1,"\uffff":2}"#, "{\"\u{ffff}\":2,\"\u{10000}\":1}"),
        (r#"{"a":"\/\u0009\u001F\u007f\u00e9"}"#, "{\"a\":\"/\\t\\u001f\u{7f}é\"}"),
        (r#"{"a":[{"d":1,"c":[]},{}],"b":null}"#, r#"{"a":[{"c":[],"d":1},{}],"b":null}"#),
        ("{}", "{}"),
    ] {
        assert_eq!(canonical_of(text), expected);
    }
}

#[test]
fn only_the_resources_own_version_and_time_are_left_out() {
    for (text, expected) in [
        (r#"{"meta":{"versionId":"1","lastUpdated":"x"},"id":"1"}"#, r#"{"id":"1"}"#),
        (r#"{"meta":{},"id":"1"}"#, r#"{"id":"1"}"#),
        (r#"{"meta":{"versionId":"1"}}"#, "{}"),
        (
            r#"{"id":"1","meta":{"source":"s","lastUpdated":"x"}}"#,
            r#"{"id":"1","meta":{"source":"s"}}"#,
        ),
        (r#"{"id":"1","meta":null}"#, r#"{"id":"1","meta":null}"#),
        (
            r#"{"contained":[{"meta":{"versionId":"1"}}]}"#,
            r#"{"contained":[{"meta":{"versionId":"1"}}]}"#,
        ),
    ] {
        assert_eq!(canonical_of(text), expected);
        let json = parse(text.as_bytes(), 64).unwrap();
        assert_eq!(body(json.as_object().unwrap()), expected);
    }
}

#[test]
fn a_body_keeps_its_own_key_order_escapes_and_numbers_and_has_the_same_digest() {
    let text = r#"{ "z": 1.00, "a": "\u0041\/", "meta": { "versionId": "3", "tag": [ ] } }"#;
    let json = parse(text.as_bytes(), 64).unwrap();
    let body = body(json.as_object().unwrap());
    assert_eq!(body, r#"{"z":1.00,"a":"\u0041\/","meta":{"tag":[]}}"#);
    assert_eq!(of(&body), of(text));
}

#[test]
fn digests_differ_where_anything_but_form_differs() {
    let base = of(r#"{"a":[1,2],"b":"x"}"#);
    for other in [
        r#"{"a":[2,1],"b":"x"}"#,
        r#"{"a":[1,2.0],"b":"x"}"#,
        r#"{"a":[1,2],"b":"x "}"#,
        r#"{"a":[1,2],"b":null}"#,
        r#"{"a":[1,2]}"#,
    ] {
        assert_ne!(of(other), base, "{other}");
    }
}

#[test]
fn a_short_digest_is_read_as_it_is_written() {
    let short = of("{}").short();
    assert_eq!(short.to_string().parse(), Ok(short));
    assert_eq!(short.to_string().len(), 11);
    for bad in ["", "AAAA", "AAAAAAAAAA=", "AAAAAAAAAAAA", "AAAAAAAAAA+", "AAAAAAAAAAB"] {
        assert!(bad.parse::<ShortDigest>().is_err(), "{bad}");
    }
}
