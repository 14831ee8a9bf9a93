//! Conflicts over real links: noted at all sites that hold the record, decided at any of them, and
//! read by whom they concern.

use protocol::cohort::Definition;
use protocol::conflict::Choice;
use protocol::reconcile::Side;
use protocol::{Author, Limits};
use serde_json::{Value, json};
use store::{ConflictAction, ConflictOrder, TokenScope};

use crate::world::*;
use node::demo::site::DemoSite;

/// A centre and two clinics that hold everybody, and one that holds nobody.
async fn three_clinics() -> World {
    let mut world = World::centre_with(Limits::default()).await;
    let nobody = Definition::Patients { patients: std::collections::BTreeSet::new() };
    world.add_clinic("east", Definition::All {}, Limits::default()).await;
    world.add_clinic("west", Definition::All {}, Limits::default()).await;
    world.add_clinic("far", nobody, Limits::default()).await;
    world.centre.record("registrar", &[born("1984-02")]).await.unwrap();
    world.settle().await;
    world
}

fn born(date: &str) -> String {
    patient("p", "Kamau").replace("1984-02", date)
}

/// The centre and the clinic `east` give the patient another birth date each.
async fn apart(world: &World) {
    world.clinics[0].record("nurse", &[born("1984-02-17")]).await.unwrap();
    world.centre.record("registrar", &[born("1984-07-12")]).await.unwrap();
    world.settle().await;
}

fn decide(site: &DemoSite, action: ConflictAction) {
    let order = ConflictOrder {
        id: conflicts(site)[0].id.clone(),
        action,
        author: Author::new("dr-otieno"),
        why: None,
        actor: "dr-otieno".to_owned(),
    };
    site.site().store().conflict_decide(&order, site.site().now()).unwrap();
    site.site().wake();
}

