//! Patients who are not a child's own: looked for, fetched, and gone again when the visit is over.

use std::collections::BTreeSet;

use protocol::cohort::Definition;
use protocol::digest::Digest;
use protocol::stream::Lane;
use protocol::visit::Wanted;
use protocol::{Author, RecordRef, SiteId, Timestamp};

use super::Maker;
use super::builders::{
    Resource, a_location, a_patient, an_encounter, an_observation, delete, named, put,
};
use super::pair::{Pair, body, read_back};
use crate::{
    Asked, AuditRow, ChildDraft, DigestScope, Incoming, LeavePolicy, PatientsFound, Scope,
    StoreError, Visiting, VisitorDraft,
};

const DAY: i64 = 86_400_000;

fn child(name: &str) -> SiteId {
    name.parse().unwrap()
}

/// A pair whose child has one patient of its own (`own`) among those at the parent.
fn clinic(maker: &dyn Maker) -> Pair {
    let pair = Pair::new(maker);
    let own = [named("Patient/own")].into_iter().collect();
    pair.cohort("mine", Definition::Patients { patients: own });
    invite(&pair, "clinic", &["mine"]).unwrap();
    pair.at_parent(&put(&[a_patient("own"), an_observation("own-pulse", "own")]));
    pair.at_parent(&put(&[stranger(), an_observation("pulse", "amina")]));
    pair
}

