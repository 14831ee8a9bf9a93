use super::*;

fn today() -> Timestamp {
    "2026-11-23T08:00:00Z".parse().unwrap()
}

fn world(seed: u64) -> World {
    World::new(seed, &clinic_names(3), today())
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_gives_others() {
    assert_eq!(world(7).patient(3, 1), world(7).patient(3, 1));
    assert_eq!(world(7).reference_records(), world(7).reference_records());
    assert_ne!(world(7).patient(3, 1), world(8).patient(3, 1));
    assert_ne!(world(7).patient(3, 1), world(7).patient(4, 1));
}
