//! What readers get: records, searches, pages, and what is kept from them.

use protocol::cohort::Definition;
use protocol::resource::search::{Param, SearchValue};
use protocol::{RecordRef, Timestamp};

use super::builders::{a_location, a_patient, an_encounter, an_observation, delete, named, put};
use super::pair::Pair;
use super::replaced::whole;
use super::{Maker, feed_id};
use crate::{
    ChildDraft, DigestScope, HistoryQuery, Holder, Marker, Scope, SearchFilter, SearchOrder,
    SearchQuery, SearchTest, Store,
};

fn of_type(kind: &str) -> SearchQuery {
    SearchQuery { kind: Some(kind.parse().unwrap()), limit: 50, ..SearchQuery::default() }
}

fn found(store: &dyn Store, query: &SearchQuery, scope: &Scope) -> Vec<String> {
    let page = store.record_search(query, scope).unwrap();
    page.records.iter().map(|record| record.reference.to_string()).collect()
}

/// A parent whose cohort `few` holds amina only, with records of hers and of beno's.
fn two_patients(maker: &dyn Maker) -> Pair {
    let pair = Pair::new(maker);
    let patients = [named("Patient/amina")].into();
    pair.cohort("few", Definition::Patients { patients });
    pair.at_parent(&put(&[a_location("ward")]));
    pair.at_parent(&put(&[a_patient("amina"), an_observation("hers", "amina")]));
    pair.at_parent(&put(&[a_patient("beno"), an_observation("his", "beno")]));
    pair
}

pub fn defect_28_a_child_reads_only_its_cohorts_and_the_reference_records(maker: &dyn Maker) {
    let pair = two_patients(maker);
    let parent = &*pair.parent;
    let scope = Pair::scope(&*pair.child, &["few"]);
    let get = |name| parent.record_get(&named(name), None, &scope).unwrap().is_some();
    for (name, may) in [
        ("Patient/amina", true),
        ("Observation/hers", true),
        ("Location/ward", true),
        ("Patient/beno", false),
        ("Observation/his", false),
    ] {
        assert_eq!(get(name), may, "{name}");
    }
    assert_eq!(found(parent, &of_type("Patient"), &scope), ["Patient/amina"]);
    assert_eq!(found(parent, &of_type("Observation"), &scope), ["Observation/hers"]);
    let history = HistoryQuery { limit: 50, ..HistoryQuery::default() };
    let history = parent.record_history(&history, &scope).unwrap();
    assert_eq!((history.versions.len(), history.total), (3, 3));
    let fetch = |feed, name| parent.feed_fetch(feed, &[named(name)], &scope).unwrap();
    assert_eq!(fetch("few", "Observation/his").unwrap(), []);
    assert_eq!(fetch("few", "Observation/hers").unwrap().len(), 1);
    assert_eq!(fetch("all", "Observation/his"), None);
    assert_eq!(parent.feed_page("all", None, &scope).unwrap(), None);
    let digests = DigestScope::Published { feed: "all".to_owned(), scope: scope.clone() };
    assert_eq!(parent.record_digests(&digests, None, 9).unwrap(), []);
    let names: Vec<_> = parent.feed_list(&scope).unwrap().into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["few", "reference"]);
}

