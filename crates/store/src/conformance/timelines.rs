//! The timeline of a patient.

use protocol::cohort::Definition;
use protocol::conflict::Choice;
use protocol::reconcile::Side;
use protocol::{Author, RecordRef, Timestamp};

use super::Maker;
use super::builders::{Resource, a_patient, an_observation, delete, named, put};
use super::pair::Pair;
use super::replaced::{files, replaced};
use crate::{
    ConflictAction, ConflictFilter, ConflictOrder, LeavePolicy, RecordChange, Scope, Store,
    TimelineEntry, TimelineEvent, TimelinePage, TimelineQuery, TimelineVia,
};

fn of(patient: &str) -> TimelineQuery {
    let patient = named(patient);
    TimelineQuery { patient, since: None, reverse: false, limit: 100, after: None }
}

fn page(store: &dyn Store, patient: &str, scope: &Scope) -> Option<TimelinePage> {
    store.patient_timeline(&of(patient), scope).unwrap()
}

/// Each entry as a line.
fn lines(store: &dyn Store, patient: &str, scope: &Scope) -> Vec<String> {
    let page = page(store, patient, scope).expect("the patient is known");
    assert_eq!(page.next, None);
    page.entries.iter().map(line).collect()
}

fn line(entry: &TimelineEntry) -> String {
    match &entry.event {
        TimelineEvent::Join { cohort } => format!("join {cohort}"),
        TimelineEvent::Leave { cohort, .. } => format!("leave {cohort}"),
        TimelineEvent::Purge {} => "purge".to_owned(),
        TimelineEvent::Change(change) => {
            let origin = change.origin.as_ref().map_or("-", |site| site.as_str());
            let via = match change.via {
                TimelineVia::Here => "here".to_owned(),
                TimelineVia::Parent => "from the parent".to_owned(),
                TimelineVia::Child => format!("by {}", change.child.as_ref().unwrap()),
            };
            let records = change.records.iter().map(record).collect::<Vec<_>>().join("; ");
            format!("{} of {origin} {via}: {records}", change.author)
        }
    }
}

fn record(change: &RecordChange) -> String {
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let elements = change.elements.iter().map(|element| {
        format!(" {}={}>{}", element.path, or_none(&element.from), or_none(&element.to))
    });
    let what = serde_json::to_value(change.what).unwrap();
    let what = what.as_str().unwrap();
    let follows = change.follows.as_ref().map_or(String::new(), |whom| format!(" {whom}"));
    if let Some(told) = &change.conflict {
        let by = told
            .by
            .as_ref()
            .map_or(String::new(), |mark| format!(" by {} at {}", mark.by.as_str(), mark.site));
        let how = told.how.as_ref().map_or(String::new(), |how| format!(" ({how})"));
        let elements = told.elements.iter().map(|row| {
            let [parent, child, now] = [&row.parent, &row.child, &row.now].map(or_none);
            format!(" {} {parent}|{child}>{now}", row.path)
        });
        let elements = elements.collect::<String>();
        return format!("{what} on {}{by}{how}{elements}", told.record);
    }
    format!("{} {what}{follows}{}", change.record, elements.collect::<String>())
}

/// An observation that says `value`.
fn saying(id: &str, patient: &str, value: &str) -> Resource {
    an_observation(id, patient).with("valueString", &format!("\"{value}\""))
}

