//! What must not be lost on the way: that two files are of one person, and that what was deleted
//! is there again.

use super::Maker;
use super::builders::{a_patient, an_observation, delete, named, put};
use super::pair::Pair;
use super::replaced::{WAYS, agree_without_conflict, everything, files, make, replaced, subject};
use crate::{Scope, SearchQuery};

pub fn defect_13_one_person_made_at_two_sites_is_found_and_merged_everywhere(maker: &dyn Maker) {
    let card = |value: &str, system: &str| {
        format!(r#"[{{"system":"urn:example:{system}","value":"{value}"}}]"#)
    };
    let pair = Pair::new(maker);
    let here = a_patient("here").with("identifier", &card("K-17", "card"));
    let there = a_patient("there").with("identifier", &card("K-17", "card"));
    let unlike = a_patient("unlike").with("identifier", &card("K-17", "passport"));
    pair.at_parent(&put(&[there.clone(), unlike, an_observation("t", "there")]));
    pair.at_child(&put(&[here.clone(), an_observation("h", "here")]));
    assert_eq!(pair.child.patient_duplicates(10).unwrap(), []);
    pair.quiet();
    for store in [&*pair.parent, &*pair.child] {
        let found = store.patient_duplicates(10).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].patients, [named("Patient/here"), named("Patient/there")]);
    }
    let link = |other: &str, kind: &str| {
        format!(r#"[{{"other":{{"reference":"Patient/{other}"}},"type":"{kind}"}}]"#)
    };
    let loser = here.with("link", &link("there", "replaced-by")).with("active", "false");
    let winner = there.with("link", &link("here", "replaces"));
    pair.at_child(&put(&[loser, winner]));
    agree_without_conflict(&pair, true);
    for store in [&*pair.parent, &*pair.child] {
        assert_eq!(store.patient_duplicates(10).unwrap(), []);
        let found = everything(store, "there");
        assert!(found.contains("Observation/h") && found.contains("Observation/t"), "{found:?}");
    }
}

pub fn defect_20_a_merge_and_its_undoing_are_carried(maker: &dyn Maker) {
    for (at_child, push_first) in WAYS {
        let pair = Pair::new(maker);
        pair.at_parent(&put(&files()));
        pair.at_parent(&put(&[an_observation("o", "loser")]));
        pair.quiet();
        for (link, expected) in [
            (replaced("loser", "winner"), "winner"),
            (files()[0].clone(), "loser"),
            (replaced("loser", "winner"), "winner"),
        ] {
            make(&pair, at_child, &put(&[link]));
            agree_without_conflict(&pair, push_first);
            assert_eq!(subject(&*pair.parent, "Observation/o"), expected);
            assert_eq!(subject(&*pair.child, "Observation/o"), expected);
        }
    }
}

pub fn defect_20_what_was_deleted_and_is_written_again_lives_at_both_sides(maker: &dyn Maker) {
    for (at_child, push_first) in WAYS {
        let pair = Pair::new(maker);
        let pulse = an_observation("o", "winner").with("status", "\"final\"");
        pair.at_parent(&put(&files()));
        pair.at_parent(&put(std::slice::from_ref(&pulse)));
        pair.quiet();
        // The very bytes of before, and others; deleted again, and written once more.
        for again in [pulse.clone(), pulse.with("status", "\"amended\"")] {
            make(&pair, at_child, &delete("Observation/o"));
            agree_without_conflict(&pair, push_first);
            assert_eq!(pair.bodies("Observation/o"), (None, None));
            make(&pair, !at_child, &put(std::slice::from_ref(&again)));
            agree_without_conflict(&pair, push_first);
            assert_eq!(pair.bodies("Observation/o"), (Some(again.text()), Some(again.text())));
        }
        let query = SearchQuery {
            kind: Some("Observation".parse().unwrap()),
            limit: 9,
            ..SearchQuery::default()
        };
        let found = pair.child.record_search(&query, &Scope::Everything).unwrap();
        assert_eq!(found.records.len(), 1);
    }
}
