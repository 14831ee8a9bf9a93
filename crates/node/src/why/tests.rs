//! What is said of each state of affairs.

use store::{FeedPlace, LinkState};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn minutes(count: i64) -> Timestamp {
    NOW.plus_millis(-count * 60_000)
}

fn delivery(sequence: u64, state: DeliveryState) -> DeliveryInfo {
    DeliveryInfo {
        lane: protocol::Urgency::Normal,
        sequence,
        state,
        patients: vec!["Patient/amina".parse().unwrap()],
        records: Vec::new(),
        recorded: minutes(30),
        attempts: 2,
        next_at: Some(minutes(-5)),
        reason: Some("the parent has no room".to_owned()),
        message: None,
        history: Vec::new(),
    }
}

fn going(state: DeliveryState) -> GoingUp {
    GoingUp { delivery: delivery(7, state), message: None, behind: None }
}

fn message(missing: u32) -> Option<MessageInfo> {
    Some(MessageInfo {
        id: "m".to_owned(),
        change: "c".to_owned(),
        state: store::MessageState::Leased,
        carrier: "mirth".to_owned(),
        attempt: 1,
        failures: 0,
        missing,
        until: minutes(-3),
        handed: Some(minutes(4)),
        deliveries: vec![7],
        events: Vec::new(),
    })
}

/// A record that was made at the clinic and is there.
fn at_clinic() -> Whereabouts {
    Whereabouts {
        record: "Observation/pulse".parse().unwrap(),
        site: "clinic".parse().unwrap(),
        has_parent: true,
        here: Some(Here {
            sequence: 7,
            since: minutes(30),
            deleted: false,
            author: "nurse-3".to_owned(),
            origin: Some("clinic".parse().unwrap()),
            via: TimelineVia::Here,
            child: None,
            parent: ParentHolds::Nothing,
            taken: None,
            left: false,
        }),
        let_go: None,
        patients: vec![of_patient("here")],
        up: Vec::new(),
        dropped: Vec::new(),
        dropped_lines: Vec::new(),
        link: LinkState { last_contact: Some(minutes(1)), ..LinkState::default() },
        parked: Vec::new(),
        emr: None,
        conflicts: Vec::new(),
        children: Vec::new(),
        inbox: 0,
    }
}

fn of_patient(state: &str) -> PatientPlace {
    PatientPlace {
        patient: "Patient/amina".parse().unwrap(),
        state: state.to_owned(),
        feeds: Vec::new(),
        left: None,
        purged: None,
    }
}

fn at_centre(children: Vec<ChildPlace>) -> Whereabouts {
    let site = "centre".parse().unwrap();
    Whereabouts { site, has_parent: false, children, ..at_clinic() }
}

fn child(name: &str, live: Option<u64>, bulk: Option<u64>) -> ChildPlace {
    let name_of_feed = "west".to_owned();
    let feed =
        FeedPlace { name: name_of_feed, entry: Some(20), joined: Some(10), left: None, live, bulk };
    ChildPlace {
        child: name.parse().unwrap(),
        state: "joined".to_owned(),
        last_seen: Some(minutes(180)),
        undelivered: Some(3),
        feed: Some(feed),
        brought: false,
    }
}

fn nowhere() -> Whereabouts {
    Whereabouts { here: None, patients: Vec::new(), ..at_clinic() }
}

fn changed(facts: Whereabouts, change: impl FnOnce(&mut Whereabouts)) -> Whereabouts {
    let mut facts = facts;
    change(&mut facts);
    facts
}

fn with_here(facts: Whereabouts, change: impl FnOnce(&mut Here)) -> Whereabouts {
    changed(facts, |facts| change(facts.here.as_mut().unwrap()))
}