/// All that hold the patient say so, and the one that does not knows of nothing.
fn assert_all(world: &World, state: &str, date: &str) {
    for site in [&world.centre, &world.clinics[0], &world.clinics[1]] {
        let found = conflicts(site);
        let states = found.iter().map(|one| one.state).collect::<Vec<_>>();
        assert_eq!(states, [state], "{}", site.id());
        assert_eq!(text(site, "Patient/p"), Some(born(date)), "{}", site.id());
    }
    assert_eq!(conflicts(&world.clinics[2]), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_at_any_site_closes_the_conflict_at_all_that_have_it() {
    for decider in [0, 1, 2] {
        let world = three_clinics().await;
        apart(&world).await;
        assert_all(&world, "open", "1984-07-12");
        let sites = [&world.centre, &world.clinics[0], &world.clinics[1]];
        decide(sites[decider], ConflictAction::Close(Choice::Side(Side::Child)));
        world.settle().await;
        assert_all(&world, "decided", "1984-02-17");
        decide(sites[(decider + 1) % 3], ConflictAction::Reopen);
        world.settle().await;
        assert_all(&world, "open", "1984-07-12");
        decide(sites[(decider + 2) % 3], ConflictAction::Close(Choice::Confirm));
        world.settle().await;
        assert_all(&world, "confirmed", "1984-07-12");
        world.assert_in_step().await;
        for site in sites {
            assert_eq!(site.site().store().site_check(&mut |_| {}).unwrap(), Vec::<String>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_at_three_sites_at_once_come_to_one_everywhere() {
    let world = three_clinics().await;
    apart(&world).await;
    decide(&world.centre, ConflictAction::Close(Choice::Edit(born("1990-01-01"))));
    decide(&world.clinics[0], ConflictAction::Close(Choice::Side(Side::Child)));
    decide(&world.clinics[1], ConflictAction::Close(Choice::Confirm));
    world.settle().await;
    world.assert_in_step().await;
    let seen = |site: &DemoSite| {
        let found = conflicts(site).into_iter().map(|one| (one.id, one.state));
        let mut found = found.collect::<Vec<_>>();
        found.sort();
        (found, text(site, "Patient/p"))
    };
    let centre = seen(&world.centre);
    assert_eq!(centre.1, Some(born("1990-01-01")));
    assert!(centre.0.iter().any(|(_, state)| *state == "open"), "that they differ is told");
    for clinic in &world.clinics[..2] {
        assert_eq!(seen(clinic), centre, "{}", clinic.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_reads_the_conflicts_of_its_cohorts_and_decides_none_at_its_parent() {
    let world = three_clinics().await;
    apart(&world).await;
    let id = conflicts(&world.centre)[0].id.clone();
    let (east, far) = (&world.clinics[0], &world.clinics[2]);
    let one = format!("/sync/conflicts/{id}");
    let (status, body) = ask(&world, east, "GET", &one, b"").await;
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &told["record"]), (200, &json!("Patient/p")), "{told}");
    assert_eq!(told["differences"][0]["path"], "birthDate");
    assert_eq!(told["differences"][0]["parent"], "1984-07-12");
    assert_eq!(told["differences"][0]["child"], "1984-02-17");
    assert_eq!(told["differences"][0]["stands"], "parent");
    let (status, body) = ask(&world, east, "GET", "/sync/conflicts", b"").await;
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, list["conflicts"].as_array().unwrap().len()), (200, 1));
    let unknown = format!("/sync/conflicts/conflict-{}", "0".repeat(40));
    let (status, refused) = ask(&world, far, "GET", &one, b"").await;
    assert_eq!((status, refused), (404, ask(&world, far, "GET", &unknown, b"").await.1));
    let (_, body) = ask(&world, far, "GET", "/sync/conflicts?state=all", b"").await;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({"conflicts": []}));
    for act in ["resolve", "confirm", "reopen"] {
        let path = format!("{one}/{act}");
        for clinic in [east, far] {
            let body = br#"{"take":"parent"}"#;
            assert_eq!(ask(&world, clinic, "POST", &path, body).await.0, 403, "{act}");
        }
    }
    assert_eq!(conflicts(&world.centre)[0].state, "open");
}

/// A program of the centre with this scope asks.
async fn program(
    world: &World,
    scope: TokenScope,
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let (name, now) = (format!("{scope:?}").to_lowercase(), world.centre.site().now());
    let hash = node::http::auth::credential_hash(&name);
    let draft =
        store::TokenDraft { name: name.clone(), scope, children: Vec::new(), hash, expires: None };
    // The second time it has its credential already.
    let _known = world.centre.site().store().token_add(&draft, now);
    let bearer = format!("Bearer {name}");
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let (status, body) =
        http(&world.centre, method, path, &headers, body.to_string().into_bytes()).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_decides_if_it_may_write_and_is_told_what_is_wrong() {
    let world = three_clinics().await;
    apart(&world).await;
    let id = conflicts(&world.centre)[0].id.clone();
    let write = async |path: &str, body: Value| {
        let path = format!("/sync/conflicts/{id}/{path}");
        program(&world, TokenScope::FhirWrite, "POST", &path, body).await
    };
    let read =
        async |path: &str| program(&world, TokenScope::FhirRead, "GET", path, Value::Null).await;
    let resolve = format!("/sync/conflicts/{id}/resolve");
    let body = json!({"take": "parent"});
    assert_eq!(program(&world, TokenScope::FhirRead, "POST", &resolve, body).await.0, 403);
    for (body, status, word) in [
        (json!({}), 400, "`take`"),
        (json!({"take": "parent", "edit": {}}), 400, "`take`"),
        (json!({"take": "moon"}), 422, "child (east)"),
        (json!({"take": {"gender": "ours"}}), 422, "birthDate"),
        (json!({"take": "delete"}), 422, "neither side deleted"),
        (json!({"edit": {"resourceType": "Patient", "id": "other"}}), 422, "Patient/other"),
        (json!({"moon": 1}), 400, "not understood"),
    ] {
        let (found, told) = write("resolve", body).await;
        assert_eq!(found, status, "{told}");
        assert!(told["detail"].as_str().unwrap().contains(word), "{told}");
    }
    let (status, done) = write(
        "resolve",
        json!({"take": {"birthDate": "theirs"},
        "author": "dr-otieno", "why": "her card says so"}),
    )
    .await;
    assert_eq!((status, &done["state"], &done["changed"]), (200, &json!("decided"), &json!(true)));
    let (status, told) = write("confirm", json!({})).await;
    assert_eq!(status, 409);
    assert!(told["detail"].as_str().unwrap().contains("decided by dr-otieno at centre"), "{told}");
    let (_, told) = read(&format!("/sync/conflicts/{id}")).await;
    assert_eq!(
        (&told["how"], &told["by"]["why"]),
        (&json!("birthDate=child"), &json!("her card says so"))
    );
    assert_eq!(read("/sync/conflicts").await.1, json!({"conflicts": []}));
    let (_, list) = read("/sync/conflicts?state=closed&patient=Patient/p&limit=1").await;
    assert_eq!(list["conflicts"][0]["id"], json!(id));
    assert_eq!(read("/sync/conflicts?state=moon").await.0, 400);
    assert_eq!(read("/sync/conflicts/other").await.0, 404);
    assert_eq!(write("reopen", json!({})).await.0, 200);
    world.settle().await;
    assert_all(&world, "open", "1984-07-12");
    // Nobody writes the record of a conflict past its rules.
    let path = format!("/fhir/Basic/{id}");
    let basic: Value =
        serde_json::from_str(&text(&world.centre, &format!("Basic/{id}")).unwrap()).unwrap();
    for (method, body) in [("PUT", basic), ("DELETE", Value::Null)] {
        let (status, told) = program(&world, TokenScope::FhirWrite, method, &path, body).await;
        assert_eq!(status, 422, "{told}");
        assert!(told.to_string().contains("/sync/conflicts"), "{told}");
    }
}
