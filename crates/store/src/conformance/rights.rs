//! What a child may change at its parent, and what the parent's words tell it.

use std::collections::BTreeSet;

use protocol::cohort::Definition;
use protocol::delivery::Outcome;
use protocol::feed::EntryKind;
use protocol::stream::Differing;
use protocol::stream::{OutLine, OutRecord};
use protocol::{ChangeId, Digest, SiteId};

use super::Maker;
use super::builders::{Resource, a_location, a_patient, an_observation, delete, named, put};
use super::pair::{Pair, body, read_back};
use crate::{
    Allowance, Applied, AuditFilter, ConflictFilter, HistoryQuery, LeavePolicy, Scope, Source,
};

/// The child holds `Patient/own` and another; the parent has a stranger too, with a record.
fn strangers(maker: &dyn Maker) -> Pair {
    let pair = Pair::new(maker);
    only(&pair, &["other", "own"]);
    pair.at_parent(&put(&[
        a_patient("own"),
        a_patient("other"),
        a_patient("secret").gender("female"),
    ]));
    pair.at_parent(&put(&[hidden()]));
    pair.quiet();
    assert_eq!(body(&*pair.child, "Observation/hidden"), None);
    pair
}

fn hidden() -> Resource {
    an_observation("hidden", "secret").with("valueString", r#""positive""#)
}

fn only(pair: &Pair, patients: &[&str]) {
    let patients = patients.iter().map(|id| named(&format!("Patient/{id}"))).collect();
    pair.cohort("all", Definition::Patients { patients });
}

/// The foreign record with a patient of the child's in it.
fn drawn() -> Resource {
    let performer = r#"[{"reference":"Patient/own"}]"#;
    an_observation("hidden", "secret").with("performer", performer)
}

/// A change with this number, as a child that makes up its lines would send it.
fn forged(pair: &Pair, number: u64, record: OutRecord) -> Applied {
    let info = pair.child.site().unwrap();
    let id = ChangeId { origin: info.site.clone(), epoch: info.epoch, number };
    named_as(pair, info.site, id, record)
}

/// The same from any child, and under any name.
fn named_as(pair: &Pair, site: SiteId, id: ChangeId, record: OutRecord) -> Applied {
    let epoch = pair.child.site().unwrap().epoch;
    let line = OutLine {
        position: None,
        kind: EntryKind::Change,
        id: Some(id),
        covers: Vec::new(),
        part: None,
        author: None,
        at: Some(pair.now()),
        patients: Vec::new(),
        reason: None,
        records: vec![record],
    };
    let source = Source::Child { site, epoch, reading: None };
    let lines = [read_back(&line, &pair.limits)];
    pair.parent.change_apply(&source, &lines, pair.now()).unwrap().remove(0)
}

fn state(resource: &Resource, base: Option<Digest>) -> OutRecord {
    let record = resource.record();
    let base = base.map(|digest| digest.short().into());
    let (reference, body, digest) = (record.reference, record.body.unwrap(), record.digest);
    OutRecord::Resource { reference, body, digest, base }
}

fn is_unmoved(pair: &Pair) {
    assert_eq!(body(&*pair.parent, "Observation/hidden").unwrap(), hidden().text());
    assert!(body(&*pair.parent, "Patient/secret").unwrap().contains("female"));
    pair.quiet();
    let conflicts = pair.parent.conflict_list(&ConflictFilter::default(), &Scope::Everything);
    assert_eq!(conflicts.unwrap().conflicts.len(), 0);
}

pub fn defect_28_who_knows_only_the_name_of_a_record_changes_nothing(maker: &dyn Maker) {
    let writes = [
        put(&[drawn()]),
        put(&[a_patient("secret").with("multipleBirthInteger", "2")]),
        put(&[super::replaced::replaced("secret", "own")]),
        delete("Observation/hidden"),
    ];
    for write in writes {
        let pair = strangers(maker);
        // A site that never had the record can delete it only after it has written it.
        if write.writes.iter().all(|write| write.record.body.is_none()) {
            pair.at_child(&put(&[drawn()]));
        }
        pair.at_child(&write);
        pair.at_child(&put(&[an_observation("mine", "other")]));
        let outcomes = pair.push();
        assert!(outcomes.contains(&Outcome::Refused), "{outcomes:?}");
        // It is kept where it was written, and holds up nobody else.
        assert!(body(&*pair.parent, "Observation/mine").is_some());
        is_unmoved(&pair);
        let held = pair.parent.cohort_patients(&"all".parse().unwrap(), None, 10).unwrap();
        assert_eq!(held, ["Patient/other", "Patient/own"].map(named));
        assert_eq!(pair.parent.patient_replaced(10).unwrap(), []);
    }
    // What is refused says what to do, and names the record alone.
    let pair = strangers(maker);
    let applied = forged(&pair, 70, state(&drawn(), None));
    let reason = applied.reason.unwrap();
    assert!(reason.contains("Observation/hidden") && reason.contains("patient fetch"), "{reason}");
    assert_eq!((applied.outcome, applied.differs), (Outcome::Refused, Vec::new()));
}

pub fn defect_28_a_number_that_is_sent_again_tells_nothing_of_a_foreign_record(maker: &dyn Maker) {
    let pair = strangers(maker);
    let mine = an_observation("mine", "own");
    assert_eq!(forged(&pair, 70, state(&mine, None)).outcome, Outcome::Applied);
    // The number is known already; the body is another one.
    let applied = forged(&pair, 70, state(&drawn(), None));
    let hidden = named("Observation/hidden");
    let digest = Digest::of_deletion(&hidden).short();
    let nothing = Differing { record: hidden, digest, had: false };
    assert_eq!((applied.outcome, &applied.differs[..]), (Outcome::Already, &[nothing][..]));
    let newer = forged(&pair, 70, state(&mine.with("note", r#"[{"text":"x"}]"#), None));
    let digest = an_observation("mine", "own").record().digest.short();
    let mine = Differing { record: named("Observation/mine"), digest, had: false };
    assert_eq!(newer.differs, [mine]);
    is_unmoved(&pair);
}

pub fn defect_28_a_deletion_proves_no_knowledge_of_a_record(maker: &dyn Maker) {
    let pair = strangers(maker);
    let deleted = Digest::of_deletion(&named("Observation/hidden"));
    pair.at_parent(&delete("Observation/hidden"));
    pair.at_parent(&put(&[hidden()]));
    let gone = OutRecord::Deleted { reference: named("Observation/hidden"), base: None };
    assert_eq!(forged(&pair, 70, gone).outcome, Outcome::Refused);
    assert_eq!(forged(&pair, 71, state(&drawn(), Some(deleted))).outcome, Outcome::Refused);
    is_unmoved(&pair);
    // Who names a version that it cannot guess has had it.
    let had = hidden().record().digest;
    assert_ne!(forged(&pair, 72, state(&drawn(), Some(had))).outcome, Outcome::Refused);
}

pub fn a_child_changes_what_it_has_had_or_brought(maker: &dyn Maker) {
    // A patient who left, while something was written.
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Keep);
    pair.at_parent(&put(&[a_patient("amina"), an_observation("pulse", "amina")]));
    pair.quiet();
    only(&pair, &[]);
    pair.at_child(&put(&[an_observation("pulse", "amina").with("valueInteger", "71")]));
    pair.quiet();
    assert!(body(&*pair.parent, "Observation/pulse").unwrap().contains("71"));
    // What it brought itself of somebody whom it never had from the parent.
    let pair = strangers(maker);
    pair.at_child(&put(&[an_observation("seen", "secret")]));
    pair.push();
    pair.at_child(&put(&[an_observation("seen", "secret").with("valueInteger", "72")]));
    pair.push();
    assert!(body(&*pair.parent, "Observation/seen").unwrap().contains("72"));
    // The same, where it does not know any more what it sent.
    let sent = state(&an_observation("seen", "secret").with("valueInteger", "73"), None);
    assert_ne!(forged(&pair, 90, sent).outcome, Outcome::Refused);
    // A reference record is everybody's; so is the state that the parent has anyway.
    pair.at_parent(&put(&[a_location("ward")]));
    let ward = a_location("ward").with("alias", r#"["west"]"#);
    assert_ne!(forged(&pair, 91, state(&ward, None)).outcome, Outcome::Refused);
    assert_eq!(forged(&pair, 92, state(&hidden(), None)).outcome, Outcome::Already);
    // One of several patients is enough.
    let both = BTreeSet::from([named("Patient/own"), named("Patient/secret")]);
    let pair = strangers(maker);
    pair.at_parent(&put(&[drawn()]));
    let edited = drawn().with("valueInteger", "5");
    assert_ne!(forged(&pair, 93, state(&edited, None)).outcome, Outcome::Refused);
    assert_eq!(edited.record().patients, both);
}

pub fn a_person_lets_a_child_change_what_it_had_in_a_life_that_was_lost(maker: &dyn Maker) {
    let pair = strangers(maker);
    let site = pair.child.site().unwrap().site;
    let edited = hidden().with("valueInteger", "5");
    let refused = forged(&pair, 70, state(&edited, None));
    assert!(refused.reason.unwrap().contains(&format!("child allow {site} Observation/hidden")));
    let allow = |site: &str, record: &str| {
        let (site, records) = (site.parse().unwrap(), vec![named(record)]);
        let allowance = Allowance { site, records, reason: "it was seen there".to_owned() };
        pair.parent.child_allow(&allowance, pair.now()).unwrap()
    };
    assert!(!allow("nowhere", "Observation/hidden"));
    assert!(allow(site.as_str(), "Patient/secret"));
    assert_eq!(forged(&pair, 70, state(&edited, None)).outcome, Outcome::Refused, "another one");
    assert!(allow(site.as_str(), "Observation/hidden"));
    assert_ne!(forged(&pair, 70, state(&edited, None)).outcome, Outcome::Refused);
    let filter =
        AuditFilter { action: Some("child-allow".to_owned()), limit: 10, ..AuditFilter::default() };
    let said = pair.parent.audit_list(&filter).unwrap();
    let said = said.iter().map(|row| (row.subject.as_str(), row.detail.as_str()));
    let detail = format!("{site}: it was seen there");
    let both = ["Patient/secret", "Observation/hidden"].map(|name| (name, detail.as_str()));
    assert_eq!(said.collect::<Vec<_>>(), both);
}

pub fn defect_28_what_is_made_anew_over_a_deletion_has_nothing_of_what_was_deleted(
    maker: &dyn Maker,
) {
    let pair = strangers(maker);
    pair.at_parent(&delete("Observation/hidden"));
    let applied = forged(&pair, 70, state(&drawn(), None));
    assert_eq!(applied.outcome, Outcome::Conflict, "an edit stands over a deletion");
    let scope = Pair::scope(&*pair.child, &["all"]);
    let hidden = named("Observation/hidden");
    let now = pair.parent.record_get(&hidden, None, &scope).unwrap().unwrap();
    assert_eq!(now.body, Some(drawn().text()));
    let query = HistoryQuery { record: Some(hidden), limit: 10, ..HistoryQuery::default() };
    let seen = pair.parent.record_history(&query, &scope).unwrap().versions;
    let mut bodies = seen.into_iter().filter_map(|version| version.body);
    assert!(bodies.all(|body| !body.contains("positive")));
    pair.quiet();
    let conflicts = pair.parent.conflict_list(&ConflictFilter::default(), &scope).unwrap();
    for conflict in conflicts.conflicts {
        let view = pair.parent.conflict_get(&conflict.id, &scope).unwrap().unwrap();
        assert!(!format!("{view:?}").contains("positive"));
    }
}

pub fn defect_28_changes_under_names_of_other_sites_stop_no_site(maker: &dyn Maker) {
    let pair = strangers(maker);
    let (centre, clinic) = (pair.parent.site().unwrap(), pair.child.site().unwrap());
    let forged = |origin: &SiteId, epoch, number, name: &str| {
        let id = ChangeId { origin: origin.clone(), epoch, number };
        named_as(&pair, "outpost".parse().unwrap(), id, state(&an_observation(name, "own"), None))
    };
    let told = forged(&centre.site, centre.epoch, 1, "f");
    assert_eq!(told.outcome, Outcome::Refused);
    assert!(told.reason.unwrap().contains("named as one of"));
    // The next numbers of the child, which come down to it in its feed.
    for number in 1..4 {
        let told = forged(&clinic.site, clinic.epoch, number, &format!("f{number}"));
        assert_eq!(told.outcome, Outcome::Applied);
    }
    pair.quiet();
    assert!(body(&*pair.child, "Observation/f3").is_some());
    for name in ["w1", "w2"] {
        pair.at_child(&put(&[an_observation(name, "own")]));
    }
    pair.at_parent(&put(&[an_observation("w3", "own")]));
    pair.quiet();
    are_at_both(&pair, &["Observation/w1", "Observation/w2", "Observation/w3"]);
}

fn are_at_both(pair: &Pair, names: &[&str]) {
    for name in names {
        let (parent, child) = pair.bodies(name);
        assert!(parent.is_some(), "{name} is not at the parent");
        assert!(child.is_some(), "{name} is not at the child");
    }
}

pub fn what_a_child_that_was_rolled_back_names_as_others_before_is_offered_again(
    maker: &dyn Maker,
) {
    for policy in [LeavePolicy::Keep, LeavePolicy::Purge] {
        let pair = strangers(maker);
        pair.leave.set(policy);
        // The life that was lost gave out these numbers, and so does the one that has begun.
        for number in 1..=40 {
            let told = forged(&pair, number, state(&a_patient(&format!("lost{number}")), None));
            assert_eq!(told.outcome, Outcome::Applied);
        }
        pair.at_child(&put(&[a_patient("new")]));
        pair.at_child(&put(&[an_observation("pulse", "own")]));
        pair.at_child(&put(&[a_patient("own").gender("male")]));
        pair.quiet();
        pair.child.patient_purge(pair.now()).unwrap();
        are_at_both(&pair, &["Patient/new", "Observation/pulse"]);
        assert!(body(&*pair.parent, "Patient/own").unwrap().contains("male"));
    }
}
