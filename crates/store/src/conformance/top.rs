//! Merged patients at sites that have heard different things of them: the site at the top moves
//! what follows, and all come to the same.

use std::collections::BTreeSet;

use protocol::cohort::Definition;

use super::Maker;
use super::builders::{a_group, an_observation, named, put};
use super::pair::Pair;
use super::replaced::{WAYS, files, make, replaced, subject};

pub fn a_site_that_heard_otherwise_moves_nothing_back(maker: &dyn Maker) {
    let pair = Pair::new(maker);
    pair.at_parent(&put(&files()));
    pair.at_parent(&put(&[a_group("g", &["winner", "other"])]));
    pair.quiet();
    pair.at_child(&put(&[replaced("loser", "winner")]));
    pair.quiet();
    // Both files leave the child, and it keeps what it knew of them; the group stays for the other.
    let other = BTreeSet::from([named("Patient/other")]);
    pair.cohort("all", Definition::Patients { patients: other });
    pair.quiet();
    pair.at_parent(&put(&files()[..1]));
    pair.at_parent(&put(&[replaced("winner", "loser")]));
    pair.quiet();
    pair.assert_in_step();
    let (parent, child) = pair.bodies("Group/g");
    assert!(parent.as_ref().unwrap().contains("Patient/loser"), "{parent:?}");
    assert_eq!(parent, child);
    // What the child writes of it follows above, and comes down again.
    pair.at_child(&put(&[a_group("g", &["winner", "other"]).with("name", "\"ours\"")]));
    pair.quiet();
    pair.assert_in_step();
    let (parent, child) = pair.bodies("Group/g");
    assert!(parent.as_ref().unwrap().contains("Patient/loser"), "{parent:?}");
    assert_eq!(parent, child);
}

pub fn what_goes_back_after_an_edit_has_the_same_bytes_at_both_ends(maker: &dyn Maker) {
    for (merged_there, taken_back_there) in WAYS {
        let pair = Pair::new(maker);
        pair.at_parent(&put(&files()));
        pair.at_parent(&put(&[an_observation("o", "loser").with("status", "\"final\"")]));
        pair.quiet();
        make(&pair, merged_there, &put(&[replaced("loser", "winner")]));
        pair.quiet();
        let edit = an_observation("o", "winner").with("note", r#"[{"text":"by hand"}]"#);
        make(&pair, !merged_there, &put(&[edit.with("status", "\"final\"")]));
        pair.push();
        make(&pair, taken_back_there, &put(&files()[..1]));
        pair.quiet();
        pair.assert_in_step();
        let (parent, child) = pair.bodies("Observation/o");
        assert_eq!(parent, child);
        assert_eq!(subject(&*pair.parent, "Observation/o"), "loser");
        assert!(parent.unwrap().contains("by hand"));
    }
}
