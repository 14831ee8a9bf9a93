//! Children, programs and their credentials.

use super::*;
use crate::sqlite::testing::{World, reader_epoch};

const CODE: [u8; 32] = [1; 32];
const TOKEN: [u8; 32] = [2; 32];

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn site(name: &str) -> SiteId {
    name.parse().unwrap()
}

fn invite(world: &World, name: &str, cohorts: &[&str], code: [u8; 32]) -> Result<()> {
    let child = ChildDraft {
        site: site(name),
        cohorts: cohorts.iter().map(|name| name.parse().unwrap()).collect(),
        code_hash: code,
        code_expires: at(5_000),
    };
    world.store.child_add(&child, at(1_000))
}

fn redeem(
    world: &World,
    code: [u8; 32],
    name: &str,
    token: [u8; 32],
    now: i64,
) -> Option<Vec<CohortName>> {
    world.store.child_redeem(&code, &site(name), &reader_epoch(), &token, at(now)).unwrap()
}

fn holder(world: &World, hash: [u8; 32]) -> Option<Holder> {
    world.store.credential_holder(&hash, at(2_000)).unwrap()
}

#[test]
fn a_code_works_once_in_time_and_for_its_own_site() {
    let world = World::new();
    world.cohort("a", &[]);
    invite(&world, "east", &["a"], CODE).unwrap();
    assert_eq!(redeem(&world, [9; 32], "east", TOKEN, 2_000), None);
    assert_eq!(redeem(&world, CODE, "west", TOKEN, 2_000), None);
    assert_eq!(redeem(&world, CODE, "east", TOKEN, 5_000), None);
    assert_eq!(holder(&world, TOKEN), None);
    assert_eq!(redeem(&world, CODE, "east", TOKEN, 4_999), Some(vec!["a".parse().unwrap()]));
    assert_eq!(redeem(&world, CODE, "east", [3; 32], 4_999), None);
    let cohorts = vec!["a".parse().unwrap()];
    assert_eq!(holder(&world, TOKEN), Some(Holder::Child { site: site("east"), cohorts }));
}

#[test]
fn a_known_child_gets_a_new_code_and_keeps_its_credential_until_it_uses_it() {
    let world = World::new();
    world.cohort("a", &[]);
    world.cohort("b", &[]);
    invite(&world, "east", &["a"], CODE).unwrap();
    redeem(&world, CODE, "east", TOKEN, 2_000).unwrap();
    invite(&world, "east", &["a", "b", "a"], [4; 32]).unwrap();
    assert!(
        matches!(holder(&world, TOKEN), Some(Holder::Child { cohorts, .. }) if cohorts.len() == 2)
    );
    redeem(&world, [4; 32], "east", [5; 32], 2_000).unwrap();
    assert_eq!(holder(&world, TOKEN), None);
    assert!(holder(&world, [5; 32]).is_some());
}

#[test]
fn revoking_ends_a_childs_access_at_once_and_voids_its_code() {
    let world = World::new();
    invite(&world, "east", &[], CODE).unwrap();
    redeem(&world, CODE, "east", TOKEN, 2_000).unwrap();
    invite(&world, "east", &[], [4; 32]).unwrap();
    assert!(world.store.child_revoke(&site("east"), at(3_000)).unwrap());
    assert_eq!(holder(&world, TOKEN), None);
    assert_eq!(redeem(&world, [4; 32], "east", [5; 32], 3_000), None);
    assert_eq!(world.store.child_list().unwrap()[0].state, "revoked");
    assert!(!world.store.child_revoke(&site("west"), at(3_000)).unwrap());
    invite(&world, "east", &[], CODE).unwrap();
    assert_eq!(world.store.child_list().unwrap()[0].state, "invited");
    assert!(redeem(&world, CODE, "east", TOKEN, 2_000).is_some());
}

#[test]
fn a_child_of_a_cohort_that_does_not_exist_or_of_our_own_name_is_not_invited() {
    let world = World::new();
    let error = invite(&world, "east", &["none"], CODE).unwrap_err();
    assert_eq!(error.to_string(), "there is no cohort none");
    assert!(world.store.child_list().unwrap().is_empty());
    let error = invite(&world, "centre", &[], CODE).unwrap_err();
    assert_eq!(error.to_string(), "the site id centre is this site's own");
}

