//! What a list of the record system shows: it counts where it can undo nothing.

use protocol::RecordRef;

use super::Maker;
use super::beside::{Beside, married};
use super::builders::{a_patient, an_observation, delete, named, put};
use crate::{Captured, EmrListed, EmrResult, EmrSeen, Shown};

impl Beside {
    /// What the store says of a record that is listed as it stands there now.
    fn listed(&self, name: &str) -> EmrListed {
        let digest = self.read(&named(name)).digest().unwrap();
        let found = self.store.emr_listed(&[(named(name), digest)]).unwrap();
        assert_eq!(found.len(), 1);
        found[0]
    }

    /// A list has shown these, a group each.
    fn take_listed(&self, shown: &[(RecordRef, Shown)]) -> Captured {
        let listed = |(record, shown): &(RecordRef, Shown)| {
            vec![(record.clone(), EmrSeen::Listed(shown.clone()))]
        };
        self.captured(shown.iter().map(listed).collect(), None)
    }
}

pub fn what_a_list_shows_is_known_new_or_to_be_read(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    beside.enter(&[a_patient("amina"), a_patient("beno")]);
    assert_eq!(beside.listed("Patient/amina"), EmrListed::New);
    // One that is here and was never shown there meets what is there first.
    beside.record(&put(&[married("beno")]));
    assert_eq!(beside.listed("Patient/beno"), EmrListed::New);
    let shown = ["Patient/amina", "Patient/beno"].map(|n| (named(n), beside.read(&named(n))));
    let done = beside.take_listed(&shown);
    // What is there of the one that is here adds nothing to him.
    assert_eq!((done.changes, done.kept), (1, 0));
    assert!(beside.body("Patient/beno").unwrap().contains("maritalStatus"));
    assert_eq!(beside.listed("Patient/beno"), EmrListed::Known);
    assert_eq!(beside.listed("Patient/amina"), EmrListed::Known);
    // However often it is listed, in one answer or in several.
    let twice = [shown[0].clone(), shown[0].clone()];
    assert_eq!(beside.take_listed(&twice), Captured { echoes: 2, ..Captured::default() });
    // Edited there, it is read: so it is while it is to be read again, and once it is deleted.
    beside.edit("Patient/amina", "gender", "\"female\"");
    assert_eq!(beside.listed("Patient/amina"), EmrListed::Unsure);
    let done =
        beside.take_listed(&[(named("Patient/amina"), beside.read(&named("Patient/amina")))]);
    assert_eq!((done.changes, done.kept), (0, 1));
    let found = beside.store.emr_listed(&[(named("Patient/amina"), shown[0].1.digest().unwrap())]);
    assert_eq!(found.unwrap(), [EmrListed::Unsure], "it is to be read again");
    beside.clock.set(beside.clock.get() + 60_000);
    assert_eq!(beside.read_hints().changes, 1);
    assert!(beside.body("Patient/amina").unwrap().contains("female"));
    assert_eq!(beside.listed("Patient/amina"), EmrListed::Known);
    let before = beside.read(&named("Patient/amina")).digest().unwrap();
    beside.void("Patient/amina");
    beside.capture();
    let found = beside.store.emr_listed(&[(named("Patient/amina"), before)]).unwrap();
    assert_eq!(found, [EmrListed::Unsure], "it was deleted there");
    beside.assert_quiet();
}

pub fn a_list_that_is_older_than_the_record_undoes_nothing(maker: &dyn Maker) {
    let beside = Beside::new(maker);
    let (amina, o) = (named("Patient/amina"), named("Observation/o"));
    beside.record(&put(&[a_patient("amina"), an_observation("o", "amina")]));
    beside.apply();
    // A list is made. Then the one is edited here and written there, the other deleted.
    let list = [amina.clone(), o.clone()].map(|name| (name.clone(), beside.read(&name)));
    beside.record(&put(&[a_patient("amina").born("1991-01-01")]));
    beside.record(&delete("Observation/o"));
    beside.apply();
    let before = beside.sequence();
    let done = beside.take_listed(&list);
    assert_eq!((done.changes, done.echoes, done.kept), (0, 0, 2));
    assert_eq!(beside.sequence(), before);
    assert!(beside.body("Patient/amina").unwrap().contains("1991"));
    assert_eq!(beside.body("Observation/o"), None);
    beside.clock.set(beside.clock.get() + 60_000);
    assert_eq!(beside.read_hints().changes, 0);
    assert_eq!(beside.sequence(), before);
    beside.assert_quiet();
    // A list that was made before a record was there for the first time says nothing of it, and
    // one that shows a record which an answer was lost of shows our own.
    beside.record(&put(&[a_patient("beno")]));
    let turn = beside.next().remove(0);
    let mut settled = beside.write(&turn);
    settled[0].result = EmrResult::Failed("no answer came".to_owned());
    beside.store.emr_settle(&settled, beside.now(), 0).unwrap();
    let shown = (named("Patient/beno"), beside.read(&named("Patient/beno")));
    let done = beside.take_listed(&[shown]);
    assert_eq!((done.changes, done.kept), (0, 0));
    beside.assert_quiet();
}
