//! The audit: who did what, found again and proved.

use super::builders::{a_patient, an_observation, delete, named, put};
use super::pair::Pair;
use super::{Maker, START, site};
use crate::{AuditFilter, AuditRow, DeliveryAction, DeliveryChoice, Store};

fn found(store: &dyn Store, filter: AuditFilter) -> Vec<String> {
    let filter = AuditFilter { limit: 100, ..filter };
    let rows = store.audit_list(&filter).unwrap();
    rows.into_iter().map(|row| format!("{} {} {}", row.actor, row.action, row.subject)).collect()
}

pub fn the_audit_is_searched_by_what_it_is_about(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let store = &*pair.child;
    let first = pair.at_child(&put(&[a_patient("amina")])).sequence.unwrap();
    let second = pair.at_child(&put(&[an_observation("pulse", "amina")])).sequence.unwrap();
    let third = pair.at_child(&put(&[a_patient("beno")])).sequence.unwrap();
    pair.at_child(&delete("Observation/pulse"));
    let park = DeliveryAction::Park("looked at".to_owned());
    let which = DeliveryChoice::Sequences(vec![second, third]);
    store.delivery_act(&which, &park, pair.now()).unwrap();
    let when = pair.now();
    let denied = |subject: &str| AuditRow {
        actor: "child:ward".to_owned(),
        action: "denied",
        subject: subject.to_owned(),
        detail: "no".to_owned(),
    };
    for subject in ["Observation/pulse", "Patient/aminata", "Patient/beno Patient/amina"] {
        store.audit_append(&denied(subject), when).unwrap();
    }
    let of = |record: &str| AuditFilter { record: Some(named(record)), ..AuditFilter::default() };
    let parked = format!("operator delivery-park {second} {third}");
    let change = |sequence: u64| format!("nurse-3 change {sequence}");
    assert_eq!(
        found(store, of("Observation/pulse")),
        [
            change(second),
            change(third + 1),
            parked.clone(),
            "child:ward denied Observation/pulse".to_owned()
        ]
    );
    let both = "child:ward denied Patient/beno Patient/amina".to_owned();
    assert_eq!(found(store, of("Patient/amina")), [change(first), both.clone()]);
    let patient = AuditFilter { patient: Some(named("Patient/amina")), ..AuditFilter::default() };
    let all = found(store, patient.clone());
    assert_eq!(all.len(), 6, "{all:?}");
    assert!(!all.iter().any(|row| row.ends_with("aminata") || *row == change(third)), "{all:?}");
    let actor = AuditFilter { actor: Some("child:ward".to_owned()), ..AuditFilter::default() };
    assert_eq!(found(store, actor.clone()).len(), 3);
    assert_eq!(found(store, AuditFilter { patient: patient.patient.clone(), ..actor }).len(), 2);
    let action = AuditFilter { action: Some("delivery-park".to_owned()), ..Default::default() };
    assert_eq!(found(store, action), [parked]);
    let since = AuditFilter { since: Some(when), ..AuditFilter::default() };
    assert_eq!(found(store, since).len(), 3);
    let until = AuditFilter { until: Some(when), patient: patient.patient, ..Default::default() };
    assert_eq!(found(store, until).len(), 4);
    assert_eq!(found(store, of("Patient/nobody")), [] as [&str; 0]);
    // Page by page, and from the end.
    let page = AuditFilter { limit: 2, ..AuditFilter::default() };
    let one = store.audit_list(&page).unwrap();
    let two = store.audit_list(&AuditFilter { after: one[1].key, ..page.clone() }).unwrap();
    assert_eq!([one[0].key, one[1].key, two[0].key, two[1].key], [1, 2, 3, 4]);
    let newest = store.audit_list(&AuditFilter { newest: true, ..page }).unwrap();
    assert_eq!((newest[0].subject.as_str(), newest.len()), ("Patient/beno Patient/amina", 2));
}

pub fn the_rows_of_the_audit_follow_from_one_another(maker: &dyn Maker) {
    let store = maker.make(&site("centre"), &protocol::Limits::default());
    let before = store.audit_verify().unwrap();
    for (subject, detail) in [("a", "bc"), ("ab", "c"), ("", "")] {
        let (subject, detail) = (subject.to_owned(), detail.to_owned());
        let row = AuditRow { actor: "operator".to_owned(), action: "why", subject, detail };
        store.audit_append(&row, START).unwrap();
    }
    let proof = store.audit_verify().unwrap();
    assert_eq!((proof.rows, proof.broken), (before.rows + 3, None));
    let all = store.audit_list(&AuditFilter { limit: 100, ..AuditFilter::default() }).unwrap();
    assert_eq!(all.last().unwrap().hash, proof.last);
    assert_ne!(before.last, proof.last);
    // Anybody can prove an exported row: this is the form that the documents promise.
    let [.., first, second] = &all[..] else { panic!("there are rows") };
    let mut bytes = unhex(&first.hash);
    bytes.extend(second.at.millis().to_be_bytes());
    for text in [&second.actor, &second.action, &second.subject, &second.detail] {
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    use sha2::Digest as _;
    let hash: [u8; 32] = sha2::Sha256::digest(&bytes).into();
    assert_eq!(protocol::Digest(hash).to_string(), second.hash);
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