pub fn defect_28_a_child_reads_no_version_from_before_a_record_was_its_patients(maker: &dyn Maker) {
    // Whose the observation is, one state after the other ("-": deleted, "": nobody's), and which
    // of these states a child reads that may see amina and clara, but not beno.
    let cases: [(&[&str], &[usize]); 12] = [
        (&["amina", "amina"], &[0, 1]),
        (&["beno", "amina"], &[1]),
        (&["beno", "beno", "amina", "amina"], &[2, 3]),
        (&["beno", "-", "amina"], &[2]),
        (&["beno", "amina", "-"], &[1, 2]),
        (&["", "amina"], &[1]),
        (&["amina", "beno"], &[]),
        (&["amina", "beno", "-"], &[]),
        (&["amina", "beno", "amina"], &[0, 2]),
        (&["clara", "amina"], &[0, 1]),
        (&["amina", "beno", "clara", "", "amina"], &[0, 2, 4]),
        (&["beno", "clara", "beno", "amina"], &[1, 3]),
    ];
    for (patients, seen) in cases {
        let pair = Pair::new(maker);
        let few = [named("Patient/amina"), named("Patient/clara")].into();
        pair.cohort("few", Definition::Patients { patients: few });
        pair.at_parent(&put(&[a_patient("amina"), a_patient("beno"), a_patient("clara")]));
        let scope = Pair::scope(&*pair.child, &["few"]);
        let mut made = Vec::new();
        for (index, patient) in patients.iter().enumerate() {
            let observation = an_observation("o", patient).with("note", &index.to_string());
            let recorded = pair.at_parent(&match *patient {
                "-" => delete("Observation/o"),
                "" => put(&[observation.with("subject", r#"{"display":"nobody"}"#)]),
                _ => put(&[observation]),
            });
            made.push(recorded.sequence.unwrap());
        }
        let wanted: Vec<u64> = seen.iter().map(|index| made[*index]).collect();
        assert_versions(&*pair.parent, &made, &wanted, &scope, &format!("{patients:?}"));
        assert_versions(&*pair.parent, &made, &made, &Scope::Everything, "with every right");
        whole(&*pair.parent);
    }
}

/// `Observation/o` has the versions `made`, and `scope` reads those of `wanted` by every way.
fn assert_versions(store: &dyn Store, made: &[u64], wanted: &[u64], scope: &Scope, case: &str) {
    let record = named("Observation/o");
    let given: Vec<u64> = made
        .iter()
        .copied()
        .filter(|version| store.record_get(&record, Some(*version), scope).unwrap().is_some())
        .collect();
    assert_eq!(given, wanted, "record_get, {case}");
    let mut queries = vec![HistoryQuery::default(); 3];
    queries[0].record = Some(record.clone());
    queries[1].kind = Some(record.kind);
    for query in queries {
        let mut query = HistoryQuery { limit: 2, ..query };
        let mut found = Vec::new();
        let total = loop {
            let page = store.record_history(&query, scope).unwrap();
            let ours = page.versions.iter().filter(|version| version.reference == record);
            found.extend(ours.map(|version| version.sequence));
            query.after = page.next;
            if query.after.is_none() {
                break page.total;
            }
        };
        found.reverse();
        assert_eq!(found, wanted, "record_history, {case}");
        if query.kind.is_some() || query.record.is_some() {
            assert_eq!(total, wanted.len() as u64, "record_history counts, {case}");
        }
    }
}

pub fn defect_11_a_full_page_keeps_its_entries(maker: &dyn Maker) {
    let pair = two_patients(maker);
    for n in 0..120 {
        pair.at_parent(&put(&[an_observation(&format!("o{n}"), "amina")]));
    }
    let page = || pair.parent.feed_page("all", Some(1), &Scope::Everything).unwrap().unwrap();
    let before = page().entries;
    assert_eq!(before.len(), 100);
    pair.at_parent(&delete("Observation/o1"));
    pair.at_parent(&put(&[an_observation("o2", "beno")]));
    pair.cohort("all", Definition::Patients { patients: [named("Patient/beno")].into() });
    assert_eq!(page().entries, before);
}

pub fn defect_11_pages_of_a_search_never_skip_what_did_not_change(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    for n in 0..9 {
        pair.at_parent(&put(&[a_patient(&format!("p{n}"))]));
    }
    let order = SearchOrder::Updated;
    let mut query = SearchQuery { limit: 2, order, ..of_type("Patient") };
    let mut seen = Vec::new();
    loop {
        let page = pair.parent.record_search(&query, &Scope::Everything).unwrap();
        seen.extend(page.records.iter().map(|record| record.reference.id().to_owned()));
        pair.at_parent(&delete(&page.records[0].reference.to_string()));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..9).map(|n| format!("p{n}")).collect::<Vec<_>>());
}

pub fn a_search_finds_by_what_the_resources_say(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let coded = |code: &str| format!(r#"{{"coding":[{{"system":"urn:c","code":"{code}"}}]}}"#);
    let visit = r#"{"reference":"Encounter/visit"}"#;
    pair.at_parent(&put(&[
        a_patient("amina")
            .born("1990-02-01")
            .with("name", r#"[{"family":"Odhiambo","given":["Amina"]}]"#)
            .with("identifier", r#"[{"system":"urn:mrs","value":"100-7"}]"#),
        an_encounter("visit", "amina"),
        an_observation("pulse", "amina").with("code", &coded("5087")).with("encounter", visit),
        an_observation("weight", "amina").with("code", &coded("5089")),
    ]));
    let by = |kind, param, test| {
        let filters = vec![SearchFilter { param, any: vec![test] }];
        found(&*pair.parent, &SearchQuery { filters, ..of_type(kind) }, &Scope::Everything)
    };
    let token = |system: &str, code: &str| {
        SearchTest::Is(SearchValue::Token { system: system.to_owned(), code: code.to_owned() })
    };
    let text = |text: &str| SearchTest::Is(SearchValue::Text(text.to_owned()));
    assert_eq!(by("Patient", Param::Identifier, token("urn:mrs", "100-7")), ["Patient/amina"]);
    assert_eq!(by("Patient", Param::Name, text("ami")), ["Patient/amina"]);
    assert_eq!(by("Patient", Param::Family, text("odh")), ["Patient/amina"]);
    assert_eq!(by("Patient", Param::Family, text("ami")), [""; 0]);
    assert_eq!(by("Observation", Param::Code, token("urn:c", "5089")), ["Observation/weight"]);
    let code = SearchTest::Code("5087".to_owned());
    assert_eq!(by("Observation", Param::Code, code), ["Observation/pulse"]);
    let reference = SearchTest::Is(SearchValue::Reference(named("Encounter/visit")));
    assert_eq!(by("Observation", Param::Encounter, reference), ["Observation/pulse"]);
}

pub fn a_patients_everything_is_its_compartment(maker: &dyn Maker) {
    let pair = two_patients(maker);
    let patients = Some(vec![named("Patient/amina")]);
    let query = SearchQuery { patients, limit: 50, total: true, ..SearchQuery::default() };
    let page = pair.parent.record_search(&query, &Scope::Everything).unwrap();
    let names: Vec<&RecordRef> = page.records.iter().map(|record| &record.reference).collect();
    assert_eq!(names, [&named("Patient/amina"), &named("Observation/hers")]);
    assert_eq!(page.total, Some(2));
}

pub fn defect_29_a_childs_credential_opens_its_cohorts_until_it_is_revoked(maker: &dyn Maker) {
    let pair = two_patients(maker);
    let store = &*pair.parent;
    let clinic = pair.child.site().unwrap();
    let now = pair.now();
    let child = ChildDraft {
        site: clinic.site.clone(),
        cohorts: vec!["few".parse().unwrap()],
        code_hash: [1; 32],
        code_expires: now.plus_millis(1),
    };
    store.child_add(&child, now).unwrap();
    let redeem = |now: Timestamp| {
        store.child_redeem(&[1; 32], &clinic.site, &clinic.epoch, &[2; 32], now).unwrap()
    };
    assert_eq!(redeem(now.plus_millis(1)), None, "too late");
    assert_eq!(redeem(now), Some(child.cohorts.clone()));
    assert_eq!(redeem(now), None, "twice");
    let holder = Holder::Child { site: clinic.site.clone(), cohorts: child.cohorts };
    assert_eq!(store.credential_holder(&[2; 32], now).unwrap(), Some(holder));
    assert_eq!(store.credential_holder(&[1; 32], now).unwrap(), None, "a code is no credential");
    assert!(store.child_revoke(&clinic.site, now).unwrap());
    assert_eq!(store.credential_holder(&[2; 32], now).unwrap(), None);
}

pub fn defect_10_a_marker_is_of_a_feed_whatever_it_is_called(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let epoch = pair.parent.site().unwrap().epoch;
    let marker = |name: &str, position| Marker {
        feed: feed_id("all"),
        name: name.to_owned(),
        epoch,
        lane: protocol::stream::Lane::Live,
        position,
    };
    pair.child.marker_set(&[marker("all", 5)], pair.now()).unwrap();
    pair.child.marker_set(&[marker("renamed", 6)], pair.now()).unwrap();
    assert_eq!(pair.child.marker_list().unwrap(), [marker("renamed", 6)]);
}

pub fn a_store_that_was_used_breaks_no_rule_of_its_own(maker: &dyn Maker) {
    let pair = two_patients(maker);
    pair.pull();
    pair.at_child(&put(&[an_observation("new", "amina"), a_patient("amina").gender("female")]));
    pair.at_parent(&put(&[a_patient("amina").born("1990-02-01")]));
    pair.quiet();
    pair.at_parent(&delete("Observation/his"));
    pair.cohort("all", Definition::Patients { patients: [named("Patient/amina")].into() });
    pair.quiet();
    for store in [&*pair.parent, &*pair.child] {
        assert_eq!(store.site_check(&mut |_| {}).unwrap(), [""; 0]);
        assert!(store.site_status(pair.now()).unwrap().records > 2);
    }
}