#[test]
fn what_a_child_reported_last_is_kept() {
    let world = World::new();
    invite(&world, "east", &[], CODE).unwrap();
    redeem(&world, CODE, "east", TOKEN, 2_000).unwrap();
    let seen = |report, now| {
        let later = Epoch::from_bytes([8; 16]);
        world.store.child_seen(&site("east"), &later, report, at(now)).unwrap();
        let child = world.store.child_list().unwrap().remove(0);
        (child.last_seen.unwrap().millis(), child.report)
    };
    assert_eq!(seen(Some("{}"), 3_000), (3_000, Some("{}".into())));
    assert_eq!(seen(None, 4_000), (4_000, Some("{}".into())));
}

#[test]
fn a_childs_clock_is_what_its_last_report_said() {
    let world = World::new();
    invite(&world, "east", &[], CODE).unwrap();
    redeem(&world, CODE, "east", TOKEN, 2_000).unwrap();
    let agrees = |report: Option<&str>, now: i64| {
        let epoch = Epoch::from_bytes([8; 16]);
        world.store.child_seen(&site("east"), &epoch, report, at(now)).unwrap();
        let read = |step: &Connection| policies(&world.store, step, &site("east"));
        world.store.read("ask", read).unwrap().clocks_agree
    };
    assert!(!agrees(None, 1_000), "a child that has told nothing");
    let noon = at(1_700_000_000_000);
    let report = format!(r#"{{"at":"{noon}","version":"0.1.0"}}"#);
    for (offset, expected) in [(0, true), (300_000, true), (-300_000, true), (300_001, false)] {
        let now = noon.millis() + offset;
        assert_eq!(agrees(Some(&report), now), expected, "{offset} ms");
        // What is not a report says nothing of a clock.
        assert_eq!(agrees(None, now + 900_000), expected);
        assert_eq!(agrees(Some("{}"), now + 900_000), expected);
    }
}

fn add_token(world: &World, name: &str, hash: [u8; 32], expires: Option<i64>) -> Result<()> {
    let token = TokenDraft {
        name: name.into(),
        scope: TokenScope::FhirRead,
        children: Vec::new(),
        hash,
        expires: expires.map(at),
    };
    world.store.token_add(&token, at(1_000))
}

#[test]
fn defect_29_only_a_credential_that_was_given_opens_anything() {
    let world = World::new();
    for hash in [[0; 32], [255; 32], TOKEN] {
        assert_eq!(holder(&world, hash), None, "a new store has no credential of its own");
    }
    add_token(&world, "lab", TOKEN, Some(3_000)).unwrap();
    let lab = Holder::Program { name: "lab".into(), scope: TokenScope::FhirRead, children: vec![] };
    assert_eq!(holder(&world, TOKEN), Some(lab));
    assert_eq!(world.store.credential_holder(&TOKEN, at(3_000)).unwrap(), None);
    assert!(world.store.token_revoke("lab", at(2_000)).unwrap());
    assert_eq!(holder(&world, TOKEN), None);
    assert!(!world.store.token_revoke("none", at(2_000)).unwrap());
    let listed = &world.store.token_list().unwrap()[0];
    assert_eq!((listed.revoked, listed.expires), (Some(at(2_000)), Some(at(3_000))));
}

#[test]
fn defect_29_a_code_that_was_not_redeemed_is_no_credential() {
    let world = World::new();
    invite(&world, "east", &[], CODE).unwrap();
    assert_eq!(holder(&world, CODE), None);
}

#[test]
fn a_name_of_a_credential_is_taken_for_good() {
    let world = World::new();
    add_token(&world, "lab", TOKEN, None).unwrap();
    assert!(matches!(add_token(&world, "lab", [7; 32], None), Err(StoreError::Name(_))));
    world.store.token_revoke("lab", at(2_000)).unwrap();
    assert!(matches!(add_token(&world, "lab", [7; 32], None), Err(StoreError::Name(_))));
}

#[test]
fn who_was_let_in_and_who_was_shut_out_is_in_the_audit() {
    let world = World::new();
    invite(&world, "east", &[], CODE).unwrap();
    redeem(&world, CODE, "east", TOKEN, 2_000).unwrap();
    world.store.child_revoke(&site("east"), at(3_000)).unwrap();
    add_token(&world, "lab", [7; 32], None).unwrap();
    world.store.token_revoke("lab", at(2_000)).unwrap();
    let rows: Vec<String> = world.write(|conn| {
        let mut statement = conn
            .prepare("SELECT actor || ' ' || action || ' ' || subject FROM audit ORDER BY key")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
    });
    assert_eq!(
        rows,
        [
            "operator child-add east",
            "child:east child-join east",
            "operator child-revoke east",
            "operator token-add lab",
            "operator token-revoke lab"
        ]
    );
}
