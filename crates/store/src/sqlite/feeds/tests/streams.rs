//! The change stream.

use protocol::Via;
use protocol::feed::EntryKind;

use super::*;
use crate::StoreError;
use crate::sqlite::testing::{from_east, gone, reader_epoch, state};

fn live(world: &World, feed: &str, marker: u64) -> Vec<String> {
    told(&slice(world, &ask(feed, Lane::Live, marker)).lines)
}

fn bulk(world: &World, feed: &str, marker: u64) -> Vec<String> {
    told(&slice(world, &ask(feed, Lane::Bulk, marker)).lines)
}

#[test]
fn a_record_that_changed_often_is_sent_once_at_its_first_place_in_its_latest_state() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.made_here(&[state("Patient/p", &["p"], 1), state("Observation/o", &["p"], 1)]);
    world.made_here(&[state("Observation/o", &["p"], 2), state("Observation/x", &["p"], 1)]);
    world.made_here(&[state("Observation/o", &["p"], 3)]);
    assert_eq!(live(&world, "a", 0), ["1 join", "2 change p=1 o=3", "3 change x=1"]);
    assert_eq!(live(&world, "a", 2), ["3 change o=3 x=1"]);
    assert_eq!(live(&world, "a", 3), ["4 change o=3"]);
    assert!(live(&world, "a", 4).is_empty());
}

#[test]
fn what_is_read_in_slices_is_what_is_read_at_once() {
    let world = World::new();
    world.cohort("a", &["p"]);
    for n in 1..=20 {
        let other = format!("Observation/o{}", n % 7);
        world.made_here(&[state("Patient/p", &["p"], n), state(&other, &["p"], n)]);
    }
    let whole = live(&world, "a", 0);
    let mut parts = Vec::new();
    let mut query = FeedQuery { bytes: 1, ..ask("a", Lane::Live, 0) };
    loop {
        let slice = slice(&world, &query);
        assert!(slice.lines.len() <= 1);
        parts.extend(told(&slice.lines));
        query.after = slice.end;
        query.to = Some(slice.head);
        if !slice.more {
            break;
        }
    }
    assert_eq!(parts, whole);
    assert_eq!(query.after, 21);
}

#[test]
fn what_the_reader_brought_itself_comes_back_as_a_word_only() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.change(&from_east(), &[state("Patient/p", &["p"], 1), state("Observation/o", &["p"], 1)]);
    assert_eq!(live(&world, "a", 1), Vec::<String>::new());
    world.made_here(&[state("Observation/o", &["p"], 2)]);
    assert_eq!(live(&world, "a", 1), ["2 change p:held o=2+base"]);
    assert_eq!(live(&world, "a", 2), ["3 change o=2+base"]);
    let mut later = east(&["a"]);
    if let Scope::Cohorts { epoch, .. } = &mut later {
        *epoch = Epoch::from_bytes([8; 16]);
    }
    let restored = world.store.feed_changes(&ask("a", Lane::Live, 1), &later).unwrap().unwrap();
    // It may have lost what it brought: it gets it whole, with what it agreed on where it has that.
    assert_eq!(told(&restored.lines), ["2 change p=1 o=2+base"]);
}

#[test]
fn a_join_is_a_word_on_the_live_lane_and_the_whole_patient_on_the_bulk_lane() {
    let world = World::new();
    world.made_here(&[
        state("Observation/o", &["p"], 1),
        state("Encounter/e", &["p"], 1),
        state("Patient/p", &["p"], 1),
        state("Condition/c", &["p"], 1),
    ]);
    world.made_here(&[gone("Condition/c"), state("Patient/q", &["q"], 1)]);
    world.cohort("a", &["p", "q"]);
    assert_eq!(live(&world, "a", 0), ["1 join", "2 join"]);
    assert_eq!(bulk(&world, "a", 0), ["1 join p=1 e=1 c:deleted o=1", "2 join q=1"]);
    assert_eq!(bulk(&world, "a", 1), ["2 join q=1"]);
    assert!(bulk(&world, "a", 2).is_empty());
}

#[test]
fn defect_44_of_joins_and_leaves_only_the_newest_of_a_patient_is_told() {
    let world = World::new();
    world.made_here(&[state("Patient/p", &["p"], 1)]);
    world.cohort("a", &["p", "q"]);
    world.leave("a", "p");
    assert_eq!(live(&world, "a", 0), ["2 join", "3 leave"]);
    assert_eq!(bulk(&world, "a", 0), ["2 join"]);
    world.join("a", "p");
    assert_eq!(live(&world, "a", 0), ["2 join", "4 join"]);
    assert_eq!(bulk(&world, "a", 0), ["2 join", "4 join p=1"]);
    world.leave("a", "p");
    let slice = slice(&world, &ask("a", Lane::Live, 4));
    assert_eq!(slice.lines[0].reason.as_deref(), Some("moved away"));
}

