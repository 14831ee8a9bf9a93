//! Nothing is lost, nothing comes twice, nothing waits for what it does not concern.

use node::jobs::{push, round};
use protocol::delivery::DeliveryState;
use protocol::{Limits, RecordRef, pace};
use store::{DeliveryAction, DeliveryChoice, DeliveryFilter, LeavePolicy};

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn records_go_up_and_down_and_keep_their_literals() {
    let world = World::pair().await;
    let up = [patient("up", "Otieno"), observation("temp", "up", "36.50")];
    world.clinic().record("nurse", &up).await.unwrap();
    world.centre.record("registrar", &[patient("down", "Wanjiru")]).await.unwrap();
    world.centre.record("registrar", &[location("ward", "Ward 3")]).await.unwrap();
    world.settle().await;
    world.assert_in_step().await;
    assert_eq!(text(&world.centre, "Observation/temp"), Some(up[1].clone()));
    assert_eq!(text(world.clinic(), "Patient/down"), Some(patient("down", "Wanjiru")));
    assert!(text(world.clinic(), "Location/ward").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_04_changes_wait_while_the_parent_is_away_however_often_it_is_tried() {
    let world = World::pair().await;
    world.clinic().switch().set(false);
    for number in 0..100 {
        let id = format!("p{number}");
        world.clinic().record("nurse", &[patient(&id, "Odhiambo")]).await.unwrap();
    }
    for _ in 0..10 {
        assert_eq!(failed_round(world.clinic()).await.to_string(), "the link is cut");
    }
    let site = world.clinic().site();
    let filter = DeliveryFilter { limit: 1_000, ..DeliveryFilter::default() };
    let waiting = site.store().delivery_list(&filter).unwrap();
    assert_eq!(waiting.len(), 100);
    for delivery in waiting {
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Ready, 0));
    }
    world.clinic().switch().set(true);
    world.settle().await;
    world.assert_in_step().await;
    assert!(text(&world.centre, "Patient/p99").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_06_a_child_that_joins_late_gets_and_gives_all_there_is() {
    let mut world = World::centre_with(Limits::default()).await;
    for number in 0..30 {
        let id = format!("old{number}");
        world.centre.record("registrar", &[patient(&id, "Mwangi")]).await.unwrap();
        world.centre.record("registrar", &[observation(&id, &id, "1.0")]).await.unwrap();
    }
    let limits = Limits::default();
    world.add_clinic("late", protocol::cohort::Definition::All {}, limits).await;
    world.settle().await;
    world.assert_in_step().await;
    assert!(text(world.clinic(), "Observation/old29").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_12_an_answer_that_was_lost_makes_no_duplicate() {
    let world = World::pair().await;
    for number in 0..20 {
        let id = format!("p{number}");
        world.clinic().record("nurse", &[patient(&id, "Achieng")]).await.unwrap();
    }
    // The status comes through, then the answer to the push is cut after its first bytes: the
    // parent has committed what the clinic does not know of.
    world.clinic().switch().cut_after(900);
    failed_round(world.clinic()).await;
    let before = sequence(&world.centre);
    assert!(before > 0, "the parent took nothing before the cut");
    assert!(undelivered(world.clinic()) > 0, "the clinic heard of everything before the cut");
    world.clinic().switch().set(true);
    world.settle().await;
    world.assert_in_step().await;
    assert_eq!(sequence(&world.centre), 20, "a change was recorded twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_16_a_parked_change_holds_back_only_its_own_patient() {
    let world = World::pair().await;
    let clinic = world.clinic();
    let first = clinic.record("nurse", &[patient("a", "Auma")]).await.unwrap().sequence.unwrap();
    let choice = DeliveryChoice::Sequences(vec![first]);
    let park = DeliveryAction::Park("the clerk wants to look at it".to_owned());
    let store = clinic.site().store();
    assert_eq!(store.delivery_act(&choice, &park, clinic.site().now()).unwrap(), 1);
    clinic.record("nurse", &[observation("a1", "a", "1")]).await.unwrap();
    clinic.record("nurse", &[patient("b", "Barasa")]).await.unwrap();
    world.settle().await;
    assert!(text(&world.centre, "Patient/b").is_some());
    assert_eq!(text(&world.centre, "Patient/a"), None);
    assert_eq!(text(&world.centre, "Observation/a1"), None, "it overtook its patient");
    store.delivery_act(&choice, &DeliveryAction::Retry, clinic.site().now()).unwrap();
    world.settle().await;
    world.assert_in_step().await;
    assert!(text(&world.centre, "Observation/a1").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_17_a_reference_to_what_has_not_come_is_kept() {
    let world = World::pair().await;
    let encounter = "{\"resourceType\":\"Encounter\",\"id\":\"e\",\"status\":\"finished\",\
        \"subject\":{\"reference\":\"Patient/unknown\"},\
        \"location\":[{\"location\":{\"reference\":\"Location/unknown\"}}]}";
    world.clinic().record("nurse", &[encounter.to_owned()]).await.unwrap();
    world.settle().await;
    assert_eq!(text(&world.centre, "Encounter/e").as_deref(), Some(encounter));
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_26_what_came_from_the_other_side_is_not_sent_back() {
    let world = World::pair().await;
    world.centre.record("registrar", &[patient("p", "Kamau")]).await.unwrap();
    world.clinic().record("nurse", &[patient("q", "Njeri")]).await.unwrap();
    world.settle().await;
    let (centre, clinic) = (sequence(&world.centre), sequence(world.clinic()));
    for _ in 0..3 {
        world.settle().await;
    }
    assert_eq!((sequence(&world.centre), sequence(world.clinic())), (centre, clinic));
    assert_eq!((centre, clinic), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_41_a_refused_record_is_parked_after_some_tries_and_says_why() {
    let limits = Limits { attempts: 2, backoff_seconds: 0, ..Limits::default() };
    let mut world = World::centre_with(Limits { resource_bytes: 2_000, ..limits.clone() }).await;
    world.add_clinic("clinic", protocol::cohort::Definition::All {}, limits).await;
    let clinic = world.clinic();
    clinic.record("nurse", &[patient("big", &"x".repeat(5_000))]).await.unwrap();
    clinic.record("nurse", &[patient("small", "Ouma")]).await.unwrap();
    for _ in 0..6 {
        clinic.round().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(text(&world.centre, "Patient/small").is_some());
    let filter = DeliveryFilter { limit: 10, ..DeliveryFilter::default() };
    let stuck = clinic.site().store().delivery_list(&filter).unwrap();
    assert_eq!(stuck.len(), 1);
    assert_eq!((stuck[0].state, stuck[0].attempts), (DeliveryState::Parked, 2));
    let reason = stuck[0].reason.clone().unwrap();
    assert!(reason.contains("resource_bytes = 2000"), "{reason}");
    assert!(!reason.contains("xxx"), "a reason holds patient content");
    assert!(!round::has_due_deliveries(clinic.site()).await, "it would be sent for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_43_what_cannot_be_sent_does_not_stop_what_comes() {
    // The parent refuses bodies of this size as a whole: every push fails as a request.
    let mut world = World::centre_with(Limits { body_bytes: 300, ..Limits::default() }).await;
    world.add_clinic("clinic", protocol::cohort::Definition::All {}, Limits::default()).await;
    let clinic = world.clinic();
    clinic.record("nurse", &[patient("up", &"x".repeat(1_000))]).await.unwrap();
    world.centre.record("registrar", &[patient("down", "Kiprono")]).await.unwrap();
    let error = failed_round(clinic).await;
    assert!(error.to_string().contains("body_bytes"), "{error}");
    assert!(text(clinic, "Patient/down").is_some());
    assert_eq!(undelivered(clinic), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_or_is_too_much_makes_the_next_request_smaller() {
    let portion =
        |site: &node::demo::site::DemoSite| site.site().store().link_get().unwrap().pace.up.portion;
    let world = World::pair().await;
    let clinic = world.clinic();
    for number in 0..20 {
        clinic.record("nurse", &[patient(&format!("p{number}"), "Achieng")]).await.unwrap();
    }
    clinic.switch().cut_after(900);
    failed_round(clinic).await;
    assert_eq!(portion(clinic), pace::FIRST / 2);
    clinic.switch().set(true);
    world.settle().await;
    assert_eq!(portion(clinic), pace::FIRST / 2, "so few changes tell nothing of the link");
    // The parent takes less in one request than is sent in one: it comes to what it takes.
    let mut world = World::centre_with(Limits { body_bytes: 60_000, ..Limits::default() }).await;
    world.add_clinic("clinic", protocol::cohort::Definition::All {}, Limits::default()).await;
    let clinic = world.clinic();
    for number in 0..40 {
        let text = patient(&format!("p{number}"), &"x".repeat(5_000));
        clinic.record("nurse", &[text]).await.unwrap();
    }
    let link = node::jobs::link::Link::of(clinic.site()).unwrap();
    let mut failures = 0;
    while undelivered(clinic) > 0 {
        if round::run(clinic.site(), &link).await.is_err() {
            failures += 1;
        }
        assert!(failures < 8, "it does not come to what the parent takes");
    }
    assert!(portion(clinic) < 100_000, "{}", portion(clinic));
    world.settle().await;
    world.assert_in_step().await;
}

/// An Observation with a note of so many characters.
fn long_note(id: &str, characters: usize) -> String {
    let note = format!("{{\"note\":[{{\"text\":\"{}\"}}],", "x".repeat(characters));
    observation(id, "p", "1").replacen('{', &note, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_43_what_is_too_long_for_one_request_goes_in_several() {
    let limits = Limits { body_bytes: 40_000, line_bytes: 16_000, ..Limits::default() };
    let world = World::pair_with(limits).await;
    let clinic = world.clinic();
    // One change, whose records have grown since beyond what one request may have; and changes
    // after it that are too long together.
    let ids = (0..8).map(|number| format!("o{number}")).collect::<Vec<_>>();
    let first = ids.iter().map(|id| long_note(id, 1)).collect::<Vec<_>>();
    clinic.record("nurse", &first).await.unwrap();
    for id in &ids {
        clinic.record("nurse", &[long_note(id, 10_000)]).await.unwrap();
    }
    for number in 0..8 {
        clinic.record("nurse", &[long_note(&format!("later{number}"), 10_000)]).await.unwrap();
    }
    clinic.round().await.unwrap();
    assert_eq!(undelivered(clinic), 0);
    world.settle().await;
    world.assert_in_step().await;
    assert_eq!(text(&world.centre, "Observation/later7"), Some(long_note("later7", 10_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_one_patient_at_both_sites_are_merged_and_reach_both() {
    let world = World::pair().await;
    world.centre.record("registrar", &[patient("p", "Kamau")]).await.unwrap();
    world.settle().await;
    let edit = |key: &str, value: &str| {
        let text = patient("p", "Kamau");
        format!("{},\"{key}\":\"{value}\"}}", text.trim_end_matches('}').to_owned() + "")
    };
    // Both edits are of the record as it was before either.
    world.clinic().record("nurse", &[edit("language", "sw")]).await.unwrap();
    world
        .centre
        .record("registrar", &[edit("implicitRules", "http://example.org/r")])
        .await
        .unwrap();
    world.settle().await;
    world.assert_in_step().await;
    let (here, there) = (text(world.clinic(), "Patient/p"), text(&world.centre, "Patient/p"));
    assert_eq!(here, there);
    let merged = here.unwrap();
    assert!(merged.contains("\"sw\"") && merged.contains("example.org/r"), "{merged}");
    assert_eq!(conflicts(&world.centre), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_element_edited_at_both_sites_is_a_conflict_that_both_sites_agree_on() {
    let world = World::pair().await;
    world.centre.record("registrar", &[patient("p", "Kamau")]).await.unwrap();
    world.settle().await;
    let born = |date: &str| patient("p", "Kamau").replace("1984-02", date);
    world.clinic().record("nurse", &[born("1984-02-17")]).await.unwrap();
    world.centre.record("registrar", &[born("1984-07-12")]).await.unwrap();
    world.settle().await;
    world.assert_in_step().await;
    assert_eq!(text(world.clinic(), "Patient/p"), Some(born("1984-07-12")));
    for site in [&world.centre, world.clinic()] {
        let found = conflicts(site);
        assert_eq!(
            found.iter().map(store::ConflictInfo::paths).collect::<Vec<_>>(),
            [["birthDate"]]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_27_a_patient_who_leaves_is_frozen_where_it_was_and_whole_where_it_goes() {
    let mut world = World::centre_with(Limits::default()).await;
    let of = |ids: &[&str]| protocol::cohort::Definition::Patients {
        patients: ids.iter().map(|id| reference(&format!("Patient/{id}"))).collect(),
    };
    world.add_clinic("east", of(&["p", "q"]), Limits::default()).await;
    world.add_clinic("west", of(&[]), Limits::default()).await;
    for id in ["p", "q"] {
        let file = [patient(id, "Chebet"), observation(id, id, "37.0")];
        world.centre.record("registrar", &file).await.unwrap();
    }
    world.settle().await;
    assert!(text(&world.clinics[0], "Observation/p").is_some());
    assert_eq!(text(&world.clinics[1], "Patient/p"), None);
    // What the old clinic wrote and has not sent yet is not lost by the transfer.
    world.clinics[0].record("nurse", &[observation("late", "p", "38.1")]).await.unwrap();
    world.set_cohort("east", of(&["q"]));
    world.set_cohort("west", of(&["p"]));
    world.settle().await;
    world.assert_in_step().await;
    for record in ["Patient/p", "Observation/p", "Observation/late"] {
        assert!(text(&world.clinics[1], record).is_some(), "{record} is not at the new clinic");
    }
    assert_eq!(
        world.clinics[0].site().config().parent.as_ref().unwrap().leave,
        LeavePolicy::Freeze
    );
    let refused = world.clinics[0].record("nurse", &[observation("more", "p", "1")]).await;
    let refused = refused.expect_err("a frozen patient was written").to_string();
    assert!(refused.contains("read only"), "{refused}");
    world.clinics[0].record("nurse", &[observation("more", "q", "1")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_changes_made_while_the_parent_was_away_all_arrive() {
    const CHANGES: usize = 10_000;
    let world = World::pair().await;
    world.clinic().switch().set(false);
    let store = world.clinic().site().store();
    let now = world.clinic().site().now();
    let limits = Limits::default();
    std::thread::scope(|scope| {
        // Many writers share commits, as many requests would.
        for part in 0..8 {
            let limits = &limits;
            scope.spawn(move || {
                for number in (part..CHANGES).step_by(8) {
                    let text = patient(&format!("p{number}"), "Wafula");
                    let record =
                        protocol::resource::Record::parse(text.as_bytes(), limits).unwrap();
                    let write = store::Write { record, expect: store::Expect::Any };
                    let draft = store::Draft {
                        author: protocol::Author::new("nurse"),
                        writes: vec![write],
                        expect: Vec::new(),
                        again: false,
                        lane: protocol::Urgency::Normal,
                    };
                    store.change_record(&draft, now).unwrap();
                }
            });
        }
    });
    world.clinic().switch().set(true);
    world.settle().await;
    world.assert_in_step().await;
    let held = world.centre.site().store().site_status(now).unwrap();
    assert_eq!((held.records, held.sequence), (CHANGES as u64, CHANGES as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_08_one_refused_line_among_many_stops_none_of_the_others() {
    let limits = Limits { resource_bytes: 3_000, ..Limits::default() };
    let mut world = World::centre_with(Limits::default()).await;
    world.add_clinic("clinic", protocol::cohort::Definition::All {}, limits).await;
    for number in 0..20 {
        let id = format!("p{number}");
        let family = if number == 7 { "x".repeat(5_000) } else { "Cherono".to_owned() };
        world.centre.record("registrar", &[patient(&id, &family)]).await.unwrap();
        world.centre.record("registrar", &[observation(&id, &id, "1")]).await.unwrap();
    }
    world.settle().await;
    let clinic = world.clinic();
    for number in (0..20).filter(|number| *number != 7) {
        assert!(text(clinic, &format!("Observation/p{number}")).is_some(), "p{number}");
    }
    assert_eq!(text(clinic, "Patient/p7"), None);
    let parked = clinic.site().store().parked_list(100).unwrap();
    assert!(!parked.is_empty());
    let of_seven: Vec<RecordRef> = vec![reference("Patient/p7")];
    assert!(parked.iter().all(|line| line.patients == of_seven), "{parked:?}");
    assert!(parked[0].reason.contains("resource_bytes = 3000"), "{}", parked[0].reason);
    assert!(push_is_idle(clinic).await);
}

async fn push_is_idle(clinic: &node::demo::site::DemoSite) -> bool {
    let link = node::jobs::link::Link::of(clinic.site()).unwrap();
    let report = round::report(clinic.site()).await.unwrap();
    let view = link.status(clinic.site(), &report).await.unwrap();
    push::step(clinic.site(), &link, &view).await.unwrap().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_05_every_way_in_makes_an_entry_in_the_feeds() {
    let world = World::pair().await;
    let json = [("content-type", "application/fhir+json")];
    let head = || {
        let feeds = world.centre.site().store().feed_list(&store::Scope::Everything).unwrap();
        feeds.iter().find(|feed| feed.name == "clinic").unwrap().head
    };
    let mut before = head();
    let mut grown = |what: &str| {
        assert!(head() > before, "{what} made no entry");
        before = head();
    };
    let put = patient("put", "Auma").into_bytes();
    let (status, _) = http(&world.centre, "PUT", "/fhir/Patient/put", &json, put).await;
    assert_eq!(status, 201);
    grown("a PUT");
    let bundle = format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{{\"resource\":{},\
         \"request\":{{\"method\":\"PUT\",\"url\":\"Patient/in-bundle\"}}}}]}}",
        patient("in-bundle", "Barasa")
    );
    let (status, _) = http(&world.centre, "POST", "/fhir", &json, bundle.into_bytes()).await;
    assert_eq!(status, 200);
    grown("a transaction");
    let (status, _) = http(&world.centre, "DELETE", "/fhir/Patient/put", &[], Vec::new()).await;
    assert_eq!(status, 204);
    grown("a DELETE");
    let file = world.folder.path().join("file.ndjson");
    std::fs::write(&file, patient("imported", "Chebet")).unwrap();
    let site = world.centre.site();
    let limits = &site.config().limits;
    let done = node::import::run(site.store(), &[file], limits, || site.now(), &|_| {}).unwrap();
    assert_eq!((done.written, done.refused), (1, 0));
    grown("an import");
    world.clinic().record("nurse", &[patient("pushed", "Didi")]).await.unwrap();
    world.settle().await;
    grown("a push");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_07_a_feed_goes_on_however_many_of_its_entries_failed() {
    let limits = Limits { resource_bytes: 3_000, attempts: 2, ..Limits::default() };
    let mut world = World::centre_with(Limits::default()).await;
    world.add_clinic("clinic", protocol::cohort::Definition::All {}, limits).await;
    for number in 0..30 {
        let big = patient(&format!("big{number}"), &"x".repeat(5_000));
        world.centre.record("registrar", &[big]).await.unwrap();
    }
    world.settle().await;
    world.centre.record("registrar", &[patient("after", "Wario")]).await.unwrap();
    world.settle().await;
    assert!(text(world.clinic(), "Patient/after").is_some());
    let parked = world.clinic().site().store().parked_list(100).unwrap();
    assert!(parked.len() >= 30, "{} lines are parked", parked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_40_what_was_answered_as_held_is_on_the_disk() {
    let mut world = World::pair().await;
    for number in 0..10 {
        let id = format!("p{number}");
        world.clinic().record("nurse", &[patient(&id, "Ekai")]).await.unwrap();
        while undelivered(world.clinic()) > 0 {
            world.clinic().round().await.unwrap();
        }
        // The answer has come: whatever happens to the parent now, it holds the change.
        world.centre.lose_power().await.unwrap();
        assert!(text(&world.centre, &format!("Patient/{id}")).is_some(), "{id} is lost");
    }
}
