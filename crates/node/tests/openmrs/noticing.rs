//! What changes in OpenMRS is noticed: by `_lastUpdated`, and by the atomfeed module.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use node::config::NoticeWay;
use node::emr::openmrs::OpenMrs;
use node::fhir_server::Ways;
use node::ports::{Emr as _, EmrError, EmrWrite, Shown};
use protocol::Limits;
use serde_json::json;

use crate::stand_in::{PASSWORD, StandIn};
use crate::world::*;

/// Asks until there is no more; gives what was named, and the cursor.
pub(crate) async fn notice(emr: &OpenMrs, cursor: Option<&str>) -> (BTreeSet<String>, String) {
    let mut named = BTreeSet::new();
    let mut cursor = cursor.map(str::to_owned);
    for _ in 0..200 {
        let noticed = emr.changes_since(cursor.as_deref()).await.unwrap();
        named.extend(noticed.groups.iter().flatten().map(ToString::to_string));
        cursor = Some(noticed.cursor);
        if !noticed.more {
            return (named, cursor.unwrap());
        }
    }
    panic!("it never ends");
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn the_first_load_names_everything_once_it_has_come_to_its_end() {
    let stand_in = StandIn::start().await;
    let emr = adapter(&settings(&stand_in), None);
    write(&emr, &[location(), practitioner()]).await;
    let mut expected = set(&["Location/loc-1", "Practitioner/prov-1"]);
    // More than fit into a portion, some of them in one second.
    for number in 0..620 {
        stand_in.state().clock = number / 150;
        let id = format!("p{number:04}");
        let mut body = json!({
            "uuid": id, "person": { "gender": "F", "names": [{ "familyName": "Otieno" }] },
        });
        body["identifiers"] =
            json!([{ "identifier": format!("{id}-8"), "identifierType": "idtype-openmrs" }]);
        stand_in.edit("patient", Some(body));
        expected.insert(format!("Patient/{id}"));
    }
    write(&emr, &[visit("v1", "p0001"), encounter("e1", "p0001")]).await;
    expected.extend(set(&["Encounter/v1", "Encounter/e1"]));
    let (named, cursor) = notice(&emr, None).await;
    assert_eq!(named, expected);
    assert!(cursor.len() < 64 << 10, "{}", cursor.len());

    // What has the newest second is named some more times, and then nothing is.
    let mut cursor = cursor;
    for _ in 0..4 {
        (_, cursor) = notice(&emr, Some(&cursor)).await;
    }
    let (named, cursor) = notice(&emr, Some(&cursor)).await;
    assert_eq!(named, set(&[]), "defect 34: reads make no noise");
    stand_in.tick(5);
    stand_in.edit("person/p0003", Some(json!({ "gender": "M" })));
    let (named, _) = notice(&emr, Some(&cursor)).await;
    assert_eq!(named, set(&["Patient/p0003"]));
}

#[tokio::test]
async fn defect_39_what_shares_the_newest_second_is_not_passed_over() {
    let stand_in = StandIn::start().await;
    let emr = adapter(&settings(&stand_in), None);
    write(&emr, &[location(), patient("p1")]).await;
    let (_, cursor) = notice(&emr, None).await;
    // In the same second as what was seen last.
    write(&emr, &[patient("p2")]).await;
    let (named, cursor) = notice(&emr, Some(&cursor)).await;
    assert!(named.contains("Patient/p2"), "{named:?}");
    // Times of the server only: that its clock goes back loses nothing that is newer by it.
    stand_in.tick(3);
    write(&emr, &[patient("p3")]).await;
    let (named, _) = notice(&emr, Some(&cursor)).await;
    assert!(named.contains("Patient/p3"), "{named:?}");
}

#[tokio::test]
async fn pages_that_fhir2_forgets_cost_nothing_but_another_search() {
    let stand_in = StandIn::start().await;
    let emr = adapter(&settings(&stand_in), None);
    for number in 0..450 {
        stand_in.state().clock = number / 40;
        stand_in.edit("location", Some(json!({ "uuid": format!("l{number:03}"), "name": "x" })));
    }
    stand_in.state().quirks.pages = Some(1);
    let mut named = BTreeSet::new();
    let mut cursor = None;
    for _ in 0..40 {
        match emr.changes_since(cursor.as_deref()).await {
            Ok(noticed) => {
                named.extend(noticed.groups.iter().flatten().map(ToString::to_string));
                cursor = Some(noticed.cursor);
                if !noticed.more {
                    break;
                }
            }
            Err(error) => assert!(matches!(error, EmrError::Refused(_) | EmrError::Away(_))),
        }
        stand_in.state().quirks.pages = Some(1);
    }
    assert_eq!(named.len(), 450);
}

#[tokio::test]
async fn an_older_fhir2_without_a_type_is_read_without_it() {
    let stand_in = StandIn::start().await;
    stand_in.state().quirks.older_fhir2 = true;
    let emr = adapter(&settings(&stand_in), None);
    write(&emr, &[location(), patient("p1")]).await;
    let care = json!({ "resourceType": "EpisodeOfCare", "id": "care-1", "status": "active",
        "patient": { "reference": "Patient/p1" }, "type": [{ "text": "HIV" }],
        "period": { "start": "2026-01-05" } });
    // Reading it fails, and it is written without.
    let care = record(&care);
    let care = EmrWrite { record: care.reference.clone(), wanted: Some(care), image: None };
    let told = told(&emr.write(&[care]).await);
    assert!(told[0].contains("a fhir2 that knows this type"), "{told:?}");
    let (named, _) = notice(&emr, None).await;
    assert_eq!(named, set(&["Location/loc-1", "Patient/p1"]));
    let missing = emr.capabilities().await.unwrap().missing.join("; ");
    assert!(missing.contains("module fhir2 is 1.2.0: 1.5 or newer is needed"), "{missing}");
}

#[tokio::test]
async fn defect_05_the_feed_names_what_lastupdated_does_not_show() {
    let stand_in = StandIn::start().await;
    let mut config = settings(&stand_in);
    config.openmrs.notice = vec![NoticeWay::LastUpdated, NoticeWay::Atomfeed];
    config.openmrs.feeds = ["patient", "encounter", "observation"].map(str::to_owned).into();
    let emr = adapter(&config, None);
    write(&emr, &[location(), practitioner(), patient("p1"), encounter("e1", "p1")]).await;
    // What was there before is loaded, and not walked through entry by entry.
    for _ in 0..12 {
        stand_in.edit("person/p1/name/p1-name", Some(json!({ "middleName": "A" })));
    }
    let (named, cursor) = notice(&emr, None).await;
    assert!(named.contains("Patient/p1") && named.contains("Encounter/e1"), "{named:?}");

    stand_in.tick(60);
    stand_in.edit("person/p1/name/p1-name", Some(json!({ "familyName": "Odhiambo" })));
    stand_in.edit("encounter/e1", None);
    let (named, cursor) = notice(&emr, Some(&cursor)).await;
    assert_eq!(named, set(&["Patient/p1", "Encounter/e1"]), "an edited name, and a deletion");
    let (named, _) = notice(&emr, Some(&cursor)).await;
    assert_eq!(named, set(&[]));
}

#[tokio::test]
async fn defect_37_a_feed_that_was_made_anew_means_that_all_is_compared() {
    // Its last entry is on the first page, and on one that is not there any more.
    for edits in [2, 12] {
        let stand_in = StandIn::start().await;
        let mut config = settings(&stand_in);
        config.openmrs.notice = vec![NoticeWay::LastUpdated, NoticeWay::Atomfeed];
        config.openmrs.feeds = vec!["patient".to_owned()];
        let emr = adapter(&config, None);
        write(&emr, &[location(), patient("p1")]).await;
        let edit = |name: &str| {
            stand_in.edit("person/p1/name/p1-name", Some(json!({ "middleName": name })));
        };
        (0..edits).for_each(|_| edit("A"));
        let (_, cursor) = notice(&emr, None).await;
        // That no page of it is there says nothing.
        stand_in.state().quirks.between = Some(("ws/atomfeed", "no backend"));
        let looked = emr.changes_since(Some(&cursor)).await;
        assert!(matches!(looked, Err(EmrError::Away(_))), "{looked:?}");
        stand_in.state().quirks.between = None;
        stand_in.state().feeds.clear();
        edit("B");
        match emr.changes_since(Some(&cursor)).await {
            Err(EmrError::CursorLost(why)) => assert!(why.contains("made anew"), "{why}"),
            other => panic!("{other:?}"),
        }
        let (named, cursor) = notice(&emr, None).await;
        assert!(named.contains("Patient/p1"), "{named:?}");
        assert!(emr.changes_since(Some(&cursor)).await.is_ok());
    }
}

#[tokio::test]
async fn defect_20_deletions_that_nothing_shows_are_found_by_a_compare_once_a_day() {
    let stand_in = StandIn::start().await;
    let clock = Arc::new(Ahead::default());
    let ways = Ways { clock: clock.clone(), ..ways() };
    let limits = Limits::default();
    let emr =
        OpenMrs::new(&settings(&stand_in), (Some(PASSWORD), None), store(), ways, &limits).unwrap();
    write(&emr, &[location(), patient("p1"), patient("p2")]).await;
    let (_, cursor) = notice(&emr, None).await;
    stand_in.edit("patient/p1", None);
    clock.0.store(25 * 3_600 * 1_000, Ordering::Relaxed);
    match emr.changes_since(Some(&cursor)).await {
        Err(EmrError::CursorLost(why)) => assert!(why.contains("once a day"), "{why}"),
        other => panic!("{other:?}"),
    }
    // Who was there and is not named is gone, as a look shows.
    let (named, cursor) = notice(&emr, None).await;
    assert_eq!(named, set(&["Location/loc-1", "Patient/p2"]));
    assert_eq!(emr.read(&name("Patient/p1")).await.unwrap(), Shown::Gone);
    assert!(emr.changes_since(Some(&cursor)).await.is_ok());
}

#[tokio::test]
async fn several_records_are_read_by_one_search_where_that_shows_them_as_they_are() {
    for (narrates, ignores_ids) in [(false, false), (true, false), (false, true)] {
        let stand_in = StandIn::start().await;
        let emr = adapter(&settings(&stand_in), None);
        let weights = (0..30).map(|n| weight(&format!("w{n}"), "p1", "e1", 60.0 + f64::from(n)));
        let all = [location(), practitioner(), patient("p1"), encounter("e1", "p1")];
        let all = all.into_iter().chain(weights).collect::<Vec<_>>();
        assert!(write(&emr, &all).await.iter().all(Result::is_ok));
        stand_in.edit("obs/w7", None);
        {
            let mut state = stand_in.state();
            (state.quirks.narrates, state.quirks.ignores_ids) = (narrates, ignores_ids);
        }
        let names = (0..31).map(|n| name(&format!("Observation/w{n}"))).collect::<Vec<_>>();
        let names = names.into_iter().chain([name("Patient/p1")]).collect::<Vec<_>>();
        stand_in.state().asked.clear();
        let several = emr.read_several(&names).await;
        let asked = std::mem::take(&mut stand_in.state().asked);
        let observations = "GET ws/fhir2/R4/Observation/";
        let alone = asked.iter().filter(|one| one.starts_with(observations)).count();
        // A sample of them, the one that is voided, and the one that never was.
        assert_eq!(alone, if narrates { 32 } else { 3 }, "{asked:?}");
        for (name, shown) in names.iter().zip(several) {
            assert_eq!(shown.unwrap(), emr.read(name).await.unwrap(), "{name}");
        }
        // A search that has shown them as they are is believed from then on.
        stand_in.state().asked.clear();
        drop(emr.read_several(&names[..5]).await);
        let asked = std::mem::take(&mut stand_in.state().asked);
        let alone = asked.iter().filter(|one| one.starts_with(observations)).count();
        assert_eq!(alone, if narrates { 6 } else { 0 }, "{asked:?}");
    }
}
