//! Where a record is on its way, as programs are told it at either end.

use serde_json::Value;

use crate::world::*;

const WHY: &str = "/sync/why?record=Patient/amina";

async fn told(site: &node::demo::site::DemoSite, path: &str) -> (u16, Value, String) {
    let (status, body) = http(site, "GET", path, &[], Vec::new()).await;
    let json: Value = serde_json::from_slice(&body).unwrap();
    let words = json["sentences"].as_array().into_iter().flatten();
    let words = words.filter_map(Value::as_str).collect::<Vec<_>>().join("\n");
    (status, json, words)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_followed_from_the_clinic_to_the_centre() {
    let world = World::pair().await;
    world.settle().await;
    let clinic = world.clinic();
    clinic.record("nurse", &[patient("amina", "Secret-Juma")]).await.unwrap();
    let (status, json, words) = told(clinic, WHY).await;
    assert_eq!((status, json["here"]["author"].as_str()), (200, Some("nurse")), "{json}");
    assert!(words.contains("goes with the next round"), "{words}");
    let (status, json, words) = told(&world.centre, WHY).await;
    assert_eq!((status, json["here"].is_null()), (200, true), "{json}");
    assert!(words.contains("Patient/amina is not at centre"), "{words}");
    world.settle().await;
    let (_, json, words) = told(clinic, WHY).await;
    assert!(words.contains("The parent holds this very state"), "{words}");
    assert!(!json.to_string().contains("Secret"), "ids only");
    let (_, _, words) = told(&world.centre, WHY).await;
    assert!(words.contains("brought by clinic"), "{words}");
    assert!(words.contains("clinic has it: it brought this state."), "{words}");
    // What the centre makes of it the clinic has as soon as it has said that it is so far.
    world.centre.record("registrar", &[patient("amina", "Other")]).await.unwrap();
    let (_, _, words) = told(&world.centre, WHY).await;
    assert!(words.contains("had not fetched this state"), "{words}");
    world.settle().await;
    world.settle().await;
    let (_, _, words) = told(&world.centre, WHY).await;
    assert!(words.contains("clinic has it, by clinic and what it said"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_28_no_child_is_told_where_records_are() {
    let world = World::pair().await;
    world.centre.record("registrar", &[patient("amina", "Juma")]).await.unwrap();
    for record in ["Patient/amina", "Patient/nobody"] {
        let path = format!("/sync/why?record={record}");
        let (status, _) = ask(&world, world.clinic(), "GET", &path, b"").await;
        assert_eq!(status, 403, "{record}");
    }
    for (query, expected) in [
        ("", 400),
        ("?record=amina", 400),
        ("?record=Pacient/amina", 400),
        ("?record=Patient/amina&more=1", 400),
        ("?record=Patient/nobody", 200),
    ] {
        let path = format!("/sync/why{query}");
        let (status, body) = http(&world.centre, "GET", &path, &[], Vec::new()).await;
        assert_eq!(status, expected, "{query}: {}", String::from_utf8_lossy(&body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_waits_for_news_says_where_it_is() {
    let world = World::pair().await;
    world.settle().await;
    world.settle().await;
    let site = world.centre.site();
    let changes = || site.store().site_status(site.now()).unwrap().children[0].lag.unwrap().changes;
    assert_eq!(changes(), 0);
    world.centre.record("registrar", &[patient("amina", "Juma")]).await.unwrap();
    assert_eq!(changes(), 2, "the change, and that she joined");
    let feeds = site.store().feed_list(&store::Scope::Everything).unwrap();
    let at = feeds.iter().map(|feed| format!("{}:{}:{}", feed.name, feed.head, feed.head_join));
    let at = at.collect::<Vec<_>>().join(",");
    for (epoch, expected) in [
        ("00000000-0000-4000-8000-000000000000".to_owned(), 2),
        (site.store().site().unwrap().epoch.to_string(), 0),
    ] {
        let path = format!("/sync/poll?epoch={epoch}&at={at}&wait=0");
        let (status, _) = ask(&world, world.clinic(), "GET", &path, b"").await;
        assert!(matches!(status, 200 | 204), "{status}");
        assert_eq!(changes(), expected, "{epoch}");
    }
}