#[test]
fn defect_44_a_change_of_membership_costs_the_patients_who_moved_and_nobody_else() {
    let world = World::new();
    for n in 0..10 {
        let id = format!("p{n}");
        world.made_here(&[state(&format!("Patient/{id}"), &[&id], 1)]);
    }
    world.cohort("a", &["p0", "p1", "p2"]);
    world.join("a", "p7");
    world.leave("a", "p1");
    assert_eq!(live(&world, "a", 3), ["4 join", "5 leave"]);
    assert_eq!(bulk(&world, "a", 3), ["4 join p7=1"]);
}

#[test]
fn records_of_patients_who_left_are_not_sent() {
    let world = World::new();
    world.cohort("a", &["p", "q"]);
    world.made_here(&[state("Patient/p", &["p"], 1)]);
    world.made_here(&[state("Patient/q", &["q"], 1)]);
    world.leave("a", "p");
    assert_eq!(live(&world, "a", 2), ["4 change q=1", "5 leave"]);
}

#[test]
fn a_record_that_moved_to_a_patient_elsewhere_is_told_to_have_left() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.made_here(&[state("Observation/o", &["p"], 1), state("Patient/p", &["p"], 1)]);
    world.made_here(&[state("Observation/o", &["z"], 2)]);
    assert_eq!(live(&world, "a", 1), ["2 change o:left p=1"]);
    assert_eq!(live(&world, "a", 2), ["3 change o:left"]);
    let line = &slice(&world, &ask("a", Lane::Live, 2)).lines[0];
    assert_eq!(line.patients, ["Patient/p".parse().unwrap()]);
}

#[test]
fn of_a_change_of_two_patients_a_reader_hears_only_its_own() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.made_here(&[
        state("Observation/o", &["p"], 1),
        state("Observation/z", &["z"], 1),
        state("Location/l", &[], 1),
    ]);
    assert_eq!(live(&world, "a", 1), ["2 change o=1"]);
    assert_eq!(live(&world, "reference", 0), ["1 change l=1"]);
    let line = &slice(&world, &ask("a", Lane::Live, 1)).lines[0];
    assert_eq!(line.patients, ["Patient/p".parse().unwrap()]);
    assert_eq!(line.id.as_ref().unwrap().number, 1);
}

#[test]
fn a_record_that_comes_to_a_reader_by_a_later_change_is_sent_whole() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.made_here(&[state("Observation/o", &["z"], 1)]);
    world.made_here(&[state("Observation/o", &["p"], 2)]);
    assert_eq!(live(&world, "a", 1), ["2 change o=2"]);
}

#[test]
fn what_is_too_long_for_a_line_comes_in_parts_of_one_position() {
    let mut world = World::new();
    world.store.options.limits.line_bytes = 1_050;
    let states: Vec<_> = (0..6).map(|n| state(&format!("Observation/o{n}"), &["p"], 1)).collect();
    world.made_here(&states);
    world.cohort("a", &["p"]);
    let lines = slice(&world, &ask("a", Lane::Bulk, 0)).lines;
    let parts: Vec<_> = lines.iter().map(|line| line.part.unwrap()).collect();
    assert_eq!(parts, [(1, 3), (2, 3), (3, 3)]);
    assert_eq!(told(&lines), ["1 join o0=1 o1=1", "1 join o2=1 o3=1", "1 join o4=1 o5=1"]);
}

#[test]
fn defect_42_a_reader_goes_on_from_its_marker_on_either_lane() {
    let world = World::new();
    for id in ["p", "q", "r"] {
        world.made_here(&[state(&format!("Patient/{id}"), &[id], 1)]);
    }
    world.cohort("a", &["p", "q", "r"]);
    let query = FeedQuery { bytes: 1, ..ask("a", Lane::Bulk, 0) };
    let first = slice(&world, &query);
    assert_eq!((told(&first.lines), first.end, first.more), (vec!["1 join p=1".into()], 1, true));
    assert_eq!((first.head, first.behind), (3, 3));
    assert_eq!(bulk(&world, "a", first.end), ["2 join q=1", "3 join r=1"]);
}

#[test]
fn a_marker_beyond_the_head_or_of_another_life_is_answered_with_both() {
    let world = World::new();
    world.cohort("a", &["p"]);
    let here = Epoch::from_bytes([1; 16]);
    let beyond = FeedQuery { epoch: Some(here), ..ask("a", Lane::Live, 2) };
    let other = FeedQuery { epoch: Some(reader_epoch()), ..ask("a", Lane::Live, 1) };
    for query in [beyond, other] {
        let error = world.store.feed_changes(&query, &east(&["a"])).unwrap_err();
        assert!(matches!(error, StoreError::Gone { epoch, head: 1 } if epoch == here), "{error:?}");
    }
    let good = FeedQuery { epoch: Some(here), ..ask("a", Lane::Live, 1) };
    assert!(slice(&world, &good).lines.is_empty());
}

#[test]
fn defect_39_order_is_of_commits_whatever_the_clocks_say() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.made_here(&[state("Observation/o", &["p"], 1)]);
    // Its maker's clock is years behind, and ours stepped back before it was recorded.
    let late = world.made_here(&[state("Observation/x", &["p"], 1)]);
    world.write(|conn| {
        conn.execute("UPDATE change SET at = 5, recorded = 6 WHERE sequence = ?1", [late])?;
        Ok(conn.execute("UPDATE feed_entry SET at = 6 WHERE sequence = ?1", [late])?)
    });
    assert_eq!(live(&world, "a", 2), ["3 change x=1"]);
}

