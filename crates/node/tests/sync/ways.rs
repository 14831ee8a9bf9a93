//! One clinic week in each of the three ways up: read by the parent, sent, carried. The centre
//! holds the same in the end.

use node::config::Up;
use node::demo::site::DemoSite;
use node::jobs::sources;
use protocol::cohort::Definition;
use protocol::resource::Record;
use protocol::{Digest, Limits, RecordRef};
use store::{DigestScope, Scope, TokenScope};

use crate::reading::{TOKEN, source};
use crate::world::*;
use crate::{carried, reading};

/// Days of the week, and patients that come on each.
const DAYS: usize = 6;
const PATIENTS: usize = 4;

async fn world(up: Up) -> World {
    let mut world = World::centre_with(Limits::default()).await;
    world.add_clinic("clinic", Definition::All {}, Limits::default()).await;
    let clinic = &mut world.clinics[0];
    let mut config = clinic.site().config().clone();
    config.parent.as_mut().unwrap().up = up;
    let credential = clinic.site().credential().map(str::to_owned);
    clinic.restart(config, credential).await.unwrap();
    match up {
        Up::Direct | Up::Fhir => {}
        Up::Carried => {
            carried::add_token(world.clinic(), "mirth", TokenScope::Outbox, &[]);
            carried::add_token(&world.centre, "mirth", TokenScope::Carry, &["clinic"]);
        }
        Up::Read => {
            reading::add_token(world.clinic(), "centre", TOKEN, TokenScope::ReadOutgoing);
            let id = world.clinic().id().clone();
            let url = world.clinic().site().config().public_url.clone();
            let mut config = world.centre.site().config().clone();
            config.sources = vec![source(world.centre.folder(), &id, &url)];
            world.centre.restart(config, None).await.unwrap();
        }
    }
    world
}

/// What was written here goes up, each way in its own way; then what the centre has comes down.
async fn evening(world: &World, up: Up) {
    match up {
        Up::Direct | Up::Fhir => {}
        Up::Carried => drop(carried::carry(world).await),
        Up::Read => {
            let site = world.centre.site();
            let turn = sources::read_now(site, &site.config().sources[0]).await.unwrap();
            assert_eq!(turn.parked, 0);
        }
    }
    let round = world.clinic().round().await.unwrap();
    assert_eq!((round.not_taken, round.parked), (0, 0));
    if up != Up::Direct {
        assert_eq!(round.sent, 0, "only third parties and the parent bring it");
    }
}

async fn delete(site: &DemoSite, record: &str) {
    site.record_all("nurse", vec![Record::deleted(reference(record))]).await.unwrap();
}

/// The same writes in the same order: registrations, visits, edits of both sides (of different
/// elements and of the same), deletions and their undoing.
async fn week(world: &World, up: Up) {
    let (clinic, centre) = (world.clinic(), &world.centre);
    clinic.record("nurse", &[location("ward", "Ward 3")]).await.unwrap();
    centre.record("registrar", &[patient("from-centre", "Kamau")]).await.unwrap();
    evening(world, up).await;
    for day in 0..DAYS {
        for number in 0..PATIENTS {
            let id = format!("p{day}-{number}");
            let first = [patient(&id, "Auma"), observation(&format!("o-{id}"), &id, "36.50")];
            clinic.record("nurse", &first).await.unwrap();
            let weight = observation(&format!("w-{id}"), &id, "71.00");
            clinic.record("nurse-2", std::slice::from_ref(&weight)).await.unwrap();
            clinic.record("nurse-2", &[weight.replace("71.00", "72.00")]).await.unwrap();
        }
        if day > 0 {
            let before = format!("p{}", day - 1);
            let edited = |id: &str, from: &str, to: &str| patient(id, "Auma").replace(from, to);
            // Both sides change one patient: different elements, and the same.
            let (other, same) = (format!("{before}-0"), format!("{before}-1"));
            clinic.record("nurse", &[edited(&other, "1984-02", "1984-02-03")]).await.unwrap();
            centre.record("registrar", &[edited(&other, "female", "other")]).await.unwrap();
            clinic.record("nurse", &[edited(&same, "1984-02", "1984-02-17")]).await.unwrap();
            centre.record("registrar", &[edited(&same, "1984-02", "1984-07-12")]).await.unwrap();
            delete(clinic, &format!("Observation/o-{before}-2")).await;
            if day % 2 == 0 {
                let id = format!("{before}-2");
                let back = observation(&format!("o-{id}"), &id, "36.90");
                clinic.record("nurse", &[back]).await.unwrap();
            }
            clinic.record("nurse", &[location("ward", &format!("Ward {day}"))]).await.unwrap();
        }
        evening(world, up).await;
    }
    // Until nothing moves in either direction.
    for _ in 0..3 {
        evening(world, up).await;
    }
    assert_eq!(undelivered(clinic), 0);
}

fn digests(site: &DemoSite) -> Vec<(RecordRef, Digest)> {
    let mut all = Vec::new();
    for feed in ["clinic", "reference"] {
        let scope = DigestScope::Published { feed: feed.to_owned(), scope: Scope::Everything };
        all.extend(site.site().store().record_digests(&scope, None, 10_000).unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_week_comes_to_the_same_whichever_way_it_goes_up() {
    let mut found = Vec::new();
    for up in [Up::Read, Up::Direct, Up::Carried] {
        let world = world(up).await;
        week(&world, up).await;
        world.assert_in_step().await;
        assert_eq!(conflicts(&world.centre).len(), DAYS - 1, "{up:?}");
        found.push((up, digests(&world.centre)));
    }
    let (_, first) = &found[0];
    assert!(first.len() > DAYS * PATIENTS * 3, "{} records", first.len());
    for (up, others) in &found[1..] {
        assert_eq!(first, others, "{up:?}");
    }
}
