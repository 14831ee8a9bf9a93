//! What leaves by itself, and a site in the middle that purges who left it while a site below has
//! not heard of it yet.

use std::collections::BTreeSet;

use protocol::cohort::Definition;
use protocol::delivery::Outcome;
use protocol::feed::EntryKind;
use protocol::stream::{Base, Lane, OutLine, OutRecord};
use protocol::{ChangeId, Digest, Epoch, SiteId};

use super::builders::{Resource, a_patient, an_observation, put};
use super::pair::{Pair, body, digests, read_back};
use super::restores::lose_the_parent;
use super::{Maker, feed_id};
use crate::{ChildDraft, CohortDraft, DigestScope, LeavePolicy, ReceiptWord, Scope, Source};

/// A site below the clinic, and what it brings.
struct Below {
    site: SiteId,
    epoch: Epoch,
}

impl Below {
    /// The clinic publishes all that it has to it.
    fn new(pair: &Pair) -> Below {
        let cohort = CohortDraft {
            name: "below".parse().unwrap(),
            feed: feed_id("below"),
            title: None,
            definition: Definition::All {},
            page_entries: 100,
        };
        pair.child.cohort_set(&cohort, pair.now()).unwrap();
        let child = ChildDraft {
            site: "outpost".parse().unwrap(),
            cohorts: vec![cohort.name],
            code_hash: [9; 32],
            code_expires: pair.now(),
        };
        pair.child.child_add(&child, pair.now()).unwrap();
        Below { site: child.site, epoch: Epoch::from_bytes([9; 16]) }
    }

    /// Brings a state that it made from another one.
    fn bring(&self, pair: &Pair, number: u64, state: &Resource, base: Option<Digest>) -> Outcome {
        self.bring_from(pair, number, state, base.map(|digest| digest.short().into()))
    }

    /// Offers a state that the clinic's life before had sent it.
    fn offer(&self, pair: &Pair, number: u64, state: &Resource) -> Outcome {
        let digest = Some(state.record().digest.short());
        self.bring_from(pair, number, state, Some(Base { digest, relayed: true, since: Some(1) }))
    }

    fn bring_from(
        &self,
        pair: &Pair,
        number: u64,
        state: &Resource,
        base: Option<Base>,
    ) -> Outcome {
        self.bring_line(pair, (number, &[]), &[(state, base)])
    }

    /// Brings a line under a number, which covers others too.
    fn bring_line(
        &self,
        pair: &Pair,
        (number, covers): (u64, &[u64]),
        states: &[(&Resource, Option<Base>)],
    ) -> Outcome {
        let patients = states.iter().flat_map(|(state, _)| state.record().patients);
        let records = states.iter().map(|(state, base)| {
            let record = state.record();
            let (reference, body, digest) = (record.reference, record.body.unwrap(), record.digest);
            OutRecord::Resource { reference, body, digest, base: *base }
        });
        let line = OutLine {
            position: None,
            kind: EntryKind::Change,
            id: Some(ChangeId { origin: self.site.clone(), epoch: self.epoch, number }),
            covers: covers.to_vec(),
            part: None,
            author: None,
            at: Some(pair.now()),
            patients: patients.collect::<BTreeSet<_>>().into_iter().collect(),
            reason: None,
            records: records.collect(),
        };
        let source = Source::Child { site: self.site.clone(), epoch: self.epoch, reading: None };
        let lines = [read_back(&line, &pair.limits)];
        pair.child.change_apply(&source, &lines, pair.now()).unwrap().remove(0).outcome
    }

    /// What the clinic publishes to it.
    fn published(&self, pair: &Pair) -> Vec<String> {
        let scope = Scope::Cohorts {
            reader: self.site.clone(),
            epoch: self.epoch,
            cohorts: vec!["below".parse().unwrap()],
        };
        let scope = DigestScope::Published { feed: "below".to_owned(), scope };
        digests(&*pair.child, &scope).keys().map(ToString::to_string).collect()
    }
}

