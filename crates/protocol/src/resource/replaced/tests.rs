use proptest::prelude::*;

use super::*;
use crate::json::parse;

fn named(id: &str) -> RecordRef {
    format!("Patient/{id}").parse().unwrap()
}

fn moves(pairs: &[(&str, &str)]) -> Moves {
    pairs.iter().map(|(loser, winner)| (named(loser), named(winner))).collect()
}

fn kind(name: &str) -> ResourceType {
    name.parse().unwrap()
}

fn links(pairs: &[(&str, &str)]) -> Links {
    let mut links = Links::default();
    for (loser, winner) in pairs {
        links.add(named(loser), named(winner));
    }
    links
}

#[test]
fn a_patient_says_by_whom_it_was_replaced() {
    for (text, expected) in [
        (r#"{"link":[{"other":{"reference":"Patient/w"},"type":"replaced-by"}]}"#, &["w"][..]),
        (r#"{"link":[{"other":{"reference":"Patient/w"},"type":"replaces"}]}"#, &[]),
        (r#"{"link":[{"other":{"reference":"Patient/w"},"type":"seealso"}]}"#, &[]),
        (r#"{"link":[{"other":{"reference":"Patient/l"},"type":"replaced-by"}]}"#, &[]),
        (r#"{"link":[{"other":{"reference":"RelatedPerson/w"},"type":"replaced-by"}]}"#, &[]),
        (
            r#"{"link":[{"other":{"reference":"https://e.example/fhir/Patient/w"},
                "type":"replaced-by"},{"other":{"reference":"Patient/v"},"type":"replaced-by"}]}"#,
            &["v", "w"],
        ),
        (r#"{"link":[{"type":"replaced-by"}]}"#, &[]),
        (r#"{"link":"replaced-by"}"#, &[]),
        (r#"{}"#, &[]),
    ] {
        let found = replaced_by(&named("l"), &parse(text.as_bytes(), 64).unwrap());
        let expected = expected.iter().map(|id| named(id)).collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn every_form_of_a_reference_is_moved_and_nothing_else() {
    for (before, after) in [
        ("Patient/l", "Patient/w"),
        ("Patient/l/_history/3", "Patient/w"),
        ("https://one.example/fhir/Patient/l", "https://one.example/fhir/Patient/w"),
        ("https://one.example/fhir/Patient/l/_history/3", "https://one.example/fhir/Patient/w"),
    ] {
        let text = |reference: &str| {
            format!(r#"{{"resourceType":"Flag","id":"l","subject":{{"reference":"{reference}"}}}}"#)
        };
        let found = moved(kind("Flag"), &text(before), &moves(&[("l", "w")])).unwrap();
        assert_eq!(found, Some(text(after)), "{before}");
    }
    for other in ["Patient/ll", "Patient/l2", "Group/l", "#l", "urn:uuid:l", "Patient?id=l", "l"] {
        let text = format!(r#"{{"subject":{{"reference":"{other}","display":"Patient/l"}}}}"#);
        assert_eq!(moved(kind("Flag"), &text, &moves(&[("l", "w")])).unwrap(), None, "{other}");
    }
}

#[test]
fn all_else_stays_byte_for_byte() {
    let text = |to: &str, two: &str| {
        format!(
            r#"{{"valueQuantity":{{"value":36.50}},"subject":{{"display":"\u0041mina",
            "reference":"Patient/{to}"}},"note":[{{"text":"of Patient/l\/x"}}],"performer":[
            {{"reference":"Patient/{two}"}},{{"reference":"Practitioner/l"}}],"contained":[
            {{"resourceType":"Flag","subject":{{"reference":"Patient/{to}"}}}},
            {{"resourceType":"Bundle","entry":[{{"resource":{{"subject":
            {{"reference":"Patient/l"}}}}}}]}}],"identifier":[{{"value":"Patient/l"}}]}}"#
        )
        .replace("\n            ", "")
    };
    let both = moves(&[("l", "w"), ("m", "v")]);
    assert_eq!(moved(kind("Observation"), &text("l", "m"), &both).unwrap(), Some(text("w", "v")));
}

#[test]
fn records_that_say_who_is_who_and_what_was_done_stay() {
    let text = r#"{"target":[{"reference":"Patient/l"}]}"#;
    for name in staying() {
        assert_eq!(moved(kind(name), text, &moves(&[("l", "w")])).unwrap(), None, "{name}");
    }
    assert!(STAYING.is_sorted());
}

#[test]
fn chains_are_followed_to_their_end_and_circles_lead_nowhere() {
    let to = |ids: &[&str]| Path::To(ids.iter().map(|id| named(id)).collect());
    for (pairs, from, expected) in [
        (&[][..], "l", to(&[])),
        (&[("l", "w")], "l", to(&["w"])),
        (&[("l", "w")], "w", to(&[])),
        (&[("l", "w"), ("w", "x")], "l", to(&["w", "x"])),
        (&[("l", "w"), ("w", "l")], "l", Path::Circle),
        (&[("l", "w"), ("w", "x"), ("x", "w")], "l", Path::Circle),
        (&[("l", "w"), ("l", "v")], "l", Path::Several(named("l"))),
        (&[("k", "l"), ("l", "w"), ("l", "v")], "k", Path::Several(named("l"))),
        (&[("l", "l")], "l", to(&[])),
    ] {
        assert_eq!(links(pairs).path(&named(from)), expected, "{pairs:?} from {from}");
    }
}

#[test]
fn who_reaches_whom_is_known_however_unclear_the_links_are() {
    let links = links(&[("k", "l"), ("l", "w"), ("w", "l"), ("l", "v")]);
    let set = |ids: &[&str]| ids.iter().map(|id| named(id)).collect::<BTreeSet<_>>();
    assert_eq!(links.reached(&named("k")), set(&["l", "w", "v"]));
    assert_eq!(links.reaching(&named("v")), set(&["k", "l", "w"]));
    assert_eq!(links.reached(&named("v")), set(&[]));
}

proptest! {
    #[test]
    fn following_links_always_ends(pairs in prop::collection::vec((0u8..6, 0u8..6), 0..12)) {
        let mut links = Links::default();
        for (loser, winner) in &pairs {
            links.add(named(&format!("p{loser}")), named(&format!("p{winner}")));
        }
        for from in 0..6 {
            let from = named(&format!("p{from}"));
            if let Path::To(path) = links.path(&from) {
                prop_assert!(!path.contains(&from));
                let unlike: BTreeSet<_> = path.iter().collect();
                prop_assert_eq!(unlike.len(), path.len());
                prop_assert!(path.iter().all(|winner| links.reached(&from).contains(winner)));
            }
        }
    }

    #[test]
    fn a_move_and_the_move_back_give_the_same_bytes(
        server in "(https://[a-z]{1,8}\\.example/fhir/)?",
        value in "-?[1-9][0-9]{0,3}\\.[0-9]{1,4}",
        word in "[a-zA-Z /#]{0,12}",
    ) {
        let text = format!(
            r#"{{"x":"{word}","value":{value},"subject":{{"reference":"{server}Patient/l"}}}}"#
        );
        let there = moved(kind("Observation"), &text, &moves(&[("l", "w")])).unwrap().unwrap();
        let back = moved(kind("Observation"), &there, &moves(&[("w", "l")])).unwrap().unwrap();
        prop_assert_eq!(back, text);
        prop_assert_ne!(there.len(), 0);
    }
}

#[test]
fn a_link_is_put_in_once_and_taken_out_again() {
    let text = r#"{"id":"l","link":[{"other":{"reference":"Patient/s"},"type":"seealso"}]}"#;
    let before = parse(text.as_bytes(), 64).unwrap();
    let winner = named("w");
    let once = with_link(&before, &winner, "replaced-by", Some(false));
    assert_eq!(replaced_by(&named("l"), &once), BTreeSet::from([winner.clone()]));
    assert_eq!(with_link(&once, &winner, "replaced-by", Some(false)), once);
    assert_eq!(once.get("active").and_then(Json::as_bool), Some(false));
    assert_eq!(without_link(&once, &winner, "replaced-by", None).get("link"), before.get("link"));
    let bare = parse(br#"{"id":"l"}"#, 64).unwrap();
    let linked = with_link(&bare, &winner, "replaces", None);
    assert_eq!(without_link(&linked, &winner, "replaces", None), bare);
}