fn stranger() -> Resource {
    a_patient("amina")
        .with("name", r#"[{"family":"Juma","given":["Amina","Atieno"]}]"#)
        .with("identifier", r#"[{"system":"urn:national","value":"K-104"}]"#)
        .gender("female")
        .born("1984-02")
}

fn invite(pair: &Pair, site: &str, cohorts: &[&str]) -> crate::Result<()> {
    let draft = ChildDraft {
        site: child(site),
        cohorts: cohorts.iter().map(|name| name.parse().unwrap()).collect(),
        code_hash: Digest::of_deletion(&named(&format!("Basic/{site}"))).0,
        code_expires: pair.now().plus_millis(DAY),
    };
    pair.parent.child_add(&draft, pair.now())
}

fn draft(pair: &Pair, site: &str, patient: &str, days: i64) -> VisitorDraft {
    VisitorDraft {
        child: child(site),
        patient: named(patient),
        reason: "walked in".to_owned(),
        author: Author::new("nurse-3"),
        until: pair.now().plus_millis(days * DAY),
        feed: super::feed_id(&format!("visitors of {site}")),
    }
}

fn visit(pair: &Pair, site: &str, patient: &str, days: i64) -> Visiting {
    match pair.parent.visitor_add(&draft(pair, site, patient, days), pair.now()).unwrap() {
        Asked::Answered(visiting) => visiting,
        Asked::TooOften => panic!("asked too often"),
    }
}

/// The records of a patient by name, as the child takes them in.
pub(super) fn fetch(pair: &Pair, feed: &str, patients: &[&str]) {
    let (source, lines) = fetched(pair, feed, patients);
    pair.child.change_apply(&source, &lines, pair.now()).unwrap();
}

fn fetched(pair: &Pair, feed: &str, patients: &[&str]) -> (crate::Source, Vec<Incoming>) {
    let scope = Pair::scope(&*pair.child, &[feed]);
    let patients: Vec<RecordRef> = patients.iter().map(|patient| named(patient)).collect();
    let slice = pair.parent.feed_patients(feed, &patients, &scope).unwrap().unwrap();
    let ahead = |line| Incoming::Ahead(Box::new(read_back(line, &pair.limits)));
    (pair.source(&slice, Lane::Bulk), slice.lines.iter().map(ahead).collect())
}

fn pull(pair: &Pair, feed: &str) {
    pair.pull_lane(feed, Lane::Live);
    pair.pull_lane(feed, Lane::Bulk);
}

fn find(pair: &Pair, wanted: &Wanted) -> PatientsFound {
    let author = Author::new("nurse-3");
    match pair.parent.patient_find(wanted, &child("clinic"), &author, pair.now()).unwrap() {
        Asked::Answered(found) => found,
        Asked::TooOften => panic!("asked too often"),
    }
}

fn by_identifier(system: Option<&str>, value: &str) -> Wanted {
    Wanted::Identifier { system: system.map(str::to_owned), value: value.to_owned() }
}

fn by_person(name: &str, sex: &str, born: &str) -> Wanted {
    let span = protocol::resource::search::SearchValue::date(born);
    let Some(protocol::resource::search::SearchValue::Date { low, high }) = span else {
        panic!("{born} is no date")
    };
    let words = name.split(' ').map(str::to_owned).collect();
    Wanted::Person { words, sex: sex.to_owned(), born: (low, high) }
}

fn ids(found: &PatientsFound) -> Vec<&str> {
    found.patients.iter().map(|hit| hit.patient.id()).collect()
}

fn members(pair: &Pair, cohort: &str) -> Vec<String> {
    let found = pair.parent.cohort_patients(&cohort.parse().unwrap(), None, 100).unwrap();
    found.iter().map(|patient| patient.id().to_owned()).collect()
}

fn sound(pair: &Pair) {
    for store in [&pair.parent, &pair.child] {
        assert_eq!(store.site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
    }
}

pub fn defect_36_a_patient_who_walks_in_is_found_and_fetched_at_once(maker: &dyn Maker) {
    let pair = clinic(maker);
    pull(&pair, "mine");
    assert_eq!(body(&*pair.child, "Patient/amina"), None);
    assert_eq!(ids(&find(&pair, &by_identifier(None, "K-104"))), ["amina"]);
    let visiting = visit(&pair, "clinic", "Patient/amina", 7);
    let Visiting::In { feed, until: Some(_) } = &visiting else { panic!("{visiting:?}") };
    assert_eq!(feed, "visitors-clinic");
    fetch(&pair, feed, &["Patient/amina"]);
    for name in ["Patient/amina", "Observation/pulse"] {
        let (parent, child) = pair.bodies(name);
        assert!(child.is_some() && parent == child, "{name}");
    }
    assert_eq!(
        body(&*pair.child, "Observation/own-pulse"),
        body(&*pair.parent, "Observation/own-pulse")
    );
    // The cohort is met as any other; later changes come by its feed.
    pull(&pair, feed);
    pair.at_parent(&put(&[stranger().gender("other")]));
    pair.at_parent(&put(&[an_observation("weight", "amina")]));
    pull(&pair, feed);
    for name in ["Patient/amina", "Observation/weight"] {
        let (parent, child) = pair.bodies(name);
        assert!(child.is_some() && parent == child, "{name}");
    }
    // What is written here about the visitor goes up like anything else.
    pair.at_child(&put(&[an_observation("fever", "amina")]));
    pair.push();
    assert!(body(&*pair.parent, "Observation/fever").is_some());
    sound(&pair);
}

pub fn a_search_shows_whom_it_fits_and_no_more(maker: &dyn Maker) {
    let pair = clinic(maker);
    pair.at_parent(&put(&[
        a_location("ward").with("name", r#""Ward 2""#),
        an_encounter("seen", "amina")
            .with("location", r#"[{"location":{"reference":"Location/ward"}}]"#)
            .with("period", r#"{"start":"2026-11-20"}"#),
        a_patient("twin")
            .with("name", r#"[{"family":"Juma","given":["Aminata"]}]"#)
            .gender("female")
            .born("1984"),
        a_patient("gone").with("identifier", r#"[{"value":"K-104"}]"#),
    ]));
    pair.at_parent(&delete("Patient/gone"));
    for (wanted, expected) in [
        (by_identifier(Some("urn:national"), "K-104"), &["amina"][..]),
        (by_identifier(Some("urn:other"), "K-104"), &[]),
        (by_identifier(None, "K-10"), &[]),
        (by_person("amina juma", "female", "1984-02-28"), &["amina", "twin"]),
        (by_person("atieno", "female", "1984-02"), &["amina"]),
        (by_person("amina", "female", "1984-03"), &["twin"]),
        (by_person("amina", "female", "1985"), &[]),
        (by_person("amina", "male", "1984"), &[]),
        (by_person("juma achieng", "female", "1984"), &[]),
    ] {
        let found = find(&pair, &wanted);
        let found: BTreeSet<&str> = ids(&found).into_iter().collect();
        assert_eq!(found, expected.iter().copied().collect(), "{wanted:?}");
    }
    let found = find(&pair, &by_identifier(None, "K-104"));
    let hit = &found.patients[0];
    assert_eq!(hit.names, ["Amina Atieno Juma"]);
    let seen = hit.last_seen.as_ref().unwrap();
    assert_eq!((seen.place.as_deref(), seen.at.as_deref()), (Some("Ward 2"), Some("2026-11-20")));
    assert!(!hit.held);
    visit(&pair, "clinic", "Patient/amina", 1);
    assert!(find(&pair, &by_identifier(None, "K-104")).patients[0].held);
    let many =
        (0..30).map(|n| a_patient(&format!("n{n}")).with("identifier", r#"[{"value":"same"}]"#));
    pair.at_parent(&put(&many.collect::<Vec<_>>()));
    let found = find(&pair, &by_identifier(None, "same"));
    assert_eq!((found.patients.len(), found.more), (20, true));
}

pub fn a_visit_ends_when_its_time_is_over_and_not_before(maker: &dyn Maker) {
    let pair = clinic(maker);
    pair.leave.set(LeavePolicy::Purge);
    visit(&pair, "clinic", "Patient/amina", 7);
    fetch(&pair, "visitors-clinic", &["Patient/amina"]);
    pull(&pair, "visitors-clinic");
    pair.pass(6 * 86_400);
    assert_eq!(pair.parent.visitor_expire(pair.now()).unwrap(), 0);
    // Fetching again lets the visitor stay longer, and a shorter visit ends nothing early.
    visit(&pair, "clinic", "Patient/amina", 7);
    visit(&pair, "clinic", "Patient/amina", 1);
    pair.pass(6 * 86_400);
    assert_eq!(pair.parent.visitor_expire(pair.now()).unwrap(), 0);
    pair.pass(2 * 86_400);
    assert_eq!(pair.parent.visitor_expire(pair.now()).unwrap(), 1);
    assert_eq!(pair.parent.visitor_expire(pair.now()).unwrap(), 0);
    assert_eq!(members(&pair, "visitors-clinic"), [""; 0]);
    assert_eq!(pair.parent.visitor_list(None).unwrap(), []);
    // The child's policy follows; what it wrote meanwhile goes up first.
    pair.at_child(&put(&[an_observation("fever", "amina")]));
    pull(&pair, "visitors-clinic");
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 0);
    pair.push();
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 1);
    assert!(body(&*pair.parent, "Observation/fever").is_some());
    assert_eq!(body(&*pair.child, "Patient/amina"), None);
    // Nothing of it is to be had any more, whatever the child asks for.
    let scope = Pair::scope(&*pair.child, &["mine", "visitors-clinic"]);
    let name = named("Patient/amina");
    assert_eq!(pair.parent.record_get(&name, None, &scope).unwrap(), None);
    let none = pair.parent.feed_patients("visitors-clinic", &[name], &scope).unwrap().unwrap();
    assert_eq!(none.lines, []);
    // And the patient may come again.
    visit(&pair, "clinic", "Patient/amina", 7);
    fetch(&pair, "visitors-clinic", &["Patient/amina"]);
    pull(&pair, "visitors-clinic");
    assert_eq!(body(&*pair.child, "Observation/fever"), body(&*pair.parent, "Observation/fever"));
    sound(&pair);
}

pub fn an_operator_ends_a_visit_early(maker: &dyn Maker) {
    let pair = clinic(maker);
    visit(&pair, "clinic", "Patient/amina", 7);
    let listed = pair.parent.visitor_list(Some(&child("clinic"))).unwrap();
    assert_eq!((listed[0].patient.id(), listed[0].reason.as_str()), ("amina", "walked in"));
    assert_eq!(pair.parent.visitor_list(Some(&child("other"))).unwrap(), []);
    let end = |site: &str, patient: &str| {
        pair.parent.visitor_end(&child(site), &named(patient), pair.now()).unwrap()
    };
    assert!(!end("other", "Patient/amina") && !end("clinic", "Patient/own"));
    assert!(end("clinic", "Patient/amina") && !end("clinic", "Patient/amina"));
    assert_eq!(members(&pair, "visitors-clinic"), [""; 0]);
}

pub fn a_fetch_that_the_end_of_the_visit_overtakes_is_void(maker: &dyn Maker) {
    let pair = clinic(maker);
    pair.leave.set(LeavePolicy::Purge);
    visit(&pair, "clinic", "Patient/amina", 7);
    pull(&pair, "visitors-clinic");
    let (source, slow) = fetched(&pair, "visitors-clinic", &["Patient/amina"]);
    pair.parent.visitor_end(&child("clinic"), &named("Patient/amina"), pair.now()).unwrap();
    pull(&pair, "visitors-clinic");
    pair.child.patient_purge(pair.now()).unwrap();
    pair.child.change_apply(&source, &slow, pair.now()).unwrap();
    assert_eq!(body(&*pair.child, "Patient/amina"), None);
    assert_eq!(body(&*pair.child, "Observation/pulse"), None);
}

pub fn a_fetch_that_is_repeated_after_a_cut_does_no_harm(maker: &dyn Maker) {
    let pair = clinic(maker);
    visit(&pair, "clinic", "Patient/amina", 7);
    // The answer was lost on its way.
    visit(&pair, "clinic", "Patient/amina", 7);
    for _ in 0..2 {
        fetch(&pair, "visitors-clinic", &["Patient/amina"]);
    }
    let before = pair.child.site().unwrap().sequence;
    pull(&pair, "visitors-clinic");
    assert_eq!(pair.child.site().unwrap().sequence, before, "it was all held");
    let feeds = pair.parent.feed_list(&Scope::Everything).unwrap();
    let own = feeds.iter().find(|feed| feed.name == "visitors-clinic").unwrap();
    assert_eq!(own.head, 1, "one join");
}

pub fn visitors_of_one_child_are_no_other_childs_business(maker: &dyn Maker) {
    let pair = clinic(maker);
    invite(&pair, "west", &["mine"]).unwrap();
    visit(&pair, "clinic", "Patient/amina", 7);
    visit(&pair, "west", "Patient/amina", 3);
    let children = pair.parent.child_list().unwrap();
    for info in &children {
        let cohorts: Vec<&str> = info.cohorts.iter().map(|name| name.as_str()).collect();
        assert_eq!(cohorts, ["mine", &format!("visitors-{}", info.site)]);
    }
    let west = Pair::scope(&*pair.child, &["mine", "visitors-west"]);
    assert_eq!(pair.parent.feed_patients("visitors-clinic", &[], &west).unwrap(), None);
    let digests = DigestScope::Published { feed: "visitors-clinic".to_owned(), scope: west };
    assert_eq!(pair.parent.record_digests(&digests, None, 10).unwrap(), []);
    // No operator can give it to another child by mistake, or put a definition on it.
    let refused = invite(&pair, "west", &["visitors-clinic"]).unwrap_err();
    assert!(matches!(&refused, StoreError::Name(text) if text.contains("visitors of clinic")));
    let draft = crate::CohortDraft {
        name: "visitors-west".parse().unwrap(),
        feed: super::feed_id("x"),
        title: None,
        definition: Definition::All {},
        page_entries: 100,
    };
    assert!(matches!(pair.parent.cohort_set(&draft, pair.now()), Err(StoreError::Name(_))));
    // A new code for a child leaves it its visitors.
    invite(&pair, "west", &["all"]).unwrap();
    let west = pair.parent.child_list().unwrap().pop().unwrap();
    let cohorts: Vec<&str> = west.cohorts.iter().map(|name| name.as_str()).collect();
    assert_eq!(cohorts, ["all", "visitors-west"]);
    // The end of one visit is not that of the other.
    pair.pass(4 * 86_400);
    assert_eq!(pair.parent.visitor_expire(pair.now()).unwrap(), 1);
    assert_eq!(members(&pair, "visitors-clinic"), ["amina"]);
    assert_eq!(members(&pair, "visitors-west"), [""; 0]);
}

pub fn the_visits_of_a_child_end_with_its_access(maker: &dyn Maker) {
    let pair = clinic(maker);
    visit(&pair, "clinic", "Patient/amina", 7);
    pair.parent.child_revoke(&child("clinic"), pair.now()).unwrap();
    assert_eq!(members(&pair, "visitors-clinic"), [""; 0]);
    assert_eq!(pair.parent.visitor_list(None).unwrap(), []);
    invite(&pair, "clinic", &["mine"]).unwrap();
    assert_eq!(members(&pair, "visitors-clinic"), [""; 0]);
    sound(&pair);
}

pub fn who_is_not_there_is_not_fetched(maker: &dyn Maker) {
    let pair = clinic(maker);
    let link = r#"[{"other":{"reference":"Patient/amina"},"type":"replaced-by"}]"#;
    let lost = r#"[{"other":{"reference":"Patient/nobody"},"type":"replaced-by"}]"#;
    pair.at_parent(&put(&[a_patient("old").with("link", link), a_patient("dead")]));
    pair.at_parent(&put(&[a_patient("alone").with("link", lost)]));
    pair.at_parent(&delete("Patient/dead"));
    assert_eq!(visit(&pair, "clinic", "Patient/nobody", 7), Visiting::Unknown);
    assert_eq!(visit(&pair, "clinic", "Patient/dead", 7), Visiting::Deleted);
    let other = Visiting::ReplacedBy(named("Patient/amina"));
    assert_eq!(visit(&pair, "clinic", "Patient/old", 7), other);
    // Where the other record is not here either, the one that is is better than none.
    assert!(matches!(visit(&pair, "clinic", "Patient/alone", 7), Visiting::In { .. }));
    // A patient of the child's own is no visitor.
    let own = Visiting::In { feed: "mine".to_owned(), until: None };
    assert_eq!(visit(&pair, "clinic", "Patient/own", 7), own);
    assert_eq!(members(&pair, "visitors-clinic"), ["alone"]);
}

pub fn a_long_id_or_a_taken_name_makes_a_cohort_of_its_own(maker: &dyn Maker) {
    let pair = clinic(maker);
    pair.cohort("visitors-clinic", Definition::All {});
    let long = ["a".repeat(60), format!("{}{}", "a".repeat(60), "bcd")];
    for site in &long {
        invite(&pair, site, &["mine"]).unwrap();
    }
    let mut names = BTreeSet::new();
    for site in ["clinic", &long[0], &long[1]] {
        let Visiting::In { feed, .. } = visit(&pair, site, "Patient/amina", 7) else { panic!() };
        assert!(feed.parse::<protocol::CohortName>().is_ok(), "{feed}");
        names.insert(feed);
    }
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains("visitors-clinic-2"), "{names:?}");
}

pub fn a_child_asks_only_so_often_an_hour(maker: &dyn Maker) {
    let limits = protocol::Limits { asks_per_hour: 4, ..protocol::Limits::default() };
    let pair = Pair::with_limits(maker, limits);
    invite(&pair, "clinic", &["all"]).unwrap();
    invite(&pair, "west", &["all"]).unwrap();
    let author = Author::new("nurse-3");
    let ask = |site: &str, now: Timestamp| {
        let wanted = by_identifier(None, "7");
        let found = pair.parent.patient_find(&wanted, &child(site), &author, now).unwrap();
        found != Asked::TooOften
    };
    let row = AuditRow {
        actor: "child:clinic".to_owned(),
        action: "patient-fetch-refused",
        subject: "Patient/x".to_owned(),
        detail: "no reason".to_owned(),
    };
    let refuse = |now| pair.parent.ask_refuse(&child("clinic"), &row, now).unwrap();
    assert!(ask("clinic", pair.now()) && ask("clinic", pair.now()));
    assert_eq!(visit(&pair, "clinic", "Patient/nobody", 1), Visiting::Unknown);
    assert_eq!(refuse(pair.now()), Asked::Answered(()));
    assert!(!ask("clinic", pair.now()), "the fifth");
    assert_eq!(refuse(pair.now()), Asked::TooOften);
    let again = pair.parent.visitor_add(&draft(&pair, "clinic", "Patient/x", 1), pair.now());
    assert_eq!(again.unwrap(), Asked::TooOften);
    assert!(ask("west", pair.now()), "another child");
    pair.pass(3_600);
    assert!(ask("clinic", pair.now()), "an hour later");
}

pub fn a_few_who_join_behind_a_first_load_are_fetched_ahead_of_it(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let names = |range: std::ops::Range<u32>, prefix: &str| {
        range.map(|n| a_patient(&format!("{prefix}{n}"))).collect::<Vec<_>>()
    };
    pair.at_parent(&put(&names(0..200, "load")));
    pair.pull_lane("all", Lane::Live);
    let (feed, epoch) = (super::feed_id("all"), pair.parent.site().unwrap().epoch);
    let ahead = || pair.child.joins_ahead(&feed, &epoch).unwrap();
    assert_eq!(ahead().patients, [], "who was there before comes by the bulk lane");
    pair.at_parent(&put(&[a_patient("amina"), an_observation("pulse", "amina")]));
    pair.pull_lane("all", Lane::Live);
    assert_eq!(ahead().patients, [named("Patient/amina")]);
    fetch(&pair, "all", &["Patient/amina"]);
    pair.child.joins_looked_at(&feed, &epoch, &ahead()).unwrap();
    assert!(body(&*pair.child, "Observation/pulse").is_some());
    assert_eq!(pair.marker("all", Lane::Bulk), Some(0), "and the bulk lane waits where it was");
    assert_eq!(ahead().patients, []);
    // Hundreds at once are a load of their own; one who comes after them is not.
    pair.at_parent(&put(&names(0..100, "more")));
    pair.pull_lane("all", Lane::Live);
    let load = ahead();
    assert_eq!(load.patients, []);
    pair.child.joins_looked_at(&feed, &epoch, &load).unwrap();
    pair.at_parent(&put(&[a_patient("baraka")]));
    pair.pull_lane("all", Lane::Live);
    assert_eq!(ahead().patients, [named("Patient/baraka")]);
    pair.pull_lane("all", Lane::Bulk);
    assert_eq!(ahead().patients, [], "the bulk lane has passed it");
    pair.assert_in_step();
}
