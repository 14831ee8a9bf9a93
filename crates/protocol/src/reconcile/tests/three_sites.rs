//! A parent and three children that edit one record apart, and then exchange what they hold: as
//! the store does it, with the versions that either end knows of the other, and nothing else.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::records::{self, Dice, Tree};
use super::{canonical, clinical, held_after, state};
use crate::reconcile::{Policies, Side, State, reconcile};
use crate::time::Timestamp;

/// A body and when the change that made it was made.
type Held = (String, Timestamp);

struct Sites {
    policies: Policies,
    parent: Held,
    children: [Held; 3],
    /// What each child knows its parent to hold.
    agreed: [String; 3],
    clock: i64,
}

impl Sites {
    /// All hold `base`.
    fn new(base: &str, policies: Policies) -> Sites {
        let held = (base.to_owned(), Timestamp::from_millis(0));
        let children = [held.clone(), held.clone(), held.clone()];
        let agreed = [(); 3].map(|()| base.to_owned());
        Sites { policies, parent: held, children, agreed, clock: 0 }
    }
    fn now(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp::from_millis(self.clock)
    }
    /// What `local` holds when `incoming` has come.
    fn met(&mut self, child: usize, side: Side) -> Held {
        let (local, incoming) = match side {
            Side::Parent => (self.children[child].clone(), self.parent.clone()),
            Side::Child => (self.parent.clone(), self.children[child].clone()),
        };
        let base = state(Some(&self.agreed[child]));
        let local_state = State { at: Some(local.1), ..state(Some(&local.0)) };
        let incoming_state = State { at: Some(incoming.1), ..state(Some(&incoming.0)) };
        let plan =
            reconcile(Some(base), Some(local_state), incoming_state, side, &self.policies).unwrap();
        let (body, _) = held_after(plan, Some(&local.0), Some(&incoming.0));
        let body = body.unwrap();
        let made = match &body {
            body if *body == local.0 => local.1,
            body if *body == incoming.0 => incoming.1,
            _ => self.now(),
        };
        (body, made)
    }
    fn push(&mut self, child: usize) {
        self.parent = self.met(child, Side::Child);
        self.agreed[child] = self.children[child].0.clone();
    }
    fn pull(&mut self, child: usize) {
        self.children[child] = self.met(child, Side::Parent);
        self.agreed[child] = self.parent.0.clone();
    }
    /// Exchanges until nobody has anything to say; gives how many rounds that took.
    fn settle(&mut self) -> usize {
        for round in 0..20 {
            let before = (self.parent.0.clone(), self.children.clone().map(|held| held.0));
            for child in 0..3 {
                self.push(child);
                self.pull(child);
            }
            if before == (self.parent.0.clone(), self.children.clone().map(|held| held.0)) {
                return round;
            }
        }
        panic!("the sites do not come to rest");
    }
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn law_3_changes_of_different_elements_come_to_the_same_in_any_order_of_arrival(
        seed: u64, edits in 1usize..6,
    ) {
        let base = records::record(&mut Dice::new(seed, "b"));
        let policies = clinical::policies(&mut Dice::new(seed, "s"));
        let count = base.members().len();
        let mut edited = [base.clone(), base.clone(), base.clone()];
        for (site, mark) in ["p", "c", "b"].into_iter().enumerate() {
            let mut dice = Dice::new(seed ^ 77, mark);
            let Tree::Object(members) = &mut edited[site] else { unreachable!() };
            for _ in 0..edits {
                let place = 1 + dice.below(count.max(2) - 1);
                if place < count && place % 3 == site {
                    records::edit_member(members, place, &mut dice);
                }
            }
        }
        let expected = Tree::Object(
            (0..count).map(|place| edited[place % 3].members()[place].clone()).collect(),
        );
        let mut results = Vec::new();
        for order in ORDERS {
            let mut sites = Sites::new(&base.text(), policies.clone());
            for (site, record) in edited.iter().enumerate() {
                let made = sites.now();
                sites.children[site] = (record.text(), made);
            }
            order.into_iter().for_each(|child| sites.push(child));
            sites.settle();
            for child in &sites.children {
                prop_assert_eq!(&child.0, &sites.parent.0, "{:?}", order);
            }
            results.push(sites.parent.0);
        }
        prop_assert_eq!(canonical(Some(&results[0])), canonical(Some(&expected.text())));
        prop_assert!(results.iter().all(|result| result == &results[0]), "{:#?}", results);
    }

    #[test]
    fn law_4_edits_of_the_same_element_end_equal_at_all_sites(
        seed: u64, edits in 1usize..5, undecided: bool,
    ) {
        let base = clinical::record(&mut Dice::new(seed, "b"));
        let mut policies = clinical::policies(&mut Dice::new(seed, "s"));
        if undecided {
            policies = Policies::from_parent(&std::collections::BTreeMap::from(
                [("default", "conflict"), ("*.telecom", "union")]
                    .map(|(key, policy)| (key.to_owned(), policy.to_owned())),
            ));
        }
        let mut sites = Sites::new(&base.text(), policies);
        let mut chance = Dice::new(seed, "x");
        let mut marks = [Dice::new(seed, "p"), Dice::new(seed, "c"), Dice::new(seed ^ 5, "b")];
        // Edits and exchanges in any order, so that some meet half-way.
        for _ in 0..edits * 6 {
            let site = chance.below(3);
            match chance.below(4) {
                0 => sites.pull(site),
                1 => sites.push(site),
                _ => {
                    let mut record = records::tree(&sites.children[site].0);
                    clinical::edit(&mut record, &mut marks[site]);
                    let made = sites.now();
                    sites.children[site] = (record.text(), made);
                }
            }
        }
        sites.settle();
        for child in &sites.children {
            prop_assert_eq!(canonical(Some(&child.0)), canonical(Some(&sites.parent.0)));
        }
    }
}
