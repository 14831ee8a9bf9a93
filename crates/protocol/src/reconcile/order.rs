//! The order of a merged list. Digests depend on it, so it is the same on both sides.

use super::Side;
use super::identity::Group;
use super::merge::{Moved, Three};
use crate::json::Json;

/// The places of the groups that stay, in the order of the result: the parent's order, and what
/// only the child has after the item that it follows there. Where the child alone changed the
/// order of what all three hold, the child's order and the parent's additions.
/// `all` says that an item stays which one side took away.
pub(super) fn order(
    groups: &[Group],
    lists: Three<&[Json<'_>]>,
    preferred: Side,
    all: bool,
) -> Vec<usize> {
    let stays: Vec<bool> = groups
        .iter()
        .map(|group| {
            let states = group.states(lists);
            match states.moved() {
                _ if all => states.parent.or(states.child).is_some(),
                Moved::Parent => states.parent.is_some(),
                Moved::Child => states.child.is_some(),
                Moved::Both => true,
            }
        })
        .collect();
    let (leader, follower) = match child_leads(groups, preferred) {
        true => (2, 1),
        false => (1, 2),
    };
    interleave(&side(groups, &stays, leader), &side(groups, &stays, follower), groups, leader)
}

/// The groups of one side that stay, in its order.
fn side(groups: &[Group], stays: &[bool], slot: usize) -> Vec<usize> {
    let mut places: Vec<usize> =
        (0..groups.len()).filter(|&p| stays[p] && groups[p].slots[slot].is_some()).collect();
    places.sort_by_key(|&place| groups[place].slots[slot]);
    places
}

/// Whether the child's order is the one to follow.
fn child_leads(groups: &[Group], preferred: Side) -> bool {
    let mut common: Vec<[usize; 3]> =
        groups.iter().filter_map(|g| Some([g.slots[0]?, g.slots[1]?, g.slots[2]?])).collect();
    common.sort_unstable();
    let moved = |slot: usize| !common.is_sorted_by_key(|places| places[slot]);
    match (moved(1), moved(2)) {
        (false, moved) => moved,
        (true, false) => false,
        (true, true) => preferred == Side::Child,
    }
}

/// Puts the follower's own items into the leader's order: each after the item that it follows on
/// its side and after the leader's own items there; what leads its side before the first item
/// that both have.
fn interleave(led: &[usize], follows: &[usize], groups: &[Group], leader: usize) -> Vec<usize> {
    let follower = 3 - leader;
    let own = |place: usize| groups[place].slots[leader].is_none();
    let mut rank = vec![None; groups.len()];
    for (index, &place) in led.iter().enumerate() {
        rank[place] = Some(index);
    }
    let mut gaps: Vec<Vec<usize>> = vec![Vec::new(); led.len() + 1];
    let first_common = follows.iter().find_map(|&place| rank[place]);
    let mut gap = first_common.unwrap_or(led.len());
    for &place in follows {
        if own(place) {
            gaps[gap].push(place);
        } else if let Some(index) = rank[place] {
            gap = index + 1;
            while gap < led.len() && groups[led[gap]].slots[follower].is_none() {
                gap += 1;
            }
        }
    }
    let mut merged = Vec::with_capacity(groups.len());
    for (index, inserted) in gaps.into_iter().enumerate() {
        merged.extend(inserted);
        merged.extend(led.get(index));
    }
    merged
}
