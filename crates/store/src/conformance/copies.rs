//! Who has seen what, and the audits of sites below.

use protocol::Limits;

use super::builders::{a_patient, an_observation, named, put};
use super::{Maker, START, site};
use crate::{
    AuditBatch, AuditFilter, AuditPlace, AuditRow, AuditTaken, ChildDraft, Disclosure, Store,
};

fn make(maker: &dyn Maker, name: &str) -> Box<dyn Store> {
    maker.make(&site(name), &Limits::default())
}

fn shown(actor: &str, action: &'static str, records: &[&str]) -> Disclosure {
    Disclosure {
        actor: actor.to_owned(),
        action,
        detail: String::new(),
        records: records.iter().map(|name| named(name)).collect(),
        patients: Vec::new(),
        former: false,
        everything: false,
    }
}

fn add_child(parent: &dyn Store, name: &str) {
    let draft = ChildDraft {
        site: name.parse().unwrap(),
        cohorts: Vec::new(),
        code_hash: name.bytes().cycle().take(32).collect::<Vec<_>>().try_into().unwrap(),
        code_expires: START.plus_millis(1_000),
    };
    parent.child_add(&draft, START).unwrap();
}

/// Everything that a store has to pass on goes to the one above, as the job does it.
fn pass_on(below: &dyn Store, child: &str, above: &dyn Store) {
    let child = child.parse().unwrap();
    for _ in 0..20 {
        let Some(batch) = below.audit_pending(START.plus_millis(1), 1).unwrap() else { return };
        let (AuditTaken::Held(held) | AuditTaken::Elsewhere(held)) =
            above.audit_take(&child, &batch, START).unwrap()
        else {
            panic!("{batch:?} is refused");
        };
        if below.audit_passed(&batch.site, &held, START).unwrap() {
            continue;
        }
        let places = below.audit_places(&batch.site).unwrap();
        let common = above.audit_common(&batch.site, &places).unwrap();
        let anew = below.audit_from(&batch.site, common).unwrap();
        let taken = above.audit_take(&child, &anew, START).unwrap();
        assert_eq!(taken, AuditTaken::Held(anew.end));
        assert!(below.audit_passed(&anew.site, &anew.end, START).unwrap());
    }
    panic!("it has no end");
}

fn proof(store: &dyn Store, name: &str) -> (u64, Option<String>) {
    let proof = store.audit_verify_copy(&name.parse().unwrap()).unwrap().unwrap();
    (proof.rows, proof.broken)
}

fn note(store: &dyn Store, subject: &str) {
    let (actor, subject) = ("operator".to_owned(), subject.to_owned());
    let row = AuditRow { actor, action: "why", subject, detail: String::new() };
    store.audit_append(&row, START).unwrap();
}

pub fn who_was_shown_what_is_noted_with_the_patients_it_was_of(maker: &dyn Maker) {
    let store = make(maker, "centre");
    let draft = put(&[a_patient("amina"), an_observation("pulse", "amina"), a_patient("beno")]);
    store.change_record(&draft, START).unwrap();
    let crowd = (0..150).map(|n| named(&format!("Patient/p{n}"))).collect::<Vec<_>>();
    let many = Disclosure { patients: crowd, ..shown("program:b", "search", &[]) };
    let all = Disclosure { everything: true, ..shown("operator", "export", &[]) };
    for disclosure in [
        &shown("program:a", "read", &["Observation/pulse"]),
        &shown("program:a", "search", &["Observation/pulse", "Patient/beno"]),
        &shown("program:a", "search", &[]),
        &many,
        &all,
    ] {
        store.disclosed(disclosure, START).unwrap();
    }
    let rows = store.audit_list(&AuditFilter { limit: 99, ..AuditFilter::default() }).unwrap();
    let subjects = rows.iter().filter(|row| row.action != "change").map(|row| &*row.subject);
    let subjects = subjects.collect::<Vec<_>>();
    assert_eq!(subjects[0], "Observation/pulse Patient/amina");
    assert_eq!(subjects[1], "Patient/amina Patient/beno");
    assert_eq!((subjects[2], subjects[5]), ("", "*"));
    let counts = [subjects[3], subjects[4]].map(|text| text.split(' ').count());
    assert_eq!(counts, [100, 50], "many patients are in several rows");
    let who = store.audit_who(&named("Observation/pulse")).unwrap();
    let told = who.seen.iter().map(|one| (&*one.actor, &*one.how, one.times)).collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            ("nurse-3", "wrote", 1),
            ("operator", "export", 1),
            ("program:a", "read", 1),
            ("program:a", "search", 1)
        ]
    );
    assert_eq!(store.audit_who(&named("Patient/nobody")).unwrap().seen.len(), 1, "the export");
}

pub fn rows_of_a_child_come_up_and_are_proved_at_the_parent(maker: &dyn Maker) {
    let (child, parent) = (make(maker, "east"), make(maker, "centre"));
    add_child(&*parent, "east");
    for n in 0..2_500 {
        note(&*child, &format!("Patient/p{n}"));
    }
    let east = "east".parse().unwrap();
    assert_eq!(parent.audit_verify_copy(&east).unwrap(), None);
    let first = child.audit_pending(START, 1).unwrap().unwrap();
    assert!(first.more && first.lines.len() == 1_000, "bounded");
    pass_on(&*child, "east", &*parent);
    let own = child.audit_verify().unwrap();
    let copy = parent.audit_verify_copy(&east).unwrap().unwrap();
    assert_eq!((copy.rows, &copy.last, copy.broken), (own.rows, &own.last, None));
    // Later rows follow; nothing goes twice, and a few wait until it is time.
    assert_eq!(child.audit_pending(START.plus_millis(1), 1).unwrap(), None);
    note(&*child, "Patient/late");
    let early = START.plus_millis(-1);
    assert_eq!(child.audit_pending(early, 500).unwrap(), None);
    assert!(child.audit_pending(early, 1).unwrap().is_some());
    pass_on(&*child, "east", &*parent);
    assert_eq!(proof(&*parent, "east"), (own.rows + 1, None));
    // The answer was lost: what was held is said again, and nothing is held twice.
    assert_eq!(
        parent.audit_take(&east, &first, START).unwrap(),
        AuditTaken::Elsewhere(child.audit_places(&east).unwrap()[0])
    );
    assert_eq!(parent.site_check(&mut |_| {}).unwrap(), [] as [String; 0]);
}