pub fn a_timeline_tells_changes_joins_and_leaves_in_the_order_of_the_site(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.cohort(
        "org",
        Definition::Location { places: [named("Organization/a")].into(), by: [].into() },
    );
    pair.at_parent(&put(&[a_patient("amina").born("1990-01-02").managed_by("a")]));
    pair.quiet();
    pair.at_child(&put(&[saying("o", "amina", "tired"), saying("x", "beno", "well")]));
    pair.at_child(&put(&[a_patient("amina").born("1990-02-02").managed_by("b")]));
    pair.quiet();
    let born = "birthDate=1990-01-02>1990-02-02 \
                managingOrganization=Organization/a>Organization/b";
    assert_eq!(
        lines(&*pair.parent, "Patient/amina", &Scope::Everything),
        [
            "nurse-3 of centre here: Patient/amina created (created)=->1990-01-02".to_owned(),
            "join all".to_owned(),
            "join org".to_owned(),
            "nurse-3 of clinic by clinic: Observation/o created (created)=->tired".to_owned(),
            format!("nurse-3 of clinic by clinic: Patient/amina updated {born}"),
            "leave org".to_owned(),
        ]
    );
    assert_eq!(
        lines(&*pair.child, "Patient/amina", &Scope::Everything),
        [
            "join all".to_owned(),
            // With a join comes the present record, and no word of who made it.
            "parent:centre of - from the parent: Patient/amina created (created)=->1990-01-02"
                .to_owned(),
            "nurse-3 of clinic here: Observation/o created (created)=->tired".to_owned(),
            format!("nurse-3 of clinic here: Patient/amina updated {born}"),
        ]
    );
    let unknown = page(&*pair.parent, "Patient/nobody", &Scope::Everything);
    assert_eq!(unknown, None);
}

pub fn a_timeline_shows_of_a_merge_what_each_side_did(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina").born("1990-01-02").gender("female")]));
    pair.quiet();
    pair.at_parent(&put(&[a_patient("amina").born("1990-02-02").gender("female")]));
    pair.at_child(&put(&[a_patient("amina").born("1990-01-02").gender("male")]));
    pair.quiet();
    let at_parent = lines(&*pair.parent, "Patient/amina", &Scope::Everything);
    // The clinic did not touch the birth date, and is not said to have.
    assert_eq!(
        at_parent[2..],
        [
            "nurse-3 of centre here: Patient/amina updated birthDate=1990-01-02>1990-02-02",
            "nurse-3 of clinic by clinic: Patient/amina merging gender=female>male",
            "tributary of centre here: Patient/amina merged birthDate=1990-01-02>1990-02-02",
        ]
    );
}

pub fn a_timeline_tells_how_a_conflict_was_opened_and_closed(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    let amina = |born: &str| put(&[a_patient("amina").born(born)]);
    pair.at_parent(&amina("1980"));
    pair.quiet();
    pair.at_parent(&amina("1981"));
    pair.at_child(&amina("1982"));
    pair.quiet();
    let id = pair.child.conflict_list(
        &ConflictFilter { limit: 2, ..ConflictFilter::default() },
        &Scope::Everything,
    );
    let id = id.unwrap().conflicts.remove(0).id;
    let decide = |store: &dyn Store, action| {
        let order = ConflictOrder {
            id: id.clone(),
            action,
            author: Author::new("dr-otieno"),
            why: None,
            actor: "dr-otieno".to_owned(),
        };
        store.conflict_decide(&order, pair.now()).unwrap();
        pair.quiet();
    };
    decide(&*pair.child, ConflictAction::Close(Choice::Side(Side::Child)));
    decide(&*pair.parent, ConflictAction::Reopen);
    decide(&*pair.parent, ConflictAction::Close(Choice::Confirm));
    let sides = "birthDate 1981|1982";
    let expected = [
        format!("conflict-opened on Patient/amina {sides}>1981"),
        format!("conflict-decided on Patient/amina by dr-otieno at clinic (child) {sides}>1982"),
        format!("conflict-reopened on Patient/amina by dr-otieno at centre {sides}>1981"),
        format!("conflict-confirmed on Patient/amina by dr-otieno at centre {sides}>1981"),
    ];
    let all = Pair::scope(&*pair.child, &["all"]);
    for (store, scope) in [
        (&pair.parent, &Scope::Everything),
        (&pair.child, &Scope::Everything),
        (&pair.parent, &all),
    ] {
        let told = lines(&**store, "Patient/amina", scope);
        let found = told
            .iter()
            .flat_map(|line| line.split(": ").skip(1).flat_map(|records| records.split("; ")));
        let found = found.filter(|line| line.contains("conflict")).collect::<Vec<_>>();
        assert_eq!(found, expected, "{told:#?}");
        // What the decision did to the record is told as any other change.
        let done = "dr-otieno of clinic";
        let done = told.iter().find(|line| line.starts_with(done)).unwrap();
        assert!(done.contains("birthDate=1981>1982"), "{done}");
    }
}