#[test]
fn entries_of_which_nothing_is_left_move_the_reader_on() {
    let world = World::new();
    world.cohort("a", &["p"]);
    for n in 1..=5 {
        world.change(&from_east(), &[state("Patient/p", &["p"], n)]);
    }
    let slice = slice(&world, &ask("a", Lane::Live, 1));
    assert_eq!((slice.lines.len(), slice.end, slice.more, slice.behind), (0, 6, false, 5));
    assert_eq!(slice.oldest, Some(Timestamp::from_millis(4_000)));
}

#[test]
fn nobody_reads_a_feed_that_is_not_his() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.cohort("other", &["z"]);
    world.write(|conn| {
        Ok(conn.execute(
            "INSERT INTO feed (id, name, kind, title, page_entries, created)
             VALUES (x'000102030405060708090a0b0c0d0e0f', 'outgoing', 'outgoing', '', 3, 0)",
            [],
        )?)
    });
    for feed in ["other", "outgoing", "none", ""] {
        let query = ask(feed, Lane::Live, 0);
        assert_eq!(world.store.feed_changes(&query, &east(&["a"])).unwrap(), None, "{feed}");
        assert_eq!(world.store.feed_page(feed, None, &east(&["a"])).unwrap(), None, "{feed}");
        assert_eq!(world.store.feed_fetch(feed, &[], &east(&["a"])).unwrap(), None, "{feed}");
    }
    let names = |scope: &Scope| -> Vec<String> {
        world.store.feed_list(scope).unwrap().into_iter().map(|feed| feed.name).collect()
    };
    assert_eq!(names(&east(&["a"])), ["a", "reference"]);
    assert_eq!(names(&Scope::Everything), ["a", "other", "outgoing", "reference"]);
}

#[test]
fn what_came_from_the_parent_is_told_to_children_like_anything_else() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.change(&Via::Parent, &[state("Patient/p", &["p"], 1)]);
    let lines = slice(&world, &ask("a", Lane::Live, 1)).lines;
    assert_eq!(lines[0].kind, EntryKind::Change);
    assert_eq!(told(&lines), ["2 change p=1"]);
}

#[test]
fn a_record_whose_patient_left_is_sent_where_another_patient_here_has_it_now() {
    let world = World::new();
    world.cohort("a", &["p", "q"]);
    world.made_here(&[state("Observation/o", &["p"], 1)]);
    world.leave("a", "p");
    world.made_here(&[state("Observation/o", &["q"], 2)]);
    let lines = slice(&world, &ask("a", Lane::Live, 2)).lines;
    assert_eq!(told(&lines), ["3 change o=2", "4 leave"]);
    assert_eq!(lines[0].patients, ["Patient/q".parse().unwrap()]);
}

#[test]
fn what_a_reader_brought_before_its_patient_left_is_sent_again_when_the_patient_is_back() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.cohort("b", &[]);
    world.change(&from_east(), &[state("Observation/o", &["p"], 1)]);
    world.join("b", "p");
    assert_eq!(bulk(&world, "b", 0), ["1 join"]);
    world.leave("a", "p");
    assert_eq!(bulk(&world, "b", 0), ["1 join o=1"]);
    world.join("a", "p");
    assert_eq!(bulk(&world, "a", 3), ["4 join o=1"]);
    // It may have let go of what it has sent since before it heard of the join.
    world.change(&from_east(), &[state("Observation/o", &["p"], 2)]);
    assert_eq!(bulk(&world, "a", 3), ["4 join o=2+base"]);
}

#[test]
fn what_moved_away_while_its_patient_was_gone_is_told_to_have_left_when_the_patient_is_back() {
    let world = World::new();
    world.cohort("a", &["p"]);
    world.made_here(&[state("Patient/p", &["p"], 1), state("Observation/o", &["p"], 1)]);
    world.made_here(&[state("Observation/x", &["p"], 1), state("Observation/z", &["z"], 1)]);
    world.leave("a", "p");
    world.made_here(&[state("Observation/o", &["z"], 2)]);
    world.join("a", "p");
    assert_eq!(live(&world, "a", 3), ["5 join"]);
    assert_eq!(bulk(&world, "a", 1), ["5 join p=1 x=1 o:left"]);
}

#[test]
fn what_moved_away_from_a_patient_who_left_since_is_told_too() {
    let world = World::new();
    world.cohort("a", &["p", "q"]);
    world.made_here(&[state("Observation/o", &["p"], 1)]);
    world.made_here(&[state("Observation/o", &["z"], 2), state("Patient/q", &["q"], 1)]);
    world.leave("a", "p");
    // Whoever is cut off here, and comes again when p is back, is told of no leave.
    assert_eq!(live(&world, "a", 3), ["4 change o:left q=1", "5 leave"]);
}
