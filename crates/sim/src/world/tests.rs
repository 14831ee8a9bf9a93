use super::*;

fn id(name: &str) -> SiteId {
    name.parse().unwrap()
}

fn patient(name: &str, born: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{name}","active":true,"birthDate":"{born}"}}"#)
}

/// A centre and a clinic that both write while they step; gives the world and its end.
fn two_sites(seed: u64) -> World {
    let mut world = World::new(seed).unwrap();
    let (centre, clinic) = (id("centre"), id("clinic"));
    world.add_site(&centre).unwrap();
    world.add_site(&clinic).unwrap();
    world.join(&clinic, &centre).unwrap();
    for number in 0..6 {
        let site = if number % 2 == 0 { &centre } else { &clinic };
        let body = patient(&format!("p{number}"), "1990-01-01");
        world.record(site, "nurse", &[&body]).unwrap();
        world.step().unwrap();
    }
    // The same element at both ends: the parent's value stands, and both ends say so.
    world.record(&centre, "clerk", &[&patient("p0", "1991-01-01")]).unwrap();
    world.record(&clinic, "nurse", &[&patient("p0", "1992-01-01")]).unwrap();
    for _ in 0..12 {
        world.step().unwrap();
    }
    world
}

#[test]
fn an_empty_world_has_nothing_to_do() {
    assert_eq!(World::new(1).unwrap().step().unwrap(), None);
}

#[test]
fn stepping_one_site_passes_the_worlds_time_and_not_ours() {
    let started = std::time::Instant::now();
    let mut world = World::new(7).unwrap();
    world.add_site(&id("centre")).unwrap();
    let before = world.now();
    for _ in 0..100 {
        assert_eq!(world.step().unwrap(), Some(id("centre")));
    }
    let passed = world.now().since(before);
    assert!(passed > 600_000, "only {passed} ms passed in the world");
    assert!(started.elapsed().as_secs() < 60, "it slept in earnest");
}

#[test]
fn two_sites_that_write_and_step_hold_the_same_in_the_end() {
    let world = two_sites(1);
    let (above, below) = (world.digests(&id("centre")), world.digests(&id("clinic")));
    let (above, below) = (above.unwrap(), below.unwrap());
    assert_eq!(above.len(), 6);
    assert_eq!(above, below, "{:#?}", world.trace());
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    let (first, second, other) = (two_sites(3), two_sites(3), two_sites(4));
    assert_eq!(first.trace(), second.trace());
    assert_eq!(first.digests(&id("clinic")).unwrap(), second.digests(&id("clinic")).unwrap());
    assert_ne!(first.trace(), other.trace());
}