pub fn a_timeline_tells_what_follows_a_replaced_patient_from_what_was_merged(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&files()));
    pair.at_parent(&put(&[saying("o", "loser", "tired")]));
    pair.quiet();
    pair.at_parent(&put(&[replaced("loser", "winner")]));
    // The clinic has not heard of it yet.
    pair.at_child(&put(&[saying("late", "loser", "well")]));
    pair.at_child(&put(&[saying("o", "loser", "ill")]));
    pair.quiet();
    pair.at_parent(&put(&files()[..1]));
    pair.quiet();
    let follows = |record: &str, from: &str, to: &str| {
        format!("{record} follows Patient/{to} subject=Patient/{from}>Patient/{to}")
    };
    for store in [&pair.parent, &pair.child] {
        let (losers, winners) = (
            lines(&**store, "Patient/loser", &Scope::Everything).join("\n"),
            lines(&**store, "Patient/winner", &Scope::Everything).join("\n"),
        );
        for record in ["Observation/o", "Observation/late"] {
            for told in [&losers, &winners] {
                assert!(told.contains(&follows(record, "loser", "winner")), "{record}: {told}");
                assert!(told.contains(&follows(record, "winner", "loser")), "{record}: {told}");
            }
        }
    }
    // Who may see only one of the two is not told of the other.
    let one = [named("Patient/winner")].into();
    pair.cohort("one", Definition::Patients { patients: one });
    let scope = Pair::scope(&*pair.child, &["one"]);
    let told = lines(&*pair.parent, "Patient/winner", &scope).join("\n");
    assert!(!told.contains("loser"), "{told}");
}

pub fn a_timeline_is_paged_both_ways_without_gaps(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina")]));
    for year in 1990..1997 {
        pair.at_parent(&put(&[a_patient("amina").born(&year.to_string())]));
    }
    let all = page(&*pair.parent, "Patient/amina", &Scope::Everything).unwrap().entries;
    assert_eq!(all.len(), 9);
    let paged = |reverse: bool, limit: u32| {
        let mut query = TimelineQuery { reverse, limit, ..of("Patient/amina") };
        let mut found = Vec::new();
        loop {
            let page = pair.parent.patient_timeline(&query, &Scope::Everything).unwrap().unwrap();
            assert!(page.entries.len() <= limit as usize);
            found.extend(page.entries);
            query.after = page.next;
            if query.after.is_none() {
                return found;
            }
        }
    };
    for limit in [1, 2, 3, 8, 9, 10] {
        assert_eq!(paged(false, limit), all, "pages of {limit}");
        let backwards: Vec<_> = all.iter().rev().cloned().collect();
        assert_eq!(paged(true, limit), backwards, "pages of {limit}, the newest first");
    }
    let since = TimelineQuery { since: Some(all[5].recorded), ..of("Patient/amina") };
    let later = pair.parent.patient_timeline(&since, &Scope::Everything).unwrap().unwrap();
    assert_eq!(later.entries, all[5..]);
    let never = TimelineQuery { since: Some(Timestamp::from_millis(i64::MAX)), ..since };
    let later = pair.parent.patient_timeline(&never, &Scope::Everything).unwrap().unwrap();
    assert_eq!(later.entries, []);
}

/// A centre that holds amina, beno and clara; the child of the scope has amina and clara only.
fn three_patients(maker: &dyn Maker) -> (Pair, Scope) {
    let pair = Pair::new(maker);
    let patients = |names: &[&str]| -> Definition {
        let patients = names.iter().map(|name| named(name)).collect::<Vec<RecordRef>>();
        Definition::Patients { patients: patients.into_iter().collect() }
    };
    pair.cohort("two", patients(&["Patient/amina", "Patient/clara"]));
    pair.cohort("secret", patients(&["Patient/amina"]));
    pair.at_parent(&put(&[a_patient("amina"), a_patient("beno"), a_patient("clara")]));
    let scope = Pair::scope(&*pair.child, &["two"]);
    (pair, scope)
}