/// All that is said contains each of these.
#[track_caller]
fn says(facts: &Whereabouts, carried: bool, expected: &[&str]) {
    let up = if carried { Up::Carried } else { Up::Direct };
    let told = sentences(facts, NOW, up).join("\n");
    for words in expected {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
}

#[test]
fn a_record_is_here_since_a_change_of_somebody() {
    let first = "Observation/pulse is here, at clinic, since 30 min ago: change 7, ";
    let own = with_here(at_clinic(), |_| {});
    says(&own, false, &[&format!("{first}made here by nurse-3.")]);
    let from_parent = with_here(at_clinic(), |here| {
        here.origin = Some("east".parse().unwrap());
        here.via = TimelineVia::Parent;
        here.parent = ParentHolds::This;
    });
    let told = format!("{first}made at east by nurse-3, from the parent.");
    says(&from_parent, false, &[&told, "The parent holds this very state."]);
    let whole = with_here(at_clinic(), |here| {
        here.origin = None;
        here.via = TimelineVia::Parent;
    });
    says(&whole, false, &["as it was when its patient came, from the parent."]);
    let brought = with_here(at_centre(Vec::new()), |here| {
        here.via = TimelineVia::Child;
        here.child = Some("clinic".parse().unwrap());
        here.origin = Some("ward".parse().unwrap());
    });
    says(&brought, false, &["made at ward by nurse-3, brought by clinic."]);
    let deleted = with_here(at_clinic(), |here| (here.deleted, here.left) = (true, true));
    says(&deleted, false, &["is deleted at clinic", "left this site's feed since"]);
}

#[test]
fn a_change_on_its_way_up_says_what_it_waits_for() {
    let behind = |state| {
        let before = Some(delivery(3, state));
        GoingUp { behind: before, ..going(DeliveryState::Ready) }
    };
    let carried = |state, missing| GoingUp { message: message(missing), ..going(state) };
    let ready = DeliveryState::Ready;
    let refused = "2 attempts (the parent has no room)";
    for (going, by_carrier, expected) in [
        (going(ready), false, "it goes with the next round."),
        (going(ready), true, "it waits for a third party to fetch it."),
        (carried(ready, 1), true, "mirth said that it was delivered, and the parent did not"),
        (going(DeliveryState::Retry), false, &format!("sent again in 5 min, after {refused}")),
        (going(DeliveryState::Parked), false, &format!("parked after {refused}: mend the record")),
        (behind(DeliveryState::Parked), false, "waits behind change 3 of Patient/amina, which is"),
        (behind(DeliveryState::Retry), false, "change 3 of Patient/amina, which is sent again in"),
        (behind(DeliveryState::HandedOver), true, "of which no receipt has come"),
        (carried(DeliveryState::Leased, 0), true, "it is with mirth, whose lease ends in 3 min."),
        (carried(DeliveryState::HandedOver, 0), true, "delivered by mirth 4 min ago, as that says"),
    ] {
        let facts = Whereabouts { up: vec![going], ..at_clinic() };
        says(&facts, by_carrier, &["Its change 7, of 30 min ago, is not at the parent", expected]);
    }
}

#[test]
fn what_is_not_on_its_way_is_said_to_be_where_it_is() {
    let taken = |parent| {
        with_here(at_clinic(), |here| {
            here.parent = parent;
            here.taken = Some((minutes(10), "merged".to_owned()));
        })
    };
    let this = "The parent holds this very state (merged 10 min ago).";
    says(&taken(ParentHolds::This), false, &[this]);
    says(&taken(ParentHolds::Other), false, &["(merged 10 min ago), and held another state"]);
    says(&at_clinic(), false, &["Nothing of it waits to be sent", "`tributary verify` asks"]);
    let root = sentences(&at_centre(Vec::new()), NOW, Up::Direct);
    assert_eq!(root.len(), 1, "who has no parent waits for none: {root:?}");
}

#[test]
fn a_link_that_is_down_is_said_to_be() {
    let down = changed(at_clinic(), |facts| {
        facts.link.failures = 4;
        facts.link.last_contact = Some(minutes(200));
        facts.link.last_error = Some("no route to the parent".to_owned());
        facts.link.next_attempt = Some(minutes(-10));
    });
    let expected = "was heard last 3 h ago, 4 failures in a row, next try in 10 min: no route";
    says(&down, false, &["The link to the parent is down: it ", expected]);
    let never = changed(at_clinic(), |facts| facts.link.last_contact = None);
    says(&never, false, &["The parent has never been heard."]);
    let told = sentences(&at_clinic(), NOW, Up::Direct).join("\n");
    assert!(!told.contains("link"), "a link that works is not spoken of: {told}");
}

#[test]
fn a_patient_who_left_a_stuck_line_and_a_conflict_are_said() {
    for (state, left, expected) in [
        ("frozen", Some(minutes(60)), "cohorts, 60 min ago: the records stay and cannot be"),
        ("purging", Some(minutes(60)), "the records go as soon as all that was written here"),
        ("here", Some(minutes(60)), "what is changed elsewhere does not come any more"),
    ] {
        let place = PatientPlace { left, ..of_patient(state) };
        says(&Whereabouts { patients: vec![place], ..at_clinic() }, false, &[expected]);
    }
    let line = ParkedLine {
        key: 1,
        feed: "west".to_owned(),
        position: 12,
        patients: Vec::new(),
        reason: "the digest does not fit".to_owned(),
        attempts: 3,
        next_at: NOW,
        parked: minutes(90),
        held: false,
    };
    let conflicts = vec!["conflict-0c1ff9d2a7".to_owned()];
    let facts = Whereabouts { parked: vec![line], conflicts, ..at_clinic() };
    let stuck = "since 90 min ago (west position 12, 3 attempts): the digest does not fit.";
    says(&facts, false, &[stuck, "`tributary conflict show conflict-0c1ff9d2a7`"]);
}

#[test]
fn each_child_has_the_record_or_not_by_what_it_said_itself() {
    let with = |change: fn(&mut ChildPlace)| {
        let mut place = child("east", Some(20), Some(10));
        change(&mut place);
        place
    };
    for (place, expected) in [
        (child("east", Some(20), Some(10)), "east has it, by west and what it said 3 h ago."),
        (child("east", Some(19), Some(10)), "had not fetched this state when it was here 3 h"),
        (child("east", Some(25), Some(9)), "had not fetched the patient's whole record when it"),
        (child("east", Some(25), None), "it did not say how far it is."),
        (with(|place| place.brought = true), "east has it: it brought this state."),
        (with(|place| place.last_seen = None), "will get it by west and has never been here."),
        (
            with(|place| place.feed.as_mut().unwrap().left = Some(30)),
            "east does not get it: its patient left the cohort west, at position 30.",
        ),
    ] {
        says(&at_centre(vec![place]), false, &[expected]);
    }
    let many = (0..40)
        .map(|n| child(&format!("clinic-{n}"), Some(if n < 15 { 19 } else { 20 }), Some(10)));
    let told = sentences(&at_centre(many.collect()), NOW, Up::Direct);
    assert_eq!(told[1], "25 of 40 children have it.");
    assert_eq!((told.len(), told[12].as_str()), (13, "5 more lack it or have not said."));
}

#[test]
fn of_a_record_that_is_not_here_it_is_said_why_and_where_to_ask() {
    says(&nowhere(), false, &["is not at clinic: it has not come", "Ask at the parent"]);
    let purged = changed(nowhere(), |facts| {
        facts.patients = vec![PatientPlace { purged: Some(minutes(60)), ..of_patient("here") }];
    });
    says(&purged, false, &["the patient left and the records were removed 60 min ago."]);
    let gone = Whereabouts { let_go: Some(minutes(60)), ..nowhere() };
    says(&gone, false, &["left this site's cohorts by itself and was let go 60 min ago."]);
    let coming = changed(nowhere(), |facts| {
        let feeds = vec!["west".to_owned()];
        facts.patients = vec![PatientPlace { feeds, ..of_patient("here") }];
    });
    says(&coming, false, &["The parent's feed west holds the patient for this site"]);
    let without = |mut place: ChildPlace, undelivered| {
        (place.feed, place.undelivered) = (None, undelivered);
        place
    };
    let children = vec![
        without(child("east", None, None), Some(3)),
        without(child("north", None, None), Some(0)),
        without(child("south", None, None), None),
    ];
    let facts = Whereabouts { here: None, inbox: 2, ..at_centre(children) };
    let expected = ["east had 3 changes to send", "2 messages that third", "south was here"];
    says(&facts, false, &expected);
    let told = sentences(&facts, NOW, Up::Direct).join("\n");
    assert!(!told.contains("north"), "who has nothing to send need not be asked: {told}");
    let alone = Whereabouts { here: None, ..at_centre(Vec::new()) };
    says(&alone, false, &["look at the name again"]);
}