pub fn rows_that_were_altered_or_are_anothers_are_not_taken(maker: &dyn Maker) {
    let (child, parent) = (make(maker, "east"), make(maker, "centre"));
    add_child(&*parent, "east");
    add_child(&*parent, "west");
    note(&*child, "Patient/amina");
    note(&*child, "Patient/beno");
    let good = child.audit_pending(START, 1).unwrap().unwrap();
    let (east, west) = ("east".parse().unwrap(), "west".parse().unwrap());
    let mut altered = good.clone();
    altered.lines[0].subject = "Patient/other".to_owned();
    let mut shorter = good.clone();
    shorter.lines.remove(0);
    let end = AuditPlace { key: good.end.key + 1, ..good.end };
    for bad in [altered, shorter, AuditBatch { end, ..good.clone() }] {
        assert_eq!(parent.audit_take(&east, &bad, START).unwrap(), AuditTaken::Broken);
    }
    // In the name of another child, of the parent itself, or of one whose rows come another way.
    let of = |name: &str| AuditBatch { site: name.parse().unwrap(), ..good.clone() };
    for name in ["east", "centre"] {
        assert_eq!(parent.audit_take(&west, &of(name), START).unwrap(), AuditTaken::NotYours);
    }
    let ward = parent.audit_take(&east, &of("ward"), START).unwrap();
    assert!(matches!(ward, AuditTaken::Held(_)), "a site below it");
    assert_eq!(parent.audit_take(&west, &of("ward"), START).unwrap(), AuditTaken::NotYours);
    assert!(matches!(parent.audit_take(&east, &good, START).unwrap(), AuditTaken::Held(_)));
}

pub fn a_child_that_was_restored_begins_a_new_life_and_nothing_is_lost(maker: &dyn Maker) {
    let parent = make(maker, "centre");
    add_child(&*parent, "east");
    // The same beginning, then two ways: as after a restore from a backup.
    let (before, after) = (make(maker, "east"), make(maker, "east"));
    for n in 0..40 {
        note(&*before, &format!("Patient/p{n}"));
        note(&*after, &format!("Patient/p{n}"));
    }
    note(&*before, "Patient/lost");
    pass_on(&*before, "east", &*parent);
    let lost = proof(&*parent, "east").0;
    note(&*after, "Patient/anew");
    pass_on(&*after, "east", &*parent);
    note(&*after, "Patient/later");
    pass_on(&*after, "east", &*parent);
    let (rows, broken) = proof(&*parent, "east");
    assert_eq!(broken, None);
    assert!(rows > lost + 1, "{rows}: what the restore took from the child stays here");
    let copy = parent.audit_verify_copy(&"east".parse().unwrap()).unwrap().unwrap();
    assert_eq!(copy.last, after.audit_verify().unwrap().last);
    // A parent that was restored has nothing: it is told again from the beginning.
    let restored = make(maker, "centre");
    add_child(&*restored, "east");
    note(&*after, "Patient/more");
    pass_on(&*after, "east", &*restored);
    let own = after.audit_verify().unwrap();
    assert_eq!(proof(&*restored, "east"), (own.rows, None));
}

pub fn rows_go_up_tier_by_tier_and_tell_who_has_seen_a_patient(maker: &dyn Maker) {
    let (ward, east, centre) = (make(maker, "ward"), make(maker, "east"), make(maker, "centre"));
    add_child(&*centre, "east");
    add_child(&*east, "ward");
    ward.disclosed(&shown("program:emr", "read", &["Patient/amina"]), START).unwrap();
    east.disclosed(&shown("child:ward", "sent", &["Patient/amina"]), START).unwrap();
    east.disclosed(&shown("program:emr", "search", &["Patient/aminata"]), START).unwrap();
    centre.disclosed(&shown("child:east", "sent", &["Patient/amina"]), START).unwrap();
    pass_on(&*ward, "ward", &*east);
    pass_on(&*east, "east", &*centre);
    let who = centre.audit_who(&named("Patient/amina")).unwrap();
    let told = who.seen.iter().map(|one| format!("{} {} {}", one.site, one.actor, one.how));
    assert_eq!(
        told.collect::<Vec<_>>(),
        ["centre child:east sent", "east child:ward sent", "ward program:emr read"]
    );
    let via = who.sites.iter().map(|one| (one.site.as_str(), one.via.as_ref().map(|s| s.as_str())));
    assert_eq!(
        via.collect::<Vec<_>>(),
        [("centre", None), ("east", Some("east")), ("ward", Some("east"))]
    );
    for name in ["east", "ward"] {
        assert_eq!(proof(&*centre, name).1, None);
    }
    // The middle was restored and goes on: its copies of the ward come to the same.
    note(&*ward, "Patient/amina");
    pass_on(&*ward, "ward", &*east);
    pass_on(&*east, "east", &*centre);
    let last = centre.audit_verify_copy(&"ward".parse().unwrap()).unwrap().unwrap().last;
    assert_eq!(last, ward.audit_verify().unwrap().last);
}