pub fn a_timeline_shows_a_child_nothing_of_a_patient_whom_it_may_not_see(maker: &dyn Maker) {
    // Whose the observation is, one state after the other ("-": deleted), and what the child sees
    // of it in amina's timeline. `beno` is nobody of the child's.
    let cases: [(&[&str], &[&str]); 8] = [
        (&["amina", "amina"], &["created (created)=->1", "updated valueString=1>2"]),
        (&["beno", "amina"], &["moved-here (created)=->2"]),
        (&["beno", "amina", "amina"], &["moved-here (created)=->2", "updated valueString=2>3"]),
        // It is beno's now: what was filed under amina's name is beno's, too.
        (&["amina", "beno"], &[]),
        (&["amina", "beno", "-"], &[]),
        (
            &["amina", "beno", "amina"],
            &["created (created)=->1", "moved-away", "moved-here (created)=->3"],
        ),
        (&["clara", "amina"], &["moved-here subject=Patient/clara>Patient/amina valueString=1>2"]),
        (&["amina", "beno", "clara"], &["created (created)=->1", "moved-away"]),
    ];
    for (patients, expected) in cases {
        let (pair, scope) = three_patients(maker);
        for (index, patient) in patients.iter().enumerate() {
            pair.at_parent(&match *patient {
                "-" => delete("Observation/o"),
                patient => put(&[saying("o", patient, &(index + 1).to_string())]),
            });
        }
        let mut seen = Vec::new();
        for line in lines(&*pair.parent, "Patient/amina", &scope) {
            let told = line.split_once("Observation/o ").map(|(_, told)| told.to_owned());
            seen.extend(told);
        }
        assert_eq!(seen, expected, "{patients:?}");
        let all = lines(&*pair.parent, "Patient/amina", &Scope::Everything).join("\n");
        assert!(all.contains("join secret"), "{all}");
        let told = lines(&*pair.parent, "Patient/amina", &scope).join("\n");
        assert!(told.contains("join two") && !told.contains("join secret"), "{told}");
        for hidden in ["beno", "join all"] {
            assert!(!told.contains(hidden), "{patients:?} shows {hidden}: {told}");
        }
        assert_eq!(page(&*pair.parent, "Patient/beno", &scope), None);
        let nobody = Pair::scope(&*pair.child, &[]);
        assert_eq!(page(&*pair.parent, "Patient/amina", &nobody), None);
    }
}

pub fn a_timeline_of_a_deleted_record_tells_its_end_and_its_return(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&[a_patient("amina")]));
    pair.at_parent(&put(&[saying("o", "amina", "tired")]));
    pair.at_parent(&delete("Observation/o"));
    pair.at_parent(&put(&[saying("o", "amina", "well")]));
    let all = lines(&*pair.parent, "Patient/amina", &Scope::Everything);
    assert_eq!(
        all[3..],
        [
            "nurse-3 of centre here: Observation/o deleted (deleted)=tired>-",
            "nurse-3 of centre here: Observation/o restored (created)=->well",
        ]
    );
}

pub fn a_timeline_of_a_purged_patient_says_so_and_shows_nothing_else(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.leave.set(LeavePolicy::Purge);
    pair.cohort("all", Definition::Patients { patients: [named("Patient/amina")].into() });
    pair.at_parent(&put(&[a_patient("amina").born("1990-01-02")]));
    pair.quiet();
    assert_eq!(lines(&*pair.child, "Patient/amina", &Scope::Everything).len(), 2);
    pair.cohort("all", Definition::Patients { patients: [].into() });
    pair.quiet();
    pair.child.patient_purge(pair.now()).unwrap();
    assert_eq!(
        lines(&*pair.child, "Patient/amina", &Scope::Everything),
        ["join all", "leave all", "purge"]
    );
}