/// The clinic had Amina, brought an edit of hers, and purged her when she left.
fn purged(maker: &dyn Maker) -> (Pair, Below) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    let below = Below::new(&pair);
    pair.at_parent(&put(&[a_patient("amina"), pulse()]));
    pair.quiet();
    pair.at_child(&put(&[edited_at_the_clinic()]));
    pair.quiet();
    assert_eq!(below.published(&pair), ["Observation/pulse", "Patient/amina"]);
    pair.cohort("all", Definition::Patients { patients: BTreeSet::new() });
    pair.quiet();
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 1);
    assert_eq!(body(&*pair.child, "Observation/pulse"), None);
    assert_eq!(below.published(&pair), Vec::<String>::new());
    (pair, below)
}

fn pulse() -> Resource {
    an_observation("pulse", "amina").with("valueInteger", "60")
}

fn edited_at_the_clinic() -> Resource {
    an_observation("pulse", "amina").with("valueInteger", "61")
}

pub fn what_only_a_child_has_of_a_restored_site_in_the_middle_goes_up(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let below = Below::new(&pair);
    pair.at_parent(&put(&[a_patient("amina"), pulse()]));
    pair.quiet();
    // The life before had this from another site below, gave it to this one, and never sent it.
    let noted = pulse().with("note", r#"[{"text":"at rest"}]"#);
    assert!(below.offer(&pair, 1, &noted).is_held());
    pair.quiet();
    assert!(body(&*pair.parent, "Observation/pulse").unwrap().contains("at rest"));
    pair.assert_in_step();
}

pub fn what_comes_from_below_for_a_patient_who_left_is_merged_from_its_own_base(maker: &dyn Maker) {
    let (pair, below) = purged(maker);
    // The site below had the state before the clinic's edit, and changed something else.
    let noted = pulse().with("note", r#"[{"text":"at rest"}]"#);
    assert_eq!(below.bring(&pair, 1, &noted, Some(pulse().record().digest)), Outcome::Applied);
    assert_eq!(pair.push(), [Outcome::Merged]);
    let text = body(&*pair.parent, "Observation/pulse").unwrap();
    assert!(text.contains("at rest") && text.contains(":61"), "{text}");
    // A base that the parent has not is no reason to take away what it has.
    let other = pulse().with("note", r#"[{"text":"sitting"}]"#);
    let unknown = an_observation("pulse", "amina").record().digest;
    pair.child.patient_purge(pair.now()).unwrap();
    assert_eq!(below.bring(&pair, 2, &other, Some(unknown)), Outcome::Applied);
    assert_eq!(pair.push(), [Outcome::Conflict]);
    let text = body(&*pair.parent, "Observation/pulse").unwrap();
    assert!(text.contains("at rest") && text.contains(":61"), "{text}");
}

pub fn what_is_passed_on_again_is_merged_from_what_was_passed_on_before(maker: &dyn Maker) {
    let (pair, below) = purged(maker);
    let noted = pulse().with("note", r#"[{"text":"at rest"}]"#);
    assert_eq!(below.bring(&pair, 1, &noted, Some(pulse().record().digest)), Outcome::Applied);
    lose_the_answer(&pair);
    assert!(body(&*pair.parent, "Observation/pulse").unwrap().contains("at rest"));
    assert_eq!(below.bring(&pair, 2, &pulse(), Some(noted.record().digest)), Outcome::Applied);
    assert_eq!(pair.push(), [Outcome::Merged]);
    let text = body(&*pair.parent, "Observation/pulse").unwrap();
    assert!(text.contains(":61") && !text.contains("at rest"), "{text}");
}

/// Brings what is due to the parent; the clinic does not hear what became of it.
fn lose_the_answer(pair: &Pair) {
    let lines = pair.child.delivery_next(pair.now(), 100_000).unwrap();
    assert!(!lines.is_empty());
    for line in &lines {
        assert!(pair.send(line).outcome.is_held());
    }
}

pub fn what_is_made_anew_where_it_was_purged_takes_nothing_away(maker: &dyn Maker) {
    let (pair, _) = purged(maker);
    let anew = |note: &str| {
        an_observation("pulse", "amina").with("note", &format!(r#"[{{"text":"{note}"}}]"#))
    };
    pair.at_child(&put(&[anew("at rest")]));
    lose_the_answer(&pair);
    let text = body(&*pair.parent, "Observation/pulse").unwrap();
    assert!(text.contains("at rest") && text.contains(":61"), "{text}");
    // What it brings now it made from what it brought since then.
    pair.at_child(&put(&[anew("sitting")]));
    pair.push();
    let text = body(&*pair.parent, "Observation/pulse").unwrap();
    let is_edited = text.contains("sitting") && !text.contains("at rest");
    assert!(is_edited && text.contains(":61"), "{text}");
}

pub fn what_comes_from_below_for_a_patient_who_left_goes_up_and_out_again(maker: &dyn Maker) {
    let (pair, below) = purged(maker);
    let new = an_observation("weight", "amina");
    assert_eq!(below.bring(&pair, 1, &new, None), Outcome::Applied);
    assert_eq!(below.published(&pair), ["Observation/weight"]);
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 0, "it has not been sent");
    pair.quiet();
    assert!(body(&*pair.parent, "Observation/weight").is_some());
    assert_eq!(pair.child.site_status(pair.now()).unwrap().patients_left, 1);
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 1);
    assert_eq!(body(&*pair.child, "Observation/weight"), None);
    assert_eq!(below.published(&pair), Vec::<String>::new());
    assert_eq!(pair.child.site_status(pair.now()).unwrap().patients_left, 0);
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 0);
    // Who comes back stays.
    pair.cohort("all", Definition::All {});
    pair.quiet();
    assert_eq!(pair.child.patient_purge(pair.now()).unwrap(), 0);
    assert!(body(&*pair.child, "Observation/weight").is_some());
    pair.assert_in_step();
}

/// A record of two patients, and the same when it is of a third.
pub fn what_was_purged_and_the_restored_parent_has_lost_is_asked_for_below(maker: &dyn Maker) {
    let (mut pair, below) = purged(maker);
    let noted = pulse().with("note", r#"[{"text":"at rest"}]"#);
    let base = Some(pulse().record().digest);
    assert_eq!(below.bring(&pair, 1, &noted, base), Outcome::Applied);
    assert_eq!(below.bring(&pair, 2, &a_patient("beno"), None), Outcome::Applied);
    pair.quiet();
    pair.child.patient_purge(pair.now()).unwrap();
    assert_eq!(below.bring(&pair, 1, &noted, base), Outcome::Already);
    assert_eq!(pair.child.site().unwrap().again, 0);
    lose_the_parent(&mut pair, maker, &[]);
    pair.reconcile();
    pair.quiet();
    assert_eq!(body(&*pair.parent, "Observation/pulse"), None);
    assert!(body(&*pair.parent, "Patient/beno").is_some(), "he was not purged");
    assert_eq!(pair.child.site().unwrap().again, 1);
    // What it is asked about says so, and what comes again is new.
    let id = |number| ChangeId { origin: below.site.clone(), epoch: below.epoch, number };
    let asked = [1, 2].map(|number| (id(number), Vec::new()));
    let words = pair.child.inbox_receipts(&below.site, &asked).unwrap();
    assert_eq!(words[0], ReceiptWord::Unknown);
    assert_ne!(words[1], ReceiptWord::Unknown);
    assert_eq!(below.bring(&pair, 1, &noted, base), Outcome::Applied);
    pair.quiet();
    assert!(body(&*pair.parent, "Observation/pulse").unwrap().contains("at rest"));
    assert_eq!(below.bring(&pair, 1, &noted, base), Outcome::Already);
}

pub fn an_old_copy_of_what_is_asked_for_again_takes_nothing_back(maker: &dyn Maker) {
    let (mut pair, below) = purged(maker);
    let noted = pulse().with("note", r#"[{"text":"at rest"}]"#);
    assert_eq!(below.bring(&pair, 1, &noted, Some(pulse().record().digest)), Outcome::Applied);
    // The change 5 went with 6, and a carrier has a copy of it still.
    let (five, six) = (a_patient("beno").born("1990"), a_patient("beno").born("1991"));
    assert_eq!(below.bring_line(&pair, (6, &[5, 6]), &[(&six, None)]), Outcome::Applied);
    pair.quiet();
    pair.child.patient_purge(pair.now()).unwrap();
    lose_the_parent(&mut pair, maker, &[]);
    pair.reconcile();
    pair.quiet();
    assert_eq!(pair.child.site().unwrap().again, 1);
    assert_eq!(below.bring(&pair, 5, &five, None), Outcome::Already);
    assert_eq!(body(&*pair.child, "Patient/beno").unwrap(), six.text());
    assert_eq!(below.bring(&pair, 1, &noted, None), Outcome::Applied);
}

pub fn a_change_of_which_a_part_was_purged_is_asked_for(maker: &dyn Maker) {
    let (mut pair, below) = purged(maker);
    let noted = pulse().with("note", r#"[{"text":"at rest"}]"#);
    let (base, beno) = (Some(pulse().record().digest.short().into()), a_patient("beno"));
    let both = [(&noted, base), (&beno, None)];
    assert_eq!(below.bring_line(&pair, (1, &[]), &both), Outcome::Applied);
    pair.quiet();
    pair.child.patient_purge(pair.now()).unwrap();
    assert!(body(&*pair.child, "Patient/beno").is_some(), "he did not leave");
    for times in 1..=2 {
        lose_the_parent(&mut pair, maker, &[]);
        pair.reconcile();
        pair.quiet();
        assert_eq!(body(&*pair.parent, "Observation/pulse"), None);
        assert_eq!(pair.child.site().unwrap().again, times);
        assert_eq!(below.bring_line(&pair, (1, &[]), &both), Outcome::Applied);
        pair.quiet();
        assert!(body(&*pair.parent, "Observation/pulse").unwrap().contains("at rest"));
        pair.child.patient_purge(pair.now()).unwrap();
    }
}

fn shared(subject: &str, performer: &str) -> Resource {
    let performer = format!(r#"[{{"reference":"Patient/{performer}"}}]"#);
    an_observation("pulse", subject).with("performer", &performer)
}

pub fn a_record_that_left_two_cohorts_is_gone_though_both_patients_stay(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    let only = |id: &str| Definition::Patients {
        patients: [a_patient(id).reference()].into_iter().collect(),
    };
    pair.cohort("all", only("amina"));
    pair.cohort("second", only("beno"));
    let pull = || {
        pair.quiet();
        for lane in [Lane::Live, Lane::Bulk] {
            pair.pull_lane("second", lane);
        }
        pair.child.patient_purge(pair.now()).unwrap();
    };
    pair.at_parent(&put(&["amina", "beno", "chebet"].map(a_patient)));
    pair.at_parent(&put(&[shared("amina", "beno")]));
    pull();
    assert!(body(&*pair.child, "Observation/pulse").is_some());
    pair.at_parent(&put(&[shared("chebet", "chebet")]));
    pull();
    assert_eq!(body(&*pair.child, "Observation/pulse"), None);
    assert!(body(&*pair.child, "Patient/amina").is_some());
    assert!(body(&*pair.child, "Patient/beno").is_some());
    // The same, where one of them leaves instead of being told so.
    pair.at_parent(&put(&[shared("amina", "beno")]));
    pull();
    pair.at_parent(&put(&[shared("chebet", "chebet")]));
    pair.cohort("second", Definition::Patients { patients: BTreeSet::new() });
    pull();
    assert_eq!(body(&*pair.child, "Observation/pulse"), None);
    assert_eq!(body(&*pair.child, "Patient/beno"), None);
}

pub fn a_record_that_comes_back_as_it_was_counts_again(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Keep);
    pair.cohort(
        "all",
        Definition::Patients { patients: [a_patient("amina").reference()].into_iter().collect() },
    );
    pair.at_parent(&put(&["amina", "chebet"].map(a_patient)));
    for subject in ["amina", "chebet", "amina"] {
        pair.at_parent(&put(&[an_observation("pulse", subject)]));
        pair.quiet();
        pair.assert_in_step();
        assert!(body(&*pair.child, "Observation/pulse").is_some());
    }
}
